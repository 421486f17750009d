"""What the property suite says about Flower's SecAgg+, run as it is installed. Measured with flwr 1.41.0.

A contrast, and a test of the suite: each finding is one that was known before, and is reproduced below by itself. If a
later version of Flower has a property that this one lacks, the test says so by failing: then take it off the list.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Iterator
from importlib.metadata import version
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest

pytest.importorskip("flwr", reason="Flower is not installed: pip install 'securefed[peers]'")
pytest.importorskip("Crypto", reason="Flower's SecAgg+ needs pycryptodome: pip install 'securefed[peers]'")

from flwr.app import ConfigRecord, Message, RecordDict
from flwr.common import parameters_to_ndarrays
from flwr.common.secure_aggregation.crypto.symmetric_encryption import generate_shared_key
from flwr.common.secure_aggregation.ndarrays_arithmetic import (
    factor_combine,
    parameters_addition,
    parameters_mod,
)
from flwr.common.secure_aggregation.quantization import quantize
from flwr.common.secure_aggregation.secaggplus_constants import RECORD_KEY_CONFIGS, Key, Stage
from flwr.common.secure_aggregation.secaggplus_utils import pseudo_rand_gen
from flwr.compat.common import recorddict_compat as compat
from flwr.server.workflow.secure_aggregation.secaggplus_workflow import (
    SecAggPlusWorkflow,
    WorkflowState,
)
from flwr.supercore.primitives.asymmetric import generate_key_pairs

from securefed.audit.audited import not_exact
from securefed.audit.protocol import Contribution, Verdict, verdicts
from securefed.audit.round import Play
from tests.audit.flower import CLIP, MODULUS, TARGET, FlowerSecAggPlus, body, parse

LACKS = {
    "test_dropouts_down_to_the_threshold_are_survived": "a dropout in one of the first two stages halts the round",
    "test_every_bit_of_a_mask_seed_counts": "a seed is folded to 32 bits",
    "test_nothing_of_one_client_in_clear": "the number of examples and the metrics go in clear",
    "test_the_length_of_messages_does_not_depend_on_the_input": "so they change the message's length",
    "test_a_repeated_request_gets_no_second_answer": "a repeated set-up begins again, with other keys",
    "test_forged_requests_are_refused": "any threshold is taken; a peer may be named as dead and alive",
    "test_a_vector_that_is_not_finite_is_refused": "NaN is sent, as some integer",
    "test_never_both_kinds_of_shares": "a peer that is named as dead and alive has both its shares given",
}
HAS = {
    "test_the_sum_is_exact",
    "test_too_few_left_aborts",
    "test_the_order_of_answers_does_not_matter",
    "test_one_upload_looks_uniform",
    "test_a_second_answer_changes_nothing",
    "test_two_sets_of_survivors_give_no_two_sums",
}


@pytest.fixture(autouse=True)
def _without_its_log() -> Iterator[None]:
    logger = logging.getLogger("flwr")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    yield
    logger.setLevel(level)


def test_what_the_suite_finds() -> None:
    found = verdicts(FlowerSecAggPlus())
    by_verdict = {verdict: {name for name, (came, _) in found.items() if came is verdict} for verdict in Verdict}
    told = f"flwr {version('flwr')}: {found}"
    assert by_verdict[Verdict.VIOLATED] == LACKS.keys(), told
    assert by_verdict[Verdict.HOLDS] == HAS, told


def play() -> Play:
    suite = FlowerSecAggPlus()
    return Play(suite.make_round(suite.contributions()))


@pytest.mark.parametrize("stage", Stage.all())
def test_a_dropout_in_the_first_two_stages_halts_the_round(stage: str) -> None:
    """And later it is survived."""
    round_ = play()
    result = round_.finish({4: stage})
    if stage in (Stage.SETUP, Stage.SHARE_KEYS):
        assert result is None
        assert round_.aborted is not None
    else:
        survivors = (1, 2, 3) if stage == Stage.COLLECT_MASKED_VECTORS else (1, 2, 3, 4)
        assert not_exact(round_.round, result, survivors) is None


def test_a_client_gives_both_shares_of_a_peer_when_asked() -> None:
    round_ = play().until(Stage.UNMASK)
    forge, shares = round_.round.forge, round_.round.held_shares
    assert forge is not None
    assert shares is not None
    held = shares(round_.clients[1])
    (lie,) = forge(Stage.UNMASK, 1, round_.server.requests()[1]).values()
    answer = round_.ask(1, lie)
    assert all(share in answer for both in held.values() for share in both)


def test_the_number_of_examples_goes_in_clear() -> None:
    suite = FlowerSecAggPlus()
    contributions = suite.contributions()
    round_ = Play(suite.make_round(contributions)).until(Stage.COLLECT_MASKED_VECTORS)
    round_.answer()
    for client, upload in round_.replies[Stage.COLLECT_MASKED_VECTORS].items():
        result = compat.recorddict_to_fitres(parse(upload), keep_input=True)
        assert result.num_examples == contributions[client].weight
        assert result.metrics == {"loss": contributions[client].metric}


def test_a_mask_has_32_effective_bits_of_seed_and_a_pairwise_one_28() -> None:
    """Words of a seed are added modulo 2; those of a shared key are printable characters, whose top bits are 0."""
    seed = np.random.default_rng(0).bytes(32)
    folded = np.bitwise_xor.reduce(np.frombuffer(seed, "<u4"))
    short = int(folded).to_bytes(4, "little") + bytes(28)
    assert (mask(seed) == mask(short)).all()
    for _ in range(20):
        (mine, _), (_, theirs) = generate_key_pairs(), generate_key_pairs()
        key = generate_shared_key(mine, theirs)
        assert np.bitwise_xor.reduce(np.frombuffer(key, "<u4")) & np.uint32(0x80808080) == 0


def mask(seed: bytes) -> Any:
    return pseudo_rand_gen(seed, MODULUS, [(100,)])[0]


@pytest.mark.parametrize(("weight", "decoded"), [(1.0, -315.077), (0.25, -31.208)])
def test_2100_zero_vectors_decode_to_something_else_without_a_word(weight: float, decoded: float) -> None:
    """The modulus has room for 2047 of them; what is checked is the number of shares. Masks are left out: they cancel.

    Args:
        weight: of each client, as a share of the greatest.
    """
    clients = 2100
    # Words of 64 bits, as they are once a mask has been added.
    integers = factor_combine(round(weight * TARGET), quantize([np.zeros(4)], CLIP, TARGET))
    one = [array.astype(np.int64) for array in integers]
    total = one
    for _ in range(clients - 1):
        total = parameters_addition(total, one)
    workflow = SecAggPlusWorkflow(3, 2)
    state = WorkflowState(
        sampled_node_ids=set(range(1, clients + 1)),
        active_node_ids=set(range(1, clients + 1)),
        threshold=1,
        clipping_range=CLIP,
        quantization_range=TARGET,
        mod_range=MODULUS,
        nid_to_neighbours={client: {client} for client in range(1, clients + 1)},
    )
    state.aggregate_ndarrays = parameters_mod(total, MODULUS)
    state.legacy_results = [(SimpleNamespace(node_id=1), SimpleNamespace(parameters=None))]  # type: ignore[list-item]
    released = {Key.NODE_ID_LIST: list(range(1, clients + 1)), Key.SHARE_LIST: [b"share"] * clients}
    seen: list[Any] = []

    def send_and_receive(messages: list[Message], **_: Any) -> list[Message]:
        content = RecordDict({RECORD_KEY_CONFIGS: ConfigRecord(released)})
        return [Message(content, reply_to=messages[0])]

    def aggregated(_: int, results: Any, __: Any) -> tuple[None, dict[str, Any]]:
        seen.extend(parameters_to_ndarrays(results[0][1].parameters))
        return None, {}

    context: Any = SimpleNamespace(
        state=SimpleNamespace(config_records={"config": {"current_round": 1}}),
        strategy=SimpleNamespace(aggregate_fit=aggregated),
    )
    module = importlib.import_module(SecAggPlusWorkflow.__module__)
    nothing = [np.zeros(1, np.int64), np.zeros(4, np.int64)]
    with (
        patch.object(module, "combine_shares", lambda _: b""),
        patch.object(module, "pseudo_rand_gen", lambda *_: nothing),
    ):
        grid: Any = SimpleNamespace(send_and_receive=send_and_receive)
        assert workflow.unmask_stage(grid, context, state)
    assert np.abs(seen[0] - decoded).max() < 0.01


def test_a_nan_is_sent_as_some_integer() -> None:
    suite = FlowerSecAggPlus()
    contributions = suite.contributions()
    contributions[1] = Contribution(np.full(suite.parameters, np.nan), 1, 0.0)
    round_ = Play(suite.make_round(contributions)).until(Stage.COLLECT_MASKED_VECTORS)
    upload = round_.ask(1, round_.server.requests()[1])
    assert len(body(upload)) == 4 * (1 + suite.parameters)
