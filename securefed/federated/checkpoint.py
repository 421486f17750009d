"""The state of a job after a round: one file, written in one step, versioned, hashed, without pickle.

Layout: magic (8 bytes) ‖ SHA-256 of all that follows (32) ‖ length of the head (u32, big-endian) ‖ head (JSON) ‖
tensors (safetensors).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import safetensors.numpy
from safetensors import SafetensorError

from securefed.errors import PersistenceError
from securefed.federated.files import replace
from securefed.federated.training import FloatArray

__all__ = ["VERSION", "Checkpoint"]

VERSION: Final = 2
_MAGIC: Final = b"SFEDCKPT"
_DIGEST_BYTES: Final = 32


@dataclass(frozen=True)
class Checkpoint:
    """A job after `round` rounds.

    Attributes:
        job: digest of the configuration; a checkpoint is only taken up by the job that wrote it.
        round: number of finished rounds.
        weights: the global model's trained tensors.
        ledgers: by name, how many entries each privacy ledger had and the digest of the last one.
        release: what the release goes on with (`Release.state`).
    """

    job: str
    round: int
    weights: Mapping[str, FloatArray]
    ledgers: Mapping[str, tuple[int, str]] = field(default_factory=dict)
    release: Mapping[str, Any] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Write it in one step; on disk when this returns.

        Raises:
            PersistenceError: P4, where the disk does not take it; the old checkpoint is still whole.
        """
        head: dict[str, Any] = {"version": VERSION, "job": self.job, "round": self.round, "names": list(self.weights)}
        head |= {"ledgers": {name: list(at) for name, at in self.ledgers.items()}, "release": self.release}
        packed = json.dumps(head).encode()
        body = len(packed).to_bytes(4, "big") + packed + safetensors.numpy.save(dict(self.weights))
        try:
            replace(path, _MAGIC + hashlib.sha256(body).digest() + body)
        except OSError as error:
            raise PersistenceError(
                "P4", f"{path} could not be written ({error.strerror}); the last checkpoint is whole"
            ) from None

    @classmethod
    def load(cls, path: Path, job: str) -> Checkpoint:
        """Take a checkpoint up.

        Raises:
            PersistenceError: P1 damaged or no checkpoint at all, P2 another version, P3 another job.
        """
        try:
            raw = path.read_bytes()
        except OSError as error:
            raise PersistenceError("P1", f"{path} cannot be read ({error.strerror})") from None
        start = len(_MAGIC) + _DIGEST_BYTES
        body = raw[start:]
        if raw[: len(_MAGIC)] != _MAGIC:
            raise PersistenceError("P1", f"{path} is not a checkpoint")
        if hashlib.sha256(body).digest() != raw[len(_MAGIC) : start]:
            raise PersistenceError("P1", f"{path} is damaged: delete it and start again, or restore a copy")
        size = int.from_bytes(body[:4], "big")
        try:
            head = json.loads(body[4 : 4 + size])
            if head["version"] != VERSION:
                raise PersistenceError("P2", f"{path} has another version than {VERSION}, which this program reads")
            if head["job"] != job:
                raise PersistenceError(
                    "P3", f"{path} belongs to another configuration: resume with the config.toml beside it"
                )
            tensors = safetensors.numpy.load(body[4 + size :])
            # The file keeps tensors in its own order; the layout's is the head's.
            weights = {name: tensors[name] for name in head["names"]}
            ledgers = {str(name): (int(count), str(digest)) for name, (count, digest) in head["ledgers"].items()}
            return cls(head["job"], int(head["round"]), weights, ledgers, dict(head["release"]))
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError, SafetensorError):
            raise PersistenceError("P1", f"{path} has a whole frame but no checkpoint in it") from None
