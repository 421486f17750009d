"""What a server gains by mixing sessions, or by keeping parts of what clients say: noise, or nothing."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from securefed.aggregation import Adversary, RoundSpec
from securefed.crypto.hashing import digest
from securefed.crypto.keystream import StreamSum
from securefed.crypto.shamir import SHARE_BYTES, Responders
from securefed.crypto.x25519 import PrivateKey
from securefed.encoding.vector import VectorEncoding
from securefed.errors import RoundAborted
from securefed.federated.journal import Journal
from securefed.secagg.client import MaskingClient
from securefed.secagg.keys import ClientSecrets, PairContext, commitment, self_mask_key
from securefed.secagg.stages import Stage
from tests.rounds import (
    COHORT,
    LAYOUT,
    SEMI_HONEST,
    Round,
    identity_of,
    plain_sum,
    seed,
    spec_of,
    update_of,
)
from tests.rules import refused
from tests.secagg import lies
from tests.secagg.lies import VICTIM
from tests.secagg.modes import both_modes, stages_of


def unmasked_words(round_: Round, client: int) -> np.ndarray:
    """A client's masked words without its self mask: with the seeds of all survivors the server gets that far."""
    spec, words = round_.spec, lies.words_of(round_, client)
    own = ClientSecrets(seed(f"round secret {client}"), spec.session).self_mask_seed
    StreamSum([(self_mask_key(own, spec.session, client), -1)]).add_to(words)
    return words


def sum_of(parts: dict[int, Round]) -> np.ndarray:
    """Each client's words from the round that it was in."""
    total = np.zeros(spec_of().words, "<u8")
    for client, round_ in parts.items():
        total += unmasked_words(round_, client)
    return total & spec_of().numbers.lanes.ring_mask


def until_masked(spec: RoundSpec) -> Round:
    """With the model that the specification names, whichever it is."""
    round_ = Round(spec).until(Stage.INPUT)
    for client, request in round_.requests[Stage.INPUT].items():
        update = replace(update_of(client), model=spec.model)
        round_.replies[Stage.INPUT][client] = round_.clients[client].reply(request, lambda u=update: u)
    return round_


@pytest.mark.rule("V11")
@pytest.mark.parametrize(
    "change",
    [{"model": seed("another")}, {"nonce": seed("another")}, {"adversary": SEMI_HONEST}, {"clip": 0.25}],
    ids=lambda change: next(iter(change)),
)
def test_v11_masks_of_two_sessions_never_cancel(change: dict[str, object]) -> None:
    """Whoever of the four was in which of two sessions: the sum of all is the sum only where it is one session."""
    one, other = until_masked(spec_of()), until_masked(spec_of(**change))
    encoding = VectorEncoding(LAYOUT, spec_of().numbers)
    assert sum_of(dict.fromkeys(COHORT, one)).tolist() == plain_sum(spec_of(), COHORT)
    for count in (1, 2, 3):
        for who in itertools.combinations(COHORT, count):
            mixed = sum_of({client: one if client in who else other for client in COHORT})
            with refused("V11"):
                encoding.decode(mixed, len(COHORT))


@pytest.mark.rule("V11")
def test_v11_a_sum_of_fewer_is_noise() -> None:
    """Pairwise masks of those who are left out stay on: no partial sum can be read."""
    round_ = until_masked(spec_of())
    encoding = VectorEncoding(LAYOUT, spec_of().numbers)
    for count in (1, 2, 3):
        for who in itertools.combinations(COHORT, count):
            with refused("V11"):
                encoding.decode(sum_of(dict.fromkeys(who, round_)), count)


@pytest.mark.rule("V11")
@pytest.mark.parametrize("word", [LAYOUT.size // 3 + 1, -1])
def test_v11_a_sum_that_no_inputs_have_aborts_the_round(word: int) -> None:
    """A client that lies about its weight, or writes into the padding: one digit or one lane is enough."""
    round_ = Round().until(Stage.INPUT)
    round_.answer()
    lanes = round_.spec.numbers.lanes
    round_.server._inputs.total[word] += np.uint64(1 << lanes.ring_bits - lanes.width)
    round_.server.advance()
    with pytest.raises(RoundAborted, match=r"\[V11\]"):
        round_.until(Stage.DONE)
    assert round_.server.aggregate is None
    for client in COHORT:
        with refused("R5", peer=client):
            round_.server.receive(client, b"")


@both_modes
@pytest.mark.parametrize("dropped", [(), (8,), (2,)])
def test_only_one_kind_of_share_of_each_client_is_ever_released(dropped: tuple[int, ...], adversary: Adversary) -> None:
    round_ = Round(spec_of(adversary=adversary)).until(Stage.RELEASE, dict.fromkeys(dropped, Stage.INPUT))
    for client in set(COHORT) - set(dropped):
        message = round_.ask(client)
        shares = lies.released(round_, client, message)
        for owner in COHORT:
            pair = lies.secrets_of(round_, owner).share_out(lies.roster_digest(round_), COHORT, 3)[client]
            of_seed, of_key = pair[:SHARE_BYTES], pair[SHARE_BYTES:]
            assert shares[owner] == (of_key if owner in dropped else of_seed)
            assert (of_seed in message) != (of_key in message)


def test_what_t_minus_one_clients_know_opens_nothing() -> None:
    """Two colluding clients of a threshold of three: their shares combine to another secret, of either kind."""
    round_ = Round().until(Stage.RELEASE)
    target = lies.secrets_of(round_, 2)
    pairs = target.share_out(lies.roster_digest(round_), COHORT, 3)
    secret = int.from_bytes(target.self_mask_seed, "big")
    for who in itertools.combinations(COHORT, 2):
        found = Responders(who, 2).combine({client: pairs[client][:SHARE_BYTES] for client in who})
        assert found != secret
    assert Responders((3, 5, 8), 3).combine({c: pairs[c][:SHARE_BYTES] for c in COHORT}) == secret


@both_modes
def test_a_restarted_client_repeats_itself(adversary: Adversary) -> None:
    """From the same round secret and the same requests, every message again to the byte."""
    round_ = Round(spec_of(adversary=adversary)).until(Stage.DONE)
    again = MaskingClient(identity_of(VICTIM), round_secret=seed(f"round secret {VICTIM}"))
    for stage in stages_of(adversary):
        reply = again.reply(round_.requests[stage][VICTIM], lambda: update_of(VICTIM))
        assert reply == round_.replies[stage][VICTIM]


def test_fresh_clients_share_nothing() -> None:
    """By default the round secret is the operating system's: two clients of one identity never send the same keys."""
    request = Round().server.requests()[VICTIM]
    replies = {MaskingClient(identity_of(VICTIM)).reply(request, lambda: update_of(VICTIM)) for _ in range(20)}
    assert len(replies) == 20


def test_keys_are_bound_to_session_roster_and_pair() -> None:
    one, other = PrivateKey(seed("one")), PrivateKey(seed("other"))
    contexts = [PairContext(seed(s), seed(r)) for s in ("s", "s'") for r in ("r", "r'")]
    keys = [c.channel_key(one, other.public, *ids) for c in contexts for ids in ((1, 2), (2, 1), (1, 3))]
    keys += [c.mask_key(one, other.public, *ids) for c in contexts for ids in ((1, 2), (1, 3))]
    keys += [self_mask_key(seed("b"), seed(s), client) for s in ("s", "s'") for client in (1, 2)]
    keys += [commitment(seed("b"), seed(s), client) for s in ("s", "s'") for client in (1, 2)]
    keys += [digest(seed("b")), seed("b")]
    assert len(set(keys)) == len(keys)
    assert contexts[0].mask_key(one, other.public, 1, 2) == contexts[0].mask_key(other, one.public, 2, 1)
    assert contexts[0].channel_key(one, other.public, 1, 2) == contexts[0].channel_key(other, one.public, 1, 2)


@pytest.mark.rule("R10")
def test_r10_a_session_is_begun_once(tmp_path: Path) -> None:
    """Over a restart too: the journal knows every session whose masks may have left."""
    path = tmp_path / "sessions.jsonl"
    journal = Journal(path)
    journal.begin(1, spec_of().session)
    journal.begin(1, spec_of(nonce=seed("another attempt")).session)
    for again in (journal, Journal(path)):
        with refused("R10"):
            again.begin(1, spec_of().session)
