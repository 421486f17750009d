"""What both sides have agreed on when a message of the round arrives: the arguments of its decoder."""

from collections.abc import Iterable
from typing import Any

from protocols.encoding.lanes import Ring, ring_of, wire_word_count
from protocols.encoding.reference import digit_count
from protocols.wire.bodies import Type
from protocols.wire.reference import GREATEST_OFFER, PAIRWISE_MASKS, SERVER, Agreed
from protocols.wire.specification import Specification, encode_specification, session_of


def ring_of_round(s: Specification) -> Ring:
    """The ring of the round's words."""
    return ring_of(len(s.cohort), s.bits)


def ring_words_of_round(s: Specification) -> int:
    """The ring words of one input."""
    lanes = s.values + s.scalars * digit_count(s.bits)
    return -(-lanes // ring_of_round(s).lanes)


def session(s: Specification) -> bytes:
    """The session of the round with this specification."""
    return session_of(encode_specification(s))


def offer() -> Agreed:
    """Nothing but the suite: an OFFER brings the rest."""
    return Agreed(Type.OFFER, PAIRWISE_MASKS, SERVER, greatest_count=GREATEST_OFFER)


def nothing(s: Specification) -> Agreed:
    """The client has had its last message."""
    return Agreed(None, PAIRWISE_MASKS, SERVER, session(s), s.round)


def advertisement(s: Specification, sender: int) -> Agreed:
    """One entry."""
    return of_round(s, Type.ADVERTISEMENT, sender, exact_count=1, signed=s.malicious)


def roster(s: Specification) -> Agreed:
    """Some of the cohort."""
    return of_round(s, Type.ROSTER, SERVER, greatest_count=len(s.cohort), ids=frozenset(s.cohort), signed=s.malicious)


def shares(s: Specification, sender: int, recipients: Iterable[int]) -> Agreed:
    """A share for each of the recipients: the sender's holders in U1 but itself."""
    everyone = frozenset(recipients)
    return of_round(s, Type.SHARES, sender, exact_count=len(everyone), ids=everyone)


def cut_shares(s: Specification, sender: int) -> Agreed:
    """A message that ends before its pick secret does: there is no count to compare with, and W8 is what it breaks."""
    return of_round(s, Type.SHARES, sender)


def delivery(s: Specification, recipient: int, advertised: Iterable[int]) -> Agreed:
    """U2, and shares from some other clients of U1; in a prepared round behind the model."""
    U1 = frozenset(advertised)
    ids, n = U1 - {recipient}, len(s.cohort)
    type_ = Type.NAMED_DELIVERY if s.prepared else Type.DELIVERY
    return of_round(s, type_, SERVER, greatest_count=n, ids=ids, members=U1, cohort=s.cohort)


def masked_input(s: Specification, sender: int, attested: bool) -> Agreed:
    """As many words as the encoding gives, and an attestation or none.

    Where there is one, it is looked at before the bits beyond the last ring word: these are left to the caller.
    """
    words = wire_word_count(ring_words_of_round(s), ring_of_round(s).bits)
    bits = None if attested else input_bits(s)
    return of_round(s, Type.INPUT, sender, exact_count=words, input_bits=bits, attestations=int(attested))


def input_bits(s: Specification) -> int:
    """The bits of an INPUT that may be set."""
    return ring_words_of_round(s) * ring_of_round(s).bits


def survivors(s: Specification) -> Agreed:
    """Some of the cohort; that they are of U2 is rule R9."""
    return of_round(s, Type.SURVIVORS, SERVER, exact_count=len(s.cohort), cohort=s.cohort)


def consent(s: Specification, sender: int) -> Agreed:
    """One signature."""
    return of_round(s, Type.CONSENT, sender, exact_count=1)


def agreement(s: Specification, survived: Iterable[int], attestations: int) -> Agreed:
    """Some of U3, as many signatures, and so many attestations."""
    n, U3 = len(s.cohort), frozenset(survived)
    return of_round(s, Type.AGREEMENT, SERVER, greatest_count=n, cohort=s.cohort, members=U3, attestations=attestations)


def release(s: Specification, sender: int, shared: Iterable[int]) -> Agreed:
    """Shares for clients of U2."""
    U2 = frozenset(shared)
    return of_round(s, Type.RELEASE, sender, greatest_count=len(U2), ids=U2)


def of_round(s: Specification, type_: Type, sender: int, **rest: Any) -> Agreed:
    """A message of the round's session."""
    return Agreed(type_, PAIRWISE_MASKS, sender, session(s), s.round, **rest)
