"""Pairwise-mask secure aggregation, sans IO. The text is `protocols/pairwise_masking/README.md`."""

from securefed.secagg.scheme import PairwiseMasks, default_threshold

__all__ = ["PairwiseMasks", "default_threshold"]
