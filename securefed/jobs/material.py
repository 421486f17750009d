"""What a job works on: the clients' token blocks, the model with its trained part, and where both came from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from securefed.errors import ConfigError
from securefed.federated.cohort import Cohort
from securefed.federated.training import FloatArray
from securefed.federated.update_plan import AllTensors, UpdatePlan
from securefed.jobs.configuration import Configuration
from securefed.llm import methods
from securefed.llm.blocks import Blocks, pack, spread
from securefed.llm.corpus import Corpus
from securefed.llm.jsonl import jsonl
from securefed.llm.lora_aggregation import LoraAggregation, LoraPlan
from securefed.llm.methods import LoraOptions, Method
from securefed.llm.models import check_fit, demo_configuration, from_configuration, load_configuration, load_model
from securefed.llm.pretraining import Base, Pretraining, pretrained
from securefed.llm.runtime import derived_seed
from securefed.llm.standard_library import PACKAGES, standard_library
from securefed.llm.tokenizer import load_tokenizer
from securefed.llm.training import Progress

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase

__all__ = ["ClientBlocks", "Material", "corpus_of", "prepare", "public_start"]


@dataclass(frozen=True)
class ClientBlocks:
    """One client's text as blocks: what it trains on and what it is measured on."""

    name: str
    train: Blocks
    held_out: Blocks


@dataclass(frozen=True)
class Material:
    """Everything that every arm of a job shares.

    Attributes:
        corpus: the text.
        clients: in the order of their ids.
        module: the model to train; what it holds between two uses does not matter.
        tokenizer: of the model.
        base: directory or hub id of the model that everybody starts from.
        weights: the method's tensors (`methods.weights`): where every arm starts.
        update_plan: what of them a federated round trains and sends.
        parameters: of the whole model.
    """

    corpus: Corpus
    clients: tuple[ClientBlocks, ...]
    module: torch.nn.Module
    tokenizer: PreTrainedTokenizerBase
    base: str
    weights: dict[str, FloatArray]
    update_plan: UpdatePlan
    parameters: int

    @property
    def cohort(self) -> Cohort:
        """Names and ids."""
        return Cohort(tuple(client.name for client in self.clients))

    @property
    def trained_parameters(self) -> int:
        """Trained and sent by a client in one round: the mean of two rounds, which may send different tensors."""
        names = [name for number in (1, 2) for name in self.update_plan.tensors(self.weights, number)]
        return sum(self.weights[name].size for name in names) // 2


def corpus_of(config: Configuration) -> Corpus:
    """The text that a configuration names.

    Raises:
        ConfigError: there is none, or too little.
    """
    data = config.data
    if data.source == "standard-library":
        packages = (data.clients or PACKAGES)[: data.max_clients or None]
        return standard_library(config.seed, packages=packages, public_share=data.public_share)
    return jsonl(
        Path(data.file),
        client_field=data.client_field,
        text_field=data.text_field,
        clients=data.clients,
        max_clients=data.max_clients,
        min_characters=data.min_characters,
        held_out_share=data.held_out_share,
        public_share=0.0 if config.model.base else data.public_share,
        seed=config.seed,
    )


def public_start(config: Configuration, corpus: Corpus, progress: Progress) -> Base:
    """The small model trained on the public share, from the cache or made now.

    Raises:
        ConfigError: there is no public text.
    """
    model = config.model
    if not corpus.public_train:
        raise ConfigError(
            "model.base", "there is no public text to pretrain on: name a model, or set data.public_share"
        )
    recipe = Pretraining(
        configuration=_shape(config),
        vocabulary=model.vocabulary,
        context=model.context,
        steps=model.pretraining.steps,
        batch=model.pretraining.batch,
        learning_rate=model.pretraining.learning_rate,
        seed=config.seed,
    )
    return pretrained(corpus.public_train, recipe, progress=progress)


def _shape(config: Configuration) -> dict[str, object]:
    model = config.model
    return {
        **demo_configuration(model.vocabulary, model.context),
        "model_type": model.architecture,
        "hidden_size": model.hidden,
        "num_hidden_layers": model.layers,
        "num_attention_heads": model.heads,
        "num_key_value_heads": model.heads,
        "intermediate_size": model.feed_forward,
    }


def _tokenizer(base: str) -> PreTrainedTokenizerBase:
    try:
        return load_tokenizer(base)
    except ConfigError:
        if Path(base).is_dir():
            raise
        raise ConfigError(
            "model.base",
            f"{base!r} is no directory, and no model of that name could be loaded from the hub or its cache: give "
            "a directory with config.json, model.safetensors and tokenizer.json, or a hub id that can be reached",
        ) from None


def prepare(config: Configuration, corpus: Corpus, base: str) -> Material:
    """Load tokenizer and model, cut the text into blocks, attach what is trained.

    Args:
        base: directory or hub id of model and tokenizer.

    Raises:
        ConfigError: model, tokenizer and context do not fit, or a client has nothing to train on or to be measured on.
    """
    context, method = config.model.context, config.method
    tokenizer = _tokenizer(base)
    if method.kind == "pretrain":
        # The same shape, other weights: nothing of what the base has learnt is used.
        model = from_configuration(load_configuration(base), derived_seed(config.seed, "random start"))
    else:
        model = load_model(base)
    check_fit(model, tokenizer, context)
    parameters = sum(tensor.numel() for tensor in model.parameters())
    targets = None if method.targets == "all-linear" else tuple(method.targets)
    module = methods.attach(
        model,
        Method(method.kind),
        lora=LoraOptions(method.rank, method.alpha, targets, aggregation=method.lora_aggregation),
        seed=derived_seed(config.seed, "adapter"),
    )
    clients = []
    for silo in corpus.silos:
        train = pack(silo.train, tokenizer, context, most_tokens=config.data.tokens_per_client or None)
        held_out = spread(pack(silo.held_out, tokenizer, context), config.evaluation.max_tokens_per_client)
        for blocks, what in ((train, "train on"), (held_out, "be measured on")):
            if blocks.targets < 1:
                raise ConfigError("data.min_characters", f"client {silo.name!r} has nothing to {what}")
        clients.append(ClientBlocks(silo.name, train, held_out))
    weights = methods.weights(module)
    return Material(
        corpus, tuple(clients), module, tokenizer, base, weights, _update_plan(config, len(clients)), parameters
    )


def _update_plan(config: Configuration, clients: int) -> UpdatePlan:
    method = config.method
    if method.kind != "lora":
        return AllTensors()
    if len(method.client_ranks) not in (0, clients):
        allowed = f"allowed is one for each of the {clients} clients, or none"
        raise ConfigError("method.client_ranks", f"got {len(method.client_ranks)} ranks; {allowed}")
    return LoraPlan(LoraAggregation.of(method.lora_aggregation), method.rank if method.client_ranks else None)
