"""Sealing: what is opened is what was sealed, for this key and this context, or nothing."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from securefed.crypto.aead import TAG_BYTES, open_sealed, seal
from securefed.crypto.x25519 import PrivateKey
from tests.rounds import seed
from tests.rules import refused

KEY = seed("aead")


@given(st.binary(max_size=200), st.binary(max_size=100))
def test_opens_to_what_was_sealed(plaintext: bytes, context: bytes) -> None:
    sealed = seal(KEY, plaintext, context)
    assert len(sealed) == len(plaintext) + TAG_BYTES
    assert sealed == AESGCM(KEY).encrypt(bytes(12), plaintext, context)
    assert open_sealed(KEY, sealed, context) == plaintext


@pytest.mark.rule("S4")
def test_s4_every_flipped_bit_is_noticed() -> None:
    sealed, context = seal(KEY, bytes(66), b"context"), b"context"
    for bit in range(8 * len(sealed)):
        flipped = (int.from_bytes(sealed, "big") ^ 1 << bit).to_bytes(len(sealed), "big")
        with refused("S4"):
            open_sealed(KEY, flipped, context)


@pytest.mark.rule("S4")
@pytest.mark.parametrize(
    ("key", "length", "context"),
    [
        pytest.param(seed("another"), 82, b"context", id="another key"),
        pytest.param(KEY, 82, b"contexu", id="another context"),
        pytest.param(KEY, 82, b"", id="no context"),
        pytest.param(KEY, 81, b"context", id="cut"),
        pytest.param(KEY, 15, b"context", id="shorter than its tag"),
        pytest.param(KEY, 0, b"context", id="nothing"),
    ],
)
def test_s4_another_key_context_or_length(key: bytes, length: int, context: bytes) -> None:
    sealed = seal(KEY, bytes(66), b"context")
    with refused("S4"):
        open_sealed(key, sealed[:length], context)


@pytest.mark.parametrize("length", [0, 16, 24, 31, 33])
def test_keys_have_256_bits(length: int) -> None:
    """AES-128 and AES-192 keys too: the library would take them."""
    with pytest.raises(ValueError, match="needs a key of 32 bytes"):
        seal(bytes(length), bytes(40), b"")
    # Our own mistake, never shown as the peer's.
    with pytest.raises(ValueError, match="needs a key of 32 bytes"):
        open_sealed(bytes(length), bytes(56), b"")


def test_private_keys_do_not_show_themselves() -> None:
    key = PrivateKey(KEY)
    assert KEY.hex() not in repr(key) + str(key)
    assert not hasattr(key, "__dict__")
