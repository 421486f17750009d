"""The skew-normal distribution (Azzalini 1985): fitted by moments, its far left tail, and whether the fit is good."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from securefed.audit.leakage.special import special
from securefed.errors import ConfigError

__all__ = ["LEAST_SAMPLES", "SkewNormal", "fit", "fit_p_value"]

Floats = npt.NDArray[np.float64]

LEAST_SAMPLES: Final = 100
"""A skewness from fewer is mostly noise."""
_GREATEST_SKEWNESS: Final = 0.99
"""The family's own limit is 0.9953."""
_STEPS: Final = 1024
_TAIL_NATS: Final = 40.0


@dataclass(frozen=True)
class SkewNormal:
    """Density 2/ω · φ(z) · Φ(α·z) at z = (x − ξ)/ω.

    Attributes:
        location, scale, shape: ξ, ω > 0, α.
    """

    location: float
    scale: float
    shape: float

    def log_cdf(self, values: npt.ArrayLike) -> Floats:
        """ln P[X ≤ x], [n], also where that is far below the least float.

        By the trapezoidal rule on the logarithm of the density: it is concave, so nearly all of the tail lies within
        forty nats of where it is steepest.
        """
        z = (np.asarray(values, np.float64) - self.location) / self.scale
        top = np.minimum(z, self._mode)
        # Left of the top the density falls at least like a normal one, and by its slope there if that is more.
        slope = np.maximum(self._slope(top), 0.0)
        reach = -slope + np.sqrt(slope**2 + 2 * _TAIL_NATS)
        steps = np.linspace(0.0, 1.0, _STEPS + 1)
        low = top - reach
        at = low[..., None] + (z - low)[..., None] * steps
        heights = self._log_density(at)
        highest = heights.max(axis=-1)
        terms = np.exp(heights - highest[..., None])
        area = (terms.sum(axis=-1) - (terms[..., 0] + terms[..., -1]) / 2) * (z - low) / _STEPS
        result: Floats = np.minimum(highest + np.log(area), 0.0)
        return result

    def draw(self, shape: tuple[int, ...], rng: np.random.Generator) -> Floats:
        """Independent values."""
        delta = self.shape / math.hypot(1.0, self.shape)
        z = delta * np.abs(rng.standard_normal(shape)) + math.sqrt(1 - delta**2) * rng.standard_normal(shape)
        return self.location + self.scale * z

    def cdf(self, values: npt.ArrayLike) -> Floats:
        """P[X ≤ x] by Owen's T; the far tails are of no use."""
        z = (np.asarray(values, np.float64) - self.location) / self.scale
        probability: Floats = special().ndtr(z) - 2 * special().owens_t(z, self.shape)
        return np.clip(probability, 0.0, 1.0)

    def _log_density(self, z: Floats) -> Floats:
        density: Floats = math.log(2 / math.sqrt(2 * math.pi)) - z**2 / 2 + special().log_ndtr(self.shape * z)
        return density

    def _slope(self, z: Floats) -> Floats:
        """Of the log density."""
        inner = self.shape * z
        slope: Floats = -z + self.shape * np.exp(
            -(inner**2) / 2 - math.log(math.sqrt(2 * math.pi)) - special().log_ndtr(inner)
        )
        return slope

    @property
    def _mode(self) -> float:
        low, high = -1.0, 1.0  # the mode is within 0.6 of 0
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if float(self._slope(np.array(middle))) > 0 else (low, middle)
        return (low + high) / 2


def fit(samples: npt.ArrayLike) -> SkewNormal:
    """The skew-normal distribution with the samples' mean, variance and skewness.

    Args:
        samples: [n], n ≥ 100, not all the same. A skewness beyond the family's is cut to 0.99.

    Raises:
        ConfigError: too few, or all the same.
    """
    values = np.asarray(samples, np.float64)
    if values.ndim != 1 or len(values) < LEAST_SAMPLES:
        raise ConfigError("leakage", f"a fit needs {LEAST_SAMPLES} losses or more in one axis, not {values.shape}")
    if not values.std() > 0:
        raise ConfigError("leakage", "all losses are the same: nothing can be fitted")
    location, scale, shape = (float(part[0]) for part in _fit_rows(values[None]))
    return SkewNormal(location, scale, shape)


def fit_p_value(samples: npt.ArrayLike, *, trials: int = 199, seed: int = 0) -> float:
    """How likely a fit is at least as bad as this one's, were the samples skew-normal: below 0.05, do not extrapolate.

    Anderson and Darling's statistic, which looks at the tails, against its distribution over samples that are drawn
    from the fit and fitted again (Stute, González Manteiga and Presedo Quindimil, Metrika 40, 1993). That the middle of
    a distribution fits says little about its tail beyond all samples: a large value permits an extrapolation and does
    not prove it.

    Args:
        samples: as in `fit`.
        trials: how many such samples; the least value is 1 / (trials + 1).
        seed: of them.

    Raises:
        ConfigError: as `fit`.
    """
    values = np.asarray(samples, np.float64)
    fitted = fit(values)
    rng = np.random.default_rng(seed)
    drawn = fitted.draw((trials, len(values)), rng)
    rows = np.concatenate([values[None], drawn])
    location, scale, shape = (part[:, None] for part in _fit_rows(rows))
    z = (rows - location) / scale
    probability = np.sort(np.clip(special().ndtr(z) - 2 * special().owens_t(z, shape), 1e-15, 1 - 1e-15), axis=1)
    odd = 2 * np.arange(1, len(values) + 1) - 1
    statistic = -len(values) - ((np.log(probability) + np.log1p(-probability[:, ::-1])) @ odd) / len(values)
    return float((1 + np.count_nonzero(statistic[1:] >= statistic[0])) / (trials + 1))


def _fit_rows(rows: Floats) -> tuple[Floats, Floats, Floats]:
    """Location, scale and shape of each row, by the method of moments."""
    mean, deviation = rows.mean(axis=1), rows.std(axis=1)
    skewness = (((rows - mean[:, None]) / deviation[:, None]) ** 3).mean(axis=1)
    size = np.minimum(np.abs(skewness), _GREATEST_SKEWNESS) ** (2 / 3)
    delta = np.sign(skewness) * np.sqrt(math.pi / 2 * size / (size + ((4 - math.pi) / 2) ** (2 / 3)))
    scale = deviation / np.sqrt(1 - 2 * delta**2 / math.pi)
    return mean - scale * delta * math.sqrt(2 / math.pi), scale, delta / np.sqrt(1 - delta**2)
