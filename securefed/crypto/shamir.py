"""Shamir's secret sharing of 32-byte secrets over the field of 2^256 + 297.

Shamir, *How to share a secret*, CACM 1979. Python integers: their multiplication is not constant in time, which
matters to someone who measures this process and not to a peer, who only sees finished messages.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from securefed.crypto.kdf import Label, derive
from securefed.crypto.keystream import read
from securefed.crypto.reed_solomon import ReceivedWord, evaluate
from securefed.errors import RemoteProtocolError

__all__ = ["FIELD", "SECRET_BYTES", "SHARE_BYTES", "Responders", "coefficients", "locate", "share_from_bytes", "split"]

FIELD: Final = 2**256 + 297
"""The smallest prime above 2^256: every 32-byte secret is a field element."""
SECRET_BYTES: Final = 32
SHARE_BYTES: Final = 33
# 384 bits reduced modulo a 257-bit prime: a coefficient is uniform but for 2^-127.
_COEFFICIENT_BYTES: Final = 48


def coefficients(round_secret: bytes, threshold: int, context: bytes) -> list[int]:
    """The `threshold - 1` coefficients above the secret, from the stream of a key that is derived for `context`."""
    key = derive(round_secret, Label.SHARE_COEFFICIENTS, context)
    raw = read(key, _COEFFICIENT_BYTES * (threshold - 1))
    return [
        int.from_bytes(raw[at : at + _COEFFICIENT_BYTES], "big") % FIELD
        for at in range(0, len(raw), _COEFFICIENT_BYTES)
    ]


def split(secret: bytes, above: Sequence[int], indices: Sequence[int]) -> list[bytes]:
    """One share of 33 bytes for each index.

    Args:
        secret: 32 bytes.
        above: the polynomial's coefficients above the secret, lowest power first, from `coefficients`.
        indices: distinct, 1 … 2^32 − 1.
    """
    if len(secret) != SECRET_BYTES:
        raise ValueError(f"a secret has {SECRET_BYTES} bytes, got {len(secret)}")
    constant = int.from_bytes(secret, "big")
    downwards = tuple(reversed(above))
    shares = []
    for x in indices:
        y = 0
        for coefficient in downwards:
            # x is short, so y stays a few bits over the field between reductions.
            y = (y * x + coefficient) % FIELD
        shares.append(((y * x + constant) % FIELD).to_bytes(SHARE_BYTES, "big"))
    return shares


def share_from_bytes(raw: bytes) -> int:
    """A share as a field element.

    Raises:
        RemoteProtocolError: S1, where it is not below the field's prime.
    """
    value = int.from_bytes(raw, "big")
    if value >= FIELD:
        raise RemoteProtocolError("S1", "a share is outside the field")
    return value


def _check_indices(indices: Sequence[int]) -> None:
    if len(set(indices)) != len(indices) or any(not 0 < x < FIELD for x in indices):
        raise RemoteProtocolError("S2", "share indices must be distinct and not zero")


class Responders:
    """A set of share holders, with the Lagrange coefficients at zero computed once for all secrets they combine.

    Args:
        indices: the share holders whose shares are combined, exactly the threshold of them.
        threshold: how many are needed.

    Raises:
        RemoteProtocolError: S2 for index 0 or a repeated one, S3 for fewer than the threshold.
    """

    def __init__(self, indices: Sequence[int], threshold: int) -> None:
        _check_indices(indices)
        if len(indices) < threshold:
            raise RemoteProtocolError("S3", f"{len(indices)} shares, {threshold} are needed")
        self.indices = tuple(indices[:threshold])
        self._at_zero = _lagrange_at_zero(self.indices)

    def combine(self, shares: Mapping[int, bytes]) -> int:
        """The polynomial's value at zero, from the shares of 33 bytes at these indices.

        It is a secret only where it is below 2^256; the caller checks it against a commitment.

        Raises:
            RemoteProtocolError: S1 for a share outside the field, S3 for a missing one.
        """
        total = 0
        for x, weight in zip(self.indices, self._at_zero, strict=True):
            if x not in shares:
                raise RemoteProtocolError("S3", f"the share of client {x} is missing")
            try:
                total += share_from_bytes(shares[x]) * weight
            except RemoteProtocolError as error:
                raise error.blame(x) from None
        return total % FIELD


def locate(
    shares: Mapping[int, bytes], threshold: int, accepts: Callable[[int], bool]
) -> tuple[int, frozenset[int]] | None:
    """The secret in spite of wrong shares, and the indices of the wrong ones; for when `combine` gave no secret.

    Of m shares, ⌈(m − t)/2⌉ may be wrong: with a single share beyond the threshold one liar is found. Those within
    ⌊(m − t)/2⌋ are decoded at once (tens of milliseconds for m = 100, t = 67). Where m − t is odd, one more is found by
    leaving out each share in turn (tenths of a second): who is found out once is best left out of the next secrets.
    While no more than these are wrong, no right share is ever called wrong, whatever the liars know.

    A share is wrong because its holder changed it or because it was dealt wrong; nothing here tells which.

    Args:
        shares: all that came, 33 bytes each, by index (1 … 2^32 − 1); one outside the field counts as wrong.
        threshold: t.
        accepts: whether a number below 2^256 is the secret, by its commitment or its public key.

    Returns:
        None where too many are wrong, or where whoever split the secret did not share what `accepts` knows.

    Raises:
        RemoteProtocolError: S2 for index 0.
    """
    _check_indices(tuple(shares))
    points = {index: int.from_bytes(raw, "big") for index, raw in shares.items()}
    inside = {index: value for index, value in points.items() if value < FIELD}
    if len(inside) < threshold:
        return None
    for word in _words_to_decode(inside, threshold):
        polynomial = word.decoded(threshold)
        if polynomial is not None:
            secret = evaluate(polynomial, 0, FIELD)
            if secret < 2 ** (8 * SECRET_BYTES) and accepts(secret):
                right = {index for index in inside if evaluate(polynomial, index, FIELD) == inside[index]}
                return secret, frozenset(shares.keys() - right)
    return None


def _words_to_decode(points: Mapping[int, int], threshold: int) -> Iterator[ReceivedWord]:
    """All points, then all but each one of them where decoding finds one more error for it: the commitment decides."""
    word = ReceivedWord.of(points, FIELD)
    yield word
    if (len(points) - threshold) % 2:
        yield from map(word.without, points)


def _lagrange_at_zero(indices: Sequence[int]) -> list[int]:
    """`Π_{j≠i} x_j / (x_j − x_i)` for each i, with a single inversion (Montgomery's trick)."""
    everything = 1
    for x in indices:
        everything = everything * x % FIELD
    # Π_{j≠i} x_j / (x_j − x_i) = (Π x_j) / (x_i Π_{j≠i} (x_j − x_i))
    below = []
    for x in indices:
        product = x
        for other in indices:
            if other != x:
                product = product * (other - x) % FIELD
        below.append(product)
    running = [1]
    for value in below:
        running.append(running[-1] * value % FIELD)
    inverse = pow(running[-1], -1, FIELD)
    weights = [0] * len(below)
    for at in reversed(range(len(below))):
        weights[at] = everything * inverse * running[at] % FIELD
        inverse = inverse * below[at] % FIELD
    return weights
