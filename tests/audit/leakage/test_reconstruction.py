"""Texts out of updates: all of them from plain small batches, less from what is blurred, and what Adam leaves."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from securefed.audit.leakage import (
    Sees,
    attention_evidence,
    changed_rows,
    likeliest,
    recover,
    recover_from_update,
    row_strengths,
    table,
    token_recovery,
)
from securefed.errors import ConfigError
from tests.audit.leakage.attacked import VOCABULARY, attack, model_of, train, with_lora


@pytest.mark.parametrize("kind", ["llama", "llama-tied", "gpt2"])
@pytest.mark.parametrize(("texts", "length"), [(1, 9), (3, 9)])
def test_a_plain_update_gives_every_text_away(kind: str, texts: int, length: int) -> None:
    found = attack(train(model_of(kind), texts, length))
    assert found.precision is not None
    assert found.texts is not None
    assert found.area is not None
    assert (found.recall.value, found.precision.value, found.texts.value, found.area.value) == (1, 1, 1, 1)
    assert found.p_value < 1e-9


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
@pytest.mark.parametrize(("frozen", "started"), [(True, False), (False, False), (False, True)])
def test_a_plain_lora_update_gives_a_short_text_away(kind: str, frozen: bool, started: bool) -> None:
    found = attack(train(with_lora(model_of(kind), 12, frozen=frozen, started=started), 1, 9))
    assert found.texts is not None
    assert (found.recall.value, found.texts.value) == (1, 1)


def test_a_lora_of_fewer_ranks_than_tokens_gives_no_text_away_and_still_orders_tokens() -> None:
    found = attack(train(with_lora(model_of("llama"), 8, frozen=True), 2, 9))
    assert (found.recall.value, found.precision, found.p_value) == (0, None, 1)
    assert found.area is not None
    assert found.area.low > 0.6


def test_several_sgd_steps_on_a_lora_are_as_good_as_one() -> None:
    seen = train(with_lora(model_of("llama"), 16, frozen=True), 1, 5, steps=3)
    found = attack(seen)
    assert (found.recall.value, found.precision.value if found.precision else 0) == (1, 1)


@pytest.mark.parametrize("optimizer", ["SGD", "Adam", "AdamW"])
def test_the_rows_of_an_embedding_name_the_tokens_after_any_number_of_steps(optimizer: str) -> None:
    rate = 0.1 if optimizer == "SGD" else 1e-3
    seen = train(model_of("llama"), 2, 9, steps=4, optimizer=optimizer, rate=rate)
    table, before = seen.update[seen.embedding], seen.before[seen.embedding]
    assert set(changed_rows(table, before).tolist()) == seen.present


@pytest.mark.parametrize("kind", ["llama-tied", "gpt2"])
@pytest.mark.parametrize("optimizer", ["SGD", "Adam"])
def test_the_rows_of_a_shared_table_stand_out_too(kind: str, optimizer: str) -> None:
    seen = train(model_of(kind), 1, 9, steps=4, optimizer=optimizer, rate=0.1 if optimizer == "SGD" else 1e-3)
    strengths = row_strengths(seen.update[seen.embedding], seen.before[seen.embedding])
    named = {int(token) for batch in seen.batches for token in batch.ravel()}  # inputs and labels
    found = token_recovery([likeliest(strengths, len(named))], [named], VOCABULARY, scores=[strengths])
    assert found.area is not None
    assert found.area.value > 0.95
    assert found.recall.value > 0.8


def test_after_adam_the_exact_attack_finds_nothing_and_the_order_of_scores_still_tells() -> None:
    one, several = (train(model_of("llama"), 1, 9, steps=steps, optimizer="Adam", rate=1e-3) for steps in (1, 4))
    assert attack(one).precision is None
    areas = []
    for seen in (one, several):
        found = attack(seen)
        assert found.area is not None
        areas.append(found.area.value)
    assert areas[0] > 0.98
    assert 0.75 < areas[1] < areas[0]


def test_what_is_found_decays_with_noise_to_chance() -> None:
    seen = train(model_of("llama"), 2, 9)
    size = float(np.abs(np.concatenate([value.ravel() for value in seen.update.values()])).max())
    areas, recalls = [], []
    for share in (0.0, 1e-5, 1e-2, 10.0):
        rng = np.random.default_rng(0)
        noisy = {
            name: value.astype(np.float64) + rng.normal(0, share * size, value.shape)
            for name, value in seen.update.items()
        }
        found = attack(seen, noisy, noise=share * size)
        assert found.area is not None
        areas.append(found.area)
        recalls.append(found.recall.value)
    assert recalls[0] == 1
    assert recalls[1] > 0.9
    assert recalls[2] < 0.7
    assert recalls[3] == 0
    assert areas[0].value == 1 > areas[2].value > 0.55
    assert areas[3].low < 0.5 < areas[3].high


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_a_batch_with_more_tokens_than_dimensions_gives_no_text_away_and_still_orders_tokens(kind: str) -> None:
    found = attack(train(model_of(kind), 8, 12))
    assert (found.recall.value, found.precision, found.p_value) == (0, None, 1)
    assert found.area is not None
    assert found.area.low > 0.6


def test_a_model_without_two_attention_layers_is_refused() -> None:
    torch = pytest.importorskip("torch")
    from securefed.audit.leakage import HuggingFaceDecoder

    with pytest.raises(ConfigError, match="no two attention layers"):
        HuggingFaceDecoder(torch.nn.Linear(2, 2))
    seen = train(model_of("llama"), 1, 5)
    with pytest.raises(ConfigError, match="longest"):
        recover(seen.decoder, attention_evidence(seen.update, seen.before, 0), longest=0)


def test_only_positions_that_matter_are_told_apart() -> None:
    assert not train(model_of("llama"), 1, 4).decoder.positional
    seen = train(model_of("gpt2"), 1, 6)
    assert seen.decoder.positional
    found = recover(seen.decoder, attention_evidence(seen.update, seen.before, 0), longest=5)
    assert found.positions == tuple((int(token),) for token in seen.batches[0][0, :-1])
    assert found.texts == ()
    first = {name: value for name, value in seen.update.items() if ".h.0." in name}
    assert recover_from_update(seen.decoder, first, seen.before, longest=5).positions == found.positions
    with pytest.raises(ConfigError, match="layer 0"):
        recover_from_update(seen.decoder, {}, seen.before, longest=5)


def test_scores_against_the_truth() -> None:
    found = token_recovery(
        [{1, 2, 3, 9}, {5}],
        [{1, 2, 4}, {5, 6}],
        50,
        texts=[({(1, 2)}, {(1, 2), (4,)}), (set(), {(5, 6)})],
        sees=Sees.SUM,
    )
    assert found.precision is not None
    assert found.texts is not None
    assert (found.precision.successes, found.precision.trials) == (3, 5)
    assert (found.recall.successes, found.recall.trials) == (3, 5)
    assert (found.texts.successes, found.texts.trials) == (1, 3)
    assert found.chance == 5 / 100
    first, second = stats.hypergeom(50, 3, 4), stats.hypergeom(50, 2, 1)
    known = sum(first.pmf(a) * second.pmf(b) for a in range(4) for b in range(2) if a + b >= 3)
    assert found.p_value == pytest.approx(known)
    assert "a server that reads the sum" in table([found])


def test_guesses_are_right_as_often_as_chance_says() -> None:
    rng, small = np.random.default_rng(1), 0
    for _ in range(300):
        guesses, scores = rng.choice(60, 6, replace=False), rng.normal(size=60)
        small += token_recovery([guesses], [range(10)], 60, scores=[scores]).p_value < 0.05
    assert small <= 300 * 0.05 + 3 * (300 * 0.05) ** 0.5


def test_what_any_text_would_show_is_no_finding_beside_another_text() -> None:
    rng = np.random.default_rng(2)
    frequent = np.arange(200) < 60  # all texts are made of these
    held, plain = 0, []
    for _ in range(200):
        own, other = (
            [rng.choice(60, 15, replace=False) for _ in range(6)],
            [rng.choice(60, 15, replace=False) for _ in range(6)],
        )
        scores = [frequent + rng.normal(0, 0.5, 200) for _ in own]
        plain.append(token_recovery([()] * 6, own, 200, scores=scores).area)
        beside = token_recovery([range(60)] * 6, own, 200, scores=scores, others=other)
        assert beside.decoys is not None
        assert beside.recall.value == beside.decoys.value == 1
        held += beside.area.low <= 0.5 <= beside.area.high
    assert min(area.low for area in plain) > 0.6
    assert 180 <= held <= 198
    assert "tokens of another text found: 1 share" in table([beside])


def test_a_plain_update_is_told_from_another_text() -> None:
    seen = [train(model_of("llama"), 1, 8, seed=seed) for seed in range(5)]
    found = [recover_from_update(one.decoder, one.update, one.before, longest=8) for one in seen]
    present = [one.present for one in seen]
    result = token_recovery(
        [one.tokens for one in found],
        present,
        VOCABULARY,
        scores=[one.scores for one in found],
        others=present[1:] + present[:1],
    )
    assert result.decoys is not None
    assert result.area is not None
    assert (result.recall.value, result.decoys.value, result.area.value) == (1, 0, 1)
    assert result.area.low > 0.85
    with pytest.raises(ConfigError, match="other text"):
        token_recovery([{1}], [{1, 2}], 50, others=[{2}])


def test_no_truth() -> None:
    for found, present in (([], []), ([{1}], []), ([{1}], [set()]), ([{50}], [{1}])):
        with pytest.raises(ConfigError):
            token_recovery(found, present, 50)
    with pytest.raises(ConfigError, match=r"shape \[50\]"):
        token_recovery([{1}], [{1}], 50, scores=[np.zeros(3)])
