"""A client that lies: the server names it and the rule, and goes on without it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from securefed.aggregation import Adversary
from securefed.encoding.lanes import packed_length
from securefed.errors import ConfigError, RoundAborted
from securefed.he import HomomorphicScheme, bfv, bfv_2048
from securefed.he.stages import Stage
from securefed.wire.homomorphic import Opened
from tests.he.rounds import (
    HOLDER,
    SEMI_HONEST,
    VICTIM,
    Round,
    approximate_schemes,
    both_modes,
    both_schemes,
    every_stage,
    he_spec,
)
from tests.rounds import COHORT, LAYOUT, identities, plain_sum, seed, spec_of
from tests.rules import case, refused
from tests.secagg.lies import LOW_ORDER, NOT_CANONICAL, STRANGER, flip, some_key

Lie = Callable[[Round], bytes]


def elsewhere(stage: Stage, client: int, **changes: object) -> Lie:
    """The client's answer in another session: a replay."""

    def replayed(round_: Round) -> bytes:
        other = Round(he_spec(adversary=round_.spec.adversary, **changes)).until(stage)
        return other.ask(client)

    return replayed


def answer(client: int, change: Callable[[bytes], bytes]) -> Lie:
    return lambda r: change(r.ask(client))


def key(client: int, public: bytes) -> Lie:
    return lambda r: r.entry(client, public).encode(r.expected(client))


HEADERS = [
    case("W1", "nothing", lambda m: b""),
    case("W2", "another magic", lambda m: flip(m, 0)),
    case("W3", "another version", lambda m: flip(m, 4)),
    case("W4", "a type that does not exist", lambda m: flip(m, 5, 6)),
    case("W5", "of another scheme", lambda m: flip(m, 7)),
    case("W6", "reserved bytes", lambda m: flip(m, 63)),
    case("R1", "of another session", lambda m: flip(m, 8)),
    case("R2", "of another round", lambda m: flip(m, 43)),
    case("W12", "in another's name", lambda m: flip(m, 47)),
    case("R4", "of another type", lambda m: m[:5] + b"\x09" + m[6:]),
    case("W11", "another count", lambda m: flip(m, 55)),
    case("W8", "cut", lambda m: m[:-1]),
    case("W8", "a byte more", lambda m: m + b"\0"),
]  # fmt: skip

KEYS = [
    case("K1", "a point of low order", key(VICTIM, LOW_ORDER)),
    case("K2", "a key that is not canonical", key(VICTIM, NOT_CANONICAL)),
    case("K4", "another's key", lambda r: r.entry(VICTIM, r.entry(HOLDER).public).encode(r.expected(VICTIM))),
    case("R1", "from another session", elsewhere(Stage.ADVERTISE, VICTIM, nonce=seed("another"))),
]
SIGNED_KEYS = [
    case("K5", "signed by another", lambda r: r.entry(VICTIM, by=5).encode(r.expected(VICTIM))),
    case("K5", "another key", lambda r: replace(r.entry(VICTIM), public=some_key("a")).encode(r.expected(VICTIM))),
]
SEALED = [
    case("W11", "one recipient is missing", lambda r: without(r, 8)),
    case("W10", "sealed for a stranger", lambda r: renamed(r, 8, STRANGER)),
    case("W10", "sealed for itself", lambda r: renamed(r, 3, HOLDER)),
    case("W9", "one recipient twice", lambda r: renamed(r, 5, 3)),
]


def without(round_: Round, client: int) -> bytes:
    other = Round(round_.spec).until(Stage.KEYS)
    other.answer()
    sealed = {c: box for c, box in other.server._sealed.sealed.items() if c != client}
    return other.sealed_keys(sealed=sealed)


def renamed(round_: Round, client: int, name: int) -> bytes:
    message = round_.ask(HOLDER)
    at = 64 + 32 + 4 * [c for c in COHORT if c != HOLDER].index(client)
    assert message[at : at + 4] == client.to_bytes(4, "big")
    return message[:at] + name.to_bytes(4, "big") + message[at + 4 :]


def replaced(client: int = VICTIM, **changes: Callable[[Round, bytes], bytes]) -> Lie:
    """Its input, with something changed and the digest that fits."""

    def lie(round_: Round) -> bytes:
        round_.replies[Stage.INPUT][client] = round_.ask(client)
        payload = round_.payload(client)
        return round_.ciphertexts(client, **{name: change(round_, payload) for name, change in changes.items()})

    return lie


INPUTS = [
    case("H1", "a flipped byte of a seed", answer(VICTIM, lambda m: flip(m, 64 + 64))),
    case("H1", "a flipped byte of a coefficient", answer(VICTIM, lambda m: flip(m, 64 + 64 + 80))),
    case("H1", "a flipped byte of the digest", answer(VICTIM, lambda m: flip(m, 64 + 32))),
    case("H1", "a flipped byte of the key's name", answer(VICTIM, lambda m: flip(m, 64))),
    case("H2", "under another key", replaced(key_id=lambda *_: seed("another"))),
    case("W13", "bits beyond the last coefficient", replaced(payload=lambda _, p: p[:-1] + b"\xff")),
    case("W11", "longer", replaced(payload=lambda _, p: p + bytes(8))),
    case("R1", "from another session", elsewhere(Stage.INPUT, VICTIM, nonce=seed("another"))),
]


def refuses(round_: Round, client: int, rule: str, lie: Lie) -> None:
    """Nothing of it is kept, and the client is not heard again."""
    message = lie(round_)
    before = round_.server.snapshot()
    with refused(rule, peer=client):
        round_.server.receive(client, message)
    with refused("R5", peer=client):
        round_.server.receive(client, message)
    stored = round_.server.snapshot()
    assert len(stored) == len(before) + 4
    assert client not in round_.server.requests()


@both_modes
@every_stage
@pytest.mark.parametrize(("rule", "change"), HEADERS)
def test_headers_and_lengths(stage: Stage, adversary: Adversary, rule: str, change: Callable[[bytes], bytes]) -> None:
    refuses(Round(he_spec(adversary=adversary)).until(stage), HOLDER, rule, lambda r: change(r.ask(HOLDER)))


@both_modes
@pytest.mark.parametrize(("rule", "lie"), KEYS)
def test_exchange_keys(adversary: Adversary, rule: str, lie: Lie) -> None:
    round_ = Round(he_spec(adversary=adversary))
    round_.server.receive(HOLDER, round_.ask(HOLDER))
    refuses(round_, VICTIM, rule, lie)


@pytest.mark.parametrize(("rule", "lie"), SIGNED_KEYS)
def test_signed_exchange_keys(rule: str, lie: Lie) -> None:
    refuses(Round(), VICTIM, rule, lie)


@pytest.mark.parametrize(("rule", "lie"), SEALED)
def test_sealed_keys(rule: str, lie: Lie) -> None:
    refuses(Round().until(Stage.KEYS), HOLDER, rule, lie)


@both_modes
@pytest.mark.parametrize(("rule", "lie"), INPUTS)
def test_inputs(adversary: Adversary, rule: str, lie: Lie) -> None:
    refuses(Round(he_spec(adversary=adversary)).until(Stage.INPUT), VICTIM, rule, lie)


@approximate_schemes
@pytest.mark.rule("H3")
def test_a_value_that_is_not_below_its_prime(scheme: HomomorphicScheme) -> None:
    """Of an exact ciphertext all bits that can be written are coefficients; of an approximate one not all are."""
    lie = replaced(payload=lambda r, p: p[: len(p) // 2] + b"\xff" * 16 + p[len(p) // 2 + 16 :])
    refuses(Round(scheme=scheme).until(Stage.INPUT), VICTIM, "H3", lie)


@pytest.mark.rule("H1")
def test_an_opened_sum_that_was_changed_on_its_way() -> None:
    """There is nobody else who could open it: the round is lost, and says so."""
    round_ = Round().until(Stage.OPEN)
    with refused("H1", peer=HOLDER):
        round_.server.receive(HOLDER, flip(round_.ask(HOLDER), -1))
    with pytest.raises(RoundAborted, match="client 2 holds the key and gave no sum"):
        round_.server.advance()


@pytest.mark.rule("V11")
def test_an_opened_sum_that_is_none() -> None:
    round_ = Round().until(Stage.OPEN)
    good = round_.ask(HOLDER)
    words = np.frombuffer(good, "<u8", offset=96)
    assert len(words) == packed_length(round_.spec.words, round_.spec.numbers.lanes.ring_bits)
    with refused("V11", peer=HOLDER):
        round_.server.receive(HOLDER, Opened(words * 0).encode(round_.expected(HOLDER)))
    assert round_.server.aggregate is None


@both_schemes
def test_a_refused_input_is_not_in_the_sum(scheme: HomomorphicScheme) -> None:
    round_ = Round(scheme=scheme).until(Stage.INPUT)
    with refused("H1", peer=VICTIM):
        round_.server.receive(VICTIM, flip(round_.ask(VICTIM), 200))
    assert round_.words() == plain_sum(round_.spec, (2, 5, 8))
    assert round_.server.aggregate.survivors == (2, 5, 8)


@every_stage
@pytest.mark.rule("R3")
def test_an_answer_twice(stage: Stage) -> None:
    """The first stays, the second is refused, whatever it is: the same client is never counted twice."""
    round_ = Round().until(stage)
    first = round_.ask(HOLDER)
    round_.server.receive(HOLDER, first)
    before = round_.server.snapshot()
    for second in (first, b"", flip(first, -1)):
        with refused("R3", peer=HOLDER):
            round_.server.receive(HOLDER, second)
    assert round_.server.snapshot() == before


@every_stage
@pytest.mark.rule("R6")
def test_an_answer_of_one_that_is_not_asked(stage: Stage) -> None:
    round_ = Round().until(stage, {8: Stage.ADVERTISE})
    alone = [VICTIM, 5] if stage in (Stage.KEYS, Stage.OPEN) else []
    for client in [STRANGER, *([] if stage is Stage.ADVERTISE else [8]), *alone]:
        with refused("R6", peer=client):
            round_.server.receive(client, b"")


@both_schemes
def test_what_a_server_refuses_to_offer(scheme: HomomorphicScheme) -> None:
    """Corrupt clients, missing identity keys, numbers without a packing: each is named with its configuration key."""
    with pytest.raises(ConfigError) as caught:
        scheme.server(spec_of(), LAYOUT, identities(COHORT))
    assert caught.value.key == "adversary.corrupt"
    assert f"all clients of a '{scheme.name}' round share its key" in caught.value.detail
    for known in (None, {}, identities((2, 3, 5))):
        with pytest.raises(ConfigError) as caught:
            scheme.server(he_spec(), LAYOUT, known)
        assert caught.value.key == "identities"
    assert scheme.server(he_spec(adversary=SEMI_HONEST), LAYOUT).requests()


@pytest.mark.rule("V8")
@pytest.mark.parametrize(
    ("scheme", "clients", "degree", "left"), [(bfv_2048(), 300, 2048, 40), (bfv(), 10_000, 4096, 45)]
)
def test_numbers_for_which_there_is_no_packing(scheme: HomomorphicScheme, clients: int, degree: int, left: int) -> None:
    """They fit the ring words of masks: the text says what is needed, what is left, and what helps."""
    cohort = tuple(range(1, clients + 1))
    with pytest.raises(ConfigError) as caught:
        scheme.server(he_spec(cohort=cohort, bits=32, adversary=SEMI_HONEST), LAYOUT)
    needed = (2 * (2**31 - 1) * clients).bit_length()
    assert caught.value.key == "aggregation.bits"
    assert caught.value.detail == (
        f"[V8] the sum of {clients} clients needs {needed} bits a value, and ciphertexts of degree "
        f"{degree} leave {left} above their errors: use fewer bits or a smaller cohort"
    )
    scheme.server(he_spec(cohort=cohort, bits=24, adversary=SEMI_HONEST), LAYOUT)


@pytest.mark.rule("O2")
def test_a_layout_that_is_not_the_specifications() -> None:
    with refused("O2"):
        bfv().server(he_spec(layout=seed("another")), LAYOUT, identities(COHORT))


@pytest.mark.rule("K7")
def test_one_identity_key_for_two_clients() -> None:
    with refused("K7"):
        bfv().server(he_spec(), LAYOUT, {**identities(COHORT), 5: identities([8])[8]})


@pytest.mark.rule("R5")
def test_nothing_goes_on_after_the_end() -> None:
    round_ = Round().until(Stage.DONE)
    assert not round_.server.requests()
    with refused("R5"):
        round_.server.advance()
    with refused("R6", peer=VICTIM):
        round_.server.receive(VICTIM, b"")
