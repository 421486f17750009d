"""What the server refuses in a sparse graph whose clients sign: what is not refused in a complete one too.

The round: 9 clients, all of U1, U2 without 3, U3 = U4 without 21 too, all of which release; L = 6, k = κ = 4,
t = τ = 3. Of the seeds of 34 and 55 four shares are released, of all others three.
"""

from collections.abc import Iterable
from dataclasses import replace

from protocols.notation import H, u8
from protocols.pairwise_masking import agreed, keys, signatures
from protocols.pairwise_masking.at_client import flipped, patched
from protocols.pairwise_masking.at_server import ADVANCE, AtServer, without
from protocols.pairwise_masking.scenario import SPARSE_MALICIOUS, Scenario
from protocols.vector_files import Vector, VectorFile, seed
from protocols.wire.bodies import Advertisement, Consent, Entry, Input, Roster, Shares
from protocols.wire.reference import PAIRWISE_MASKS, SERVER, decode, encode, encode_set

COHORT = (2, 3, 5, 8, 13, 21, 34, 55, 2**32 - 1)
ROUND = Scenario("refused by the server, sparse 1", COHORT, SPARSE_MALICIOUS)
AT = AtServer(ROUND, {3: 2, 21: 3})
U2 = frozenset(COHORT) - {3}
U3 = U2 - {21}
THRESHOLD = 3


def server_refuses_signed() -> VectorFile:
    """All of them."""
    file = VectorFile(
        "pairwise_masking",
        "server_refuses_signed",
        "Events of a round at the server: answers as they come in (client: the authenticated peer) and the "
        "end of a stage; those with a rule are refused. `good` is the stage of one of the client's good_answers. The "
        "server is one against which clients sign, the graph sparse.",
        context=AT.context(),
    )
    file.vectors += advertisements() + shares() + inputs() + consents() + releases() + combinations()
    return file


def advertised(client: int, entry: Entry) -> Vector:
    """An ADVERTISEMENT."""
    return AT.answer(client, AT.from_client(Advertisement(entry), client))


def signed(client: int, signer: int, entry: Entry) -> Entry:
    """An entry of a client, signed with the identity key of some client."""
    digest = signatures.advertisement_digest(agreed.session(AT.specification), client, entry)
    return replace(entry, signature=signatures.sign(ROUND.identity_key(signer), digest))


def with_key(u: int) -> Entry:
    """Client 8's entry with that coordinate for a channel key, signed."""
    return signed(8, 8, replace(AT.entry(8), channel_key=u.to_bytes(32, "little")))


def advertisements() -> list[Vector]:
    """K5 at the first stage, and what comes before it."""
    good, first = AT.entry(8), AT.entry(2)
    low = replace(with_key(1), signature=bytes(64))
    bad = [
        ("K5", "one bit of a signature", replace(good, signature=flipped(good.signature, 5))),
        ("K5", "no signature but zeros", replace(good, signature=bytes(64))),
        ("K5", "a signature by another client", signed(8, 5, good)),
        ("K5", "a signature of another promise", replace(good, promise=seed("another promise"))),
        ("K5", "another client's entry and signature", AT.entry(5)),
        ("W8", "no signature", replace(good, signature=b"")),
        ("K1", "a key of low order, and a wrong signature", low),
        ("K2", "a signed key that is not canonical", with_key(keys.FIELD)),
        ("K4", "a key twice, and a wrong signature", replace(good, mask_key=first.mask_key)),
    ]
    vectors = [AT.vector(rule, name, [*AT.good(1, 2), advertised(8, entry)]) for rule, name, entry in bad]
    return [*vectors, AT.vector("R4", "a consent at the first stage", AT.good(4, 8))]


def shared(client: int, body: Shares) -> list[Vector]:
    """The first stage, and that SHARES."""
    return [*AT.stages(1), AT.answer(client, AT.from_client(body, client))]


def other_picks() -> bytes:
    """A pick secret that is not client 8's: with other recipients, 3 among them, but as many as the promised one's."""
    candidates = (seed(f"another pick secret/{at}") for at in range(1000))
    return next(r for r in candidates if 3 in AT.recipients(8, r))


def boxes(recipients: Iterable[int]) -> dict[int, bytes]:
    """Sealed shares that nobody opens."""
    return {i: bytes(82) for i in sorted(recipients)}


def shares() -> list[Vector]:
    """W10, W11 and G1: the recipients follow from the pick secret that the message shows."""
    good = AT.shares(8)
    one = min(good.sealed)
    not_picked = min(set(AT.answers[1]) - set(good.sealed) - {8})
    exchanged = {not_picked if i == one else i: box for i, box in good.sealed.items()}
    other = other_picks()
    without_three = [*AT.good(1, *sorted(U2)), ADVANCE]
    return [
        AT.vector("G1", "another pick secret and its recipients", shared(8, with_picks(other))),
        AT.vector(
            "W10", "another pick secret and the promised one's recipients", shared(8, replace(good, pick_secret=other))
        ),
        AT.vector(
            "W11",
            "another pick secret and the promised one's recipients, of which it has not so many",
            [*without_three, AT.answer(8, AT.from_client(replace(good, pick_secret=other), 8))],
        ),
        AT.vector("W11", "a recipient less", shared(8, without(good, one))),
        AT.vector("W11", "all of the roster", shared(8, replace(good, sealed=boxes(set(AT.answers[1]) - {8})))),
        AT.vector(
            "W10", "a recipient that was not picked", shared(8, replace(good, sealed=dict(sorted(exchanged.items()))))
        ),
        AT.vector("W8", "half a pick secret", [*AT.stages(1), AT.answer(8, AT.answers[2][8][:80])]),
    ]


def with_picks(pick_secret: bytes) -> Shares:
    """Client 8's SHARES, had it another pick secret."""
    return replace(AT.shares(8), pick_secret=pick_secret, sealed=boxes(AT.recipients(8, pick_secret)))


def consent(client: int, signature: bytes) -> Vector:
    """A CONSENT."""
    return AT.answer(client, AT.from_client(Consent(signature), client))


def digest_of(P: bytes, U2: Iterable[int], U3: Iterable[int]) -> bytes:
    """What would be signed of that roster and these sets."""
    s = AT.specification
    sets = [encode_set(sorted(members), s.cohort) for members in (U2, U3)]
    return signatures.consent_digest(agreed.session(s), P, *sets)


def roster_digest() -> bytes:
    """P of the good round."""
    s = AT.specification
    roster = Roster({i: AT.entry(i) for i in sorted(AT.answers[1])})
    return H(encode(roster, PAIRWISE_MASKS, agreed.session(s), s.round, SERVER))


def attestation(client: int, shared: Iterable[int], P: bytes) -> bytes:
    """What a client would sign with its input, had it been told of that roster and these who shared."""
    s = AT.specification
    digest = signatures.input_digest(agreed.session(s), P, encode_set(sorted(shared), s.cohort))
    return signatures.sign(ROUND.identity_key(client), digest)


def inputs() -> list[Vector]:
    """G4 at the third stage, and W13 after it."""
    s, two, P = AT.specification, AT.stages(2), roster_digest()
    body = decode(AT.answers[3][8], agreed.masked_input(s, 8, attested=True))
    assert isinstance(body, Input)
    assert body.attestation == attestation(8, U2, P)
    beyond = [*body.words[:-1], body.words[-1] | 1 << 63]
    bad = [
        ("G4", "one bit of an attestation", replace(body, attestation=flipped(body.attestation, 10))),
        ("G4", "an attestation of a smaller U2", replace(body, attestation=attestation(8, U2 - {34}, P))),
        ("G4", "an attestation of a larger U2", replace(body, attestation=attestation(8, U2 | {3}, P))),
        ("G4", "an attestation of another roster", replace(body, attestation=attestation(8, U2, seed("another")))),
        ("G4", "another client's attestation", replace(body, attestation=attestation(5, U2, P))),
        ("W13", "a bit beyond the last ring word", replace(body, words=beyond)),
        ("G4", "a wrong attestation, and a bit beyond", replace(body, words=beyond, attestation=bytes(64))),
        ("W8", "no attestation", replace(body, attestation=b"")),
        ("W11", "a word less", replace(body, words=body.words[:-1])),
    ]
    return [AT.vector(rule, name, [*two, AT.answer(8, AT.from_client(b, 8))]) for rule, name, b in bad]


def consents() -> list[Vector]:
    """C1 at the fourth stage, and who may consent."""
    three, P = AT.stages(3), roster_digest()
    key = ROUND.identity_key(8)
    right = signatures.sign(key, digest_of(P, U2, U3))
    assert AT.answers[4][8][64:] == right
    bad = {
        "one bit of a signature": flipped(right, 40),
        "another client's signature": AT.answers[4][5][64:],
        "a signature of other survivors": signatures.sign(key, digest_of(P, U2, U3 - {5})),
        "a signature of others who shared": signatures.sign(key, digest_of(P, U2 - {21}, U3)),
        "a signature of another roster": signatures.sign(key, digest_of(seed("another roster"), U2, U3)),
        "the attestation of the input": attestation(8, U2, P),
        "the advertisement's signature": AT.entry(8).signature,
    }
    vectors = [AT.vector("C1", name, [*three, consent(8, signature)]) for name, signature in bad.items()]
    dropout = signatures.sign(ROUND.identity_key(21), digest_of(P, U2, U3))
    return [
        *vectors,
        AT.vector("R6", "the consent of one without an input", [*three, consent(21, dropout)]),
        AT.vector("R4", "a release at the fourth stage", [*three, *AT.good(5, 8)]),
        AT.vector("R3", "the same consent twice", [*three, *AT.good(4, 8), *AT.good(4, 8)]),
        AT.vector("W12", "another client's consent", [*three, AT.answer(8, AT.answers[4][5])]),
        AT.vector("R2", "a consent of another round", [*three, AT.answer(8, patched(AT.answers[4][8], 43, u8(99)))]),
    ]


def releases() -> list[Vector]:
    """R4, R6 and W10 at the fifth stage."""
    six = [*AT.stages(3), *AT.good(4, *sorted(U3 - {8})), ADVANCE]
    return [
        AT.vector("R6", "a release of one that did not consent", [*six, *AT.good(5, 8)]),
        AT.vector("R4", "a consent after its stage", [*AT.stages(4), *AT.good(4, 8)]),
        AT.vector("W10", "a share of one who did not share", [*AT.stages(4), AT.release(8, {3: 5})]),
    ]


def short(owner: int, responders: int) -> list[Vector]:
    """The releases of all, but of that client's seed only the first so many shares."""
    kept = AT.responders(owner)[:responders]
    return [
        AT.release(i, {owner: None} if owner in AT.released(i) and i not in kept else {}) for i in sorted(AT.answers[5])
    ]


def combinations() -> list[Vector]:
    """S3, S5 and S6: the round is over, and a seed is not to be had."""
    vectors = []
    for rule, owner, name in (("S5", 34, "the seed of a survivor"), ("S6", 21, "the mask key of a dropout")):
        needed = short(owner, THRESHOLD)
        liar = AT.responders(owner)[0]
        lie = [AT.wrong(liar, owner) if event["client"] == liar else event for event in needed]
        for broken, what, events in (
            ("S3", f"two shares of {name}", short(owner, THRESHOLD - 1)),
            (rule, f"three shares of {name}, of which one is wrong", lie),
        ):
            vectors.append(AT.vector(broken, what, [*AT.stages(4), *events, ADVANCE | {"seed_of": owner}]))
    liars = AT.responders(34)[:2]
    many = [AT.wrong(i, 34) if i in liars else AT.good(5, i)[0] for i in AT.answers[5]]
    events = [*AT.stages(4), *many, ADVANCE | {"seed_of": 34}]
    return [*vectors, AT.vector("S5", "four shares of a seed, of which two are wrong", events)]
