"""Homomorphic aggregation: README.md is the text, `reference` the code."""
