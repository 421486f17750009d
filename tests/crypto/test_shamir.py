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
    locate,
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


def dealt(indices: list[int], threshold: int) -> tuple[int, dict[int, bytes]]:
    """A secret, and everybody's share."""
    secret = seed("located")
    shares = split(secret, coefficients(seed("round"), threshold, b""), indices)
    return int.from_bytes(secret, "big"), dict(zip(indices, shares, strict=True))


def lied(shares: dict[int, bytes], liars: list[int], lies: list[int]) -> dict[int, bytes]:
    """Other field elements in the place of the liars' shares: each is off by its lie, 1 … FIELD − 1."""
    wrong = dict(shares)
    for liar, lie in zip(liars, lies, strict=True):
        wrong[liar] = ((int.from_bytes(shares[liar], "big") + lie) % FIELD).to_bytes(SHARE_BYTES, "big")
    return wrong


@given(
    indices=st.lists(st.integers(1, 2**32 - 1), min_size=1, max_size=12, unique=True),
    similar=st.booleans(),
    data=st.data(),
)
def test_wrong_shares_are_located(indices: list[int], similar: bool, data: st.DataObject) -> None:
    """All numbers of them, from none to half of what is beyond the threshold, the odd one included."""
    threshold = data.draw(st.integers(1, len(indices)))
    count = data.draw(st.integers(0, (len(indices) - threshold + 1) // 2))
    liars = data.draw(st.permutations(indices))[:count]
    lies = [1] * count if similar else [data.draw(st.integers(1, FIELD - 1)) for _ in liars]
    secret, shares = dealt(indices, threshold)
    assert locate(lied(shares, liars, lies), threshold, secret.__eq__) == (secret, frozenset(liars))


@pytest.mark.parametrize(("holders", "threshold"), [(2, 1), (3, 2), (68, 67)])
def test_one_liar_with_a_single_share_beyond_the_threshold(holders: int, threshold: int) -> None:
    indices = list(range(1, holders + 1))
    secret, shares = dealt(indices, threshold)
    for liar in {1, holders // 2 + 1, holders}:
        assert locate(lied(shares, [liar], [5]), threshold, secret.__eq__) == (secret, {liar})


@pytest.mark.parametrize("wrong", [16, 17])
def test_a_hundred_holders(wrong: int) -> None:
    indices = list(range(1, 101))
    secret, shares = dealt(indices, 67)
    liars = random.Random(wrong).sample(indices, wrong)
    assert locate(lied(shares, liars, liars), 67, secret.__eq__) == (secret, set(liars))


@pytest.mark.parametrize(("holders", "threshold"), [(4, 3), (5, 3), (6, 3), (9, 4), (9, 9)])
def test_too_many_wrong_shares_are_not_located(holders: int, threshold: int) -> None:
    indices = list(range(1, holders + 1))
    secret, shares = dealt(indices, threshold)
    for count in range((holders - threshold + 1) // 2 + 1, holders + 1):
        lies = [random.Random(count + at).randrange(1, FIELD) for at in range(count)]
        assert locate(lied(shares, indices[-count:], lies), threshold, secret.__eq__) is None


@given(st.integers(0, 3), st.data())
def test_liars_who_know_everything_blame_nobody_else(beyond: int, data: st.DataObject) -> None:
    """They lie along another polynomial with the same secret, through as many honest shares as it can go."""
    threshold = data.draw(st.integers(2, 6))
    indices = list(range(1, threshold + beyond + 1))
    count = data.draw(st.integers(0, (beyond + 1) // 2))
    liars, honest = indices[:count], indices[count:]
    secret, shares = dealt(indices, threshold)
    # secret polynomial + slope · x · Π (x − h) over t − 2 honest places h: degree t − 1, the same at 0.
    slope = data.draw(st.integers(1, FIELD - 1))
    lies = []
    for liar in liars:
        lie = slope * liar
        for place in honest[: threshold - 2]:
            lie = lie * (liar - place) % FIELD
        lies.append(lie)
    assert locate(lied(shares, liars, lies), threshold, secret.__eq__) == (secret, frozenset(liars))


def test_a_share_outside_the_field_is_a_wrong_one() -> None:
    """And one known to be wrong: it takes nothing from what can be found among the others."""
    secret, shares = dealt([1, 2, 3, 4, 5], 3)
    shares[4] = FIELD.to_bytes(SHARE_BYTES, "big")
    assert locate(lied(shares, [5], [1]), 3, secret.__eq__) == (secret, {4, 5})
    secret, shares = dealt([1, 2, 3, 4], 3)
    shares[2] = FIELD.to_bytes(SHARE_BYTES, "big")
    assert locate(shares, 3, secret.__eq__) == (secret, {2})
    shares[3] = b"\xff" * SHARE_BYTES
    assert locate(shares, 3, secret.__eq__) is None


def test_shares_of_another_secret_are_not_taken() -> None:
    """All fit one polynomial: whoever split the secret committed to another one."""
    secret, shares = dealt([1, 2, 3, 4], 3)
    assert locate(shares, 3, (secret + 1).__eq__) is None


@pytest.mark.parametrize("value", [2**256, 2**256 + 5, FIELD - 1])
def test_only_what_can_be_a_secret_is_shown_to_the_commitment(value: int) -> None:
    shown: list[int] = []
    shares = {x: value.to_bytes(SHARE_BYTES, "big") for x in (1, 2, 3)}
    assert locate(shares, 1, lambda secret: bool(shown.append(secret))) is None
    assert not shown


@pytest.mark.rule("S2")
def test_s2_no_share_has_index_0() -> None:
    secret, shares = dealt([1, 2, 3], 2)
    with refused("S2"):
        locate(shares | {0: secret.to_bytes(SHARE_BYTES, "big")}, 2, secret.__eq__)
