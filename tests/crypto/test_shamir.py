"""Sharing: any threshold of shares gives the secret, fewer give nothing, and wrong ones are refused."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sympy import isprime, nextprime

from securefed.crypto.shamir import (
    FIELD,
    SHARE_BYTES,
    Responders,
    coefficients,
    share_from_bytes,
    split,
)
from tests.rounds import seed
from tests.rules import case, refused

Indices = st.lists(st.integers(1, 2**32 - 1), min_size=1, max_size=8, unique=True)


def test_the_field_is_the_smallest_prime_above_every_secret() -> None:
    assert isprime(FIELD)
    assert nextprime(2**256 - 1) == FIELD


@given(secret=st.binary(min_size=32, max_size=32), indices=Indices, data=st.data())
def test_any_threshold_of_shares_gives_the_secret(secret: bytes, indices: list[int], data: st.DataObject) -> None:
    threshold = data.draw(st.integers(1, len(indices)))
    above = coefficients(seed("round"), threshold, b"context")
    shares = dict(zip(indices, split(secret, above, indices), strict=True))
    chosen = data.draw(st.permutations(indices))[:threshold]
    assert Responders(chosen, threshold).combine(shares) == int.from_bytes(secret, "big")


@pytest.mark.parametrize("threshold", [1, 2, 3, 5, 6])
def test_every_subset_of_a_threshold_gives_the_secret_and_no_smaller_one(threshold: int) -> None:
    indices, secret = (1, 2, 9, 77, 2**31, 2**32 - 1), 2**256 - 3
    above = coefficients(seed("round"), threshold, b"")
    shares = dict(zip(indices, split(secret.to_bytes(32, "big"), above, indices), strict=True))
    for chosen in itertools.combinations(indices, threshold):
        assert Responders(chosen, threshold).combine(shares) == secret
    for chosen in itertools.combinations(indices, threshold - 1):
        if chosen:
            assert Responders(chosen, threshold - 1).combine(shares) != secret


@given(st.integers(0, FIELD - 1), st.integers(0, 2**256 - 1), st.integers(0, 2**256 - 1))
def test_fewer_shares_fit_every_secret(share: int, secret: int, other: int) -> None:
    """Perfect secrecy with threshold 2: one share, and for any secret the one polynomial that explains it."""
    index = 7
    for candidate in (secret, other):
        slope = (share - candidate) * pow(index, -1, FIELD) % FIELD
        assert split(candidate.to_bytes(32, "big"), [slope], [index]) == [share.to_bytes(SHARE_BYTES, "big")]


def test_coefficients_depend_on_everything_and_are_field_elements() -> None:
    """The highest one too: a polynomial of a lower degree would open with fewer shares."""
    many = coefficients(seed("round"), 50, b"context")
    assert len(many) == len(set(many)) == 49
    assert all(0 < value < FIELD for value in many)
    assert max(value.bit_length() for value in many) >= 256
    assert coefficients(seed("round"), 1, b"context") == []
    assert not set(many) & set(coefficients(seed("round"), 50, b"another"))
    assert not set(many) & set(coefficients(seed("another"), 50, b"context"))


@given(Indices, st.data())
def test_combining_is_linear(indices: list[int], data: st.DataObject) -> None:
    """The sum of two sharings shares the sum: nothing but Lagrange is in it."""
    responders = Responders(indices, len(indices))
    values = st.integers(0, FIELD - 1)
    one = {x: data.draw(values) for x in indices}
    other = {x: data.draw(values) for x in indices}
    both = {x: (one[x] + other[x]) % FIELD for x in indices}

    def combined(shares: dict[int, int]) -> int:
        return responders.combine({x: value.to_bytes(SHARE_BYTES, "big") for x, value in shares.items()})

    assert combined(both) == (combined(one) + combined(other)) % FIELD


@pytest.mark.rule("S1")
@pytest.mark.parametrize("value", [FIELD, FIELD + 1, 2**264 - 1])
def test_s1_shares_outside_the_field(value: int) -> None:
    raw = value.to_bytes(SHARE_BYTES, "big")
    with refused("S1") as caught:
        share_from_bytes(raw)
    assert not [form for form in (raw.hex(), str(value), repr(raw)) if form in str(caught.value)]
    with refused("S1", peer=4) as caught:
        Responders([4, 5], 2).combine({4: raw, 5: bytes(SHARE_BYTES)})
    assert not [form for form in (raw.hex(), str(value), repr(raw)) if form in str(caught.value)]
    assert share_from_bytes((FIELD - 1).to_bytes(SHARE_BYTES, "big")) == FIELD - 1


@pytest.mark.parametrize(
    ("rule", "indices", "threshold"),
    [
        case("S2", "index 0", [0, 1, 2], 3),
        case("S2", "a repeated index", [1, 2, 2], 3),
        case("S2", "a repeated index beyond the threshold", [1, 2, 1], 2),
        case("S2", "the field's prime, which is 0", [FIELD, 1, 2], 3),
        case("S2", "a negative index", [-1, 1, 2], 3),
        case("S3", "one too few", [1, 2], 3),
        case("S3", "none", [], 1),
    ],
)
def test_bad_sets_of_indices(rule: str, indices: list[int], threshold: int) -> None:
    with refused(rule):
        Responders(indices, threshold)


@pytest.mark.rule("S3")
def test_s3_a_missing_share() -> None:
    with refused("S3"):
        Responders([1, 2], 2).combine({1: bytes(SHARE_BYTES)})


def test_one_wrong_share_gives_another_secret() -> None:
    """Shamir alone does not notice: that is why S5 and S6 compare with a commitment and a public key."""
    secret, indices = seed("secret"), [1, 2, 3]
    shares = dict(zip(indices, split(secret, coefficients(seed("round"), 3, b""), indices), strict=True))
    rng = random.Random(1)
    for index in indices:
        wrong = dict(shares)
        wrong[index] = rng.randrange(FIELD).to_bytes(SHARE_BYTES, "big")
        assert Responders(indices, 3).combine(wrong) != int.from_bytes(secret, "big")


@pytest.mark.parametrize("length", [0, 31, 33])
def test_secrets_have_32_bytes(length: int) -> None:
    with pytest.raises(ValueError, match="a secret has 32 bytes"):
        split(bytes(length), [1], [1, 2])
