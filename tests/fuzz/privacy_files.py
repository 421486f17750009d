"""What differential privacy keeps on disk and reads again: ledgers, certificates, the state of correlated noise."""

from __future__ import annotations

import hashlib
import json
from random import Random
from typing import Final

from securefed.dp.accounting import (
    Certificate,
    DiscreteGaussianSum,
    Failure,
    Gaussian,
    Ledger,
    PoissonSampled,
    Skellam,
    TruncatedPoissonSampled,
    Unit,
)
from securefed.dp.accounting.ledger_file import read as read_book
from tests.fuzz.files import _file, _mutate_lines
from tests.fuzz.mutation import mutate_json
from tests.fuzz.scratch import folder
from tests.fuzz.target import Havoc, Target, expect, reader_target

__all__ = ["certificate_target", "chained", "ledger_target"]

_EVENTS: Final = (
    Gaussian(2.0), PoissonSampled(0.01, 1.0), TruncatedPoissonSampled(100, 0.1, 20, 1.0), Skellam(10, 4.0, 100.0),
    DiscreteGaussianSum(4.0, 3.0, 5, 10), Failure(2.0**-90),
)  # fmt: skip
_START: Final = hashlib.sha256(b"securefed/1/ledger\x00").digest()


def _whole() -> bytes:
    path = folder() / "a whole ledger"
    path.unlink(missing_ok=True)
    with Ledger(Unit("user", 2), 1e-6, 1000.0, path) as ledger:
        for event in (_EVENTS[0], _EVENTS[1], _EVENTS[5]):
            ledger.spend(event, 3)
    return path.read_bytes()


def chained(raw: bytes) -> bytes:
    """The lines with digests that fit, so that changes reach what stands behind them."""
    previous, out = _START, []
    for line in raw.split(b"\n"):
        try:
            record = json.loads(line)
            del record["digest"]
            canonical = json.dumps(record, sort_keys=True, separators=(",", ":")).encode()
        except (ValueError, TypeError, KeyError, RecursionError):
            out.append(line)
            continue
        previous = hashlib.sha256(previous + canonical).digest()
        whole = {"digest": previous.hex(), **record}
        out.append(json.dumps(whole, sort_keys=True, separators=(",", ":")).encode())
    return b"\n".join(out)


def ledger_target() -> Target:
    """A ledger's file; what is read has entries that each cost something finite, and none is forgotten."""

    def read(raw: bytes) -> None:
        book = read_book(_file("ledger", raw))
        if isinstance(book, bytes):
            expect(b"\n" not in book, "a first line that is not looked at")
            return
        expect(len(book.entries) + 1 == len(book.digests), "an entry without a digest")
        expect(raw.count(b"\n") == len(book.digests), "a line that is no entry")
        expect(all(entry.times >= 1 for entry in book.entries), "an entry that happened never")
        expect(0 < book.terms.delta < 1, "no δ")

    def mutate(raw: bytes, rng: Random, havoc: Havoc) -> bytes:
        changed = _mutate_lines(raw, rng, havoc)
        return chained(changed) if rng.randrange(3) else changed

    whole = _whole()
    return reader_target("ledger", (b"", whole, whole[:-1], whole[:-20], whole[:30]), read, mutate, chained)


def certificate_target() -> Target:
    """A certificate's text; what is read can be written again."""
    with Ledger(Unit("sequence"), 1e-6) as ledger:
        for event in (_EVENTS[0], _EVENTS[5]):
            ledger.spend(event)
        text = ledger.certificate().to_json().encode()

    def read(raw: bytes) -> None:
        claimed = Certificate.from_json(raw.decode("utf-8", "replace"))
        again = Certificate.from_json(claimed.to_json())
        expect(again == claimed, "a certificate that reads back as another one")

    def mutate(raw: bytes, rng: Random, havoc: Havoc) -> bytes:
        return mutate_json(raw, rng) if rng.randrange(4) else havoc(raw)

    return reader_target("certificate", (text,), read, mutate)
