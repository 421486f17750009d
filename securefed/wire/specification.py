"""What the server offers for one round, and every key of the round is bound to."""

from __future__ import annotations

import struct
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from operator import lt
from typing import Final

from securefed.crypto.hashing import DIGEST_BYTES, digest
from securefed.encoding.quantize import Numbers
from securefed.errors import ConfigError, RemoteProtocolError
from securefed.wire.adversary import ADVERSARY_BYTES, Adversary

__all__ = ["GREATEST_COHORT", "NAMED_LATER", "NONCE_BYTES", "RoundSpec", "ascending"]

GREATEST_COHORT: Final = 2**20
NONCE_BYTES: Final = 32
NAMED_LATER: Final = bytes(DIGEST_BYTES)
"""In place of the model's digest: the round is being prepared, and its model is named when it is known."""
_FIXED: Final = struct.Struct(f">32sI{ADVERSARY_BYTES}s32s32sQIIB7sdI")
GREATEST_SPECIFICATION: Final = _FIXED.size + 4 * GREATEST_COHORT


def ascending(ids: Sequence[int]) -> bool:
    """Whether ids are strictly ascending and none is 0, the server's."""
    return all(map(lt, ids, islice(ids, 1, None))) and (not ids or ids[0] > 0)


@dataclass(frozen=True)
class RoundSpec:
    """One attempt at one round.

    Attributes:
        nonce: 32 fresh bytes from the operating system, for this attempt alone.
        round: 0 … 2^32 − 1.
        adversary: who the round is protected against.
        model: digest of the model and configuration that clients train from, 32 bytes; or `NAMED_LATER`.
        layout: digest of the update's layout, 32 bytes.
        values: number of parameters.
        scalars: number of scalars behind them.
        bits, clip, greatest_weight: see `encoding.quantize.Numbers`.
        cohort: client ids, strictly ascending, each 1 … 2^32 − 1.

    Raises:
        ConfigError: for fields outside their bounds, and V8 where the cohort's sum cannot fit a word.
    """

    nonce: bytes
    round: int
    adversary: Adversary
    model: bytes
    layout: bytes
    values: int
    scalars: int
    bits: int
    clip: float
    greatest_weight: int
    cohort: tuple[int, ...]

    def __post_init__(self) -> None:
        problem = self._problem()
        if problem:
            raise ConfigError("round specification", problem)
        _ = self.numbers

    def _problem(self) -> str | None:
        sizes = (len(self.nonce), len(self.model), len(self.layout))
        if sizes != (NONCE_BYTES, DIGEST_BYTES, DIGEST_BYTES):
            return "nonce and digests must have 32 bytes each"
        if not 0 <= self.round < 2**32:
            return f"round {self.round} is not in 0 … 2^32 - 1"
        if not 1 <= self.values < 2**64:
            return f"{self.values} parameters: there must be at least one"
        if not 1 <= self.scalars < 2**32:
            return f"{self.scalars} scalars: the weight is always there"
        if not 1 <= len(self.cohort) <= GREATEST_COHORT:
            return f"a cohort of {len(self.cohort)} clients is not in 1 … {GREATEST_COHORT}"
        if not ascending(self.cohort) or self.cohort[-1] >= 2**32:
            return "the cohort's ids must be strictly ascending and in 1 … 2^32 - 1"
        return self.adversary.infeasible(len(self.cohort))

    @property
    def prepared(self) -> bool:
        """Whether its set-up may be done before its model is known."""
        return self.model == NAMED_LATER

    @cached_property
    def threshold(self) -> int:
        """L: least number of clients in a sum, and of answers in a stage."""
        return self.adversary.least_survivors(len(self.cohort))

    def position(self, client: int) -> int:
        """Where a client of the cohort stands in it, from 0."""
        return bisect_left(self.cohort, client)

    @cached_property
    def numbers(self) -> Numbers:
        """How this round writes numbers."""
        return Numbers(len(self.cohort), self.bits, self.clip, self.greatest_weight)

    @property
    def words(self) -> int:
        """Ring words of one vector."""
        return self.numbers.words(self.values, self.scalars)

    def pack(self) -> bytes:
        """The canonical bytes: the body of OFFER."""
        fixed = _FIXED.pack(
            self.nonce, self.round, self.adversary.pack(), self.model, self.layout, self.values, self.scalars,
            self.greatest_weight, self.bits, bytes(7), self.clip, len(self.cohort),
        )  # fmt: skip
        return fixed + struct.pack(f">{len(self.cohort)}I", *self.cohort)

    @cached_property
    def session(self) -> bytes:
        """SHA-256 of the canonical bytes: the name of this attempt, bound into every key."""
        return digest(self.pack())

    @classmethod
    def parse(cls, body: memoryview) -> RoundSpec:
        """The specification of an OFFER's body.

        Raises:
            RemoteProtocolError: W15, whatever is wrong with it.
        """
        if len(body) < _FIXED.size:
            raise RemoteProtocolError("W15", f"a specification of {len(body)} bytes is too short")
        nonce, round_, adversary, model, layout, values, scalars, weight, bits, zero, clip, n = _FIXED.unpack_from(body)
        if any(zero):
            raise RemoteProtocolError("W15", "reserved bytes are set")
        if len(body) != _FIXED.size + 4 * n:
            raise RemoteProtocolError("W15", f"a specification for {n} clients has {len(body)} bytes")
        cohort = struct.unpack_from(f">{n}I", body, _FIXED.size)
        parsed = Adversary.parse(adversary)
        try:
            return cls(nonce, round_, parsed, model, layout, values, scalars, bits, clip, weight, cohort)
        except ConfigError as error:
            raise RemoteProtocolError("W15", error.detail) from None
