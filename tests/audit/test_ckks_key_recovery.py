"""The Li–Micciancio key recovery: it opens CKKS as TenSEAL and NVFlare use it, and not what was rounded first."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from securefed.audit.ckks_key_recovery import Opened, Recovery, Ring, RlweCiphertext, recover, slots_of
from securefed.audit.seal_ciphertext import TensealReader, read_ciphertext

SMALL = Ring(16, 2**20 * 7 + 1)
Floats = npt.NDArray[np.float64]


def product(one: list[int], other: list[int], ring: Ring) -> list[int]:
    """In ℤ_q[X]/(X^N + 1), term by term."""
    found = [0] * ring.degree
    for at, a in enumerate(one):
        for by, b in enumerate(other):
            turns, place = divmod(at + by, ring.degree)
            found[place] += -a * b if turns else a * b
    return [x % ring.prime for x in found]


def small_key(seed: int = 0) -> npt.NDArray[np.int8]:
    return np.random.default_rng(seed).integers(-1, 2, SMALL.degree).astype(np.int8)


def opened(key: npt.NDArray[np.int8], seed: int, *, mirrored: bool = False, hole: int | None = None) -> Opened:
    """A ciphertext and its phase, which is random; at the point `hole`, where one is given, c1 is 0."""
    rng = np.random.default_rng(seed)
    phase = rng.integers(-1000, 1000, SMALL.degree)
    c1 = rng.integers(0, SMALL.prime, SMALL.degree).astype(object)
    if hole is not None:
        c1[hole] = 0
    c0 = (SMALL.transform(phase) - c1 * SMALL.transform(key.astype(np.int64))) % SMALL.prime
    image = np.concatenate([phase[:1], -phase[:0:-1]])
    return Opened(RlweCiphertext(SMALL, c0, c1), phase + image if mirrored else phase, mirrored)


def test_the_transform_multiplies_and_goes_back() -> None:
    rng = np.random.default_rng(1)
    one, other = rng.integers(-50, 50, (2, SMALL.degree))
    values = SMALL.transform(one) * SMALL.transform(other) % SMALL.prime
    assert [int(x) % SMALL.prime for x in SMALL.polynomial(values)] == product(one.tolist(), other.tolist(), SMALL)
    assert (SMALL.polynomial(SMALL.transform(one)) == one).all()


@pytest.mark.parametrize(("degree", "prime"), [(12, 97), (1, 17), (16, 17), (16, 2**20)])
def test_a_ring_without_a_transform(degree: int, prime: int) -> None:
    with pytest.raises(ValueError, match=r"power of two|no transform"):
        Ring(degree, prime)


@pytest.mark.parametrize(("count", "mirrored"), [(1, False), (2, True)])
def test_as_few_decryptions_as_can_do(count: int, mirrored: bool) -> None:
    key = small_key()
    found = recover([opened(key, seed, mirrored=mirrored) for seed in range(count)])
    assert found.key is not None
    assert (found.key == key).all()
    assert (found.determined, found.ternary) == (1.0, 1.0)


def test_one_half_known_is_not_enough() -> None:
    assert recover([opened(small_key(), 0, mirrored=True)]).determined == 0


def test_another_pair_fills_what_one_misses() -> None:
    key = small_key()
    missing = recover([opened(key, 0, hole=3)])
    assert missing.key is None
    assert missing.determined == 1 - 1 / 8
    filled = recover([opened(key, 0, hole=3), opened(key, 1, hole=5)])
    assert filled.determined == 1
    assert filled.key is not None
    assert (filled.key == key).all()


def test_decryptions_of_two_keys_give_noise() -> None:
    found = recover([opened(small_key(1), 0, mirrored=True), opened(small_key(2), 1, mirrored=True)])
    assert found.key is None
    assert found.determined == 1
    assert found.ternary < 0.5


def test_the_key_is_in_no_repr() -> None:
    assert "array" not in repr(recover([opened(small_key(), 0)]))


def test_refusals() -> None:
    key = small_key()
    one = opened(key, 0)
    with pytest.raises(ValueError, match="one ring"):
        recover([])
    with pytest.raises(ValueError, match="8 slots"):
        Opened.from_slots(one.ciphertext, np.zeros(7))
    with pytest.raises(ValueError, match="last digits"):
        Opened.from_slots(one.ciphertext, np.full(8, 1e20))


# NVFlare's parameters (lighter/impl/he.py): symmetric encryption, relinearisation keys, a scale of 2^40.
DEGREE, MODULUS_BITS, SCALE, CLIENTS = 8192, [60, 40, 40], 2.0**40, 8
SLOTS = DEGREE // 2
STEP = 2.0**-18
"""A grid as fine as 18 bits over −1/2 … 1/2. The error in a slot is around 10^−9 at this scale."""


@pytest.fixture(scope="module")
def tenseal() -> Any:
    return pytest.importorskip("tenseal", reason="TenSEAL is not installed: pip install 'securefed[he]'")


def context_of(tenseal: Any) -> Any:
    context = tenseal.context(
        tenseal.SCHEME_TYPE.CKKS,
        DEGREE,
        coeff_mod_bit_sizes=MODULUS_BITS,
        encryption_type=tenseal.ENCRYPTION_TYPE.SYMMETRIC,
    )
    context.generate_relin_keys()
    context.global_scale = SCALE
    return context


def reader_of(tenseal: Any) -> TensealReader:
    return TensealReader(import_module(f"{tenseal.__name__}.sealapi"), DEGREE, MODULUS_BITS)


def aggregate(tenseal: Any, context: Any, kind: str) -> tuple[Any, Floats]:
    """Three full ciphertexts in one vector, and what they decrypt to: one update, a sum, or NVFlare's mean."""
    rng = np.random.default_rng(3)
    updates = [rng.integers(-100, 100, 3 * SLOTS) * STEP for _ in range(1 if kind == "update" else CLIENTS)]
    total = tenseal.ckks_vector(context, updates[0])
    for update in updates[1:]:
        total = total + tenseal.ckks_vector(context, update)
    if kind == "mean":
        total = total * (1.0 / CLIENTS)
    return total, np.array(total.decrypt())


def attack(ciphertexts: list[RlweCiphertext], released: Floats) -> Recovery:
    """What a server can do that has the first two ciphertexts of an aggregate and what was released of them."""
    return recover([Opened.from_slots(c, released[at * SLOTS :][:SLOTS]) for at, c in enumerate(ciphertexts[:2])])


@pytest.mark.parametrize("kind", ["update", "sum", "mean"])
def test_two_decryptions_of_tenseal_give_the_key(tenseal: Any, kind: str) -> None:
    """It opens a third ciphertext to the last digit of what its owner decrypts, and a fresh one of any client."""
    context, reader = context_of(tenseal), reader_of(tenseal)
    vector, released = aggregate(tenseal, context, kind)
    ciphertexts = reader.vector(vector)
    found = attack(ciphertexts, released)
    assert (found.determined, found.ternary) == (1.0, 1.0)
    assert found.key is not None
    assert np.abs(slots_of(ciphertexts[2], found.key).real - released[2 * SLOTS :]).max() < 1e-15
    secret = np.random.default_rng(4).standard_normal(SLOTS)
    (fresh,) = reader.vector(tenseal.ckks_vector(context, secret))
    assert np.abs(slots_of(fresh, found.key).real - secret).max() < 1e-8


@pytest.mark.parametrize("kind", ["update", "sum"])
def test_a_sum_on_its_grid_gives_noise(tenseal: Any, kind: str) -> None:
    """The one defence is the rounding: the very ciphertexts of the test above, and their exact sums instead."""
    vector, decrypted = aggregate(tenseal, context_of(tenseal), kind)
    released = np.rint(decrypted / STEP) * STEP
    assert 0 < np.abs(released - decrypted).max() < STEP / 1000
    found = attack(reader_of(tenseal).vector(vector), released)
    assert found.key is None
    assert found.determined == 1
    assert found.ternary < 0.001


def test_a_grid_finer_than_the_error_does_not_help(tenseal: Any) -> None:
    """Rounding as such is no defence."""
    vector, decrypted = aggregate(tenseal, context_of(tenseal), "sum")
    released = np.rint(decrypted * 2.0**44) / 2.0**44
    assert (released != decrypted).any()
    assert attack(reader_of(tenseal).vector(vector), released).key is not None


class Unreadable:
    """A ciphertext of another size, or with numbers beyond the prime."""

    scale = 1.0

    def __init__(self, size: int) -> None:
        self.polynomials = size

    def size(self) -> int:
        return self.polynomials

    def poly_modulus_degree(self) -> int:
        return SMALL.degree

    def coeff_modulus_size(self) -> int:
        return 1

    def is_ntt_form(self) -> bool:
        return True

    def dyn_array(self) -> Unreadable:
        return self

    def at(self, index: int) -> int:
        return 2**30


@pytest.mark.parametrize(("polynomials", "reason"), [(3, "two polynomials"), (2, "beyond the prime")])
def test_what_the_reader_refuses(polynomials: int, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        read_ciphertext(Unreadable(polynomials), SMALL.prime)
