"""Taking the masks off a sum: combine the seeds that t holders helped to open, check each, take its stream off."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from securefed.crypto.keystream import StreamSum, Words
from securefed.crypto.shamir import SECRET_BYTES, Responders, locate
from securefed.crypto.x25519 import PrivateKey
from securefed.errors import RemoteProtocolError
from securefed.secagg.graph import Neighbourhood, mask_peers
from securefed.secagg.keys import PairContext, commitment, self_mask_key
from securefed.wire.specification import RoundSpec

__all__ = ["Evidence", "unmask"]


_STREAMS_AT_ONCE = 64
"""Open cipher contexts while the sum is passed over: a few kilobytes each."""


@dataclass(frozen=True, repr=False)
class Evidence:
    """What the server has when the last stage closes.

    Attributes:
        threshold: t, shares that open a seed.
        pairs: what masks are bound to.
        mask_keys: advertised public mask keys by client.
        commitments: to the self-mask seeds, of all that shared.
        neighbourhoods: of all that shared.
        survived: for all that shared, whether the input arrived.
        released: by client, the shares of it by holder.
    """

    spec: RoundSpec
    threshold: int
    pairs: PairContext
    mask_keys: Mapping[int, bytes]
    commitments: Mapping[int, bytes]
    neighbourhoods: Mapping[int, Neighbourhood]
    survived: Mapping[int, bool]
    released: Mapping[int, Mapping[int, bytes]]


def unmask(total: Words, evidence: Evidence) -> list[RemoteProtocolError]:
    """Take all masks off the sum of the survivors' words, in place, modulo 2^64 (a multiple of the ring).

    Returns:
        S7 for each share that was found wrong, with its sender as peer; the sum is right without it.

    Raises:
        RemoteProtocolError: S3, S5 or S6 with the client whose seed cannot be opened.
    """
    opening = _Opening(evidence)
    peers = mask_peers({client: evidence.neighbourhoods[client] for client in evidence.survived})
    terms: list[tuple[bytes, int]] = []
    for client, alive in evidence.survived.items():
        if alive:
            seed = opening.self_mask_seed(client)
            terms.append((self_mask_key(seed, evidence.pairs.session, client), -1))
        else:
            key = opening.mask_key(client)
            terms += [
                # A survivor added the stream where its id is the smaller one.
                (evidence.pairs.mask_key(key, evidence.mask_keys[peer], client, peer), -1 if peer < client else +1)
                for peer in sorted(peers[client])
                if evidence.survived[peer]
            ]
    for start in range(0, len(terms), _STREAMS_AT_ONCE):
        StreamSum(terms[start : start + _STREAMS_AT_ONCE]).add_to(total)
    return opening.wrong


class _Opening:
    """Combines seeds; one set of holders pays for its Lagrange coefficients once."""

    def __init__(self, evidence: Evidence) -> None:
        self._evidence = evidence
        self._responders: dict[tuple[int, ...], Responders] = {}
        self._found_out: set[int] = set()
        self.wrong: list[RemoteProtocolError] = []

    def self_mask_seed(self, client: int) -> bytes:
        """The client's self-mask seed, checked against its commitment."""
        session, promised = self._evidence.spec.session, self._evidence.commitments[client]
        return self._open(client, lambda seed: commitment(seed, session, client) == promised, "S5", "self-mask seed")

    def mask_key(self, client: int) -> PrivateKey:
        """The client's private mask key, checked against the advertised public one."""
        public = self._evidence.mask_keys[client]
        return PrivateKey(self._open(client, lambda seed: PrivateKey(seed).public == public, "S6", "mask key"))

    def _open(self, client: int, fits: Callable[[bytes], bool], rule: str, what: str) -> bytes:
        shares, threshold = self._evidence.released.get(client, {}), self._evidence.threshold

        def accepts(value: int) -> bool:
            return value < 2 ** (8 * SECRET_BYTES) and fits(value.to_bytes(SECRET_BYTES, "big"))

        for holders in self._choices(shares):
            try:
                secret = self._set(holders).combine(shares)
            except RemoteProtocolError as error:
                raise error.blame(client) from None
            if accepts(secret):
                return secret.to_bytes(SECRET_BYTES, "big")
        located = locate(shares, threshold, accepts) if len(shares) > threshold else None
        if located is None:
            raise RemoteProtocolError(rule, f"the combined {what} is not the one promised", client)
        secret, wrong = located
        self._found_out |= wrong
        self.wrong += [
            RemoteProtocolError("S7", f"a wrong share of the {what} of client {client}", holder)
            for holder in sorted(wrong)
        ]
        return secret.to_bytes(SECRET_BYTES, "big")

    def _choices(self, shares: Mapping[int, bytes]) -> list[tuple[int, ...]]:
        """Whose shares to combine: of those that were not found out where they are enough, then of all.

        Who sent one wrong share has most likely sent more, and to locate each costs thousands of combinations. All are
        still asked in the end: the share that was wrong may have been dealt so.
        """
        threshold = self._evidence.threshold
        trusted = tuple(sorted(shares.keys() - self._found_out)[:threshold])
        everyone = tuple(sorted(shares)[:threshold])
        return [everyone] if trusted == everyone or len(trusted) < threshold else [trusted, everyone]

    def _set(self, indices: tuple[int, ...]) -> Responders:
        if indices not in self._responders:
            self._responders[indices] = Responders(indices, self._evidence.threshold)
        return self._responders[indices]
