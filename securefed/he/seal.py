"""Polynomials in and out of Microsoft SEAL, through `tenseal.sealapi`, which reads and writes files alone.

Files are in memory and never on a disk. SEAL's own format is read from and written for the library in this process
only, and never taken from a peer: what travels is packed by us, of lengths known beforehand.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

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

__all__ = ["SEED_BYTES", "BfvContext", "Ciphertext", "CkksContext", "SealContext"]

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


class SealContext:
    """What both kinds of encryption have in common. A polynomial is uint64, shape [primes · N]: prime after prime.

    Args:
        ring: of the ciphertexts.
        parameters: the library's, complete but for degree and modulus.
        sample: makes some plaintext, from which the library's format is learnt.
    """

    def __init__(self, ring: Ring, parameters: Any, sample: Callable[[Any], Any]) -> None:
        self.ring = ring
        self.words_of_a_polynomial = ring.degree * len(ring.data_primes)
        self._file = _MemoryFile()
        parameters.set_poly_modulus_degree(ring.degree)
        parameters.set_coeff_modulus([sealapi.Modulus(prime) for prime in ring.primes])
        self._context = sealapi.SEALContext(parameters, True, sealapi.SEC_LEVEL_TYPE.TC128)
        if not self._context.parameters_set():
            raise ConfigError("aggregation.scheme", f"[H7] SEAL refuses: {self._context.parameters_error_message()}")
        self._evaluator = sealapi.Evaluator(self._context)
        self._learn_format(sample(self._context))

    def _learn_format(self, plaintext: Any) -> None:
        """What stands before and between the words of each kind of object, from objects of a throw-away key."""
        size = 8 * self.words_of_a_polynomial
        key = sealapi.KeyGenerator(self._context).secret_key()
        encryptor = sealapi.Encryptor(self._context, key)
        whole = sealapi.Ciphertext()
        encryptor.encrypt_symmetric(plaintext, whole)
        raw = self._file.content(whole)
        self._before_whole = raw[: len(raw) - 2 * size]
        raw = self._file.content(encryptor.encrypt_symmetric(plaintext))
        at = len(self._before_whole)  # the same fields
        self._before_seeded, self._before_seed = raw[:at], raw[at + size : len(raw) - SEED_BYTES]
        raw = self._file.content(key)
        self._before_key = raw[: len(raw) - 8 * self.ring.degree * len(self.ring.primes)]
        self._file.wipe()

    def key(self, secret: Words) -> Any:
        """The library's key of a secret polynomial: uint64 coefficients modulo the first prime, shape [N]."""
        first = self.ring.modulus
        negative = secret > np.uint64(first // 2)
        values = []
        for prime in self.ring.primes:
            modulo = np.where(negative, secret - np.uint64(first) + np.uint64(prime), secret)
            values.append(self._values(modulo, prime))
        key = sealapi.SecretKey()
        key.load(self._context, self._file.hold(self._before_key, *values))
        self._file.wipe()
        return key

    def _values(self, coefficients: Words, prime: int) -> bytes:
        """The library keeps keys as values at roots of unity: its own transform, on a ciphertext made of the secret."""
        return BfvContext(Ring(self.ring.degree, prime), _FEWEST_PLAIN_BITS)._values(coefficients, prime)

    def encryptor(self, secret: Words) -> Any:
        """Encrypts under a secret polynomial."""
        return sealapi.Encryptor(self._context, self.key(secret))

    def decryptor(self, secret: Words) -> Any:
        """Decrypts under a secret polynomial."""
        return sealapi.Decryptor(self._context, self.key(secret))

    def _encrypted(self, encryptor: Any, plaintext: Any) -> tuple[Words, bytes]:
        raw = self._file.content(encryptor.encrypt_symmetric(plaintext))
        self._file.wipe()
        at, size = len(self._before_seeded), 8 * self.words_of_a_polynomial
        first = np.frombuffer(raw, "<u8", self.words_of_a_polynomial, at)
        return first, raw[at + size + len(self._before_seed) :]

    def seeded(self, first: Words, seed: bytes) -> Ciphertext:
        """The ciphertext of c0 (uint64, each below its prime) and the seed of c1."""
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
        raw, half = self._file.content(ciphertext), self.words_of_a_polynomial
        both = np.frombuffer(raw, "<u8", 2 * half, len(self._before_whole))
        return both[:half], both[half:]


_FEWEST_PLAIN_BITS: Final = 2


class BfvContext(SealContext):
    """BFV with the plaintext modulus 2^p: plaintexts are coefficients, uint64 below 2^p, shape [N].

    Args:
        ring: of one prime.
        plain_bits: p.
    """

    def __init__(self, ring: Ring, plain_bits: int) -> None:
        parameters = sealapi.EncryptionParameters(sealapi.SCHEME_TYPE.BFV)
        parameters.set_plain_modulus(1 << plain_bits)
        super().__init__(ring, parameters, lambda _: sealapi.Plaintext("1"))
        raw = self._file.content(sealapi.Plaintext(f"1x^{ring.degree - 1}"))
        self._before_plaintext = raw[: len(raw) - 8 * ring.degree]
        self._file.wipe()

    def _values(self, coefficients: Words, prime: int) -> bytes:
        carrier = self.whole(coefficients, coefficients)
        self._evaluator.transform_to_ntt_inplace(carrier)
        return self._file.content(carrier)[-8 * self.ring.degree :]

    def encrypt(self, encryptor: Any, plaintext: Words) -> tuple[Words, bytes]:
        """c0 and the seed of c1."""
        held = sealapi.Plaintext()
        words = plaintext.astype("<u8", copy=False).data.cast("B")
        held.load(self._context, self._file.hold(self._before_plaintext, words))
        return self._encrypted(encryptor, held)

    def decrypt(self, decryptor: Any, ciphertext: Ciphertext) -> Words:
        """Coefficients of the plaintext."""
        plaintext = sealapi.Plaintext()
        decryptor.decrypt(ciphertext, plaintext)
        raw = self._file.content(plaintext)
        self._file.wipe()
        coefficients = np.zeros(self.ring.degree, "<u8")
        found = np.frombuffer(raw, "<u8", offset=len(self._before_plaintext))
        coefficients[: len(found)] = found
        return coefficients


class CkksContext(SealContext):
    """CKKS at one scale: plaintexts are slots, complex128, shape [N/2].

    Args:
        ring: of one prime or more.
        scale: of all plaintexts, a power of two.
    """

    def __init__(self, ring: Ring, scale: float) -> None:
        self._scale = scale
        super().__init__(ring, sealapi.EncryptionParameters(sealapi.SCHEME_TYPE.CKKS), self._sample)

    def _sample(self, context: Any) -> Any:
        self._encoder = sealapi.CKKSEncoder(context)
        return self._encoded(np.ones(self.ring.degree // 2, np.complex128))

    def _encoded(self, slots: Slots) -> Any:
        plaintext = sealapi.Plaintext()
        self._encoder.encode(slots.tolist(), self._scale, plaintext)
        return plaintext

    def encrypt(self, encryptor: Any, slots: Slots) -> tuple[Words, bytes]:
        """c0 and the seed of c1."""
        return self._encrypted(encryptor, self._encoded(slots))

    def decrypt(self, decryptor: Any, ciphertext: Ciphertext) -> Slots:
        """The slots with the ciphertext's errors in them: for the key holder's eyes alone, and never to be sent."""
        plaintext = sealapi.Plaintext()
        decryptor.decrypt(ciphertext, plaintext)
        return np.array(self._encoder.decode_complex(plaintext), np.complex128)
