"""Polynomials as their values at roots of X^N + 1: modulo a prime, as ciphertexts hold them, and in complex numbers.

Both are one recursion: the even and the odd coefficients apart. N is a power of two.
"""

import cmath
import math
from functools import lru_cache


@lru_cache(maxsize=8)
def least_root(degree: int, q: int) -> int:
    """ψ, the least number of order 2N modulo a prime q. Pre-condition: 2N divides q − 1."""
    some = next(r for r in (pow(a, (q - 1) // (2 * degree), q) for a in range(2, q)) if pow(r, degree, q) == q - 1)
    return min(pow(some, odd, q) for odd in range(1, 2 * degree, 2))


def at_powers(a: list[int], root: int, q: int) -> list[int]:
    """Σ a_k root^(i k) for each i. Pre-condition: the root is of as high an order as there are coefficients."""
    if len(a) == 1:
        return a
    square = root * root % q
    even, odd = at_powers(a[::2], square, q), at_powers(a[1::2], square, q)
    turned, power = [], 1
    for x in odd:
        turned.append(x * power % q)
        power = power * root % q
    pairs = list(zip(even, turned, strict=True))
    return [(x + y) % q for x, y in pairs] + [(x - y) % q for x, y in pairs]


def reversed_bits(i: int, degree: int) -> int:
    """The bits of i, of which N has one more, in the other order."""
    return int(format(i, f"0{degree.bit_length() - 1}b")[::-1], 2) if degree > 1 else 0


def values_of(a: list[int], q: int) -> list[int]:
    """The i-th value is the polynomial's at ψ^(2 i' + 1), i' the reversed bits of i."""
    degree = len(a)
    psi = least_root(degree, q)
    twisted, power = [], 1
    for x in a:
        twisted.append(x * power % q)
        power = power * psi % q
    natural = at_powers(twisted, psi * psi % q, q)
    return [natural[reversed_bits(i, degree)] for i in range(degree)]


def polynomial_of(values: list[int], q: int) -> list[int]:
    """The inverse, coefficients modulo q."""
    degree = len(values)
    back = pow(least_root(degree, q), -1, q)
    natural = [values[reversed_bits(i, degree)] for i in range(degree)]
    coefficients, power = [], pow(degree, -1, q)
    for x in at_powers(natural, back * back % q, q):
        coefficients.append(x * power % q)
        power = power * back % q
    return coefficients


def turn(k: int, degree: int) -> complex:
    """ζ^k, ζ = exp(πi/N)."""
    return cmath.exp(1j * math.pi * (k % (2 * degree)) / degree)


def at_complex_powers(a: list[complex], step: int, degree: int) -> list[complex]:
    """Σ a_k ζ^(step·i·k) for each i."""
    if len(a) == 1:
        return a
    even, odd = (at_complex_powers(a[start::2], 2 * step, degree) for start in (0, 1))
    turned = [x * turn(step * i, degree) for i, x in enumerate(odd)]
    pairs = list(zip(even, turned, strict=True))
    return [x + y for x, y in pairs] + [x - y for x, y in pairs]


def slot_places(degree: int) -> list[int]:
    """Slot j is the value at ζ^(3^j): its number among the odd powers of ζ."""
    return [(pow(3, j, 2 * degree) - 1) // 2 for j in range(degree // 2)]


def slots_of(m: list[int], scale: int) -> list[complex]:
    """The N/2 slots of a plaintext."""
    degree = len(m)
    values = at_complex_powers([x / scale * turn(k, degree) for k, x in enumerate(m)], 2, degree)
    return [values[place] for place in slot_places(degree)]


def plaintext_of(slots: list[complex], scale: int) -> list[int]:
    """The plaintext with these slots, its coefficients rounded."""
    degree = 2 * len(slots)
    values = [0j] * degree
    for place, z in zip(slot_places(degree), slots, strict=True):
        values[place], values[degree - 1 - place] = z, z.conjugate()
    sums = at_complex_powers(values, -2, degree)
    return [round((x * turn(-k, degree)).real * scale / degree) for k, x in enumerate(sums)]
