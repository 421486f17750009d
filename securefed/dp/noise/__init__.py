"""Exact noise on the integers, and Gaussian floats, from a keyed cryptographic stream."""

from securefed.dp.noise.coins import bernoulli
from securefed.dp.noise.discrete_gaussian import discrete_gaussian, discrete_gaussian_of_variance
from securefed.dp.noise.gaussian import add_gaussian, gaussian
from securefed.dp.noise.skellam import skellam
from securefed.dp.noise.source import Source

__all__ = [
    "Source",
    "add_gaussian",
    "bernoulli",
    "discrete_gaussian",
    "discrete_gaussian_of_variance",
    "gaussian",
    "skellam",
]
