"""What a client refuses under a malicious server, in a sparse graph: what is not refused by all clients anyway.

The round: 20 clients, U1 without 2, U2 without 47 too, U3 = U4 without 41 too; L = 11, k = κ = 6, t = 4, τ = 5,
q = 10, θ = 9. Client 5 is looked at. Its picks are 2, 29, 37, 31, 3, 61; those who picked it and shared are 7, 17, 19,
31, 61, 67.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import combinations

from protocols.notation import H, u8, u64
from protocols.pairwise_masking import agreed, graph, keys, signatures
from protocols.pairwise_masking.at_client import AtClient, flipped, patched
from protocols.pairwise_masking.participant import Policy
from protocols.pairwise_masking.received import consent_digest
from protocols.pairwise_masking.scenario import SAMPLED, Scenario
from protocols.vector_files import Vector, VectorFile, seed
from protocols.wire.bodies import Agreement, Consent, Entry, Sender
from protocols.wire.reference import decode, encode_set
from protocols.wire.specification import MALICIOUS, SEMI_HONEST

LAST = 2**32 - 1
COHORT = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, LAST)
ROUND = Scenario("refused by a client, sparse", COHORT, SAMPLED)
DROPOUTS = {2: 1, 47: 2, 41: 3}
POLICY = Policy(
    least_server=MALICIOUS, least_corrupt=1, least_security=3, least_cohort=19, least_sum=6, greatest_clip=0.5
)
AT = AtClient(ROUND, DROPOUTS, 5, POLICY, last_input=3)
SPECIFICATION = ROUND.specification
U1 = frozenset(COHORT) - {2}
U2 = U1 - {47}
U3 = U2 - {41}
TEN = frozenset((3, 5, 7, 29, 31, 37, 53, 59, 61, 67))
"""Fewer than must survive, with five of the client's picks."""
OFFER, ROSTER, DELIVERY, SURVIVORS, AGREEMENT = AT.requests


def client_refuses_signed() -> VectorFile:
    """All of them."""
    file = VectorFile(
        "pairwise_masking",
        "client_refuses_signed",
        "Requests to one client, in their order: it answers those without a rule and refuses those with one. "
        "`good` is the number (from 0) of one of good_requests. The server is malicious, the graph sparse.",
        context=AT.context(),
    )
    file.vectors += offers() + rosters() + deliveries() + survivors() + agreements() + orders()
    return file


def offers() -> list[Vector]:
    """O1, K6 and R11 at the first stage."""
    fewer = COHORT[:-1]
    unknown = (*COHORT[:-1], LAST - 1)
    bad = [
        ("R7", "a cohort without the receiver", AT.offer(cohort=tuple(i for i in (1, *COHORT) if i != 5))),
        ("O1", "a semi-honest server", AT.offer(server=SEMI_HONEST)),
        ("O1", "fewer corrupt than the policy's", AT.offer(corrupt=0)),
        ("O1", "a bit of security under the policy", AT.offer(security=2)),
        ("O1", "sums of fewer than the policy's", AT.offer(cohort=fewer)),
        ("O2", "another layout", AT.offer(layout=seed("another layout"))),
        ("K6", "a client without an identity", AT.offer(cohort=unknown)),
        ("K6", "a client more, without an identity", AT.offer(cohort=(1, *COHORT))),
        ("R11", "the round of the last input", AT.offer(round=3)),
        ("O1", "sums of fewer than the policy's, and a round of the past", AT.offer(cohort=fewer, round=3)),
        ("O2", "another layout, and a client without an identity", AT.offer(cohort=unknown, layout=seed("another"))),
        ("K6", "a client without an identity, and a round of the past", AT.offer(cohort=unknown, round=3)),
    ]
    return [AT.vector(rule, name, [], message) for rule, name, message in bad]


def signed_by(client: int, signer: int, entry: Entry) -> Entry:
    """An entry of a client, signed with the identity key of another."""
    digest = signatures.advertisement_digest(agreed.session(SPECIFICATION), client, entry)
    return replace(entry, signature=signatures.sign(ROUND.identity_key(signer), digest))


def badly_signed(client: int) -> Entry:
    """The client's entry with one bit of its signature the other way."""
    entry = AT.entry(client)
    return replace(entry, signature=flipped(entry.signature, 0))


def unusable(client: int, u: int) -> Entry:
    """The client's entry with that coordinate for a channel key, signed."""
    return signed_by(client, client, replace(AT.entry(client), channel_key=u.to_bytes(32, "little")))


def rosters() -> list[Vector]:
    """R7, K3 and K5 at the second stage; the signatures of those whom client 5 did not pick it leaves alone."""
    good = AT.entries
    own = AT.entry(5)
    bad = [
        ("R7", "fewer than must survive", AT.roster_of(TEN)),
        ("R7", "three of the receiver's holders", AT.roster_of(U1 - {29, 37})),
        ("K3", "another signature of the receiver", AT.roster({5: badly_signed(5)})),
        (
            "K3",
            "another promise of the receiver, signed",
            AT.roster({5: signed_by(5, 5, replace(own, promise=bytes(32)))}),
        ),
        ("K4", "a holder's mask key is a stranger's too", AT.roster({7: replace(good[7], mask_key=good[29].mask_key)})),
        ("K5", "one bit of a signature", AT.roster({29: badly_signed(29)})),
        ("K5", "a signature by another client", AT.roster({29: signed_by(29, 31, good[29])})),
        ("K5", "a signature of another promise", AT.roster({29: replace(good[29], promise=good[31].promise)})),
        ("K5", "an entry that is signed for another client", AT.roster({29: signed_by(31, 29, AT.entry(2))})),
        ("K5", "no signature but zeros", AT.roster({29: replace(good[29], signature=bytes(64))})),
        ("K5", "a signature before a later client's key", AT.roster({29: badly_signed(29), 61: unusable(61, 1)})),
        ("K1", "a signed key of low order", AT.roster({61: unusable(61, 1)})),
        ("K2", "a signed key that is not canonical", AT.roster({3: unusable(3, keys.FIELD + 9)})),
        ("K1", "a key before a later client's signature", AT.roster({29: unusable(29, 0), 61: badly_signed(61)})),
        ("W8", "a roster without signatures", AT.roster({i: replace(e, signature=b"") for i, e in good.items()})),
    ]
    return [AT.vector(rule, name, [OFFER], message) for rule, name, message in bad]


def deliveries() -> list[Vector]:
    """R8, G1, G2, G3, and K1, K2, K5 of a sender that the client had no use for before."""
    good = AT.delivered.senders
    box = good[7].sealed
    three, eleven, late = (Sender(AT.pick_secret(i), box) for i in (3, 11, 47))
    own = replace(good[7], pick_secret=flipped(good[7].pick_secret, 0))
    bad = [
        ("R8", "a set of fewer than must survive", AT.delivery_of(TEN)),
        ("R8", "a set with three of the receiver's holders", AT.delivery_of(U2 - {29, 37})),
        ("R8", "a set without the receiver", AT.delivery({}, U2 - {5})),
        ("R8", "a sender that is not in the set", AT.delivery({47: late})),
        ("R8", "a sender that is taken out of the set", AT.delivery({}, U2 - {7})),
        ("W10", "one in the set that did not advertise", AT.delivery({}, U2 | {2})),
        ("W10", "a sender that did not advertise", AT.delivery({2: late})),
        ("W14", "a delivery's set with a bit beyond the cohort", patched(DELIVERY, 66, u8(DELIVERY[66] | 1 << 4))),
        ("G3", "four of the receiver's mask picks", AT.delivery_of(U2 - {29})),
        (
            "G3",
            "four of the receiver's mask picks, and a wrong pick secret",
            AT.delivery({7: own, 61: None}, U2 - {61}),
        ),
        ("G2", "a sender that did not pick the receiver", AT.delivery({3: three})),
        ("G1", "one bit of a pick secret", AT.delivery({7: own})),
        ("G1", "the pick secret of another, who picked the receiver", AT.delivery({3: good[7]})),
        ("G2", "a sender's picks before a later one's promise", AT.delivery({3: three, 7: own})),
        ("G1", "a sender's promise before a later one's picks", AT.delivery({7: own, 11: eleven})),
    ]
    vectors = [AT.vector(rule, name, [OFFER, ROSTER], message) for rule, name, message in bad]
    for rule, name, entry in (
        ("K5", "a sender whose signature is wrong", badly_signed(7)),
        ("K1", "a sender with a key of low order", unusable(7, 1)),
        ("K2", "a sender with a key that is not canonical", unusable(7, 2**255 - 1)),
    ):
        vectors.append(AT.vector(rule, name, [OFFER, AT.roster({7: entry})], DELIVERY))
    return vectors


def fails_alone() -> dict[int, frozenset[int]]:
    """A survivor that the client checks, with survivors that leave this one alone too few mask picks."""
    found: dict[int, frozenset[int]] = {}
    for gone in [set(some) for size in (1, 2) for some in combinations(sorted(U2 - {5}), size)]:
        survived = U2 - gone
        looked_at = survived & {5, *AT.delivered.senders}
        failing = [i for i in looked_at if len(AT.mask_picks(i) & survived) < 5]
        if len(failing) == 1:
            found.setdefault(failing[0], survived)
    return found


def survivors() -> list[Vector]:
    """R9 and G3 at the fourth stage."""
    bad = [
        ("R9", "a survivor that has not shared", AT.survivors(*U3, 47)),
        ("R9", "the receiver has dropped out", AT.survivors(*U2 - {5})),
        ("R9", "too few survivors", AT.survivors(*TEN)),
        ("W14", "the survivors' set with a bit beyond the cohort", patched(SURVIVORS, 66, u8(SURVIVORS[66] | 1 << 7))),
    ]
    for client, survived in sorted(fails_alone().items()):
        who = "the receiver" if client == 5 else f"client {client}"
        bad.append(("G3", f"four mask picks are left to {who}", AT.survivors(*survived)))
    return [AT.vector(rule, name, [OFFER, ROSTER, DELIVERY], message) for rule, name, message in bad]


def read_agreement(agreement: bytes = AGREEMENT) -> Agreement:
    """An agreement, by default the good one."""
    body = decode(agreement, agreed.agreement(SPECIFICATION, U3, len(attesting())))
    assert isinstance(body, Agreement)
    return body


def attesting() -> list[int]:
    """Whose attestations the client is sent."""
    return sorted(U3 & frozenset(AT.delivered.senders))


def drawn(agreement: bytes) -> tuple[int, ...]:
    """Whose consent the client looks for in an agreement."""
    key = keys.sample_key(ROUND.round_secret(AT.id), agreed.session(SPECIFICATION))
    return graph.consents_looked_for(SPECIFICATION, key, H(agreement))


def agreement_of(signatures: dict[int, bytes], **attestations: bytes) -> bytes:
    """AGREEMENT with these signatures, and the good attestations but those given (a7: that of 7)."""
    good = dict(zip(attesting(), read_agreement().attestations, strict=True))
    changed = good | {int(name[1:]): attestation for name, attestation in attestations.items()}
    return AT.message(Agreement(dict(sorted(signatures.items())), tuple(changed.values())))


def agreements_of(size: int) -> Iterator[tuple[set[int], bytes]]:
    """AGREEMENTs with the good signatures of so many."""
    good = read_agreement().signatures
    for signers in combinations(sorted(good), size):
        yield set(signers), agreement_of({i: good[i] for i in signers})


def agreements() -> list[Vector]:
    """C1, C2, G4 and wire rules at the fifth stage."""
    good, accepted = read_agreement().signatures, [OFFER, ROSTER, DELIVERY, SURVIVORS]
    eight_drawn = next(m for signers, m in agreements_of(12) if len(signers & set(drawn(m))) == 8)
    other = consent_digest(AT.client, SPECIFICATION, ROSTER, DELIVERY, AT.survivors(*U2))
    others = {i: signatures.sign(ROUND.identity_key(i), other) for i in U3}
    attested, smaller = attestations_by(U2), attestations_by(U2 - {43})
    few = {i: good[i] for i in sorted(U3)[:8]}
    bad = [
        ("C1", "one bit of each signature", agreement_of({i: flipped(one, 63) for i, one in good.items()})),
        ("C1", "two signatures exchanged", drawn_one(lambda i, j: good | {i: good[j], j: good[i]})),
        ("C1", "one signature of other survivors", drawn_one(lambda i, _: good | {i: others[i]})),
        ("C1", "all signatures of other survivors", agreement_of(others)),
        ("C2", "eight signers", agreement_of(few)),
        ("C2", "twelve signers, of whom eight are drawn", eight_drawn),
        ("C2", "nobody", agreement_of({})),
        ("C1", "eight signers, whose signatures are wrong", agreement_of({i: others[i] for i in few})),
        ("G4", "one bit of an attestation", agreement_good(a7=flipped(attested[7], 0))),
        ("G4", "an attestation of a smaller U2", agreement_good(a31=smaller[31])),
        ("G4", "another client's attestation", agreement_good(a67=attested[61])),
        ("G4", "all attestations of a smaller U2", agreement_good(**{f"a{i}": smaller[i] for i in attesting()})),
        ("G4", "a consent for an attestation", agreement_good(a17=good[17])),
        ("C2", "eight signers, and a wrong attestation", agreement_of(few, a7=bytes(64))),
        ("C1", "wrong signatures, and a wrong attestation", agreement_of(others, a7=bytes(64))),
        ("W10", "the signature of one that is no survivor", agreement_of(good | {41: bytes(64)})),
        ("W11", "a signature less than signers", patched(AGREEMENT, 48, u64(16))[:-64]),
        ("W8", "an attestation less", AGREEMENT[:-64]),
        ("W8", "an attestation more", AGREEMENT + bytes(64)),
        ("W14", "the agreement's set with a bit beyond the cohort", patched(AGREEMENT, 66, u8(AGREEMENT[66] | 1 << 5))),
    ]
    return [AT.vector(rule, name, accepted, message) for rule, name, message in bad]


def attestations_by(shared: frozenset[int]) -> dict[int, bytes]:
    """What the survivors would sign with their inputs, had they been told of these."""
    U2_set = encode_set(sorted(shared), COHORT)
    digest = signatures.input_digest(agreed.session(SPECIFICATION), H(ROSTER), U2_set)
    return {i: signatures.sign(ROUND.identity_key(i), digest) for i in sorted(U3)}


def drawn_one(signatures_with: Callable[[int, int], dict[int, bytes]]) -> bytes:
    """The first agreement, changed at two signers, of whom the first is drawn."""
    changed = ((i, agreement_of(signatures_with(i, j))) for i, j in combinations(sorted(U3), 2))
    return next(message for i, message in changed if i in drawn(message))


def agreement_good(**attestations: bytes) -> bytes:
    """The first agreement with these attestations and good signatures of all or all but some, that holds.

    As its draw depends on every byte, not each one has enough consents.
    """
    good = read_agreement().signatures
    some = (gone for size in range(3) for gone in combinations(sorted(good), size))
    candidates = (agreement_of({i: good[i] for i in good if i not in gone}, **attestations) for gone in some)
    return next(m for m in candidates if len(set(drawn(m)) & set(read_agreement(m).signatures)) >= 9)


def orders() -> list[Vector]:
    """R4: the messages of the fourth and fifth stage at the wrong time."""
    consent = AT.message(Consent(bytes(64)))
    return [
        AT.vector("R4", "an agreement before the survivors", AT.requests[:3], AGREEMENT),
        AT.vector("R4", "the survivors again", AT.requests[:4], SURVIVORS),
        AT.vector("R4", "a consent", AT.requests[:3], consent),
        AT.vector("R4", "the agreement again", AT.requests, AGREEMENT),
        AT.vector("R4", "the survivors after the end", AT.requests, SURVIVORS),
    ]
