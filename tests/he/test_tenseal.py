"""`ckks` speaks TenSEAL: its own CKKSVector opens our ciphertexts and sums, and what it encrypts we open."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

ts = pytest.importorskip("tenseal", reason="the extra he is not installed")

from securefed.encoding.quantize import Numbers  # noqa: E402
from securefed.he.approximate import Ckks  # noqa: E402
from securefed.he.slots import nvflare_slots  # noqa: E402

NUMBERS = Numbers(clients=4, bits=16, clip=1.0)
VALUES = 3000


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def _field(number: int, data: bytes) -> bytes:
    """A protobuf field of bytes."""
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _read_varint(raw: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte, at = raw[at], at + 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, at


def _fields(raw: bytes) -> list[tuple[int, bytes, bytes]]:
    """Of a protobuf message: number, contents where they are bytes, and the whole field."""
    found, at = [], 0
    while at < len(raw):
        start = at
        key, at = _read_varint(raw, at)
        content = b""
        if key & 7 == 2:
            length, at = _read_varint(raw, at)
            content, at = raw[at : at + length], at + length
        elif key & 7 == 1:
            at += 8
        else:
            _, at = _read_varint(raw, at)
        found.append((key >> 3, content, raw[start:at]))
    return found


def _saved(item: Any, path: Path) -> bytes:
    """In SEAL's own format."""
    item.save(str(path))
    return path.read_bytes()


@pytest.fixture
def cipher() -> Ckks:
    return Ckks(nvflare_slots(NUMBERS, VALUES))


@pytest.fixture
def secret(cipher: Ckks) -> np.typing.NDArray[np.int8]:
    return np.random.default_rng(1).integers(-1, 2, cipher.packing.ring.degree).astype(np.int8)


@pytest.fixture
def context(cipher: Ckks, secret: np.typing.NDArray[np.int8], tmp_path: Path) -> Any:
    """TenSEAL's context with our secret key in the place of its own."""
    made = ts.context(
        ts.SCHEME_TYPE.CKKS, 8192, coeff_mod_bit_sizes=[60, 40, 40], encryption_type=ts.ENCRYPTION_TYPE.SYMMETRIC
    )
    made.global_scale = 2.0**40
    raw = made.serialize(save_public_key=False, save_secret_key=True, save_galois_keys=False, save_relin_keys=False)
    key = _saved(cipher.context.key(secret), tmp_path / "key")
    parts = []
    for number, content, whole in _fields(raw):
        if number == 3:
            inner = [_field(1, key) if n == 1 else field for n, _, field in _fields(content)]
            whole = _field(3, b"".join(inner))
        parts.append(whole)
    return ts.context_from(b"".join(parts))


def _lanes(seed: int) -> np.typing.NDArray[np.uint64]:
    return np.random.default_rng(seed).integers(0, 2 * NUMBERS.greatest + 1, VALUES).astype("<u8")


def test_tenseal_opens_our_sum(cipher: Ckks, secret: np.typing.NDArray[np.int8], context: Any, tmp_path: Path) -> None:
    updates = [_lanes(seed) for seed in range(4)]
    adder = cipher.adder()
    for lanes in updates:
        adder.add(cipher.encrypt(secret, iter([lanes])))
    (total,) = cipher.parse_sum(adder.total())
    vector = _field(1, _varint(VALUES)) + _field(2, _saved(total, tmp_path / "sum"))
    scale = _varint(3 << 3 | 1) + np.float64(2.0**40).tobytes()
    opened = np.array(ts.ckks_vector_from(context, vector + scale).decrypt())
    expected = np.sum(updates, axis=0).astype(np.float64) - 4 * cipher.packing.centre
    np.testing.assert_allclose(opened, expected, atol=1e-3)


def test_we_open_what_tenseal_encrypts(
    cipher: Ckks, secret: np.typing.NDArray[np.int8], context: Any, tmp_path: Path
) -> None:
    lanes = _lanes(9)
    centred = lanes.astype(np.float64) - cipher.packing.centre
    (ciphertext,) = [
        content for number, content, _ in _fields(ts.ckks_vector(context, centred.tolist()).serialize()) if number == 2
    ]
    (tmp_path / "theirs").write_bytes(ciphertext)
    (payload,) = cipher.parse_sum(bytes(cipher.sum_bytes))  # an object of ours to load into
    payload.load(cipher.context._context, str(tmp_path / "theirs"))
    total = cipher.pack_sum([cipher.context.words(payload)])
    found = np.concatenate(list(cipher.decrypt(secret, total, 1)))
    np.testing.assert_array_equal(found, lanes)
