"""Vectors that others wrote, through our wrappers. Each test says how many of them apply."""

from __future__ import annotations

import hmac

import pytest

from securefed.crypto import aead, engine
from securefed.crypto.hashing import digest, digest_in_domain
from securefed.crypto.kdf import Label, derive
from securefed.crypto.x25519 import PrivateKey, check_public_keys
from tests.crypto.vectors import load, wycheproof
from tests.rounds import seed
from tests.rules import refused

FIELD = 2**255 - 19


def hkdf_sha256(secret: bytes, salt: bytes, info: bytes, size: int) -> bytes:
    """RFC 5869 once more, from HMAC alone."""
    extracted = hmac.digest(salt or bytes(32), secret, "sha256")
    block, out = b"", b""
    for counter in range(1, -(-size // 32) + 1):
        block = hmac.digest(extracted, block + info + bytes([counter]), "sha256")
        out += block
    return out[:size]


def test_x25519_agrees_with_rfc_7748() -> None:
    alice = PrivateKey(bytes.fromhex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a"))
    bob = PrivateKey(bytes.fromhex("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb"))
    assert alice.public.hex() == "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"
    assert bob.public.hex() == "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f"
    shared = "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742"
    assert alice.agree(bob.public).hex() == bob.agree(alice.public).hex() == shared


@pytest.mark.rule("K1")
@pytest.mark.rule("K2")
def test_x25519_wycheproof() -> None:
    """474 canonical points agree, 15 of low order break K1, 29 non-canonical ones K2: all 518."""
    counts = {"agree": 0, "K1": 0, "K2": 0}
    for _, test in wycheproof("x25519"):
        private, public = PrivateKey(bytes.fromhex(test["private"])), bytes.fromhex(test["public"])
        if int.from_bytes(public, "little") >= FIELD:
            rule = "K2"
        elif test["shared"] == "00" * 32:
            rule = "K1"
        else:
            assert private.agree(public).hex() == test["shared"], test["tcId"]
            check_public_keys(public)
            counts["agree"] += 1
            continue
        counts[rule] += 1
        with refused(rule):
            private.agree(public)
        with refused(rule):
            check_public_keys(public)
    assert counts == {"agree": 474, "K1": 15, "K2": 29}


@pytest.mark.parametrize(
    "point",
    [
        pytest.param(0, id="zero"),
        pytest.param(1, id="one"),
        pytest.param(FIELD - 1, id="minus one"),
        pytest.param(0x00B8495F16056286FDB1329CEB8D09DA6AC49FF1FAE35616AEB8413B7C7AEBE0, id="of order 8"),
        pytest.param(0x57119FD0DD4E22D8868E1C58C45C44045BEF839C55B1D0B1248C50A3BC959C5F, id="other of order 8"),
    ],
)
@pytest.mark.rule("K1")
def test_points_of_low_order_are_refused(point: int) -> None:
    for act in (check_public_keys, PrivateKey(seed("any")).agree):
        with refused("K1"):
            act(point.to_bytes(32, "little"))


@pytest.mark.parametrize("point", [FIELD, FIELD + 1, FIELD + 9, 2**255 - 1, 2**255, 2**255 + 9, 2**256 - 1])
@pytest.mark.rule("K2")
def test_points_that_are_not_canonical_are_refused(point: int) -> None:
    for act in (check_public_keys, PrivateKey(seed("any")).agree):
        with refused("K2"):
            act(point.to_bytes(32, "little"))


@pytest.mark.rule("K2")
@pytest.mark.parametrize("length", [0, 31, 33])
def test_keys_of_another_length_are_refused(length: int) -> None:
    with refused("K2"):
        check_public_keys(bytes([9] * length))


def test_aes_gcm_wycheproof_with_our_nonce() -> None:
    """One test of 256-bit keys has the zero nonce that our wrapper has: it applies as it is."""
    used = [(g, t) for g, t in wycheproof("aes_gcm") if g["keySize"] == 256 and t["iv"] == "00" * 12]
    for _, test in used:
        key, message, data, sealed = parts(test)
        assert aead.seal(key, message, data) == sealed
        assert aead.open_sealed(key, sealed, data) == message
    assert len(used) == 1


@pytest.mark.rule("S4")
def test_aes_gcm_wycheproof_with_their_nonces(monkeypatch: pytest.MonkeyPatch) -> None:
    """66 tests of 256-bit keys have 96-bit nonces: 39 good ones, and 27 that must not open."""
    counts = {"valid": 0, "invalid": 0}
    for group, test in wycheproof("aes_gcm"):
        if (group["keySize"], group["ivSize"]) != (256, 96):
            continue
        counts[test["result"]] += 1
        monkeypatch.setattr(aead, "_NONCE", bytes.fromhex(test["iv"]))
        key, message, data, sealed = parts(test)
        if test["result"] == "valid":
            assert aead.seal(key, message, data) == sealed, test["tcId"]
            assert aead.open_sealed(key, sealed, data) == message
        else:
            with refused("S4"):
                aead.open_sealed(key, sealed, data)
    assert counts == {"valid": 39, "invalid": 27}


def parts(test: dict[str, str]) -> tuple[bytes, bytes, bytes, bytes]:
    """Key, message, associated data, ciphertext with tag."""
    key, message, data = (bytes.fromhex(test[name]) for name in ("key", "msg", "aad"))
    return key, message, data, bytes.fromhex(test["ct"] + test["tag"])


@pytest.mark.parametrize("engine_name", ["gcm", "ctr"])
def test_keystream_is_that_of_wycheproofs_aes_gcm(engine_name: engine.Engine) -> None:
    """The segment's number is the nonce: 37 good tests with a message and a 96-bit nonce, in both engines."""
    used = 0
    for group, test in wycheproof("aes_gcm"):
        if (group["keySize"], group["ivSize"], test["result"]) != (256, 96, "valid") or not test["msg"]:
            continue
        key, message, _, sealed = parts(test)
        stream = encrypted(engine_name, key, int(test["iv"], 16), message)
        assert stream == sealed[: len(message)], test["tcId"]
        used += 1
    assert used == 37


def test_keystream_is_counter_mode_of_sp_800_38a(monkeypatch: pytest.MonkeyPatch) -> None:
    """F.5.5, the test of AES-256: its counter's first 96 bits are our segment, its last 32 where we begin with 2."""
    file = load("nist/aes_ctr_sp800_38a.json")
    test = next(t for t in file["tests"] if t["id"].endswith("AES256"))
    counter = bytes.fromhex(file["iv"])
    monkeypatch.setattr(engine, "_FIRST_COUNTER", int.from_bytes(counter[12:], "big"))
    segment = int.from_bytes(counter[:12], "big")
    made = encrypted("ctr", bytes.fromhex(test["key"]), segment, bytes.fromhex(file["plaintext"]))
    assert made.hex() == test["ciphertext"]


def encrypted(engine_name: engine.Engine, key: bytes, segment: int, message: bytes) -> bytes:
    """The message with one segment's keystream."""
    out = bytearray(len(message) + 15)
    engine.open_stream(engine_name, key, segment).update_into(memoryview(message), memoryview(out))
    return bytes(out[: len(message)])


def test_the_independent_hkdf_agrees_with_wycheproof() -> None:
    """83 of the file's 86 tests; the other three ask for more bytes than HKDF has."""
    used = 0
    for _, test in wycheproof("hkdf_sha256"):
        if test["result"] == "valid":
            secret, salt, info = (bytes.fromhex(test[name]) for name in ("ikm", "salt", "info"))
            assert hkdf_sha256(secret, salt, info, test["size"]).hex() == test["okm"], test["tcId"]
            used += 1
    assert used == 83


@pytest.mark.parametrize("label", list(Label))
@pytest.mark.parametrize("context", [b"", b"\x00", b"context" * 20])
def test_derive_is_hkdf_with_our_labels(label: Label, context: bytes) -> None:
    for secret in (seed("secret"), seed("secret") + b"more"):
        info = b"securefed/1/" + label.value.encode() + b"\x00" + context
        assert derive(secret, label, context) == hkdf_sha256(secret, b"", info, 32)


def test_one_key_has_one_purpose() -> None:
    """No two labels give the same key, and no label is the beginning of another one's info."""
    assert len({derive(seed("secret"), label, b"") for label in Label}) == len(Label)
    infos = [label.value.encode() + b"\x00" for label in Label]
    assert not any(one != other and one.startswith(other) for one in infos for other in infos)


def test_short_secrets_are_not_derived_from() -> None:
    with pytest.raises(ValueError, match="31 bytes is too short"):
        derive(bytes(31), Label.CHANNEL, b"")


def test_digests_are_sha256_and_their_domains_are_apart() -> None:
    assert digest(b"a", b"bc").hex() == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert digest_in_domain("x", b"ab") == digest(b"securefed/1/x\x00ab")
    assert digest_in_domain("x", b"ab") != digest_in_domain("xa", b"b")
