"""What a round's model is named by: each side computes it from what it has, and unequal ones end the round (V9)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from securefed.crypto.hashing import digest_in_domain
from securefed.encoding.layout import Layout
from securefed.encoding.tensors import BFloat16, TypedTensor

__all__ = ["model_digest"]


def model_digest(job: str, tensors: Mapping[str, TypedTensor]) -> bytes:
    """SHA-256 of configuration and weights, 32 bytes: what `RoundSpec.model` names.

    Args:
        job: names the configuration, for example its digest; the same text on all sides.
        tensors: all that clients train from, float arrays or `BFloat16`, in one order on all sides. Byte order in
            memory does not count.

    Raises:
        LocalProtocolError: V4, a dtype that is no float; V10, no parameters at all.
    """
    bits = (tensor.bits if isinstance(tensor, BFloat16) else tensor for tensor in tensors.values())
    arrays = (np.ascontiguousarray(array, array.dtype.newbyteorder("<")).data for array in bits)
    return digest_in_domain("model", len(job).to_bytes(4, "big"), job.encode(), Layout.of(tensors).digest, *arrays)
