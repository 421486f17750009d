"""What is trained of a model, as named float arrays: LoRA adapters, or every weight.

The rest of the system carries these arrays and knows of no adapter. What of an adapter is trained in which round, so
that the mean of the clients' arrays is the mean of their models, is said in `lora_aggregation`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from securefed.errors import ConfigError
from securefed.llm import ranks
from securefed.llm.core import install_cores, ordinary_state
from securefed.llm.lora_aggregation import LoraAggregation
from securefed.llm.runtime import quiet

__all__ = ["LoraOptions", "Method", "assign", "attach", "linear_layers", "save", "training_only", "weights"]

# How peft calls a tensor of the one adapter, and what it is called here and in the adapter's own file.
_PEFT_PREFIX = "base_model.model."
_PEFT_ADAPTER = ".default."


class Method(StrEnum):
    """What is trained."""

    LORA = "lora"
    """Low-rank adapters on linear layers; the model itself stays as it is."""
    FULL = "full"
    """Every weight, from a given model's."""
    PRETRAIN = "pretrain"
    """Every weight, from a configuration's random ones."""


@dataclass(frozen=True)
class LoraOptions:
    """Low-rank adapters.

    Attributes:
        rank: of each adapter, ≥ 1.
        alpha: the adapter's output is scaled by alpha / rank.
        targets: last part of the names of the layers that get one; None: every linear layer but the output
            head.
        dropout: on the adapter's input, in [0, 1).
        aggregation: `core` puts a trained R between fixed factors; the others train A and B, and differ in what of
            it a round trains (`lora_aggregation.LoraPlan`).
    """

    rank: int = 8
    alpha: float = 16.0
    targets: tuple[str, ...] | None = None
    dropout: float = 0.0
    aggregation: LoraAggregation | str = LoraAggregation.FFA


def attach(
    model: PreTrainedModel, method: Method | str, *, lora: LoraOptions | None = None, seed: int = 0
) -> torch.nn.Module:
    """The module to train, with `model` in it: it has a gradient where the method trains, and nowhere else.

    Args:
        model: float32.
        method: what is trained.
        lora: for `lora` alone.
        seed: of the adapters' initial weights; with them the module still computes what `model` does.

    Raises:
        ConfigError: the method, the aggregation or a target is unknown, or an option out of range.
    """
    try:
        method = Method(method)
    except ValueError:
        raise ConfigError("method.kind", f"{method!r} is not one of {', '.join(Method)}") from None
    if method is not Method.LORA:
        return model.requires_grad_(True).eval()
    options = lora if lora is not None else LoraOptions()
    aggregation = LoraAggregation.of(options.aggregation)
    if options.rank < 1:
        raise ConfigError("method.rank", f"{options.rank} is below 1")
    if not 0 < options.alpha < math.inf:
        raise ConfigError("method.alpha", f"{options.alpha} is not a finite number above 0")
    if not 0 <= options.dropout < 1:
        raise ConfigError("method.dropout", f"{options.dropout} is not in [0, 1)")
    layers = linear_layers(model)
    found = sorted({name.rsplit(".", 1)[-1] for name in layers})
    targets = found if options.targets is None else list(options.targets)
    for target in targets:
        if not any(name == target or name.endswith(f".{target}") for name in layers):
            raise ConfigError("method.targets", f"the model has no linear layer {target!r}")
    if not targets:
        raise ConfigError("method.targets", "the model has no linear layer for an adapter")
    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=options.rank,
        lora_alpha=options.alpha,
        lora_dropout=options.dropout,
        target_modules=targets,
        # GPT-2's Conv1D keeps its weight transposed.
        fan_in_fan_out=any(isinstance(layer, Conv1D) for layer in layers.values()),
    )
    with quiet(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        adapted = get_peft_model(model, config)
        if aggregation is LoraAggregation.CORE:
            install_cores(adapted, seed)
        return adapted.eval()


def linear_layers(model: PreTrainedModel) -> dict[str, torch.nn.Module]:
    """The model's linear layers by name (`Conv1D` is one), its output head left out."""
    head = model.get_output_embeddings()
    return {
        name: layer
        for name, layer in model.named_modules()
        if isinstance(layer, torch.nn.Linear | Conv1D) and layer is not head
    }


def weights(module: torch.nn.Module) -> dict[str, npt.NDArray[np.float32]]:
    """Float32 copies of the method's tensors by name, in the module's order; a tied weight comes once.

    Of an adapter these are all its factors, the fixed ones too: the trained ones mean nothing without them.
    """
    return {name: tensor.detach().numpy().astype(np.float32, copy=True) for name, tensor in _tensors(module)}


def assign(module: torch.nn.Module, values: Mapping[str, npt.NDArray[np.floating]]) -> None:
    """Write arrays into the method's tensors: the names and shapes of `weights`, all of them, in any order.

    Raises:
        ConfigError: a name or a shape is not the module's. Nothing is written then.
    """
    tensors = dict(_tensors(module))
    unequal = tensors.keys() ^ values.keys()
    if unequal:
        raise ConfigError(
            "method.kind", f"{sorted(unequal)[0]!r} is a tensor of the model or of the weights, but not of both"
        )
    for name, tensor in tensors.items():
        if tuple(values[name].shape) != tuple(tensor.shape):
            raise ConfigError(
                "method",
                f"{name!r} has shape {tuple(values[name].shape)} and the model's is {tuple(tensor.shape)}",
            )
    with torch.no_grad():
        for name, tensor in tensors.items():
            tensor.copy_(torch.from_numpy(np.array(values[name], dtype=np.float32)))


@contextmanager
def training_only(module: torch.nn.Module, names: Collection[str], rank: int | None = None) -> Iterator[None]:
    """While inside, these tensors alone have a gradient; afterwards those have one that had one before.

    Args:
        module: of `attach`.
        names: of `weights`.
        rank: of an adapter's components, train the first so many alone; None: all. The others still take part in what
            the module computes: they are part of the model that the client was given.

    Raises:
        ConfigError: a name is not one of the module's tensors, or of a fixed one.
    """
    tensors = dict(_tensors(module))
    before = {name: tensor.requires_grad for name, tensor in tensors.items()}
    for name in names:
        if not before.get(name):
            problem = "is a fixed tensor of the model" if name in before else "is no tensor of the model"
            raise ConfigError("method.lora_aggregation", f"{name!r} is to be trained and {problem}")
    hooks = []
    try:
        for name, tensor in tensors.items():
            tensor.requires_grad_(name in names)
            if name in names and rank is not None:
                hooks.append(tensor.register_hook(_leading(name, tensor, rank)))
        yield
    finally:
        for hook in hooks:
            hook.remove()
        for name, tensor in tensors.items():
            tensor.requires_grad_(before[name])


def _leading(name: str, tensor: torch.Tensor, rank: int) -> Callable[[torch.Tensor], torch.Tensor]:
    """A hook that keeps the gradient of the first components: AdamW without decay leaves the others bit for bit."""
    mine = torch.from_numpy(ranks.component(name, tensor.shape[ranks.rank_axes(name)[0]]) < rank)
    return lambda gradient: gradient * mine


def save(module: torch.nn.Module, directory: Path, *, base: str | None = None) -> None:
    """Write what was trained, in safetensors.

    An adapter loads with `PeftModel.from_pretrained(base_model, directory)`, one with cores as an ordinary one with B·R
    as its B; a whole model with `AutoModelForCausalLM.from_pretrained(directory)`.

    Args:
        module: of `attach`.
        directory: made where it is missing.
        base: for an adapter: how its configuration names the base model; as that was loaded by default.
    """
    with quiet():
        if isinstance(module, PeftModel):
            if base is not None:
                module.peft_config["default"].base_model_name_or_path = base
            # save_embedding_layers: left to itself peft asks the hub whether the base model's vocabulary has
            # changed
            module.save_pretrained(
                str(directory), safe_serialization=True, save_embedding_layers=False, state_dict=ordinary_state(module)
            )
        else:
            module.save_pretrained(str(directory))


def _tensors(module: torch.nn.Module) -> list[tuple[str, torch.nn.Parameter]]:
    adapter = isinstance(module, PeftModel)
    return [
        (name.removeprefix(_PEFT_PREFIX).replace(_PEFT_ADAPTER, "."), tensor)
        for name, tensor in module.named_parameters()
        if (".lora_" in name if adapter else tensor.requires_grad)
    ]
