"""The stored state of a matrix mechanism: one file's bytes, versioned, hashed, without pickle.

Layout: magic (8 bytes) ‖ SHA-256 of all that follows (32) ‖ length of the head (u32, big-endian) ‖ head (JSON) ‖ the
last row and the buffers (float32, little-endian). The hash finds damage and authenticates nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from securefed.crypto.hashing import DIGEST_BYTES, digest
from securefed.dp.central.strategy import Rows
from securefed.errors import PersistenceError

__all__ = ["MatrixState", "RunNumbers", "dump", "load"]

VERSION: Final = 1
_MAGIC: Final = b"SFEDMTRX"


@dataclass(frozen=True)
class RunNumbers:
    """What a run's state is only good for.

    Attributes:
        strategy: `Strategy.to_json`.
        size: d.
        noise_multiplier, bound, cohort: of the run.
        key: name of the noise's key (`MatrixNoise.key_name`), hex.
    """

    strategy: Mapping[str, Any]
    size: int
    noise_multiplier: float
    bound: float
    cohort: float
    key: str


@dataclass(frozen=True, repr=False)
class MatrixState:
    """A mechanism after its last row.

    Attributes:
        row: that was drawn last, −1 before the first.
        claim: digest of what it was drawn for, 32 bytes; empty before the first.
        seen: for each client the last row in which it took part, and how often it did.
        last: that row of C⁻¹·z, float32, shape [d].
        buffers: of the strategy, float32, shape [buffers, d].
    """

    row: int
    claim: bytes
    seen: Mapping[int, tuple[int, int]]
    last: Rows
    buffers: Rows


def dump(state: MatrixState, numbers: RunNumbers) -> bytes:
    """The state's bytes."""
    seen = [[client, *entry] for client, entry in state.seen.items()]
    head = {"version": VERSION, "run": asdict(numbers), "row": state.row, "claim": state.claim.hex(), "seen": seen}
    packed = json.dumps(head).encode()
    arrays = (np.ascontiguousarray(array, "<f4").tobytes() for array in (state.last, state.buffers))
    body = b"".join((len(packed).to_bytes(4, "big"), packed, *arrays))
    return _MAGIC + digest(body) + body


def load(raw: bytes, numbers: RunNumbers, buffers: int) -> MatrixState:
    """What `dump` wrote for the same run.

    Args:
        raw: the bytes.
        numbers: of the run that takes it up.
        buffers: of its strategy.

    Raises:
        PersistenceError: P1 damaged, P2 another version, P3 another run's.
    """
    start = len(_MAGIC) + DIGEST_BYTES
    body = memoryview(raw)[start:]
    if raw[: len(_MAGIC)] != _MAGIC or digest(body) != raw[len(_MAGIC) : start]:
        raise PersistenceError("P1", "the noise's state is damaged: restore the file, or begin a new run")
    try:
        length = int.from_bytes(body[:4], "big")
        head = json.loads(bytes(body[4 : 4 + length]))
        if head["version"] != VERSION:
            raise PersistenceError("P2", f"the noise's state has another version than {VERSION}")
        if head["run"] != json.loads(json.dumps(asdict(numbers))):
            raise PersistenceError("P3", "the noise's state is of a run with another strategy, clip, noise or key")
        values = np.frombuffer(body[4 + length :], "<f4").astype(np.float32).reshape(1 + buffers, numbers.size)
        seen = {int(client): (int(last), int(times)) for client, last, times in head["seen"]}
        row, claim = int(head["row"]), bytes.fromhex(head["claim"])
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        raise PersistenceError("P1", "the noise's state has a whole frame but no state in it") from None
    return MatrixState(row, claim, seen, values[0], values[1:])
