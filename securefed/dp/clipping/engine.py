"""The engine: clipped sums from one backward pass, then accounting, noise and the optimiser's step, in this order."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module, Parameter
from torch.optim.optimizer import register_optimizer_step_pre_hook

from securefed.dp.clipping import checks, guards
from securefed.dp.clipping.attach import cover, groups_of, restore, stand_in
from securefed.dp.clipping.bounds import Bounds
from securefed.dp.clipping.group import Clipper, Group
from securefed.dp.clipping.loss import sum_of_losses, token_losses
from securefed.dp.clipping.modes import Flat, Layerwise
from securefed.dp.clipping.release import Noise, add_noise
from securefed.dp.clipping.watch import refuse_outside, refuse_raw_steps
from securefed.dp.noise.source import Source
from securefed.errors import ConfigError, LocalProtocolError, PersistenceError

__all__ = ["Engine", "attach"]

_VERSION = 1


def attach(
    model: Module,
    clip: Layerwise | Flat | None = None,
    *,
    noise_multiplier: float = 0.0,
    sampler: Any = None,
    source: Any = None,
    noise: Noise = "gaussian",
) -> Engine:
    """Make a model's backward pass give clipped sums.

    Every module that holds trainable parameters gets a forward pass of the engine's own until `Engine.detach`. Train
    with `engine.loss` (or `engine.sum`) and `engine.step`; everything else stays: evaluation, generation, saving,
    checkpointing, autocast.

    Args:
        model: with `requires_grad` set for what is trained. Wrap it with peft before, compile it after.
        clip: `Layerwise` (by default, C = 1) or `Flat`.
        noise_multiplier: z; the noise's deviation is z·C. 0 is for measuring: there is no privacy.
        sampler: that draws the batches: `dp.Poisson` and others. Needed for noise.
        source: `dp.noise.Source` of the noise; by default a fresh one from the operating system.
        noise: `gaussian`, or `discrete` for exact noise on a grid.

    Raises:
        ConfigError: D1 for a trainable parameter without a rule, D2 for batch statistics, D4 for a router's loss, D10
            for a number out of range, D14 for expert layers: each by name.
    """
    return Engine(
        model, clip or Layerwise(), noise_multiplier=noise_multiplier, sampler=sampler, source=source, noise=noise
    )


class Engine:
    """See `attach`, which makes it. Not for several threads.

    Attributes:
        model: that it is attached to.
        mode: `Layerwise` or `Flat`.
        noise_multiplier: z.
        sampler: that draws the batches, or None for measuring.
        steps: how many were taken.
    """

    def __init__(
        self,
        model: Module,
        mode: Layerwise | Flat,
        *,
        noise_multiplier: float = 0.0,
        sampler: Any = None,
        source: Any = None,
        noise: Noise = "gaussian",
    ) -> None:
        if not (isinstance(noise_multiplier, int | float) and 0.0 <= noise_multiplier < math.inf):
            raise ConfigError("privacy.noise_multiplier", f"[D10] {noise_multiplier} is not a number from 0 on")
        if noise not in ("gaussian", "discrete"):
            raise ConfigError("privacy.noise", f"{noise!r} is neither 'gaussian' nor 'discrete'")
        if noise_multiplier > 0 and sampler is None:
            raise ConfigError(
                "privacy.sampling", "[D7] noise needs a sampler, which says what a step costs: dp.Poisson"
            )
        self.model = model
        self.mode = mode
        self.noise_multiplier = float(noise_multiplier)
        self.sampler = sampler
        self.steps = 0
        self._noise: Noise = noise
        self._source = source
        self._draw: Any = None
        self._seen = 0
        self._head: Any = None
        guards.refuse_model(model)
        self._statistics = guards.batch_statistics(model)
        guards.refuse_batch_statistics(self._statistics)
        self.clipper = Clipper(isinstance(mode, Flat), float(mode.total))
        self.covered = cover(model, self.clipper)
        if not self.covered:
            raise ConfigError("", "[D1] the model has no trainable parameter")
        uses = groups_of(self.covered)
        self.parameters: tuple[Parameter, ...] = tuple(uses)
        self._names = {id(one): name for name, one in model.named_parameters()}
        self._bounds = Bounds(mode, uses, self.clipper)
        for covered in self.covered:
            stand_in(covered)
        self._handles = [model.register_forward_pre_hook(torch.compiler.disable(self._before), with_kwargs=True)]
        self._handles += [one.register_hook(refuse_outside(self.clipper, self.name_of(one))) for one in self.parameters]
        if noise_multiplier > 0:
            self._handles.append(register_optimizer_step_pre_hook(refuse_raw_steps(self.clipper, self.parameters)))

    def __repr__(self) -> str:
        return f"Engine({self.mode}, noise_multiplier={self.noise_multiplier}, groups={len(self.groups)})"

    @property
    def groups(self) -> tuple[Group, ...]:
        """What is clipped together, one for each use of a module's parameters."""
        return self._bounds.groups

    @property
    def busy(self) -> bool:
        """Whether a step was begun and not finished."""
        return self._draw is not None or self._seen > 0 or self.clipper.open

    @property
    def bounds(self) -> dict[str, float]:
        """The groups' clip bounds by name (layerwise). They are public: data shows in them through noise alone."""
        return {group.name: group.bound for group in self.groups}

    @property
    def sensitivity(self) -> float:
        """C: by how much one sample can move the sum in ℓ₂."""
        return self._bounds.sensitivity

    @property
    def effective_noise_multiplier(self) -> float:
        """z of the whole release, where counts for adaptive bounds are part of it."""
        return self._bounds.effective_noise_multiplier(self.noise_multiplier)

    def draws(self, steps: int, source: Any = None) -> Iterator[Any]:
        """The sampler's draws of so many steps, each begun.

        Args:
            steps: how many.
            source: of the sampling; by default a fresh one.

        Raises:
            ConfigError: D7, there is no sampler.
        """
        if self.sampler is None:
            raise ConfigError("privacy.sampling", "[D7] the engine was attached without a sampler")
        for draw in self.sampler.draws(steps, source):
            self.begin(draw)
            yield draw

    def begin(self, draw: Any) -> None:
        """Begin the step for this draw.

        Raises:
            LocalProtocolError: D6 for a draw that was used before, or a step that was not finished; D7 for one of
                another sampler.
        """
        if self.busy:
            raise LocalProtocolError("D6", "the last step was not finished; call engine.step(), or engine.discard()")
        if self.sampler is None:
            raise LocalProtocolError("D7", "the engine was attached without a sampler")
        draw.use(self.sampler)
        self._draw = draw

    def loss(self, logits: Tensor, labels: Tensor, shift: bool = True) -> Tensor:
        """The sum over samples of each sample's mean loss over its own targets. Call backward on it as it is.

        Args:
            logits: [B, T, V], or [B, V] without `shift`.
            labels: integers [B, T] or [B]; −100 is no target. A sample without targets has loss 0.
            shift: position t predicts the label at t + 1 (causal language models).

        Raises:
            LocalProtocolError: D4 for shapes that do not belong together, D6 for another number of samples.
        """
        return self.sum(token_losses(logits, labels, shift))

    def sum(self, losses: Tensor) -> Tensor:
        """The sum of one loss for each sample, for losses of your own.

        Args:
            losses: [B]; losses[i] must depend on sample i alone, and nothing may be added to the sum: neither shows
                here. `verify` tries the first.

        Raises:
            LocalProtocolError: D4, D6.
        """
        return sum_of_losses(losses, self)

    def arm(self, samples: int) -> None:
        """Let the operations clip: called by the loss's own backward pass.

        Raises:
            LocalProtocolError: D1, D6 and what `step` refuses.
        """
        clipper = self.clipper
        if clipper.open:
            raise LocalProtocolError(
                "D6", "two losses in one backward pass, or an earlier one failed half way; then call engine.discard()"
            )
        self._check_gradients()
        checks.refuse_unfrozen(self.model, self.parameters)
        clipper.open = clipper.armed = True
        clipper.armed_samples = samples
        self._seen += samples
        torch.autograd.Variable._execution_engine.queue_callback(clipper.finish)

    def step(self, optimizer: Any, ledger: Any = None) -> None:
        """Spend, add noise, divide by the expected batch and step; the gradients are gone afterwards.

        Nothing is computed from the sum before the ledger has written durably what it will cost.

        Args:
            optimizer: of this model's parameters alone.
            ledger: `dp.Ledger`; None for measuring only, without noise.

        Raises:
            LocalProtocolError: D4 for gradients that the engine did not make, D6 where the samples seen are not the
                samples drawn, D7 for noise without a ledger.
            BudgetExceeded: D9; nothing was released, and the gradients are gone.
        """
        divisor = self._check_step(optimizer, ledger)
        try:
            self._spend(ledger)
        except Exception:
            self.discard()
            raise
        with torch.no_grad():
            thresholds = self._bounds.adapted(self._seen, divisor, self.noise_multiplier, self._source)
            sensitivity = self.sensitivity
            deviation = self.noise_multiplier * sensitivity
            add_noise(self.parameters, self.clipper.sums, self._source, deviation, sensitivity, self._noise)
            for parameter in self.parameters:
                total = self.clipper.sums.zeros(parameter).mul_(1.0 / divisor)
                if parameter.grad is None:
                    parameter.grad = total.to(parameter.dtype)
        self.clipper.releasing = True
        try:
            optimizer.step()
        finally:
            self.clipper.releasing = False
        if thresholds:
            self._bounds.set(thresholds)
        self.steps += 1
        self.discard()

    def discard(self) -> None:
        """Forget the step that was begun: its gradients, counts and draw, as after a backward pass that failed.

        The draw stays used, and what it would have been charged for is not: nothing of it was released.
        """
        self.clipper.discard()
        for parameter in self.parameters:
            parameter.grad = None
        for group in self.groups:
            group.count = None
        self._seen = 0
        self._draw = None

    def detach(self) -> None:
        """Give the model back as it was."""
        self.discard()
        for handle in self._handles:
            handle.remove()
        for covered in self.covered:
            restore(covered)
        self._handles.clear()

    def verify(self, batch: Mapping[str, Any], **options: Any) -> None:
        """See `securefed.dp.clipping.verify.verify`; for this engine, with its bounds."""
        from securefed.dp.clipping.verify import verify_engine

        verify_engine(self, batch, **options)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint must hold, in plain JSON: steps, bounds, and how far the ledger was."""
        head = self._head
        return {
            "version": _VERSION,
            "steps": self.steps,
            **self._bounds.state(),
            "ledger": head.to_json() if hasattr(head, "to_json") else head,
        }

    def load_state_dict(self, state: Mapping[str, Any], ledger: Any = None) -> None:
        """Take up where a checkpoint was made.

        Args:
            state: of `state_dict`.
            ledger: the one that is gone on with; refused (D11) where the checkpoint knows of more than it does.

        Raises:
            PersistenceError: P3 for another version, P4 for other groups.
            LocalProtocolError: D11.
        """
        if state.get("version") != _VERSION:
            raise PersistenceError("P3", f"state of the engine of version {state.get('version')!r}, not {_VERSION}")
        self._bounds.restore(state)
        self.steps = int(state["steps"])
        self._head = state["ledger"]
        if ledger is not None and self._head is not None:
            ledger.require(self._head)

    def _before(self, module: Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if not torch.is_grad_enabled():
            return
        guards.refuse_batch_statistics(self._statistics)
        guards.refuse_packed(kwargs)
        first = guards.first_tensor(args, kwargs)
        if first is None:
            raise LocalProtocolError("D3", "no input is a tensor, so that the batch cannot be told")
        clipper = self.clipper
        clipper.batch, clipper.shape, clipper.pointer = first.shape[0], tuple(first.shape), first.data_ptr()

    def _check_gradients(self) -> None:
        for parameter in self.parameters:
            checks.refuse_altered(self.clipper.sums, parameter, self.name_of(parameter))

    def _check_step(self, optimizer: Any, ledger: Any) -> float:
        """The divisor, where everything is in order."""
        checks.refuse_strangers(optimizer, self.parameters)
        if self.clipper.open:
            raise LocalProtocolError(
                "D6", "a backward pass failed half way; call engine.discard(), begin the step again"
            )
        self._check_gradients()
        if self.noise_multiplier > 0 and ledger is None:
            raise LocalProtocolError("D7", "noise without a ledger: what is not accounted for has no guarantee")
        if self.sampler is None:
            if ledger is not None:
                raise LocalProtocolError("D6", "a ledger needs a sampler, whose draws say what a step costs")
            return float(max(self._seen, 1))
        checks.refuse_unlike(self._draw, self._seen)
        return float(self.sampler.expected_batch)

    def _spend(self, ledger: Any) -> None:
        if self._source is None and self.noise_multiplier > 0:
            self._source = Source.fresh()
        if ledger is None:
            return
        event = self._draw.event(self.effective_noise_multiplier)
        if event is not None:
            ledger.spend(event)
        self._head = ledger.head

    def name_of(self, parameter: Parameter) -> str:
        """A parameter's name in the model."""
        return self._names.get(id(parameter), "a parameter")
