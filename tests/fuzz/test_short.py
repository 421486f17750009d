"""A few hundred executions of every target, always the same; `make fuzz` runs a million, guided by coverage."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.engines import Watch, fuzz_plainly
from tests.fuzz.registry import TARGETS

RUNS, RUNS_OF_ROUNDS, RUNS_OF_LARGE_ROUNDS, RUNS_OF_HOMOMORPHIC_ROUNDS = 700, 350, 120, 400

HEADER = {"W1", "W2", "W3", "W4", "W5", "W6", "W12", "R1", "R2", "R4"}
REACHED = {
    "wire-roster": {"decoded", "W7", "W8", "W9", "W10", *HEADER},
    "wire-agreement": {"decoded", "W8", "W10", "W11", "W14"},
    "wire-input": {"decoded", "W11", "W13"},
    "wire-exchange_keys": {"decoded", "W7", "W8", "W9", "W10", *HEADER},
    "wire-sealed_keys": {"decoded", "W8", "W9", "W10", "W11"},
    "wire-sealed_key": {"decoded", "W8", "W11"},
    "wire-ciphertexts": {"decoded", "H1", "W8", "W11"},
    "wire-ciphertext_sum": {"decoded", "H1", "W8", "W10", "W11", "W14"},
    "wire-opened": {"decoded", "H1", "W8", "W11"},
    "specification": {"parsed, MALICIOUS", "parsed, SEMI_HONEST", "W15"},
    "wire-named_delivery": {"decoded", "W7", "W8", "W9", "W10", "W14"},
    "client-prepared": {"input answered", "input R12", "input resume R10", "done R4"},
    "server-prepared": {"input named", "input R6", "input taken", "release advanced"},
    "bundle": {"bundle", "message", "W16"},
    "chain-client": {"input answered", "input without its rider", "input R1", "input W16", "release answered"},
    "chain-server": {"input taken", "input taken with its rider", "input W16", "release W8"},
    "chain-client-snapshot": {"read", "P1"},
    "chain-server-snapshot": {"read", "P1"},
    "client-malicious": {"input G1", "input resume R10", "consent R9", "consent W14", "release C1", "done R4"},
    "client-sparse": {"share answered", "input answered", "release answered", "consent R10"},
    "server-semi-honest": {"share taken", "share G1", "release aborted", "release resumed", "done over"},
    "holder-bfv-malicious": {"keys answered", "open answered", "open R4", "open R10", "keys K3", "open H1"},
    "client-bfv-semi-honest": {"input answered", "input S4", "done R4"},
    "server-bfv-malicious": {"keys advanced", "open aborted", "open H1", "input H2", "input resumed", "done over"},
    "client-snapshot-bfv": {"read", "P1"},
    "server-snapshot-bfv": {"read", "P1"},
    "safetensors": {"read", "refused"},
}
"""Outcomes without which a target has not come past the first checks."""


def runs_of(name: str) -> int:
    if "bfv" in name:
        return RUNS_OF_HOMOMORPHIC_ROUNDS
    if "sparse" in name or name == "server-snapshot":
        return RUNS_OF_LARGE_ROUNDS
    return RUNS_OF_ROUNDS if name.startswith(("client-", "server-")) else RUNS


@pytest.mark.parametrize("name", TARGETS)
def test_a_short_run(name: str, tmp_path: Path) -> None:
    watch = Watch(TARGETS[name](), tmp_path)
    fuzz_plainly(watch, runs_of(name))
    assert not watch.findings, watch.report()
    missed = REACHED.get(name, set()) - watch.outcomes
    assert not missed
