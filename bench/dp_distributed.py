"""Noise that clients add together: a client's encoding against masking it, its rotation against a copy, its bytes."""

from __future__ import annotations

import os

import numpy as np

from bench.figures import Figure, interleaved, ratio, spread
from securefed.crypto.keystream import StreamSum
from securefed.dp.distributed import Mechanism, Parameters
from securefed.dp.distributed.rotation import Signs
from securefed.dp.noise import Source
from securefed.encoding.lanes import packed_length
from securefed.encoding.vector import VectorEncoding

__all__ = ["figures"]

NEIGHBOURS = 10
COHORT, HONEST, CORRUPT = 100, 46, 10
"""The threshold against a malicious server with a tenth of a hundred clients is 56."""
EPSILON, DELTA = 8.0, 1e-6


def figures(*, quick: bool) -> list[Figure]:
    """All figures.

    Args:
        quick: fewer repeats, and of 10^7 values alone.
    """
    repeats = 3 if quick else 7
    found = []
    for dimension in (10**7,) if quick else (10**6, 10**7):
        found += _figures(dimension, repeats)
    return found


def mechanism_of(dimension: int) -> Mechanism:
    """One round of a cohort of a hundred at ε = 8."""
    return Mechanism(
        Parameters.for_budget(
            EPSILON,
            DELTA,
            rounds=1,
            clients=COHORT,
            least_honest=HONEST,
            corrupt=CORRUPT,
            dimension=dimension,
            clip=1.0,
        )
    )


def _figures(dimension: int, repeats: int) -> list[Figure]:
    mechanism = mechanism_of(dimension)
    p, seed = mechanism.parameters, bytes(32)
    update = np.random.default_rng(dimension).normal(size=dimension).astype(np.float32)
    source, terms = Source.fresh(), [(os.urandom(32), 1 if at % 2 else -1) for at in range(NEIGHBOURS)]
    words = np.ones(VectorEncoding(mechanism.layout, p.numbers).words, "<u8")
    integers = np.zeros(mechanism.length, np.int64)
    doubles, target = np.ones(mechanism.length), np.empty(mechanism.length)
    signs, pieces = Signs(seed, mechanism.length), list(p.rotation.pieces())

    def rotate() -> None:
        for piece in pieces:
            p.rotation.forward(doubles[piece.start : piece.stop], piece, signs, 1.0)

    seconds = interleaved(
        {
            "encode": lambda: mechanism.encode(update, source, seed),
            "round": lambda: mechanism.rounded(update, source, seed),
            "noise": lambda: mechanism.add_noise(integers, source),
            "mask": lambda: StreamSum(terms, threads=1).add_to(words),
            "rotate": rotate,
            "copy": lambda: np.copyto(target, doubles),
            "decode": lambda: mechanism.decode(integers, COHORT, seed),
        },
        repeats,
    )
    size = f"10^{len(str(dimension)) - 1}"
    encode, mask = seconds["encode"], seconds["mask"]
    of = (
        f"d = {size}, k = {NEIGHBOURS}, one thread; {p.bits} bits, grid {p.grid}, "
        f"deviation of a share {p.variance**0.5:.4g}, {p.numbers.lanes.per_word} lanes a word"
    )
    lanes = p.numbers.lanes
    return [
        Figure(
            f"distributed_encode_over_masking.{size}", ratio(encode, mask), "", "lower", None,
            f"clip, rotate, round and noise over masking the same words; {of}; {spread(encode, mask)}",
        ),
        Figure(
            "noise_over_masking" if dimension == 10**7 else f"noise_over_masking.{size}",
            ratio(seconds["noise"], seconds["mask"]), "", "lower", 2.0 if dimension == 10**7 else None,
            f"Skellam noise over masking the same values in their lanes; {of}; "
            f"{spread(seconds['noise'], seconds['mask'])}",
        ),
        Figure(
            f"rotation_over_copy.{size}", ratio(seconds["rotate"], seconds["copy"]), "", "lower", None,
            f"signs and transform in blocks of {p.block}; {spread(seconds['rotate'], seconds['copy'])}",
        ),
        Figure(f"distributed_encode_ms.{size}", 1e3 * min(seconds["encode"]), "ms", "lower", None, "fastest turn"),
        Figure(f"distributed_decode_ms.{size}", 1e3 * min(seconds["decode"]), "ms", "lower", None, "fastest turn"),
        Figure(
            f"distributed_bytes_per_parameter.{size}", 8 * packed_length(len(words), lanes.ring_bits) / dimension, "B",
            "lower", None, f"n = {COHORT}, t = {HONEST}, one round at epsilon = {EPSILON:g}, delta = {DELTA:g}",
        ),
        Figure(
            f"distributed_noise_multiplier.{size}", (HONEST * p.variance) ** 0.5 / p.grid, "", "lower", None,
            "deviation of the planned noise over the clip of an update",
        ),
    ]  # fmt: skip
