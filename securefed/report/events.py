"""The lines of `metrics.jsonl`, typed.

A run appends one JSON object a line. A run that was killed and resumed may have written an interrupted round twice
(the later one counts) and may have left half a line behind (it is skipped where a process of the run ended).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import TypeAdapter, ValidationError

from securefed.errors import PersistenceError

__all__ = [
    "Aborted",
    "Client",
    "Evaluation",
    "Events",
    "Finish",
    "Lost",
    "Parameters",
    "Phase",
    "Privacy",
    "Refused",
    "Resume",
    "Round",
    "Start",
    "read_events",
]

_T = TypeVar("_T")


@dataclass(frozen=True)
class Client:
    """One party: its id (≥ 1), name, and tokens to train on and to be evaluated on."""

    id: int
    name: str
    train_tokens: int
    held_out_tokens: int


@dataclass(frozen=True)
class Parameters:
    """Numbers in the model, and those of them that a client trains and sends in a round (the mean, where it varies)."""

    total: int
    trained: int


@dataclass(frozen=True)
class Start:
    """What was begun, by whom and on what.

    `deployment` is "simulation" where all parties share one process; `lora_aggregation` is empty for other methods;
    `warnings` are sentences about the configuration that a reader of the result must know.
    """

    name: str
    time: str
    seed: int
    clients: tuple[Client, ...]
    parameters: Parameters
    method: str
    scheme: str
    threshold: int | None = None
    corrupt: int | None = None
    bits: int | None = None
    clip: float | str | None = None
    adversary: str = "semi-honest"
    deployment: str = "simulation"
    lora_aggregation: str = ""
    warnings: tuple[str, ...] = ()
    versions: dict[str, str] = field(default_factory=dict)
    machine: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Phase:
    """A part of the run outside its rounds, in seconds; `cached` where an earlier run's result was taken."""

    phase: str
    seconds: float
    cached: bool = False


@dataclass(frozen=True)
class Evaluation:
    """One client's held-out loss in nats a token, after a round (None: not in rounds) or at the end (`final`)."""

    arm: str
    client: str
    loss: float
    round: int | None = None
    final: bool = False
    tokens: int = 0


@dataclass(frozen=True)
class Lost:
    """A client that was lost, and the stage that it did not complete."""

    client: str
    stage: str


@dataclass(frozen=True)
class Refused:
    """A client whose message broke a rule of the protocol, and what was said about it."""

    client: str
    error: str


@dataclass(frozen=True)
class Round:
    """One federated round: seconds of wall time, bytes per client, and who was there.

    `stages` holds seconds of protection by stage, local training excluded; they add up to `protection_seconds`.
    """

    arm: str
    round: int
    seconds: float
    training_seconds: float
    protection_seconds: float
    survivors: int
    cohort: int
    stages: dict[str, float] = field(default_factory=dict)
    lost: tuple[Lost, ...] = ()
    refused: tuple[Refused, ...] = ()
    bytes_up: dict[str, int] = field(default_factory=dict)
    bytes_down: dict[str, int] = field(default_factory=dict)
    training_loss: float | None = None
    clipped_share: float | None = None
    session: str = ""


@dataclass(frozen=True)
class Aborted:
    """An attempt at a round that gave nothing, the stage in which it ended, and whether the round was begun `again`."""

    arm: str
    round: int
    stage: str
    detail: str
    again: bool = False
    seconds: float = 0.0
    lost: tuple[Lost, ...] = ()
    refused: tuple[Refused, ...] = ()


@dataclass(frozen=True)
class Resume:
    """A federated arm was taken up again, after this round."""

    round: int
    arm: str = ""
    time: str = ""


@dataclass(frozen=True)
class Privacy:
    """The differential privacy of one arm's result: (ε, δ) for every `unit`, and the facts behind it.

    `planned` is the ε that was proved before the run began; `effect` names what was done to the updates; `facts` are
    pairs of a term and a sentence, in the order in which they are shown; `gaps` say what it does not cover.
    """

    arm: str
    kind: str
    unit: str
    epsilon: float
    delta: float
    planned: float
    facts: tuple[tuple[str, str], ...]
    gaps: tuple[str, ...] = ()


@dataclass(frozen=True)
class Finish:
    """The run's end, and seconds of the process that reached it."""

    seconds: float
    time: str = ""


@dataclass(frozen=True)
class Events:
    """All that a run recorded, each thing once; rounds in order.

    A phase that several processes worked on has the sum of their seconds. `processes` counts them, ≥ 1.
    """

    start: Start
    processes: int = 1
    phases: Sequence[Phase] = ()
    evaluations: Sequence[Evaluation] = ()
    rounds: Sequence[Round] = ()
    aborted: Sequence[Aborted] = ()
    resumes: Sequence[Resume] = ()
    privacy: Privacy | None = None
    finish: Finish | None = None


_READERS: Final[dict[str, TypeAdapter[Any]]] = {
    "start": TypeAdapter(Start),
    "phase": TypeAdapter(Phase),
    "evaluation": TypeAdapter(Evaluation),
    "round": TypeAdapter(Round),
    "aborted": TypeAdapter(Aborted),
    "resume": TypeAdapter(Resume),
    "privacy": TypeAdapter(Privacy),
    "finish": TypeAdapter(Finish),
}


def read_events(path: Path) -> Events:
    """The events of a `metrics.jsonl`; kinds and fields that are not known here are passed over.

    Raises:
        PersistenceError: P1, the file is missing, holds no start, or one of its lines is damaged.
    """
    try:
        lines = [line for line in enumerate(path.read_bytes().split(b"\n"), start=1) if line[1].strip()]
    except OSError as error:
        raise PersistenceError("P1", f"{path} cannot be read: {error.strerror}") from error
    records = [(number, _record(line)) for number, line in lines]
    found: list[object] = []
    for at, (number, record) in enumerate(records):
        if record is None:
            if not _is_end([later for _, later in records[at + 1 :]]):
                raise PersistenceError("P1", f"{path.name}, line {number} is damaged: it is no JSON object")
            continue
        reader = _READERS.get(str(record.get("event")))
        if reader is not None:
            found.append(_typed(reader, record, f"{path.name}, line {number}"))
    starts = _of(Start, found)
    if not starts:
        raise PersistenceError("P1", f"{path.name} holds no start event: nothing was run here")
    return Events(
        start=starts[-1],
        processes=len(starts),
        phases=_added(_of(Phase, found)),
        evaluations=_latest(_of(Evaluation, found), lambda one: (one.arm, one.round, one.final, one.client)),
        rounds=sorted(
            _latest(_of(Round, found), lambda one: (one.arm, one.round)), key=lambda one: (one.arm, one.round)
        ),
        aborted=_latest(_of(Aborted, found), lambda one: (one.arm, one.round, one.again)),
        resumes=_of(Resume, found),
        privacy=next(reversed(_of(Privacy, found)), None),
        finish=next(reversed(_of(Finish, found)), None),
    )


def _is_end(later: Iterable[dict[str, Any] | None]) -> bool:
    """Whether a process ended here, so that half a line is what it left.

    What follows is nothing, or the next process: it starts or resumes, at most after phases that come before that.
    """
    kinds = [one.get("event") for one in later if one is not None]
    return next((kind for kind in kinds if kind != "phase"), "start") in ("start", "resume")


def _added(phases: Iterable[Phase]) -> list[Phase]:
    """Each phase once, with the seconds of all processes."""
    found: dict[str, Phase] = {}
    for one in phases:
        before = found.get(one.phase, Phase(one.phase, 0.0, cached=True))
        found[one.phase] = Phase(one.phase, before.seconds + one.seconds, before.cached and one.cached)
    return list(found.values())


def _record(line: bytes) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


def _typed(reader: TypeAdapter[Any], record: dict[str, Any], where: str) -> object:
    try:
        return reader.validate_python(record)
    except ValidationError as error:
        problem = error.errors()[0]
        name = ".".join(str(step) for step in problem["loc"])
        detail = f"{where} is damaged: {record['event']}.{name}: {problem['msg'].lower()}"
        raise PersistenceError("P1", detail) from None


def _of(kind: type[_T], found: Iterable[object]) -> list[_T]:
    return [one for one in found if isinstance(one, kind)]


def _latest(events: Iterable[_T], identity: Callable[[_T], Hashable]) -> list[_T]:
    """Each thing once, as it was written last."""
    return list({identity(one): one for one in events}.values())
