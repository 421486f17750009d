"""Polynomials in and out of Microsoft SEAL, through `tenseal.sealapi`, which reads and writes files alone.

Files are in memory and never on a disk. SEAL's own format is read from and written for the library in this process
only, and never taken from a peer: what travels is packed by us, of lengths known beforehand.
"""

from __future__ import annotations

import os
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from securefed.crypto.keystream import Words
from securefed.errors import ConfigError
from securefed.he.rings import PrimeRing

try:
    import tenseal.sealapi as sealapi
    import zstandard
except ImportError as error:
    raise ConfigError(
        "aggregation.scheme",
        f"homomorphic schemes need TenSEAL ({error}): install the extra, pip install 'securefed[he]'",
    ) from None

__all__ = ["SEED_BYTES", "Ciphertext", "CkksContext"]

SEED_BYTES: Final = 64
"""Of the generator that the library expands a seeded polynomial from."""
_HEADER_BYTES: Final = 16
_UNCOMPRESSED: Final = bytes.fromhex("5ea1 10 04 03 00 0000")
_COMPRESSED: Final = 2  # zstd
_COMPRESSION_AT: Final = 5

Ciphertext = Any
"""A ciphertext inside the library."""
Slots = npt.NDArray[np.complex128]


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


class CkksContext:
    """CKKS at one scale. A polynomial is uint64, shape [primes · N]: prime after prime; plaintexts are slots.

    Args:
        ring: of the ciphertexts.
        scale: of all plaintexts, a power of two.
    """

    def __init__(self, ring: PrimeRing, scale: float) -> None:
        self._ring = ring
        self._scale = scale
        self._words = ring.degree * len(ring.data_primes)
        self._file = _MemoryFile()
        self._context = _context(sealapi.SCHEME_TYPE.CKKS, ring.degree, ring.primes)
        self._evaluator = sealapi.Evaluator(self._context)
        self._encoder = sealapi.CKKSEncoder(self._context)
        self._learn_format()

    def _learn_format(self) -> None:
        """What stands before and between the words of each kind of object, from objects of a throw-away key."""
        size = 8 * self._words
        key = sealapi.KeyGenerator(self._context).secret_key()
        encryptor, plaintext = sealapi.Encryptor(self._context, key), self._encoded(np.ones(1, np.complex128))
        whole = sealapi.Ciphertext()
        encryptor.encrypt_symmetric(plaintext, whole)
        raw = self._file.content(whole)
        self._before_whole = raw[: len(raw) - 2 * size]
        raw = self._file.content(encryptor.encrypt_symmetric(plaintext))
        at = len(self._before_whole)  # the same fields
        self._before_seeded, self._before_seed = raw[:at], raw[at + size : len(raw) - SEED_BYTES]
        raw = self._file.content(key)
        self._before_key = raw[: len(raw) - 8 * self._ring.degree * len(self._ring.primes)]
        self._file.wipe()

    def key(self, secret: npt.NDArray[np.int8]) -> Any:
        """The library's key of a secret polynomial."""
        values = [_values(secret, prime, self._file) for prime in self._ring.primes]
        key = sealapi.SecretKey()
        key.load(self._context, self._file.hold(self._before_key, *values))
        self._file.wipe()
        return key

    def encryptor(self, secret: npt.NDArray[np.int8]) -> Any:
        """Encrypts under a secret polynomial."""
        return sealapi.Encryptor(self._context, self.key(secret))

    def decryptor(self, secret: npt.NDArray[np.int8]) -> Any:
        """Decrypts under a secret polynomial."""
        return sealapi.Decryptor(self._context, self.key(secret))

    def _encoded(self, slots: Slots) -> Any:
        plaintext = sealapi.Plaintext()
        self._encoder.encode(slots.tolist(), self._scale, plaintext)
        return plaintext

    def encrypt(self, encryptor: Any, slots: Slots) -> tuple[Words, bytes]:
        """c0 and the seed of c1, of at most N/2 slots."""
        raw = self._file.content(encryptor.encrypt_symmetric(self._encoded(slots)))
        self._file.wipe()
        at = len(self._before_seeded)
        return np.frombuffer(raw, "<u8", self._words, at), raw[at + 8 * self._words + len(self._before_seed) :]

    def decrypt(self, decryptor: Any, ciphertext: Ciphertext) -> Slots:
        """The slots with the ciphertext's errors in them: for the key holder's eyes alone, and never to be sent."""
        plaintext = sealapi.Plaintext()
        decryptor.decrypt(ciphertext, plaintext)
        return np.array(self._encoder.decode_complex(plaintext), np.complex128)

    def seeded(self, first: Words, seed: bytes) -> Ciphertext:
        """The ciphertext of c0 (each word below its prime) and the seed of c1."""
        return self._loaded(self._before_seeded, first.data.cast("B"), self._before_seed, seed)

    def whole(self, first: Words, second: Words) -> Ciphertext:
        """The ciphertext of c0 and c1."""
        return self._loaded(self._before_whole, first.data.cast("B"), second.data.cast("B"))

    def _loaded(self, *parts: bytes | memoryview) -> Ciphertext:
        ciphertext = sealapi.Ciphertext()
        ciphertext.load(self._context, self._file.hold(*parts))
        return ciphertext

    def add(self, total: Ciphertext, summand: Ciphertext) -> None:
        """Add a ciphertext to another in place."""
        self._evaluator.add_inplace(total, summand)

    def words(self, ciphertext: Ciphertext) -> tuple[Words, Words]:
        """c0 and c1."""
        both = np.frombuffer(self._file.content(ciphertext), "<u8", 2 * self._words, len(self._before_whole))
        return both[: self._words], both[self._words :]


def _context(scheme: Any, degree: int, primes: tuple[int, ...]) -> Any:
    parameters = sealapi.EncryptionParameters(scheme)
    parameters.set_poly_modulus_degree(degree)
    parameters.set_coeff_modulus([sealapi.Modulus(prime) for prime in primes])
    if scheme == sealapi.SCHEME_TYPE.BFV:
        parameters.set_plain_modulus(_ANY_PLAIN_MODULUS)
    context = sealapi.SEALContext(parameters, True, sealapi.SEC_LEVEL_TYPE.TC128)
    if not context.parameters_set():
        raise ConfigError("aggregation.scheme", f"[H7] SEAL refuses: {context.parameters_error_message()}")
    return context


_ANY_PLAIN_MODULUS: Final = 4


def _values(secret: npt.NDArray[np.int8], prime: int, file: _MemoryFile) -> bytes:
    """A secret as the library keeps it, at the roots of unity of one prime: by its own transform of a ciphertext."""
    context = _context(sealapi.SCHEME_TYPE.BFV, len(secret), (prime,))
    carrier = sealapi.Ciphertext(context)
    sealapi.Encryptor(context, sealapi.KeyGenerator(context).secret_key()).encrypt_zero_symmetric(carrier)
    raw, size = file.content(carrier), 16 * len(secret)
    polynomial = np.where(secret < 0, np.uint64(prime - 1), secret.astype("<u8")).astype("<u8").data.cast("B")
    carrier.load(context, file.hold(raw[: len(raw) - size], polynomial, polynomial))
    sealapi.Evaluator(context).transform_to_ntt_inplace(carrier)
    return file.content(carrier)[-size // 2 :]
