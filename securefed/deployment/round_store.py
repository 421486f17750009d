"""The server's side of a job in a folder: the last round number, and the round that goes on."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from securefed.deployment.stored_file import PRIVATE, on_disk, read_stored, write_stored
from securefed.errors import ConfigError, PersistenceError

__all__ = ["RoundStore"]

_NUMBER, _ROUND = "round number", "server round"
_NO_NUMBER: Final = "restore a copy that is as new, or use an empty folder"
_NO_ROUND: Final = "delete it, and the round begins anew under a higher number"


class RoundStore:
    """A number is on disk before any request of its round leaves, a stage before any request of the next.

    Args:
        folder: made where it is not there; for one server alone.

    Raises:
        ConfigError: `folder`, where it cannot be made.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        try:
            folder.mkdir(0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError("folder", f"{folder} cannot be made ({error.strerror})") from None
        self._number, self._round = folder / "number.bin", folder / "round.bin"

    def __repr__(self) -> str:
        return f"RoundStore({str(self._folder)!r})"

    @property
    def number(self) -> int | None:
        """The last round number; None where there was no round.

        Raises:
            PersistenceError: P1 …
        """
        stored = read_stored(self._number, _NUMBER, _NO_NUMBER)
        return None if stored is None else int(stored[0]["round"])

    def store_number(self, number: int) -> None:
        """Write a new one down; on disk when this returns.

        Raises:
            PersistenceError: P4.
        """
        write_stored(self._number, _NUMBER, {"round": number}, b"")

    def load(self) -> tuple[dict[str, Any], bytes] | None:
        """What was stored last.

        Raises:
            PersistenceError: P1 …
        """
        return read_stored(self._round, _ROUND, _NO_ROUND)

    def store(self, head: Mapping[str, Any], snapshot: bytes) -> None:
        """Keep a round's state; on disk when this returns.

        Raises:
            PersistenceError: P4.
        """
        write_stored(self._round, _ROUND, head, snapshot)

    def damaged(self) -> PersistenceError:
        """The error of a whole file whose round cannot be taken up."""
        return PersistenceError("P1", f"{self._round} does not hold together: {_NO_ROUND}")

    def forget(self) -> None:
        """The round is given up."""
        with on_disk(self._round):
            self._round.unlink(missing_ok=True)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """While inside, no other server works here.

        Raises:
            PersistenceError: P5, where another does.
        """
        with on_disk(self._folder):
            handle = os.open(self._folder / "lock", os.O_CREAT | os.O_RDWR, PRIVATE)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise PersistenceError("P5", f"{self._folder} is another server's: one folder a job") from None
            yield
        finally:
            os.close(handle)
