"""The book of what was spent, on disk: canonical JSON lines, each chained to the one before by SHA-256.

The first line is the head of the book, every further one an entry:

    {"budget":8.0,"delta":1e-06,"digest":"…","format":"securefed ledger","records":1,"unit":"example","version":1}
    {"digest":"…","event":{"kind":"poisson",…},"number":1,"times":1}

A line is written by one call and synced before anything is released. So a line that is torn belongs to a release that
never happened; it is completed and counted all the same, or refused, but not dropped. The chain shows every other
change, except that whole lines are missing at the end: that shows against the head that a checkpoint keeps.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from securefed.dp.accounting.accountant import check_delta, check_epsilon
from securefed.dp.accounting.events import Event, event_from_json
from securefed.dp.accounting.unit import Unit
from securefed.errors import ConfigError, PersistenceError

__all__ = ["Book", "Entry", "Head", "LedgerFile", "Terms", "digest_of", "read"]

_FORMAT: Final = "securefed ledger"
_VERSION: Final = 1
_START: Final = hashlib.sha256(b"securefed/1/ledger\x00").digest()
_DO: Final = "take the ledger that was kept with this model, whole: spending that is lost cannot be accounted for"


@dataclass(frozen=True)
class Head:
    """How far a ledger has come: what a checkpoint keeps of it.

    Attributes:
        count: entries.
        digest: of the last line, 64 hexadecimal digits.
    """

    count: int
    digest: str

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return {"count": self.count, "digest": self.digest}

    @staticmethod
    def from_json(entry: Any) -> Head:
        """The head of a JSON object.

        Raises:
            PersistenceError: D12, where it is none.
        """
        match entry:
            case {"count": int(count), "digest": str(digest)} if len(entry) == 2 and count >= 0 and len(digest) == 64:
                return Head(count, digest)
        raise PersistenceError("D12", "the checkpoint's head of the ledger is damaged")


@dataclass(frozen=True)
class Terms:
    """What a ledger is kept for: the same for all its entries.

    Attributes:
        unit: the privacy unit.
        delta: δ of every figure.
        budget: ε that no step may pass; None for no limit.
    """

    unit: Unit
    delta: float
    budget: float | None


@dataclass(frozen=True)
class Entry:
    """An event and how often it was released."""

    event: Event
    times: int


@dataclass(frozen=True)
class Book:
    """What a ledger's file says.

    Attributes:
        terms: its head.
        entries: in order.
        digests: of the head and of each entry: one more than there are entries.
        torn: bytes after the last whole line, of a write that was interrupted.
    """

    terms: Terms
    entries: tuple[Entry, ...]
    digests: tuple[str, ...]
    torn: bytes = b""


def terms_line(terms: Terms) -> tuple[bytes, str]:
    """The first line, without its end, and its digest."""
    record = {
        "budget": terms.budget,
        "delta": terms.delta,
        "format": _FORMAT,
        "records": terms.unit.records,
        "unit": terms.unit.name,
        "version": _VERSION,
    }
    return _chained(_START, record)


def entry_line(previous: str, number: int, entry: Entry) -> tuple[bytes, str]:
    """The line of entry `number` (from 1), without its end, and its digest."""
    record = {"event": entry.event.to_json(), "number": number, "times": entry.times}
    return _chained(bytes.fromhex(previous), record)


def digest_of(previous: bytes, record: dict[str, Any]) -> str:
    """SHA-256 of the digest before and the record's canonical JSON."""
    return hashlib.sha256(previous + _canonical(record)).hexdigest()


def read(path: Path) -> Book | bytes:
    """A ledger's file, checked.

    Returns:
        the book; or the file's bytes, where there is no whole first line yet.

    Raises:
        PersistenceError: D12, where it is damaged or of another version; P4, where it cannot be read.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise PersistenceError("P4", f"{path} could not be read ({error.strerror})") from None
    *lines, torn = raw.split(b"\n")
    if not lines:
        return raw
    try:
        terms, digests, entries = _terms(path, lines[0]), [_digest(lines[0])], list[Entry]()
        if terms_line(terms) != (lines[0], digests[0]):
            raise ValueError
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, ConfigError):
        raise PersistenceError("D12", f"{path}: line 1 is damaged; {_DO}") from None
    for number, line in enumerate(lines[1:], start=1):
        try:
            record = json.loads(line)
            entry = Entry(event_from_json(record["event"]), record["times"])
            if type(entry.times) is not int or entry.times < 1:
                raise ValueError
            expected, digest = entry_line(digests[-1], number, entry)
            if expected != line:
                raise ValueError
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError, ConfigError):
            raise PersistenceError(
                "D12", f"{path}: line {number + 1} is damaged, or not the one after line {number}; {_DO}"
            ) from None
        entries.append(entry)
        digests.append(digest)
    return Book(terms, tuple(entries), tuple(digests), torn)


class LedgerFile:
    """The one writer of a ledger's file, for as long as it lives.

    Args:
        path: of the file; made where there is none. Its folder must exist.

    Raises:
        PersistenceError: P4, where it cannot be opened, or another process writes it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._failed = False
        new = not path.exists()
        try:
            self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            self._closed = weakref.finalize(self, os.close, self._handle)
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if new:
                _sync_folder(path.parent)
        except BlockingIOError:
            self.close()
            raise PersistenceError(
                "P4", f"{path} is being written already: a ledger has one writer at a time"
            ) from None
        except OSError as error:
            raise PersistenceError("P4", f"{path} could not be opened ({error.strerror})") from None

    def append(self, data: bytes) -> None:
        """Add bytes at the end, on disk when this returns.

        Raises:
            PersistenceError: P4, where the disk does not take them. Nothing is written any more then: how much of it
                arrived is seen when the ledger is opened anew.
        """
        if self._failed or not self._closed.alive:
            raise PersistenceError("P4", f"{self.path} failed or was closed before: open the ledger anew")
        try:
            written = 0
            while written < len(data):
                written += os.write(self._handle, data[written:])
            os.fsync(self._handle)
        except OSError as error:
            self._failed = True
            raise PersistenceError("P4", f"{self.path} could not be written ({error.strerror})") from None

    def close(self) -> None:
        """Let another writer have it."""
        self._closed()


def _terms(path: Path, line: bytes) -> Terms:
    record = json.loads(line)
    version = record["version"]
    if record["format"] == _FORMAT and version != _VERSION:
        # A file's content is not repeated in an error, but for a number that may be a version.
        shown = f"version {version}" if type(version) is int and 0 <= version < 1000 else "an unknown version"
        raise PersistenceError("D12", f"{path} is a ledger of {shown}, this program reads {_VERSION}")
    check_delta(record["delta"])
    if record["budget"] is not None:
        check_epsilon(record["budget"], "privacy.budget")
    # A unit of one record needs no number: "sequence" reads back as it was given, whatever was said.
    records = record["records"]
    return Terms(Unit(record["unit"], records), record["delta"], record["budget"])


def _digest(line: bytes) -> str:
    digest = json.loads(line)["digest"]
    if not isinstance(digest, str):
        raise TypeError
    return digest


def _chained(previous: bytes, record: dict[str, Any]) -> tuple[bytes, str]:
    digest = digest_of(previous, record)
    return _canonical({"digest": digest, **record}), digest


def _canonical(record: dict[str, Any]) -> bytes:
    return json.dumps(record, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def _sync_folder(folder: Path) -> None:
    # A new name is on disk when its folder is.
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
