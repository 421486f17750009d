"""Reed–Solomon decoding: the one polynomial of low degree that passes through all but a few of given points.

Gao, *A new algorithm for decoding Reed–Solomon codes* (in: Communications, Information and Network Security, Kluwer
2003), algorithm 1. Polynomials over a prime field are lists of coefficients, lowest power first, the last one not
zero; the zero polynomial is the empty list.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

__all__ = ["ReceivedWord", "evaluate"]

Polynomial = list[int]


@dataclass(frozen=True, repr=False)
class ReceivedWord:
    """Points of which most, not necessarily all, lie on one polynomial.

    Attributes:
        prime: of the field.
        length: how many points.
        vanishing: the monic polynomial that is zero at all their places, degree `length`.
        through: the polynomial through all of them, degree below `length`.
    """

    prime: int
    length: int
    vanishing: Polynomial
    through: Polynomial

    @classmethod
    def of(cls, points: Mapping[int, int], prime: int) -> ReceivedWord:
        """The word of values at distinct places: Newton's interpolation, quadratic in their number."""
        vanishing, through = [1], list[int]()
        for place, value in points.items():
            gap = value - evaluate(through, place, prime)
            step = gap * pow(evaluate(vanishing, place, prime), -1, prime)
            through = _sum(through, vanishing, step, prime)
            vanishing = _sum([0, *vanishing], vanishing, -place, prime)
        return cls(prime, len(points), vanishing, through)

    def without(self, place: int) -> ReceivedWord:
        """The word without the point at one of its places; linear in their number."""
        vanishing, carry = list[int](), 0
        for coefficient in reversed(self.vanishing):
            carry = (carry * place + coefficient) % self.prime
            vanishing.append(carry)
        if vanishing.pop():
            raise ValueError("the word has no point at this place")
        vanishing.reverse()
        # `through` less the multiple of it that takes the highest power away agrees at all other places.
        top = self.through[-1] if len(self.through) == self.length else 0
        through = _sum(self.through, vanishing, -top, self.prime)
        return ReceivedWord(self.prime, self.length - 1, vanishing, through)

    def decoded(self, size: int) -> Polynomial | None:
        """The polynomial of degree below `size` through all but at most ⌊(length − size)/2⌋ points, where there is one.

        There is never a second one: two would agree at `size` places.
        """
        if self.length < size:
            raise ValueError(f"{self.length} points do not decide a polynomial of {size} coefficients")
        # Euclid's algorithm, stopped half-way: `remainder` = … · vanishing + `locator` · through.
        before, remainder = self.vanishing, self.through
        locator_before, locator = list[int](), [1]
        while 2 * (len(remainder) - 1) >= self.length + size:
            quotient, rest = _divided(before, remainder, self.prime)
            before, remainder = remainder, rest
            locator_before, locator = locator, _reduced(locator_before, quotient, locator, self.prime)
        quotient, rest = _divided(remainder, locator, self.prime)
        return quotient if not rest and len(quotient) <= size else None


def evaluate(polynomial: Sequence[int], place: int, prime: int) -> int:
    """Its value at a place (Horner)."""
    value = 0
    for coefficient in reversed(polynomial):
        value = (value * place + coefficient) % prime
    return value


def _trimmed(coefficients: Polynomial) -> Polynomial:
    while coefficients and not coefficients[-1]:
        coefficients.pop()
    return coefficients


def _sum(one: Polynomial, other: Polynomial, factor: int, prime: int) -> Polynomial:
    """one + factor · other."""
    total = [*one, *[0] * (len(other) - len(one))]
    for at, coefficient in enumerate(other):
        total[at] = (total[at] + factor * coefficient) % prime
    return _trimmed(total)


def _divided(dividend: Polynomial, divisor: Polynomial, prime: int) -> tuple[Polynomial, Polynomial]:
    """Quotient and remainder; the divisor is not zero."""
    rest, degree = list(dividend), len(divisor) - 1
    inverse = pow(divisor[-1], -1, prime)
    quotient = [0] * max(0, len(rest) - degree)
    for at in reversed(range(len(quotient))):
        factor = quotient[at] = rest[at + degree] * inverse % prime
        for below, coefficient in enumerate(divisor):
            rest[at + below] = (rest[at + below] - factor * coefficient) % prime
    return quotient, _trimmed(rest)


def _reduced(start: Polynomial, quotient: Polynomial, factor: Polynomial, prime: int) -> Polynomial:
    """start − quotient · factor."""
    total = list(start)
    for shift, coefficient in enumerate(quotient):
        total = _sum(total, [0] * shift + factor, -coefficient, prime)
    return total
