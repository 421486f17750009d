"""Small mechanisms, and sources whose words a test chooses."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from securefed.dp.distributed import Mechanism, Parameters
from securefed.dp.noise import Source
from tests.rounds import seed

SMALL = Parameters(
    clients=8, least_honest=3, corrupt=1, dimension=300, clip=0.5, grid=200, bits=13, variance=900.0, block=64,
    failure_bits=100,
)  # fmt: skip
SEED = seed("rotation")
KINDS = ("skellam", "discrete-gaussian")


def mechanism(**changes: Any) -> Mechanism:
    """`SMALL` with something changed."""
    return Mechanism(replace(SMALL, **changes))


class Listed(Source):
    """Random words that a test lists; when they are used up, the last one again and again."""

    def __init__(self, words: list[int]) -> None:
        super().__init__(seed("listed"))
        self.left = words

    def words(self, size: int, dtype: Any = "<u8") -> Any:
        given = (self.left + [self.left[-1]] * size)[:size]
        self.left = self.left[size:] or self.left[-1:]
        return np.array(given, dtype)


class Noise(Mechanism):
    """A mechanism whose noise a test lists."""

    def __init__(self, parameters: Parameters, noise: list[int]) -> None:
        super().__init__(parameters)
        self.noise = noise

    def _noise(self, source: Source, size: int) -> Any:
        given, self.noise = self.noise[:size], self.noise[size:]
        return np.array(given, np.int64)


def source(name: str) -> Source:
    """The same words in every run."""
    return Source(seed(name))


def direction(kind: str, dimension: int, at: int = 0) -> np.ndarray:
    """Directions that make a rounding or a rotation err: norm 1."""
    rng = np.random.default_rng(at)
    match kind:
        case "spike":
            vector = np.zeros(dimension)
            vector[at % dimension] = -1.0
        case "flat":
            vector = np.ones(dimension)
        case "signs":
            vector = rng.choice([-1.0, 1.0], dimension)
        case "heavy":
            vector = rng.standard_cauchy(dimension)
        case _:
            vector = rng.normal(size=dimension)
    return vector / np.linalg.norm(vector)


DIRECTIONS = ("spike", "flat", "signs", "heavy", "normal")
