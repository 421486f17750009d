"""Strict, thin wrappers over pyca/cryptography. No other room imports that library.

Each wrapper refuses what the library accepts but a protocol must not, and names the rule of `protocols/` it broke.
"""
