"""What was released, in numbers: everything that an accountant needs to know of a step, and nothing of the data.

A noise multiplier is the deviation of the noise over the sensitivity *C* of the clipped sum: one record's contribution
has an ℓ₂ norm of at most *C*. Events are written into ledgers and certificates as JSON objects with their `kind`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, Final, Literal, get_args

from securefed.errors import ConfigError

__all__ = [
    "DiscreteGaussianSum", "Event", "Failure", "Gaussian", "PoissonSampled", "Relation", "Skellam",
    "TruncatedPoissonSampled", "event_from_json",
]  # fmt: skip

Relation = Literal["zero-out", "add-or-remove-one", "replace-one"]
"""What two neighbouring data sets differ in: one unit's records are empty in one of them (they contribute nothing, and
everything else, the number of records included, is the same); are missing in one of them; or are others."""

ZERO_OUT: Final[Relation] = "zero-out"
_RELATIONS: Final = get_args(Relation)


@dataclass(frozen=True)
class Event:
    """A release. Its subclasses say of which mechanism.

    Raises:
        ConfigError: D10, for a number outside its bounds.
    """

    kind: ClassVar[str]

    def __post_init__(self) -> None:
        if problem := self._problem():
            raise ConfigError("privacy", f"[D10] {self.kind}: {problem}")

    def _problem(self) -> str:
        """What is wrong with the numbers; empty where nothing is."""
        raise NotImplementedError

    def to_json(self) -> dict[str, Any]:
        """The event as a JSON object: its `kind` and its numbers."""
        return {"kind": self.kind, **asdict(self)}

    @staticmethod
    def from_json(entry: Mapping[str, Any]) -> Event:
        """See `event_from_json`."""
        return event_from_json(entry)


@dataclass(frozen=True)
class _Related(Event):
    """An event that holds under one neighbouring relation."""

    def _related_problem(self, *values: tuple[str, float, bool]) -> str:
        relation = getattr(self, "relation")  # noqa: B009 - a field of every subclass, the last for its default
        if relation not in _RELATIONS:
            return f"the relation {relation!r} is none of {', '.join(_RELATIONS)}"
        return next((f"{name} {value!r} is out of range" for name, value, good in values if not good), "")


@dataclass(frozen=True)
class Gaussian(_Related):
    """The Gaussian mechanism on all records: no sampling, no amplification.

    Args:
        noise_multiplier: z ≥ 0; 0 is no privacy at all (ε = ∞).
        relation: of neighbours. Under "replace-one" a sum moves by up to 2·C, which the accountant allows for.
    """

    kind: ClassVar[str] = "gaussian"
    noise_multiplier: float
    relation: Relation = ZERO_OUT

    def _problem(self) -> str:
        return self._related_problem(("noise multiplier", self.noise_multiplier, _noise(self.noise_multiplier)))


@dataclass(frozen=True)
class PoissonSampled(_Related):
    """The Gaussian mechanism on a Poisson sample.

    Args:
        rate: q, 0 < q ≤ 1: each record is in the sample with this probability, independently.
        noise_multiplier: z ≥ 0.
        relation: of neighbours.
    """

    kind: ClassVar[str] = "poisson"
    rate: float
    noise_multiplier: float
    relation: Relation = ZERO_OUT

    def _problem(self) -> str:
        return self._related_problem(
            ("rate", self.rate, _rate(self.rate)),
            ("noise multiplier", self.noise_multiplier, _noise(self.noise_multiplier)),
        )


@dataclass(frozen=True)
class TruncatedPoissonSampled(_Related):
    """The Gaussian mechanism on a Poisson sample that is cut to a uniform subset where it is larger than a cap.

    A record that is drawn may push another one out, so where the sample is cut the sum moves by up to 2·C. That case
    has its own, small probability, and is accounted (arXiv 2508.15089, Section 4).

    Args:
        examples: N, the number of records.
        rate: q, 0 < q ≤ 1.
        most: B, the cap, 1 … N.
        noise_multiplier: z ≥ 0.
        relation: of neighbours. Under "add-or-remove-one" the larger of two neighbours has N + 1 records.
    """

    kind: ClassVar[str] = "truncated"
    examples: int
    rate: float
    most: int
    noise_multiplier: float
    relation: Relation = ZERO_OUT

    def _problem(self) -> str:
        return self._related_problem(
            ("examples", self.examples, _count(self.examples)),
            ("rate", self.rate, _rate(self.rate)),
            ("cap", self.most, _count(self.most) and self.most <= self.examples),
            ("noise multiplier", self.noise_multiplier, _noise(self.noise_multiplier)),
        )


@dataclass(frozen=True)
class Skellam(_Related):
    """A sum of integers with Skellam noise: the difference of two Poisson variables (arXiv 2110.04995).

    Args:
        l1: ℓ₁ sensitivity of the integer vector, a whole number ≥ 0.
        l2: ℓ₂ sensitivity, > 0, at most l1.
        variance: of the whole noise in each coordinate, over all clients whose noise is in the sum: μ > 0.
        relation: of neighbours that the sensitivities are for.
    """

    kind: ClassVar[str] = "skellam"
    l1: float
    l2: float
    variance: float
    relation: Relation = ZERO_OUT

    def _problem(self) -> str:
        return self._related_problem(
            ("ℓ2 sensitivity", self.l2, _positive(self.l2)),
            ("ℓ1 sensitivity", self.l1, _positive(self.l1) and self.l1 * (1 + 1e-9) >= self.l2),
            ("variance", self.variance, _positive(self.variance)),
        )


@dataclass(frozen=True)
class DiscreteGaussianSum(_Related):
    """A sum of integers with discrete Gaussian noise of each client (arXiv 2102.06387, Theorem 1).

    A sum of discrete Gaussians is not one, but close: the distance grows with the dimension, and is accounted.

    Args:
        l2: ℓ₂ sensitivity of the integer vector, > 0.
        sigma: deviation parameter of one client's noise, ≥ 1/2.
        clients: n, how many noises are in the sum.
        dimension: d, coordinates of the vector.
        l1: ℓ₁ sensitivity, where known; √d·l2 otherwise.
        relation: of neighbours that the sensitivities are for.
    """

    kind: ClassVar[str] = "discrete-gaussian-sum"
    l2: float
    sigma: float
    clients: int
    dimension: int
    l1: float | None = None
    relation: Relation = ZERO_OUT

    def _problem(self) -> str:
        l1 = math.sqrt(self.dimension) * self.l2 if self.l1 is None else self.l1
        return self._related_problem(
            ("ℓ2 sensitivity", self.l2, _positive(self.l2)),
            ("sigma", self.sigma, _positive(self.sigma) and self.sigma >= 0.5),
            ("clients", self.clients, _count(self.clients)),
            ("dimension", self.dimension, _count(self.dimension)),
            ("ℓ1 sensitivity", l1, _positive(l1) and l1 * (1 + 1e-9) >= self.l2),
        )


@dataclass(frozen=True)
class Failure(Event):
    """The release was not the one that other events describe, with at most this probability.

    For each data set the released value's distribution is within `probability` of the described one in total variation:
    a modulus that may wrap, a value that may be clamped. It holds under every relation.

    Args:
        probability: 0 ≤ p < 1.
    """

    kind: ClassVar[str] = "failure"
    probability: float

    def _problem(self) -> str:
        return (
            "" if _finite(self.probability) and 0 <= self.probability < 1 else f"{self.probability!r} is no probability"
        )


_KINDS: Final[dict[str, type[Event]]] = {
    cls.kind: cls for cls in (Gaussian, PoissonSampled, TruncatedPoissonSampled, Skellam, DiscreteGaussianSum, Failure)
}


def event_from_json(entry: Mapping[str, Any]) -> Event:
    """The event of a JSON object that `Event.to_json` made.

    Raises:
        ConfigError: D10, where it is none.
    """
    cls = _KINDS.get(entry.get("kind", "")) if isinstance(entry.get("kind"), str) else None
    if cls is None:
        raise ConfigError("privacy", "[D10] an event of an unknown kind")
    if entry.keys() != {"kind", *(field.name for field in fields(cls))}:
        raise ConfigError("privacy", f"[D10] {cls.kind}: fields are missing or added")
    return cls(**{name: value for name, value in entry.items() if name != "kind"})


def relation_of(event: Event) -> Relation | None:
    """The neighbouring relation that an event's figure holds under; None for any."""
    relation: Relation | None = getattr(event, "relation", None)
    return relation


def _finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _positive(value: float) -> bool:
    return _finite(value) and value > 0


def _noise(value: float) -> bool:
    return _finite(value) and value >= 0


def _rate(value: float) -> bool:
    return _finite(value) and 0 < value <= 1


def _count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
