"""What a client reads in each request, and what it refuses: the rules in the order of the README.

Each function reads the earlier messages again, so it states all that it depends on. (`remembered`: it is not
computed again for the same arguments.)
"""

from functools import lru_cache

from protocols.encoding.layout import layout_digest
from protocols.notation import H, RuleBroken, require
from protocols.pairwise_masking import agreed, graph, keys, shamir, signatures
from protocols.pairwise_masking.participant import Client, check_policy, entry_of, secrets_of
from protocols.wire.bodies import Agreement, Delivery, Entry, NamedDelivery, Offer, Roster, Sender, Survivors, Type
from protocols.wire.reference import PAIRWISE_MASKS, SHARE_BYTES, decode, encode_set, header
from protocols.wire.specification import NAMED_LATER, Specification

Entries = dict[int, Entry]
remembered = lru_cache(maxsize=1024)


@remembered
def read_offer(client: Client, offer: bytes) -> Specification:
    """The specification, once the client has agreed to it. Raises W and R rules, R7, O1, O2, K6, R11."""
    body = decode(offer, agreed.offer())
    assert isinstance(body, Offer)
    s = body.specification
    require(client.id in s.cohort, "R7", f"client {client.id} is not in the cohort")
    check_policy(client, s)
    if client.layout is not None:
        require(s.layout == layout_digest(client.layout), "O2", "another layout")
        require(s.values == client.layout.values, "O2", f"{s.values} values")
        require(s.scalars == len(client.layout.scalars), "O2", f"{s.scalars} scalars")
    if s.malicious:
        signatures.check_known(s.cohort, client.known)
    check_record(s, client.last_input)
    return s


def check_record(s: Specification, last_input: int | None) -> None:
    """Raise R11 where the record holds an input for this round or a later one."""
    require(last_input is None or s.round > last_input, "R11", f"round {s.round} after an input for {last_input}")


def own_pick_secret(client: Client, s: Specification) -> bytes:
    """The client's own r."""
    return secrets_of(client, agreed.session(s)).pick


@remembered
def read_roster(client: Client, s: Specification, roster: bytes) -> Entries:
    """The entries of U1. Raises W and R rules, R7, K3, K4, then K2, K1, K5 of the client's holders."""
    body = decode(roster, agreed.roster(s))
    assert isinstance(body, Roster)
    entries = body.entries
    require(client.id in entries, "R7", f"client {client.id} is not in the roster")
    require(len(entries) >= graph.parameters(s).inputs, "R7", f"a roster of {len(entries)}")
    holders = graph.holders(s, client.id, own_pick_secret(client, s)) & frozenset(entries)
    require(len(holders) >= graph.parameters(s).threshold, "R7", f"{len(holders)} holders in the roster")
    require(entries[client.id] == entry_of(client, s), "K3", f"not the entry of client {client.id}")
    everything = [key for entry in entries.values() for key in (entry.channel_key, entry.mask_key)]
    for key in everything:
        require(everything.count(key) == 1, "K4", f"a key occurs twice: {key.hex()}")
    # The mask picks are among the holders.
    for j in sorted(holders - {client.id}):
        check_entry(client, s, j, entries[j])
    return entries


def check_entry(client: Client, s: Specification, other: int, entry: Entry) -> None:
    """Raise K2, K1 or K5 for an entry whose keys the client is about to use."""
    keys.check_canonical(entry.channel_key)
    keys.check_canonical(entry.mask_key)
    keys.check_order(entry.channel_key)
    keys.check_order(entry.mask_key)
    if s.malicious:
        digest = signatures.advertisement_digest(agreed.session(s), other, entry)
        signatures.verify(client.known[other], digest, entry.signature, "K5")


@remembered
def read_delivery(client: Client, s: Specification, roster: bytes, delivery: bytes) -> Delivery:
    """U2, and what the senders sent.

    Raises W and R rules; in a prepared round R12, R11; R8, G3, then sender by sender G1, G2, K2, K1, K5.
    """
    entries, p = read_roster(client, s, roster), graph.parameters(s)
    body = decode(delivery, agreed.delivery(s, client.id, entries))
    if isinstance(body, NamedDelivery):
        require(body.model != NAMED_LATER, "R12", "a prepared round without a model")
        check_record(s, client.last_input if client.last_input_since is None else client.last_input_since)
        body = body.delivery
    assert isinstance(body, Delivery)
    U2, own = frozenset(body.shared), own_pick_secret(client, s)
    require(client.id in U2, "R8", f"client {client.id} has not shared")
    require(len(U2) >= p.inputs, "R8", f"shares of {len(U2)} clients")
    holders = graph.holders(s, client.id, own) & U2
    require(len(holders) >= p.threshold, "R8", f"{len(holders)} holders have shared")
    require(frozenset(body.senders) <= U2, "R8", "a sender that has not shared")
    if p.complete:
        require(frozenset(body.senders) == U2 - {client.id}, "R8", "a sender is missing")
    check_mask_survivors(s, client.id, own, U2)
    for i, sender in body.senders.items():
        promised = keys.promise(agreed.session(s), i, sender.pick_secret)
        require(promised == entries[i].promise, "G1", f"not what client {i} promised")
        require(client.id in graph.holders(s, i, sender.pick_secret), "G2", f"client {i} did not pick this one")
        check_entry(client, s, i, entries[i])
    return body


@remembered
def read_named(client: Client, s: Specification, roster: bytes, delivery: bytes) -> bytes:
    """S*. Pre-condition: the delivery was accepted."""
    body = decode(delivery, agreed.delivery(s, client.id, read_roster(client, s, roster)))
    return keys.named_session(agreed.session(s), body.model if isinstance(body, NamedDelivery) else None)


def check_mask_survivors(s: Specification, client: int, pick_secret: bytes, remaining: frozenset[int]) -> None:
    """Raise G3 where too few of that client's mask picks remain."""
    least = graph.parameters(s).mask_survivors
    left = graph.mask_picks(s, client, pick_secret) & remaining
    require(len(left) >= least, "G3", f"{len(left)} mask picks of client {client} are left")


def header_of_shares(s: Specification, sender: int, pick_secret: bytes, advertised: frozenset[int]) -> bytes:
    """The header of a SHARES message: sender and recipient both know it before they see one."""
    recipients = (graph.holders(s, sender, pick_secret) & advertised) - {sender}
    session = agreed.session(s)
    return header(Type.SHARES, PAIRWISE_MASKS, session, s.round, sender, len(recipients))


@remembered
def held_shares(client: Client, s: Specification, roster: bytes, delivery: bytes) -> dict[int, tuple[int, int]]:
    """The shares (of the self-mask seed, of the mask key) that the client holds, in a complete graph its own too.

    A delivered share that does not open (S4), or that is not below p (S1), is not held.
    """
    entries, body = read_roster(client, s, roster), read_delivery(client, s, roster, delivery)
    held = {i: open_shares(client, s, roster, entries, i, sender) for i, sender in body.senders.items()}
    if graph.parameters(s).complete:
        held[client.id] = own_shares(client, s, roster, client.id)
    return {i: pair for i, pair in sorted(held.items()) if pair is not None}


def open_shares(
    client: Client, s: Specification, roster: bytes, entries: Entries, i: int, sender: Sender
) -> tuple[int, int] | None:
    """The shares that one sender sealed for the client. None: they are not held."""
    session, P = agreed.session(s), H(roster)
    private = secrets_of(client, session).channel
    key = keys.channel_key(private, entries[i].channel_key, session, P, i, client.id)
    shares_header = header_of_shares(s, i, sender.pick_secret, frozenset(entries))
    try:
        both = keys.open_sealed(key, sender.sealed, shares_header, client.id)
        of_seed, of_key = (int.from_bytes(half, "big") for half in (both[:SHARE_BYTES], both[SHARE_BYTES:]))
        shamir.check_share(of_seed)
        shamir.check_share(of_key)
    except RuleBroken:
        return None
    return of_seed, of_key


def own_shares(client: Client, s: Specification, roster: bytes, holder: int) -> tuple[int, int]:
    """The client's own secrets, shared for one holder: of the self-mask seed and of the mask key."""
    session, P, t = agreed.session(s), H(roster), graph.parameters(s).threshold
    own = secrets_of(client, session)
    seed_polynomial = shamir.coefficients(client.round_secret, session, P, shamir.SELF_MASK_SEED, t)
    key_polynomial = shamir.coefficients(client.round_secret, session, P, shamir.MASK_KEY, t)
    return (
        shamir.share(int.from_bytes(own.seed, "big"), seed_polynomial, holder),
        shamir.share(int.from_bytes(own.mask, "big"), key_polynomial, holder),
    )


@remembered
def read_survivors(
    client: Client, s: Specification, roster: bytes, delivery: bytes, survivors: bytes
) -> frozenset[int]:
    """U3. Raises W and R rules, R9, G3."""
    shared = read_delivery(client, s, roster, delivery)
    body = decode(survivors, agreed.survivors(s))
    assert isinstance(body, Survivors)
    U3 = frozenset(body.survived)
    require(frozenset(shared.shared) >= U3, "R9", "a survivor that has not shared")
    require(client.id in U3, "R9", f"client {client.id} counts as dropped")
    require(len(U3) >= graph.parameters(s).inputs, "R9", f"{len(U3)} survivors")
    pick_secrets = {
        i: shared.senders[i].pick_secret for i in held_shares(client, s, roster, delivery) if i != client.id
    }
    pick_secrets[client.id] = own_pick_secret(client, s)
    for i in sorted(U3 & frozenset(pick_secrets)):
        check_mask_survivors(s, i, pick_secrets[i], U3)
    return U3


def consent_digest(client: Client, s: Specification, roster: bytes, delivery: bytes, survivors: bytes) -> bytes:
    """What the client signs, and finds the others' signatures of."""
    U2 = frozenset(read_delivery(client, s, roster, delivery).shared)
    U3 = read_survivors(client, s, roster, delivery, survivors)
    sets = [encode_set(sorted(members), s.cohort) for members in (U2, U3)]
    return signatures.consent_digest(read_named(client, s, roster, delivery), H(roster), *sets)


def input_digest(client: Client, s: Specification, roster: bytes, delivery: bytes) -> bytes:
    """What a client signs with its input, after what was delivered to it."""
    shared = read_delivery(client, s, roster, delivery).shared
    return signatures.input_digest(read_named(client, s, roster, delivery), H(roster), encode_set(shared, s.cohort))


def check_agreement(client: Client, s: Specification, earlier: list[bytes], agreement: bytes) -> None:
    """Raise W and R rules, then C1 in the order drawn, C2, then G4 by ascending id.

    Pre-condition: `earlier` are the ROSTER, DELIVERY and SURVIVORS, and were accepted.
    """
    roster, delivery, survivors = earlier
    shared = read_delivery(client, s, roster, delivery)
    U3 = read_survivors(client, s, roster, delivery, survivors)
    attesting = sorted(U3 & frozenset(shared.senders)) if graph.attested(s) else []
    body = decode(agreement, agreed.agreement(s, U3, len(attesting)))
    assert isinstance(body, Agreement)
    sample_key = secrets_of(client, agreed.session(s)).sample
    drawn = graph.consents_looked_for(s, sample_key, H(agreement))
    signers = [i for i in drawn if i in body.signatures]
    digest = consent_digest(client, s, roster, delivery, survivors)
    for i in signers:
        signatures.verify(client.known[i], digest, body.signatures[i], "C1")
    require(len(signers) >= graph.parameters(s).consents, "C2", f"{len(signers)} consents of {len(drawn)} drawn")
    held = held_shares(client, s, roster, delivery)
    for i, attestation in zip(attesting, body.attestations, strict=True):
        if i in held:
            signatures.verify(client.known[i], input_digest(client, s, roster, delivery), attestation, "G4")
