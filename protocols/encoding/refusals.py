"""The bad vectors of the encoding: each breaks the V rule that it names and no other."""

from dataclasses import asdict, replace
from typing import Any

from protocols.encoding.known_answers import (
    LAYOUT,
    LAYOUT_BFLOAT16,
    layout_vector,
    number,
    seeded_update,
    update_vector,
)
from protocols.encoding.layout import Layout, TensorSpec
from protocols.encoding.reference import Parameters, Tensor, Update, digits, lane_count, to_dtype, to_ring_words
from protocols.vector_files import Vector, VectorFile, seed

PARAMETERS = Parameters(cohort=5, bits=16, clip=0.25, greatest_weight=100)
MODEL = seed("encoding/refused/model")
UPDATE = seeded_update("encoding/refused", LAYOUT, MODEL, 0.5, 42)
UPDATE_BFLOAT16 = seeded_update("encoding/refused/bfloat16", LAYOUT_BFLOAT16, MODEL, 0.5, 42)
CLIENTS = 3


def refused() -> VectorFile:
    """All of them."""
    file = VectorFile(
        "encoding", "refused", "What an encoder or a decoder of sums refuses, by operation, and the rule."
    )
    file.vectors += updates() + updates_of_bfloat16() + parameters() + layouts() + sums()
    return file


def encode(rule: str, name: str, update: Update, layout: Layout = LAYOUT) -> Vector:
    """An update that is refused."""
    return {
        "name": name,
        "rule": rule,
        "operation": "encode",
        "layout": layout_vector(layout),
        **asdict(PARAMETERS),
        "model": MODEL.hex(),
        "round": 9,
        "rounding_key": seed("encoding/refused/rounding").hex(),
        "update": update_vector(update),
    }


def with_tensor(index: int, update: Update = UPDATE, **changes: Any) -> Update:
    """The good update with one tensor changed."""
    tensors = list(update.tensors)
    tensors[index] = replace(tensors[index], **changes)
    return replace(update, tensors=tuple(tensors))


def with_value(index: int, value: float, update: Update = UPDATE) -> Update:
    """The good update with another last value in one tensor."""
    return with_tensor(index, update, values=(*update.tensors[index].values[:-1], value))


def updates() -> list[Vector]:
    """V1–V6 and V9."""
    nan, inf = float("nan"), float("inf")
    tensors = UPDATE.tensors
    extra = Tensor("extra", "float32", (1,), (0.0,))
    vectors = [encode("V1", f"{x} in {tensors[i].name}", with_value(i, x)) for i, x in enumerate((nan, inf, -inf))]
    vectors += [
        encode("V2", "a tensor is missing", replace(UPDATE, tensors=tensors[:-1])),
        encode("V2", "a tensor is added", replace(UPDATE, tensors=(*tensors, extra))),
        encode("V2", "a tensor is renamed", with_tensor(1, name="block.0.lora_b")),
        encode("V2", "another order", replace(UPDATE, tensors=tensors[::-1])),
        encode("V2", "no tensor", replace(UPDATE, tensors=())),
        encode("V3", "the transposed shape", with_tensor(0, shape=(3, 2))),
        encode("V3", "a dimension less", with_tensor(1, shape=(3,))),
        encode("V3", "a dimension more", with_tensor(2, shape=(1,))),
        encode("V4", "float64 for float32", with_tensor(0, dtype="float64")),
        encode("V4", "float32 for float16", with_tensor(1, dtype="float32")),
        encode("V4", "integers", with_tensor(0, dtype="int64", values=(1.0, 2.0, 3.0, 4.0, 5.0, 6.0))),
        encode("V4", "complex numbers", with_tensor(0, dtype="complex64")),
        encode("V4", "objects", with_tensor(0, dtype="object")),
        encode("V9", "trained from another model", replace(UPDATE, model=seed("another model"))),
    ]
    for weight in (0, -1, PARAMETERS.greatest_weight + 1, 2**32):
        vectors.append(encode("V5", f"a weight of {weight}", replace(UPDATE, weight=weight)))
    fraction = encode("V5", "a weight of 1.5", UPDATE)
    fraction["update"]["weight"] = 1.5
    vectors.append(fraction)
    metrics: dict[str, dict[str, float]] = {
        "no metric": {},
        "another metric": {"accuracy": 0.5},
        "a metric more": {"loss": 0.5, "accuracy": 0.5},
        "nan": {"loss": nan},
        "inf": {"loss": inf},
        "a large metric": {"loss": 2.0**37},
        "a large negative metric": {"loss": -(2.0**37)},
    }
    return vectors + [encode("V6", name, replace(UPDATE, metrics=m)) for name, m in metrics.items()]


def updates_of_bfloat16() -> list[Vector]:
    """V1 and V4, where the layout says bfloat16 or the update does."""
    update, first = UPDATE_BFLOAT16, UPDATE_BFLOAT16.tensors[0]
    rounded = tuple(to_dtype(x, "bfloat16") for x in UPDATE.tensors[0].values)
    whole = tuple(float(i) for i in range(len(first.values)))
    vectors = [
        encode("V1", f"{x} in a bfloat16", with_value(i, x, update), LAYOUT_BFLOAT16)
        for i, x in ((0, float("nan")), (0, float("inf")), (2, float("-inf")))
    ]
    vectors += [
        encode("V4", f"{dtype} for bfloat16", with_tensor(0, update, dtype=dtype, values=values), LAYOUT_BFLOAT16)
        for dtype, values in (("float32", first.values), ("float16", whole), ("uint16", whole), ("int16", whole))
    ]
    return [*vectors, encode("V4", "bfloat16 for float32", with_tensor(0, dtype="bfloat16", values=rounded))]


def parameters() -> list[Vector]:
    """V7 and V8: what nobody can encode with."""
    changes: list[tuple[str, dict[str, float]]] = [
        ("V7", {"clip": 0.0}),
        ("V7", {"clip": -1.0}),
        ("V7", {"clip": 2.0**-513}),
        ("V7", {"clip": 2.0**513}),
        ("V7", {"clip": float("inf")}),
        ("V7", {"clip": float("nan")}),
        ("V7", {"bits": 1}),
        ("V7", {"bits": 33}),
        ("V7", {"greatest_weight": 0}),
        ("V7", {"greatest_weight": 2**32}),
        ("V8", {"bits": 32, "cohort": 2**33}),
        ("V8", {"bits": 2, "cohort": 2**63}),
    ]
    return [
        {
            "name": ", ".join(f"{field} {value}" for field, value in change.items()),
            "rule": rule,
            "operation": "configure",
            **{field: number(value) for field, value in (asdict(PARAMETERS) | change).items()},
        }
        for rule, change in changes
    ]


def layouts() -> list[Vector]:
    """V10, and V4 for a dtype that no update can have."""
    tensor = LAYOUT.tensors[0]
    named = {
        "no tensor": Layout((), ("weight",)),
        "only empty tensors": Layout((TensorSpec("x", "float32", (3, 0)),), ("weight",)),
        "a tensor's name twice": Layout((tensor, LAYOUT.tensors[1], tensor), ("weight",)),
        "a scalar's name twice": Layout((tensor,), ("weight", "loss", "loss")),
        "two weights": Layout((tensor,), ("weight", "weight")),
    }
    vectors = [("V10", name, layout) for name, layout in named.items()]
    vectors += [
        ("V4", f"a layout with {dtype}", Layout((tensor, TensorSpec("x", dtype, (2,))), ("weight",)))
        for dtype in ("int8", "uint16", "float8_e4m3fn", "complex64")
    ]
    return [
        {"name": name, "rule": rule, "operation": "layout", "layout": layout_vector(layout)}
        for rule, name, layout in vectors
    ]


def sums() -> list[Vector]:
    """V11: sums of three clients that no three inputs have."""
    bits = PARAMETERS.bits
    used = lane_count(LAYOUT, bits)
    padding = -used % PARAMETERS.ring.lanes
    greatest = CLIENTS * (2**bits - 2)
    assert padding > 0

    def total(weight: int, lanes: dict[int, int] | None = None) -> list[int]:
        """Ring words of a sum with that weight, and some lanes set to other values."""
        values = [greatest // 2] * LAYOUT.values + digits(weight, bits) + digits(3 * 2**62, bits)
        values += [0] * padding
        for lane, value in (lanes or {}).items():
            values[lane] = value
        return to_ring_words(values, PARAMETERS.ring)

    good = CLIENTS * 10
    weight_lane = LAYOUT.values
    named = {
        "first lane over the greatest sum": total(good, {0: greatest + 1}),
        "a digit over the greatest sum": total(good, {used - 1: greatest + 1}),
        "a digit over the greatest sum of digits": total(good, {used - 1: greatest // 2 + 1}),
        "1 in a padding lane": total(good, {used: 1}),
        "a great number in a padding lane": total(good, {used: greatest}),
        "no weight": total(0),
        "a weight less than one each": total(CLIENTS - 1),
        "a weight over the greatest": total(CLIENTS * PARAMETERS.greatest_weight + 1),
        "a weight in a high digit": total(good, {weight_lane + 3: 1}),
    }
    return [
        {
            "name": name,
            "rule": "V11",
            "operation": "decode",
            "layout": layout_vector(LAYOUT),
            **asdict(PARAMETERS),
            "clients": CLIENTS,
            "sum": ring_words,
        }
        for name, ring_words in named.items()
    ]
