"""The same attacks on what a server sees under masks: nothing better than chance, where the words in clear give all."""

from __future__ import annotations

import numpy as np
import pytest

from securefed.aggregation import Update
from securefed.audit.leakage import likeliest, row_strengths, token_recovery
from securefed.encoding.layout import Layout
from securefed.encoding.vector import VectorEncoding
from tests import rounds
from tests.audit.leakage.attacked import VOCABULARY, Trained, attack, model_of, train
from tests.rounds import COHORT, MODEL, Round, identity_of, spec_of
from tests.secagg.lies import words_of

CLIENTS = COHORT
CLIP = 0.05


@pytest.fixture(scope="module")
def trained() -> dict[int, Trained]:
    """Every client's update of the same model, on a text of its own."""
    return {client: train(model_of("llama"), 1, 8, seed=client) for client in CLIENTS}


@pytest.fixture(scope="module")
def played(trained: dict[int, Trained]) -> tuple[VectorEncoding, dict[int, np.ndarray], dict[int, np.ndarray], Round]:
    """A real round: the words in clear, those that each client uploads, and the round with its sum."""
    layout = Layout.of(trained[CLIENTS[0]].update)
    spec = spec_of(layout, clip=CLIP, greatest_weight=1)
    updates = {client: Update(seen.update, MODEL) for client, seen in trained.items()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rounds, "update_of", lambda client, layout: updates[client])
        round_ = Round(spec, layout)
        while round_.server.aggregate is None:
            round_.play()
    encoding = VectorEncoding(layout, spec.numbers)
    clear, masked = {}, {}
    for client in CLIENTS:
        pieces = encoding.encode(trained[client].update, 1, {}, identity_of(client, layout).rounding(spec.round))
        clear[client] = np.concatenate(list(pieces))
        masked[client] = words_of(round_, client)
    return encoding, clear, masked, round_


def as_update(encoding: VectorEncoding, words: np.ndarray) -> dict[str, np.ndarray]:
    """What a server reads that takes words for those of one client."""
    lanes = encoding.numbers.lanes.unpack(words & encoding.numbers.lanes.ring_mask)[: encoding.layout.size]
    return encoding.layout.assemble(iter([encoding.numbers.mean(lanes, 1, 1)]))


NOISE = 2 * CLIP / 2**16 / 6**0.5


def test_the_words_in_clear_give_the_text_away(trained, played) -> None:
    encoding, clear, *_ = played
    for client in CLIENTS:
        found = attack(trained[client], as_update(encoding, clear[client]), noise=NOISE)
        assert found.precision is not None
        assert found.texts is not None
        assert (found.recall.value, found.precision.value, found.texts.value) == (1, 1, 1)


def test_the_words_under_masks_give_nothing(trained, played) -> None:
    encoding, clear, masked, _ = played
    named, areas, strengths = [], [], []
    for client in CLIENTS:
        assert not np.array_equal(clear[client], masked[client])
        seen, update = trained[client], as_update(encoding, masked[client])
        found = attack(seen, update, noise=NOISE)
        assert (found.precision, found.recall.value, found.p_value) == (None, 0, 1)
        assert found.area is not None
        areas.append(found.area.value)
        rows = row_strengths(update[seen.embedding])
        strengths.append(rows)
        named.append(likeliest(rows, len(seen.present)))
    present = [trained[client].present for client in CLIENTS]
    beside = token_recovery(named, present, VOCABULARY, scores=strengths, others=present[1:] + present[:1])
    assert beside.area is not None
    assert beside.area.low < 0.5 < beside.area.high
    rows_found = token_recovery(named, present, VOCABULARY, scores=strengths, confidence=0.999)
    assert rows_found.area is not None
    assert rows_found.area.low < 0.5 < rows_found.area.high
    assert rows_found.p_value > 0.001
    # Four means of 7 or so ranks each: a deviation of 0.3/√28.
    assert np.mean(areas) == pytest.approx(0.5, abs=4 * 0.3 / 28**0.5)


def test_the_sum_names_tokens_of_the_cohort_and_no_client(trained, played) -> None:
    *_, round_ = played
    aggregate = round_.server.aggregate
    assert aggregate is not None
    seen = trained[CLIENTS[0]]
    rows = row_strengths(aggregate.tensors[seen.embedding])
    together = set().union(*(one.present for one in trained.values()))
    union = token_recovery([likeliest(rows, len(together))], [together], VOCABULARY, scores=[rows])
    assert union.recall.value > 0.9, "a sum over few is no protection of what nobody else wrote"
    # Whose they are: among the cohort's tokens, this client's own are scored like the others'.
    own = sorted(together)
    numbers = {token: number for number, token in enumerate(own)}
    whose = token_recovery(
        [()] * len(CLIENTS),
        [{numbers[token] for token in trained[client].present} for client in CLIENTS],
        len(own),
        scores=[rows[own]] * len(CLIENTS),
        confidence=0.999,
    )
    assert whose.area is not None
    assert whose.area.low < 0.5 < whose.area.high
