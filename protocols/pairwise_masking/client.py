"""The client: each step a pure function of its round secret and of the messages that it received.

Nothing is remembered between steps. Each reads all earlier messages again, so every step states what it
depends on, and a restarted client gives the same answers.
"""

from dataclasses import dataclass

from protocols.encoding.lanes import pack
from protocols.encoding.layout import Layout, layout_digest
from protocols.notation import H, RuleBroken, require
from protocols.pairwise_masking import agreed, keys, shamir
from protocols.wire.reference import (
    PAIRWISE_MASKS,
    SHARE_BYTES,
    Advertisement,
    Delivery,
    Input,
    Offer,
    Release,
    Roster,
    Shares,
    Specification,
    Survivors,
    Type,
    decode,
    encode,
    header,
)


@dataclass(frozen=True)
class Policy:
    """What the client asks of a specification (rule O1)."""

    least_cohort: int = 1
    least_threshold: int = 1
    greatest_clip: float = float("inf")
    least_bits: int = 2


@dataclass(frozen=True)
class Client:
    """Who the client is: all that its answers depend on but what it receives."""

    id: int
    round_secret: bytes  # ρ, 32 bytes for one session alone
    policy: Policy = Policy()
    layout: Layout | None = None  # of its updates (rule O2); None: whatever the specification says


@dataclass(frozen=True)
class Keys:
    """A client's secrets in one session, as raw bytes."""

    channel: bytes
    mask: bytes  # s
    seed: bytes  # b

    @property
    def advertisement(self) -> Advertisement:
        """The two public keys."""
        return Advertisement(keys.public_key(self.channel), keys.public_key(self.mask))


def keys_of(client: Client, session: bytes) -> Keys:
    """The secrets that follow from the round secret."""
    return Keys(
        channel=keys.channel_private_key(client.round_secret, session),
        mask=keys.mask_private_key(client.round_secret, session),
        seed=keys.self_mask_seed(client.round_secret, session),
    )


# Stage 1


def advertise(client: Client, offer: bytes) -> bytes:
    """OFFER → ADVERTISEMENT. Raises W and R rules, R7, O1, O2."""
    s = read_offer(client, offer)
    session = agreed.session(s)
    return encode(keys_of(client, session).advertisement, PAIRWISE_MASKS, session, s.round, client.id)


def read_offer(client: Client, offer: bytes) -> Specification:
    """The specification, once the client has agreed to it."""
    body = decode(offer, agreed.offer())
    assert isinstance(body, Offer)
    s, policy = body.specification, client.policy
    require(client.id in s.cohort, "R7", f"client {client.id} is not in the cohort")
    require(len(s.cohort) >= policy.least_cohort, "O1", f"a cohort of {len(s.cohort)}")
    require(s.threshold >= policy.least_threshold, "O1", f"a threshold of {s.threshold}")
    require(s.clip <= policy.greatest_clip, "O1", f"a clip of {s.clip}")
    require(s.bits >= policy.least_bits, "O1", f"{s.bits} bits a value")
    if client.layout is not None:
        require(s.layout == layout_digest(client.layout), "O2", "another layout")
        require(s.values == client.layout.values, "O2", f"{s.values} values")
        require(s.scalars == len(client.layout.scalars), "O2", f"{s.scalars} scalars")
    return s


# Stage 2


def share_seeds(client: Client, offer: bytes, roster: bytes) -> bytes:
    """ROSTER → SHARES. Raises W and R rules, R7, K1–K4."""
    s = read_offer(client, offer)
    everyone = read_roster(client, s, roster)
    session, P = agreed.session(s), H(roster)
    own = keys_of(client, session)
    recipients = [j for j in everyone if j != client.id]
    shares_header = header_of_shares(s, client.id, len(everyone))
    sealed = {}
    for j in recipients:
        key = keys.channel_key(own.channel, everyone[j].channel_key, session, P, client.id, j)
        both = b"".join(share.to_bytes(SHARE_BYTES, "big") for share in own_shares(client, s, P, j))
        sealed[j] = keys.seal(key, both, shares_header, j)
    body = Shares(keys.commitment(session, client.id, own.seed), sealed)
    return encode(body, PAIRWISE_MASKS, session, s.round, client.id)


def read_roster(client: Client, s: Specification, roster: bytes) -> dict[int, Advertisement]:
    """The public keys of U1."""
    body = decode(roster, agreed.roster(s))
    assert isinstance(body, Roster)
    require(client.id in body.keys, "R7", f"client {client.id} is not in the roster")
    require(len(body.keys) >= s.threshold, "R7", f"a roster of {len(body.keys)}")
    everything = [key for both in body.keys.values() for key in (both.channel_key, both.mask_key)]
    for key in everything:
        keys.check_public_key(key)
    own = keys_of(client, agreed.session(s)).advertisement
    require(body.keys[client.id] == own, "K3", f"not the keys of client {client.id}")
    for key in everything:
        require(everything.count(key) == 1, "K4", f"a key occurs twice: {key.hex()}")
    return body.keys


def own_shares(client: Client, s: Specification, P: bytes, recipient: int) -> tuple[int, int]:
    """The client's own secrets, shared for one recipient: of the self-mask seed and of the mask key."""
    session = agreed.session(s)
    own = keys_of(client, session)
    seed_polynomial = shamir.coefficients(client.round_secret, session, P, shamir.SELF_MASK_SEED, s.threshold)
    key_polynomial = shamir.coefficients(client.round_secret, session, P, shamir.MASK_KEY, s.threshold)
    return (
        shamir.share(int.from_bytes(own.seed, "big"), seed_polynomial, recipient),
        shamir.share(int.from_bytes(own.mask, "big"), key_polynomial, recipient),
    )


def header_of_shares(s: Specification, sender: int, roster_size: int) -> bytes:
    """The header of a SHARES message: sender and recipient both know it before they see one."""
    session = agreed.session(s)
    return header(Type.SHARES, PAIRWISE_MASKS, session, s.round, sender, roster_size - 1)


# Stage 3


def masked_input(client: Client, offer: bytes, roster: bytes, delivery: bytes, ring_words: list[int]) -> bytes:
    """DELIVERY → INPUT. Raises W and R rules, R8, S1, S4.

    Pre-condition: as many ring words as the specification says, each below 2^R.
    """
    s = read_offer(client, offer)
    everyone = read_roster(client, s, roster)
    shared = read_delivery(client, s, roster, delivery)
    session, P, ring = agreed.session(s), H(roster), agreed.ring_of_round(s)
    assert len(ring_words) == agreed.ring_words_of_round(s)
    own = keys_of(client, session)
    masked = list(ring_words)
    keys.add(masked, +1, keys.mask(keys.self_mask_key(own.seed, session, client.id), len(masked), ring.bits))
    for j in shared:
        if j != client.id:
            key = keys.pairwise_mask_key(own.mask, everyone[j].mask_key, session, P, client.id, j)
            keys.add(masked, +1 if j > client.id else -1, keys.mask(key, len(masked), ring.bits))
    words = pack([word % 2**ring.bits for word in masked], ring.bits)
    return encode(Input(words), PAIRWISE_MASKS, session, s.round, client.id)


def read_delivery(client: Client, s: Specification, roster: bytes, delivery: bytes) -> dict[int, tuple[int, int]]:
    """The shares (of the self-mask seed, of the mask key) of all of U2, the client's own among them."""
    everyone = read_roster(client, s, roster)
    body = decode(delivery, agreed.delivery(s, client.id, everyone))
    assert isinstance(body, Delivery)
    require(len(body.sealed) + 1 >= s.threshold, "R8", f"shares of {len(body.sealed)} others")
    session, P = agreed.session(s), H(roster)
    own = keys_of(client, session)
    shares = {client.id: own_shares(client, s, P, client.id)}
    for i, sealed in body.sealed.items():
        key = keys.channel_key(own.channel, everyone[i].channel_key, session, P, i, client.id)
        both = keys.open_sealed(key, sealed, header_of_shares(s, i, len(everyone)), client.id)
        of_seed, of_key = both[:SHARE_BYTES], both[SHARE_BYTES:]
        shares[i] = (int.from_bytes(of_seed, "big"), int.from_bytes(of_key, "big"))
    for pair in shares.values():
        for share in pair:
            shamir.check_share(share)
    return dict(sorted(shares.items()))


# Stage 4


def release(client: Client, offer: bytes, roster: bytes, delivery: bytes, survivors: bytes) -> bytes:
    """SURVIVORS → RELEASE. Raises W and R rules, R9."""
    s = read_offer(client, offer)
    shares = read_delivery(client, s, roster, delivery)
    survived = read_survivors(client, s, list(shares), survivors)
    body = Release({i: shares[i][0] if survived[i] else shares[i][1] for i in shares})
    return encode(body, PAIRWISE_MASKS, agreed.session(s), s.round, client.id)


def read_survivors(client: Client, s: Specification, shared: list[int], survivors: bytes) -> dict[int, bool]:
    """Who of U2 is in U3."""
    body = decode(survivors, agreed.survivors(s))
    assert isinstance(body, Survivors)
    require(list(body.survived) == shared, "R9", f"survivors {list(body.survived)}, shares of {shared}")
    require(body.survived[client.id], "R9", f"client {client.id} counts as dropped")
    require(sum(body.survived.values()) >= s.threshold, "R9", "fewer survivors than the threshold")
    return body.survived


# All stages


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
            return release(client, offer, roster, delivery, survivors)
    decode(requests[-1], agreed.nothing(read_offer(client, requests[0])))
    raise AssertionError("a decoder that expects nothing accepts nothing")
