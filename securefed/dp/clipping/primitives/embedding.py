"""A table's rows by token ids, with the clipped sum of its gradients.

A token that a sample repeats has one gradient: the sum over its places. So the norm is taken after gathering what
falls on one row, and not over places; no table per sample is made.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter, functional

from securefed.dp.clipping.contributions import Coefficients, Contribution, Sums, wide
from securefed.dp.clipping.group import Group
from securefed.dp.clipping.primitives.linear import LinearContribution

__all__ = ["EmbeddingContribution", "clip_embedding"]


def clip_embedding(
    ids: Tensor, weight: Tensor, group: Group, padding_idx: int | None = None, transposed: bool = False
) -> Tensor:
    """`F.embedding(ids, weight, padding_idx)`, whose backward pass adds the clipped sum to the weight's gradient.

    Args:
        ids: integers [B, …] with at least two dimensions; [1, …] is read as the same for every sample (the default
            positions of GPT-2), and gives [B, …, d].
        weight: [V, d], or [d, V] where `transposed`.
        group: to which the weight belongs.
        padding_idx: a row that is not trained.
        transposed: the layout of the weight.

    Raises:
        LocalProtocolError: D3 where the first dimension is neither the sample nor 1; in the backward pass D4, D5, D6.
    """
    batch = group.clipper.batch
    if batch is not None and ids.dim() > 1 and ids.shape[0] == 1 != batch:
        ids = ids.expand(batch, *ids.shape[1:])
    else:
        group.samples(ids, data=True)
    if padding_idx is not None and padding_idx < 0:
        padding_idx += weight.shape[int(transposed)]
    result: Tensor = _Embedding.apply(ids, weight, group, padding_idx, transposed)
    return result


class _Embedding(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, ids: Tensor, weight: Parameter, group: Group, padding_idx: int | None, transposed: bool
    ) -> Tensor:
        ctx.group, ctx.padding_idx, ctx.weight, ctx.transposed = group, padding_idx, weight, transposed
        ctx.save_for_backward(ids)
        return functional.embedding(ids, weight.t() if transposed else weight)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        (ids,) = ctx.saved_tensors
        group: Group = ctx.group
        samples = ids.shape[0]
        group.enter(samples)
        g = wide(g).reshape(samples, -1, g.shape[-1])
        ids = ids.reshape(samples, -1)
        group.settle(EmbeddingContribution(ctx.weight, ids, g, ctx.padding_idx, ctx.transposed))
        return None, None, None, None, None


class EmbeddingContribution(Contribution):
    """Of the gradients `g` [B, T, d] at the rows `ids` [B, T] of a table, gathered by sample and row."""

    def __init__(
        self, weight: Parameter, ids: Tensor, g: Tensor, padding_idx: int | None, transposed: bool = False
    ) -> None:
        self.parameters = (weight,)
        self.samples, self.transposed = ids.shape[0], transposed
        rows = weight.shape[int(transposed)]
        places = ids + torch.arange(self.samples, device=ids.device).unsqueeze(1) * rows
        keys, where = torch.unique(places.reshape(-1), return_inverse=True)
        self.gathered = g.new_zeros(keys.numel(), g.shape[-1]).index_add_(0, where, g.reshape(-1, g.shape[-1]))
        self.sample = torch.div(keys, rows, rounding_mode="floor")
        self.row = keys - self.sample * rows
        if padding_idx is not None:
            self.gathered.masked_fill_((self.row == padding_idx).unsqueeze(1), 0.0)

    def squares(self) -> Tensor:
        """[B]: over the rows that a sample uses."""
        of_rows = torch.linalg.vector_norm(self.gathered, dim=1).square()
        return of_rows.new_zeros(self.samples).index_add_(0, self.sample, of_rows)

    def add(self, coefficients: Coefficients, sums: Sums) -> None:
        """Add what all samples contribute, row by row."""
        scaled = self.gathered * coefficients.values.to(self.gathered.dtype)[self.sample].unsqueeze(1)
        if coefficients.dropped is not None:
            scaled.masked_fill_(coefficients.dropped[self.sample].unsqueeze(1), 0.0)
        total = sums.zeros(self.parameters[0])
        (total.t() if self.transposed else total).index_add_(0, self.row, scaled)

    def cross(self, other: Contribution, parameter: Parameter) -> Tensor | None:
        """With another embedding, row by row; with a head: `Σ_{t,s} g_head[s, id_t] (g_emb[t]·h[s])`."""
        if self.transposed:
            return None  # a table of this kind is tied to nothing that we know
        if isinstance(other, LinearContribution) and parameter is other.weight:
            return self._cross_linear(other)
        if isinstance(other, EmbeddingContribution):
            rows = parameter.shape[0]
            mine, theirs = (one.sample * rows + one.row for one in (self, other))
            at = torch.searchsorted(theirs, mine).clamp_max_(theirs.numel() - 1)
            product = (self.gathered * other.gathered[at]).sum(1) * (theirs[at] == mine)
            return product.new_zeros(self.samples).index_add_(0, self.sample, product)
        return None

    def _cross_linear(self, head: LinearContribution) -> Tensor | None:
        # A sample's distinct rows, side by side and padded with row 0 at gradient 0.
        counts = torch.bincount(self.sample, minlength=self.samples)
        firsts = counts.cumsum(0) - counts
        place = torch.arange(self.sample.numel(), device=self.sample.device) - firsts[self.sample]
        most = int(counts.max())
        ids = self.row.new_zeros(self.samples, most)
        ids[self.sample, place] = self.row
        gradients = self.gathered.new_zeros(self.samples, most, self.gathered.shape[1])
        gradients[self.sample, place] = self.gathered
        rows = head.rows_at(ids)
        return None if rows is None else (rows * gradients).flatten(1).sum(1)
