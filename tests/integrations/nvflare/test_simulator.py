"""NVFlare's simulator, with a process for each site: four ways to aggregate, and sites that are lost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.integrations.nvflare.calls import SITES, on_grid, weights
from tests.integrations.nvflare.reference import after, sum_of

SETUPS = {"plain": (1, 1, 1), "masks": (4, 2, 2), "malicious": (5, 3, 3), "bfv": (4, 4, 4)}
"""Exchanges of three rounds: the set-up of a masking round rides on the messages of the one before."""


def read(job: Path, name: str, number: int) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    path = job / f"{name}-{number}.json"
    assert path.exists(), job.with_name("log.txt").read_text()[-6000:]
    with np.load(path.with_suffix(".npz"), allow_pickle=False) as arrays:
        return json.loads(path.read_text()), dict(arrays)


@pytest.mark.parametrize("setup", SETUPS)
def test_three_rounds_equal_the_reference_bit_for_bit(collab_job: Path, setup: str) -> None:
    present = weights()
    for number in (1, 2, 3):
        note, arrays = read(collab_job, setup, number)
        aggregate = sum_of(present, SITES, number)
        expected = after(present, aggregate)
        np.testing.assert_array_equal(arrays.pop("words"), aggregate.words)
        assert {name: array.dtype for name, array in arrays.items()} == {name: a.dtype for name, a in expected.items()}
        for name, array in arrays.items():
            np.testing.assert_array_equal(array, expected[name])
        present = on_grid(expected)
        assert (note["sites"], note["lost"]) == (list(SITES), {})
        assert note["exchanges"] == SETUPS[setup][number - 1]
        assert (note["examples"], note["metrics"]) == (96, {"loss": 0.5})


def test_sites_that_raise_or_are_killed_cost_their_round_alone(collab_job: Path) -> None:
    present, without = weights(), (SITES[0], SITES[2])
    for number, sites in ((4, SITES), (5, without), (6, SITES), (7, without), (8, without)):
        note, arrays = read(collab_job, "loss", number)
        aggregate = sum_of(present, sites, number)
        present = on_grid(after(present, aggregate))
        np.testing.assert_array_equal(arrays["words"], aggregate.words)
        assert note["sites"] == list(sites), number
        assert list(note["lost"]) == ([] if sites == SITES else [SITES[1]]), number


def test_what_training_raised_stays_at_the_site(collab_job: Path) -> None:
    failed = "client 2 refused: training failed; the site's log says why"
    assert read(collab_job, "loss", 5)[0]["lost"] == {SITES[1]: failed}
    simulation = collab_job.parent / "simulation"
    assert "Ada" in (simulation / "sums" / SITES[1] / "log.txt").read_text()
    for log in (simulation / "sums" / "server").glob("**/*.txt"):
        assert "Ada" not in log.read_text(), log


def test_a_killed_site_is_lost_at_training_and_then_at_once(collab_job: Path) -> None:
    assert read(collab_job, "loss", 7)[0]["lost"] == {SITES[1]: "lost at input"}
    assert read(collab_job, "loss", 8)[0]["lost"] == {SITES[1]: "lost at advertise"}
    assert read(collab_job, "loss", 8)[0]["seconds"] < 5


def test_no_process_is_left(collab_job: Path) -> None:
    for site in SITES:
        process = Path("/proc") / (collab_job / f"{site}.pid").read_text()
        assert not process.exists(), f"{site} still runs"
