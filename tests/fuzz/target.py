"""What a fuzzing target is, and what it watches for besides exceptions: bytes that an error's text repeats."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from random import Random

from securefed.errors import ConfigError, PersistenceError

__all__ = ["OUTCOMES", "Finding", "Havoc", "Target", "check_text", "expect", "reader_target"]

Havoc = Callable[[bytes], bytes]
"""Bytes to other bytes that know nothing of any structure: libFuzzer's own mutations, or `mutation.havoc`."""

OUTCOMES = "; "
"""Between what came of several things that one execution did."""

_QUOTED = 16
_BLOCK = 8
# How bytes get into a text: hex, escapes of a repr, a list of integers, one great integer.
_DUMP = re.compile(r"[0-9a-fA-F]{32,}|(\\x[0-9a-fA-F]{2}.{0,12}){4}|(\d+, ?){15}\d")


class Finding(AssertionError):
    """An invariant does not hold."""


def expect(holds: object, what: str) -> None:
    """An invariant; an assertion that `python -O` keeps."""
    if not holds:
        raise Finding(what)


@dataclass(frozen=True)
class Target:
    """Something that takes bytes from somebody else.

    Attributes:
        name: as on the command line.
        invariant: one line.
        seeds: good inputs, and known bad ones.
        run: one execution; says what came of it (a rule, "decoded", …; several with `OUTCOMES` between them), so that
            an engine without coverage can tell a new outcome too. Whatever it raises is a finding.
        mutate: an input to another one, with knowledge of its structure.
        longest: of an input, in bytes.
        repair: makes what anyone can compute (a digest) fit again after a change.
    """

    name: str
    invariant: str
    seeds: tuple[bytes, ...] = field(repr=False)
    run: Callable[[bytes], str]
    mutate: Callable[[bytes, Random, Havoc], bytes]
    longest: int = 4096
    repair: Callable[[bytes], bytes] = bytes


def reader_target(
    name: str,
    seeds: Iterable[bytes],
    read: Callable[[bytes], None],
    mutate: Callable[[bytes, Random, Havoc], bytes],
    repair: Callable[[bytes], bytes] = bytes,
    refuses: type[PersistenceError] | type[ConfigError] = PersistenceError,
) -> Target:
    """Something stored that is read again.

    Args:
        refuses: the one error that may be raised. A ConfigError names what a user has to mend, tensors by their names.
    """

    def run(raw: bytes) -> str:
        try:
            read(raw)
        except refuses as error:
            if isinstance(error, PersistenceError):
                check_text(error, raw)
                return error.rule
            return "refused"
        return "read"

    invariant = f"what is read is whole, or {refuses.__name__}"
    return Target(name, invariant, tuple(seeds), run, mutate, 16_000, repair)


def check_text(error: BaseException, *private: bytes) -> None:
    """No error's text has 16 consecutive bytes of what was refused, or of a secret, raw or as hex.

    Args:
        private: the input, and secrets behind each other.
    """
    for one in _shown(error):
        for text in (str(one), repr(one)):
            # No text of this package has use for a digest: whatever looks like a dump of bytes is one.
            dump = _DUMP.search(text)
            expect(dump is None, f"an error's text holds what looks like bytes: {dump and dump.group()!r}")
        for blob in private:
            repeated = _repeated(str(one).encode(errors="surrogatepass"), blob)
            expect(repeated is None, f"an error's text repeats bytes: {repeated!r}")


def _shown(error: BaseException) -> Iterator[BaseException]:
    """The error and all that a traceback shows with it."""
    shown: BaseException | None = error
    while shown is not None:
        yield shown
        shown = shown.__cause__ or (None if shown.__suppress_context__ else shown.__context__)


def _repeated(text: bytes, blob: bytes) -> bytes | None:
    """16 bytes of the text that are in the blob; each such run holds a whole aligned block of 8, so these are looked
    for first."""
    for at in range(0, len(text) - _BLOCK + 1, _BLOCK):
        if text[at : at + _BLOCK] not in blob:
            continue
        for start in range(max(0, at - _BLOCK), at + 1):
            window = text[start : start + _QUOTED]
            if len(window) == _QUOTED and window in blob:
                return window
    return None
