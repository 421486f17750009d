"""The ledger: canonical JSON lines, each with the SHA-256 of the digest before it and its own content."""

import json
from dataclasses import dataclass
from typing import Any

from protocols.dp_sgd.reference import check_delta, check_epsilon, gaussian_epsilon
from protocols.notation import H, RuleBroken, require

START = H(b"securefed/1/ledger\x00")
FORMAT, VERSION = "securefed ledger", 1


@dataclass
class Book:
    """A ledger's lines, without their ends; the first is its head."""

    lines: list[str]

    @property
    def digests(self) -> list[str]:
        """Of every line."""
        return [json.loads(line)["digest"] for line in self.lines]


def canonical(record: dict[str, Any]) -> str:
    """JSON with sorted names, no spaces, ASCII, doubles in their shortest form."""
    return json.dumps(record, sort_keys=True, separators=(",", ":"), allow_nan=False)


def chained(previous: bytes, record: dict[str, Any]) -> str:
    """The line of a record."""
    digest = H(previous + canonical(record).encode()).hex()
    return canonical({"digest": digest, **record})


def begin(unit: str, records: int, delta: float, budget: float | None) -> Book:
    """An empty ledger."""
    check_delta(delta)
    if budget is not None:
        check_epsilon(budget)
    record = {"budget": budget, "delta": delta, "format": FORMAT, "records": records, "unit": unit, "version": VERSION}
    return Book([chained(START, record)])


def spend(book: Book, event: dict[str, Any], times: int) -> None:
    """Add an entry. Pre-condition for a book with a budget: all events are unsampled Gaussians of one record a unit."""
    head = json.loads(book.lines[0])
    if head["budget"] is not None:
        entries = [json.loads(line) for line in book.lines[1:]] + [{"event": event, "times": times}]
        multipliers = [entry["event"]["noise_multiplier"] for entry in entries for _ in range(entry["times"])]
        require(gaussian_epsilon(multipliers, head["delta"]) <= head["budget"], "D9", "the budget is spent")
    record = {"event": event, "number": len(book.lines), "times": times}
    book.lines.append(chained(bytes.fromhex(book.digests[-1]), record))


def read(text: str) -> Book:
    """The ledger of a file's text: D12. Here a torn last line is refused: completing it needs the event."""
    *lines, rest = text.split("\n")
    require(rest == "" and len(lines) > 0, "D12", "the last line is torn")
    previous = START
    for number, line in enumerate(lines):
        try:
            record = json.loads(line)
            digest = record.pop("digest")
            good = chained(previous, record) == line and (record.get("number", 0), "format" in record) == (
                number,
                number == 0,
            )
            if number == 0:
                good = good and (record["format"], record["version"]) == (FORMAT, VERSION)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            raise RuleBroken("D12", f"line {number + 1} is damaged") from None
        require(good, "D12", f"line {number + 1} is damaged, of another version, or not the one after the line before")
        previous = bytes.fromhex(digest)
    return Book(lines)


def resume(book: Book, count: int, digest: str) -> None:
    """Go on from a checkpoint that knows of so many entries, the last with this digest: D11."""
    require(count < len(book.lines), "D11", "the ledger has fewer entries than the checkpoint knows of")
    require(book.digests[count] == digest, "D11", "it is another ledger")
