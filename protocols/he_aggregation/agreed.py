"""What both sides have agreed on when a message of the round arrives: the arguments of its decoder."""

from collections.abc import Iterable
from typing import Any

from protocols.encoding.lanes import wire_word_count
from protocols.he_aggregation.ciphers import payload_bytes, sum_bytes
from protocols.he_aggregation.parameters import packing_of_round
from protocols.pairwise_masking.agreed import input_bits
from protocols.wire.bodies import Type
from protocols.wire.reference import GREATEST_OFFER, SERVER, Agreed
from protocols.wire.specification import Specification, encode_specification, session_of


def session(s: Specification) -> bytes:
    """The session of the round with this specification."""
    return session_of(encode_specification(s))


def offer(suite: int) -> Agreed:
    """Nothing but the suite: an OFFER brings the rest."""
    return Agreed(Type.OFFER, suite, SERVER, greatest_count=GREATEST_OFFER)


def nothing(s: Specification, suite: int) -> Agreed:
    """The client has had its last message."""
    return Agreed(None, suite, SERVER, session(s), s.round)


def exchange_key(s: Specification, suite: int, sender: int) -> Agreed:
    """One entry."""
    return of_round(s, suite, Type.EXCHANGE_KEY, sender, exact_count=1, signed=s.malicious)


def exchange_keys(s: Specification, suite: int) -> Agreed:
    """Some of the cohort."""
    n, ids = len(s.cohort), frozenset(s.cohort)
    return of_round(s, suite, Type.EXCHANGE_KEYS, SERVER, greatest_count=n, ids=ids, signed=s.malicious)


def sealed_keys(s: Specification, suite: int, sender: int, recipients: Iterable[int]) -> Agreed:
    """A key for each of the recipients: U1 without the sender."""
    everyone = frozenset(recipients)
    return of_round(s, suite, Type.SEALED_KEYS, sender, exact_count=len(everyone), ids=everyone)


def sealed_key(s: Specification, suite: int) -> Agreed:
    """One; that the holder is of the cohort is for the client to see."""
    return of_round(s, suite, Type.SEALED_KEY, SERVER, exact_count=1, signed=s.malicious)


def ciphertexts(s: Specification, suite: int, sender: int) -> Agreed:
    """A payload of the length that the parameters fix."""
    length = payload_bytes(packing_of_round(s, suite))
    return of_round(s, suite, Type.CIPHERTEXTS, sender, exact_count=length)


def ciphertext_sum(s: Specification, suite: int, recipients: Iterable[int]) -> Agreed:
    """Of some of those who have the key: to whom it was sealed, and the holder."""
    length, members = sum_bytes(packing_of_round(s, suite)), frozenset(recipients)
    return of_round(s, suite, Type.CIPHERTEXT_SUM, SERVER, exact_count=length, cohort=s.cohort, members=members)


def opened(s: Specification, suite: int, sender: int) -> Agreed:
    """As many words as an INPUT has."""
    count = wire_word_count(input_bits(s), 1)
    return of_round(s, suite, Type.OPENED, sender, exact_count=count, input_bits=input_bits(s))


def of_round(s: Specification, suite: int, type_: Type, sender: int, **rest: Any) -> Agreed:
    """A message of the round's session."""
    return Agreed(type_, suite, sender, session(s), s.round, **rest)
