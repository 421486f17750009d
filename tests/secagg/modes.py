"""Both servers that a round may be protected against: one that follows the protocol, and one that does not."""

from __future__ import annotations

import pytest

from securefed.aggregation import Adversary
from securefed.secagg.stages import STAGES, Stage
from tests.rounds import MALICIOUS, SEMI_HONEST

_NAMES = {MALICIOUS: "malicious", SEMI_HONEST: "semi-honest"}


def stages_of(adversary: Adversary) -> tuple[Stage, ...]:
    """The exchanges of a round against it."""
    return tuple(stage for stage in STAGES if adversary.malicious or stage is not Stage.CONSENT)


def told_at(adversary: Adversary) -> Stage:
    """The exchange in which clients are told who survived."""
    return Stage.CONSENT if adversary.malicious else Stage.RELEASE


both_modes = pytest.mark.parametrize("adversary", _NAMES, ids=_NAMES.get)
every_stage = pytest.mark.parametrize(
    ("adversary", "stage"),
    [
        pytest.param(adversary, stage, id=f"{name}-{stage}")
        for adversary, name in _NAMES.items()
        for stage in stages_of(adversary)
    ],
)
