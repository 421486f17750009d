"""The model's name: the same bits have the same one, whatever library they come from."""

from __future__ import annotations

import numpy as np
import pytest

from securefed.deployment import model_digest
from securefed.encoding.tensors import BFloat16
from securefed.errors import LocalProtocolError
from securefed.federated.loop import model_digest as the_loops

WEIGHTS = {"w": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.float64([1.5])}


def test_it_is_the_loops() -> None:
    assert the_loops is model_digest
    assert len(model_digest("job", WEIGHTS)) == 32


def test_bfloat16_counts_by_its_bits() -> None:
    bits = np.uint16([0x3F80, 0xC000])
    digest = model_digest("job", {"w": BFloat16(bits)})
    assert digest == model_digest("job", {"w": BFloat16(bits.astype(">u2"))})
    others = ({"w": BFloat16(bits[::-1])}, {"w": bits.view(np.float16)}, {"w": BFloat16(bits.reshape(1, 2))})
    assert len({digest, *(model_digest("job", other) for other in others)}) == 4


def test_memory_order_and_byte_order_do_not_count() -> None:
    digest = model_digest("job", WEIGHTS)
    assert model_digest("job", {**WEIGHTS, "w": np.asfortranarray(WEIGHTS["w"])}) == digest
    assert model_digest("job", {**WEIGHTS, "w": WEIGHTS["w"].astype(">f4")}) == digest


def test_integers_are_no_weights() -> None:
    with pytest.raises(LocalProtocolError, match="V4"):
        model_digest("job", {"w": np.arange(3)})
