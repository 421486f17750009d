"""The simulated adversary against our homomorphic schemes, and the property suite against broken ones."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace

import pytest

from securefed.audit.homomorphic_rounds import (
    approximate_round_of_seed,
    homomorphic_round,
    homomorphic_round_of_seed,
)
from securefed.audit.machine import adversary_machine
from securefed.audit.protocol import AggregationProperties, ClientId, Contribution, PropertyViolated, Round
from securefed.audit.schedule import FAULTS
from securefed.audit.simulation import simulate
from securefed.audit.tally import simulate_many
from securefed.errors import RoundAborted
from securefed.he.exact import Bfv as BfvCipher
from securefed.he.server import HomomorphicServer
from securefed.he.stages import Stage
from tests.attacks.he_switches import tags_unchecked
from tests.audit.rounds import ALL_HONEST, Bfv
from tests.tenseal import needs_tenseal

SEEDS = 2000 if os.environ.get("SECUREFED_TEST_DEPTH") == "deep" else 100

TestAdversaryMachine = adversary_machine(homomorphic_round_of_seed).TestCase


def test_no_seed_breaks_an_invariant() -> None:
    """Holders that are lost, told two stories, started again from older states: an exact sum, or none."""
    for tally in simulate_many(SEEDS, 0, homomorphic_round_of_seed):
        last = tally
    assert not last.violations, last.violations[0].told()
    assert last.ended["completed"] > SEEDS / 4
    assert last.ended["aborted"] > SEEDS / 10
    assert last.faults.keys() == FAULTS.keys()
    assert {"R3", "R4", "R5", "R6", "H1", "S4"} <= last.refused.keys()


@needs_tenseal
def test_no_seed_breaks_an_invariant_of_approximate_ciphertexts() -> None:
    for tally in simulate_many(SEEDS // 5, 0, approximate_round_of_seed):
        last = tally
    assert not last.violations, last.violations[0].told()
    assert last.ended["completed"] > SEEDS / 20


def test_without_faults_a_round_is_completed() -> None:
    assert {simulate(seed, homomorphic_round_of_seed, ()).ended for seed in range(10)} == {"completed"}


class GivesUpOnTheFirstHolder(HomomorphicServer):
    """Where a key holder does not answer, no other one is asked."""

    def advance(self) -> None:
        lost = self.stage is Stage.KEYS and not self._present.answered
        super().advance()
        if lost:
            self._present.close(aborted=True)
            self._stage = Stage.DONE
            raise RoundAborted(Stage.KEYS, "the holder is lost")


class Lacking(Bfv):
    """Of a server that has another class."""

    server = HomomorphicServer

    def make_round(self, contributions: Mapping[ClientId, Contribution]) -> Round:
        round_, own = homomorphic_round(contributions, ALL_HONEST)
        parameters, known = own.scheme.parameters, own.public_keys
        return replace(round_, new_server=lambda: self.server(parameters, own.spec, own.layout, known))


def violated(suite: AggregationProperties, name: str) -> str:
    with pytest.raises(PropertyViolated) as caught:
        type(suite).properties()[name](suite)
    return str(caught.value)


def test_a_holder_that_cannot_be_replaced_is_found() -> None:
    suite = Lacking()
    suite.server = GivesUpOnTheFirstHolder
    told = violated(suite, "test_dropouts_down_to_the_threshold_are_survived")
    assert told.startswith("silent from keys on: 2: there is no sum")


def test_a_holder_that_gives_whatever_opens_is_found() -> None:
    with tags_unchecked():
        told = violated(Bfv(), "test_forged_requests_are_refused")
    assert told == "open: the client answers a forged request: one less than are in the sum"


def test_an_encryption_that_hides_nothing_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BfvCipher, "encrypt", lambda self, secret, values: bytes(self.payload_bytes))
    assert "fresh runs gave the same upload" in violated(Bfv(), "test_one_upload_looks_uniform")
