"""Cryptography-first secure aggregation for federated learning of language models."""

__version__ = "0.1.0"
