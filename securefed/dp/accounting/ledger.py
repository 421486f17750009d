"""The book of what was spent: it is written before anything is released, and it refuses what the budget does not
hold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Any

from securefed.dp.accounting.accountant import Accountant, check_delta, check_epsilon, common_relation, epsilon
from securefed.dp.accounting.budget import Budget
from securefed.dp.accounting.certificate import Certificate, certificate_of
from securefed.dp.accounting.events import Event
from securefed.dp.accounting.ledger_file import Book, Entry, Head, LedgerFile, Terms, entry_line, read, terms_line
from securefed.dp.accounting.unit import Unit
from securefed.errors import BudgetExceeded, ConfigError, PersistenceError

__all__ = ["Ledger"]


class Ledger:
    """All releases of one model's training, and the ε that they come to.

    Keep the file with the model, on a disk that is not rolled back, and `head` in each checkpoint: a resume asks
    `require(head)`, which refuses a file that knows of less than the checkpoint. A file that knows of more is right:
    those steps were released, whether or not their checkpoint was written, and training them again costs again.

    Args:
        unit: the privacy unit.
        delta: δ of every figure, 0 < δ < 1.
        budget: the ε that no step may pass; None for no limit.
        file: where it is kept; a ledger without one is lost with the process. An existing file is gone on with; its
            unit, δ and budget must be these.
        torn: the event that was being written when an earlier process was stopped, where the file ends in mid-line and
            it is not one of those before.

    Raises:
        ConfigError: D10.
        PersistenceError: D12 a file that is damaged or for something else, P4 one that cannot be opened or has a
        writer.
    """

    def __init__(
        self,
        unit: Unit,
        delta: float,
        budget: float | None = None,
        file: Path | None = None,
        torn: Event | None = None,
    ) -> None:
        check_delta(delta)
        if budget is not None:
            check_epsilon(budget, "privacy.budget")
        self._terms = Terms(unit, float(delta), None if budget is None else float(budget))
        self._budget = None if budget is None else Budget(budget, delta, unit.records)
        self._entries: list[Entry] = []
        self._digests = [terms_line(self._terms)[1]]
        self._counts: Counter[Event] = Counter()
        self._lock = Lock()
        self._file = None if file is None else LedgerFile(file)
        if self._file is not None:
            self._take_up(self._file, torn)

    @classmethod
    def load(cls, file: Path, torn: Event | None = None) -> Ledger:
        """The ledger of an existing file, to go on with.

        Args:
            file: its path.
            torn: see the class.

        Raises:
            PersistenceError: D12, P4.
        """
        book = read(file)
        if isinstance(book, bytes):
            raise PersistenceError("D12", f"{file} has no first line: it is no ledger, or an empty one")
        return cls(book.terms.unit, book.terms.delta, book.terms.budget, file, torn)

    @property
    def unit(self) -> Unit:
        """The privacy unit."""
        return self._terms.unit

    @property
    def delta(self) -> float:
        """δ of every figure."""
        return self._terms.delta

    @property
    def budget(self) -> float | None:
        """The ε that no step may pass; None for no limit."""
        return self._terms.budget

    @property
    def events(self) -> tuple[tuple[Event, int], ...]:
        """Each event that was spent and how often, in the order of their first time."""
        return tuple(self._counts.items())

    @property
    def head(self) -> Head:
        """How far the ledger has come: for a checkpoint."""
        return Head(len(self._entries), self._digests[-1])

    def spend(self, event: Event, times: int = 1) -> None:
        """Write down a release that is about to happen; it is on disk when this returns.

        Args:
            event: what is released.
            times: how often.

        Raises:
            BudgetExceeded: D9, where ε would pass the budget; nothing is written then, and nothing may be released.
            ConfigError: D10, for an event of another neighbouring relation than those before, or of none.
            PersistenceError: P4, where the disk does not take it: the release must not happen then.
        """
        with self._lock:
            if not isinstance(event, Event) or isinstance(times, bool) or not isinstance(times, int) or times < 1:
                raise ConfigError("privacy", "[D10] an event is spent a whole number of times, at least once")
            common_relation([event, *self._counts])
            if self._budget is not None and not self._budget.allows(self._counts, event, times):
                raise BudgetExceeded(
                    f"[D9] another {event.kind} release would pass ε = {self._budget.limit:g} at δ = {self.delta:g} "
                    f"for one {self.unit.name}: nothing was released; training ends here"
                )
            entry = Entry(event, times)
            line, digest = entry_line(self._digests[-1], len(self._entries) + 1, entry)
            if self._file is not None:
                self._file.append(line + b"\n")
            self._add(entry, digest)

    def affords(self, event: Event, times: int = 1) -> bool:
        """Whether `spend` would take this.

        Args:
            event: what would be released.
            times: how often.
        """
        with self._lock:
            common_relation([event, *self._counts])
            return self._budget is None or self._budget.allows(self._counts, event, times)

    def epsilon(self, accountant: Accountant = "pld") -> float:
        """The ε of everything that was spent, at the ledger's δ and for its unit.

        Args:
            accountant: "pld", or "rdp" as a second figure.
        """
        return epsilon(self._counts, self.delta, accountant, self.unit.records)

    def require(self, head: Head | Mapping[str, Any]) -> None:
        """Refuse to go on from a checkpoint that knows of more than this ledger.

        Args:
            head: what the checkpoint kept, as it is or as the JSON object of `Head.to_json`.

        Raises:
            PersistenceError: D11, or D12 where it is no head.
        """
        head = head if isinstance(head, Head) else Head.from_json(head)
        if head.count > len(self._entries):
            raise PersistenceError(
                "D11",
                f"the checkpoint was made after {head.count} entries, the ledger has {len(self._entries)}: "
                "it forgets spending; take the one that was kept with the checkpoint",
            )
        if self._digests[head.count] != head.digest:
            raise PersistenceError(
                "D11",
                f"entry {head.count} of the ledger is not the one that the checkpoint knows: it is another ledger",
            )

    def certificate(self) -> Certificate:
        """A statement of what was guaranteed, that anyone can recompute."""
        return certificate_of(self._terms, self._counts, self.head)

    def close(self) -> None:
        """Let another process write the file. A ledger that is closed spends no more."""
        if self._file is not None:
            self._file.close()

    def __enter__(self) -> Ledger:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Ledger({self.unit.name!r}, delta={self.delta:g}, budget={self.budget}, entries={len(self._entries)})"

    def _take_up(self, file: LedgerFile, torn: Event | None) -> None:
        try:
            book = read(file.path)
            if isinstance(book, bytes):
                self._begin(file, book)
                return
            if book.terms != self._terms:
                raise PersistenceError("D12", f"{file.path} was begun as {book.terms}, not as {self._terms}")
            for entry, digest in zip(book.entries, book.digests[1:], strict=True):
                self._add(entry, digest)
            if book.torn:
                self._complete(file, book, torn)
        except BaseException:
            file.close()
            raise

    def _begin(self, file: LedgerFile, present: bytes) -> None:
        line, _ = terms_line(self._terms)
        if not line.startswith(present):
            raise PersistenceError("D12", f"{file.path} is no ledger")
        file.append(line[len(present) :] + b"\n")

    def _complete(self, file: LedgerFile, book: Book, torn: Event | None) -> None:
        """The release of a torn line never happened; it is counted all the same."""
        candidates = list[Entry]([] if torn is None else [Entry(torn, 1)])
        candidates += dict.fromkeys(reversed(book.entries))
        for entry in candidates:
            line, digest = entry_line(self._digests[-1], len(self._entries) + 1, entry)
            if line.startswith(book.torn):
                file.append(line[len(book.torn) :] + b"\n")
                self._add(entry, digest)
                return
        raise PersistenceError(
            "D12",
            f"{file.path} ends in mid-line, and no event before it begins like that: a step was interrupted, or the "
            "file was cut; open it with torn=, the event of the step that was interrupted",
        )

    def _add(self, entry: Entry, digest: str) -> None:
        self._entries.append(entry)
        self._digests.append(digest)
        self._counts[entry.event] += entry.times

    def __iter__(self) -> Iterator[tuple[Event, int]]:
        return iter([(entry.event, entry.times) for entry in self._entries])
