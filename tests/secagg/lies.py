"""What a lying server or client would send: good messages of a round with something changed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from securefed.crypto.aead import seal
from securefed.crypto.hashing import digest
from securefed.crypto.keystream import Words
from securefed.crypto.shamir import FIELD, SHARE_BYTES
from securefed.crypto.x25519 import PrivateKey
from securefed.encoding.lanes import packed_length, unpack_bits
from securefed.secagg.keys import ClientSecrets, PairContext, advertised
from securefed.secagg.parameters import Parameters
from securefed.secagg.stages import Stage
from securefed.wire.frame import pack_set
from securefed.wire.from_client import Advertisement, Entry, Input, Release, Shares
from securefed.wire.from_server import Agreement, Delivered, Delivery, Offer, Roster, Survivors
from securefed.wire.header import Suite
from tests.rounds import Round, context_of, seed, signing_key

VICTIM = 3
"""The client that is lied to."""

SUITE = Suite.PAIRWISE_MASKS
STRANGER = 9
LOW_ORDER = (0).to_bytes(32, "little")
NOT_CANONICAL = (2**255 - 19 + 9).to_bytes(32, "little")


def flip(data: bytes, at: int, bit: int = 0) -> bytes:
    """One bit the other way."""
    changed = bytearray(data)
    changed[at] ^= 1 << bit
    return bytes(changed)


def some_key(name: str) -> bytes:
    """A good public key of nobody."""
    return PrivateKey(seed(name)).public


def offer(round_: Round, **changes: Any) -> bytes:
    return Offer(replace(round_.spec, **changes)).encode(SUITE)


def entry_of(round_: Round, client: int) -> Entry:
    message, signed = round_.replies[Stage.ADVERTISE][client], round_.spec.adversary.malicious
    return Advertisement.decode(message, context_of(round_.spec, client), signed=signed).entry


def signed(round_: Round, client: int, entry: Entry, by: int | None = None) -> Entry:
    """The entry with a signature of that client's (or another's) identity key: what a corrupt client helps with."""
    if not round_.spec.adversary.malicious:
        return entry
    wanted = advertised(entry, round_.spec.session, client)
    return replace(entry, signature=signing_key(by or client).sign(wanted))


def somebody(round_: Round, client: int = STRANGER) -> Entry:
    """Good keys of nobody, signed where the round wants it."""
    return signed(round_, client, Entry(some_key("a"), some_key("b"), seed("promise")))


def roster(round_: Round, changes: dict[int, Entry | None], **spec: Any) -> bytes:
    """The good roster with entries changed, added or (None) taken out."""
    entries = {client: entry_of(round_, client) for client in round_.replies[Stage.ADVERTISE]} | changes
    context = context_of(replace(round_.spec, **spec))
    return Roster.of({client: entry for client, entry in entries.items() if entry is not None}).encode(context)


def with_key(round_: Round, client: int, **changes: bytes) -> bytes:
    """The roster with one client's entry changed, and signed again by its corrupt owner."""
    return roster(round_, {client: signed(round_, client, replace(entry_of(round_, client), **changes))})


def good_delivery(round_: Round, client: int = VICTIM) -> Delivery:
    cohort = round_.spec.cohort
    message = round_.server.requests()[client]
    return Delivery.decode(message, context_of(round_.spec), cohort, cohort, client)


def sealed_for(round_: Round, client: int = VICTIM) -> dict[int, bytes]:
    """The sealed shares that the client is delivered."""
    return {sender: part.sealed for sender, part in good_delivery(round_, client).senders.items()}


def delivery(
    round_: Round,
    changes: dict[int, bytes | Delivered | None],
    *,
    shared: Iterable[int] | None = None,
    victim: int = VICTIM,
    **spec: Any,
) -> bytes:
    """The victim's good delivery with parts, or of parts the sealed shares, changed, added or (None) taken out."""
    good = good_delivery(round_, victim)
    senders = dict(good.senders)
    for client, change in changes.items():
        if isinstance(change, bytes):
            secret = senders[client].pick_secret if client in senders else seed("pick secret")
            senders[client] = Delivered(secret, change)
        elif change is None:
            del senders[client]
        else:
            senders[client] = change
    spec_ = replace(round_.spec, **spec)
    told = good.shared if shared is None else tuple(shared)
    return Delivery(told, senders).encode(context_of(spec_), spec_.cohort)


def survivors(round_: Round, *who: int) -> bytes:
    """These survived."""
    return Survivors(who).encode(context_of(round_.spec), round_.spec.cohort)


def agreement(round_: Round, changes: dict[int, bytes | None], *, keep: Iterable[int] | None = None) -> bytes:
    """The good agreement with signatures changed, added or (None) taken out; or of some signers alone."""
    cohort = round_.spec.cohort
    message = next(iter(round_.server.requests().values()))
    signatures = Agreement.decode(message, context_of(round_.spec), cohort, cohort).signatures
    if keep is not None:
        signatures = {client: signatures[client] for client in keep}
    left = {client: one for client, one in (signatures | changes).items() if one is not None}
    return Agreement(left).encode(context_of(round_.spec), cohort)


def consent_to(round_: Round, client: int, survived: Iterable[int]) -> bytes:
    """That client's signature of any set of survivors."""
    cohort, shared = round_.spec.cohort, round_.replies[Stage.SHARE]
    pairs = PairContext(round_.spec.session, roster_digest(round_))
    return signing_key(client).sign(pairs.consent(pack_set(shared, cohort), pack_set(survived, cohort)))


def parameters_of(round_: Round) -> Parameters:
    return Parameters.of(len(round_.spec.cohort), round_.spec.adversary)


def secrets_of(round_: Round, client: int) -> ClientSecrets:
    return ClientSecrets(seed(f"round secret {client}"), round_.spec.session)


def roster_digest(round_: Round) -> bytes:
    return digest(next(iter(round_.requests[Stage.SHARE].values())))


def sealed_pair(round_: Round, sender: int, of_seed: int, of_key: int, *, roster: bytes = b"") -> bytes:
    """Any two shares for the victim, sealed by a client of the roster as it should (in a complete graph)."""
    pairs = PairContext(round_.spec.session, roster or roster_digest(round_))
    theirs = secrets_of(round_, VICTIM).channel.public
    key = pairs.channel_key(secrets_of(round_, sender).channel, theirs, sender, VICTIM)
    plaintext = of_seed.to_bytes(SHARE_BYTES, "big") + of_key.to_bytes(SHARE_BYTES, "big")
    header = Shares.header(context_of(round_.spec, sender), len(round_.replies[Stage.ADVERTISE]) - 1)
    return seal(key, plaintext, header + VICTIM.to_bytes(4, "big"))


def good_pair(round_: Round, sender: int, recipient: int = VICTIM) -> tuple[int, int]:
    """The shares that the sender made for the recipient (in a complete graph)."""
    ids = tuple(sorted(round_.replies[Stage.ADVERTISE]))
    pair = secrets_of(round_, sender).share_out(roster_digest(round_), ids, round_.spec.threshold)[recipient]
    return int.from_bytes(pair[:SHARE_BYTES], "big"), int.from_bytes(pair[SHARE_BYTES:], "big")


def words_of(round_: Round, client: int) -> Words:
    """The masked ring words of the client's input, to be changed."""
    spec, bits = round_.spec, round_.spec.numbers.lanes.ring_bits
    message, attested = round_.replies[Stage.INPUT][client], parameters_of(round_).attested
    packed = Input.decode(message, context_of(spec, client), packed_length(spec.words, bits), attested=attested)
    return unpack_bits(packed.words, spec.words, bits).copy()


def shares_of(round_: Round, client: int, message: bytes | None = None) -> Shares:
    """The client's message of shares (in a complete graph)."""
    others = [other for other in round_.replies[Stage.ADVERTISE] if other != client]
    return Shares.decode(message or round_.replies[Stage.SHARE][client], context_of(round_.spec, client), others)


def released(round_: Round, client: int, message: bytes) -> dict[int, bytes]:
    return Release.decode(message, context_of(round_.spec, client), round_.spec.cohort).shares


def release(round_: Round, client: int, changes: dict[int, int | bytes | None]) -> bytes:
    """The client's release with shares changed; an integer is added to the good one, None takes it out."""
    shares = released(round_, client, round_.ask(client))
    for owner, change in changes.items():
        if change is None:
            del shares[owner]
        elif isinstance(change, bytes):
            shares[owner] = change
        else:
            shares[owner] = ((int.from_bytes(shares[owner], "big") + change) % FIELD).to_bytes(SHARE_BYTES, "big")
    return Release(shares).encode(context_of(round_.spec, client))
