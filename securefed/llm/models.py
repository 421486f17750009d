"""Causal language models: from a configuration (random weights) or from a directory or hub id."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerBase

from securefed.errors import ConfigError
from securefed.llm.runtime import quiet

__all__ = ["check_fit", "demo_configuration", "from_configuration", "load_configuration", "load_model"]


def demo_configuration(vocabulary: int = 1024, context: int = 64) -> dict[str, object]:
    """A small Llama: width 128, 3 layers, 4 heads, feed-forward 384, tied (771k parameters)."""
    return {
        "model_type": "llama",
        "vocab_size": vocabulary,
        "max_position_embeddings": context,
        "hidden_size": 128,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "intermediate_size": 384,
        "tie_word_embeddings": True,
    }


def from_configuration(configuration: Mapping[str, object], seed: int) -> PreTrainedModel:
    """A causal language model with random float32 weights, the same for the same seed.

    Args:
        configuration: keys of the transformers configuration; `model_type` names the architecture.
        seed: of the initial weights.

    Raises:
        ConfigError: the architecture is unknown or its configuration is not possible.
    """
    options = dict(configuration)
    kind = options.pop("model_type", None)
    if not isinstance(kind, str):
        raise ConfigError("model.configuration.model_type", "name an architecture, such as 'llama' or 'gpt2'")
    try:
        with quiet(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            config = AutoConfig.for_model(kind, **options)
            model = AutoModelForCausalLM.from_config(config, dtype=torch.float32, trust_remote_code=False)
    except (ValueError, TypeError, KeyError, AttributeError, RuntimeError, ArithmeticError) as error:
        detail = str(error).strip().split("\n", 1)[0]
        raise ConfigError("model.configuration", f"no {kind!r} model can be made of it: {detail}") from error
    return model.eval()


def load_model(source: str | Path) -> PreTrainedModel:
    """A causal language model with its weights, float32. Only safetensors are read, and no code of the
    model's.

    Args:
        source: a directory (nothing else is then looked at: no network) or a hub id.

    Raises:
        ConfigError: there is none, it is not a causal language model in safetensors, or a weight is missing.
    """
    local = Path(source).is_dir()
    try:
        with quiet():
            model, loading = AutoModelForCausalLM.from_pretrained(
                str(source),
                local_files_only=local,
                trust_remote_code=False,
                use_safetensors=True,
                dtype=torch.float32,
                output_loading_info=True,
            )
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        detail = str(error).strip().split("\n", 1)[0]
        raise ConfigError("model.base", f"no causal language model at {source}: {detail}") from error
    # transformers would make such weights up, and say so in a warning alone
    wrong = sorted({str(name) for name in loading["missing_keys"]})
    if wrong:
        raise ConfigError("model.base", f"{len(wrong)} weights are missing at {source}, {wrong[0]!r} among them")
    return model.eval()


def load_configuration(source: str | Path) -> dict[str, object]:
    """The configuration of a model, without its weights, as `from_configuration` takes it.

    Args:
        source: a directory (nothing else is then looked at: no network) or a hub id.

    Raises:
        ConfigError: there is none.
    """
    try:
        with quiet():
            config = AutoConfig.from_pretrained(
                str(source), local_files_only=Path(source).is_dir(), trust_remote_code=False
            )
    except (OSError, ValueError, KeyError, TypeError) as error:
        detail = str(error).strip().split("\n", 1)[0]
        raise ConfigError("model.base", f"no model configuration at {source}: {detail}") from error
    return dict(config.to_dict())


def check_fit(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, context: int) -> None:
    """Refuse a tokenizer or a context that the model cannot take.

    Raises:
        ConfigError: the tokenizer can produce ids that have no embedding, or the context is longer than the
            model's.
    """
    rows = int(model.get_input_embeddings().weight.shape[0])
    if len(tokenizer) > rows:
        raise ConfigError(
            "model", f"the tokenizer has {len(tokenizer)} tokens and the model {rows} embeddings: not a pair"
        )
    longest = getattr(model.config, "max_position_embeddings", None)
    if isinstance(longest, int) and context > longest:
        raise ConfigError("model.context", f"{context} tokens are more than the model's {longest}")
