"""What a client answers although something is amiss: shares that it cannot hold, signatures not looked at."""

from itertools import combinations

from protocols.pairwise_masking import agreed
from protocols.pairwise_masking.at_client import AtClient, flipped
from protocols.pairwise_masking.client_refusals import AT as SEMI_HONEST
from protocols.pairwise_masking.client_refusals_signed import AT as SIGNED
from protocols.pairwise_masking.client_refusals_signed import (
    U2,
    agreement_good,
    agreement_of,
    badly_signed,
    drawn,
    read_agreement,
)
from protocols.pairwise_masking.shamir import P as MODULUS
from protocols.vector_files import Vector, VectorFile
from protocols.wire.bodies import Release, Sender
from protocols.wire.reference import decode


def client_goes_on() -> VectorFile:
    """All of them, for the client of client_refuses."""
    file = VectorFile(
        "pairwise_masking",
        "client_goes_on",
        "Requests to one client, all of which it answers. Where a delivered share is not held (rule S1 or S4), the "
        "last answer, a RELEASE, has no share of that sender: `released` lists of whom it has.",
        context=SEMI_HONEST.context(),
    )
    file.vectors += shares_not_held(SEMI_HONEST)
    return file


def client_goes_on_signed() -> VectorFile:
    """All of them, for the client of client_refuses_signed."""
    file = VectorFile(
        "pairwise_masking",
        "client_goes_on_signed",
        "Requests to one client, all of which it answers. Where a delivered share is not held (rule S1 or S4), no "
        "share of that sender is released; what was not drawn, or is not used, is not looked at.",
        context=SIGNED.context(),
    )
    file.vectors += shares_not_held_signed() + not_looked_at()
    return file


def vector(at: AtClient, name: str, requests: list[bytes], rule: str | None = None) -> Vector:
    """Requests, the client's answers, and of whom it released shares (null where it was not asked to)."""
    answers = [at.answer(requests[: k + 1]) for k in range(len(requests))]
    return {
        "name": name,
        **({} if rule is None else {"rule": rule}),
        "requests": [at.request(message) for message in requests],
        "answers": [message.hex() for message in answers],
        "released": None if len(requests) < len(at.requests) else released(at, answers[-1]),
    }


def released(at: AtClient, message: bytes) -> list[int]:
    """Of whom a RELEASE has a share."""
    body = decode(message, agreed.release(at.specification, at.id, at.delivered.shared))
    assert isinstance(body, Release)
    return list(body.shares)


def shares_not_held(at: AtClient) -> list[Vector]:
    """S1 and S4, in a complete graph."""
    good = at.delivered.senders
    of_seed, of_key = at.shares_of(1, at.id)
    for_another = at.sealed_by(1, *at.shares_of(1, 5), recipient=5)
    offer, roster, _, survivors = at.requests

    def box(sender: int, sealed: bytes) -> Sender:
        return Sender(good[sender].pick_secret, sealed)

    bad: list[tuple[str, str, dict[int, Sender]]] = [
        ("S4", "a bit of a ciphertext", {1: box(1, flipped(good[1].sealed, 0))}),
        ("S4", "a bit of a tag", {1: box(1, flipped(good[1].sealed, 81))}),
        ("S4", "shares of two senders exchanged", {1: box(1, good[5].sealed), 5: box(5, good[1].sealed)}),
        ("S4", "shares sealed for another", {1: for_another}),
        ("S4", "shares of one that did not send an input", {9: box(9, bytes(82))}),
        ("S4", "nobody's shares", {i: box(i, bytes(82)) for i in good}),
        ("S1", "a share of a seed that is p", {1: at.sealed_by(1, MODULUS, of_key)}),
        ("S1", "a share of a mask key that is 2^264 − 1", {1: at.sealed_by(1, of_seed, 2**264 - 1)}),
        ("S1", "a share of a dropout's seed that is p", {9: at.sealed_by(9, MODULUS, at.shares_of(9, at.id)[1])}),
    ]
    return [vector(at, name, [offer, roster, at.delivery(changes), survivors], rule) for rule, name, changes in bad]


def shares_not_held_signed() -> list[Vector]:
    """S4 in a sparse graph: the sender is a mask peer all the same, and its attestation is not looked at."""
    offer, roster, _, survivors, agreement = SIGNED.requests
    good = SIGNED.delivered.senders
    delivery = SIGNED.delivery({7: Sender(good[7].pick_secret, flipped(good[7].sealed, 40))})
    name = "one bit, and a wrong attestation of the same sender"
    wrong = agreement_good(a7=bytes(64))
    return [
        vector(SIGNED, "one bit", [offer, roster, delivery, survivors, agreement], "S4"),
        vector(SIGNED, name, [offer, roster, delivery, survivors, wrong], "S4"),
    ]


def not_looked_at() -> list[Vector]:
    """Signatures of clients that the client does not use, or did not draw; mask picks of those who are gone."""
    good = read_agreement().signatures
    forged = ({**good, i: flipped(good[i], at)} for at in range(64) for i in sorted(good))
    # The draw depends on every byte: this is the first of these forgeries that is not drawn, and has enough consents.
    not_drawn = next(message for message in map(agreement_of, forged) if accepted(message))
    without = SIGNED.delivery({7: None})
    offer, roster = SIGNED.requests[0], SIGNED.roster({7: badly_signed(7)})
    unheard = "an entry with a wrong signature, of a client that it neither picked nor hears of"
    return [
        vector(SIGNED, "a consent that does not verify and was not drawn", [*SIGNED.requests[:4], not_drawn]),
        vector(SIGNED, unheard, [offer, roster, without]),
        vector(SIGNED, "a dropout with four mask picks", [*SIGNED.requests[:3], gone_with_its_picks()]),
    ]


def accepted(agreement: bytes) -> bool:
    """Whether nobody is drawn whose signature is not the good one, and enough others are."""
    good, others = read_agreement().signatures, read_agreement(agreement).signatures
    looked_at = set(drawn(agreement)) & set(others)
    return len(looked_at) >= 9 and all(good[i] == others[i] for i in looked_at)


def gone_with_its_picks() -> bytes:
    """SURVIVORS without a client of whom a share is held, who has too few mask picks; all survivors have enough."""
    looked_at = {SIGNED.id, *SIGNED.delivered.senders}
    for gone in [set(some) for size in (2, 3) for some in combinations(sorted(U2 - {SIGNED.id}), size)]:
        short = {i for i in looked_at if len(SIGNED.mask_picks(i) & (U2 - gone)) < 5}
        if short and short <= gone:
            return SIGNED.survivors(*U2 - gone)
    raise AssertionError("another seed is needed")
