"""Wire messages and specifications: whatever the bytes, a whole message is decoded or RemoteProtocolError raised."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from securefed.encoding.lanes import pack_bits, packed_length, unpack_bits
from securefed.errors import RemoteProtocolError
from securefed.secagg.graph import Neighbourhood
from securefed.secagg.parameters import Parameters
from securefed.secagg.stages import SUITE, Stage, expected_from
from securefed.wire.from_client import Advertisement, Consent, Input, Release, Shares
from securefed.wire.from_server import Agreement, Delivery, NamedDelivery, Offer, Roster, Survivors
from securefed.wire.header import HEADER_BYTES, SERVER, MessageType
from securefed.wire.specification import RoundSpec
from securefed.wire.vector_writer import WordsReader
from tests.fuzz.honest import ROUNDS, Played, played
from tests.fuzz.messages import ASKED, Shape, mutate_specification, told_in
from tests.fuzz.target import Finding, Havoc, Target, check_text, expect

__all__ = ["Agreed", "decoder_target", "pieces_target", "refused_messages", "specification_target"]

_VECTORS = Path(__file__).parents[2] / "protocols" / "wire" / "vectors"
_SESSION = slice(8, 40)
_ONLY = "a whole message that is encoded to the same bytes, or RemoteProtocolError"


@dataclass(frozen=True)
class Agreed:
    """One type's messages in one round: how they are read there, how written again, and a good one."""

    shape: Shape
    decode: Callable[[bytes], Any]
    encode: Callable[[Any], bytes]
    good: bytes


@cache
def agreed(round_: Played, kind: MessageType) -> Agreed | None:
    """What the victim and the server agreed on this type; None where the round has none of it."""
    spec, victim, cohort = round_.spec, round_.victim, round_.spec.cohort
    told = next((stage for stage, at in told_in(spec).items() if at is kind), None)
    asked = next((stage for stage, at in ASKED.items() if at is kind), None)
    if told in round_.requests:
        good, sender = round_.requests[told], SERVER
    elif asked in round_.replies:
        good, sender = round_.replies[asked][victim], victim
    else:
        return None
    parameters, context = Parameters.of(len(cohort), spec.adversary), expected_from(spec, sender)
    signed, everyone = spec.adversary.malicious, frozenset(cohort)
    words, ring_bits, attested = spec.words, spec.numbers.lanes.ring_bits, parameters.attested
    recipients = frozenset[int]()
    if kind is MessageType.SHARES:
        own = Neighbourhood.of(spec, parameters, victim, Shares.peek_pick_secret(good))
        recipients = own.holders - {victim}

    def decode(message: bytes) -> Any:
        match kind:
            case MessageType.OFFER:
                return Offer.decode(message, SUITE)
            case MessageType.ADVERTISEMENT:
                return Advertisement.decode(message, context, signed=signed)
            case MessageType.ROSTER:
                return Roster.decode(message, context, cohort, signed=signed)
            case MessageType.SHARES:
                return Shares.decode(message, context, recipients)
            case MessageType.DELIVERY:
                return Delivery.decode(message, context, cohort, everyone, victim)
            case MessageType.NAMED_DELIVERY:
                return NamedDelivery.decode(message, context, cohort, everyone, victim)
            case MessageType.INPUT:
                packed = Input.decode(message, context, packed_length(words, ring_bits), attested=attested)
                return Input(unpack_bits(packed.words, words, ring_bits), packed.attestation)
            case MessageType.SURVIVORS:
                return Survivors.decode(message, context, cohort)
            case MessageType.RELEASE:
                return Release.decode(message, context, everyone)
            case MessageType.CONSENT:
                return Consent.decode(message, context)
            case MessageType.AGREEMENT:
                survived = round_.replies[Stage.INPUT].keys()
                return Agreement.decode(message, context, cohort, survived, round_.attesting)

    def encode(value: Any) -> bytes:
        match value:
            case Offer():
                return value.encode(SUITE)
            case Delivery() | NamedDelivery() | Survivors() | Agreement():
                return value.encode(context, cohort)
            case Advertisement() | Roster() | Shares() | Consent() | Release():
                return value.encode(context)
            case Input():
                return Input(pack_bits(value.words, ring_bits), value.attestation).encode(context)
            case _:
                raise Finding(f"a {type(value).__name__} was decoded")

    return Agreed(round_.shape(kind, sender), decode, encode, good)


def decoder_target(
    kind: MessageType, contexts: Iterable[Agreed] | None = None, name: str = "", more: Iterable[bytes] = ()
) -> Target:
    """The decoder of one type, in all rounds that have it: the session of a message says which one it is read for.

    Args:
        contexts: of other decoders than securefed's, for tests of the harness itself.
        more: seeds.
    """
    if contexts is None:
        contexts = [found for name_ in ROUNDS if (found := agreed(played(name_), kind)) is not None]
        more = [*refused_messages(kind), *more]
    by_session = {at.good[_SESSION]: at for at in contexts}
    default = next(iter(by_session.values()))

    def run(message: bytes) -> str:
        at = by_session.get(message[_SESSION], default)
        try:
            value = at.decode(message)
        except RemoteProtocolError as error:
            check_text(error, message)
            return error.rule
        expect(at.encode(value) == message, "what was decoded is encoded to other bytes")
        return "decoded"

    def mutate(message: bytes, rng: Random, havoc: Havoc) -> bytes:
        at = by_session.get(message[_SESSION], default)
        if rng.randrange(16) == 0:
            at = rng.choice(list(by_session.values()))
        return at.shape.mutate(message, rng, havoc)

    # A bad vector is of a round of its own: its body is read in these.
    moved = [at.good[:48] + bad[48:] for bad in more for at in by_session.values()]
    seeds = tuple(dict.fromkeys((*(at.good for at in by_session.values()), *more, *moved)))
    return Target(
        name or f"wire-{kind.name.lower()}", _ONLY,
        seeds, run, mutate, longest=max(4096, *(2 * len(at.good) for at in by_session.values())),
    )  # fmt: skip


def pieces_target() -> Target:
    """An INPUT that comes in pieces: what is made of it is what is made of the whole one."""
    rounds = [played(name) for name in ROUNDS]
    whole = decoder_target(MessageType.INPUT)
    agreed_on = {round_.requests[Stage.INPUT][_SESSION]: round_ for round_ in rounds}

    def run(message: bytes) -> str:
        round_ = agreed_on.get(message[_SESSION], rounds[0])
        spec, at = round_.spec, agreed(round_, MessageType.INPUT)
        assert at is not None
        attested = Parameters.of(len(spec.cohort), spec.adversary).attested
        expected = expected_from(spec, round_.victim)
        reader = WordsReader(expected, spec.words, spec.numbers.lanes.ring_bits, attested=attested)
        # Cut where the message says, so that one input is one execution.
        rng = Random(zlib.crc32(message))
        found: object
        try:
            rest = message
            while rest:
                size = rng.choice((1, 7, 8, 63, 64, 65, 200))
                reader.feed(rest[:size])
                rest = rest[size:]
            found = (reader.finish().tobytes(), reader.attestation)
        except RemoteProtocolError as error:
            check_text(error, message)
            found = error.rule
        try:
            value = at.decode(message)
        except RemoteProtocolError as error:
            expect(found == error.rule, f"{error.rule} of the whole message, in pieces {found}")
            return error.rule
        expect(found == (value.words.tobytes(), value.attestation), "other words in pieces")
        return "decoded"

    return replace(whole, name="wire-input-pieces", run=run, invariant="as the whole message, words and rules")


@cache
def _vectors(file: str) -> tuple[dict[str, Any], ...]:
    return tuple(json.loads((_VECTORS / file).read_text())["vectors"])


def refused_messages(kind: MessageType) -> list[bytes]:
    """Bad vectors that were made for a decoder of this type."""
    return [bytes.fromhex(one["message"]) for one in _vectors("refused.json") if one["agreed"]["type"] == kind]


def specification_target() -> Target:
    """The body of an offer alone: behind a message's header its digest hides it from mutations."""

    def run(body: bytes) -> str:
        try:
            spec = RoundSpec.parse(memoryview(body))
        except RemoteProtocolError as error:
            check_text(error, body)
            return error.rule
        expect(spec.pack() == body, "what was parsed is packed to other bytes")
        # All that follows from a specification can be had from it.
        expect(0 < spec.threshold <= len(spec.cohort), "a threshold that no cohort can meet")
        expect(spec.words > 0 and 1 <= spec.numbers.lanes.ring_bits <= 64, "a vector without words")
        return f"parsed, {spec.adversary.server.name}"

    good = [played(name).requests[Stage.ADVERTISE][HEADER_BYTES:] for name in ROUNDS]
    known = [bytes.fromhex(one["specification"]) for one in _vectors("specifications.json")]
    bad = [message[HEADER_BYTES:] for message in refused_messages(MessageType.OFFER)]
    return Target(
        "specification", "a specification that is packed to the same bytes, or RemoteProtocolError",
        tuple(dict.fromkeys((*good, *known, *bad))), run, mutate_specification,
    )  # fmt: skip
