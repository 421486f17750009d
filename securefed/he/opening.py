"""What the key holder does with a sum: open it once, and give it out only where it is the sum that it is said to be."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from securefed.crypto.keystream import Words
from securefed.encoding.scalars import sum_of_digits
from securefed.encoding.vector import VectorEncoding
from securefed.errors import RemoteProtocolError
from securefed.he.cipher import Cipher
from securefed.he.keys import RoundKey
from securefed.he.tags import PRIME, TAGS, TaggedSum

__all__ = ["NOT_THE_SUM", "open_sum"]


def open_sum(
    cipher: Cipher, key: RoundKey, encoding: VectorEncoding, payload: bytes | memoryview, survivors: Collection[int]
) -> Words:
    """The ring words of the sum of the survivors' updates, uint64, shape [encoding.words].

    Raises:
        RemoteProtocolError: H3 for what is no ciphertext, H5 where this is not the sum over exactly the survivors,
            each once. Nothing of what was opened is in the error.
    """
    lanes = np.concatenate(list(cipher.decrypt(key.secret, payload, len(survivors))))
    values, behind = lanes[: encoding.lanes_used], lanes[encoding.lanes_used :]
    total = TaggedSum(key.tags)
    # In pieces: products of all values at once would take three times the memory of the sum.
    for start in range(0, len(values), _PIECE_LANES):
        total.add(values[start : start + _PIECE_LANES])
    pads = [sum(column) for column in zip(*map(key.tags.pads, survivors), strict=True)]
    numbers = encoding.numbers
    digits = behind.reshape(TAGS, numbers.digits).tolist()
    for value, pad, tag in zip(total.values, pads, digits, strict=True):
        if (value + pad - sum_of_digits(tag, numbers.bits - 1)) % PRIME:
            raise RemoteProtocolError("H5", NOT_THE_SUM)
    return numbers.lanes.pack(values)


NOT_THE_SUM = "the ciphertext is not the sum over the clients that it is said to be of"
_PIECE_LANES = 2**16
