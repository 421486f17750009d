"""What each key of a round is derived from. One file, so that the bindings can be read in one place."""

from __future__ import annotations

from dataclasses import dataclass

from securefed.crypto import shamir
from securefed.crypto.hashing import digest_in_domain
from securefed.crypto.kdf import Label, derive
from securefed.crypto.signing import verifies
from securefed.crypto.x25519 import PrivateKey, check_public_keys
from securefed.errors import RemoteProtocolError
from securefed.wire.from_client import Entry
from securefed.wire.specification import RoundSpec

__all__ = [
    "ClientSecrets", "PairContext", "advertised", "check_entry", "check_signature", "commitment", "consent_draw_key",
    "named_session", "self_mask_key",
]  # fmt: skip


def named_session(spec: RoundSpec, model: bytes) -> bytes:
    """S*: what stands in the session's place from the input on, in masks, attestations and consents.

    Of a prepared round it holds the model that was named, so that masks of two models have no key in common; of
    any other it is the session, which holds the model already.
    """
    return digest_in_domain("named", spec.session, model) if spec.prepared else spec.session


class ClientSecrets:
    """A client's secrets of one session, all from one round secret: a message computed again is the same message.

    Args:
        round_secret: 32 bytes from the operating system, never used for another session.
        session: digest of the round's specification.
    """

    def __init__(self, round_secret: bytes, session: bytes) -> None:
        self._round_secret = round_secret
        self._session = session
        self._mask_seed = derive(round_secret, Label.MASK_KEY, session)
        self.channel = PrivateKey(derive(round_secret, Label.CHANNEL_KEY, session))
        self.mask = PrivateKey(self._mask_seed)
        self.self_mask_seed = derive(round_secret, Label.SELF_MASK_SEED, session)
        self.pick_secret = derive(round_secret, Label.PICK_SECRET, session)
        self.sample_key = derive(round_secret, Label.CONSENT_SAMPLE, session)

    def __repr__(self) -> str:
        return "ClientSecrets(…)"

    def share_out(self, roster: bytes, ids: tuple[int, ...], threshold: int) -> dict[int, bytes]:
        """For each id, its share of the self-mask seed and its share of the mask key: 66 bytes."""
        columns = []
        for kind, secret in ((1, self.self_mask_seed), (2, self._mask_seed)):
            context = self._session + roster + bytes([kind])
            above = shamir.coefficients(self._round_secret, threshold, context)
            columns.append(shamir.split(secret, above, ids))
        return {client: first + second for client, first, second in zip(ids, *columns, strict=True)}


@dataclass(frozen=True)
class PairContext:
    """What all keys between two clients are bound to: the session and the roster that the client was shown.

    Attributes:
        session: S for what is sealed; S* (`named_session`) for masks, attestations and consents.
        roster: digest of the ROSTER message.
    """

    session: bytes
    roster: bytes

    def channel_key(self, mine: PrivateKey, theirs: bytes, sender: int, recipient: int) -> bytes:
        """Seals the one message from sender to recipient; either of them derives it.

        Raises:
            RemoteProtocolError: K1 or K2.
        """
        context = self.session + self.roster + _u32(sender) + _u32(recipient)
        return derive(mine.agree(theirs), Label.CHANNEL, context)

    def mask_key(self, mine: PrivateKey, theirs: bytes, one: int, other: int) -> bytes:
        """Key of the stream that the client with the smaller id adds and the other takes off.

        Raises:
            RemoteProtocolError: K1 or K2.
        """
        context = self.session + self.roster + _u32(min(one, other)) + _u32(max(one, other))
        return derive(mine.agree(theirs), Label.PAIRWISE_MASK, context)

    def consent(self, shared: bytes, survived: bytes) -> bytes:
        """The digest that survivors sign: one roster, one set of those who shared, one of those who survived."""
        return digest_in_domain("consent", self.session, self.roster, shared, survived)

    def attested(self, shared: bytes) -> bytes:
        """The digest by which a client attests that it masked within one set of those who shared."""
        return digest_in_domain("input", self.session, self.roster, shared)


def self_mask_key(seed: bytes, session: bytes, client: int) -> bytes:
    """Key of the stream that a client adds for itself; the session is S*."""
    return derive(seed, Label.SELF_MASK, session + _u32(client))


def commitment(seed: bytes, session: bytes, client: int) -> bytes:
    """Binds a client to its self-mask seed before anyone holds a share; hides it, as the seed has 256 bits."""
    return digest_in_domain("self-mask-commitment", session, _u32(client), seed)


def advertised(entry: Entry, session: bytes, client: int) -> bytes:
    """The digest that a client signs to advertise its entry in one session."""
    return digest_in_domain("advertisement", session, _u32(client), entry.signed())


def consent_draw_key(sample_key: bytes, agreement: bytes) -> bytes:
    """Key of the draw of consents to verify; `agreement` is the digest of the message that holds them."""
    return derive(sample_key, Label.CONSENT_DRAW, agreement)


def check_entry(entry: Entry, session: bytes, client: int, identity: bytes | None) -> None:
    """Refuse keys that no honest party sends, or that the client did not sign.

    Args:
        identity: the client's public identity key; None in a round that trusts the server with the keys.

    Raises:
        RemoteProtocolError: K2, K1 or K5.
    """
    check_public_keys(entry.channel, entry.mask)
    check_signature(entry, session, client, identity)


def check_signature(entry: Entry, session: bytes, client: int, identity: bytes | None) -> None:
    """Refuse an advertisement that its client did not sign; see `check_entry`.

    Raises:
        RemoteProtocolError: K5.
    """
    if identity is not None and not verifies(identity, advertised(entry, session, client), entry.signature):
        raise RemoteProtocolError("K5", f"the advertisement of client {client} is not signed by its identity key")


def _u32(value: int) -> bytes:
    return value.to_bytes(4, "big")
