"""Our masks, shares and unmasking against what `flwr` and `pycryptodome` do in the same place, in one run."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib import import_module
from typing import Final

import numpy as np

from bench.figures import Figure, Skipped, interleaved, ratio, spread
from bench.peers_flower import FlowerMasks, FlowerUnmask
from securefed.aggregation import Adversary, new_round
from securefed.crypto.keystream import StreamSum
from securefed.crypto.shamir import SECRET_BYTES, SHARE_BYTES, Responders, coefficients, split
from securefed.encoding.layout import Layout
from securefed.encoding.quantize import Numbers
from securefed.secagg.graph import Neighbourhood
from securefed.secagg.keys import ClientSecrets, PairContext, commitment, self_mask_key
from securefed.secagg.unmask import Evidence, unmask

__all__ = ["figures"]

_INSTALL: Final = "needs the extra `peers`: make install-peers, or pip install 'securefed[peers]'"

Taken = tuple[list[Figure], list[Skipped]]


def figures(*, quick: bool) -> Taken:
    """All figures, or what to install for them."""
    taken: list[Figure] = []
    skipped: list[Skipped] = []
    parts: dict[tuple[str, ...], Callable[[], list[Figure]]] = {
        ("flwr_over_mask_1e6",): lambda: _masks(10**6, 8.0, 9),
        ("flwr_over_mask_1e7",): lambda: _masks(10**7, 14.0, 3 if quick else 9),
        ("flwr_over_unmask",): lambda: _unmask(1 if quick else 5),
        ("pycryptodome_over_split", "pycryptodome_over_combine"): lambda: _shamir(2 if quick else 7),
    }
    for names, take in parts.items():
        try:
            taken += take()
        except ImportError as error:
            skipped += [Skipped(name, f"{_INSTALL} ({error})") for name in names]
    return taken, skipped


def _masks(values: int, bound: float, repeats: int, neighbours: int = 10) -> list[Figure]:
    """Flower makes and adds one mask after the other; ours are made in one pass, so a mask is a share of it."""
    packed = Numbers(100, 16, 1.0, 1).words(values, 1)
    vector = np.ones(values, "<u8")
    terms = [(os.urandom(32), 1 if at % 2 else -1) for at in range(neighbours)]
    seconds = interleaved(
        {
            "theirs": FlowerMasks(values),
            "words": lambda: StreamSum(terms).add_to(vector),
            "one thread": lambda: StreamSum(terms, threads=1).add_to(vector),
            "parameters": lambda: StreamSum(terms).add_to(vector[:packed]),
            "one mask": lambda: StreamSum(terms[:1]).add_to(vector),
        },
        repeats,
    )
    theirs, one_mask = seconds.pop("theirs"), seconds.pop("one mask")
    ours = {kind: [value / neighbours for value in taken] for kind, taken in seconds.items()}
    name = f"flwr_over_mask_1e{len(str(values)) - 1}"
    size = f"one mask made and added, d = {values:,}"
    return [
        # A user masks an update of d parameters: Flower takes a word for each, ours as many as its lanes need.
        Figure(
            name, ratio(theirs, ours["parameters"]), "", "higher", bound,
            f"{size} parameters of 16 bits, 100 clients, in {packed:,} words: Flower's over one of {neighbours} "
            f"of ours, each as it comes; {spread(theirs, ours['parameters'])}",
        ),
        Figure(f"{name}.words", ratio(theirs, ours["words"]), "", "higher", None, f"{size} words of either"),
        Figure(f"{name}.one_thread", ratio(theirs, ours["one thread"]), "", "higher", None, "words, one thread"),
        Figure(f"{name}.one_mask", ratio(theirs, one_mask), "", "higher", None, "words, ours one mask alone"),
    ]  # fmt: skip


def _shamir(repeats: int, holders: int = 100, threshold: int = 67) -> list[Figure]:
    """A seed of 32 bytes: one secret of ours, two blocks of 16 bytes there."""
    shamir = import_module("Crypto.Protocol.SecretSharing").Shamir
    secret, indices = os.urandom(SECRET_BYTES), range(1, holders + 1)
    blocks = [secret[:16], secret[16:]]
    ours = dict(zip(indices, split(secret, coefficients(secret, threshold, b""), indices), strict=True))
    theirs = [shamir.split(threshold, holders, block, ssss=False)[:threshold] for block in blocks]
    responders = Responders(indices, threshold)
    assert responders.combine(ours) == int.from_bytes(secret, "big")
    assert [shamir.combine(shares, ssss=False) for shares in theirs] == blocks
    seconds = interleaved(
        {
            "their split": lambda: [shamir.split(threshold, holders, block, ssss=False) for block in blocks],
            "our split": lambda: split(secret, coefficients(secret, threshold, b""), indices),
            "their combine": lambda: [shamir.combine(shares, ssss=False) for shares in theirs],
            "our combine": lambda: responders.combine(ours),
            "with set": lambda: Responders(indices, threshold).combine(ours),
        },
        repeats,
    )
    size = f"n = {holders}, t = {threshold}, a seed of 32 bytes"

    def over(kind: str, own: str) -> tuple[float, str]:
        return ratio(seconds[kind], seconds[own]), spread(seconds[kind], seconds[own])

    made, combined, with_set = over("their split", "our split"), over("their combine", "our combine"), over(
        "their combine", "with set"
    )  # fmt: skip
    return [
        Figure(
            "pycryptodome_over_split", made[0], "", "higher", 100.0,
            f"{size}, ours with its coefficients; {made[1]}",
        ),
        Figure(
            "pycryptodome_over_combine", combined[0], "", "higher", 100.0,
            f"{size}; Lagrange coefficients are computed once for all secrets of a set of responders; {combined[1]}",
        ),
        Figure(
            "pycryptodome_over_combine.with_coefficients", with_set[0], "", "higher", None,
            f"the same for a single secret: Lagrange coefficients computed for it; {with_set[1]}",
        ),
    ]  # fmt: skip


def _unmask(repeats: int, clients: int = 32, dropped: int = 3, values: int = 10**6) -> list[Figure]:
    """The server's last stage, from shares and the masked sum to the sum."""
    ours, threshold = _our_unmask(clients, dropped, values)
    theirs = FlowerUnmask(clients, dropped, threshold, values)
    assert np.allclose(theirs(), theirs.expected)
    seconds = interleaved({"theirs": theirs, "ours": ours}, repeats)
    return [
        Figure(
            "flwr_over_unmask", ratio(seconds["theirs"], seconds["ours"]), "", "higher", 40.0,
            f"n = {clients}, d = {values:,} (a word of 64 bits each), {dropped} clients lost, t = {threshold}; "
            f"{spread(seconds['theirs'], seconds['ours'])}",
        ),
        Figure("unmask_ms", 1e3 * min(seconds["ours"]), "ms", "lower", None, "ours, the least"),
    ]  # fmt: skip


def _our_unmask(clients: int, dropped: int, words: int) -> tuple[Callable[[], object], int]:
    """Our unmasking of a round that is made here, and its threshold; run once and compared with the sum.

    Everyone is everyone's neighbour, as there, whatever sparser graph we should draw for so many.
    """
    layout = Layout.of({"update": np.zeros(words, np.float32)})
    spec = new_round(
        round_number=1, cohort=tuple(range(1, clients + 1)), adversary=Adversary(), model=bytes([1]) * 32,
        layout=layout, bits=16, clip=1.0,
    )  # fmt: skip
    roster, everyone = os.urandom(32), frozenset(spec.cohort)
    secrets = {client: ClientSecrets(os.urandom(32), spec.session) for client in spec.cohort}
    alive, lost = spec.cohort[: clients - dropped], spec.cohort[clients - dropped :]
    released = {}
    for client in spec.cohort:
        both = secrets[client].share_out(roster, spec.cohort, spec.threshold)
        kind = slice(0, SHARE_BYTES) if client in alive else slice(SHARE_BYTES, None)
        released[client] = {holder: both[holder][kind] for holder in alive}
    pairs = PairContext(spec.session, roster)
    evidence = Evidence(
        spec=spec,
        threshold=spec.threshold,
        pairs=pairs,
        mask_keys={client: secrets[client].mask.public for client in spec.cohort},
        commitments={c: commitment(secrets[c].self_mask_seed, spec.session, c) for c in spec.cohort},
        neighbourhoods={
            c: Neighbourhood(c, secrets[c].pick_secret, everyone, everyone - {c}, 0) for c in spec.cohort
        },
        survived={client: client in alive for client in spec.cohort},
        released=released,
    )  # fmt: skip
    terms = [(self_mask_key(secrets[client].self_mask_seed, spec.session, client), 1) for client in alive]
    terms += [
        (pairs.mask_key(secrets[one].mask, secrets[other].mask.public, one, other), 1 if other < one else -1)
        for one in lost
        for other in alive
    ]
    total = np.arange(words, dtype="<u8")
    StreamSum(terms).add_to(total)
    unmask(total, evidence)
    assert (total == np.arange(words, dtype="<u8")).all()
    return lambda: unmask(total, evidence), spec.threshold
