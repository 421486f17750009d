"""Quantities as people read them: few digits, a unit, and an honest sign for what is no number."""

from __future__ import annotations

import math
from decimal import ROUND_CEILING, Decimal

__all__ = [
    "bound_text",
    "byte_text",
    "change_text",
    "count_text",
    "perplexity_text",
    "ratio_text",
    "second_text",
    "share_text",
]

NONE = "–"
_UNIT = "\N{NO-BREAK SPACE}"  # a number and its unit stay on one line


def count_text(value: float | None) -> str:
    """A whole number with its thousands apart: 61,440."""
    return NONE if value is None or not math.isfinite(value) else f"{value:,.0f}"


def bound_text(value: float) -> str:
    """Three digits of what is promised not to be passed, rounded up: 7.99, 0.125, 1e-5."""
    if not math.isfinite(value):
        return "∞"
    if value <= 0:
        return "0"
    exponent = math.floor(math.log10(value))
    # In decimal digits, so that a value which three digits hold exactly is not pushed up.
    digits = Decimal(repr(value)).quantize(Decimal(1).scaleb(exponent - 2), ROUND_CEILING).normalize()
    if exponent >= -3:
        return f"{digits:f}"
    mantissa = digits.scaleb(-exponent).normalize()
    return f"{mantissa:f}e{exponent}"


def perplexity_text(value: float | None) -> str:
    """Three or four digits: 4.83, 55.5, 1,234."""
    if value is None or math.isnan(value):
        return NONE
    if math.isinf(value):
        return "∞"
    return f"{value:,.{2 if value < 10 else 1 if value < 1000 else 0}f}"


def ratio_text(value: float | None) -> str:
    """A factor: ×0.945."""
    return NONE if value is None or not math.isfinite(value) else f"×{value:.3f}"


def share_text(value: float | None) -> str:
    """A part of a whole: 1.4 %, and 0.02 % where it is small."""
    if value is None or not math.isfinite(value):
        return NONE
    percent = 100 * value
    return f"{percent:.{2 if abs(percent) < 1 else 1}f}{_UNIT}%"


def change_text(ratio: float | None) -> str:
    """How far a ratio is from one, with its sign: −5.5 %."""
    if ratio is None or not math.isfinite(ratio):
        return NONE
    percent = 100 * (ratio - 1)
    digits = f"{abs(percent):.{2 if abs(percent) < 1 else 1}f}"
    sign = "±" if float(digits) == 0 else "+" if percent > 0 else "−"
    return f"{sign}{digits}{_UNIT}%"


def second_text(value: float | None) -> str:
    """Seconds from milliseconds to hours: 3.2 ms, 1.25 s, 2 min 5 s, 1 h 2 min."""
    if value is None or not math.isfinite(value):
        return NONE
    if value < 0.9995:
        return f"{value * 1e3:.{1 if value < 0.01 else 0}f}{_UNIT}ms"
    if value < 59.95:
        return f"{value:.{2 if value < 10 else 1}f}{_UNIT}s"
    minutes, seconds = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes}{_UNIT}min {seconds}{_UNIT}s"
    return f"{minutes // 60}{_UNIT}h {minutes % 60}{_UNIT}min"


def byte_text(value: float | None) -> str:
    """Bytes in powers of 1024: 512 B, 60.4 KiB, 256 KiB."""
    if value is None or not math.isfinite(value):
        return NONE
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(value) < 1023.5 or unit == "GiB":
            break
        value /= 1024
    return f"{value:,.{0 if unit == 'B' or abs(value) >= 99.95 else 1}f}{_UNIT}{unit}"
