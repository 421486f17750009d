"""The client: each step a pure function of its secrets and of the messages that it received.

Nothing is remembered between steps. Each reads all earlier messages again, so every step states what it
depends on, and a restarted client gives the same answers. What it refuses is in `received`.
"""

from protocols.encoding.lanes import pack
from protocols.notation import H, RuleBroken, require
from protocols.pairwise_masking import agreed, graph, keys
from protocols.pairwise_masking.participant import Client, entry_of, secrets_of
from protocols.pairwise_masking.received import (
    check_agreement,
    consent_digest,
    header_of_shares,
    held_shares,
    input_digest,
    own_shares,
    read_delivery,
    read_named,
    read_offer,
    read_roster,
    read_survivors,
)
from protocols.wire.bodies import Advertisement, Body, Consent, Input, Release, Shares
from protocols.wire.reference import PAIRWISE_MASKS, SHARE_BYTES, decode, encode
from protocols.wire.specification import Specification


def from_client(client: Client, s: Specification, body: Body) -> bytes:
    """A message of the client."""
    return encode(body, PAIRWISE_MASKS, agreed.session(s), s.round, client.id)


def advertise(client: Client, offer: bytes) -> bytes:
    """Stage 1: OFFER → ADVERTISEMENT."""
    s = read_offer(client, offer)
    return from_client(client, s, Advertisement(entry_of(client, s)))


def share_seeds(client: Client, offer: bytes, roster: bytes) -> bytes:
    """Stage 2: ROSTER → SHARES."""
    s = read_offer(client, offer)
    entries = read_roster(client, s, roster)
    session, P = agreed.session(s), H(roster)
    own = secrets_of(client, session)
    shares_header = header_of_shares(s, client.id, own.pick, frozenset(entries))
    sealed = {}
    for j in sorted((graph.holders(s, client.id, own.pick) & frozenset(entries)) - {client.id}):
        key = keys.channel_key(own.channel, entries[j].channel_key, session, P, client.id, j)
        both = b"".join(share.to_bytes(SHARE_BYTES, "big") for share in own_shares(client, s, roster, j))
        sealed[j] = keys.seal(key, both, shares_header, j)
    return from_client(client, s, Shares(own.pick, keys.commitment(session, client.id, own.seed), sealed))


def masked_input(client: Client, offer: bytes, roster: bytes, delivery: bytes, ring_words: list[int]) -> bytes:
    """Stage 3: DELIVERY, in a prepared round NAMED_DELIVERY → INPUT.

    Pre-condition: the update was trained from the specification's model, in a prepared round from the named one; as
    many ring words as the specification says, each below 2^R.
    """
    s = read_offer(client, offer)
    entries = read_roster(client, s, roster)
    shared = read_delivery(client, s, roster, delivery)
    session, P, ring = read_named(client, s, roster, delivery), H(roster), agreed.ring_of_round(s)
    assert len(ring_words) == agreed.ring_words_of_round(s)
    own = secrets_of(client, agreed.session(s))
    peers = graph.mask_picks(s, client.id, own.pick) & frozenset(shared.shared)
    peers |= {i for i, sender in shared.senders.items() if client.id in graph.mask_picks(s, i, sender.pick_secret)}
    masked = list(ring_words)
    keys.add(masked, +1, keys.mask(keys.self_mask_key(own.seed, session, client.id), len(masked), ring.bits))
    for j in sorted(peers):
        key = keys.pairwise_mask_key(own.mask, entries[j].mask_key, session, P, client.id, j)
        keys.add(masked, +1 if j > client.id else -1, keys.mask(key, len(masked), ring.bits))
    words = pack([word % 2**ring.bits for word in masked], ring.bits)
    attestation = client.sign(input_digest(client, s, roster, delivery)) if graph.attested(s) else b""
    return from_client(client, s, Input(words, attestation))


def consent(client: Client, offer: bytes, roster: bytes, delivery: bytes, survivors: bytes) -> bytes:
    """Stage 4, under a malicious server: SURVIVORS → CONSENT."""
    s = read_offer(client, offer)
    return from_client(client, s, Consent(client.sign(consent_digest(client, s, roster, delivery, survivors))))


def release(
    client: Client, offer: bytes, roster: bytes, delivery: bytes, survivors: bytes, agreement: bytes | None = None
) -> bytes:
    """Stage 5: SURVIVORS, or under a malicious server AGREEMENT → RELEASE."""
    s = read_offer(client, offer)
    U3 = read_survivors(client, s, roster, delivery, survivors)
    if agreement is not None:
        check_agreement(client, s, [roster, delivery, survivors], agreement)
    held = held_shares(client, s, roster, delivery)
    return from_client(client, s, Release({i: of_seed if i in U3 else of_key for i, (of_seed, of_key) in held.items()}))


def replies(client: Client, ring_words: list[int], requests: list[bytes]) -> list[bytes | RuleBroken]:
    """What the client makes of the requests, in their order: a message, or the rule that one broke."""
    outcomes: list[bytes | RuleBroken] = []
    for stage in range(len(requests)):
        try:
            outcomes.append(reply(client, ring_words, requests[: stage + 1], outcomes))
        except RuleBroken as broken:
            outcomes.append(broken)
    return outcomes


def reply(client: Client, ring_words: list[int], requests: list[bytes], outcomes: list[bytes | RuleBroken]) -> bytes:
    """The answer to the last request. Raises R5 once an earlier one was refused, R4 after the end."""
    require(not any(isinstance(earlier, RuleBroken) for earlier in outcomes), "R5", "refused before")
    match requests:
        case [offer]:
            return advertise(client, offer)
        case [offer, roster]:
            return share_seeds(client, offer, roster)
        case [offer, roster, delivery]:
            return masked_input(client, offer, roster, delivery, ring_words)
        case [offer, roster, delivery, survivors]:
            step = consent if read_offer(client, offer).malicious else release
            return step(client, offer, roster, delivery, survivors)
        case [offer, roster, delivery, survivors, agreement] if read_offer(client, offer).malicious:
            return release(client, offer, roster, delivery, survivors, agreement)
    decode(requests[-1], agreed.nothing(read_offer(client, requests[0])))
    raise AssertionError("a decoder that expects nothing accepts nothing")
