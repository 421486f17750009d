"""Names of the exchanges of a masked round, and what both sides know about the messages of a round."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from securefed.wire.frame import Expected
from securefed.wire.header import Suite
from securefed.wire.specification import RoundSpec

__all__ = ["SCHEME", "STAGES", "SUITE", "Stage", "expected_from"]

SCHEME: Final = "masks"
SUITE: Final = Suite.PAIRWISE_MASKS


class Stage(StrEnum):
    """The exchanges, and the end."""

    ADVERTISE = "advertise"
    SHARE = "share"
    INPUT = "input"
    CONSENT = "consent"
    """Under a malicious server alone."""
    RELEASE = "release"
    DONE = "done"


STAGES: Final = (Stage.ADVERTISE, Stage.SHARE, Stage.INPUT, Stage.CONSENT, Stage.RELEASE)


def expected_from(spec: RoundSpec, sender: int) -> Expected:
    """What the header of a message of this round says."""
    return Expected(SUITE, spec.session, spec.round, sender)
