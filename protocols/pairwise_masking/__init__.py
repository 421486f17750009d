"""Pairwise-mask secure aggregation: README.md is the text, `reference` the code."""
