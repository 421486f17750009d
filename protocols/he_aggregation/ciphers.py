"""Which of the two encryptions a round has: its packing says so."""

from protocols.he_aggregation import bfv, ckks
from protocols.he_aggregation.bfv import Ciphertext, Randomness
from protocols.he_aggregation.ckks import SlotRandomness
from protocols.he_aggregation.packing import Polynomial
from protocols.he_aggregation.parameters import AnyPacking
from protocols.he_aggregation.slots import SlotPacking

AnyRandomness = Randomness | list[SlotRandomness]


def payload_bytes(p: AnyPacking) -> int:
    """The length of a client's payload."""
    return ckks.payload_bytes(p) if isinstance(p, SlotPacking) else bfv.payload_bytes(p)


def sum_bytes(p: AnyPacking) -> int:
    """The length of a sum's payload."""
    return ckks.sum_bytes(p) if isinstance(p, SlotPacking) else bfv.sum_bytes(p)


def encrypt(lanes: list[int], s: Polynomial, p: AnyPacking, drawn: AnyRandomness) -> bytes:
    """The payload of one client."""
    if isinstance(p, SlotPacking):
        assert isinstance(drawn, list)
        return ckks.encrypt(lanes, s, p, drawn)
    assert isinstance(drawn, Randomness)
    return bfv.encrypt(lanes, s, p, drawn)


def read_payload(payload: bytes, p: AnyPacking) -> Ciphertext:
    """What a client's payload stands for. Raises W13, and H3 where values are approximate."""
    return ckks.read_payload(payload, p) if isinstance(p, SlotPacking) else bfv.read_payload(payload, p)


def add(one: Ciphertext, other: Ciphertext, p: AnyPacking) -> Ciphertext:
    """The sum."""
    return ckks.add(one, other, p) if isinstance(p, SlotPacking) else bfv.add(one, other, p)


def sum_payload(total: Ciphertext, p: AnyPacking) -> bytes:
    """The payload of a sum."""
    return ckks.sum_payload(total, p) if isinstance(p, SlotPacking) else bfv.sum_payload(total, p)


def read_sum(payload: bytes, p: AnyPacking) -> Ciphertext:
    """A sum. Raises W13, and H3 where values are approximate."""
    return ckks.read_sum(payload, p) if isinstance(p, SlotPacking) else bfv.read_sum(payload, p)


def decrypt(total: Ciphertext, s: Polynomial, p: AnyPacking, summands: int) -> list[int]:
    """The lanes of a sum over so many clients."""
    return ckks.decrypt(total, s, p, summands) if isinstance(p, SlotPacking) else bfv.decrypt(total, s, p, summands)
