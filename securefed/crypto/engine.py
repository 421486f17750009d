"""The library's two ways to make AES-256 counter blocks, and which of them is the faster one on this machine.

The keystream of AES-256-GCM is counter mode from 2, so both engines give the same bits. On processors with vector
AES the library's GCM is the faster one, authentication included; elsewhere its plain counter mode may be.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from time import perf_counter_ns
from typing import Final, Literal, Protocol

import cryptography
from cryptography.hazmat.backends.openssl import backend
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR, GCM

from securefed.crypto.kdf import KEY_BYTES
from securefed.errors import ConfigError

__all__ = ["AES_BLOCK", "ENGINE_VARIABLE", "Encryptor", "Engine", "fastest_engine", "measured_engine", "open_stream"]

Engine = Literal["gcm", "ctr"]

AES_BLOCK: Final = 16
ENGINE_VARIABLE: Final = "SECUREFED_ENGINE"
"""Environment variable that names the engine; nothing is measured then."""

_ENGINES: Final[tuple[Engine, Engine]] = ("gcm", "ctr")
_FIRST_COUNTER: Final = 2
_TIMED_BYTES: Final = 256 * 1024
_TURNS: Final = 12


class Encryptor(Protocol):
    """What the library's cipher contexts are used for here."""

    def update_into(self, data: memoryview, buf: memoryview, /) -> int:
        """Encrypt `data` into `buf`, which has room for a block less one beyond it; gives the bytes written."""


def open_stream(engine: Engine, key: bytes, segment: int) -> Encryptor:
    """The library's encryptor at the front of one segment: fed with zeros, it gives the stream."""
    if len(key) != KEY_BYTES:
        raise ValueError(f"AES-256 needs a key of {KEY_BYTES} bytes, got {len(key)}")
    nonce = segment.to_bytes(12, "big")
    if engine == "gcm":
        return Cipher(AES(key), GCM(nonce)).encryptor()
    return Cipher(AES(key), CTR(nonce + _FIRST_COUNTER.to_bytes(4, "big"))).encryptor()


@cache
def fastest_engine() -> Engine:
    """The engine that $SECUREFED_ENGINE names, else the faster one on this machine.

    Both are timed once a machine (some milliseconds). The answer is kept in the user's cache folder for this
    processor and these versions; where no file can be read or written it is measured once a process.

    Raises:
        ConfigError: $SECUREFED_ENGINE names no engine.
    """
    if chosen := os.environ.get(ENGINE_VARIABLE):
        for engine in _ENGINES:
            if chosen == engine:
                return engine
        raise ConfigError(ENGINE_VARIABLE, f"{chosen!r} is no engine; set gcm or ctr, or unset it to have both timed")
    kind = _kind_of_machine()
    file = _cache_file(kind)
    kept = _kept(file, kind)
    if kept is not None:
        return kept
    measured = measured_engine()
    _keep(file, kind, measured)
    return measured


def measured_engine() -> Engine:
    """The engine that was faster just now: least time of each in turns, so that a busy moment does not decide."""
    least = dict.fromkeys(_ENGINES, 2**63)
    zeros, made = memoryview(bytes(_TIMED_BYTES)), memoryview(bytearray(_TIMED_BYTES + AES_BLOCK))
    for _ in range(_TURNS):
        for engine in _ENGINES:
            encryptor = open_stream(engine, bytes(KEY_BYTES), 0)
            start = perf_counter_ns()
            encryptor.update_into(zeros, made)
            least[engine] = min(least[engine], perf_counter_ns() - start)
    return "gcm" if least["gcm"] <= least["ctr"] else "ctr"


def _kind_of_machine() -> dict[str, str]:
    """All that the answer depends on."""
    return {
        "processor": _processor(),
        "openssl": backend.openssl_version_text(),
        "cryptography": cryptography.__version__,
    }


def _processor() -> str:
    """Its name, and a digest of its instructions: virtual machines give one name to several generations."""
    try:
        first = Path("/proc/cpuinfo").read_text(errors="replace").partition("\n\n")[0]
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    facts = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in first.splitlines())}
    name = facts.get("model name") or facts.get("CPU part") or platform.machine()
    instructions = facts.get("flags") or facts.get("Features") or ""
    return f"{name} {hashlib.sha256(instructions.encode()).hexdigest()[:16]}"


def _cache_file(kind: Mapping[str, str]) -> Path | None:
    """One for each kind of machine, as several may share a home; None where the user has none."""
    if chosen := os.environ.get("SECUREFED_CACHE"):
        folder = Path(chosen)
    elif general := os.environ.get("XDG_CACHE_HOME"):
        folder = Path(general) / "securefed"
    else:
        try:
            folder = Path.home() / ".cache" / "securefed"
        except RuntimeError:
            return None
    return folder / f"engine-{hashlib.sha256(json.dumps(kind).encode()).hexdigest()[:16]}.json"


def _kept(file: Path | None, kind: Mapping[str, str]) -> Engine | None:
    """What the file says, where it is whole and about this kind of machine."""
    if file is None:
        return None
    try:
        content = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return next((engine for engine in _ENGINES if content == {**kind, "engine": engine}), None)


def _keep(file: Path | None, kind: Mapping[str, str], engine: Engine) -> None:
    """Write the file in one step; a folder that cannot be written only costs the next process its milliseconds."""
    if file is None:
        return
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, beside = tempfile.mkstemp(prefix=".engine-", dir=file.parent)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as stream:
                json.dump({**kind, "engine": engine}, stream)
            Path(beside).replace(file)
        finally:
            Path(beside).unlink(missing_ok=True)
