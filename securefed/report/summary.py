"""A run in numbers: perplexity by way of training, what it cost, who was lost.

Perplexity of one client is exp(mean held-out loss in nats a token). The mean over clients is the arithmetic mean of
their perplexities, the worst is the greatest of them. Ratios are of means, over the clients that both sides have.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from securefed.errors import PersistenceError
from securefed.report.events import Aborted, Evaluation, Events, Refused, Round, Start, read_events
from securefed.schemes import PROTECTED

__all__ = ["ARMS", "STAGES", "Arm", "Cost", "Dropout", "Summary", "read_summary", "summarise"]

ARMS: Final[Mapping[str, str]] = {
    "public": "Public model",
    "local": "Each client alone",
    "plain": "Federated, in the clear",
    "masks": "Federated, under masks",
    "encrypted": "Federated, encrypted",
    "central": "All data in one place",
}
"""Ways to train, in the order in which they are shown."""

STAGES: Final = ("advertise", "share", "keys", "input", "consent", "release", "open")
"""The exchanges of a round under any protection, in order; each has some of them."""


@dataclass(frozen=True)
class Arm:
    """One way to train and what came of it.

    Attributes:
        name: as in `ARMS`.
        perplexity: by client.
        mean: over clients.
        worst: the greatest, of `worst_client`.
        over_public: mean over the public model's, below 1 where training helped; None where that is not known.
        over_local: mean over that of clients that train alone.
        better_than_local: number of clients with a lower perplexity than alone, of `compared`.
        after_round: the round of these numbers where the run has no final ones yet.
    """

    name: str
    perplexity: Mapping[str, float]
    mean: float
    worst: float
    worst_client: str
    over_public: float | None
    over_local: float | None
    better_than_local: int
    compared: int
    after_round: int | None

    @property
    def label(self) -> str:
        """As a reader knows it."""
        note = "" if self.after_round is None else f" (after round {self.after_round})"
        return ARMS.get(self.name, self.name) + note


@dataclass(frozen=True)
class Cost:
    """What the rounds of one arm cost. Seconds are sums over rounds, bytes are means per client and round."""

    arm: str
    rounds: int
    seconds: float
    training_seconds: float
    protection_seconds: float
    stages: Mapping[str, float]
    bytes_up: Mapping[str, float]
    bytes_down: Mapping[str, float]
    mean_up: float | None
    mean_down: float | None

    @property
    def protection_share(self) -> float | None:
        """Of the rounds' wall time, 0 … 1."""
        return self.protection_seconds / self.seconds if self.seconds > 0 else None


@dataclass(frozen=True)
class Dropout:
    """A client lost in one round of one arm, and how many were left of how many."""

    arm: str
    round: int
    client: str
    stage: str
    survivors: int
    cohort: int


@dataclass(frozen=True)
class Summary:
    """Everything that a reader is told in numbers; `planned_rounds` is None where the configuration does not say."""

    events: Events
    configuration: str
    arms: Mapping[str, Arm]
    costs: Mapping[str, Cost]
    dropouts: Sequence[Dropout]
    planned_rounds: int | None

    @property
    def start(self) -> Start:
        """What was begun."""
        return self.events.start

    @property
    def refused(self) -> list[tuple[int, Refused]]:
        """Clients whose message was refused, with the round."""
        rounds: tuple[Round | Aborted, ...] = (*self.events.rounds, *self.events.aborted)
        return [(one.round, refused) for one in rounds for refused in one.refused]

    @property
    def federated(self) -> Arm | None:
        """The federated result that the run is about: the protected one where there is one."""
        return next((self.arms[one] for one in (*PROTECTED, "plain") if one in self.arms), None)

    @property
    def cost(self) -> Cost | None:
        """What its rounds cost."""
        return next((self.costs[one] for one in (*PROTECTED, "plain") if one in self.costs), None)

    def losses(self, arm: str) -> dict[int, float]:
        """Held-out loss after each round in nats a token, the mean over clients."""
        found: dict[int, dict[str, float]] = {}
        for one in self.events.evaluations:
            if one.arm == arm and one.round is not None:
                found.setdefault(one.round, {})[one.client] = one.loss
        return {number: _mean(list(found[number].values())) for number in sorted(found)}

    def final_loss(self, arm: str) -> float:
        """Held-out loss of an arm's result in nats a token, the mean over clients."""
        return _mean([math.log(one) for one in self.arms[arm].perplexity.values()])


def read_summary(run_dir: Path) -> Summary:
    """The summary of the run in a directory.

    Raises:
        PersistenceError: P1, `config.toml` or `metrics.jsonl` is missing or damaged.
    """
    path = run_dir / "config.toml"
    try:
        text = path.read_text(encoding="utf-8")
        config = tomllib.loads(text)
    except OSError as error:
        raise PersistenceError("P1", f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise PersistenceError("P1", f"{path.name} is damaged: {error}") from error
    return summarise(read_events(run_dir / "metrics.jsonl"), config, text)


def summarise(events: Events, config: Mapping[str, Any], configuration: str = "") -> Summary:
    """Count what was recorded; `config` is the parsed configuration and `configuration` its text as run."""
    results = {arm: _results(arm, events.evaluations) for arm in ARMS}
    training = config.get("training")
    planned = training.get("rounds") if isinstance(training, dict) else None
    return Summary(
        events=events,
        configuration=configuration,
        arms={arm: _arm(arm, results) for arm in ARMS if results[arm]},
        costs={arm: _cost(arm, rounds) for arm in ARMS if (rounds := [one for one in events.rounds if one.arm == arm])},
        dropouts=[
            Dropout(one.arm, one.round, lost.client, lost.stage, one.survivors, one.cohort)
            for one in events.rounds
            for lost in one.lost
        ],
        planned_rounds=planned if isinstance(planned, int) else None,
    )


def _results(arm: str, evaluations: Sequence[Evaluation]) -> list[Evaluation]:
    """The evaluations that count as an arm's result: the final ones, else those of the last round."""
    own = [one for one in evaluations if one.arm == arm]
    if final := [one for one in own if one.final]:
        return final
    last = max((one.round for one in own if one.round is not None), default=None)
    return [one for one in own if one.round == last]


def _arm(name: str, results: Mapping[str, Sequence[Evaluation]]) -> Arm:
    perplexity = {arm: {one.client: _exp(one.loss) for one in found} for arm, found in results.items()}
    own = perplexity[name]
    # A perplexity that is no number is worse than any number: max() alone would pass over it.
    worst_client = max(own, key=lambda client: math.inf if math.isnan(own[client]) else own[client])
    both = own.keys() & perplexity["local"].keys()
    return Arm(
        name=name,
        perplexity=own,
        mean=_mean(list(own.values())),
        worst=own[worst_client],
        worst_client=worst_client,
        over_public=_ratio(own, perplexity["public"]),
        over_local=_ratio(own, perplexity["local"]),
        better_than_local=sum(own[client] < perplexity["local"][client] for client in both),
        compared=len(both),
        after_round=None if results[name][0].final else results[name][0].round,
    )


def _cost(arm: str, rounds: Sequence[Round]) -> Cost:
    up, down = _per_client([one.bytes_up for one in rounds]), _per_client([one.bytes_down for one in rounds])
    return Cost(
        arm=arm,
        rounds=len(rounds),
        seconds=math.fsum(one.seconds for one in rounds),
        training_seconds=math.fsum(one.training_seconds for one in rounds),
        protection_seconds=math.fsum(one.protection_seconds for one in rounds),
        stages={stage: math.fsum(one.stages.get(stage, 0.0) for one in rounds) for stage in _stages(rounds)},
        bytes_up={client: _mean(sent) for client, sent in up.items()},
        bytes_down={client: _mean(sent) for client, sent in down.items()},
        mean_up=_mean([one for sent in up.values() for one in sent]) if up else None,
        mean_down=_mean([one for sent in down.values() for one in sent]) if down else None,
    )


def _stages(rounds: Sequence[Round]) -> list[str]:
    """The stages that took time, in order; a scheme may have stages of its own."""
    found = dict.fromkeys(stage for one in rounds for stage in one.stages)
    return [*(stage for stage in STAGES if stage in found), *(stage for stage in found if stage not in STAGES)]


def _per_client(rounds: Sequence[Mapping[str, int]]) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for one in rounds:
        for client, sent in one.items():
            found.setdefault(client, []).append(sent)
    return found


def _ratio(own: Mapping[str, float], other: Mapping[str, float]) -> float | None:
    both = [client for client in own if client in other]
    return _mean([own[one] for one in both]) / _mean([other[one] for one in both]) if both else None


def _exp(loss: float) -> float:
    try:
        return math.exp(loss)
    except OverflowError:
        return math.inf


def _mean(values: Sequence[float]) -> float:
    # Not math.fsum: it raises where infinities meet, and a diverged run must still have a report.
    return sum(values) / len(values)
