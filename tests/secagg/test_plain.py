"""The schemes without protection keep the same rules of the round, and their means are what masks are measured by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from securefed.aggregation import Adversary, Policy, ServerSession, Update
from securefed.errors import PersistenceError, RoundAborted
from securefed.plain import PlainFloats, PlainIntegers
from securefed.wire.from_server import Offer
from securefed.wire.header import SERVER
from tests.rounds import COHORT, LAYOUT, identity_of, seed, spec_of, update_of
from tests.rules import case, refused
from tests.secagg.lies import STRANGER, flip

SCHEMES = [PlainIntegers(), PlainFloats()]
ANY = Policy(frozenset({"plain", "float"}), Adversary("semi-honest", 0.0, 0.0, security=1), 1, 1)
every_scheme = pytest.mark.parametrize("scheme", SCHEMES, ids=lambda scheme: scheme.name)


def reply(scheme: PlainIntegers, client: int, update: Callable[[], Update] | None = None, **changes: Any) -> bytes:
    session = scheme.client(identity_of(client, policy=ANY))
    return session.reply(Offer(spec_of(**changes)).encode(scheme.suite), update or (lambda: update_of(client)))


def played(scheme: PlainIntegers, clients: tuple[int, ...]) -> ServerSession:
    server = scheme.server(spec_of(), LAYOUT)
    assert set(server.requests()) == set(COHORT)
    for client in clients:
        server.receive(client, reply(scheme, client))
    return server


@every_scheme
@pytest.mark.parametrize("clients", [COHORT, (2, 5, 8), (8, 5, 2)])
def test_the_mean_is_weighted_and_exact_as_far_as_it_can_be(scheme: PlainIntegers, clients: tuple[int, ...]) -> None:
    server = played(scheme, clients)
    server.advance()
    aggregate = server.aggregate
    assert aggregate is not None
    updates = [update_of(client) for client in clients]
    weight = sum(update.weight for update in updates)
    assert (aggregate.weight, aggregate.survivors) == (weight, tuple(sorted(clients)))
    floats = scheme.name == "float"
    for name, mean in aggregate.tensors.items():
        values = [u.tensors[name].astype("<f8") * u.weight for u in updates]
        if not floats:
            values = [np.clip(v / 100, -0.5, 0.5) * 100 for v in values]
        step = 0.0 if floats else len(clients) * spec_of().numbers.step * 100 / weight
        assert np.abs(mean - sum(values) / weight).max() <= step + 1e-7
    loss = sum(update.metrics["loss"] * update.weight for update in updates) / weight
    assert aggregate.metrics["loss"] == pytest.approx(loss, abs=1e-6)
    assert not server.requests()


@every_scheme
@pytest.mark.parametrize(
    ("rule", "change"),
    [
        case("W1", "nothing", lambda m: b""),
        case("W8", "cut", lambda m: m[:-1]),
        case("W5", "in another scheme's name", lambda m: m[:6] + b"\x00\x01" + m[8:]),
        case("R1", "of another session", lambda m: flip(m, 8)),
        case("R2", "of another round", lambda m: flip(m, 43)),
        case("W12", "in another's name", lambda m: flip(m, 47)),
        case("R4", "of another type", lambda m: m[:5] + b"\x02" + m[6:]),
        case("W11", "with a word more", lambda m: m[:55] + bytes([m[55] + 1]) + m[56:] + bytes(8)),
    ],
)
def test_bad_inputs(scheme: PlainIntegers, rule: str, change: Callable[[bytes], bytes]) -> None:
    server = played(scheme, (2, 3, 8))
    good = reply(scheme, 5)
    with refused(rule, peer=5):
        server.receive(5, change(good))
    with refused("R5", peer=5):
        server.receive(5, good)
    server.advance()
    assert server.aggregate is not None
    assert server.aggregate.survivors == (2, 3, 8)


@pytest.mark.rule("W13")
def test_w13_a_word_outside_the_ring() -> None:
    server, good = played(SCHEMES[0], (2, 3)), reply(SCHEMES[0], 5)
    with refused("W13", peer=5):
        server.receive(5, good[:-1] + b"\xff")


@pytest.mark.rule("V1")
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_v1_a_float_that_is_none(value: float) -> None:
    server, good = played(SCHEMES[1], (2, 3)), reply(SCHEMES[1], 5)
    with refused("V1", peer=5):
        server.receive(5, good[:64] + np.array([value], "<f8").tobytes() + good[72:])


@pytest.mark.rule("R3")
@pytest.mark.rule("R6")
@pytest.mark.rule("R5")
@every_scheme
def test_answers_that_are_not_asked_for(scheme: PlainIntegers) -> None:
    server, good = played(scheme, (2, 3, 8)), reply(scheme, 2)
    with refused("R3", peer=2):
        server.receive(2, good)
    with refused("R6", peer=STRANGER):
        server.receive(STRANGER, good)
    server.advance()
    for client in (2, 5):
        with refused("R6", peer=client):
            server.receive(client, good)
    with refused("R5"):
        server.advance()


@pytest.mark.rule("R5")
@every_scheme
def test_r5_below_the_threshold(scheme: PlainIntegers) -> None:
    server = played(scheme, (2, 3))
    with pytest.raises(RoundAborted, match="2 of 4 clients answered, 3 are needed"):
        server.advance()
    assert server.aggregate is None
    with refused("R5", peer=5):
        server.receive(5, reply(scheme, 5))


@pytest.mark.rule("V11")
def test_v11_an_input_beyond_its_bounds_aborts_the_round() -> None:
    server = SCHEMES[0].server(spec_of(), LAYOUT)
    for client in (2, 3, 8):
        server.receive(client, reply(SCHEMES[0], client))
    good = reply(SCHEMES[0], 5)
    # All bits of the first words: the lanes of one client hold more than a client can.
    server.receive(5, good[:64] + b"\xff" * 24 + good[88:])
    with pytest.raises(RoundAborted, match=r"\[V11\]"):
        server.advance()
    assert server.aggregate is None


@every_scheme
@pytest.mark.parametrize(
    ("rule", "spec", "update"),
    [
        case("R7", "a cohort without the client", {"cohort": (2, 3, 8)}, {}),
        case("O2", "another layout", {"layout": seed("layout")}, {}),
        case("V9", "another model", {"model": seed("another")}, {}),
        case("V2", "no tensors", {}, {"tensors": {}}),
        case("V5", "no weight", {}, {"weight": 0}),
        case("V6", "no metrics", {}, {"metrics": {}}),
        case("V6", "a metric that is no number", {}, {"metrics": {"loss": float("nan")}}),
        case("V1", "a NaN", {}, {"tensors": {n: a * float("nan") for n, a in update_of(5).tensors.items()}}),
    ],
)
def test_what_a_client_refuses(scheme: PlainIntegers, rule: str, spec: dict[str, Any], update: dict[str, Any]) -> None:
    with refused(rule):
        reply(scheme, 5, lambda: replace(update_of(5), **update), **spec)


@pytest.mark.rule("R4")
@every_scheme
def test_r4_a_request_is_answered_once(scheme: PlainIntegers) -> None:
    client = scheme.client(identity_of(5, policy=ANY))
    request = Offer(spec_of()).encode(scheme.suite)
    client.reply(request, lambda: update_of(5))
    with refused("R4", peer=SERVER):
        client.reply(request, lambda: update_of(5))


@pytest.mark.rule("O2")
@every_scheme
def test_o2_a_server_with_another_layout(scheme: PlainIntegers) -> None:
    with refused("O2"):
        scheme.server(spec_of(layout=seed("another")), LAYOUT)


@every_scheme
def test_a_server_that_restarts_goes_on(scheme: PlainIntegers) -> None:
    """After each answer and after the end."""
    server, undisturbed = scheme.server(spec_of(), LAYOUT), played(scheme, COHORT)
    undisturbed.advance()
    for client in COHORT:
        server.receive(client, reply(scheme, client))
        server = scheme.resume_server(spec_of(), LAYOUT, server.snapshot())
        with refused("R3", peer=client):
            server.receive(client, reply(scheme, client))
    server.advance()
    for _ in range(2):
        server = scheme.resume_server(spec_of(), LAYOUT, server.snapshot())
        assert server.aggregate is not None
        assert undisturbed.aggregate is not None
        assert not server.requests()
        for name, mean in undisturbed.aggregate.tensors.items():
            assert (server.aggregate.tensors[name] == mean).all()


@every_scheme
def test_a_round_that_aborted_stays_aborted(scheme: PlainIntegers) -> None:
    server = played(scheme, (2, 3))
    with pytest.raises(RoundAborted):
        server.advance()
    again = scheme.resume_server(spec_of(), LAYOUT, server.snapshot())
    with refused("R5"):
        again.advance()
    assert again.aggregate is None


@pytest.mark.rule("R4")
@every_scheme
def test_r4_a_client_that_restarts_answers_no_second_time(scheme: PlainIntegers) -> None:
    identity = identity_of(5, policy=ANY)
    request, client = Offer(spec_of()).encode(scheme.suite), scheme.client(identity_of(5, policy=ANY))
    client = scheme.resume_client(identity, client.snapshot())
    client.reply(request, lambda: update_of(5))
    client = scheme.resume_client(identity, client.snapshot())
    with refused("R4", peer=SERVER):
        client.reply(request, lambda: update_of(5))


@every_scheme
def test_snapshots_of_others_are_refused(scheme: PlainIntegers) -> None:
    server, client = scheme.server(spec_of(), LAYOUT), scheme.client(identity_of(5, policy=ANY))
    with pytest.raises(PersistenceError, match="P3"):
        scheme.resume_server(spec_of(nonce=seed("another")), LAYOUT, server.snapshot())
    with pytest.raises(PersistenceError, match="P3"):
        scheme.resume_client(identity_of(2, policy=ANY), client.snapshot())
    with pytest.raises(PersistenceError, match="P3"):
        scheme.resume_client(identity_of(5, policy=ANY), server.snapshot())
    with pytest.raises(PersistenceError, match="P1"):
        scheme.resume_server(spec_of(), LAYOUT, server.snapshot()[:-1])
