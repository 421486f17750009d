"""The whole way of a client's update: clipped, with its bits, rounded to ring words, summed, decoded, noised."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from securefed.dp.accounting import Gaussian, Ledger, Unit
from securefed.dp.central import (
    AdaptiveClip,
    Buffered,
    CentralNoise,
    FixedCohorts,
    Groups,
    MatrixMechanism,
    Schema,
    rounded_sensitivity,
)
from securefed.dp.noise.source import Source
from securefed.encoding.layout import Layout
from securefed.encoding.quantize import Numbers
from securefed.encoding.vector import VectorEncoding
from securefed.errors import BudgetExceeded

SHAPES = {"layers.0.w": (4, 5), "layers.1.w": (7,), "head": (3, 3)}
BITS = "within"


def drawn(seed: int, scale: float) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {name: rng.standard_normal(shape) * scale for name, shape in SHAPES.items()}


class Round:
    """Sums of encoded updates, as a scheme that sums integers gives them."""

    def __init__(self, clients: int, bits: int, clip: float, state: AdaptiveClip) -> None:
        self.state = state
        layout = Layout.of(
            {name: np.zeros(shape) for name, shape in SHAPES.items()} | {BITS: np.zeros(len(state.groups))}
        )
        self.encoding = VectorEncoding(layout, Numbers(clients, bits, clip))

    def words(self, update: dict[str, np.ndarray] | None, seed: int) -> np.ndarray:
        """One client's words; None for a client whose whole vector is zero."""
        if update is None:
            tensors = {spec.name: np.zeros(spec.shape) for spec in self.encoding.layout.tensors}
        else:
            clipped = self.state.clip.clip(update)
            tensors = {**clipped.tensors, BITS: self.state.entries(clipped).astype(np.float64)}
        rng = np.random.default_rng([seed, 99])
        pieces = self.encoding.encode(tensors, 1, {}, lambda m: rng.integers(0, 2**32, m, dtype=np.uint32))
        return np.concatenate(list(pieces))

    def total(self, words: list[np.ndarray]) -> np.ndarray:
        """The sum of the clients' vectors, float64, flat."""
        decoded = self.encoding.decode(np.sum(words, axis=0, dtype="<u8"), len(words))
        return np.concatenate([tensor.ravel() for tensor in decoded.tensors.values()]) * decoded.weight


@given(
    st.integers(3, 20),
    st.sampled_from([1e-4, 0.05, 1.0, 100.0]),
    st.sampled_from([0.05, 0.4, 3.0]),
    st.integers(0, 1000),
)
def test_neighbouring_sums_are_within_the_sensitivity(bits: int, scale: float, clip: float, seed: int) -> None:
    groups = Groups.each_layer(SHAPES)
    bounds = {name: 0.1 * (at + 1) for at, name in enumerate(groups.names)}
    at = Round(4, bits, clip, AdaptiveClip(groups, bounds, 0.7, 4))
    others = [at.words(drawn(seed + i, 0.1), i) for i in range(3)]
    sums = [at.total([*others, at.words(one, 5)]) for one in (drawn(seed + 9, scale), None)]
    size, step = at.encoding.layout.size, at.encoding.numbers.step
    assert np.linalg.norm(sums[0] - sums[1]) <= rounded_sensitivity(at.state.sensitivity, size, step) * (1 + 1e-9)


def test_bits_come_through_the_words() -> None:
    groups = Groups.each_layer(SHAPES)
    state = AdaptiveClip(groups, dict.fromkeys(groups.names, 0.5), 0.1, 4, bit_deviation=2.0)
    at = Round(4, 24, 1.0, state)
    total = at.total([at.words(drawn(i, scale), i) for i, scale in enumerate((1e-3, 1e-3, 1e-3, 100.0))])
    moved = state.after(total[-len(groups) :])
    wanted = 0.5 * np.exp(-0.2 * (0.75 - 0.5))
    assert list(moved.bounds.values()) == pytest.approx([wanted] * len(groups), rel=1e-4)


def test_a_run_with_the_ledger_of_the_package(tmp_path: Path) -> None:
    """Central noise, and then correlated noise, on one budget."""
    file = tmp_path / "ledger.jsonl"
    ledger = Ledger(Unit("client"), 1e-5, budget=12.0, file=file)
    cohorts = FixedCohorts(range(1, 7), 3)
    noise = CentralNoise(1.5, cohorts.expected_cohort, Source.fresh())
    for _, event in cohorts.rounds(2, 1.5):
        noise.mean(np.zeros(9), 1.0, ledger, event, charged=event is None)
    run = MatrixMechanism(
        Buffered.optimised(Schema(4, 2), 2), 9, noise_multiplier=1.0, bound=1.0, cohort=3, key=bytes(32), ledger=ledger,
        persist=lambda state: None,
    )  # fmt: skip
    for row, (cohort, _) in enumerate(cohorts.rounds(2, 1.0)):
        run.mean(row, np.zeros(9), cohort)
    with pytest.raises(BudgetExceeded):
        CentralNoise(0.2, 3, Source.fresh()).mean(np.zeros(9), 1.0, ledger)
    ledger.close()
    with Ledger.load(file) as held:
        assert held.events == ((Gaussian(1.5), 1), (Gaussian(1.0), 1))


def test_it_needs_numpy_alone() -> None:
    program = "import sys, securefed.dp.central; print({'torch', 'scipy', 'dp_accounting'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout == "set()\n", found.stderr
