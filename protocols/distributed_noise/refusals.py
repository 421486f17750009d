"""The bad vectors: each breaks the N rule that it names and no other."""

from dataclasses import asdict, replace
from typing import Any

from protocols.distributed_noise.known_answers import PADDED, SMALL, good_rounds, round_vector, update
from protocols.distributed_noise.reference import (
    Parameters,
    Round,
    check_parameters,
    check_round,
    decode,
    encode,
    round_layout,
    signs,
)
from protocols.encoding.known_answers import number
from protocols.encoding.layout import Layout, TensorSpec, layout_digest
from protocols.notation import RuleBroken
from protocols.vector_files import Vector, VectorFile, seed
from protocols.wire.specification import MALICIOUS, SEMI_HONEST, Adversary

KEY = seed("distributed_noise/refused")
UPDATE = update("refused", SMALL, 0.9)


def refused() -> VectorFile:
    """All of them."""
    file = VectorFile("distributed_noise", "refused", "What is refused, by operation, and the rule.")
    file.vectors += parameters() + rounds() + updates() + sums()
    for vector in file.vectors:
        assert rule_broken(vector) == vector["rule"], vector["name"]
    return file


def rule_broken(vector: Vector) -> str | None:
    """By the reference."""
    fields: dict[str, Any] = {
        name: float(value) if name in ("clip", "variance") else value for name, value in vector["parameters"].items()
    }
    p = Parameters(**fields)
    try:
        match vector["operation"]:
            case "configure":
                check_parameters(p)
            case "join":
                check_round(round_from(vector["round"]), p, vector["least_honest"])
            case "encode":
                values, noise = [float(v) for v in vector["values"]], [0] * p.length
                encode(values, vector["dtype"], bytes.fromhex(vector["seed"]), [2**32 - 1] * 64 * p.length, noise, p)
            case "decode":
                decode(vector["sums"], vector["survivors"], bytes.fromhex(vector["seed"]), p)
    except RuleBroken as broken:
        return broken.rule
    return None


def parameters() -> list[Vector]:
    """N6, N7 and V8."""
    out_of_bounds: list[dict[str, Any]] = [
        {"clients": 0}, {"clients": 2**20 + 1}, {"least_honest": 0}, {"least_honest": 5}, {"corrupt": -1},
        {"corrupt": 4}, {"dimension": 0}, {"dimension": 2**40 + 1}, {"clip": 0.0}, {"clip": -1.0},
        {"clip": 2.0**-401}, {"clip": 2.0**401}, {"clip": float("nan")}, {"clip": float("inf")}, {"grid": 0},
        {"grid": 2**24 + 1}, {"bits": 1}, {"bits": 23}, {"variance": 0.0}, {"variance": 0.2},
        {"variance": 2.0**41}, {"variance": float("nan")}, {"block": 0}, {"block": 12}, {"block": 2**21},
        {"failure_bits": 0}, {"failure_bits": 1001}, {"kind": "laplace"},
    ]  # fmt: skip
    too_few: list[dict[str, Any]] = [
        {"bits": 8}, {"bits": 6}, {"failure_bits": 1000, "bits": 10}, {"grid": 2**13}, {"variance": 2.0**24},
        {"kind": "discrete-gaussian", "bits": 8},
    ]  # fmt: skip
    return [
        {
            "name": ", ".join(f"{field} {value}" for field, value in change.items()),
            "rule": rule,
            "operation": "configure",
            "parameters": {field: as_json(value) for field, value in (asdict(SMALL) | change).items()},
        }
        for rule, changes in (("N6", out_of_bounds), ("N7", too_few))
        for change in changes
    ]


def round_from(vector: Vector) -> Round:
    """The inverse of `round_vector`."""
    fields: dict[str, Any] = dict(vector)
    return Round(
        **(fields | {"adversary": Adversary(**vector["adversary"]), "layout": bytes.fromhex(vector["layout"])})
    )


def rounds() -> list[Vector]:
    """N11."""
    small, real = ((p, r) for _, p, r, _ in good_rounds()[:2])
    (p, r), layout = small, layout_digest
    other = Layout((TensorSpec("noised", "float64", (p.length,)),), ("weight", "loss"))
    named: list[tuple[str, Parameters, Round, int | None]] = [
        ("fewer bits", p, replace(r, bits=p.bits - 1), None),
        ("more bits", p, replace(r, bits=p.bits + 1), None),
        ("a smaller clip", p, replace(r, clip=r.clip - 1), None),
        ("the clip of an update", p, replace(r, clip=p.clip), None),
        ("weights", p, replace(r, greatest_weight=2), None),
        ("a metric", p, replace(r, layout=layout(other)), None),
        ("another length", p, replace(r, layout=layout(round_layout(replace(p, dimension=p.dimension + 1)))), None),
        ("a larger cohort", p, replace(r, clients=p.clients + 1, adversary=replace(r.adversary, corrupt=0)), None),
        ("a smaller cohort, smaller sums", p, replace(r, clients=p.clients - 2), None),
        ("more corrupt clients", replace(real[0], least_honest=40),
         replace(real[1], adversary=Adversary(MALICIOUS, 40, 20, 101, 100)), None),
        ("a semi-honest server's smaller sums", real[0],
         replace(real[1], adversary=Adversary(SEMI_HONEST, 40, 20, 100, 100)), None),
        ("disjoint sums over more than a quarter", *real, 26),
    ]  # fmt: skip
    return [
        {"name": name, "rule": "N11", "operation": "join"} | round_vector(p, r, least_honest)
        for name, p, r, least_honest in named
    ]


def as_json(value: Any) -> Any:
    """NaN and infinities as text."""
    return number(value) if isinstance(value, float) else value


def encoding(
    rule: str, name: str, values: list[float], dtype: str = "float64", key: bytes = KEY, p: Parameters = SMALL
) -> Vector:
    """An update that is refused; each random word is 2^32 − 1, which rounds up whatever is not whole."""
    return {
        "name": name,
        "rule": rule,
        "operation": "encode",
        "parameters": asdict(p),
        "seed": key.hex(),
        "dtype": dtype,
        "values": [number(value) for value in values],
    }


def updates() -> list[Vector]:
    """N3, N4, N5, N8."""
    vectors = [
        encoding("N3", f"{x} in the update", [x, *UPDATE[1:]]) for x in (float("nan"), float("inf"), -float("inf"))
    ]
    vectors += [
        encoding("N3", "a sum of squares beyond doubles", [1e200, *UPDATE[1:]]),
        encoding("N4", "a value is missing", UPDATE[:-1]),
        encoding("N4", "a value more", [*UPDATE, 0.0]),
        encoding("N4", "float16", [0.0] * SMALL.dimension, "float16"),
        encoding("N4", "integers", [0.0] * SMALL.dimension, "int64"),
        encoding("N5", "a short seed", UPDATE, key=KEY[:31]),
        encoding("N5", "a long seed", UPDATE, key=KEY + b"\0"),
        encoding("N5", "no seed", UPDATE, key=b""),
    ]
    # The first column of the matrix is all ones: every coordinate of the first block lies half above a whole number.
    upwards = signs(KEY, PADDED.length)[0] * PADDED.clip
    return [*vectors, encoding("N8", "every word rounds up", [upwards] + [0.0] * (PADDED.dimension - 1), p=PADDED)]


def sums() -> list[Vector]:
    """N5, N9, N10."""
    good, most = [0] * SMALL.length, 3 * SMALL.greatest
    named: list[tuple[str, str, list[int], int, bytes]] = [
        ("N5", "a short seed of a sum", good, 3, KEY[:31]),
        ("N9", "over the greatest sum", [most + 1, *good[1:]], 3, KEY),
        ("N9", "under the least sum", [*good[1:], -most - 1], 3, KEY),
        ("N9", "a sum is missing", good[1:], 3, KEY),
        ("N9", "a sum more", [0, *good], 3, KEY),
        ("N10", "fewer than were planned", good, 2, KEY),
        ("N10", "none", good, 0, KEY),
        ("N10", "more than the cohort", good, 6, KEY),
    ]
    return [
        {
            "name": name,
            "rule": rule,
            "operation": "decode",
            "parameters": asdict(SMALL),
            "seed": key.hex(),
            "survivors": survivors,
            "sums": values,
        }
        for rule, name, values, survivors, key in named
    ]
