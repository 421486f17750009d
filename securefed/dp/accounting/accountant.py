"""From events to ε: by privacy loss distributions, with Rényi divergences as a second figure.

Both are upper bounds. The first is tighter; the second is independent of it, and all there is for noise on integers.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Final, Literal, get_args

import numpy as np

from securefed.dp.accounting import loss
from securefed.dp.accounting.events import Event, Failure, Relation, relation_of
from securefed.dp.accounting.renyi import ORDERS, Curve, curve, epsilon_of
from securefed.errors import ConfigError

__all__ = [
    "Accountant", "check_delta", "check_epsilon", "common_relation", "counted", "epsilon", "failure_of", "total_curve",
    "used_accountant", "with_failure",
]  # fmt: skip

Accountant = Literal["pld", "rdp"]

_ROUNDS: Final = 200
_NUDGE: Final = 1e-6


def epsilon(
    events: Iterable[Event] | Mapping[Event, int], delta: float, accountant: Accountant = "pld", records: int = 1
) -> float:
    """The ε at which the release of all these events is (ε, δ)-differentially private: an upper bound.

    Composition is adaptive: each step may depend on what was released before.

    Args:
        events: all of them in any order, or how often each occurs.
        delta: 0 < δ < 1.
        accountant: "pld", where every event allows it and δ ≥ 10^-10, or "rdp".
        records: of one unit at most, `Unit.records`.

    Returns:
        ε ≥ 0; infinite where a release had no noise, or failures alone are more likely than δ.

    Raises:
        ConfigError: D10, for a δ or an accountant that is none, or events of different relations; `dp-accounting` is
            not installed.
    """
    check_delta(delta)
    if accountant not in get_args(Accountant):
        raise ConfigError("privacy.accountant", f"{accountant!r} is none of {', '.join(get_args(Accountant))}")
    counts = counted(events)
    common_relation(counts)
    failure = failure_of(counts)
    described = {event: count for event, count in counts.items() if not isinstance(event, Failure)}
    if not described:
        return 0.0 if 2 * failure <= delta else math.inf
    total = total_curve(described, records)

    def at(left: float) -> float:
        if used_accountant(described, left, accountant) == "rdp":
            return epsilon_of(total, left)
        return _by_distributions(described, left, records)

    return with_failure(at, delta, failure)


def used_accountant(events: Iterable[Event], delta: float, accountant: Accountant = "pld") -> Accountant:
    """The accountant whose figure `epsilon` gives: what was asked for, or "rdp" where there is no other.

    Args:
        events: all that were released.
        delta: the target.
        accountant: what is asked for.
    """
    known = all(loss.has_distribution(event) for event in events if not isinstance(event, Failure))
    return accountant if known and delta >= loss.LEAST_DELTA else "rdp"


def counted(events: Iterable[Event] | Mapping[Event, int]) -> Counter[Event]:
    """How often each event occurs.

    Raises:
        ConfigError: D10, for a number of times that is not a whole one from 0.
    """
    counts = Counter(dict(events)) if isinstance(events, Mapping) else Counter(events)
    for event, count in counts.items():
        if not isinstance(event, Event):
            raise ConfigError("privacy", f"[D10] {type(event).__name__} is no event")
        if isinstance(count, bool) or not isinstance(count, int) or count < 0:
            raise ConfigError("privacy", f"[D10] an event cannot occur {count!r} times")
    return +counts


def common_relation(events: Iterable[Event]) -> Relation | None:
    """The relation of neighbours that all these events are for; None where any will do.

    Raises:
        ConfigError: D10, where there is more than one.
    """
    found = sorted({relation for event in events if (relation := relation_of(event)) is not None})
    if len(found) > 1:
        raise ConfigError(
            "privacy", f"[D10] events of different neighbouring relations do not add up: {', '.join(found)}"
        )
    return found[0] if found else None


def check_delta(delta: float) -> None:
    """Refuse a δ outside (0, 1).

    Raises:
        ConfigError: D10.
    """
    if isinstance(delta, bool) or not isinstance(delta, int | float) or not 0 < delta < 1:
        raise ConfigError("privacy.delta", f"[D10] {delta!r} is not in (0, 1); well below 1/N is usual")


def check_epsilon(value: float, key: str = "privacy.epsilon") -> None:
    """Refuse an ε that is not above 0.

    Raises:
        ConfigError: D10.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise ConfigError(key, f"[D10] {value!r} is not above 0 and finite")


def failure_of(counts: Mapping[Event, int]) -> float:
    """The probability of all failures together, at most."""
    return math.fsum(event.probability * count for event, count in counts.items() if isinstance(event, Failure))


def total_curve(counts: Mapping[Event, int], records: int) -> Curve:
    """The Rényi divergence of all events together, at each of `ORDERS`."""
    total = np.zeros_like(ORDERS)
    for event, count in counts.items():
        total = total + count * curve(event, records)
    return total


def with_failure(at: Callable[[float], float], delta: float, probability: float) -> float:
    """The least ε for a release that differs from the described one with this probability, on either neighbour.

    With M within p of M* in total variation on every data set,
    `Pr[M(D)∈E] ≤ Pr[M*(D)∈E] + p ≤ e^ε·Pr[M*(D')∈E] + δ* + p ≤ e^ε·(Pr[M(D')∈E] + p) + δ* + p`:
    M is (ε, δ* + p(1 + e^ε))-private where M* is (ε, δ*)-private. What is left for δ* shrinks as ε grows.

    Args:
        at: ε of the described release at a δ.
        delta: the target.
        probability: p, of all events together.
    """
    bound = at(delta)
    for _ in range(_ROUNDS if probability > 0 else 0):
        left = delta - probability * (1 + math.exp(bound)) if bound < 700 else 0.0
        if left <= 0:
            return math.inf
        needed = at(left)
        if needed <= bound:
            return bound
        bound = needed + _NUDGE * max(needed, _NUDGE)
    return bound if probability == 0 else math.inf


def _by_distributions(counts: Mapping[Event, int], delta: float, records: int) -> float:
    relation = common_relation(counts)
    assert relation is not None  # noqa: S101 - only failures have none
    distribution = loss.composed(counts.items(), records, relation)
    if distribution is None:
        return math.inf
    return max(float(distribution.get_epsilon_for_delta(delta)), 0.0)
