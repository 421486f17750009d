"""All ledgers of a job's differential privacy, and where each stood when a checkpoint was written."""

from __future__ import annotations

from collections.abc import Mapping

from securefed.dp.accounting import Head, Ledger
from securefed.errors import PersistenceError

__all__ = ["Ledgers"]


class Ledgers:
    """Ledgers by name, each in a file of its own.

    A checkpoint holds their heads: weights that a round has changed are never taken up beside a ledger that does not
    know of that round.

    Args:
        ledgers: of trainers and release.
    """

    def __init__(self, ledgers: Mapping[str, Ledger] | None = None) -> None:
        self.by_name = dict(ledgers or {})

    def heads(self) -> dict[str, tuple[int, str]]:
        """Where every ledger stands now: its number of entries, and the digest of the last one."""
        return {name: (ledger.head.count, ledger.head.digest) for name, ledger in self.by_name.items()}

    def close(self) -> None:
        """Let others write their files."""
        for ledger in self.by_name.values():
            ledger.close()

    def require(self, heads: Mapping[str, tuple[int, str]]) -> None:
        """Refuse to go on where a ledger is behind what a checkpoint saw of it.

        Args:
            heads: as `heads` gave them.

        Raises:
            PersistenceError: D11 where a ledger is missing, forgets spending or is another one.
        """
        for name, (count, digest) in heads.items():
            if name not in self.by_name:
                raise PersistenceError("D11", f"the checkpoint knows a privacy ledger {name!r}, and this job has none")
            self.by_name[name].require(Head(count, digest))
