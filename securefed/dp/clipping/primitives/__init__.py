"""Operations whose backward pass clips: what every rule is made of."""

from __future__ import annotations

from securefed.dp.clipping.primitives.broadcast import clip_broadcast
from securefed.dp.clipping.primitives.embedding import clip_embedding
from securefed.dp.clipping.primitives.linear import clip_linear
from securefed.dp.clipping.primitives.normalized import clip_layer_norm, clip_rms_norm
from securefed.dp.clipping.primitives.scale import clip_scale

__all__ = ["clip_broadcast", "clip_embedding", "clip_layer_norm", "clip_linear", "clip_rms_norm", "clip_scale"]
