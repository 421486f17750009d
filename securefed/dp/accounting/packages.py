"""The one place that imports `dp-accounting` and SciPy: when they are first needed, and with an error that says how to
get them."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from securefed.errors import ConfigError

__all__ = ["binomial", "loss_distributions", "poisson_curve", "rdp_conversion", "relations", "versions"]

_DISTRIBUTION = "dp-accounting"


def loss_distributions() -> Any:
    """`dp_accounting.pld.privacy_loss_distribution`."""
    return _load("dp_accounting.pld.privacy_loss_distribution")


def relations() -> Any:
    """The enumeration of neighbouring relations."""
    return _load("dp_accounting.privacy_accountant").NeighboringRelation


def binomial() -> Any:
    """SciPy's binomial distribution."""
    return _load("scipy.stats").binom


def poisson_curve(rate: float, noise_multiplier: float, orders: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The Rényi divergences of a Poisson-sampled Gaussian, by `RdpAccountant`."""
    events, accountants = _load("dp_accounting.dp_event"), _load("dp_accounting.rdp")
    event = events.PoissonSampledDpEvent(rate, events.GaussianDpEvent(noise_multiplier))
    curve: npt.NDArray[np.float64] = accountants.RdpAccountant(list(orders)).compose(event).rdp
    return curve


def rdp_conversion() -> Callable[[Any, Any, float], tuple[float, float]]:
    """The conversion of divergences to (ε, best order) at a δ."""
    conversion: Callable[[Any, Any, float], tuple[float, float]] = _load("dp_accounting.rdp").compute_epsilon
    return conversion


def versions() -> dict[str, str]:
    """The versions that figures were computed with; "absent" for what is not installed."""
    return {name: _version(name) for name in ("securefed", _DISTRIBUTION, "numpy", "scipy")}


def _version(name: str) -> str:
    if name == "securefed":
        return str(import_module("securefed").__version__)
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"


def _load(name: str) -> ModuleType:
    try:
        return import_module(name)
    except ModuleNotFoundError:
        raise ConfigError(
            "privacy", "accounting needs dp-accounting and scipy: install the extra securefed[dp]"
        ) from None
