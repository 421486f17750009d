"""What a client refuses in a prepared round, and what it answers: it is told the model with the delivery.

The round: 9 clients, U1 = U2 the cohort, U3 = U4 without 21; L = 6, k = κ = 4, t = τ = 3, q = 9, θ = 6. The server is
malicious, the graph sparse. Client 2 is looked at. The round is number 4; when it is offered, the client's record holds
an input for round 2.
"""

from collections.abc import Iterable
from dataclasses import replace

from protocols.notation import H, u8
from protocols.pairwise_masking import agreed, keys, signatures
from protocols.pairwise_masking.at_client import AtClient, flipped, patched
from protocols.pairwise_masking.client import reply
from protocols.pairwise_masking.client_answers import released
from protocols.pairwise_masking.participant import Policy
from protocols.pairwise_masking.scenario import SPARSE_MALICIOUS, Scenario
from protocols.vector_files import Vector, VectorFile, seed
from protocols.wire.bodies import Agreement, Sender
from protocols.wire.reference import decode, encode_set
from protocols.wire.specification import MALICIOUS, NAMED_LATER

COHORT = (2, 3, 5, 8, 13, 21, 34, 55, 2**32 - 1)
ROUND = Scenario("prepared, refused 0", COHORT, SPARSE_MALICIOUS, prepared=True)
DROPOUTS = {21: 3}
AT = AtClient(ROUND, DROPOUTS, 2, Policy(least_server=MALICIOUS, greatest_clip=0.5), last_input=2)
SPECIFICATION = ROUND.specification
U3 = frozenset(COHORT) - {21}
FEW = frozenset((2, 13, 34, 55, 2**32 - 1))
"""Fewer than must survive, with the client's picks."""
OFFER, ROSTER, DELIVERY, SURVIVORS, AGREEMENT = AT.requests
OTHER = seed("prepared, another model")
S = agreed.session(SPECIFICATION)
SET = 64 + 32
"""Where the set of a NAMED_DELIVERY begins."""


def client_refuses_prepared() -> VectorFile:
    """All of them."""
    file = VectorFile(
        "pairwise_masking",
        "client_refuses_prepared",
        "Requests to one client of a prepared round, in the form of client_refuses. `last_input`: the greatest round "
        "that its record holds an input for, from this request on. The server is malicious, the graph sparse.",
        context=AT.context(),
    )
    file.vectors += models() + records() + deliveries() + orders() + agreements()
    return file


def client_goes_on_prepared() -> VectorFile:
    """All of them, for the same client."""
    file = VectorFile(
        "pairwise_masking",
        "client_goes_on_prepared",
        "Requests to one client of a prepared round, in the form of client_goes_on. `last_input`: as in "
        "client_refuses_prepared. `model`: what its update was trained from, where that is not the good delivery's.",
        context=AT.context(),
    )
    four, other = AT.requests[:4], AT.named(OTHER)
    unopened = AT.delivery({55: Sender(AT.pick_secret(55), flipped(AT.delivered.senders[55].sealed, 7))})
    file.vectors += [
        goes_on("an input for the round before, since the offer", AT.requests, last_input=3),
        goes_on("another model: another attestation, another mask", [OFFER, ROSTER, other], model=OTHER),
        goes_on("another model: another consent", [OFFER, ROSTER, other, SURVIVORS], model=OTHER),
        goes_on("a share that does not open", [*four[:2], unopened, SURVIVORS, AGREEMENT], rule="S4"),
    ]
    return file


def goes_on(
    name: str, requests: list[bytes], *, last_input: int | None = None, model: bytes | None = None, rule: str = ""
) -> Vector:
    """Requests, all of which are answered, whatever the record got in between."""
    client, ring_words = replace(AT.client, last_input_since=last_input), ROUND.ring_words(AT.id)
    answers = [reply(client, ring_words, requests[: k + 1], []) for k in range(len(requests))]
    asked = [AT.request(message) for message in requests]
    if last_input is not None:
        asked[2] |= {"last_input": last_input}
    return {
        "name": name,
        **({"rule": rule} if rule else {}),
        **({} if model is None else {"model": model.hex()}),
        "requests": asked,
        "answers": [message.hex() for message in answers],
        "released": None if len(requests) < len(AT.requests) else released(AT, answers[-1]),
    }


def models() -> list[Vector]:
    """R12, after the wire's rules and before all others."""
    nameless = AT.named(NAMED_LATER)
    beyond = patched(nameless, SET + 1, u8(nameless[SET + 1] | 1 << 7))
    return [
        refused("R12", "no model", nameless),
        refused("R12", "no model, and a set of too few", AT.named(NAMED_LATER, FEW)),
        refused("R12", "no model, and a set without the receiver", AT.named(NAMED_LATER, U3 - {2})),
        refused("R12", "no model, and a round of the past", nameless, last_input=4),
        refused("W14", "no model, and a set with a bit beyond the cohort", beyond),
        refused("W8", "a delivery of that type, without a model", DELIVERY[:64] + DELIVERY[SET:]),
    ]


def records() -> list[Vector]:
    """R11 once more: the record may hold an input for this round or a later one by now."""
    return [
        refused("R11", "an input for this round, since the offer", DELIVERY, last_input=4),
        refused("R11", "an input for the next round, since the offer", DELIVERY, last_input=5),
        refused("R11", "a round of the past, and a set of too few", AT.named(ROUND.model, FEW), last_input=5),
        refused("W8", "a round of the past, and a byte more", DELIVERY + bytes(1), last_input=5),
        AT.vector("R11", "the round of the last input", [], AT.offer(round=2)),
    ]


def deliveries() -> list[Vector]:
    """R8, G1 and G2, as in any round."""
    good = AT.delivered.senders
    wrong = Sender(flipped(good[13].pick_secret, 3), good[13].sealed)
    late = Sender(AT.pick_secret(3), good[13].sealed)
    assert 3 not in good
    return [
        refused("R8", "a set of too few", AT.delivery_of(FEW)),
        refused("R8", "a set without the receiver", AT.named(ROUND.model, set(COHORT) - {2})),
        refused("R8", "a sender that is not in the set", AT.named(ROUND.model, set(COHORT) - {21})),
        refused("G1", "one bit of a pick secret", AT.delivery({13: wrong})),
        refused("G2", "a sender that did not pick the receiver", AT.delivery({3: late})),
    ]


def orders() -> list[Vector]:
    """R4: a delivery without a model, a model too early, another model later; and R5."""
    plain = AT.message(AT.delivered)
    nameless = [OFFER, ROSTER, AT.named(NAMED_LATER)]
    after = AT.vector("R5", "the good delivery after one without a name", nameless, DELIVERY)
    after["requests"][2]["rule"] = "R12"
    return [
        refused("R4", "a delivery without a model", plain),
        AT.vector("R4", "a delivery before the roster", [OFFER], DELIVERY),
        AT.vector("R4", "the delivery again", AT.requests[:3], DELIVERY),
        AT.vector("R4", "a delivery with another model, after the input", AT.requests[:3], AT.named(OTHER)),
        AT.vector("R4", "a delivery with another model, after the consent", AT.requests[:4], AT.named(OTHER)),
        AT.vector("R4", "a delivery without a model, after the end", AT.requests, plain),
        after,
    ]


def agreements() -> list[Vector]:
    """C1 and G4: what was signed for another model, or for the session alone."""
    good = decode(AGREEMENT, agreed.agreement(SPECIFICATION, U3, len(attesting())))
    assert isinstance(good, Agreement)
    own, alone, other = (keys.named_session(S, model) for model in (ROUND.model, None, OTHER))
    assert good.signatures == consents(own)
    assert good.attestations == attestations(own)
    one = {**good.signatures, 8: consents(other)[8]}
    first = (attestations(other)[0], *good.attestations[1:])
    bad = [
        ("C1", "consents of another model", Agreement(consents(other), good.attestations)),
        ("C1", "consents of the session alone", Agreement(consents(alone), good.attestations)),
        ("C1", "one consent of another model", Agreement(one, good.attestations)),
        ("G4", "attestations of another model", Agreement(good.signatures, attestations(other))),
        ("G4", "attestations of the session alone", Agreement(good.signatures, attestations(alone))),
        ("G4", "one attestation of another model", Agreement(good.signatures, first)),
    ]
    return [AT.vector(rule, name, AT.requests[:4], AT.message(body)) for rule, name, body in bad]


def refused(rule: str, name: str, delivery: bytes, last_input: int | None = None) -> Vector:
    """A delivery that is refused."""
    return AT.vector(rule, name, [OFFER, ROSTER], delivery, last_input)


def attesting() -> list[int]:
    """Whose attestations the client is sent."""
    return sorted(U3 & frozenset(AT.delivered.senders))


def consents(S_named: bytes) -> dict[int, bytes]:
    """What the survivors would sign, had they been told so."""
    digest = signatures.consent_digest(S_named, H(ROSTER), set_of(COHORT), set_of(U3))
    return {i: signatures.sign(ROUND.identity_key(i), digest) for i in sorted(U3)}


def attestations(S_named: bytes) -> tuple[bytes, ...]:
    """What those whose attestations the client is sent would sign with their inputs, had they been told so."""
    digest = signatures.input_digest(S_named, H(ROSTER), set_of(COHORT))
    return tuple(signatures.sign(ROUND.identity_key(i), digest) for i in attesting())


def set_of(clients: Iterable[int]) -> bytes:
    """A set as it travels."""
    return encode_set(sorted(clients), COHORT)
