"""One client's update to ring words, and the sum of many back to weighted means."""

import math
import struct
from dataclasses import dataclass

from protocols.encoding import bfloat16
from protocols.encoding.lanes import (
    Ring,
    greatest_quantum,
    pack,
    ring_of,
    to_lanes,
    to_ring_words,
    unpack,
    wire_word_count,
)
from protocols.encoding.layout import DTYPES, Layout, TensorSpec, check_layout, layout_digest
from protocols.notation import KDF, RuleBroken, require, stream_words, u32

METRIC_SCALE = 2**24
METRIC_OFFSET = 2**62
GREATEST_METRIC = 2.0**37
SCALAR_BITS = 64


@dataclass(frozen=True)
class Parameters:
    """The numbers of a specification that decide how an update is encoded."""

    cohort: int  # n
    bits: int  # b
    clip: float  # c
    greatest_weight: int  # W

    @property
    def ring(self) -> Ring:
        """The lanes and the ring that follow from n and b. Raises V8."""
        return ring_of(self.cohort, self.bits)


@dataclass(frozen=True)
class Tensor:
    """A tensor of an update or of a mean, its values in C order."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    values: tuple[float, ...]


@dataclass(frozen=True)
class Update:
    """What a client has after training."""

    model: bytes  # digest of what it was trained from
    tensors: tuple[Tensor, ...]
    weight: int
    metrics: dict[str, float]  # in any order; without the weight


@dataclass(frozen=True)
class Mean:
    """The weighted mean of some clients' updates."""

    tensors: tuple[Tensor, ...]
    weight: int  # the sum of the weights
    metrics: dict[str, float]


def check_parameters(parameters: Parameters) -> None:
    """Raise V7 or V8 for numbers with which no update can be encoded."""
    clip, bits, greatest_weight = parameters.clip, parameters.bits, parameters.greatest_weight
    require(2.0**-512 <= clip <= 2.0**512, "V7", f"a clip of {clip}")
    require(2 <= bits <= 32, "V7", f"{bits} bits a value")
    require(1 <= greatest_weight <= 2**32 - 1, "V7", f"a greatest weight of {greatest_weight}")
    ring_of(parameters.cohort, bits)


def check_update(update: Update, layout: Layout, model: bytes, greatest_weight: int) -> None:
    """Raise V1–V6 or V9 for an update that does not belong to this layout and this model."""
    require(update.model == model, "V9", "trained from another model")
    names = [tensor.name for tensor in update.tensors]
    require(names == [spec.name for spec in layout.tensors], "V2", f"tensors {names}")
    for tensor, spec in zip(update.tensors, layout.tensors, strict=True):
        require(tensor.shape == spec.shape, "V3", f"{tensor.name} has the shape {tensor.shape}")
        require(tensor.dtype == spec.dtype, "V4", f"{tensor.name} holds {tensor.dtype}")
        require(all(math.isfinite(x) for x in tensor.values), "V1", f"{tensor.name} is not finite")
    weight = update.weight
    require(isinstance(weight, int) and 1 <= weight <= greatest_weight, "V5", f"a weight of {weight}")
    require(set(update.metrics) == set(layout.scalars[1:]), "V6", f"metrics {sorted(update.metrics)}")
    for name, metric in update.metrics.items():
        require(abs(metric * weight) <= GREATEST_METRIC, "V6", f"{name} is {metric}")


def quantise(x: float, weight: int, r: int, parameters: Parameters) -> int:
    """One parameter to its lane value in [0, 2Q], with 32 random bits r.

    Pre-condition: x is finite, 1 ≤ weight ≤ W, 0 ≤ r < 2^32.
    """
    Q, c = greatest_quantum(parameters.bits), parameters.clip
    weighted = x if weight == parameters.greatest_weight else x * (weight / parameters.greatest_weight)
    clipped = max(-c, min(c, weighted))
    q = math.floor(clipped * (Q / c) + r / 2**32)
    # The rounded product c·(Q/c) may lie just outside [−Q, Q].
    return max(-Q, min(Q, q)) + Q


def rounding_words(rounding_key: bytes, round_: int, count: int) -> list[int]:
    """The 32 random bits of each parameter."""
    return stream_words(KDF(rounding_key, "rounding", u32(round_)), count, 4)


def digit_count(bits: int) -> int:
    """D, the lanes of one scalar."""
    return -(-SCALAR_BITS // (bits - 1))


def digits(scalar: int, bits: int) -> list[int]:
    """A scalar's D digits of b−1 bits, least significant first. Pre-condition: 0 ≤ scalar < 2^64."""
    return [scalar >> (i * (bits - 1)) & (2 ** (bits - 1) - 1) for i in range(digit_count(bits))]


def from_digits(digit_sums: list[int], bits: int) -> int:
    """The sum of scalars from the sums of their digits."""
    return sum(digit << (i * (bits - 1)) for i, digit in enumerate(digit_sums))


def metric_scalar(metric: float, weight: int) -> int:
    """A metric as a non-negative integer. Pre-condition: |metric · weight| ≤ 2^37."""
    return math.floor(metric * weight * METRIC_SCALE + 0.5) + METRIC_OFFSET


def lane_count(layout: Layout, bits: int) -> int:
    """Lanes in use: one a parameter, D a scalar."""
    return layout.values + len(layout.scalars) * digit_count(bits)


def ring_word_count(layout: Layout, parameters: Parameters) -> int:
    """Ring words of an update."""
    return -(-lane_count(layout, parameters.bits) // parameters.ring.lanes)


def encode_update(
    update: Update, layout: Layout, model: bytes, parameters: Parameters, rounding_key: bytes, round_: int
) -> list[int]:
    """An update to its ring words. `model` is the digest that the specification names. Raises V1–V10."""
    check_parameters(parameters)
    check_layout(layout)
    check_update(update, layout, model, parameters.greatest_weight)
    random_words = rounding_words(rounding_key, round_, layout.values)
    values = [x for tensor in update.tensors for x in tensor.values]
    lanes = [quantise(x, update.weight, r, parameters) for x, r in zip(values, random_words, strict=True)]
    lanes += digits(update.weight, parameters.bits)
    for name in layout.scalars[1:]:
        lanes += digits(metric_scalar(update.metrics[name], update.weight), parameters.bits)
    return to_ring_words(lanes, parameters.ring)


def decode_sum(ring_words: list[int], clients: int, layout: Layout, parameters: Parameters) -> Mean:
    """The sum of so many clients' words to their weighted mean.

    Pre-condition: as many words as the layout fills, each below 2^R. Raises V11 for a sum that cannot be one.
    """
    Q = greatest_quantum(parameters.bits)
    lanes = to_lanes(ring_words, parameters.ring)
    used = lane_count(layout, parameters.bits)
    require(max(lanes) <= clients * 2 * Q, "V11", "a lane over the greatest sum")
    require(max(lanes[layout.values : used]) <= clients * Q, "V11", "a digit lane over the greatest sum")
    require(not any(lanes[used:]), "V11", "a padding lane is not zero")
    D = digit_count(parameters.bits)
    scalars = [from_digits(lanes[i : i + D], parameters.bits) for i in range(layout.values, used, D)]
    weight = scalars[0]
    require(clients <= weight <= clients * parameters.greatest_weight, "V11", f"a sum of weights {weight}")
    return Mean(
        tensors=mean_tensors(lanes, clients, weight, layout, parameters),
        weight=weight,
        metrics={
            name: (scalar - clients * METRIC_OFFSET) / METRIC_SCALE / weight
            for name, scalar in zip(layout.scalars[1:], scalars[1:], strict=True)
        },
    )


def mean_tensors(
    lanes: list[int], clients: int, weight: int, layout: Layout, parameters: Parameters
) -> tuple[Tensor, ...]:
    """The weighted mean of the parameters, one tensor after the other."""
    tensors = []
    first = 0
    for spec in layout.tensors:
        values = (mean_value(s, clients, weight, parameters) for s in lanes[first : first + spec.size])
        rounded = tuple(to_dtype(value, spec.dtype) for value in values)
        tensors.append(Tensor(spec.name, spec.dtype, spec.shape, rounded))
        first += spec.size
    return tuple(tensors)


def mean_value(lane_sum: int, clients: int, weight: int, parameters: Parameters) -> float:
    """A parameter's weighted mean from its lane's sum, in doubles from left to right."""
    Q, c = greatest_quantum(parameters.bits), parameters.clip
    return (lane_sum - clients * Q) * (c / Q) * parameters.greatest_weight / weight


def to_dtype(x: float, dtype: str) -> float:
    """The double rounded to the nearest value of the dtype, ties to even, infinite past the greatest."""
    if dtype == "bfloat16":
        return bfloat16.value(bfloat16.nearest(x))
    code = {"float16": "<e", "float32": "<f", "float64": "<d"}[dtype]
    try:
        return float(struct.unpack(code, struct.pack(code, x))[0])
    except OverflowError:
        return math.copysign(math.inf, x)


__all__ = [
    "DTYPES",
    "Layout",
    "Mean",
    "Parameters",
    "Ring",
    "RuleBroken",
    "Tensor",
    "TensorSpec",
    "Update",
    "check_parameters",
    "decode_sum",
    "digits",
    "encode_update",
    "layout_digest",
    "metric_scalar",
    "pack",
    "quantise",
    "ring_of",
    "ring_word_count",
    "rounding_words",
    "to_lanes",
    "to_ring_words",
    "unpack",
    "wire_word_count",
]
