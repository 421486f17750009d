"""The bodies of types 11 to 17 as plain data: ids ascend in every dict and every tuple."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Entry:
    """What a client says of itself."""

    public: bytes  # X25519
    signature: bytes = b""  # 64 bytes under a malicious server

    @property
    def all_bytes(self) -> bytes:
        """The entry as it travels."""
        return self.public + self.signature


@dataclass(frozen=True)
class ExchangeKey:
    """Client: my entry."""

    entry: Entry


@dataclass(frozen=True)
class ExchangeKeys:
    """Server, to the key holder: the entries of U1."""

    entries: dict[int, Entry]


@dataclass(frozen=True)
class SealedKeys:
    """Key holder: the round's key for each of the others."""

    key_id: bytes
    sealed: dict[int, bytes]


@dataclass(frozen=True)
class SealedKey:
    """Server: who holds the round's key, and what it sealed for you."""

    holder: int
    recipients: int
    key_id: bytes
    sealed: bytes
    entry: Entry  # of the holder


@dataclass(frozen=True)
class Ciphertexts:
    """Client: my vector, encrypted."""

    key_id: bytes
    payload: bytes


@dataclass(frozen=True)
class CiphertextSum:
    """Server, to the key holder: whose ciphertexts were added, and their sum."""

    survived: tuple[int, ...]  # U3
    key_id: bytes
    payload: bytes


@dataclass(frozen=True)
class Opened:
    """Key holder: the sum, in 64-bit words."""

    words: list[int]


Body = ExchangeKey | ExchangeKeys | SealedKeys | SealedKey | Ciphertexts | CiphertextSum | Opened
