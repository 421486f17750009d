"""What both sides have agreed on when a message of the round arrives: the arguments of its decoder."""

from collections.abc import Iterable

from protocols.encoding.lanes import Ring, ring_of, wire_word_count
from protocols.encoding.reference import digit_count
from protocols.wire.reference import GREATEST_OFFER, PAIRWISE_MASKS, SERVER, Agreed, Specification, Type
from protocols.wire.specification import encode_specification, session_of


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
    """One pair of keys."""
    return Agreed(Type.ADVERTISEMENT, PAIRWISE_MASKS, sender, session(s), s.round, exact_count=1)


def roster(s: Specification) -> Agreed:
    """Some of the cohort."""
    return listed(Type.ROSTER, s, SERVER, at_most=len(s.cohort), ids=s.cohort)


def shares(s: Specification, sender: int, advertised: Iterable[int]) -> Agreed:
    """A share for each other client of U1."""
    others = frozenset(advertised) - {sender}
    return listed(Type.SHARES, s, sender, exactly=len(others), ids=others)


def delivery(s: Specification, recipient: int, advertised: Iterable[int]) -> Agreed:
    """Shares from some other clients of U1."""
    return listed(Type.DELIVERY, s, SERVER, at_most=len(s.cohort), ids=frozenset(advertised) - {recipient})


def masked_input(s: Specification, sender: int) -> Agreed:
    """As many words as the encoding gives, with no bit beyond the last ring word."""
    count, bits = ring_words_of_round(s), ring_of_round(s).bits
    return Agreed(
        Type.INPUT,
        PAIRWISE_MASKS,
        sender,
        session(s),
        s.round,
        exact_count=wire_word_count(count, bits),
        input_bits=count * bits,
    )


def survivors(s: Specification) -> Agreed:
    """Some of the cohort; that they are exactly U2 is rule R9."""
    return listed(Type.SURVIVORS, s, SERVER, at_most=len(s.cohort), ids=s.cohort)


def release(s: Specification, sender: int, shared: Iterable[int]) -> Agreed:
    """A share for each client of U2."""
    everyone = frozenset(shared)
    return listed(Type.RELEASE, s, sender, exactly=len(everyone), ids=everyone)


def listed(
    type_: Type,
    s: Specification,
    sender: int,
    *,
    ids: Iterable[int],
    exactly: int | None = None,
    at_most: int | None = None,
) -> Agreed:
    """A list of the clients `ids`: of all of them (`exactly`) or of some (`at_most`)."""
    return Agreed(type_, PAIRWISE_MASKS, sender, session(s), s.round, exactly, at_most, frozenset(ids))
