"""What a client refuses: after good requests one that breaks a rule.

The round: U0 = U1 = {1, 2, 5, 8, 9}, U2 = {1, 2, 5, 9}, U3 = {1, 2, 5}, threshold 3. Client 2 is looked at.
"""

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from protocols.encoding.known_answers import layout_vector
from protocols.notation import H, u8, u64
from protocols.pairwise_masking import agreed, keys
from protocols.pairwise_masking.client import Client, Policy, header_of_shares, own_shares
from protocols.pairwise_masking.scenario import LAYOUT, Scenario
from protocols.pairwise_masking.shamir import P as MODULUS
from protocols.vector_files import Vector, VectorFile, seed
from protocols.wire.reference import (
    PAIRWISE_MASKS,
    SERVER,
    SHARE_BYTES,
    Advertisement,
    Body,
    Delivery,
    Offer,
    Roster,
    Survivors,
    decode,
    encode,
)

SCENARIO = Scenario("refused by a client", (1, 2, 5, 8, 9), 3)
SPECIFICATION = SCENARIO.specification
SESSION = agreed.session(SPECIFICATION)
CLIENT = 2
POLICY = Policy(least_cohort=5, least_threshold=3, greatest_clip=0.5, least_bits=16)
REQUESTS = [
    sent.message
    for sent in SCENARIO.run({8: 2, 9: 3}).transcript
    if sent.sender == SERVER and CLIENT in sent.recipients
]
OFFER, ROSTER, DELIVERY, SURVIVORS = REQUESTS

LOW_ORDER = {
    "0": 0,
    "1": 1,
    "of order 8": 0x00B8495F16056286FDB1329CEB8D09DA6AC49FF1FAE35616AEB8413B7C7AEBE0,
    "of order 8, the other": 0x57119FD0DD4E22D8868E1C58C45C44045BEF839C55B1D0B1248C50A3BC959C5F,
    "−1": keys.FIELD - 1,
}


def client_refuses() -> VectorFile:
    """All of them."""
    file = VectorFile(
        "pairwise_masking",
        "client_refuses",
        "Requests to one client, in their order: it answers those without a rule and refuses those with one. "
        "`good` is the number (from 0) of one of good_requests.",
        context={
            "client": SCENARIO.client_vector(CLIENT),
            "policy": asdict(POLICY),
            "layout": layout_vector(LAYOUT),
            "good_requests": [message.hex() for message in REQUESTS],
        },
    )
    file.vectors += offers() + rosters() + public_keys() + deliveries() + survivors() + orders()
    return file


def vector(rule: str, name: str, accepted: list[bytes], refused: bytes) -> Vector:
    """Good requests and a bad one."""
    requests = [request(message) for message in accepted]
    return {"name": name, "rule": rule, "requests": [*requests, request(refused) | {"rule": rule}]}


def request(message: bytes) -> Vector:
    """One of the good requests by its number, another in hex."""
    return {"good": REQUESTS.index(message)} if message in REQUESTS else {"message": message.hex()}


def message(body: Body) -> bytes:
    """A message of the server in the session."""
    return encode(body, PAIRWISE_MASKS, SESSION, SPECIFICATION.round, SERVER)


def offer(**changes: Any) -> bytes:
    """An OFFER of another round."""
    specification = replace(SPECIFICATION, **changes)
    session = agreed.session(specification)
    return encode(Offer(specification), PAIRWISE_MASKS, session, specification.round, SERVER)


def patched(data: bytes, offset: int, new: bytes) -> bytes:
    """The bytes with others at one place."""
    return data[:offset] + new + data[offset + len(new) :]


def offers() -> list[Vector]:
    """R7, O1 and O2 at the first stage, and some wire rules."""
    return [
        vector("R7", "a cohort without the receiver", [], offer(cohort=(1, 5, 8, 9, 10))),
        vector("O1", "a cohort under the policy", [], offer(cohort=(1, 2, 5, 8))),
        vector("O1", "a threshold under the policy", [], offer(threshold=2)),
        vector("O1", "a clip over the policy", [], offer(clip=0.75)),
        vector("O1", "bits under the policy", [], offer(bits=15)),
        vector("O2", "another layout", [], offer(layout=seed("another layout"))),
        vector("O2", "a value more", [], offer(values=SPECIFICATION.values + 1)),
        vector("O2", "a scalar less", [], offer(scalars=SPECIFICATION.scalars - 1)),
        vector("W15", "a threshold over the cohort", [], offer(threshold=6)),
        vector("R1", "a specification with one other bit", [], patched(OFFER, 64, u8(OFFER[64] ^ 1))),
        vector("W5", "plain integers", [], patched(OFFER, 6, bytes(2))),
    ]


def roster_keys() -> dict[int, Advertisement]:
    """The good roster."""
    body = decode(ROSTER, agreed.roster(SPECIFICATION))
    assert isinstance(body, Roster)
    return body.keys


def roster(changes: Mapping[int, Advertisement | None]) -> bytes:
    """The good roster with entries changed, added, or (None) taken out."""
    entries: dict[int, Advertisement | None] = {**roster_keys(), **changes}
    return message(Roster({i: both for i, both in sorted(entries.items()) if both is not None}))


def rosters() -> list[Vector]:
    """R7, K3, K4 and wire rules at the second stage."""
    good = roster_keys()
    stranger = Advertisement(keys.public_key(seed("stranger/1")), keys.public_key(seed("stranger/2")))
    own, eighth = good[CLIENT], good[8]
    bad: dict[str, tuple[str, dict[int, Advertisement | None]]] = {
        "a roster without the receiver": ("R7", {CLIENT: None}),
        "a roster smaller than the threshold": ("R7", {1: None, 5: None, 8: None}),
        "a stranger in the roster": ("W10", {8: None, 10: stranger}),
        "a roster longer than the cohort": ("W7", {10: stranger}),
        "another channel key of the receiver": ("K3", {CLIENT: replace(own, channel_key=stranger.channel_key)}),
        "another mask key of the receiver": ("K3", {CLIENT: replace(own, mask_key=stranger.mask_key)}),
        "the receiver's keys exchanged": ("K3", {CLIENT: Advertisement(own.mask_key, own.channel_key)}),
        "one channel key twice": ("K4", {8: replace(eighth, channel_key=good[5].channel_key)}),
        "one mask key twice": ("K4", {8: replace(eighth, mask_key=good[5].mask_key)}),
        "the receiver's mask key twice": ("K4", {8: replace(eighth, mask_key=own.mask_key)}),
        "a channel key that is another's mask key": ("K4", {8: replace(eighth, channel_key=good[1].mask_key)}),
        "both keys of one client equal": ("K4", {8: replace(eighth, mask_key=eighth.channel_key)}),
    }
    return [vector(rule, name, [OFFER], roster(changes)) for name, (rule, changes) in bad.items()]


def public_keys() -> list[Vector]:
    """K1 and K2 in either column."""
    good = roster_keys()
    bad: list[tuple[str, str, int]] = [("K1", f"low order: {name}", u) for name, u in LOW_ORDER.items()]
    bad += [
        ("K2", "2^255 − 19 + 2, for 2", keys.FIELD + 2),
        ("K2", "2^255 − 1, for 18", 2**255 - 1),
        ("K2", "the top bit", int.from_bytes(good[5].mask_key, "little") | 1 << 255),
    ]
    vectors = []
    for rule, name, u in bad:
        key = u.to_bytes(32, "little")
        for column in ("channel_key", "mask_key"):
            refused = roster({5: replace(good[5], **{column: key})})
            vectors.append(vector(rule, f"{name} as a {column}", [OFFER], refused))
    return vectors


def delivered() -> dict[int, bytes]:
    """The good delivery."""
    body = decode(DELIVERY, agreed.delivery(SPECIFICATION, CLIENT, roster_keys()))
    assert isinstance(body, Delivery)
    return body.sealed


def delivery(changes: dict[int, bytes | None]) -> bytes:
    """The good delivery with entries changed, added, or (None) taken out."""
    entries: dict[int, bytes | None] = {**delivered(), **changes}
    return message(Delivery({i: sealed for i, sealed in sorted(entries.items()) if sealed is not None}))


def sealed_by(sender: int, of_seed: int, of_key: int, recipient: int = CLIENT) -> bytes:
    """Any two shares, sealed by a sender of the roster as it should."""
    private = keys.channel_private_key(SCENARIO.round_secret(sender), SESSION)
    public = roster_keys()[recipient].channel_key
    key = keys.channel_key(private, public, SESSION, H(ROSTER), sender, recipient)
    both = of_seed.to_bytes(SHARE_BYTES, "big") + of_key.to_bytes(SHARE_BYTES, "big")
    shares_header = header_of_shares(SPECIFICATION, sender, len(roster_keys()))
    return keys.seal(key, both, shares_header, recipient)


def deliveries() -> list[Vector]:
    """R8, S1, S4 and wire rules at the third stage."""
    good = delivered()
    sender = Client(1, SCENARIO.round_secret(1))
    of_seed, of_key = own_shares(sender, SPECIFICATION, H(ROSTER), CLIENT)
    for_another = sealed_by(1, *own_shares(sender, SPECIFICATION, H(ROSTER), 5), recipient=5)
    bad = {
        "shares of too few": ("R8", delivery({5: None, 9: None})),
        "shares of nobody": ("R8", delivery({1: None, 5: None, 9: None})),
        "shares of a stranger": ("W10", delivery({10: good[9]})),
        "shares of the receiver": ("W10", delivery({CLIENT: good[1]})),
        "a bit of a ciphertext": ("S4", delivery({1: patched(good[1], 0, u8(good[1][0] ^ 1))})),
        "a bit of a tag": ("S4", delivery({1: patched(good[1], 81, u8(good[1][81] ^ 0x80))})),
        "shares of two senders exchanged": ("S4", delivery({1: good[5], 5: good[1]})),
        "shares sealed for another": ("S4", delivery({1: for_another})),
        "a share that is p": ("S1", delivery({1: sealed_by(1, MODULUS, of_key)})),
        "a share of a mask key that is 2^264 − 1": ("S1", delivery({1: sealed_by(1, of_seed, 2**264 - 1)})),
    }
    return [vector(rule, name, [OFFER, ROSTER], refused) for name, (rule, refused) in bad.items()]


def survivors() -> list[Vector]:
    """R9 and wire rules at the fourth stage."""
    bad = {
        "a dropout is left out": ("R9", message(Survivors({1: True, 2: True, 5: True}))),
        "one whose shares were not delivered": (
            "R9",
            message(Survivors({1: True, 2: True, 5: True, 8: False, 9: False})),
        ),
        "one in the place of another": ("R9", message(Survivors({1: True, 2: True, 5: True, 8: False}))),
        "the receiver has dropped out": ("R9", message(Survivors({1: True, 2: False, 5: True, 9: True}))),
        "too few survivors": ("R9", message(Survivors({1: False, 2: True, 5: True, 9: False}))),
        "the receiver is left out": ("R9", message(Survivors({1: True, 5: True, 9: True}))),
        "a stranger": ("W10", message(Survivors({1: True, 2: True, 5: True, 10: False}))),
        "a flag of 2": ("W14", SURVIVORS[:-1] + u8(2)),
    }
    return [vector(rule, name, REQUESTS[:3], refused) for name, (rule, refused) in bad.items()]


def orders() -> list[Vector]:
    """R1, R2, R4, R5: good messages at the wrong time, and good messages after a bad one."""
    elsewhere = encode(Roster(roster_keys()), PAIRWISE_MASKS, seed("elsewhere"), SPECIFICATION.round, SERVER)
    later = encode(Roster(roster_keys()), PAIRWISE_MASKS, SESSION, SPECIFICATION.round + 1, SERVER)
    huge = patched(ROSTER, 48, u64(2**63))
    vectors = [
        vector("R4", "a roster first", [], ROSTER),
        vector("R4", "the offer again", [OFFER], OFFER),
        vector("R4", "a delivery before the roster", [OFFER], DELIVERY),
        vector("R4", "the roster again", REQUESTS[:2], ROSTER),
        vector("R4", "survivors before the delivery", REQUESTS[:2], SURVIVORS),
        vector("R4", "the delivery again", REQUESTS[:3], DELIVERY),
        vector("R4", "the survivors again", REQUESTS, SURVIVORS),
        vector("R4", "the offer after the end", REQUESTS, OFFER),
        vector("R1", "the offer of another attempt", [OFFER], offer(nonce=seed("another attempt"))),
        vector("R1", "a roster of another session", [OFFER], elsewhere),
        vector("R2", "a roster of another round", [OFFER], later),
        vector("W7", "a count to multiply", [OFFER], huge),
    ]
    for name, bad, rule in (("a bad roster", huge, "W7"), ("an offer again", OFFER, "R4")):
        after = vector("R5", f"the good roster after {name}", [OFFER, bad], ROSTER)
        after["requests"][1]["rule"] = rule
        vectors.append(after)
    return vectors
