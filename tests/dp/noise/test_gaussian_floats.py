"""Gaussian floats: what they are made of, their tails, and how they are added."""

from __future__ import annotations

from fractions import Fraction
from math import erfc, sqrt
from typing import Any

import numpy as np
import pytest

from protocols.vector_files import seed
from securefed.dp.noise import Source, add_gaussian, discrete_gaussian, gaussian
from securefed.dp.noise.cells import BATCH
from securefed.dp.noise.discrete_gaussian import gaussian_cells
from securefed.dp.noise.gaussian import UNIT_LOG
from tests.dp.noise.scripted import Scripted


@pytest.mark.parametrize("size", [1, 1000, BATCH, BATCH + 77])
def test_floats_are_exact_values_on_a_fine_grid_rounded_once(size: int) -> None:
    exact = discrete_gaussian(Source(seed("floats")), 2.0**UNIT_LOG, size)
    floats = gaussian(Source(seed("floats")), size)
    assert floats.dtype == np.float32
    assert np.array_equal(floats, (exact / 2.0**UNIT_LOG).astype(np.float32))


def test_noise_is_scaled_and_added_in_blocks() -> None:
    size = 2 * BATCH + 5
    data = np.random.default_rng(1).standard_normal(size).astype(np.float32)
    noise = gaussian(Source(seed("added")), size)
    out = data.copy()
    add_gaussian(Source(seed("added")), out, 0.7)
    assert np.array_equal(out, data + noise * np.float32(0.7))


def test_no_deviation_no_noise() -> None:
    out = np.ones(10, np.float32)
    source = Source.fresh()
    add_gaussian(source, out, 0.0)
    assert (out == 1).all()
    assert repr(source) == "Source(0 bytes used)"


def test_a_given_vector_is_filled() -> None:
    out = np.full(5, np.nan, np.float32)
    assert gaussian(Source.fresh(), 5, out) is out
    assert np.isfinite(out).all()


def test_the_tail_goes_on_where_generators_on_32_bits_end() -> None:
    """Counts beyond 4.5 and 5 deviations, and a value at 9.3 that chosen words lead to."""
    size, blocks = 2**24, 2
    seen = dict.fromkeys((4.5, 5.0), 0)
    for block in range(blocks):
        values = np.abs(gaussian(Source(seed(f"tail/{block}")), size))
        for beyond in seen:
            seen[beyond] += int((values > beyond).sum())
    for beyond, count in seen.items():
        expected = erfc(beyond / sqrt(2)) * size * blocks
        assert abs(count - expected) < 6 * sqrt(expected), (beyond, count, expected)

    table = gaussian_cells(Fraction(4**UNIT_LOG)).table
    block = round((9.3 * 2**UNIT_LOG - table.reach) / 2**table.tail_bits)
    words = (table.first_tail << 16).to_bytes(4, "little")  # the lowest cell of the right tail
    words += (1 << block).to_bytes(8, "little") + bytes(8) + bytes(8)
    source: Any = Scripted(words)
    (value,) = gaussian(source, 1)
    assert source.left == 0
    assert value == np.float32((table.reach + (block << table.tail_bits)) / 2**UNIT_LOG)
    assert 9.1 < value < 9.5


def test_tensors_of_torch() -> None:
    torch = pytest.importorskip("torch")
    from securefed.dp.noise.torch_gaussian import add_gaussian_, gaussian_
    from securefed.errors import ConfigError

    expected = gaussian(Source(seed("torch")), 24).reshape(2, 3, 4)
    plain = torch.nn.Parameter(torch.zeros(2, 3, 4))
    double = torch.zeros(2, 3, 4, dtype=torch.float64)
    strided = torch.zeros(4, 3, 2).permute(2, 1, 0)
    for tensor in (plain, double, strided):
        gaussian_(Source(seed("torch")), tensor)
        assert np.array_equal(tensor.detach().numpy(), expected)
        add_gaussian_(Source(seed("torch")), tensor, 2.0)
        assert np.allclose(tensor.detach().numpy(), 3 * expected, rtol=1e-6)
    assert plain.requires_grad
    for dtype in (torch.bfloat16, torch.float16, torch.int64):
        with pytest.raises(ConfigError, match="convert the sum first"):
            add_gaussian_(Source.fresh(), torch.zeros(3, dtype=dtype), 1.0)
