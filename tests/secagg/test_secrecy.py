"""No secret in any text that a party makes: not in a repr, not in an error, not in a log of either."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from typing import Any

import pytest

from securefed.crypto.kdf import Label, derive
from securefed.errors import SecurefedError
from securefed.secagg.keys import ClientSecrets, PairContext, self_mask_key
from securefed.secagg.stages import STAGES, Stage
from tests.rounds import COHORT, Round, identity_of, seed, update_of
from tests.secagg import lies
from tests.secagg.lies import VICTIM
from tests.secagg.test_client_refuses import DELIVERIES, OFFERS, ROSTERS, SURVIVORS


def secrets_of_client(round_: Round, client: int) -> list[bytes]:
    """Everything that only this client, or it and one other, may know."""
    session = round_.spec.session
    round_secret = seed(f"round secret {client}")
    own = ClientSecrets(round_secret, session)
    found = [round_secret, seed(f"rounding {client}"), own.self_mask_seed]
    found += [derive(round_secret, label, session) for label in (Label.CHANNEL_KEY, Label.MASK_KEY)]
    found.append(self_mask_key(own.self_mask_seed, session, client))
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
    for leak in (secrets[0].hex(), repr(secrets[1]), str(list(secrets[2])), str(int.from_bytes(secrets[8], "big"))):
        with pytest.raises(AssertionError):
            assert_nothing_in(f"x {leak} y", secrets)


@pytest.mark.parametrize("stage", [*STAGES, Stage.DONE])
def test_no_party_shows_a_secret(stage: Stage) -> None:
    round_ = Round().until(stage)
    secrets = [secret for client in COHORT for secret in secrets_of_client(round_, client)]
    for party in (*round_.clients.values(), round_.server, *map(identity_of, COHORT)):
        assert_nothing_in(every_text(party), secrets)


@pytest.mark.parametrize(
    ("stage", "cases"),
    [(Stage.ADVERTISE, OFFERS), (Stage.SHARE, ROSTERS), (Stage.INPUT, DELIVERIES), (Stage.RELEASE, SURVIVORS)],
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


def test_a_clients_secrets_are_gone_with_the_state_that_needed_them() -> None:
    """After its input a client holds shares of others and its own, and nothing that its masks are made from."""
    round_ = Round().until(Stage.RELEASE)
    secrets = secrets_of_client(round_, VICTIM)
    own = secrets[0], *secrets[2:6]
    held = round_.clients[VICTIM]._stage
    assert not [s for s in own if s in everything(held)]
    round_.ask(VICTIM)
    assert not [s for s in secrets if s in everything(round_.clients[VICTIM]._stage)]


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


def test_the_server_holds_no_secret_of_a_client_in_the_sum() -> None:
    """In every stage before the last: shares are sealed, sums are masked."""
    for stage in STAGES:
        round_ = Round().until(stage)
        if stage is not Stage.RELEASE:
            continue
        secrets = [secret for client in COHORT for secret in secrets_of_client(round_, client)]
        assert not [secret for secret in secrets if secret in everything(round_.server)]
        assert update_of(VICTIM).tensors["lora_A"].tobytes() not in everything(round_.server)
