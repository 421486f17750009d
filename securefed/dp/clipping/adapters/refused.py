"""What is refused about adapters before training, by name.

Many adapters use the weight of a linear layer in a formula of their own instead of calling the layer, so that a rule
for linear layers would never see it. Only what is listed here is known to call its layers, or has a rule of its own;
all else is refused (D1), whatever its parts look like. So are states in which an adapter is trained and not used.
"""

from __future__ import annotations

from typing import Any, Final

from torch.nn import Linear, Module

from securefed.dp.clipping.adapters.kinds import trains, type_name
from securefed.dp.clipping.adapters.prompts import prompt_kind
from securefed.errors import ConfigError

__all__ = ["refuse"]

_LAYERS: Final = frozenset(
    f"peft.{name}"
    for name in (
        "tuners.lora.layer.Linear",
        "tuners.lora.layer.Embedding",
        "tuners.ia3.layer.Linear",
        "tuners.ln_tuning.layer.LNTuningLayer",
        "tuners.trainable_tokens.layer.TrainableTokensLayer",
        "utils.other.ModulesToSaveWrapper",
        "utils.other.TrainableTokensWrapper",
    )
)
_VARIANTS: Final = frozenset(
    f"peft.tuners.lora.variants.{name}"
    for name in ("DoraLinearVariant", "DoraEmbeddingVariant", "MiCALinearVariant", "MiCAEmbeddingVariant")
)
_TYPES: Final = frozenset(
    {"LORA", "IA3", "LN_TUNING", "TRAINABLE_TOKENS", "PROMPT_TUNING", "P_TUNING", "PREFIX_TUNING"}
)
_USE: Final = "use LoRA, DoRA, IA3, LN tuning, prompt tuning or prefix tuning instead"


def refuse(model: Module) -> None:
    """Refuse adapters whose per-sample gradients are not known to be exact here.

    Raises:
        ConfigError: D1 for a kind of adapter, or a use of one, that has no rule, and for a state in which what is
            trained is not what is computed; by the name of a parameter or of a layer.
    """
    for name, module in model.named_modules():
        configs = getattr(module, "peft_config", None)
        if isinstance(configs, dict) and type(module).__module__.startswith("peft.") and trains(module):
            _refuse_types(name, module, configs)
        if hasattr(module, "merged_adapters") and hasattr(module, "adapter_layer_names") and trains(module):
            _refuse_layer(name, module)


def _refuse_types(name: str, module: Any, configs: dict[str, Any]) -> None:
    for adapter, config in configs.items():
        kind = str(getattr(config.peft_type, "value", config.peft_type))
        if kind not in _TYPES:
            raise ConfigError(
                _first_trained(name, module), f"[D1] {kind} of peft ({adapter}) has no clipping rule; {_USE}"
            )
    if prompt_kind(module) and module.active_peft_config.inference_mode and trains(module.prompt_encoder):
        raise ConfigError(
            _first_trained(f"{name}.prompt_encoder", module.prompt_encoder),
            "[D1] the prompt was loaded for inference and is used without its encoder; load it with is_trainable=True",
        )


def _refuse_layer(name: str, module: Any) -> None:
    if type_name(module) not in _LAYERS:
        raise ConfigError(
            _first_trained(name, module), f"[D1] {type_name(module)} has no clipping rule, nor do its parts; {_USE}"
        )
    if module.merged_adapters:
        raise ConfigError(
            name,
            f"[D1] the adapters {list(module.merged_adapters)} are merged and would not be trained; unmerge them",
        )
    if module.disable_adapters:
        raise ConfigError(name, "[D1] its adapters are disabled, so that they would not be trained; enable them")
    if getattr(module, "input_fns", None) or getattr(module, "tp_layer", None) is not None:
        raise ConfigError(
            name, "[D1] tensor parallelism splits a sample over devices; train with data parallelism alone"
        )
    for adapter, variant in getattr(module, "lora_variant", {}).items():
        kind = f"{type(variant).__module__}.{type(variant).__qualname__}"
        if kind not in _VARIANTS:
            raise ConfigError(
                _first_trained(name, module),
                f"[D1] {kind} of adapter {adapter!r} has no clipping rule; use plain LoRA or DoRA",
            )
    base = module.get_base_layer() if hasattr(module, "get_base_layer") else None
    if _uses_base_by_hand(module) and trains(base):
        raise ConfigError(
            _first_trained(f"{name}.base_layer", base),
            f"[D1] {type_name(module)} uses this besides calling its layer; freeze it (for peft: bias='none')",
        )
    if getattr(base, "max_norm", None) is not None or getattr(base, "scale_grad_by_freq", False):
        raise ConfigError(
            name, "[D1] max_norm and scale_grad_by_freq of an embedding have no clipping rule; leave them out"
        )
    for part in ("lora_A", "lora_B"):
        for adapter, layer in getattr(module, part, {}).items():
            if _needs_linear(module, adapter) and type(layer) is not Linear:
                raise ConfigError(
                    f"{name}.{part}.{adapter}", f"[D1] {type_name(layer)} within DoRA has no clipping rule"
                )


def _uses_base_by_hand(module: Any) -> bool:
    return bool(getattr(module, "lora_magnitude_vector", None)) or "trainable_tokens" in type_name(module)


def _needs_linear(module: Any, adapter: str) -> bool:
    return adapter in getattr(module, "lora_magnitude_vector", {})


def _first_trained(name: str, module: Module) -> str:
    """Name of the first trained parameter below a module."""
    for parameter, value in module.named_parameters():
        if value.requires_grad:
            return f"{name}.{parameter}".lstrip(".")
    return name
