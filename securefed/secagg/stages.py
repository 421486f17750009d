"""Names of the four exchanges of a masked round, for what the client does in each."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

__all__ = ["STAGES", "Stage"]


class Stage(StrEnum):
    """The four exchanges, and the end."""

    ADVERTISE = "advertise"
    SHARE = "share"
    INPUT = "input"
    RELEASE = "release"
    DONE = "done"


STAGES: Final = (Stage.ADVERTISE, Stage.SHARE, Stage.INPUT, Stage.RELEASE)
