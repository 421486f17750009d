"""Key derivation: HKDF-SHA256 (RFC 5869) and the one registry of what keys are for."""

from __future__ import annotations

from enum import StrEnum

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

__all__ = ["KEY_BYTES", "Label", "derive"]

KEY_BYTES = 32


class Label(StrEnum):
    """Every purpose that a key is derived for. One key, one purpose: a new use gets a new label."""

    CHANNEL_KEY = "channel-key"
    MASK_KEY = "mask-key"
    SELF_MASK_SEED = "self-mask-seed"
    SHARE_COEFFICIENTS = "share-coefficients"
    CHANNEL = "channel"
    PAIRWISE_MASK = "pairwise-mask"
    SELF_MASK = "self-mask"
    ROUNDING = "rounding"
    PICK_SECRET = "pick-secret"  # noqa: S105 - a label, not a secret
    PICKS = "picks"
    CONSENT_SAMPLE = "consent-sample"
    CONSENT_DRAW = "consent-draw"
    EXCHANGE_KEY = "exchange-key"
    ROUND_KEY = "round-key"
    SEALED_ROUND_KEY = "sealed-round-key"
    SECRET_POLYNOMIAL = "secret-polynomial"  # noqa: S105 - a label, not a secret
    TAG_COEFFICIENTS = "tag-coefficients"
    TAG_PADS = "tag-pads"
    DP_NOISE = "dp-noise"
    DP_SAMPLING = "dp-sampling"
    DP_ROUNDING = "dp-rounding"
    DP_ROTATION = "dp-rotation"


def derive(secret: bytes, label: Label, context: bytes) -> bytes:
    """A 32-byte key for one purpose in one context (`protocols/README.md`, KDF).

    Args:
        secret: at least 32 bytes of key material; never a password.
        label: the purpose.
        context: all that the key is bound to, of a length that the label fixes.
    """
    if len(secret) < KEY_BYTES:
        raise ValueError(f"a secret of {len(secret)} bytes is too short: at least {KEY_BYTES} are needed")
    info = b"securefed/1/" + label.value.encode("ascii") + b"\0" + context
    return HKDF(hashes.SHA256(), KEY_BYTES, salt=None, info=info).derive(secret)
