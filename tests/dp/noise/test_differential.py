"""Our samplers and the reference: the same table and the same integers for any variance."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.distributed_noise import samplers as reference
from protocols.vector_files import seed
from securefed.dp.noise import Source, discrete_gaussian, discrete_gaussian_of_variance, skellam
from securefed.dp.noise.cells import BATCH, Cells
from securefed.dp.noise.discrete_gaussian import gaussian_cells
from securefed.dp.noise.skellam import skellam_cells
from tests.dp.noise.scripted import StreamWords


def fractions(least: Fraction, greatest: Fraction) -> st.SearchStrategy[Fraction]:
    return st.builds(Fraction, st.integers(1, 2**40), st.integers(1, 2**40)).map(
        lambda ratio: min(max(ratio, least), greatest)
    )


def same_table(cells: Cells, table: reference.Table) -> bool:
    ours = cells.table
    return (
        [table.b, table.R, table.b + table.q, table.N, table.t]
        == [ours.low_bits, ours.reach, ours.tail_bits, ours.height, ours.tail_cells]
        and table.sure == ours.sure.tolist()
        and table.open_cells == list(zip(ours.open_starts.tolist(), ours.open_levels.tolist(), strict=True))
    )


@given(variance=fractions(Fraction(1, 2**8), Fraction(2**96)), key=st.binary(min_size=32, max_size=32))
@settings(max_examples=15)
def test_discrete_gaussian(variance: Fraction, key: bytes) -> None:
    table = reference.table(reference.Gaussian(variance))
    assert same_table(gaussian_cells(variance), table)
    assert discrete_gaussian_of_variance(Source(key), variance, 400).tolist() == reference.sample(
        table, 400, StreamWords(key)
    )


@given(variance=fractions(Fraction(1, 2**20), Fraction(2**18)), key=st.binary(min_size=32, max_size=32))
@settings(max_examples=15)
def test_skellam(variance: Fraction, key: bytes) -> None:
    table = reference.table(reference.Skellam(variance))
    assert same_table(skellam_cells(variance), table)
    assert skellam(Source(key), variance, 400).tolist() == reference.sample(table, 400, StreamWords(key))


@pytest.mark.parametrize("sigma", [10, 200])
def test_several_batches(sigma: float) -> None:
    """Rounds that are finished before the next batch begins."""
    size, key = BATCH + 1000, seed("several batches")
    table = reference.table(reference.Gaussian(Fraction(sigma) ** 2))
    ours = discrete_gaussian(Source(key), sigma, size)
    assert np.array_equal(ours, reference.sample(table, size, StreamWords(key)))


def test_threads_share_tables_and_nothing_else() -> None:
    """Tables are kept for all threads; each thread has its source."""
    keys = [seed(f"thread/{at}") for at in range(4)]

    def drawn(key: bytes) -> bytes:
        source = Source(key)
        return b"".join(discrete_gaussian(source, 2.0**24, 200_000).tobytes() for _ in range(5))

    alone = [drawn(key) for key in keys]
    with ThreadPoolExecutor(len(keys)) as pool:
        assert list(pool.map(drawn, keys)) == alone
