"""The row span of a gradient: what lies on it, what does not, and when it tells nothing. And rows of a table."""

from __future__ import annotations

import numpy as np
import pytest

from securefed.audit.leakage import Evidence, RowSpan, auc, changed_rows, likeliest, row_strengths
from securefed.audit.leakage.layers import attention_evidence, embedding_update
from securefed.audit.leakage.row_span import LUCK, on_span, scores
from securefed.errors import ConfigError

RNG = np.random.default_rng(0)
TABLE = RNG.normal(size=(300, 40))
INPUTS = TABLE[:12]


def gradient_of(inputs: np.ndarray, outputs: int = 64, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(outputs, len(inputs))) @ inputs


def test_inputs_lie_on_the_span_and_nothing_else_does() -> None:
    span = RowSpan.of(gradient_of(INPUTS))
    assert (span.rank, span.room) == (12, 28)
    assert span.distances(INPUTS) == pytest.approx(0, abs=1e-7)
    assert span.distances(TABLE[12:]).min() > 0.3
    assert np.flatnonzero(span.holds(TABLE)).tolist() == list(range(12))
    assert span.distances(np.zeros(40)) == 1
    assert not RowSpan.of(-3e-7 * gradient_of(INPUTS).astype(np.float32)).holds(TABLE[12:]).any()


def test_the_distance_is_the_sine_of_the_angle() -> None:
    span = RowSpan.of([[1.0, 0.0, 0.0]])
    assert span.distances([[2.0, 0.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 5.0]]) == pytest.approx([0, 0.5**0.5, 1])


def test_as_many_inputs_as_dimensions_tell_nothing() -> None:
    span = RowSpan.of(gradient_of(TABLE[:40]))
    assert not span.tells
    assert not span.holds(TABLE).any()


@pytest.mark.parametrize("inputs", [12, 39, 60])
def test_inputs_score_above_others_also_where_the_rank_is_full(inputs: int) -> None:
    found = RowSpan.of(gradient_of(TABLE[:inputs])).scores(TABLE)
    area = auc(found[:inputs], found[inputs:])
    assert area.value > (0.999 if inputs < 40 else 0.9)
    noise = RowSpan.of(np.random.default_rng(7).normal(size=(64, 40))).scores(TABLE)
    nothing = auc(noise[:inputs], noise[inputs:], 0.999)
    assert nothing.low < 0.5 < nothing.high


@pytest.mark.parametrize("outputs", [64, 20])
def test_the_score_is_minus_the_log_of_the_leverage(outputs: int) -> None:
    gradient = gradient_of(TABLE[:60], outputs)
    span = RowSpan.of(gradient)
    matrix = gradient.T @ gradient / span.sizes[0] ** 2 + (span.floor / span.sizes[0]) ** 2 * np.eye(40)
    units = TABLE / np.linalg.norm(TABLE, axis=1, keepdims=True)
    known = -np.log(np.einsum("ij,ij->i", units @ np.linalg.inv(matrix), units))
    assert span.scores(TABLE) == pytest.approx(known, abs=1e-2)


def test_candidates_of_a_subspace_leave_less_room() -> None:
    centred = TABLE - TABLE.mean(axis=1, keepdims=True)
    all_of_it = Evidence(RowSpan.of(gradient_of(centred[:60])))
    assert all_of_it.span.tells
    assert not all_of_it.among(centred).span.tells
    some = Evidence(RowSpan.of(gradient_of(centred[:20]))).among(centred)
    assert some.span.room == 19
    assert np.flatnonzero(some.holds(centred)).tolist() == list(range(20))


@pytest.mark.parametrize("room", [1, 2, 8])
def test_random_vectors_are_taken_for_inputs_as_rarely_as_said(room: int) -> None:
    rng, taken = np.random.default_rng(room), 0
    for _ in range(200):
        span = RowSpan.of(np.eye(40)[: 40 - room], noise=0.02)
        assert span.room == room
        taken += int(span.holds(rng.normal(size=(300, 40))).sum())
    assert taken <= 200 * LUCK + 3 * (200 * LUCK) ** 0.5 + 1


def test_noise_that_is_known_is_allowed_for() -> None:
    noise = 0.05
    noisy = gradient_of(INPUTS) + np.random.default_rng(2).normal(0, noise, (64, 40))
    assert RowSpan.of(noisy).rank == 40
    span = RowSpan.of(noisy, noise=noise)
    assert span.rank == 12
    assert np.flatnonzero(span.holds(TABLE)).tolist() == list(range(12))
    drowned = gradient_of(INPUTS) + np.random.default_rng(2).normal(0, 100.0, (64, 40))
    assert not RowSpan.of(drowned, noise=100.0).tells


def test_a_lora_tells_through_its_a_where_fewer_inputs_than_its_rank_were_seen() -> None:
    a = np.random.default_rng(3).normal(size=(16, 40))
    of_b = Evidence.of_lora_b(gradient_of(INPUTS) @ a.T, a)
    assert np.flatnonzero(of_b.holds(TABLE)).tolist() == list(range(12))
    of_a = Evidence.of_lora_a(gradient_of(INPUTS, outputs=16))
    assert np.flatnonzero(of_a.holds(TABLE)).tolist() == list(range(12))
    small = a[:8]
    assert not Evidence.of_lora_b(gradient_of(INPUTS) @ small.T, small).span.tells
    assert not Evidence.of_lora_a(gradient_of(INPUTS, outputs=8)).holds(TABLE).any()


def test_one_span_of_several_is_enough() -> None:
    both = [Evidence(RowSpan.of(gradient_of(TABLE[:5]))), Evidence(RowSpan.of(gradient_of(TABLE[3:9])))]
    assert np.flatnonzero(on_span(both, TABLE)).tolist() == list(range(9))
    assert likeliest(scores(both, TABLE), 9) == tuple(range(9))
    assert not on_span([], TABLE).any()


def test_what_is_no_gradient() -> None:
    for wrong in (np.zeros(3), np.zeros((2, 0)), np.full((2, 2), np.nan)):
        with pytest.raises(ConfigError, match="two axes"):
            RowSpan.of(wrong)
    nothing = RowSpan.of(np.zeros((4, 5)))
    assert not nothing.tells
    assert likeliest(nothing.scores(TABLE[:, :5]), 3) == ()


def test_layers_are_found_by_the_names_of_transformers_and_peft() -> None:
    gradient = gradient_of(INPUTS)
    a = np.random.default_rng(3).normal(size=(16, 40))
    for names in (
        {"model.layers.0.self_attn.q_proj.weight": gradient},
        {
            "model.layers.0.self_attn.q_proj.weight": gradient[:8],
            "model.layers.0.self_attn.v_proj.weight": gradient[8:],
        },
        {"transformer.h.0.attn.c_attn.weight": gradient.T},
        {"base_model.model.model.layers.0.self_attn.v_proj.lora_B.default.weight": gradient @ a.T},
        {"base_model.model.transformer.h.0.attn.c_attn.lora_B.weight": gradient @ a.T},
        {"base_model.model.model.layers.0.self_attn.q_proj.lora_A.client7.weight": gradient[:16]},
    ):
        others = {
            "model.layers.1.self_attn.q_proj.weight": np.ones((40, 40)),
            "model.layers.0.mlp.up_proj.weight": np.ones((80, 40)),
            "model.layers.0.self_attn.o_proj.weight": np.ones((40, 40)),
        }
        before = {name.replace("lora_B", "lora_A"): a for name in names}
        evidence = attention_evidence(names | others, before, 0)
        assert np.flatnonzero(on_span(evidence, TABLE)).tolist() == list(range(12)), names.keys()
    with pytest.raises(ConfigError, match="layer 2"):
        attention_evidence(others, {}, 2)
    with pytest.raises(ConfigError, match=r"lora_A\.weight is not among"):
        attention_evidence({"h.0.attn.c_attn.lora_B.weight": gradient}, {}, 0)
    assert embedding_update({"model.embed_tokens.weight": TABLE, "lm_head.weight": TABLE}) is not None
    assert embedding_update({"transformer.wpe.weight": TABLE}) is None


@pytest.mark.parametrize("decay", [0.0, 1e-3])
def test_rows_that_changed_are_found_whatever_decays(decay: float) -> None:
    before = TABLE.astype(np.float32)
    after = before * np.float32(1 - decay)
    after[[3, 7, 250]] += np.float32(1e-3) * RNG.choice([-1.0, 1.0], (3, 40)).astype(np.float32)
    assert changed_rows(after - before, before).tolist() == [3, 7, 250]
    assert likeliest(row_strengths(after - before, before), 3) == (3, 7, 250)


def test_rows_that_a_shared_output_layer_moves_alike_are_weak() -> None:
    update = np.outer(RNG.uniform(1, 20, 300), RNG.normal(size=40)) + RNG.normal(0, 0.01, (300, 40))
    update[[5, 90]] += RNG.normal(size=(2, 40))
    assert likeliest(row_strengths(update), 2) == (5, 90)


def test_rows_of_noise_name_nobody() -> None:
    rng = np.random.default_rng(6)
    for table in (rng.normal(size=(300, 40)), rng.uniform(-1, 1, (300, 40)), np.zeros((300, 40)), np.ones((300, 40))):
        assert changed_rows(table).tolist() == []
    with pytest.raises(ConfigError, match="the table before it"):
        changed_rows(TABLE, TABLE[:5])
    with pytest.raises(ConfigError, match="two axes"):
        changed_rows(TABLE[0])
