"""A strategy's run in one file: arrays, the strategy's own arrays, the number of finished rounds. No pickle."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from flwr.app import Array, ArrayRecord
from flwr.serverapp.strategy import Strategy

from securefed.deployment.stored_file import read_stored, write_stored
from securefed.errors import ConfigError, PersistenceError

__all__ = ["StoredRun"]

_KIND: Final = "flower run"
_DAMAGED: Final = "delete the checkpoint folder and start again, or restore a copy"
_LIST, _DICT, _ONE, _RECORD = "list", "dict", "array", "record"


@dataclass(frozen=True, repr=False)
class StoredRun:
    """A run after `round` rounds.

    Attributes:
        strategy: name of its class.
        round: finished ones.
        arrays: the global model.
        state: the strategy's attributes that hold arrays: how (one, a list, a dict, a record), and the arrays by name.
        bfloat16: tensors that nodes get as bfloat16.
    """

    strategy: str
    round: int
    arrays: ArrayRecord
    state: Mapping[str, tuple[str, ArrayRecord]]
    bfloat16: tuple[str, ...]

    @classmethod
    def of(cls, strategy: Strategy, round_number: int, arrays: ArrayRecord, bfloat16: Iterable[str]) -> StoredRun:
        """As it is now."""
        held = {name: _held(value) for name, value in vars(strategy).items()}
        state = {name: found for name, found in held.items() if found is not None}
        return cls(type(strategy).__name__, round_number, arrays, state, tuple(sorted(bfloat16)))

    def check(self, path: Path, strategy: Strategy, arrays: ArrayRecord) -> None:
        """Refuse to go on with another model or strategy.

        Raises:
            ConfigError: `checkpoint`.
        """
        if self.strategy != type(strategy).__name__:
            raise ConfigError("checkpoint", f"{path} is a run of {self.strategy}, not of {type(strategy).__name__}")
        theirs, own = ({name: tuple(array.shape) for name, array in one.items()} for one in (self.arrays, arrays))
        if theirs != own:
            raise ConfigError("checkpoint", f"{path} is a run of a model with other tensors than the initial arrays")

    def restore(self, strategy: Strategy) -> None:
        """Give a new strategy what the stored one had."""
        for name, (how, arrays) in self.state.items():
            vars(strategy)[name] = _FROM_RECORD[how](arrays)

    def save(self, path: Path) -> None:
        """Write it in one step; on disk when this returns.

        Raises:
            PersistenceError: P4; the file before is whole.
        """
        body: list[bytes] = []

        def described(record: ArrayRecord) -> list[Any]:
            body.extend(array.data for array in record.values())
            return [[name, one.dtype, one.shape, one.stype, len(one.data)] for name, one in record.items()]

        head = {
            "strategy": self.strategy, "round": self.round, "arrays": described(self.arrays),
            "state": [[name, how, described(arrays)] for name, (how, arrays) in self.state.items()],
            "bfloat16": self.bfloat16,
        }  # fmt: skip
        path.parent.mkdir(parents=True, exist_ok=True)
        write_stored(path, _KIND, head, b"".join(body))

    @classmethod
    def load(cls, path: Path) -> StoredRun | None:
        """What `save` wrote; None where there is nothing.

        Raises:
            PersistenceError: P1 …
        """
        found = read_stored(path, _KIND, _DAMAGED)
        if found is None:
            return None
        head, body = found
        at = 0

        def record(described: list[Any]) -> ArrayRecord:
            nonlocal at
            out = ArrayRecord()
            for name, dtype, shape, stype, size in described:
                out[name] = Array(dtype, tuple(shape), stype, body[at : at + size])
                at += size
            return out

        try:
            arrays = record(head["arrays"])
            state = {name: (how, record(described)) for name, how, described in head["state"]}
            if at != len(body) or not {how for how, _ in state.values()} <= _FROM_RECORD.keys():
                raise ValueError
            return cls(str(head["strategy"]), int(head["round"]), arrays, state, tuple(head["bfloat16"]))
        except (ValueError, KeyError, TypeError):
            raise PersistenceError("P1", f"{path} does not hold together: {_DAMAGED}") from None


def _held(value: object) -> tuple[str, ArrayRecord] | None:
    """How an attribute holds arrays, and these; None where it holds none."""
    if isinstance(value, ArrayRecord):
        return _RECORD, value
    if isinstance(value, np.ndarray | np.floating):
        return _ONE, ArrayRecord([np.asarray(value)])
    if isinstance(value, list) and value and all(isinstance(one, np.ndarray | np.floating) for one in value):
        return _LIST, ArrayRecord([np.asarray(one) for one in value])
    if isinstance(value, dict) and value and all(isinstance(one, np.ndarray | np.floating) for one in value.values()):
        return _DICT, ArrayRecord({str(name): Array(np.asarray(one)) for name, one in value.items()})
    return None


_FROM_RECORD: Final[Mapping[str, Callable[[ArrayRecord], Any]]] = {
    _RECORD: lambda record: record,
    _ONE: lambda record: record.to_numpy_ndarrays()[0],
    _LIST: lambda record: record.to_numpy_ndarrays(),
    _DICT: lambda record: {name: array.numpy() for name, array in record.items()},
}
