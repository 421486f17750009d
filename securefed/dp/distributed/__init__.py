"""Distributed noise: each client adds a share of integer noise before masking or encryption, and the server sees a sum.

The text is `protocols/distributed_noise/README.md`. Needs numpy, and for a budget the extra `securefed[dp]`.
"""

from securefed.dp.distributed.mechanism import Mechanism
from securefed.dp.distributed.parameters import TENSOR, Parameters
from securefed.dp.distributed.rotation import Rotation
from securefed.dp.distributed.tails import Kind

__all__ = ["TENSOR", "Kind", "Mechanism", "Parameters", "Rotation"]
