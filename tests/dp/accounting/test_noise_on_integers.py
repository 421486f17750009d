"""The bounds for Skellam noise and for sums of discrete Gaussians, against the divergence itself in one dimension."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats

from securefed.dp.accounting import DiscreteGaussianSum, Failure, Skellam, epsilon
from securefed.dp.accounting.renyi import ORDERS, curve

Logs = npt.NDArray[np.float64]


def divergence(log_p: Logs, log_q: Logs, order: float) -> float:
    both = np.isfinite(log_p) & np.isfinite(log_q)  # beyond, both are below the smallest double
    values = order * log_p[both] + (1 - order) * log_q[both]
    return float(values.max() + math.log(np.exp(values - values.max()).sum())) / (order - 1)


def discrete_gaussian(sigma: float, reach: int) -> Logs:
    x = np.arange(-reach, reach + 1)
    logs = -(x**2) / (2 * sigma**2)
    return np.asarray(logs - np.log(np.exp(logs).sum()))


@pytest.mark.parametrize("shift", [1, 3, 10])
@pytest.mark.parametrize("variance", [20.0, 100.0, 2500.0])
def test_skellam_bound_holds_and_is_near(shift: int, variance: float) -> None:
    bound = curve(Skellam(shift, shift, variance))
    for order in (2, 3, 5, 8, 16, 32, 63):
        centre = order * shift
        reach = centre + int(30 * math.sqrt(variance)) + 60
        x = np.arange(-reach, reach + centre)
        law = stats.skellam(variance / 2, variance / 2)
        exact = divergence(law.logpmf(x - shift), law.logpmf(x), order)
        claimed = float(bound[order == ORDERS][0])
        assert exact <= claimed * (1 + 1e-6)
        if variance >= 20 * order * shift:
            assert claimed <= exact * 1.5


def test_skellam_is_known_at_whole_orders_only() -> None:
    bound = curve(Skellam(3, 2.0, 100.0))
    whole = np.mod(ORDERS, 1) == 0
    assert np.isfinite(bound[whole]).all()
    assert np.isinf(bound[~whole]).all()


def test_much_skellam_noise_costs_what_gaussian_noise_costs() -> None:
    """Its excess over α·l2²/(2μ) falls with the variance."""
    small, large = curve(Skellam(40, 10.0, 1e3)), curve(Skellam(400, 100.0, 1e7))
    at = ORDERS == 8
    assert small[at] / (8 * 100 / 2e3) > 1.001
    assert 1 < large[at] / (8 * 1e4 / 2e7) < 1.00001


@pytest.mark.parametrize(("sigma", "clients"), [(0.5, 4), (0.7, 3), (1.0, 5), (4.0, 8)])
@pytest.mark.parametrize("shift", [1, 2])
def test_sums_of_discrete_gaussians(sigma: float, clients: int, shift: int) -> None:
    reach = int(40 * sigma) + 10
    one = np.exp(discrete_gaussian(sigma, reach))
    law = one
    for _ in range(clients - 1):
        law = np.convolve(law, one)
    kept = law > 1e-290  # below it the convolution rounds
    logs = np.where(kept, np.log(np.where(kept, law, 1.0)), -math.inf)
    bound = curve(DiscreteGaussianSum(shift, sigma, clients, 1, shift))
    for order in (1.5, 2.0, 4.0, 8.0):
        p, q = logs[:-shift], logs[shift:]
        exact = divergence(p, q, order)
        claimed = float(bound[np.isclose(ORDERS, order)][0])
        assert exact <= claimed * (1 + 1e-6)
        if sigma >= 1:
            assert claimed <= exact * 1.01


def test_the_distance_of_a_sum_from_a_discrete_gaussian_grows_with_dimension() -> None:
    few, many = (DiscreteGaussianSum(1.0, 0.6, 10, d) for d in (1, 10**6))
    assert epsilon([few], 1e-5) < epsilon([many], 1e-5)
    wide = [DiscreteGaussianSum(1.0, 4.0, 10, d) for d in (1, 10**6)]
    assert epsilon(wide[:1], 1e-5) == pytest.approx(epsilon(wide[1:], 1e-5))
    known = DiscreteGaussianSum(1.0, 0.9, 10, 10**4, l1=1.0)
    assert epsilon([known], 1e-5) < epsilon([DiscreteGaussianSum(1.0, 0.9, 10, 10**4)], 1e-5)


def test_several_records_move_a_sum_further() -> None:
    for event in (Skellam(10, 3.0, 1e4), DiscreteGaussianSum(3.0, 10.0, 5, 100)):
        assert epsilon([event], 1e-5, records=2) > 1.9 * epsilon([event], 1e-5)


def test_a_failure_joins_noise_on_integers() -> None:
    noise = Skellam(10, 3.0, 1e4)
    assert epsilon([noise], 1e-5) < epsilon([noise, Failure(1e-8)], 1e-5) < epsilon([noise], 1e-5) * 1.01
