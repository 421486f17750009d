"""What a site trains from, as it travels: the weights as bytes, whose layout is beside them, and settings."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from securefed.encoding.layout import Layout
from securefed.encoding.tensors import Floats
from securefed.errors import ConfigError, LocalProtocolError, RemoteProtocolError
from securefed.wire.header import SERVER

__all__ = ["RoundSettings", "difference", "pack_weights", "to_arrays", "unpack_weights"]


def to_arrays(weights: Mapping[str, Any]) -> dict[str, Floats]:
    """Weights as numpy arrays of float16, float32 or float64 in this machine's byte order, by name.

    Args:
        weights: arrays, or what `numpy.asarray` takes without a copy, such as a torch tensor on the CPU.

    Raises:
        ConfigError: `weights.<name>`, for another dtype.
    """
    arrays = {}
    for name, value in weights.items():
        array = np.asarray(value)
        if array.dtype.kind != "f" or array.dtype.itemsize > np.dtype(np.float64).itemsize:
            raise ConfigError(
                f"weights.{name}",
                f"{array.dtype} values cannot be averaged here: give float16, float32 or float64 arrays (bfloat16 as "
                "float32) and leave counters and other integers out",
            )
        arrays[name] = array.astype(array.dtype.newbyteorder("="), copy=False)
    return arrays


def pack_weights(layout: Layout, arrays: Mapping[str, Floats]) -> bytes:
    """All values in the layout's order, little-endian, in C order, with nothing between them."""
    layout.check(arrays)
    return b"".join(np.asarray(arrays[spec.name], _stored(spec.dtype)).tobytes() for spec in layout.tensors)


def unpack_weights(layout: Layout, data: bytes) -> dict[str, Floats]:
    """The weights, in arrays that may be written to.

    Raises:
        RemoteProtocolError: O2, with the server as peer, where the bytes are not those of such tensors.
    """
    sizes = [spec.size * np.dtype(spec.dtype).itemsize for spec in layout.tensors]
    if len(data) != sum(sizes):
        raise RemoteProtocolError("O2", f"weights of {len(data)} bytes, the layout's tensors have {sum(sizes)}", SERVER)
    arrays, start = {}, 0
    for spec, size in zip(layout.tensors, sizes, strict=True):
        flat = np.frombuffer(data, _stored(spec.dtype), spec.size, start)
        arrays[spec.name] = flat.reshape(spec.shape).astype(spec.dtype)
        start += size
    return arrays


def _stored(dtype: str) -> np.dtype[Any]:
    return np.dtype(dtype).newbyteorder("<")


def difference(layout: Layout, new: Mapping[str, Any], old: Mapping[str, Floats]) -> dict[str, Floats]:
    """new − old, computed in float64 and rounded once to the layout's dtypes.

    Args:
        layout: of the update.
        new: by name, in any order; of any float dtype.
        old: the round's weights.

    Raises:
        LocalProtocolError: V2 other names, V3 another shape.
    """
    if set(new) != set(old):
        unlike = sorted(set(new) ^ set(old))[:3]
        raise LocalProtocolError("V2", f"the trained weights have other names than the round's: {unlike}")
    tensors = {}
    for spec in layout.tensors:
        trained = np.asarray(new[spec.name])
        if trained.shape != spec.shape:
            raise LocalProtocolError(
                "V3", f"trained tensor {spec.name!r} has shape {trained.shape}, the round's has {spec.shape}"
            )
        tensors[spec.name] = (trained.astype(np.float64) - old[spec.name]).astype(spec.dtype)
    return tensors


@dataclass(frozen=True)
class RoundSettings:
    """What a site is told beside the weights; in clear, and part of what the round's keys are bound to.

    Attributes:
        config: for the site's function.
        clip, greatest_weight: of the round, so that the site can tell what is cut off.
    """

    config: dict[str, Any]
    clip: float
    greatest_weight: int

    def to_json(self) -> str:
        """As JSON, one text for the same settings.

        Raises:
            ConfigError: `config`, for what JSON cannot hold.
        """
        try:
            return json.dumps(asdict(self), sort_keys=True, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ConfigError("config", f"only what JSON holds can be sent to sites: {error}") from None

    @classmethod
    def from_json(cls, text: str) -> RoundSettings:
        """What `to_json` wrote.

        Raises:
            RemoteProtocolError: O2, with the server as peer.
        """
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict) or set(found) != {"config", "clip", "greatest_weight"}:
            raise RemoteProtocolError("O2", "the round's settings are not the JSON object that they should be", SERVER)
        config, clip, greatest = found["config"], found["clip"], found["greatest_weight"]
        if not isinstance(config, dict) or type(clip) not in (int, float) or type(greatest) is not int or greatest < 1:
            raise RemoteProtocolError("O2", "the round's settings are of other types than they should be", SERVER)
        return cls(config, float(clip), greatest)
