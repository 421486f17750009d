"""What a client refuses under a semi-honest server, in a complete graph: after good requests one that breaks a rule.

The round: U0 = U1 = {1, 2, 5, 8, 9}, U2 = {1, 2, 5, 9}, U3 = {1, 2, 5}; L = t = 3. Client 2 is looked at.
"""

from dataclasses import replace

from protocols.notation import u8, u64
from protocols.pairwise_masking import keys
from protocols.pairwise_masking.at_client import LOW_ORDER, AtClient, flipped, patched
from protocols.pairwise_masking.participant import Policy
from protocols.pairwise_masking.scenario import COMMON, Scenario
from protocols.vector_files import Vector, VectorFile, seed
from protocols.wire.bodies import Delivery, Entry, Roster, Sender
from protocols.wire.reference import PAIRWISE_MASKS, SERVER, encode
from protocols.wire.specification import MALICIOUS, NAMED_LATER

ROUND = Scenario("refused by a client", (1, 2, 5, 8, 9), COMMON)
DROPOUTS = {8: 2, 9: 3}
POLICY = Policy(least_corrupt=150, least_security=40, least_cohort=5, least_sum=3, greatest_clip=0.5, least_bits=16)
AT = AtClient(ROUND, DROPOUTS, 2, POLICY, last_input=3)
SPECIFICATION = ROUND.specification
OFFER, ROSTER, DELIVERY, SURVIVORS = AT.requests


def client_refuses() -> VectorFile:
    """All of them."""
    file = VectorFile(
        "pairwise_masking",
        "client_refuses",
        "Requests to one client, in their order: it answers those without a rule and refuses those with one. "
        "`good` is the number (from 0) of one of good_requests. The server is semi-honest, the graph complete.",
        context=AT.context(),
    )
    file.vectors += offers() + rosters() + public_keys() + deliveries() + survivors() + orders()
    return file


def offers() -> list[Vector]:
    """R7, O1, O2 and R11 at the first stage, and some wire rules."""
    bad = [
        ("R7", "a cohort without the receiver", AT.offer(cohort=(1, 5, 8, 9, 10))),
        ("O1", "fewer corrupt than the policy's", AT.offer(corrupt=149)),
        ("O1", "a bit of security under the policy", AT.offer(security=39)),
        ("O1", "a cohort under the policy", AT.offer(cohort=(1, 2, 5, 8))),
        ("O1", "a clip over the policy", AT.offer(clip=0.75)),
        ("O1", "bits under the policy", AT.offer(bits=15)),
        ("O1", "a malicious server, and no identity key", AT.offer(server=MALICIOUS, dropouts=0)),
        ("O1", "no identity key, and another layout", AT.offer(server=MALICIOUS, dropouts=0, layout=seed("another"))),
        ("O2", "another layout", AT.offer(layout=seed("another layout"))),
        ("O2", "a value more", AT.offer(values=SPECIFICATION.values + 1)),
        ("O2", "a scalar less", AT.offer(scalars=SPECIFICATION.scalars - 1)),
        ("R11", "the round of the last input", AT.offer(round=3)),
        ("R11", "a round before the last input", AT.offer(round=0)),
        ("W15", "more dropouts than leave enough survivors", AT.offer(server=MALICIOUS, dropouts=400)),
        ("R1", "a specification with one other bit", flipped(OFFER, 64)),
        ("W5", "plain integers", patched(OFFER, 6, bytes(2))),
        ("W3", "version 1", patched(OFFER, 4, u8(1))),
    ]
    return [AT.vector(rule, name, [], message) for rule, name, message in bad]


def stranger() -> Entry:
    """The entry of a client outside of the cohort."""
    return Entry(keys.public_key(seed("stranger/1")), keys.public_key(seed("stranger/2")), seed("stranger/3"))


def rosters() -> list[Vector]:
    """R7, K3, K4 and wire rules at the second stage."""
    good, other = AT.entries, stranger()
    own, eighth = good[2], good[8]
    bad: list[tuple[str, str, dict[int, Entry | None]]] = [
        ("R7", "a roster without the receiver", {2: None}),
        ("R7", "a roster of fewer than must survive", {1: None, 5: None, 8: None}),
        ("W10", "a stranger in the roster", {8: None, 10: other}),
        ("W7", "a roster longer than the cohort", {10: other}),
        ("K3", "another channel key of the receiver", {2: replace(own, channel_key=other.channel_key)}),
        ("K3", "another mask key of the receiver", {2: replace(own, mask_key=other.mask_key)}),
        ("K3", "another promise of the receiver", {2: replace(own, promise=other.promise)}),
        ("K3", "the receiver's keys exchanged", {2: Entry(own.mask_key, own.channel_key, own.promise)}),
        ("K4", "one channel key twice", {8: replace(eighth, channel_key=good[5].channel_key)}),
        ("K4", "one mask key twice", {8: replace(eighth, mask_key=good[5].mask_key)}),
        ("K4", "the receiver's mask key twice", {8: replace(eighth, mask_key=own.mask_key)}),
        ("K4", "a channel key that is another's mask key", {8: replace(eighth, channel_key=good[1].mask_key)}),
        ("K4", "both keys of one client equal", {8: replace(eighth, mask_key=eighth.channel_key)}),
    ]
    signed = AT.message(Roster({i: replace(entry, signature=bytes(64)) for i, entry in good.items()}))
    vectors = [AT.vector(rule, name, [OFFER], AT.roster(changes)) for rule, name, changes in bad]
    return [*vectors, AT.vector("W8", "a roster with signatures", [OFFER], signed)]


def public_keys() -> list[Vector]:
    """K1 and K2 in either column, and which of several comes first."""
    good = AT.entries
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
            refused = AT.roster({5: replace(good[5], **{column: key})})
            vectors.append(AT.vector(rule, f"{name} as a {column}", [OFFER], refused))
    low, high = (1).to_bytes(32, "little"), (2**255 - 1).to_bytes(32, "little")
    order = [
        ("K1", "a key of low order before one that is not canonical", {1: low, 5: high}),
        ("K2", "a key that is not canonical before one of low order", {1: high, 5: low}),
    ]
    for rule, name, channel_keys in order:
        changed = {i: replace(good[i], channel_key=key) for i, key in channel_keys.items()}
        vectors.append(AT.vector(rule, name, [OFFER], AT.roster(changed)))
    both = AT.roster({5: replace(good[5], channel_key=low, mask_key=high)})
    vectors.append(AT.vector("K2", "one client's key of low order, and another not canonical", [OFFER], both))
    return vectors


def deliveries() -> list[Vector]:
    """R8, G1 and wire rules at the third stage."""
    good = AT.delivered.senders
    wrong = replace(good[1], pick_secret=good[5].pick_secret)
    late = Sender(AT.pick_secret(8), good[5].sealed)
    bad = [
        ("R8", "shares of too few", AT.delivery_of((1, 2))),
        ("R8", "shares of nobody", AT.delivery_of((2,))),
        ("R8", "a set of nobody, and no shares", AT.delivery_of(())),
        ("R8", "a set without the receiver", AT.delivery({}, (1, 5, 9))),
        ("R8", "a sender that is not in the set", AT.delivery({8: late})),
        ("R8", "one of the set that is no sender", AT.delivery({9: None})),
        ("R8", "one more in the set", AT.delivery({}, (1, 2, 5, 8, 9))),
        ("W10", "shares of a stranger", AT.delivery({10: good[9]})),
        ("W10", "shares of the receiver", AT.delivery({2: good[1]})),
        ("W14", "a set with a bit beyond the cohort", patched(DELIVERY, 64, u8(DELIVERY[64] | 1 << 5))),
        (
            "W10",
            "all of the cohort as senders",
            AT.message(Delivery((1, 2, 5, 8, 9), dict.fromkeys(AT.entries, good[1]))),
        ),
        ("W7", "more senders than the cohort has clients", patched(DELIVERY, 48, u64(6))),
        ("G1", "another pick secret", AT.delivery({1: replace(good[1], pick_secret=seed("another"))})),
        ("G1", "another sender's pick secret", AT.delivery({1: wrong})),
        ("G1", "the last sender's pick secret, one bit", AT.delivery({9: altered(good[9])})),
    ]
    return [AT.vector(rule, name, [OFFER, ROSTER], refused) for rule, name, refused in bad]


def altered(sender: Sender) -> Sender:
    """With one bit of its pick secret the other way."""
    return replace(sender, pick_secret=flipped(sender.pick_secret, 31))


def survivors() -> list[Vector]:
    """R9 and wire rules at the fifth stage."""
    bad = [
        ("R9", "a survivor that has not shared", AT.survivors(1, 2, 5, 8)),
        ("R9", "all of the cohort", AT.survivors(1, 2, 5, 8, 9)),
        ("R9", "the receiver has dropped out", AT.survivors(1, 5, 9)),
        ("R9", "too few survivors", AT.survivors(2, 5)),
        ("R9", "no survivors", AT.survivors()),
        ("W14", "a bit beyond the cohort", patched(SURVIVORS, 64, u8(SURVIVORS[64] | 1 << 7))),
        ("W11", "the number of survivors for a count", patched(SURVIVORS, 48, u64(3))),
        ("W8", "a set of two bytes", SURVIVORS + bytes(1)),
    ]
    return [AT.vector(rule, name, [OFFER, ROSTER, DELIVERY], refused) for rule, name, refused in bad]


def orders() -> list[Vector]:
    """R1, R2, R4, R5: good messages at the wrong time, and good messages after a bad one."""
    body, round_ = Roster(AT.entries), SPECIFICATION.round
    elsewhere = encode(body, PAIRWISE_MASKS, seed("elsewhere"), round_, SERVER)
    later = patched(ROSTER, 40, (round_ + 1).to_bytes(4, "big"))
    huge = patched(ROSTER, 48, u64(2**63))
    vectors = [
        AT.vector("R4", "a roster first", [], ROSTER),
        AT.vector("R4", "the offer again", [OFFER], OFFER),
        AT.vector("R4", "a delivery before the roster", [OFFER], DELIVERY),
        AT.vector("R4", "the roster again", [OFFER, ROSTER], ROSTER),
        AT.vector("R4", "survivors before the delivery", [OFFER, ROSTER], SURVIVORS),
        AT.vector("R4", "the delivery again", [OFFER, ROSTER, DELIVERY], DELIVERY),
        AT.vector("R4", "an agreement that nobody asked for", AT.requests[:3], AT.agreement({1: bytes(64)})),
        AT.vector("R4", "an agreement after the end", AT.requests, AT.agreement({1: bytes(64)})),
        AT.vector("R4", "the survivors again", AT.requests, SURVIVORS),
        AT.vector("R4", "the offer after the end", AT.requests, OFFER),
        AT.vector("R1", "the offer of another attempt", [OFFER], AT.offer(nonce=seed("another attempt"))),
        AT.vector("R1", "a roster of another session", [OFFER], elsewhere),
        AT.vector("R2", "a roster of another round", [OFFER], later),
        AT.vector("W7", "a count to multiply", [OFFER], huge),
    ]
    for name, bad, rule in (("a bad roster", huge, "W7"), ("an offer again", OFFER, "R4")):
        after = AT.vector("R5", f"the good roster after {name}", [OFFER, bad], ROSTER)
        after["requests"][1]["rule"] = rule
        vectors.append(after)
    named = "a delivery with a model, in a round that is not prepared"
    return [
        *vectors,
        AT.vector("R4", named, [OFFER, ROSTER], AT.named(ROUND.model)),
        AT.vector("R4", f"{named}, and without a name", [OFFER, ROSTER], AT.named(NAMED_LATER)),
    ]
