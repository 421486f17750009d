"""Colours and type of the plots, on light and on dark ground.

The hues are those of Okabe and Ito, which people with any of the common colour vision deficiencies tell apart;
each arm has a marker and a line of its own as well, so that nothing is said by colour alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

__all__ = ["DARK", "LIGHT", "LINES", "MARKERS", "Theme"]

MARKERS: Final[Mapping[str, str]] = {
    "public": "s",
    "local": "D",
    "plain": "o",
    "masks": "o",
    "encrypted": "o",
    "central": "|",
}
LINES: Final[Mapping[str, Any]] = {
    "public": (0, (1, 1.5)),
    "local": (0, (5, 2)),
    "plain": "solid",
    "masks": "solid",
    "encrypted": "solid",
    "central": (0, (6, 2, 1, 2)),
}


@dataclass(frozen=True)
class Theme:
    """One ground's colours: text, secondary text, grid, ground, and those of arms, stages and time."""

    name: str
    text: str
    muted: str
    grid: str
    ground: str
    arms: Mapping[str, str]
    stages: Mapping[str, str]
    training: str
    protection: str

    def settings(self) -> dict[str, Any]:
        """What matplotlib's rc_context takes."""
        return {
            "font.family": "sans-serif",
            "font.sans-serif": ["DejaVu Sans", "Verdana", "sans-serif"],
            "font.size": 10,
            "text.color": self.text,
            "text.parse_math": False,  # a client may be called $x$
            "axes.labelcolor": self.muted,
            "axes.labelsize": 9.5,
            "axes.titlesize": 10,
            "axes.titlelocation": "left",
            "axes.titlecolor": self.text,
            "axes.edgecolor": self.muted,
            "axes.facecolor": "none",
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.axisbelow": True,
            "axes.unicode_minus": True,
            "grid.color": self.grid,
            "grid.linewidth": 0.8,
            "xtick.color": self.muted,
            "ytick.color": self.muted,
            "xtick.labelsize": 9.5,
            "ytick.labelsize": 9.5,
            "legend.frameon": False,
            "legend.fontsize": 9.5,
            "figure.facecolor": "none",
            "savefig.facecolor": "none",
            "svg.fonttype": "none",  # text stays text: sharp, small, and every script has its glyphs
            "svg.hashsalt": "securefed",
        }


LIGHT: Final = Theme(
    name="light",
    text="#1c2430",
    muted="#556070",
    grid="#e4e8ee",
    ground="#ffffff",
    arms={
        "public": "#6b7480",
        "local": "#d55e00",
        "plain": "#56b4e9",
        "masks": "#0a5a9c",
        "encrypted": "#7a3e9d",
        "central": "#00845f",
    },
    stages={
        "advertise": "#cc79a7",
        "share": "#e69f00",
        "keys": "#d55e00",
        "input": "#0a5a9c",
        "consent": "#8a5aa8",
        "release": "#00845f",
        "open": "#2fa98c",
    },
    training="#c3cbd6",
    protection="#0a5a9c",
)

DARK: Final = Theme(
    name="dark",
    text="#e8edf4",
    muted="#a3afbf",
    grid="#2c3643",
    ground="#161c24",
    arms={
        "public": "#9aa5b3",
        "local": "#f08a3c",
        "plain": "#2f7fb8",
        "masks": "#8fd0ff",
        "encrypted": "#c9a3f0",
        "central": "#2fc79a",
    },
    stages={
        "advertise": "#d98fb9",
        "share": "#f0b73a",
        "keys": "#f08a3c",
        "input": "#5fb4f2",
        "consent": "#b58ad6",
        "release": "#2fc79a",
        "open": "#7fe3c4",
    },
    training="#4a5768",
    protection="#5fb4f2",
)
