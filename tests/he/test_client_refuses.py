"""A server that lies: the client refuses by the rule, names the server, and answers nothing any more."""

from __future__ import annotations

from dataclasses import replace

import pytest

from securefed.aggregation import Adversary, Credentials
from securefed.he import HomomorphicScheme, bfv_2048
from securefed.he.client import HomomorphicClient
from securefed.he.stages import Stage
from securefed.wire.from_server import Offer
from securefed.wire.header import HEADER_BYTES, SERVER
from securefed.wire.homomorphic import ExchangeKey
from tests.he.lies import Lie, elsewhere, no_update, offer, refuses
from tests.he.rounds import (
    HOLDER,
    SEMI_HONEST,
    VICTIM,
    Round,
    both_modes,
    both_schemes,
    he_spec,
)
from tests.rounds import COHORT, LAYOUT, identities, seed, signing_key, update_of
from tests.rules import case, refused
from tests.secagg.lies import LOW_ORDER, NOT_CANONICAL, STRANGER, flip, some_key

MANY = tuple(range(1, 301))


OFFERS = [
    case("R7", "a cohort without the receiver", lambda r: offer(r, cohort=(2, 5, 8, 9))),
    case("O2", "another layout", lambda r: offer(r, layout=seed("layout"))),
    case("O2", "one value more", lambda r: offer(r, values=LAYOUT.size + 1)),
    case("H6", "corrupt clients", lambda r: offer(r, adversary=replace(r.spec.adversary, corrupt=0.25))),
    case("W5", "of another scheme", lambda r: flip(offer(r), 7)),
    case("W5", "of the other degree", lambda r: Round(r.spec, scheme=bfv_2048()).server.requests()[VICTIM]),
    case("W12", "from a client", lambda r: flip(offer(r), 47)),
    case("R1", "a specification with another bit", lambda r: flip(offer(r), 64)),
    case("R2", "a header of another round", lambda r: flip(offer(r), 43)),
    case("R4", "exchange keys first", lambda r: r.exchange_keys()),
    case("W1", "nothing", lambda r: b""),
]

LISTS = [
    case("R7", "without the receiver", lambda r: r.exchange_keys({HOLDER: None})),
    case("R7", "fewer than L", lambda r: r.exchange_keys({5: None, 8: None})),
    case("R7", "nobody", lambda r: r.exchange_keys(dict.fromkeys(COHORT))),
    case("K3", "another key of the receiver", lambda r: r.exchange_keys({HOLDER: r.entry(HOLDER, some_key("a"))})),
    case("K4", "the receiver's key reflected", lambda r: r.exchange_keys({5: r.entry(5, r.entry(HOLDER).public)})),
    case("K4", "one key under two ids", lambda r: r.exchange_keys({5: r.entry(5, r.entry(8).public)})),
    case("K1", "a point of low order", lambda r: r.exchange_keys({5: r.entry(5, LOW_ORDER)})),
    case("K2", "a key that is not canonical", lambda r: r.exchange_keys({5: r.entry(5, NOT_CANONICAL)})),
    case("W10", "a stranger", lambda r: r.exchange_keys({8: None, STRANGER: r.entry(STRANGER)})),
    case("W7", "longer than the cohort", lambda r: r.exchange_keys({STRANGER: r.entry(STRANGER)})),
    case("W8", "cut", lambda r: r.exchange_keys()[:-1]),
    case("W9", "one id twice", lambda r: (m := r.exchange_keys())[:HEADER_BYTES] + m[68:72] + m[68:]),
    case("R1", "of another session", elsewhere(Stage.KEYS, HOLDER, nonce=seed("another"))),
    case("R4", "an offer again", lambda r: r.requests[Stage.ADVERTISE][HOLDER]),
    case("W12", "from a client", lambda r: flip(r.exchange_keys(), 47)),
]
SIGNED_LISTS = [
    case("K5", "signed by another", lambda r: r.exchange_keys({5: r.entry(5, by=8)})),
    case("K5", "the server's key", lambda r: r.exchange_keys({5: ExchangeKey(some_key("a"), r.entry(5).signature)})),
    case("K5", "signed for another session", lambda r: r.exchange_keys({5: Round(he_spec(round=8)).entry(5)})),
    case("K5", "signed for another client", lambda r: r.exchange_keys({5: r.entry(8, some_key("a"), by=5)})),
]

SEALED = [
    case("S4", "a key that was sealed for another", lambda r: r.sealed_key(sealed=r.server._sealed.sealed[5])),
    case("S4", "another bit", lambda r: flip(r.sealed_key(), HEADER_BYTES + 8 + 32)),
    case("S4", "another number of recipients", lambda r: r.sealed_key(recipients=2)),
    case("S4", "sealed by another", lambda r: r.sealed_key(holder=5, entry=r.entry(5))),
    case("R7", "sealed to fewer than L", lambda r: r.sealed_key(recipients=1)),
    case("R7", "sealed to nobody", lambda r: r.sealed_key(recipients=0)),
    case("R7", "sealed to more than the cohort", lambda r: r.sealed_key(recipients=4)),
    case("W10", "a holder that is nobody", lambda r: r.sealed_key(holder=STRANGER)),
    case("H2", "under another name", lambda r: r.sealed_key(key_id=seed("another"))),
    case("H8", "the receiver is said to hold it", lambda r: r.sealed_key(holder=VICTIM)),
    case("H8", "another's message", lambda r: r.sealed_key(VICTIM, holder=VICTIM, entry=r.entry(VICTIM))),
    case("K1", "a point of low order", lambda r: r.sealed_key(entry=r.entry(HOLDER, LOW_ORDER))),
    case("K2", "a key that is not canonical", lambda r: r.sealed_key(entry=r.entry(HOLDER, NOT_CANONICAL))),
    case("W8", "cut", lambda r: r.sealed_key()[:-1]),
    case("W11", "two", lambda r: flip(r.sealed_key(), 55, 1)),
    case("R1", "of another session", elsewhere(Stage.INPUT, VICTIM, nonce=seed("another"))),
    case("R4", "a sum", lambda r: Round(r.spec).until(Stage.OPEN).requests[Stage.OPEN][HOLDER]),
    case("R4", "an offer again", lambda r: r.requests[Stage.ADVERTISE][VICTIM]),
]
SIGNED_SEALED = [
    case("K5", "a holder's key that is signed by another", lambda r: r.sealed_key(entry=r.entry(HOLDER, by=8))),
    case("K5", "another holder with this one's key", lambda r: r.sealed_key(holder=5)),
]

TO_THE_HOLDER = [
    case("H8", "another is said to hold it", lambda r: r.sealed_key(HOLDER, holder=5, entry=r.entry(5))),
    case("H8", "another's message", lambda r: r.sealed_key(HOLDER, holder=VICTIM)),
    case("K3", "something is sealed to itself", lambda r: r.sealed_key(HOLDER, sealed=r.server._sealed.sealed[5])),
    case("K3", "another key of its own", lambda r: r.sealed_key(HOLDER, entry=r.entry(HOLDER, some_key("a")))),
    case("H2", "under another name", lambda r: r.sealed_key(HOLDER, key_id=seed("another"))),
    case("R4", "a second list", lambda r: r.requests[Stage.KEYS][HOLDER]),
]


@both_modes
@pytest.mark.parametrize(("rule", "lie"), OFFERS)
def test_offers(adversary: Adversary, rule: str, lie: Lie) -> None:
    refuses(Round(he_spec(adversary=adversary)).until(Stage.ADVERTISE), VICTIM, rule, lie)


@both_modes
@pytest.mark.parametrize(("rule", "lie"), LISTS)
def test_lists_of_exchange_keys(adversary: Adversary, rule: str, lie: Lie) -> None:
    refuses(Round(he_spec(adversary=adversary)).until(Stage.KEYS), HOLDER, rule, lie)


@pytest.mark.parametrize(("rule", "lie"), SIGNED_LISTS)
def test_signed_lists_of_exchange_keys(rule: str, lie: Lie) -> None:
    refuses(Round().until(Stage.KEYS), HOLDER, rule, lie)


@both_modes
@pytest.mark.parametrize(("rule", "lie"), SEALED)
def test_sealed_keys(adversary: Adversary, rule: str, lie: Lie) -> None:
    refuses(Round(he_spec(adversary=adversary)).until(Stage.INPUT), VICTIM, rule, lie)


@pytest.mark.parametrize(("rule", "lie"), SIGNED_SEALED)
def test_signed_sealed_keys(rule: str, lie: Lie) -> None:
    refuses(Round().until(Stage.INPUT), VICTIM, rule, lie)


@both_modes
@pytest.mark.parametrize(("rule", "lie"), TO_THE_HOLDER)
def test_what_the_holder_is_told_of_its_key(adversary: Adversary, rule: str, lie: Lie) -> None:
    refuses(Round(he_spec(adversary=adversary)).until(Stage.INPUT), HOLDER, rule, lie)


@pytest.mark.rule("K6")
def test_a_cohort_with_a_stranger() -> None:
    round_ = Round()
    with refused("K6", peer=SERVER):
        round_.ask(VICTIM, offer(round_, cohort=(2, 3, 5, STRANGER)))


@pytest.mark.rule("H6")
@pytest.mark.rule("V8")
def test_numbers_for_which_there_is_no_packing() -> None:
    """32 bits of 300 clients fit a ring word of masks, and not a coefficient of the smaller ring: the client says
    which rule of the encoding it is."""
    scheme = bfv_2048()
    spec = he_spec(cohort=MANY, bits=32, adversary=SEMI_HONEST)
    client = HomomorphicClient(scheme.parameters, Round(scheme=scheme).identities[VICTIM])
    with refused("H6", peer=SERVER) as caught:
        client.reply(Offer(spec).encode(scheme.parameters.suite), no_update)
    assert "[V8] the sum of 300 clients needs 41 bits a value" in str(caught.value)
    assert "leave 40 above their errors" in str(caught.value)


@both_schemes
@pytest.mark.rule("R4")
def test_a_client_answers_nothing_after_its_input(scheme: HomomorphicScheme) -> None:
    round_ = Round(scheme=scheme).until(Stage.OPEN)
    for message in (round_.requests[Stage.INPUT][VICTIM], round_.total()):
        with refused("R4", peer=SERVER):
            round_.ask(VICTIM, message)


@pytest.mark.rule("R11")
def test_a_round_that_an_input_was_given_for() -> None:
    round_ = Round().until(Stage.OPEN)
    new = round_.new_client(VICTIM)
    with refused("R11", peer=SERVER):
        new.reply(offer(round_, nonce=seed("again")), no_update)


@pytest.mark.rule("K7")
def test_an_identity_roster_without_the_client() -> None:
    with refused("K7"):
        replace(Round().identities[VICTIM], credentials=Credentials(signing_key(VICTIM), identities((2, 5, 8))))


@pytest.mark.rule("V9")
def test_an_update_that_was_trained_from_another_model() -> None:
    round_ = Round(update=lambda client: replace(update_of(client), model=seed("another"))).until(Stage.INPUT)
    with refused("V9"):
        round_.ask(VICTIM)
    with refused("R5", peer=SERVER):
        round_.ask(VICTIM)
