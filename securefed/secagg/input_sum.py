"""The running sum of masked inputs, and who attested to have masked within which set."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from securefed.crypto.keystream import Words
from securefed.crypto.signing import verifies
from securefed.encoding.lanes import packed_length, unpack_bits
from securefed.errors import RemoteProtocolError
from securefed.participation import ClientId
from securefed.secagg.stages import expected_from
from securefed.wire.from_client import Input
from securefed.wire.specification import RoundSpec
from securefed.wire.vector_writer import WordsReader

__all__ = ["InputSum"]


class InputSum:
    """Adds whole inputs or none of them.

    Args:
        spec: of the round.
        attested: the digest that attestations sign; None where a round has none.
        identities: public identity keys, for them.

    Attributes:
        total: Σ of the ring words, uint64, modulo 2^64.
        attestations: of those in the sum, 64 bytes each.
    """

    def __init__(self, spec: RoundSpec, attested: bytes | None, identities: Mapping[ClientId, bytes]) -> None:
        self._spec = spec
        self._attested = attested
        self._identities = identities
        self.total: Words = np.zeros(spec.words, "<u8")
        self.attestations: dict[ClientId, bytes] = {}

    def add(self, client: ClientId, message: bytes) -> None:
        """An INPUT message.

        Raises:
            RemoteProtocolError: wire rules, G4.
        """
        spec, ring_bits = self._spec, self._spec.numbers.lanes.ring_bits
        length, attested = packed_length(spec.words, ring_bits), self._attested is not None
        read = Input.decode(message, expected_from(spec, client), length, attested=attested)
        self._check(client, read.attestation)
        self._add(client, read.attestation, unpack_bits(read.words, spec.words, ring_bits))

    def add_pieces(self, client: ClientId, chunks: Iterable[bytes | memoryview]) -> None:
        """An INPUT message in pieces. Memory: its ring words, until the last byte has come and been checked.

        Raises:
            RemoteProtocolError: as `add`.
        """
        spec, ring_bits = self._spec, self._spec.numbers.lanes.ring_bits
        reader = WordsReader(
            expected_from(spec, client), spec.words, ring_bits, attested=self._attested is not None
        )  # fmt: skip
        for chunk in chunks:
            reader.feed(chunk)
        words = reader.finish(lambda attestation: self._check(client, attestation))
        self._add(client, reader.attestation, words)

    def taken_up(self, total: bytes | memoryview, attestations: Mapping[ClientId, bytes]) -> None:
        """The sum of a stored session."""
        words = np.frombuffer(total, "<u8").copy()
        if words.shape != self.total.shape:
            raise ValueError("a sum of another length")
        self.total = words
        self.attestations = dict(attestations)

    def _check(self, client: ClientId, attestation: bytes) -> None:
        if self._attested is not None and not verifies(self._identities[client], self._attested, attestation):
            raise RemoteProtocolError("G4", "an input that is not attested to be masked within those who shared")

    def _add(self, client: ClientId, attestation: bytes, words: Words) -> None:
        # Last of all: of an input that is refused nothing is added, and no neighbour is sent an attestation.
        self.total += words
        if self._attested is not None:
            self.attestations[client] = attestation
