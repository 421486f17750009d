"""How the server takes the masks off: it combines shares, finds those that are wrong, and subtracts the streams."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations

from protocols.encoding.lanes import unpack
from protocols.notation import RuleBroken, require
from protocols.pairwise_masking import agreed, graph, keys, shamir
from protocols.wire.bodies import Entry, Input, Release, Shares
from protocols.wire.specification import Specification

Points = list[tuple[int, int]]
"""Shares as (index, value)."""


@dataclass(frozen=True)
class Combined:
    """A secret, and who sent wrong shares of it."""

    secret: bytes
    wrong: frozenset[int]


def combine(
    shares: Points, threshold: int, check: Callable[[int], bytes], found_out: frozenset[int] = frozenset()
) -> Combined:
    """The secret that passes the check. Raises S3, or what the check raises for the first `threshold` shares.

    Those of clients that were not found out are tried first, then the first of all. Where neither passes, all other
    choices of so many shares are tried, in lexicographic order: slow, and all that there is to find. Whose share is
    not on the polynomial through the choice that passed has sent a wrong one; of m shares, no more than
    ⌈(m − threshold) / 2⌉ may be.
    """
    greatest = -(-(len(shares) - threshold) // 2)
    trusted = [(index, value) for index, value in shares if index not in found_out]
    if len(trusted) >= threshold:
        try:
            return Combined(check(shamir.combine(trusted, threshold)), frozenset())
        except RuleBroken as broken:
            if broken.rule not in ("S5", "S6"):
                raise
    try:
        return Combined(check(shamir.combine(shares, threshold)), frozenset())
    except RuleBroken as broken:
        if broken.rule not in ("S5", "S6"):
            raise
        first = broken
    for chosen in combinations(shares, threshold):
        try:
            secret = check(shamir.combine(list(chosen), threshold))
        except RuleBroken:
            continue
        wrong = {index for index, value in shares if shamir.value_at(list(chosen), index) != value}
        if len(wrong) <= greatest:
            return Combined(secret, frozenset(wrong))
    raise first


def self_mask_seed(secret: int, session: bytes, client: int, commitment: bytes) -> bytes:
    """The combined seed of a survivor's self mask. Raises S5."""
    require(secret < 2**256, "S5", f"the seed of client {client} is not below 2^256")
    seed = secret.to_bytes(32, "big")
    fits = keys.commitment(session, client, seed) == commitment
    require(fits, "S5", f"the seed of client {client} does not fit its commitment")
    return seed


def mask_private_key(secret: int, client: int, advertised: bytes) -> bytes:
    """The combined mask key of a dropout. Raises S6."""
    require(secret < 2**256, "S6", f"the mask key of client {client} is not below 2^256")
    private = secret.to_bytes(32, "big")
    require(keys.public_key(private) == advertised, "S6", f"the mask key of client {client} is not the advertised one")
    return private


@dataclass(frozen=True)
class Unmasked:
    """The sum of the inputs of U3, in ring words, and who sent wrong shares (S7)."""

    sum: list[int]
    wrong: frozenset[int]


def unmask(
    s: Specification,
    S_named: bytes,
    P: bytes,
    advertised: dict[int, Entry],
    shared: dict[int, Shares],
    inputs: dict[int, Input],
    released: dict[int, Release],
) -> Unmasked:
    """The end of the round. Raises S3, S5, S6.

    Pre-condition: the arguments are U1, U2, U3 and who released, with the messages that were accepted.
    """
    session, t = agreed.session(s), graph.parameters(s).threshold
    count, bits = agreed.ring_words_of_round(s), agreed.ring_of_round(s).bits
    total = [0] * count
    wrong: set[int] = set()
    for masked in inputs.values():
        keys.add(total, +1, unpack(masked.words, count, bits))
    for i in sorted(shared):
        shares = [(j, released[j].shares[i]) for j in sorted(released) if i in released[j].shares]
        require(len(shares) >= t, "S3", f"{len(shares)} shares of {t} of a seed of client {i}")
        check = check_of(session, i, i in inputs, advertised[i], shared[i])
        combined = combine(shares, t, check, frozenset(wrong))
        wrong |= combined.wrong
        if i in inputs:
            keys.add(total, -1, keys.mask(keys.self_mask_key(combined.secret, S_named, i), count, bits))
            continue
        for j in inputs:
            if graph.are_mask_peers(s, i, shared[i].pick_secret, j, shared[j].pick_secret):
                key = keys.pairwise_mask_key(combined.secret, advertised[j].mask_key, S_named, P, i, j)
                # j's input holds the stream with a plus where i > j: take it off with the other sign.
                keys.add(total, -1 if i > j else +1, keys.mask(key, count, bits))
    return Unmasked([word % 2**bits for word in total], frozenset(wrong))


def check_of(session: bytes, client: int, survived: bool, entry: Entry, shares: Shares) -> Callable[[int], bytes]:
    """What says whether a combined secret of that client is right: a survivor's seed, or a dropout's mask key."""
    if survived:
        return lambda secret: self_mask_seed(secret, session, client, shares.commitment)
    return lambda secret: mask_private_key(secret, client, entry.mask_key)
