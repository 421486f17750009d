"""The types of the messages, and their bodies as plain data: ids ascend in every dict and every tuple."""

from dataclasses import dataclass
from enum import IntEnum

from protocols.wire.specification import Specification


class Type(IntEnum):
    """The types of the messages; the bodies of 11 to 17 are those of `he_aggregation`."""

    OFFER = 1
    ADVERTISEMENT = 2
    ROSTER = 3
    SHARES = 4
    DELIVERY = 5
    INPUT = 6
    SURVIVORS = 7
    RELEASE = 8
    CONSENT = 9
    AGREEMENT = 10
    EXCHANGE_KEY = 11
    EXCHANGE_KEYS = 12
    SEALED_KEYS = 13
    SEALED_KEY = 14
    CIPHERTEXTS = 15
    CIPHERTEXT_SUM = 16
    OPENED = 17
    NAMED_DELIVERY = 18


@dataclass(frozen=True)
class Entry:
    """What a client says of itself: two public keys, a promise of its picks, and where wanted its signature."""

    channel_key: bytes
    mask_key: bytes
    promise: bytes
    signature: bytes = b""  # 64 bytes under a malicious server

    @property
    def unsigned(self) -> bytes:
        """The bytes that the signature is over."""
        return self.channel_key + self.mask_key + self.promise

    @property
    def all_bytes(self) -> bytes:
        """The entry as it travels."""
        return self.unsigned + self.signature


@dataclass(frozen=True)
class Offer:
    """Server: this is the round."""

    specification: Specification


@dataclass(frozen=True)
class Advertisement:
    """Client: my entry."""

    entry: Entry


@dataclass(frozen=True)
class Roster:
    """Server: the entries of those who advertised."""

    entries: dict[int, Entry]


@dataclass(frozen=True)
class Shares:
    """Client: what my picks follow from, a commitment to my self-mask seed, a sealed share for each recipient."""

    pick_secret: bytes
    commitment: bytes
    sealed: dict[int, bytes]


@dataclass(frozen=True)
class Sender:
    """What one client sent for another: its pick secret and a sealed share."""

    pick_secret: bytes
    sealed: bytes


@dataclass(frozen=True)
class Delivery:
    """Server: who has shared, and what those sent whose holder you are."""

    shared: tuple[int, ...]  # U2
    senders: dict[int, Sender]


@dataclass(frozen=True)
class NamedDelivery:
    """Server, in a prepared round: this is the model, and what a delivery says."""

    model: bytes
    delivery: Delivery


@dataclass(frozen=True)
class Input:
    """Client: my vector, in 64-bit words."""

    words: list[int]
    attestation: bytes = b""  # with whom it is masked: 64 bytes under a malicious server in a sparse graph


@dataclass(frozen=True)
class Survivors:
    """Server: who sent an input."""

    survived: tuple[int, ...]  # U3


@dataclass(frozen=True)
class Consent:
    """Client: I have seen these survivors."""

    signature: bytes


@dataclass(frozen=True)
class Agreement:
    """Server: who has consented, with the signatures, and the attestations of some inputs."""

    signatures: dict[int, bytes]  # of U4
    attestations: tuple[bytes, ...] = ()  # of those of U3 whose shares were delivered, by id


@dataclass(frozen=True)
class Release:
    """Client: one share for each, of the self-mask seed of a survivor or the mask key of a dropout."""

    shares: dict[int, int]


Body = (
    Offer
    | Advertisement
    | Roster
    | Shares
    | Delivery
    | NamedDelivery
    | Input
    | Survivors
    | Consent
    | Agreement
    | Release
)
