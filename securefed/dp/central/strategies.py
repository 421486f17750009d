"""A strategy back from what was stored of it: a fitted one is fitted once, and never again on another machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from securefed.dp.central.banded import Banded
from securefed.dp.central.buffered import Buffered
from securefed.dp.central.participation import Schema
from securefed.dp.central.strategy import Strategy
from securefed.errors import ConfigError

__all__ = ["strategy_from_json"]


def strategy_from_json(stored: Mapping[str, Any]) -> Strategy:
    """What `Strategy.to_json` gave, exactly.

    Raises:
        ConfigError: M1 or M2, where it is no strategy.
    """
    try:
        schema = Schema(*stored["schema"])
        if stored["kind"] == "banded":
            return Banded(schema, tuple(stored["bands"]))
        if stored["kind"] == "buffered":
            return Buffered(schema, tuple(stored["decays"]), tuple(stored["scales"]))
    except (KeyError, TypeError, ValueError, OverflowError):
        pass
    raise ConfigError("privacy.strategy", "[M2] what was stored is no strategy") from None
