"""The share of an update that the clip bound cuts off."""

from __future__ import annotations

import numpy as np
import pytest

from securefed.errors import LocalProtocolError
from securefed.federated.clipped_share import clipped_share


def test_the_clipped_share_counts_what_is_over_the_bound_after_scaling() -> None:
    tensors = {"w": np.array([1.0, -4.0, 2.0], np.float32), "v": np.array([[8.0]], np.float64)}
    assert clipped_share(tensors, 1.0, 2.0) == 0.5
    assert clipped_share(tensors, 0.25, 2.0) == 0.0
    assert clipped_share(tensors, 0.5, 2.0) == 0.25


def test_a_change_by_exactly_the_bound_is_not_cut_off() -> None:
    old = np.linspace(-3, 3, 1001, dtype=np.float32)
    change = (old + np.float32(0.1)) - old  # most of them are not 0.1 any more
    assert (change.astype(np.float64) > 0.1).any()
    near = {"w": np.full(7, np.nextafter(np.float32(0.1), np.float32(1)))}
    assert clipped_share(near, 1.0, 0.1) == 0.0
    assert clipped_share({"w": np.full(7, np.float32(0.1001))}, 1.0, 0.1) == 1.0


def test_values_in_many_pieces_are_all_counted() -> None:
    tensors = {"w": np.arange(600_000, dtype=np.float32)}
    assert clipped_share(tensors, 1.0, 299_999.5) == 0.5


def test_what_is_not_finite_is_refused() -> None:
    with pytest.raises(LocalProtocolError, match="V1"):
        clipped_share({"w": np.array([1.0, np.nan], np.float32)}, 1.0, 1.0)
