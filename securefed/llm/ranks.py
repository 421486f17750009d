"""Clients with adapters of different ranks: zero padding, and how many clients hold each rank component.

A client of rank r_i trains the components 1 … r_i of the common adapter of rank r. In every other component its update
is zero, so all vectors are equally long, and which components it holds travels beside them as r counts of 0 or 1 among
the metrics: inside the protected vector, where they are exact integers. The server learns their sums alone, and
divides each component by the weight of the clients that hold it instead of the weight of all (aggregation by rank
partition: Wu et al. 2026, arXiv:2602.13486; plain zero padding, as in HetLoRA, Cho et al. 2024, arXiv:2401.06432,
shrinks the components that few clients hold).

The three kinds of tensors, and what of them belongs to component k (counted from 0) of an adapter of rank r:

    ….lora_A.weight   [r, in]    row k
    ….lora_B.weight   [out, r]   column k
    ….lora_B.core     [r, r]     entries (k, j) and (j, k) for j ≤ k: a client of rank r_i trains the leading r_i × r_i
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from securefed.errors import ConfigError
from securefed.federated.training import FloatArray

__all__ = ["component", "count_names", "counts", "held_shares", "mean_over_holders", "pad", "rank_axes"]

_AXES: Mapping[str, tuple[int, ...]] = {".lora_A.weight": (0,), ".lora_B.weight": (1,), ".lora_B.core": (0, 1)}


def rank_axes(name: str) -> tuple[int, ...]:
    """The axes of a tensor of this name that run over the rank.

    Raises:
        ConfigError: no tensor of an adapter is called so.
    """
    for suffix, axes in _AXES.items():
        if name.endswith(suffix):
            return axes
    raise ConfigError("method.client_ranks", f"{name!r} has no rank: only LoRA's factors are aggregated by rank")


def component(name: str, rank: int) -> npt.NDArray[np.int64]:
    """The rank component (0 … rank − 1) that each entry of a tensor belongs to; broadcasts against the tensor."""
    index = np.arange(rank)
    axes = rank_axes(name)
    if axes == (0, 1):
        return np.maximum.outer(index, index)
    return index[:, None] if axes == (0,) else index[None, :]


def count_names(greatest: int) -> tuple[str, ...]:
    """Names of the metrics that say which components a client holds, for an adapter of rank `greatest`."""
    return tuple(f"rank {number}" for number in range(1, greatest + 1))


def counts(rank: int, greatest: int) -> dict[str, float]:
    """The metrics of one client: 1.0 for each component that it holds, 0.0 for the rest.

    Raises:
        ConfigError: the rank is not in 1 … `greatest`.
    """
    if not 1 <= rank <= greatest:
        raise ConfigError("method.client_ranks", f"a client's rank is {rank}; allowed is 1 … {greatest} (method.rank)")
    return {name: float(number < rank) for number, name in enumerate(count_names(greatest))}


def pad(tensors: Mapping[str, FloatArray], greatest: int) -> dict[str, FloatArray]:
    """An update of an adapter of a smaller rank, with zeros in the components that it has not.

    The smaller adapter must count its output by the same factor as the common one (alpha / rank: choose its alpha so),
    and start from the leading components of the common factors; where a factor is fixed, from exactly these.

    Args:
        tensors: by name, each of one rank along its rank axes; new − old, so that zero means unchanged.
        greatest: rank of the common adapter.

    Raises:
        ConfigError: a tensor is none of an adapter, has not two axes, or has a greater rank.
    """
    padded = {}
    for name, values in tensors.items():
        axes = rank_axes(name)
        extents = {values.shape[axis] for axis in axes} if values.ndim == 2 else set()
        if len(extents) != 1 or max(extents) > greatest:
            raise ConfigError(
                "method.client_ranks",
                f"{name!r} has shape {values.shape}: rank 1 … {greatest} on axes {axes} is needed",
            )
        width = [(0, greatest - extent if axis in axes else 0) for axis, extent in enumerate(values.shape)]
        padded[name] = np.pad(values, width)
    return padded


def held_shares(metrics: Mapping[str, float], weight: int, greatest: int) -> npt.NDArray[np.float64]:
    """The share of a round's weight that belongs to clients which hold each component: float64 [greatest], 0 … 1.

    Args:
        metrics: means over the round's clients by weight, those of `count_names` among them.
        weight: of all clients of the round; share · weight is an integer, and is rounded to one: a scheme that
            computes approximately (CKKS) still counts exactly.
        greatest: rank of the common adapter.
    """
    shares = np.array([metrics[name] for name in count_names(greatest)])
    return np.clip(np.rint(shares * weight), 0, weight) / weight


def mean_over_holders(
    mean: Mapping[str, FloatArray], shares: npt.NDArray[np.float64]
) -> dict[str, npt.NDArray[np.float64]]:
    """Σ weight·update / Σ weight over the clients that hold a component, each component by itself; 0 where nobody does.

    Args:
        mean: Σ weight·update / Σ weight over all clients, zero-padded, by name.
        shares: of `held_shares`, float64 [rank].
    """
    # Where nobody holds a component all updates are zero; division by 1 leaves them so.
    divisor = np.where(shares > 0, shares, 1.0)
    return {name: values.astype(np.float64) / divisor[component(name, len(shares))] for name, values in mean.items()}
