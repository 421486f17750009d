"""The property suite on our own schemes: the protected ones have every property, the unprotected one lacks three."""

from __future__ import annotations

import subprocess
import sys

import pytest

from securefed.audit.protocol import AggregationProperties, Verdict, verdicts
from securefed.audit.views import ViewProperties
from tests.audit.rounds import Bfv, CkksCompact, Masks, Plain, SemiHonestBfv, SemiHonestMasks
from tests.tenseal import needs_tenseal


class TestMasks(Masks):
    """Against a malicious server."""


class TestSemiHonestMasks(SemiHonestMasks):
    """Against a server that follows the protocol."""


class TestBfv(Bfv):
    """Against a malicious server."""


@needs_tenseal
class TestCkksCompact(CkksCompact):
    """The smallest ring of approximate ciphertexts."""


class TestSemiHonestBfv(SemiHonestBfv):
    """Against a server that follows the protocol."""


@pytest.mark.parametrize("name", ViewProperties.properties())
def test_two_views_with_a_client_that_is_the_servers(name: str) -> None:
    """One of five, as the stated adversary says."""
    suite = Masks()
    suite.colluders = 1
    ViewProperties.properties()[name](suite)


def test_the_unprotected_scheme_lacks_what_protection_gives() -> None:
    found = verdicts(Plain())
    assert {name for name, (verdict, _) in found.items() if verdict is Verdict.VIOLATED} == {
        "test_one_upload_looks_uniform",
        "test_nothing_of_one_client_in_clear",
    }


def test_a_property_without_its_hook_is_skipped_and_says_which() -> None:
    found = verdicts(Plain())
    skipped = {name: why for name, (verdict, why) in found.items() if verdict is Verdict.SKIPPED}
    assert skipped == {
        "test_every_bit_of_a_mask_seed_counts": "needs the hook Round.mask_stream",
        "test_forged_requests_are_refused": "needs the hook Round.forge",
        "test_two_sets_of_survivors_give_no_two_sums": (
            "the protocol claims nothing against a server that lies (Round.lying_server)"
        ),
        "test_never_both_kinds_of_shares": "needs the hook Round.held_shares",
        "test_older_copies_never_give_both_kinds_of_shares": "needs the hook Round.held_shares",
    }


def test_every_property_says_what_is_claimed() -> None:
    for name, check in AggregationProperties.properties().items():
        assert check.__doc__, name


def test_the_suite_needs_numpy_alone() -> None:
    """Neither pytest nor hypothesis, no extra, and nothing of ours but the errors."""
    code = (
        "import sys, securefed.audit.protocol\n"
        "heavy = {'pytest', 'hypothesis', 'torch', 'typer', 'rich', 'cryptography', 'securefed.secagg'}\n"
        "print(sorted(heavy & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
