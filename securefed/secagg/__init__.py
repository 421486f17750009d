"""Pairwise-mask secure aggregation, sans IO. The text is `protocols/pairwise_masking/README.md`."""

from securefed.secagg.scheme import PairwiseMasks

__all__ = ["PairwiseMasks"]
