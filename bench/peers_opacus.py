"""Training steps of Opacus, as `bench dp` compares them: hooks, ghost clipping and clipping per layer."""

from __future__ import annotations

from importlib import import_module
from typing import Any, Final

import torch

from bench.dp_steps import NOISE, NotRun, Plain, Shape, sample_losses, targets

__all__ = ["INSTALL", "MODES", "Opacus", "opacus", "tried"]

MODES: Final = ("hooks", "ghost", "per_layer")
INSTALL: Final = "needs the extra `peers`: make install-peers, or pip install 'securefed[peers]'"


def opacus(name: str) -> Any:
    """A module of Opacus.

    Raises:
        ImportError: It is not installed.
    """
    return import_module(f"opacus.{name}" if name else "opacus")


class Opacus(Plain):
    """A step of Opacus with clip bound 1 in all, built from its parts as its PrivacyEngine builds it.

    Positions are given for each sample: GPT-2's default ones, shared by the batch, are an error in two modes and
    clipped as one sample in the third. Llama's RMSNorm has no rule there and goes through Opacus's own fallback,
    torch.func; nothing is registered on its behalf.
    """

    def __init__(self, shape: Shape, mode: str) -> None:
        optimizers, samples = opacus("optimizers"), opacus("grad_sample")
        super().__init__(shape)
        self.mode = mode
        self.positions = torch.arange(shape.tokens).repeat(shape.batch, 1)
        common = {"noise_multiplier": NOISE, "expected_batch_size": shape.batch}
        inner: Any = self.optimizer
        if mode == "ghost":
            self.model = samples.GradSampleModuleFastGradientClipping(self.model, max_grad_norm=1.0, strict=False)
            self.optimizer = optimizers.DPOptimizerFastGradientClipping(inner, max_grad_norm=1.0, **common)
            criterion = torch.nn.CrossEntropyLoss()
            self.loss = opacus("utils.fast_gradient_clipping_utils").DPLossFastGradientClipping(
                self.model, self.optimizer, criterion
            )
        else:
            self.model = samples.GradSampleModule(self.model, strict=False)
            if mode == "hooks":
                self.optimizer = optimizers.DPOptimizer(inner, max_grad_norm=1.0, **common)
            else:
                tensors = sum(len(group["params"]) for group in inner.param_groups)
                self.optimizer = optimizers.DPPerLayerOptimizer(
                    inner, max_grad_norm=[tensors**-0.5] * tensors, **common
                )

    def __call__(self) -> None:
        logits = self.model(input_ids=self.ids, position_ids=self.positions, use_cache=False).logits
        if self.mode == "ghost":
            self.loss(logits.flatten(0, 1), targets(self.ids), shape=logits.shape).backward()
        else:
            sample_losses(logits, self.ids).mean().backward()
        self.optimizer.step()
        self.optimizer.zero_grad()


def tried(shape: Shape, mode: str) -> Opacus:
    """A step that has run once.

    Raises:
        ImportError: Opacus is not installed.
        NotRun: Opacus does not train this shape.
    """
    try:
        step = Opacus(shape, mode)
        step()
    except ImportError:
        raise
    except Exception as error:  # Opacus raises whatever torch raises: what counts here is that it does
        raise NotRun(f"Opacus: {type(error).__name__}: {str(error).splitlines()[0]}") from error
    return step
