"""The good vectors: what follows from parameters, rotations, conditional roundings, whole clients, means."""

from dataclasses import asdict, replace

from protocols.distributed_noise.reference import (
    DISCRETE_GAUSSIAN,
    SKELLAM,
    Parameters,
    Round,
    block_sizes,
    check_parameters,
    check_round,
    decode,
    encode,
    rotate,
    rotate_back,
    round_conditionally,
    round_layout,
    signal,
    signs,
)
from protocols.encoding.layout import layout_digest
from protocols.encoding.reference import to_dtype
from protocols.notation import stream_words
from protocols.vector_files import Vector, VectorFile, seed, seeded_double, seeded_integer
from protocols.wire.specification import MALICIOUS, SEMI_HONEST, Adversary

SMALL = Parameters(
    clients=5, least_honest=2, corrupt=1, dimension=11, clip=0.5, grid=40, bits=14, variance=300.0, kind=SKELLAM,
    block=8, failure_bits=100,
)  # fmt: skip
PADDED = replace(SMALL, dimension=150, clip=1e-3, grid=500, block=64, variance=0.25)
GAUSSIAN = replace(SMALL, dimension=20, clip=3.0, grid=7, kind=DISCRETE_GAUSSIAN, block=2**14)
REAL = Parameters(
    clients=100, least_honest=46, corrupt=10, dimension=10**6, clip=1.0, grid=3500, bits=14, variance=140_000.0,
    kind=SKELLAM, block=2**14, failure_bits=128,
)  # fmt: skip
COHORTS = {"small": SMALL, "padded": PADDED, "discrete Gaussian": GAUSSIAN}


def parameters() -> VectorFile:
    """What follows from parameters."""
    file = VectorFile("distributed_noise", "parameters", "Parameters, and the bounds and ranges that follow from them.")
    named = COHORTS | {
        "a model": REAL,
        "a model, discrete Gaussian": replace(REAL, kind=DISCRETE_GAUSSIAN),
        "one client, one number": replace(SMALL, clients=1, least_honest=1, corrupt=0, dimension=1, variance=0.25),
        "small noise, whose tail is Poisson's": replace(SMALL, variance=0.5, failure_bits=300),
        "a bound with every rounding": replace(SMALL, grid=1, dimension=10**4),
        "ten million": replace(REAL, dimension=10**7, grid=11_000, bits=16, variance=1.2e6),
        "the greatest number of bits": replace(REAL, bits=22),
    }
    for name, p in named.items():
        check_parameters(p)
        file.vectors.append(
            {
                "name": name,
                "parameters": asdict(p),
                "length": p.length,
                "sizes": [[size, p.sizes.count(size)] for size in sorted(set(p.sizes), reverse=True)],
                "signal_bound": p.signal_bound,
                "noise_reach": p.noise_reach,
                "l2_squared": p.l2_squared,
                "l1": p.l1,
                "overflow_log2": p.overflow_log2,
            }
        )
    return file


def update(name: str, p: Parameters, norm: float, dtype: str = "float64") -> list[float]:
    """Some update with about that norm over the clip."""
    bound = norm * p.clip * (3 / p.dimension) ** 0.5
    return [to_dtype(seeded_double(f"{name}/{i}", bound), dtype) for i in range(p.dimension)]


def rotation() -> VectorFile:
    """Vectors to rotated vectors."""
    file = VectorFile("distributed_noise", "rotation", "Doubles, the public signs, and the rotated doubles.")
    for dimension, block in [(1, 1), (2, 2), (5, 4), (16, 16), (33, 2**14), (130, 64), (200, 8)]:
        name = f"{dimension} in blocks of {block}"
        values = [seeded_double(f"rotation/{name}/{i}", 10.0) for i in range(dimension)]
        sizes, key = block_sizes(dimension, block), seed(f"rotation/{name}")
        file.vectors.append(
            {
                "name": name,
                "block": block,
                "seed": key.hex(),
                "values": values,
                "signs": signs(key, sum(sizes)),
                "rotated": rotate(values, sizes, key),
            }
        )
    return file


def rounding() -> VectorFile:
    """Doubles and random words to integers, some after repetitions."""
    file = VectorFile(
        "distributed_noise", "rounding", "Doubles to integers by random words, repeated where they are too long."
    )
    half, most = 2**31, 2**32 - 1
    cases: dict[str, tuple[list[float], list[list[int]], int]] = {
        "whole numbers": ([3.0, -2.0, 0.0, -0.0], [[0, most, most, most]], 13),
        "halves, down and up": ([0.5, 0.5, -0.5, -0.5], [[half - 1, half, half - 1, half]], 2),
        "just within": ([1.5, 1.5], [[half, half]], 8),
        "just beyond, then within": ([1.5, 1.5], [[half, half], [half - 1, half]], 7),
        "away from zero on both sides": ([-1.25, 1.25], [[2**30 - 1, most], [0, most], [most, 0]], 2),
        "next to nothing": ([5e-324, -5e-324, 2.0**-33, 2.0**-32, -(2.0**-32)], [[most, 0, most, most, 1]], 2),
        "near the greatest": ([2.0**21 - 1, 1 - 2.0**21, 2.0**21 - 1.5], [[most, most, half]], 2**44),
    }
    for name, (y, attempts, l2_squared) in cases.items():
        file.vectors.append(rounding_vector(name, y, [word for words in attempts for word in words], l2_squared))
    for i in range(4):
        y = [seeded_double(f"rounding/{i}/{j}", 4.0) for j in range(12)]
        words = stream_words(seed(f"rounding/{i}"), 12 * 64, 4)
        l2_squared = int(sum(v * v for v in y)) + i
        file.vectors.append(rounding_vector(f"some numbers {i}", y, words, l2_squared))
    return file


def rounding_vector(name: str, y: list[float], words: list[int], l2_squared: int) -> Vector:
    """One, with no more words than it takes."""
    integers, attempts = round_conditionally(y, words, l2_squared)
    used = words[: attempts * len(y)]
    head = {"name": name, "y": y, "l2_squared": l2_squared, "random_words": used}
    return head | {"attempts": attempts, "integers": integers}


def clients() -> VectorFile:
    """Updates to noisy integers."""
    file = VectorFile("distributed_noise", "clients", "Updates to noisy integers, with the random words and the noise.")
    for cohort, p in COHORTS.items():
        flat = update("clients/flat", p, 0.7)
        spike = [0.0] * (p.dimension - 1) + [1e6 * p.clip]
        cases = {
            "within the clip": (flat, "float64", 30),
            "beyond the clip": (update("clients/beyond", p, 20.0, "float32"), "float32", 30),
            "one coordinate": (spike, "float64", 30),
            "zero": ([0.0] * p.dimension, "float32", 30),
            "noise out of its range": (flat, "float64", 4 * p.greatest),
        }
        for name, (values, dtype, bound) in cases.items():
            name = f"{cohort}, {name}"
            noise = [seeded_integer(f"{name}/{i}", 2 * bound + 1) - bound for i in range(p.length)]
            file.vectors.append(client_vector(name, values, dtype, noise, p))
    p, name = replace(SMALL, dimension=64, block=64, grid=100), "made for the signs, so that a coordinate is clamped"
    spike = [0.0] * 9 + [p.clip] + [0.0] * 54
    values = rotate_back(spike, p.sizes, seed(f"clients/{name}/signs"))
    assert max(signal(values, seed(f"clients/{name}/signs"), p)) == p.signal_bound < p.grid
    file.vectors.append(client_vector(name, values, "float64", [0] * 64, p))
    return file


def client_vector(name: str, values: list[float], dtype: str, noise: list[int], p: Parameters) -> Vector:
    """One client."""
    key, words = seed(f"clients/{name}/signs"), stream_words(seed(f"clients/{name}"), 64 * p.length, 4)
    _, attempts = round_conditionally(signal(values, key, p), words, p.l2_squared)
    return {
        "name": name,
        "parameters": asdict(p),
        "seed": key.hex(),
        "dtype": dtype,
        "values": values,
        "random_words": words[: attempts * p.length],
        "noise": noise,
        "integers": encode(values, dtype, key, words, noise, p),
    }


def rounds() -> VectorFile:
    """Rounds that a client takes part in."""
    file = VectorFile("distributed_noise", "rounds", "Rounds in which the sum has the noise that was planned.")
    for name, p, r, least_honest in good_rounds():
        check_round(r, p, least_honest)
        file.vectors.append({"name": name} | round_vector(p, r, least_honest))
    return file


def good_rounds() -> list[tuple[str, Parameters, Round, int | None]]:
    """Some that just do, and some with more noise than that."""
    small = round_for(SMALL, Adversary(SEMI_HONEST, 40, 20, 200, 200))
    real = round_for(REAL, Adversary(MALICIOUS, 40, 20, 100, 100))
    careful = replace(REAL, least_honest=26)
    return [
        ("semi-honest", SMALL, small, None),
        ("malicious", REAL, real, None),
        ("a smaller cohort with more in a sum", replace(SMALL, clients=6), small, None),
        ("fewer are planned with", replace(REAL, least_honest=45), real, None),
        ("more are corrupt than the round says", replace(REAL, corrupt=11), real, None),
        ("disjoint sums over more than a quarter", careful, round_for(careful, real.adversary), 26),
    ]


def round_for(p: Parameters, adversary: Adversary) -> Round:
    """The round of all its clients."""
    return Round(p.clients, adversary, p.bits, float(p.greatest), 1, layout_digest(round_layout(p)))


def round_vector(p: Parameters, r: Round, least_honest: int | None) -> Vector:
    """In JSON's types."""
    described = asdict(r) | {"layout": r.layout.hex()}
    return {"parameters": asdict(p), "round": described, "least_honest": least_honest}


def means() -> VectorFile:
    """Sums to means."""
    file = VectorFile("distributed_noise", "means", "Sums of noisy integers to the mean update.")
    for cohort, p in COHORTS.items():
        for survivors in (p.least_honest + p.corrupt, p.clients):
            name, bound = f"{cohort}, {survivors} survivors", survivors * p.greatest
            sums = [bound, -bound, *(seeded_integer(f"{name}/{i}", 2 * bound + 1) - bound for i in range(p.length - 2))]
            key = seed(f"means/{name}")
            file.vectors.append(
                {
                    "name": name,
                    "parameters": asdict(p),
                    "survivors": survivors,
                    "seed": key.hex(),
                    "sums": sums,
                    "mean": decode(sums, survivors, key, p),
                }
            )
    return file
