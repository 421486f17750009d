"""Where this package imports SciPy: when it is first needed, and with an error that says how to get it."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from securefed.errors import ConfigError

__all__ = ["special"]


def special() -> Any:
    """`scipy.special`.

    Raises:
        ConfigError: SciPy is not installed.
    """
    try:
        return import_module("scipy.special")
    except ModuleNotFoundError:
        raise ConfigError("leakage", "measuring leakage needs scipy: install the extra securefed[dp]") from None
