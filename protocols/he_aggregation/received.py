"""What a client reads in each request, and what it refuses: the rules in the order of the README.

Each function reads the earlier messages again, so it states all that it depends on.
"""

from protocols.encoding.layout import layout_digest
from protocols.he_aggregation import agreed, keys
from protocols.he_aggregation.bodies import CiphertextSum, Entry, ExchangeKeys, SealedKey
from protocols.he_aggregation.ciphers import decrypt, read_sum
from protocols.he_aggregation.messages import SEALED_BYTES, decode
from protocols.he_aggregation.parameters import binding, packing_of_round
from protocols.he_aggregation.tags import check_sum
from protocols.notation import RuleBroken, require
from protocols.pairwise_masking import signatures
from protocols.pairwise_masking.participant import Client
from protocols.wire import reference as wire
from protocols.wire.bodies import Offer, Type
from protocols.wire.reference import header
from protocols.wire.specification import Specification, least_survivors


def read_offer(client: Client, suite: int, offer: bytes) -> Specification:
    """The specification, once the client has agreed to it. Raises W and R rules, R7, O1, O2, H6, K6, R11."""
    body = wire.decode(offer, agreed.offer(suite))
    assert isinstance(body, Offer)
    s = body.specification
    require(client.id in s.cohort, "R7", f"client {client.id} is not in the cohort")
    check_policy(client, s)
    if client.layout is not None:
        require(s.layout == layout_digest(client.layout), "O2", "another layout")
        require(s.values == client.layout.values, "O2", f"{s.values} values")
        require(s.scalars == len(client.layout.scalars), "O2", f"{s.scalars} scalars")
    check_round(s, suite)
    if s.malicious:
        signatures.check_known(s.cohort, client.known)
    last = client.last_input
    require(last is None or s.round > last, "R11", f"round {s.round} after an input for round {last}")
    return s


def check_policy(client: Client, s: Specification) -> None:
    """Raise O1 for a specification that the client does not take part in; sums are over at least L clients."""
    adversary, policy, least = s.adversary, client.policy, least_survivors(len(s.cohort), s.adversary)
    require(adversary.server >= policy.least_server, "O1", f"a server of kind {adversary.server}")
    require(adversary.corrupt >= policy.least_corrupt, "O1", f"{adversary.corrupt} thousandths corrupt")
    require(adversary.security >= policy.least_security, "O1", f"{adversary.security} bits of security")
    require(len(s.cohort) >= policy.least_cohort, "O1", f"a cohort of {len(s.cohort)}")
    require(least >= policy.least_sum, "O1", f"a sum of {least}")
    require(s.clip <= policy.greatest_clip, "O1", f"a clip of {s.clip}")
    require(s.bits >= policy.least_bits, "O1", f"{s.bits} bits a value")
    require(not s.malicious or client.identity_key is not None, "O1", "no identity key to sign with")


def check_round(s: Specification, suite: int) -> None:
    """Raise H6 for corrupt clients, who would know the key, and for numbers without a packing."""
    require(s.adversary.corrupt == 0, "H6", f"{s.adversary.corrupt} thousandths corrupt")
    try:
        packing_of_round(s, suite)
    except RuleBroken as broken:
        raise RuleBroken("H6", broken.detail) from broken


def entry_of(client: Client, s: Specification) -> Entry:
    """What the client advertises."""
    session = agreed.session(s)
    public = keys.public_key(keys.exchange_private_key(client.round_secret, session))
    return Entry(public, client.sign(keys.entry_digest(session, client.id, public)) if s.malicious else b"")


def check_entry(client: Client, s: Specification, other: int, entry: Entry) -> None:
    """Raise K2, K1 or K5 for an entry whose key the client is about to use."""
    keys.check_canonical(entry.public)
    keys.check_order(entry.public)
    if s.malicious:
        digest = keys.entry_digest(agreed.session(s), other, entry.public)
        signatures.verify(client.known[other], digest, entry.signature, "K5")


def read_exchange_keys(client: Client, s: Specification, suite: int, message: bytes) -> dict[int, Entry]:
    """The entries of U1. Raises W and R rules, R7, K3, K4, then by ascending id K2, K1, K5 of the others."""
    body = decode(message, agreed.exchange_keys(s, suite))
    assert isinstance(body, ExchangeKeys)
    entries, least = body.entries, least_survivors(len(s.cohort), s.adversary)
    require(client.id in entries, "R7", f"client {client.id} is not in the list")
    require(len(entries) >= least, "R7", f"exchange keys of {len(entries)}")
    require(entries[client.id] == entry_of(client, s), "K3", f"not the entry of client {client.id}")
    publics = [entry.public for entry in entries.values()]
    for public in publics:
        require(publics.count(public) == 1, "K4", f"a key occurs twice: {public.hex()}")
    for i, entry in entries.items():
        if i != client.id:
            check_entry(client, s, i, entry)
    return entries


def header_of_sealed_keys(s: Specification, suite: int, holder: int, recipients: int) -> bytes:
    """The header of a SEALED_KEYS message: holder and recipient both know it."""
    return header(Type.SEALED_KEYS, suite, agreed.session(s), s.round, holder, recipients)


def own_round_key(client: Client, s: Specification, suite: int) -> bytes:
    """κ, where the client is the key holder."""
    return keys.round_key(client.round_secret, binding(s, suite))


def read_sealed_key(client: Client, s: Specification, suite: int, is_holder: bool, message: bytes) -> bytes:
    """κ. Raises W and R rules, H8; for the holder K3; for another W10, K2, K1, K5, R7, S4; then H2."""
    body = decode(message, agreed.sealed_key(s, suite))
    assert isinstance(body, SealedKey)
    require((body.holder == client.id) == is_holder, "H8", f"client {body.holder} is said to hold the key")
    B = binding(s, suite)
    if is_holder:
        require(body.entry == entry_of(client, s), "K3", f"not the entry of client {client.id}")
        require(body.sealed == bytes(SEALED_BYTES), "K3", "something is sealed to the holder")
        key = own_round_key(client, s, suite)
    else:
        n, least = len(s.cohort), least_survivors(len(s.cohort), s.adversary)
        require(body.holder in s.cohort, "W10", f"holder {body.holder}")
        check_entry(client, s, body.holder, body.entry)
        require(least - 1 <= body.recipients < n, "R7", f"sealed to {body.recipients}")
        private = keys.exchange_private_key(client.round_secret, agreed.session(s))
        sealing = keys.sealing_key(private, body.entry.public, B, body.holder, client.id, body.recipients)
        front = header_of_sealed_keys(s, suite, body.holder, body.recipients)
        key = keys.open_sealed(sealing, body.sealed, front, client.id)
    require(body.key_id == keys.key_id(B, key), "H2", "another key than it is said to be")
    return key


def read_total(
    client: Client, s: Specification, suite: int, recipients: frozenset[int], message: bytes
) -> tuple[tuple[int, ...], list[int]]:
    """U3, and the sums of the lanes. Raises W and R rules, H1, H4, H2, W13, H3, H5."""
    body = decode(message, agreed.ciphertext_sum(s, suite, recipients))
    assert isinstance(body, CiphertextSum)
    least = least_survivors(len(s.cohort), s.adversary)
    require(len(body.survived) >= least, "H4", f"a sum over {len(body.survived)}")
    B, key, p = binding(s, suite), own_round_key(client, s, suite), packing_of_round(s, suite)
    require(body.key_id == keys.key_id(B, key), "H2", "a sum under another key")
    secret = keys.secret_polynomial(key, B, p.ring)
    sums = decrypt(read_sum(body.payload, p), secret, p, len(body.survived))
    return body.survived, check_sum(key, B, body.survived, sums, s.bits)
