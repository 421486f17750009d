"""The client: each step a pure function of its secrets, of its vector and of the messages that it received.

Nothing is remembered between steps. Each reads all earlier messages again, so every step states what it depends on.
What the client refuses is in `received`.
"""

from dataclasses import dataclass

from protocols.encoding.lanes import pack, to_ring_words
from protocols.he_aggregation import agreed, keys
from protocols.he_aggregation.bodies import Body, Ciphertexts, ExchangeKey, Opened, SealedKeys
from protocols.he_aggregation.ciphers import AnyRandomness, encrypt
from protocols.he_aggregation.messages import encode
from protocols.he_aggregation.parameters import binding, packing_of_round
from protocols.he_aggregation.received import (
    entry_of,
    header_of_sealed_keys,
    own_round_key,
    read_exchange_keys,
    read_offer,
    read_sealed_key,
    read_total,
)
from protocols.he_aggregation.tags import with_tags
from protocols.notation import RuleBroken, require
from protocols.pairwise_masking.agreed import ring_of_round
from protocols.pairwise_masking.participant import Client
from protocols.wire.bodies import Type
from protocols.wire.reference import check_header
from protocols.wire.specification import Specification


@dataclass(frozen=True)
class Contribution:
    """What a client brings to the input stage."""

    lanes: list[int]  # of its update and scalars
    randomness: AnyRandomness


def from_client(client: Client, s: Specification, suite: int, body: Body) -> bytes:
    """A message of the client."""
    return encode(body, suite, agreed.session(s), s.round, client.id)


def advertise(client: Client, suite: int, offer: bytes) -> bytes:
    """Stage 1: OFFER → EXCHANGE_KEY."""
    s = read_offer(client, suite, offer)
    return from_client(client, s, suite, ExchangeKey(entry_of(client, s)))


def seal_keys(client: Client, suite: int, offer: bytes, exchange_keys: bytes) -> bytes:
    """Stage 2, the key holder: EXCHANGE_KEYS → SEALED_KEYS."""
    s = read_offer(client, suite, offer)
    entries = read_exchange_keys(client, s, suite, exchange_keys)
    B, key, count = binding(s, suite), own_round_key(client, s, suite), len(entries) - 1
    private = keys.exchange_private_key(client.round_secret, agreed.session(s))
    front = header_of_sealed_keys(s, suite, client.id, count)
    sealed = {}
    for j, entry in entries.items():
        if j != client.id:
            sealing = keys.sealing_key(private, entry.public, B, client.id, j, count)
            sealed[j] = keys.seal(sealing, key, front, j)
    return from_client(client, s, suite, SealedKeys(keys.key_id(B, key), sealed))


def encrypted_input(
    client: Client, suite: int, offer: bytes, exchange_keys: bytes | None, sealed_key: bytes, brought: Contribution
) -> bytes:
    """Stage 3: SEALED_KEY → CIPHERTEXTS. Only the key holder has been sent exchange keys."""
    s = read_offer(client, suite, offer)
    key = read_sealed_key(client, s, suite, exchange_keys is not None, sealed_key)
    B, p = binding(s, suite), packing_of_round(s, suite)
    lanes = with_tags(key, B, client.id, brought.lanes, s.bits)
    payload = encrypt(lanes, keys.secret_polynomial(key, B, p.ring), p, brought.randomness)
    return from_client(client, s, suite, Ciphertexts(keys.key_id(B, key), payload))


def open_total(client: Client, suite: int, offer: bytes, exchange_keys: bytes, ciphertext_sum: bytes) -> bytes:
    """Stage 4, the key holder, whether or not it was asked for an input: CIPHERTEXT_SUM → OPENED."""
    s = read_offer(client, suite, offer)
    recipients = frozenset(read_exchange_keys(client, s, suite, exchange_keys))
    _, sums = read_total(client, s, suite, recipients, ciphertext_sum)
    ring = ring_of_round(s)
    return from_client(client, s, suite, Opened(pack(to_ring_words(sums, ring), ring.bits)))


def replies(client: Client, suite: int, brought: Contribution, requests: list[bytes]) -> list[bytes | RuleBroken]:
    """What the client makes of the requests, in their order: a message, or the rule that one broke."""
    outcomes: list[bytes | RuleBroken] = []
    for at in range(len(requests)):
        try:
            outcomes.append(reply(client, suite, brought, requests[: at + 1], outcomes))
        except RuleBroken as broken:
            outcomes.append(broken)
    return outcomes


def reply(
    client: Client, suite: int, brought: Contribution, requests: list[bytes], outcomes: list[bytes | RuleBroken]
) -> bytes:
    """The answer to the last request. Raises R5 once an earlier one was refused, R4 after the end."""
    require(not any(isinstance(earlier, RuleBroken) for earlier in outcomes), "R5", "refused before")
    match requests:
        case [offer]:
            return advertise(client, suite, offer)
        case [offer, exchange_keys] if says(exchange_keys, Type.EXCHANGE_KEYS):
            return seal_keys(client, suite, offer, exchange_keys)
        case [offer, sealed_key]:
            return encrypted_input(client, suite, offer, None, sealed_key, brought)
        case [offer, exchange_keys, ciphertext_sum] if holds(requests) and says(ciphertext_sum, Type.CIPHERTEXT_SUM):
            return open_total(client, suite, offer, exchange_keys, ciphertext_sum)
        case [offer, exchange_keys, sealed_key] if holds(requests):
            return encrypted_input(client, suite, offer, exchange_keys, sealed_key, brought)
        case [offer, exchange_keys, third, ciphertext_sum] if holds(requests) and says(third, Type.SEALED_KEY):
            return open_total(client, suite, offer, exchange_keys, ciphertext_sum)
    check_header(requests[-1], agreed.nothing(read_offer(client, suite, requests[0]), suite))
    raise AssertionError("a decoder that expects nothing accepts nothing")


def says(message: bytes, type_: Type) -> bool:
    """Whether it says that it is of this type: what it must be where it says another is for a decoder to find."""
    return message[5:6] == bytes([type_])


def holds(requests: list[bytes]) -> bool:
    """Whether the client is the key holder, by the requests that it answered."""
    return says(requests[1], Type.EXCHANGE_KEYS)


__all__ = ["Client", "Contribution", "advertise", "encrypted_input", "open_total", "replies", "reply", "seal_keys"]
