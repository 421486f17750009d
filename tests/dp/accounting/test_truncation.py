"""What happens to one record where a sample is cut, by listing all samples; and what the room needs to be imported."""

from __future__ import annotations

import itertools
import subprocess
import sys
from fractions import Fraction

import pytest

from securefed.dp.accounting import TruncatedPoissonSampled
from securefed.dp.accounting.pairs import truncated_parts


@pytest.mark.parametrize(("examples", "most"), [(4, 2), (5, 1), (5, 4)])
def test_the_parts_of_a_truncated_sample(examples: int, most: int) -> None:
    """Record 0 is the one in question: by all samples of the others and its own coin."""
    rate = Fraction(3, 8)
    filled = drawn = Fraction(0)
    for coins in itertools.product((False, True), repeat=examples):
        chance = Fraction(1)
        for coin in coins:
            chance *= rate if coin else 1 - rate
        if sum(coins[1:]) >= most:
            filled += chance
            if coins[0]:
                drawn += chance * Fraction(most, sum(coins))
    whole, cut, full = truncated_parts(TruncatedPoissonSampled(examples, float(rate), most, 2.0))
    assert full == pytest.approx(float(filled))
    assert (whole.rate, whole.noise_multiplier) == (0.375, 2.0)
    # It pushes another one out: 2·C, that is one deviation here, and either way.
    assert dict(cut.upper)[1.0] == dict(cut.lower)[-1.0] == pytest.approx(float(drawn / filled))
    assert dict(cut.upper)[0.0] == dict(cut.lower)[0.0] == pytest.approx(float(1 - drawn / filled))


def test_a_larger_neighbour_fills_the_cap_more_often() -> None:
    fills = [truncated_parts(TruncatedPoissonSampled(100, 0.1, 20, 1.0, relation))[2] for relation in RELATIONS]
    assert fills[0] == fills[2] < fills[1]


RELATIONS = ("zero-out", "add-or-remove-one", "replace-one")

WITHOUT = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"dp_accounting", "scipy", "torch"}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent())
from securefed.dp import Ledger, Poisson, Unit, epsilon
from securefed.dp.accounting import Gaussian
from securefed.errors import ConfigError
ledger = Ledger(Unit("sequence"), 1e-5)
for draw in Poisson(10, 0.5).draws(3):
    ledger.spend(draw.event(1.0))
try:
    epsilon([Gaussian(1.0)], 1e-5)
except ConfigError as error:
    assert "securefed[dp]" in str(error), error
else:
    raise AssertionError("computed without")
"""


def test_the_book_is_kept_without_the_extra_and_figures_name_it() -> None:
    subprocess.run([sys.executable, "-c", WITHOUT], check=True)
