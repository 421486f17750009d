"""A statement of what a training run guarantees, in JSON, that can be recomputed from the ledger alone."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, get_args

from securefed.dp.accounting import packages
from securefed.dp.accounting.accountant import (
    Accountant,
    check_delta,
    common_relation,
    counted,
    epsilon,
    used_accountant,
)
from securefed.dp.accounting.events import Event, Relation, event_from_json
from securefed.dp.accounting.ledger_file import Head, Terms, read
from securefed.dp.accounting.unit import Unit
from securefed.errors import ConfigError, PersistenceError

__all__ = ["Certificate", "certificate_of", "recompute"]

_FORMAT: Final = "securefed privacy certificate"
_VERSION: Final = 1
_KEYS: Final = {
    "accountant", "delta", "epsilon", "epsilon_rdp", "events", "format", "head", "neighbours", "records", "unit",
    "version", "versions",
}  # fmt: skip
_CLOSE: Final = 1e-3
"""Relative difference between the figures of two versions of a library that still counts as the same."""


@dataclass(frozen=True)
class Certificate:
    """What was guaranteed, and all that is needed to compute it anew.

    Attributes:
        unit: the privacy unit.
        neighbours: the neighbouring relation; None where nothing was released.
        delta: δ.
        epsilon: the guarantee, by the accountant named.
        accountant: "pld", or "rdp" where a release has no loss distribution or δ is too small for one.
        epsilon_rdp: the second figure.
        events: each event and how often it was released.
        head: of the ledger.
        versions: of the libraries that computed the figures.
    """

    unit: Unit
    neighbours: str | None
    delta: float
    epsilon: float
    accountant: str
    epsilon_rdp: float
    events: tuple[tuple[Event, int], ...]
    head: Head
    versions: Mapping[str, str]

    def to_json(self) -> str:
        """The certificate as text; an infinite ε is the word "inf"."""
        record = {
            "format": _FORMAT,
            "version": _VERSION,
            "unit": self.unit.name,
            "records": self.unit.records,
            "neighbours": self.neighbours,
            "delta": self.delta,
            "epsilon": _number(self.epsilon),
            "accountant": self.accountant,
            "epsilon_rdp": _number(self.epsilon_rdp),
            "events": [{"event": event.to_json(), "times": times} for event, times in self.events],
            "head": self.head.to_json(),
            "versions": dict(self.versions),
        }
        return json.dumps(record, indent=1, allow_nan=False) + "\n"

    @staticmethod
    def from_json(text: str) -> Certificate:
        """The certificate of a text that `to_json` wrote. Its figures are claims: see `check` and `recompute`.

        Raises:
            PersistenceError: D12, where it is damaged or of another version.
        """
        try:
            record: dict[str, Any] = json.loads(text)
            if record.keys() != _KEYS or (record["format"], record["version"]) != (_FORMAT, _VERSION):
                raise ValueError
            check_delta(record["delta"])
            relations, accountants = (None, *get_args(Relation)), get_args(Accountant)
            if record["neighbours"] not in relations or record["accountant"] not in accountants:
                raise ValueError
            events = counted({event_from_json(item["event"]): item["times"] for item in record["events"]})
            if len(events) != len(record["events"]):
                raise ValueError
            return Certificate(
                Unit(record["unit"], record["records"]),
                record["neighbours"],
                record["delta"],
                _figure(record["epsilon"]),
                record["accountant"],
                _figure(record["epsilon_rdp"]),
                tuple(events.items()),
                Head.from_json(record["head"]),
                {str(name): str(value) for name, value in record["versions"].items()},
            )
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError, ConfigError):
            raise PersistenceError("D12", "the certificate is damaged, or of another version") from None

    def check(self, ledger_file: Path) -> None:
        """Compute everything anew from a ledger's file, and compare.

        Args:
            ledger_file: as `Ledger` wrote it; it may have gone on since.

        Raises:
            PersistenceError: D12 a damaged ledger, or a certificate that says something else than the ledger; D11 a
                ledger that knows of less than the certificate.
        """
        book = read(ledger_file)
        if isinstance(book, bytes):
            raise PersistenceError("D12", f"{ledger_file} is no ledger")
        if self.head.count > len(book.entries):
            raise PersistenceError("D11", f"{ledger_file} has fewer entries than the certificate names")
        counts = Counter[Event]()
        for entry in book.entries[: self.head.count]:
            counts[entry.event] += entry.times
        ours = certificate_of(book.terms, counts, Head(self.head.count, book.digests[self.head.count]))
        same = ("neighbours", "delta", "accountant", "head")
        wrong = [name for name in same if getattr(ours, name) != getattr(self, name)]
        wrong += [name for name in ("epsilon", "epsilon_rdp") if not _close(getattr(ours, name), getattr(self, name))]
        wrong += ["unit"] * ((ours.unit.name, ours.unit.records) != (self.unit.name, self.unit.records))
        wrong += ["events"] * (dict(ours.events) != dict(self.events))
        if wrong:
            raise PersistenceError(
                "D12", f"the ledger {ledger_file} gives another {', '.join(wrong)} than the certificate"
            )


def certificate_of(terms: Terms, counts: Mapping[Event, int], head: Head) -> Certificate:
    """The certificate of what a ledger holds."""
    records = terms.unit.records
    return Certificate(
        terms.unit,
        common_relation(counts),
        terms.delta,
        epsilon(counts, terms.delta, "pld", records),
        used_accountant(counts, terms.delta),
        epsilon(counts, terms.delta, "rdp", records),
        tuple(counts.items()),
        head,
        packages.versions(),
    )


def recompute(text: str) -> float:
    """The ε of a certificate's own events, whatever figure it claims.

    Args:
        text: a certificate as JSON.

    Raises:
        PersistenceError: D12, where it is damaged.
    """
    claimed = Certificate.from_json(text)
    return epsilon(dict(claimed.events), claimed.delta, "pld", claimed.unit.records)


def _number(value: float) -> float | str:
    return value if math.isfinite(value) else "inf"


def _figure(value: object) -> float:
    """What `_number` wrote: a number from 0, or the word "inf"."""
    if value == "inf":
        return math.inf
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise ValueError
    return float(value)


def _close(a: float, b: float) -> bool:
    return a == b or abs(a - b) <= _CLOSE * max(a, b)
