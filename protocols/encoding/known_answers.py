"""The good vectors of the encoding: layouts, quantised values, scalars, lanes, packed words, whole aggregates."""

from dataclasses import asdict

from protocols.encoding.layout import Layout, TensorSpec, layout_digest
from protocols.encoding.reference import (
    Parameters,
    Tensor,
    Update,
    decode_sum,
    digits,
    encode_update,
    metric_scalar,
    pack,
    quantise,
    ring_of,
    rounding_words,
    to_dtype,
    to_lanes,
    to_ring_words,
    wire_word_count,
)
from protocols.notation import KDF
from protocols.vector_files import Vector, VectorFile, seed, seeded_double, seeded_integer

LAYOUT = Layout(
    tensors=(
        TensorSpec("block.0.lora_A", "float32", (2, 3)),
        TensorSpec("block.0.lora_B", "float16", (3, 1)),
        TensorSpec("scale", "float64", ()),
    ),
    scalars=("weight", "loss"),
)

LAYOUT_BFLOAT16 = Layout(
    tensors=(
        TensorSpec("block.0.q_proj", "bfloat16", (2, 3)),
        TensorSpec("norm", "float32", (2,)),
        TensorSpec("scale", "bfloat16", ()),
    ),
    scalars=("weight", "loss"),
)


def layout_vector(layout: Layout) -> Vector:
    """A layout in JSON's types."""
    tensors = [asdict(tensor) | {"shape": list(tensor.shape)} for tensor in layout.tensors]
    return {"tensors": tensors, "scalars": list(layout.scalars)}


def update_vector(update: Update) -> Vector:
    """An update in JSON's types; nan and the infinities as text."""
    return {
        "model": update.model.hex(),
        "tensors": tensors_vector(update.tensors),
        "weight": update.weight,
        "metrics": {name: number(x) for name, x in update.metrics.items()},
    }


def tensors_vector(tensors: tuple[Tensor, ...]) -> list[Vector]:
    """Tensors with their values in C order."""
    return [
        asdict(tensor) | {"shape": list(tensor.shape), "values": [number(x) for x in tensor.values]}
        for tensor in tensors
    ]


def number(x: float) -> float | str:
    """A double as JSON can hold it."""
    return x if abs(x) < float("inf") else str(x)


def layouts() -> VectorFile:
    """Digests of layouts."""
    file = VectorFile("encoding", "layouts", "Layouts, the number of their parameters, and their digests.")
    named = {
        "three dtypes and a metric": LAYOUT,
        "one number": Layout((TensorSpec("x", "float64", ()),), ("weight",)),
        "names beyond ASCII": Layout((TensorSpec("größe/層", "float32", (4,)),), ("weight", "verlust µ")),
        "an empty tensor beside another": Layout(
            (TensorSpec("none", "float16", (0, 5)), TensorSpec("some", "float16", (5,))), ("weight",)
        ),
        "a tensor named weight": Layout((TensorSpec("weight", "float32", (1, 2, 3, 4)),), ("weight",)),
        "the first in another order": Layout(LAYOUT.tensors[::-1], LAYOUT.scalars),
        "bfloat16 beside another": LAYOUT_BFLOAT16,
    }
    for name, layout in named.items():
        digest = layout_digest(layout).hex()
        file.vectors.append({"name": name, "layout": layout_vector(layout), "values": layout.values, "digest": digest})
    return file


def edges(clip: float) -> list[float]:
    """Values around which a quantiser errs."""
    beyond = [clip * 1.5, -clip * 1.5, 1e300, -1e300]
    return [0.0, -0.0, clip, -clip, clip / 2, -clip / 3, 5e-324, -5e-324, *beyond]


def quantisation() -> VectorFile:
    """Values to lane values, for several cohorts, bits, clips, and weights."""
    file = VectorFile(
        "encoding",
        "quantisation",
        "Doubles (dtype float64, one tensor) to lane values, with the random words of the rounding.",
    )
    cases = [
        ("full weight", Parameters(4, 16, 1.0, 1), 1),
        ("a part of the weight", Parameters(5, 16, 0.25, 500), 137),
        ("least weight", Parameters(100, 12, 0.1, 10_000), 1),
        ("two bits", Parameters(3, 2, 0.5, 7), 7),
        ("three bits", Parameters(1000, 3, 0.59, 3), 2),
        ("thirty-two bits", Parameters(8, 32, 0.07, 2**32 - 1), 2**32 - 2),
        ("a small clip", Parameters(50, 20, 1e-3, 64), 63),
        ("the greatest cohort", Parameters(2**20, 24, 3.0, 12), 5),
    ]
    for name, parameters, weight in cases:
        whole = parameters.clip * parameters.greatest_weight / weight
        values = edges(whole) + [seeded_double(f"quantisation/{name}/{i}", whole) for i in range(20)]
        file.vectors.append(quantised(name, parameters, weight, 3, seed(f"rounding/{name}"), values))
    file.vectors.append(below_the_least())
    return file


def below_the_least() -> Vector:
    """A product c·(Q/c) that rounds over Q, and a random word so small that only max(−Q, …) keeps the lane ≥ 0.

    The counter in the seed was searched for: one word in about 2^23 is small enough.
    """
    parameters = Parameters(8, 32, CLIP_BELOW, 1)
    key = seed(f"rounding/below the least/{COUNTER_BELOW}")
    return quantised("below the least", parameters, 1, 0, key, [-CLIP_BELOW] * 64)


CLIP_BELOW = 0.07
COUNTER_BELOW = 1773


def quantised(name: str, parameters: Parameters, weight: int, round_: int, key: bytes, values: list[float]) -> Vector:
    """One client's values to lane values."""
    random_words = rounding_words(key, round_, len(values))
    lane_values = [quantise(x, weight, r, parameters) for x, r in zip(values, random_words, strict=True)]
    return {
        "name": name,
        **asdict(parameters),
        "weight": weight,
        "round": round_,
        "rounding_key": key.hex(),
        "values": values,
        "random_words": random_words,
        "lane_values": lane_values,
    }


def scalars() -> VectorFile:
    """Scalars to digits, metrics to scalars."""
    file = VectorFile("encoding", "scalars", "Scalars and their digits; metrics, and the scalars that they travel as.")
    for bits in (2, 3, 12, 16, 20, 32):
        for scalar in (0, 1, 2**64 - 1, seeded_integer(f"scalar/{bits}", 2**64)):
            file.vectors.append({"bits": bits, "scalar": scalar, "digits": digits(scalar, bits)})
    for metric, weight in [
        (0.0, 1),
        (2.302585092994046, 500),
        (-0.75, 3),
        (2.0**-25, 1),
        (-(2.0**-25), 1),
        (1e-300, 4_000_000_000),
        (2.0**37, 1),
        (-(2.0**36), 2),
    ]:
        file.vectors.append({"metric": metric, "weight": weight, "scalar": metric_scalar(metric, weight)})
    return file


def lanes() -> VectorFile:
    """Lanes to ring words."""
    file = VectorFile("encoding", "lanes", "The ring that follows from n and b, and lanes in its words.")
    for cohort, bits in [(1, 2), (3, 2), (3, 16), (5, 16), (8, 16), (100, 12), (50, 20), (10, 28), (2**20, 32)]:
        ring = ring_of(cohort, bits)
        greatest = cohort * (2**bits - 2)
        lane_values = [greatest, 0, *(seeded_integer(f"lane/{bits}/{i}", greatest + 1) for i in range(5))]
        ring_words = to_ring_words(lane_values, ring)
        file.vectors.append(
            {
                "cohort": cohort,
                "bits": bits,
                "lane_bits": ring.lane_bits,
                "lanes_per_word": ring.lanes,
                "ring_bits": ring.bits,
                "lanes": lane_values,
                "ring_words": ring_words,
                "padding": len(to_lanes(ring_words, ring)) - len(lane_values),
            }
        )
    return file


def packing() -> VectorFile:
    """Ring words to the words of an INPUT."""
    file = VectorFile("encoding", "packing", "Ring words of R bits, and the 64-bit words of an INPUT's body.")
    for ring_bits in (64, 63, 62, 60, 57, 54, 50, 38, 33):
        for count in (1, 5, 11):
            ring_words = [seeded_integer(f"packing/{ring_bits}/{i}", 2**ring_bits) for i in range(count - 1)]
            ring_words.append(2**ring_bits - 1)
            wire_words = pack(ring_words, ring_bits)
            assert len(wire_words) == wire_word_count(count, ring_bits)
            file.vectors.append(
                {
                    "ring_bits": ring_bits,
                    "ring_words": ring_words,
                    "wire_words": wire_words,
                    "body": b"".join(word.to_bytes(8, "little") for word in wire_words).hex(),
                }
            )
    return file


def seeded_update(name: str, layout: Layout, model: bytes, bound: float, weight: int) -> Update:
    """Some update: values of each dtype in about [−bound, bound], metrics in [−4, 4)."""
    tensors = tuple(
        Tensor(
            spec.name,
            spec.dtype,
            spec.shape,
            tuple(to_dtype(seeded_double(f"{name}/{spec.name}/{i}", bound), spec.dtype) for i in range(spec.size)),
        )
        for spec in layout.tensors
    )
    metrics = {metric: seeded_double(f"{name}/{metric}", 4.0) for metric in layout.scalars[1:]}
    return Update(model, tensors, weight, metrics)


def aggregates() -> VectorFile:
    """Updates of several clients to ring words, their sum, and its mean."""
    file = VectorFile(
        "encoding",
        "aggregates",
        "Updates, their ring words, the sum of these modulo 2^R, and the weighted mean that it decodes to.",
    )
    cases = {
        "three of three": (Parameters(3, 16, 1.0, 100), [100, 1, 42]),
        "three of five": (Parameters(5, 20, 0.3, 1000), [999, 500, 2]),
        "one of two with two bits": (Parameters(2, 2, 0.5, 8), [8]),
        "four of a large cohort": (Parameters(2**20, 32, 0.07, 2**32 - 1), [1, 2**32 - 1, 2**31, 77]),
    }
    for name, (parameters, weights) in cases.items():
        file.vectors.append(aggregate(name, parameters, weights, LAYOUT))
    of_bfloat16 = {
        "bfloat16, three of three": (Parameters(3, 16, 1.0, 100), [100, 1, 42]),
        "bfloat16, two of four with 32 bits": (Parameters(4, 32, 0.07, 2**32 - 1), [1, 2**32 - 1]),
    }
    for name, (parameters, weights) in of_bfloat16.items():
        file.vectors.append(aggregate(name, parameters, weights, LAYOUT_BFLOAT16))
    return file


def aggregate(name: str, parameters: Parameters, weights: list[int], layout: Layout) -> Vector:
    """One aggregate, a client for each weight."""
    model, round_ = seed("encoding/model"), 9
    clients: list[Vector] = []
    for i, weight in enumerate(weights):
        bound = 2 * parameters.clip * parameters.greatest_weight / weight
        # Beyond float16 a value would be infinite; within, a large one is clipped all the same.
        update = seeded_update(f"{name}/{i}", layout, model, min(bound, 60_000.0), weight)
        key = KDF(seed(name), "vector", bytes([i]))
        ring_words = encode_update(update, layout, model, parameters, key, round_)
        clients.append({"rounding_key": key.hex(), "update": update_vector(update), "ring_words": ring_words})
    modulus = 2**parameters.ring.bits
    total = [sum(column) % modulus for column in zip(*(c["ring_words"] for c in clients), strict=True)]
    mean = decode_sum(total, len(weights), layout, parameters)
    return {
        "name": name,
        "layout": layout_vector(layout),
        **asdict(parameters),
        "model": model.hex(),
        "round": round_,
        "clients": clients,
        "sum": total,
        "mean": {
            "tensors": tensors_vector(mean.tensors),
            "weight": mean.weight,
            "metrics": mean.metrics,
        },
    }
