"""What a client that is not the key holder refuses: after good requests one that breaks a rule.

The server is semi-honest. The round: U0 = {1, 2, 5, 8, 9}, U1 = {1, 2, 5, 9}, U3 = {1, 2, 5}; L = 3; 1 holds the key.
Client 2 is looked at.
"""

from dataclasses import replace
from typing import Any

from protocols.he_aggregation import keys
from protocols.he_aggregation.at_client import AtClient
from protocols.he_aggregation.bodies import Entry, SealedKey
from protocols.he_aggregation.messages import encode
from protocols.he_aggregation.parameters import BFV, BFV_2048
from protocols.he_aggregation.scenario import Scenario
from protocols.notation import u8, u16, u64
from protocols.pairwise_masking.at_client import LOW_ORDER, flipped, patched
from protocols.pairwise_masking.keys import FIELD
from protocols.pairwise_masking.participant import Policy
from protocols.vector_files import Vector, VectorFile, seed
from protocols.wire.reference import MALICIOUS, SERVER

ROUND = Scenario("he refused by a client", (1, 2, 5, 8, 9), suite=BFV_2048)
DROPOUTS = {8: 1, 9: 3}
POLICY = Policy(least_security=40, least_cohort=5, least_sum=3, greatest_clip=0.5, least_bits=16)
AT = AtClient(ROUND, DROPOUTS, 2, POLICY, last_input=3)
SPECIFICATION = ROUND.specification
OFFER, SEALED_KEY = AT.requests


def client_refuses() -> VectorFile:
    """All of them."""
    file = VectorFile(
        "he_aggregation",
        "client_refuses",
        "Requests to one client, which is not the key holder, in their order: it answers those without a rule and "
        "refuses those with one. `good` is the number (from 0) of one of good_requests, with `changes` where it is "
        "not quite that. The server is semi-honest.",
        context=AT.context(),
    )
    file.vectors += offers() + sealed_keys() + public_keys() + orders()
    return file


def offers() -> list[Vector]:
    """R7, O1, O2, H6 and R11 at the first stage, and some wire rules."""
    many = tuple(range(1, 258))
    bad = [
        ("R7", "a cohort without the receiver", AT.offer(cohort=(1, 5, 8, 9, 10))),
        ("R7", "a cohort without the receiver, and corrupt clients", AT.offer(cohort=(1, 5, 8, 9, 10), corrupt=1)),
        ("O1", "a bit of security under the policy", AT.offer(security=39)),
        ("O1", "a cohort under the policy", AT.offer(cohort=(1, 2, 5, 8))),
        ("O1", "a clip over the policy", AT.offer(clip=0.75)),
        ("O1", "bits under the policy", AT.offer(bits=15)),
        ("O1", "bits under the policy, and another layout", AT.offer(bits=15, layout=seed("another"))),
        ("O1", "a malicious server, and no identity key", AT.offer(server=MALICIOUS, dropouts=0)),
        ("O2", "another layout", AT.offer(layout=seed("another layout"))),
        ("O2", "another layout, and corrupt clients", AT.offer(layout=seed("another layout"), corrupt=100)),
        ("O2", "a value more", AT.offer(values=SPECIFICATION.values + 1)),
        ("O2", "a scalar less", AT.offer(scalars=SPECIFICATION.scalars - 1)),
        ("H6", "one thousandth of the cohort corrupt", AT.offer(corrupt=1)),
        ("H6", "many corrupt clients", AT.offer(corrupt=499, dropouts=0)),
        ("H6", "a cohort and bits without a packing", AT.offer(cohort=many, bits=32)),
        ("H6", "corrupt clients in a round that is not above the last", AT.offer(corrupt=200, round=3)),
        ("R11", "the round of the last input", AT.offer(round=3)),
        ("R11", "a round before the last input", AT.offer(round=0)),
        ("W15", "more dropouts than leave enough survivors", AT.offer(server=MALICIOUS, dropouts=400)),
        ("R1", "a specification with one other bit", flipped(OFFER, 64)),
        ("W5", "the other suite", patched(OFFER, 6, u16(BFV))),
        ("W5", "pairwise masks", patched(OFFER, 6, u16(1))),
    ]
    return [AT.vector(rule, name, [], message) for rule, name, message in bad]


def sealed_keys() -> list[Vector]:
    """H8, W10, R7, S4, H2 and wire rules at the third stage."""
    good = AT.sealed_key

    def changed(**changes: Any) -> bytes:
        return AT.message(replace(good, **changes))

    def sealed(holder: int, recipients: int) -> bytes:
        return AT.message(AT.sealed_by(holder, recipients))

    for_another = AtClient(ROUND, DROPOUTS, 5, POLICY, 3).sealed_key.sealed
    other = seed("he/another round key")
    misnamed = replace(AT.sealed_by(1, 3), key_id=keys.key_id(AT.B, other))
    stranger = Entry(keys.public_key(seed("he/stranger")))
    signed = AT.message(replace(good, entry=replace(good.entry, signature=bytes(64))))
    bad = [
        ("H8", "the receiver is said to hold the key", changed(holder=2, entry=AT.entry(2), sealed=bytes(48))),
        ("H8", "the receiver is said to hold the key, with another's box", changed(holder=2)),
        ("W10", "a holder that is not in the cohort", changed(holder=3, entry=stranger)),
        ("W10", "the server holds the key", changed(holder=0)),
        ("R7", "the key went to fewer than are needed", sealed(1, 1)),
        ("R7", "the key went to nobody", changed(recipients=0)),
        ("R7", "the key went to as many as the cohort has", sealed(1, 5)),
        ("R7", "the key went to very many", changed(recipients=2**32 - 1)),
        ("S4", "one bit of the sealed key", changed(sealed=flipped(good.sealed, 0))),
        ("S4", "one bit of its tag", changed(sealed=flipped(good.sealed, 47))),
        ("S4", "the box of another", changed(sealed=for_another)),
        ("S4", "nothing is sealed", changed(sealed=bytes(48))),
        ("S4", "another number of recipients", changed(recipients=4)),
        ("S4", "another holder", changed(holder=5)),
        ("S4", "another holder's entry", changed(entry=AT.entry(5))),
        ("H2", "another key than it is said to be", AT.message(misnamed)),
        ("H2", "one bit of the key's id", changed(key_id=flipped(good.key_id, 31))),
        (
            "H2",
            "a key of the same holder under another name",
            AT.message(replace(AT.sealed_by(1, 3, other), key_id=good.key_id)),
        ),
        ("W8", "an entry with a signature", signed),
        ("W11", "two keys", patched(SEALED_KEY, 48, u64(2))),
    ]
    return [AT.vector(rule, name, [OFFER], message) for rule, name, message in bad]


def public_keys() -> list[Vector]:
    """K1 and K2 of the holder's entry; they come before the number of recipients."""
    vectors = []
    bad = [("K1", f"low order: {name}", u) for name, u in LOW_ORDER.items()]
    bad += [("K2", "2^255 − 19 + 2, for 2", FIELD + 2), ("K2", "2^255 − 1, for 18", 2**255 - 1)]
    bad.append(("K2", "the top bit", int.from_bytes(AT.entry(1).public, "little") | 1 << 255))
    for rule, name, u in bad:
        body = replace(AT.sealed_key, entry=Entry(u.to_bytes(32, "little")), recipients=0)
        vectors.append(AT.vector(rule, name, [OFFER], AT.message(body)))
    return vectors


def orders() -> list[Vector]:
    """R1, R2, R4, R5: good messages at the wrong time, and good messages after a bad one."""
    round_, session = SPECIFICATION.round, seed("elsewhere")
    holder = AtClient(ROUND, DROPOUTS, 1, POLICY, 3).requests
    keys_to_two = AT.exchange_keys({})
    vectors = [
        AT.vector("R4", "a sealed key first", [], SEALED_KEY),
        AT.vector("R4", "the offer again", [OFFER], OFFER),
        AT.vector("R4", "a sum before the sealed key", [OFFER], holder[3]),
        AT.vector("R4", "the sealed key again", [OFFER, SEALED_KEY], SEALED_KEY),
        AT.vector("R4", "a sum, to one that does not hold the key", [OFFER, SEALED_KEY], holder[3]),
        AT.vector("R4", "exchange keys behind the input", [OFFER, SEALED_KEY], keys_to_two),
        AT.vector("R4", "the offer behind the input", [OFFER, SEALED_KEY], OFFER),
        AT.vector("R4", "the exchange keys again", [OFFER, keys_to_two], keys_to_two),
        AT.vector("H8", "another's key after it has sealed its own", [OFFER, keys_to_two], SEALED_KEY),
        AT.vector("R1", "the offer of another attempt", [OFFER], AT.offer(nonce=seed("another attempt"))),
        AT.vector("R1", "a sealed key of another session", [OFFER], elsewhere(AT.sealed_key, session, round_)),
        AT.vector(
            "R2", "a sealed key of another round", [OFFER], patched(SEALED_KEY, 40, (round_ + 1).to_bytes(4, "big"))
        ),
        AT.vector("W4", "a type that does not exist", [OFFER], patched(SEALED_KEY, 5, u8(200))),
        AT.vector("W7", "a count of exchange keys to multiply", [OFFER], patched(keys_to_two, 48, u64(2**63))),
        AT.vector("W11", "a count of sealed keys to multiply", [OFFER], patched(SEALED_KEY, 48, u64(2**63))),
        AT.vector("W1", "nothing", [OFFER], b""),
    ]
    broken = flipped(SEALED_KEY, 120)
    for name, bad, rule in (("a bad one", broken, "S4"), ("an offer again", OFFER, "R4")):
        after = AT.vector("R5", f"the good sealed key after {name}", [OFFER, bad], SEALED_KEY)
        after["requests"][1]["rule"] = rule
        vectors.append(after)
    return vectors


def elsewhere(body: SealedKey, session: bytes, round_: int) -> bytes:
    """The message in another session."""
    return encode(body, ROUND.suite, session, round_, SERVER)
