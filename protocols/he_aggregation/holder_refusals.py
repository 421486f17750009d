"""What a client refuses as the key holder, or before it becomes one: after good requests one that breaks a rule.

The server is malicious. The round: U0 = {1, 2, 5, 8, 9, 30}, U1 without 8, U3 without 9 as well; L = 4. Client 1 is
looked at, which holds the key.
"""

from dataclasses import replace

from protocols.he_aggregation import agreed, keys
from protocols.he_aggregation.at_client import AtClient
from protocols.he_aggregation.bfv import Ciphertext, add, sum_payload
from protocols.he_aggregation.bodies import Entry, ExchangeKeys
from protocols.he_aggregation.message_refusals import with_digest
from protocols.he_aggregation.packing import packed_bytes
from protocols.he_aggregation.parameters import BFV_2048
from protocols.he_aggregation.scenario import COMMON_MALICIOUS, Scenario
from protocols.notation import u8
from protocols.pairwise_masking import signatures
from protocols.pairwise_masking.at_client import LOW_ORDER, flipped, patched
from protocols.pairwise_masking.participant import Policy
from protocols.vector_files import Vector, VectorFile, seed, seeded_integer
from protocols.wire.reference import HEADER, MALICIOUS, SEMI_HONEST

ROUND = Scenario("he refused by a holder", (1, 2, 5, 8, 9, 30), COMMON_MALICIOUS, suite=BFV_2048)
DROPOUTS = {8: 1, 9: 3}
POLICY = Policy(least_server=MALICIOUS, least_cohort=3, least_sum=4, greatest_clip=0.5)
AT = AtClient(ROUND, DROPOUTS, 1, POLICY, last_input=3)
OFFER, EXCHANGE_KEYS, SEALED_KEY, TOTAL = AT.requests
SUM_AT = HEADER.size + 64 + 1
"""Where the payload begins in TOTAL: the set has one byte."""


def holder_refuses() -> VectorFile:
    """All of them."""
    file = VectorFile(
        "he_aggregation",
        "holder_refuses",
        "Requests to one client, which is to be the key holder, in their order: it answers those without a rule and "
        "refuses those with one. `good` is the number (from 0) of one of good_requests, with `changes` where it is "
        "not quite that. The server is malicious.",
        context=AT.context(),
    )
    file.vectors += offers() + exchange_keys() + public_keys() + sealed_keys() + sums() + wrong_sums() + orders()
    return file


def offers() -> list[Vector]:
    """K6 and O1 under a malicious server."""
    stranger = (1, 2, 5, 9, 30, 31)
    return [
        AT.vector("O1", "a semi-honest server", [], AT.offer(server=SEMI_HONEST)),
        AT.vector("O1", "a sum over three", [], AT.offer(cohort=(1, 2, 5, 30))),
        AT.vector("K6", "a client that the identity roster does not hold", [], AT.offer(cohort=stranger)),
        AT.vector("K6", "a stranger in a round before the last", [], AT.offer(cohort=stranger, round=1)),
        AT.vector("H6", "a stranger, and corrupt clients", [], AT.offer(cohort=stranger, corrupt=1)),
    ]


def signed(client: int, public: bytes) -> Entry:
    """Any public key, signed by a client of the cohort."""
    digest = keys.entry_digest(agreed.session(ROUND.specification), client, public)
    return Entry(public, signatures.sign(ROUND.identity_key(client), digest))


def exchange_keys() -> list[Vector]:
    """R7, K3, K4, K5 and wire rules at the second stage."""
    good = AT.entries
    other = keys.public_key(seed("he/other"))
    bad: list[tuple[str, str, dict[int, Entry | None]]] = [
        ("R7", "a list without the receiver", {1: None}),
        ("R7", "a list of fewer than are needed", {2: None, 5: None}),
        ("R7", "a list of nobody", dict.fromkeys(good)),
        ("R7", "a list of too few, with another key of the receiver", {1: signed(1, other), 2: None, 5: None}),
        ("W10", "a stranger in the list", {9: None, 10: good[9]}),
        ("K3", "another key of the receiver", {1: signed(1, other)}),
        ("K3", "another signature of the receiver", {1: replace(good[1], signature=flipped(good[1].signature, 0))}),
        ("K3", "another key of the receiver, and one twice", {1: signed(1, good[2].public)}),
        ("K4", "one key twice", {9: signed(9, good[5].public)}),
        ("K4", "the receiver's key twice", {9: signed(9, good[1].public)}),
        ("K4", "one key twice, with a signature of its first owner", {9: good[5]}),
        ("K5", "a signature with one other bit", {30: replace(good[30], signature=flipped(good[30].signature, 40))}),
        ("K5", "no signature", {2: replace(good[2], signature=bytes(64))}),
        ("K5", "a key signed by another client", {2: signed(5, other)}),
        ("K5", "another key than was signed", {2: replace(good[2], public=other)}),
        ("K5", "entries exchanged", {2: good[5], 5: good[2]}),
    ]
    unsigned = AT.message(ExchangeKeys({i: replace(entry, signature=b"") for i, entry in good.items()}))
    vectors = [AT.vector(rule, name, [OFFER], AT.exchange_keys(changes)) for rule, name, changes in bad]
    more = AT.exchange_keys({8: AT.entry(8), 10: good[9]})
    return [
        *vectors,
        AT.vector("W8", "a list without signatures", [OFFER], unsigned),
        AT.vector("W7", "a list longer than the cohort", [OFFER], more),
    ]


def public_keys() -> list[Vector]:
    """K1 and K2, which of several comes first, and both before K5."""
    low, high = (1).to_bytes(32, "little"), (2**255 - 1).to_bytes(32, "little")
    vectors = [
        AT.vector(
            "K1", f"low order: {name}", [OFFER], AT.exchange_keys({5: Entry(u.to_bytes(32, "little"), bytes(64))})
        )
        for name, u in LOW_ORDER.items()
    ]
    changes: list[tuple[str, str, dict[int, Entry | None]]] = [
        ("K2", "2^255 − 1, for 18", {5: Entry(high, bytes(64))}),
        ("K2", "2^255 − 1, for 18, signed", {5: signed(5, high)}),
        (
            "K1",
            "a key of low order before one that is not canonical",
            {2: Entry(low, bytes(64)), 5: Entry(high, bytes(64))},
        ),
        (
            "K2",
            "a key that is not canonical before one of low order",
            {2: Entry(high, bytes(64)), 5: Entry(low, bytes(64))},
        ),
        (
            "K5",
            "no signature before a key of low order",
            {2: replace(AT.entries[2], signature=bytes(64)), 5: signed(5, low)},
        ),
    ]
    return vectors + [AT.vector(rule, name, [OFFER], AT.exchange_keys(changed)) for rule, name, changed in changes]


def sealed_keys() -> list[Vector]:
    """H8, K3, H2 at the third stage; K5 of another holder."""
    first, good = [OFFER, EXCHANGE_KEYS], AT.sealed_key
    other = AT.sealed_by(5, 4)
    another_key = seed("he/another round key")
    bad = [
        ("H8", "another holder, after the receiver has sealed the key", first, other),
        ("H8", "the receiver, before it has sealed a key", [OFFER], good),
        ("K3", "something is sealed to the holder itself", first, replace(good, sealed=AT.sealed_by(1, 4).sealed)),
        ("K3", "another entry of the holder", first, replace(good, entry=AT.entry(5))),
        ("H2", "another key than the holder's", first, replace(good, key_id=keys.key_id(AT.B, another_key))),
        ("K5", "another holder, whose entry is not signed", [OFFER], replace(other, entry=unsigned(other.entry))),
        ("K5", "another holder with the receiver's signature", [OFFER], replace(other, entry=AT.entry(1))),
        ("R7", "another holder, that sealed to too few", [OFFER], AT.sealed_by(5, 2)),
    ]
    return [AT.vector(rule, name, accepted, AT.message(body)) for rule, name, accepted, body in bad]


def unsigned(entry: Entry) -> Entry:
    """The entry with zeros for a signature."""
    return replace(entry, signature=bytes(64))


def sums() -> list[Vector]:
    """H1, H4, H2, W13, and other wire rules at the fourth stage."""
    p, good = ROUND.packing, AT.total
    cut = packed_bytes(p.coefficients, p.sent_bits)

    def survivors(*clients: int) -> bytes:
        return AT.message(replace(good, survived=clients))

    beyond = patched(TOTAL, SUM_AT + cut - 1, u8(TOTAL[SUM_AT + cut - 1] | 1 << 7))
    at_set = HEADER.size + 64
    bad = [
        ("H1", "one bit of the payload", flipped(TOTAL, len(TOTAL) - 3)),
        ("H1", "one bit of the key's id", flipped(TOTAL, HEADER.size)),
        ("H1", "another set, and the digest of the good one", patched(TOTAL, at_set, u8(0b000111))),
        ("H4", "a sum over three", survivors(1, 2, 5)),
        ("H4", "a sum over one", survivors(5)),
        ("H4", "a sum over nobody", survivors()),
        ("H4", "a sum over three, under another key", AT.message(replace(good, survived=(1, 2, 5), key_id=bytes(32)))),
        ("H2", "a sum under another key", AT.message(replace(good, key_id=seed("he/another key id")))),
        ("W10", "a sum over one that has no key", survivors(1, 2, 5, 8, 30)),
        (
            "W14",
            "a set with a bit beyond the cohort",
            with_digest(patched(TOTAL, at_set, u8(TOTAL[at_set] | 1 << 6)), 32),
        ),
        ("W13", "a bit beyond the first polynomial's coefficients", with_digest(beyond, 32)),
        ("W11", "a payload of a word more", AT.message(replace(good, payload=good.payload + bytes(8)))),
        ("W8", "a byte more", TOTAL + bytes(1)),
        ("W8", "a set of two bytes", TOTAL[:at_set] + bytes(1) + TOTAL[at_set:]),
    ]
    return [AT.vector(rule, name, AT.requests[:3], message) for rule, name, message in bad]


def wrong_sums() -> list[Vector]:
    """H5: good ciphertexts of something else than the sum over those that it is said to be of."""
    p = ROUND.packing
    cut, unit = 2**p.sent_bits, 2 ** (p.sent_bits - p.plain_bits)

    def added(index: int, by: int) -> bytes:
        """The plaintext's coefficient changed in the ciphertext, without a look at it."""

        def change(total: Ciphertext) -> Ciphertext:
            first = list(total.first)
            first[index] = (first[index] + by) % cut
            return replace(total, first=tuple(first))

        return AT.total_with(change)

    zero = Ciphertext((0,) * p.coefficients, (0,) * p.ring.degree)
    noise = Ciphertext(
        tuple(seeded_integer(f"he/noise/{i}", cut) for i in range(p.coefficients)),
        AT.ciphertext_of(2).second,
    )
    tags_at = p.coefficients - 1
    bad = {
        "one more in the first lane": added(0, unit),
        "one less in the first lane": added(0, -unit),
        "one more in the last coefficient, where the tags are": added(tags_at, unit),
        "a client more in the set than in the sum": AT.message(replace(AT.total, survived=(1, 2, 5, 9, 30))),
        "a client in the set for another that is in the sum": AT.message(replace(AT.total, survived=(1, 2, 5, 9))),
        "one client's ciphertext twice": AT.total_with(lambda total: add(total, AT.ciphertext_of(2), p)),
        "ciphertexts of nothing": AT.message(replace(AT.total, payload=sum_payload(zero, p))),
        "one client's ciphertext, for a sum over all": AT.total_with(lambda _: AT.ciphertext_of(2)),
        "noise": AT.total_with(lambda _: noise),
    }
    return [AT.vector("H5", name, AT.requests[:3], message) for name, message in bad.items()]


def orders() -> list[Vector]:
    """R4 and R5: good messages at the wrong time, and good messages after a bad one."""
    three = AT.requests[:3]
    vectors = [
        AT.vector("R4", "exchange keys first", [], EXCHANGE_KEYS),
        AT.vector("R4", "the exchange keys again", [OFFER, EXCHANGE_KEYS], EXCHANGE_KEYS),
        AT.vector("R4", "the exchange keys behind the input", three, EXCHANGE_KEYS),
        AT.vector("R4", "a sum before the exchange keys", [OFFER], TOTAL),
        AT.vector("R4", "the sealed key after the sum", [OFFER, EXCHANGE_KEYS, TOTAL], SEALED_KEY),
        AT.vector("R4", "the sum again, without an input", [OFFER, EXCHANGE_KEYS, TOTAL], TOTAL),
        AT.vector("R4", "the sealed key again", three, SEALED_KEY),
        AT.vector("R4", "the sum again", AT.requests, TOTAL),
        AT.vector("R4", "the offer after the end", AT.requests, OFFER),
    ]
    refused = flipped(TOTAL, len(TOTAL) - 3)
    fewer = AT.message(replace(AT.total, survived=(1, 2, 5)))
    for name, bad, rule in (("one that was changed", refused, "H1"), ("one over too few", fewer, "H4")):
        after = AT.vector("R5", f"the good sum after {name}", [*three, bad], TOTAL)
        after["requests"][3]["rule"] = rule
        vectors.append(after)
    twice = AT.exchange_keys({9: signed(9, AT.entries[5].public)})
    after = AT.vector("R5", "good exchange keys after a key twice", [OFFER, twice], EXCHANGE_KEYS)
    after["requests"][1]["rule"] = "K4"
    return [*vectors, after]
