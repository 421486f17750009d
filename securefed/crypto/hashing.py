"""SHA-256 over a domain and parts whose lengths the caller fixes."""

from __future__ import annotations

import hashlib

__all__ = ["DIGEST_BYTES", "digest", "digest_in_domain"]

DIGEST_BYTES = 32


def digest(*parts: bytes | memoryview) -> bytes:
    """SHA-256 of the concatenated parts, 32 bytes."""
    state = hashlib.sha256()
    for part in parts:
        state.update(part)
    return state.digest()


def digest_in_domain(domain: str, *parts: bytes | memoryview) -> bytes:
    """SHA-256 of `"securefed/1/" + domain + NUL` and the parts: digests of two domains never meet."""
    return digest(b"securefed/1/" + domain.encode("ascii") + b"\0", *parts)
