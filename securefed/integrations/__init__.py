"""Secure aggregation inside the engines that people already run; each needs the extra of its name."""
