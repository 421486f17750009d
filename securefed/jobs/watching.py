"""What is shown and written down of a federated arm while its rounds go on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from securefed.aggregation import ClientId
from securefed.errors import BudgetExceeded
from securefed.federated.loop import AbortedAttempt, RoundResult
from securefed.federated.rounds import RoundCost
from securefed.federated.training import FloatArray
from securefed.jobs.configuration import Configuration
from securefed.jobs.recorder import Recorder

__all__ = ["Display", "Measure", "RoundWatcher"]


class Display(Protocol):
    """What is shown while a run goes on."""

    def begin(self, arm: str, steps: int, what: str) -> None:
        """An arm begins, with so many steps of a kind."""

    def step(self, text: str = "") -> None:
        """One of them is done."""

    def note(self, text: str) -> None:
        """What is going on inside the step."""

    def line(self, text: str) -> None:
        """A line that stays."""


class Measure(Protocol):
    """Evaluates weights on every client's held-out text and writes it down; gives the mean loss."""

    def __call__(
        self, arm: str, weights: Mapping[str, FloatArray], *, final: bool, round_number: int | None = None
    ) -> float:
        """Of one arm, after a round."""
        ...


class RoundWatcher:
    """A `federated.loop.Observer` of one arm.

    Args:
        arm: its name.
        names: of the clients by id.
        config: of the run.
        recorder: where events go.
        display: where progress goes.
        measure: called after a round that is to be evaluated.
    """

    def __init__(
        self,
        arm: str,
        names: Mapping[ClientId, str],
        config: Configuration,
        recorder: Recorder,
        display: Display,
        measure: Measure,
    ) -> None:
        self._arm = arm
        self._names = names
        self._config = config
        self._recorder = recorder
        self._display = display
        self._measure = measure
        self._trained = 0
        self._asked = 0

    def stage(self, round_number: int, stage: str, clients: int) -> None:
        """See `federated.loop.Observer`."""
        self._trained, self._asked = 0, clients
        self._display.note(f"round {round_number}: {stage}, {clients} asked")

    def trained(self, round_number: int, client: ClientId) -> None:
        """See `federated.loop.Observer`."""
        self._trained += 1
        self._display.note(f"round {round_number}: {self._trained}/{self._asked} trained")

    def aborted(self, attempt: AbortedAttempt) -> None:
        """See `federated.loop.Observer`."""
        number, error, cost = attempt.number, attempt.error, attempt.cost
        self._recorder.write(
            "aborted", arm=self._arm, round=number, stage=error.stage, detail=error.detail, again=attempt.again,
            seconds=cost.seconds, lost=self._lost(cost), refused=self._refused(cost),
        )  # fmt: skip
        self._tell_losses(number, cost)
        then = "; it is run again under new keys" if attempt.again else ""
        self._display.line(f"round {number}: {error}{then}")

    def round(self, result: RoundResult) -> None:
        """See `federated.loop.Observer`."""
        cost, last = result.cost, result.number == self._config.training.rounds
        self._record(result)
        known = result.aggregate.metrics.get("loss")
        shown = "training not told" if known is None else f"training {known:.3f}"
        if last or self._config.evaluation.every_round:
            loss = self._measure(self._arm, result.weights, final=last, round_number=result.number)
            shown += f", held-out {loss:.3f}"
        self._tell_losses(result.number, cost)
        survivors = f"{len(result.aggregate.survivors)}/{len(cost.bytes_down)} clients"
        seconds = f"protected in {cost.protection_seconds:.2f} s"
        self._display.step(f"round {result.number}: loss {shown}; {survivors}, {seconds}")

    def ended(self, round_number: int, error: BudgetExceeded) -> None:
        """The privacy budget does not allow this round."""
        self._recorder.write(
            "aborted", arm=self._arm, round=round_number, stage="budget", detail=str(error), again=False,
        )  # fmt: skip
        self._display.line(f"round {round_number}: {error}; the result is that of the rounds before")

    def _tell_losses(self, number: int, cost: RoundCost) -> None:
        for client, stage in cost.lost.items():
            self._display.line(f"round {number}: {self._names[client]} was lost before it answered '{stage}'")
        for client, error in cost.refused.items():
            self._display.line(f"round {number}: {self._names[client]} refused: {error}")

    def _record(self, result: RoundResult) -> None:
        cost, names = result.cost, self._names
        self._recorder.write(
            "round", arm=self._arm, round=result.number, seconds=cost.seconds, training_seconds=cost.training_seconds,
            protection_seconds=cost.protection_seconds, stages=cost.stage_seconds,
            survivors=len(result.aggregate.survivors), cohort=len(cost.bytes_down),
            lost=self._lost(cost), refused=self._refused(cost),
            bytes_up={names[client]: size for client, size in sorted(cost.bytes_up.items())},
            bytes_down={names[client]: size for client, size in sorted(cost.bytes_down.items())},
            training_loss=result.aggregate.metrics.get("loss"),
            clipped_share=result.aggregate.metrics.get("clipped_share"),
            session=result.session.hex()[:16],
        )  # fmt: skip

    def _lost(self, cost: RoundCost) -> list[dict[str, str]]:
        return [{"client": self._names[client], "stage": stage} for client, stage in cost.lost.items()]

    def _refused(self, cost: RoundCost) -> list[dict[str, str]]:
        return [{"client": self._names[client], "error": error} for client, error in cost.refused.items()]
