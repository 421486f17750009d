"""No secret in any text that a party makes: not in a repr, not in an error, not in a log of either."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import pytest

from securefed.aggregation import Adversary
from securefed.crypto.kdf import Label, derive
from securefed.errors import SecurefedError
from securefed.secagg.keys import ClientSecrets, PairContext, self_mask_key
from securefed.secagg.stages import Stage
from securefed.wire.from_client import Input, Release, Shares
from securefed.wire.from_server import Delivered, Delivery
from tests.rounds import COHORT, MALICIOUS, Round, identity_of, seed, spec_of, update_of
from tests.secagg import lies
from tests.secagg.lies import VICTIM
from tests.secagg.modes import both_modes, stages_of, told_at
from tests.secagg.test_client_refuses import OFFERS, ROSTERS, SIGNED_OFFERS, SIGNED_ROSTERS
from tests.secagg.test_client_refuses_later import AGREEMENTS, DELIVERIES, SURVIVORS


def secrets_of_client(round_: Round, client: int) -> list[bytes]:
    """Everything that only this client, or it and one other, may know."""
    session = round_.spec.session
    round_secret = seed(f"round secret {client}")
    own = ClientSecrets(round_secret, session)
    found = [round_secret, seed(f"rounding {client}"), seed(f"identity {client}"), own.self_mask_seed]
    found += [derive(round_secret, label, session) for label in (Label.CHANNEL_KEY, Label.MASK_KEY)]
    found += [self_mask_key(own.self_mask_seed, session, client), own.sample_key]
    if Stage.SHARE in round_.requests:
        roster = lies.roster_digest(round_)
        pairs = PairContext(session, roster)
        for pair in own.share_out(roster, COHORT, round_.spec.threshold).values():
            found += [pair[:33], pair[33:]]
        for other in COHORT:
            if other != client:
                theirs = lies.secrets_of(round_, other)
                found.append(pairs.channel_key(own.channel, theirs.channel.public, client, other))
                found.append(pairs.mask_key(own.mask, theirs.mask.public, client, other))
                found.append(own.mask.agree(theirs.mask.public))
    return found


def forms(secret: bytes) -> Iterator[str]:
    """How bytes may look in a text; the first half is enough to tell."""
    half = secret[-32:][:16]
    yield half.hex()
    yield half.hex().upper()
    yield repr(half)[2:-1]
    yield str(list(half))[1:-1]
    yield str(int.from_bytes(secret, "big"))


def assert_nothing_in(text: str, secrets: list[bytes]) -> None:
    assert not [form for secret in secrets for form in forms(secret) if form in text]


def every_text(thing: Any) -> str:
    """repr, str and format, of the thing and of all that hangs on it."""
    parts, seen, queue = [], set(), [thing]
    while queue:
        one = queue.pop()
        if id(one) in seen or isinstance(one, bytes | dict | tuple | list | int | str):
            continue
        seen.add(id(one))
        parts += [repr(one), str(one), f"{one}"]
        if type(one).__module__.startswith("securefed"):
            queue += list(getattr(one, "__dict__", {}).values())
    return "\n".join(parts)


def test_the_search_finds_a_secret_where_there_is_one() -> None:
    round_ = Round().until(Stage.INPUT)
    secrets = secrets_of_client(round_, VICTIM)
    for leak in (secrets[0].hex(), repr(secrets[1]), str(list(secrets[2])), str(int.from_bytes(secrets[10], "big"))):
        with pytest.raises(AssertionError):
            assert_nothing_in(f"x {leak} y", secrets)


@pytest.mark.parametrize("stage", [*stages_of(MALICIOUS), Stage.DONE])
def test_no_party_shows_a_secret(stage: Stage) -> None:
    round_ = Round().until(stage)
    secrets = [secret for client in COHORT for secret in secrets_of_client(round_, client)]
    for party in (*round_.clients.values(), round_.server, *map(identity_of, COHORT)):
        assert_nothing_in(every_text(party), secrets)


@pytest.mark.parametrize(
    ("stage", "cases"),
    [
        (Stage.ADVERTISE, [*OFFERS, *SIGNED_OFFERS]),
        (Stage.SHARE, [*ROSTERS, *SIGNED_ROSTERS]),
        (Stage.INPUT, DELIVERIES),
        (Stage.CONSENT, SURVIVORS),
        (Stage.RELEASE, AGREEMENTS),
    ],
)
def test_no_error_shows_a_secret(stage: Stage, cases: list[Any]) -> None:
    """Nor what was refused: neither in the message, nor in its arguments, nor in what it was raised from."""
    for parameters in cases:
        _, lie = parameters.values
        round_ = Round().until(stage)
        secrets = [secret for client in COHORT for secret in secrets_of_client(round_, client)]
        message = lie(round_)
        with pytest.raises(SecurefedError) as caught:
            round_.ask(VICTIM, message)
        error = caught.value
        text = "\n".join([str(error), repr(error), repr(error.args), repr(vars(error))])
        text += "".join(traceback.format_exception(error))
        assert_nothing_in(text, secrets)
        assert message[64:96].hex() not in text or len(message) <= 64
        assert error.__cause__ is None
        assert error.__suppress_context__


@pytest.mark.parametrize("kind", [Shares, Input, Release, Delivered, Delivery])
def test_a_message_does_not_show_what_is_in_it(kind: type[Any]) -> None:
    """Whoever logs one logs no share, no pick secret and no word of an update."""
    assert "inside" not in every_text(kind(*("inside" for _ in fields(kind))))


@both_modes
def test_a_clients_secrets_are_gone_with_the_state_that_needed_them(adversary: Adversary) -> None:
    """After its input a client holds shares of others and the sample key, and nothing that its masks are made from."""
    round_ = Round(spec_of(adversary=adversary)).until(told_at(adversary))
    secrets = secrets_of_client(round_, VICTIM)
    own = set(secrets) - {
        seed(f"rounding {VICTIM}"),
        seed(f"identity {VICTIM}"),
        lies.secrets_of(round_, VICTIM).sample_key,
    }
    own -= set(shares_held(round_))
    assert not [s for s in own if s in everything(round_.clients[VICTIM])]
    round_.until(Stage.DONE)
    assert not [s for s in secrets if s in everything(round_.clients[VICTIM]._stage)]


def shares_held(round_: Round) -> list[bytes]:
    """The victim's shares of its own seeds: in a complete graph it is one of their holders."""
    return [share.to_bytes(33, "big") for share in lies.good_pair(round_, VICTIM, VICTIM)]


def long_term(client: int) -> list[bytes]:
    """What outlives a round."""
    return [seed(f"rounding {client}"), seed(f"identity {client}")]


@pytest.mark.parametrize(
    ("stage", "cases"), [(Stage.SHARE, ROSTERS), (Stage.INPUT, DELIVERIES)], ids=["rosters", "deliveries"]
)
def test_a_clients_secrets_are_gone_after_an_error(stage: Stage, cases: list[Any]) -> None:
    """Whoever has left the round needs none of them any more."""
    for parameters in cases:
        _, lie = parameters.values
        round_ = Round().until(stage)
        with pytest.raises(SecurefedError):
            round_.ask(VICTIM, lie(round_))
        own = [secret for secret in secrets_of_client(round_, VICTIM) if secret not in long_term(VICTIM)]
        assert not [secret for secret in own if secret in everything(round_.clients[VICTIM])]


def everything(thing: Any) -> bytes:
    """All bytes that are reachable through attributes and containers."""
    out, seen, queue = b"", set(), [thing]
    while queue:
        one = queue.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, bytes):
            out += one + b"|"
        elif isinstance(one, dict):
            queue += [*one.keys(), *one.values()]
        elif isinstance(one, tuple | list | set | frozenset):
            queue += list(one)
        elif type(one).__module__.startswith("securefed"):
            queue += list(getattr(one, "__dict__", {}).values())
            queue += [getattr(one, name) for name in getattr(type(one), "__slots__", ()) if hasattr(one, name)]
    return out


def test_everything_finds_what_a_state_holds() -> None:
    round_ = Round().until(Stage.INPUT)
    secrets = secrets_of_client(round_, VICTIM)
    assert [s for s in (secrets[0], secrets[2]) if s in everything(round_.clients[VICTIM]._stage)]


@both_modes
def test_the_server_holds_no_secret_of_a_client_in_the_sum(adversary: Adversary) -> None:
    """In every stage before the last is over: shares are sealed, sums are masked."""
    for stage in stages_of(adversary):
        round_ = Round(spec_of(adversary=adversary)).until(stage)
        held = everything(round_.server)
        shared = set(round_.replies[Stage.SHARE])
        for client in COHORT:
            # The pick secret alone is shown with the shares: it hides nothing but who the neighbours will be.
            assert (lies.secrets_of(round_, client).pick_secret in held) == (client in shared)
            assert not [secret for secret in secrets_of_client(round_, client) if secret in held]
            assert update_of(client).tensors["lora_A"].tobytes() not in held
