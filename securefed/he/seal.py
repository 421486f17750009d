"""Polynomials in and out of Microsoft SEAL, through `tenseal.sealapi`, which reads and writes files alone.

Files are in memory and never on a disk. SEAL's own format is read from and written for the library in this process
only, and never taken from a peer: what travels is packed by us, of lengths known beforehand.
"""

from __future__ import annotations

import os
from typing import Any, Final, Protocol

import numpy as np

from securefed.crypto.keystream import Words
from securefed.errors import ConfigError
from securefed.he.rings import Ring

try:
    import tenseal.sealapi as sealapi
    import zstandard
except ImportError as error:
    raise ConfigError(
        "aggregation.scheme",
        f"homomorphic schemes need TenSEAL ({error}): install the extra, pip install 'securefed[he]'",
    ) from None

__all__ = ["SEED_BYTES", "BfvContext", "Ciphertext"]

SEED_BYTES: Final = 64
"""Of the generator that the library expands a seeded polynomial from."""
_HEADER_BYTES: Final = 16
_UNCOMPRESSED: Final = bytes.fromhex("5ea1 10 04 03 00 0000")
_COMPRESSED: Final = 2  # zstd
_COMPRESSION_AT: Final = 5

Ciphertext = Any
"""A ciphertext inside the library."""


class _Storable(Protocol):
    def save(self, path: str) -> None: ...


class _MemoryFile:
    """A file without a name, whose bytes the library loads from and saves to."""

    def __init__(self) -> None:
        if not hasattr(os, "memfd_create"):
            raise ConfigError(
                "aggregation.scheme", "homomorphic schemes keep keys in files in memory, which this system lacks"
            )
        self._fd = os.memfd_create("securefed")
        self.path = f"/proc/self/fd/{self._fd}"

    def __del__(self) -> None:
        if hasattr(self, "_fd"):
            os.close(self._fd)

    def hold(self, *parts: bytes | memoryview) -> str:
        """The path, behind which these bytes now are in the library's format, uncompressed."""
        size = _HEADER_BYTES + sum(map(len, parts))
        os.ftruncate(self._fd, 0)
        os.pwritev(self._fd, [_UNCOMPRESSED + size.to_bytes(8, "little"), *parts], 0)
        return self.path

    def content(self, item: _Storable) -> bytes:
        """What the library saves, without its header."""
        os.ftruncate(self._fd, 0)
        item.save(self.path)
        raw = os.pread(self._fd, os.fstat(self._fd).st_size, 0)
        if raw[_COMPRESSION_AT] != _COMPRESSED:
            return raw[_HEADER_BYTES:]
        return zstandard.ZstdDecompressor().decompressobj().decompress(raw[_HEADER_BYTES:])

    def wipe(self) -> None:
        """Nothing is left behind the path."""
        os.ftruncate(self._fd, 0)


class BfvContext:
    """BFV over one ring with the plaintext modulus 2^p, keys and plaintexts as vectors of coefficients.

    Args:
        ring: of the ciphertexts.
        plain_bits: p.
    """

    def __init__(self, ring: Ring, plain_bits: int) -> None:
        self.ring = ring
        self._file = _MemoryFile()
        parameters = sealapi.EncryptionParameters(sealapi.SCHEME_TYPE.BFV)
        parameters.set_poly_modulus_degree(ring.degree)
        parameters.set_coeff_modulus([_modulus(ring)])
        parameters.set_plain_modulus(1 << plain_bits)
        self._context = sealapi.SEALContext(parameters, True, sealapi.SEC_LEVEL_TYPE.TC128)
        if not self._context.parameters_set():
            raise ConfigError("aggregation.scheme", f"[H7] SEAL refuses: {self._context.parameters_error_message()}")
        self._evaluator = sealapi.Evaluator(self._context)
        self._learn_format()

    def _learn_format(self) -> None:
        """What stands before and between the words of each kind of object, from objects of a throw-away key."""
        size = 8 * self.ring.degree
        key = sealapi.KeyGenerator(self._context).secret_key()
        encryptor = sealapi.Encryptor(self._context, key)
        whole = sealapi.Ciphertext()
        encryptor.encrypt_symmetric(sealapi.Plaintext("1"), whole)
        raw = self._file.content(whole)
        self._before_whole = raw[: len(raw) - 2 * size]
        raw = self._file.content(encryptor.encrypt_symmetric(sealapi.Plaintext("1")))
        at = len(self._before_whole)  # the same fields
        self._before_seeded, self._before_seed = raw[:at], raw[at + size : len(raw) - SEED_BYTES]
        raw = self._file.content(key)
        self._before_key = raw[: len(raw) - size]
        raw = self._file.content(sealapi.Plaintext(f"1x^{self.ring.degree - 1}"))
        self._before_plaintext = raw[: len(raw) - size]
        self._file.wipe()

    def key(self, secret: Words) -> Any:
        """The library's key of a secret polynomial: uint64 coefficients modulo q, shape [N]."""
        # Keys are kept as values, not coefficients: the library's own transform, on a ciphertext made of the secret.
        carrier = self.whole(secret, secret)
        self._evaluator.transform_to_ntt_inplace(carrier)
        values = self._file.content(carrier)[-8 * self.ring.degree :]
        key = sealapi.SecretKey()
        key.load(self._context, self._file.hold(self._before_key, values))
        self._file.wipe()
        return key

    def encryptor(self, secret: Words) -> Any:
        """Encrypts under a secret polynomial."""
        return sealapi.Encryptor(self._context, self.key(secret))

    def decryptor(self, secret: Words) -> Any:
        """Decrypts under a secret polynomial."""
        return sealapi.Decryptor(self._context, self.key(secret))

    def encrypt(self, encryptor: Any, plaintext: Words) -> tuple[Words, bytes]:
        """c0 (uint64, shape [N]) and the seed of c1, from coefficients below 2^p (uint64, shape [N])."""
        held = sealapi.Plaintext()
        held.load(
            self._context, self._file.hold(self._before_plaintext, plaintext.astype("<u8", copy=False).data.cast("B"))
        )
        raw = self._file.content(encryptor.encrypt_symmetric(held))
        at, size = len(self._before_seeded), 8 * self.ring.degree
        self._file.wipe()
        return np.frombuffer(raw, "<u8", self.ring.degree, at), raw[at + size + len(self._before_seed) :]

    def decrypt(self, decryptor: Any, ciphertext: Ciphertext) -> Words:
        """Coefficients of the plaintext, uint64, shape [N]."""
        plaintext = sealapi.Plaintext()
        decryptor.decrypt(ciphertext, plaintext)
        raw = self._file.content(plaintext)
        self._file.wipe()
        coefficients = np.zeros(self.ring.degree, "<u8")
        found = np.frombuffer(raw, "<u8", offset=len(self._before_plaintext))
        coefficients[: len(found)] = found
        return coefficients

    def seeded(self, first: Words, seed: bytes) -> Ciphertext:
        """The ciphertext of c0 (uint64 below q, shape [N]) and the seed of c1."""
        return self._loaded(self._before_seeded, first.data.cast("B"), self._before_seed, seed)

    def whole(self, first: Words, second: Words) -> Ciphertext:
        """The ciphertext of c0 and c1, each uint64 below q, shape [N]."""
        return self._loaded(self._before_whole, first.data.cast("B"), second.data.cast("B"))

    def _loaded(self, *parts: bytes | memoryview) -> Ciphertext:
        ciphertext = sealapi.Ciphertext()
        ciphertext.load(self._context, self._file.hold(*parts))
        return ciphertext

    def add(self, total: Ciphertext, summand: Ciphertext) -> None:
        """Add a ciphertext to another in place."""
        self._evaluator.add_inplace(total, summand)

    def words(self, ciphertext: Ciphertext) -> tuple[Words, Words]:
        """c0 and c1, uint64, shape [N] each."""
        raw = self._file.content(ciphertext)
        both = np.frombuffer(raw, "<u8", 2 * self.ring.degree, len(self._before_whole))
        return both[: self.ring.degree], both[self.ring.degree :]


def _modulus(ring: Ring) -> Any:
    (modulus,) = sealapi.CoeffModulus.Create(ring.degree, [ring.bits])
    if modulus.value() != ring.modulus:
        raise ConfigError("aggregation.scheme", "this TenSEAL chooses another modulus: the versions do not fit")
    return modulus
