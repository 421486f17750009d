"""Buffered linear Toeplitz (BLT) strategies: nearly the optimal Toeplitz factorisation with a handful of buffers.

Dvijotham, McMahan, Pillutla, Steinke, Thakurta 2024 (arXiv 2404.16706); McMahan, Xu, Zhang 2024 (arXiv 2408.08868).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np

from securefed.dp.central.banded import optimiser
from securefed.dp.central.participation import Schema
from securefed.dp.central.strategy import BLOCK, Rows
from securefed.dp.central.toeplitz import Column, error_weights, pattern_sum, prefix_sums, product, sensitivity
from securefed.errors import ConfigError

__all__ = ["Buffered"]

MOST_BUFFERS: Final = 16


@dataclass(frozen=True)
class Buffered:
    """C with C⁻¹ = 1 + Σ_j ω_j·x/(1 − λ_j·x) as a power series: what is streamed, y_t = z_t + Σ_j ω_j·s_j.

    Memory while streaming: one row for each buffer, s_j ← λ_j·s_j + z_t.

    Args:
        schema: rounds and participation.
        decays: λ_j in (0, 1), distinct.
        scales: ω_j < 0. Both are rounded to float32, so that the stream applies the very matrix whose sensitivity is
            computed.

    Raises:
        ConfigError: M2 for a number of buffers outside 1 … 16, M1 for parameters whose sensitivity is not known.
    """

    schema: Schema
    decays: tuple[float, ...]
    scales: tuple[float, ...]

    def __post_init__(self) -> None:
        if not 1 <= len(self.decays) == len(self.scales) <= MOST_BUFFERS:
            raise ConfigError("privacy.buffers", f"[M2] {len(self.decays)} buffers are not 1 … {MOST_BUFFERS}")
        for name in ("decays", "scales"):
            rounded = tuple(float(x) for x in np.asarray(getattr(self, name), np.float32))
            object.__setattr__(self, name, rounded)
        if not all(0 < decay < 1 for decay in self.decays):
            raise ConfigError("privacy.strategy", "[M1] the decay of a buffer must lie between 0 and 1")
        _ = self.sensitivity  # M1

    @classmethod
    def optimised(
        cls, schema: Schema, buffers: int = 4, error: str = "mean", workload: Column | None = None
    ) -> Buffered:
        """The parameters with the least error times sensitivity, found by L-BFGS (needs scipy).

        C = Π(1 − λ_j·x)/Π(1 − θ_j·x) with θ_1 > λ_1 > θ_2 > … > λ_d: then its coefficients are positive and fall
        (arXiv 2408.08868, section 4), so its sensitivity is known under every schema.

        Args:
            schema: rounds and participation.
            buffers: d, 1 … 16; three to five are nearly optimal for any number of rounds.
            error: "max" or "mean" over the rounds.
            workload: first column of A, shape [n]; prefix sums where None.

        Raises:
            ConfigError: M1 or M2.
        """
        if not 1 <= buffers <= MOST_BUFFERS:
            raise ConfigError("privacy.buffers", f"[M2] {buffers} buffers are not 1 … {MOST_BUFFERS}")
        n = schema.rounds
        weights, work = error_weights(n, error), prefix_sums(n) if workload is None else workload
        sums = workload is None

        def objective(free: Column) -> float:
            poles, decays = _interlaced(free)
            noise = _series(decays, _residues(decays, poles), n)
            through = np.cumsum(noise) if sums else product(work, noise)
            columns = pattern_sum(_series(poles, _residues(poles, decays), n), schema)
            return float(np.log(weights @ through**2) + np.log(columns @ columns))

        # 1 − value in geometric steps from 1/n to 1/2: the scales that a square root has.
        gaps = float(max(n, 4)) ** -np.linspace(1, 0.5 / np.log2(max(n, 4)), 2 * buffers)
        ratios = np.concatenate([[1 - gaps[0]], (1 - gaps[1:]) / (1 - gaps[:-1])])
        start = np.log(ratios / (1 - ratios))
        bounds = [(-_FLAT, _FLAT)] * len(start)
        found = optimiser()(objective, start, method="L-BFGS-B", bounds=bounds, options={"maxiter": 300})
        poles, decays = _interlaced(found.x)
        return cls(schema, tuple(decays.tolist()), tuple(_residues(decays, poles).tolist()))

    @cached_property
    def coefficients(self) -> Column:
        """First column of C, from the stream of C⁻¹ run backwards."""
        decays, scales = np.array(self.decays), np.array(self.scales)
        out, kept = np.empty(self.schema.rounds), np.zeros(len(decays))
        for t in range(len(out)):
            out[t] = (t == 0) - float(scales @ kept)
            kept = decays * kept + out[t]
        return out

    @cached_property
    def noise_coefficients(self) -> Column:
        """First column of C⁻¹."""
        return _series(np.array(self.decays), np.array(self.scales), self.schema.rounds)

    @cached_property
    def sensitivity(self) -> float:
        """Of C under the schema."""
        return sensitivity(self.coefficients, self.schema.rounds, self.schema)

    @property
    def buffers(self) -> int:
        """One row for each s_j."""
        return len(self.decays)

    def correlate(self, row: int, noise: Rows, buffers: Rows) -> None:
        """See `Strategy`."""
        for start in range(0, len(noise), BLOCK):
            out = noise[start : start + BLOCK]
            fresh = out.copy()
            for decay, scale, buffer in zip(self.decays, self.scales, buffers, strict=True):
                part = buffer[start : start + BLOCK]
                out += scale * part
                part *= decay
                part += fresh

    def to_json(self) -> dict[str, Any]:
        """See `Strategy`."""
        schema = self.schema
        numbers = [schema.rounds, schema.separation, schema.participations]
        return {"kind": "buffered", "schema": numbers, "decays": list(self.decays), "scales": list(self.scales)}


_FLAT: Final = 14.0
"""Beyond this a ratio of neighbouring parameters is so close to 1, or to 0, that residues would lose their digits."""


def _interlaced(free: Column) -> tuple[Column, Column]:
    """Any numbers to θ_1 > λ_1 > θ_2 > λ_2 > … in (0, 1): each is the one before times a sigmoid."""
    values = np.cumprod(1 / (1 + np.exp(-free)), dtype=np.float64)
    return values[::2], values[1::2]


def _residues(poles: Column, zeros: Column) -> Column:
    """ω_i of Π(1 − zeros_j·x)/Π(1 − poles_j·x) = 1 + Σ ω_i·x/(1 − poles_i·x) (arXiv 2408.08868, lemma 5.2)."""
    gaps = poles[:, None] - poles
    np.fill_diagonal(gaps, 1.0)
    residues: Column = np.prod(poles[:, None] - zeros, axis=1) / np.prod(gaps, axis=1)
    return residues


def _series(poles: Column, residues: Column, rounds: int) -> Column:
    """Coefficients of 1 + Σ ω_i·x/(1 − poles_i·x)."""
    powers = poles ** np.arange(rounds - 1)[:, None]
    return np.concatenate([[1.0], powers @ residues])
