"""The closed set of errors that leave securefed.

A message says what is wrong, where, and what to do. No message holds a secret: rules, names, ids, lengths and
counts only, never the bytes that were refused.
"""

from __future__ import annotations

__all__ = [
    "BudgetExceeded",
    "ConfigError",
    "LocalProtocolError",
    "PersistenceError",
    "RemoteProtocolError",
    "RoundAborted",
    "SecurefedError",
]


class SecurefedError(Exception):
    """Base of all errors of this package."""


class ConfigError(SecurefedError):
    """What the user asked for is not possible.

    Args:
        key: the configuration's key, dotted (`quantization.clip`), or "" where no single one is at fault.
        detail: what is wrong and what to do.
    """

    def __init__(self, key: str, detail: str) -> None:
        self.key = key
        self.detail = detail
        super().__init__(f"{key}: {detail}" if key else detail)


class LocalProtocolError(SecurefedError):
    """The program on this side asked for something that the protocol forbids.

    Args:
        rule: number of the rule in `protocols/`.
        detail: what is wrong and what to do.
    """

    def __init__(self, rule: str, detail: str) -> None:
        self.rule = rule
        self.detail = detail
        super().__init__(f"[{rule}] {detail}")


class RemoteProtocolError(SecurefedError):
    """The other side broke a numbered rule of the protocol.

    Args:
        rule: number of the rule in `protocols/`.
        detail: what was refused.
        peer: client id, 0 for the server, None where the sender is not known yet.
    """

    def __init__(self, rule: str, detail: str, peer: int | None = None) -> None:
        self.rule = rule
        self.detail = detail
        self.peer = peer
        who = "" if peer is None else "server: " if peer == 0 else f"client {peer}: "
        super().__init__(f"{who}[{rule}] {detail}")

    def blame(self, peer: int) -> RemoteProtocolError:
        """The same error with its peer named, unless one was named already."""
        return self if self.peer is not None else RemoteProtocolError(self.rule, self.detail, peer)


class RoundAborted(SecurefedError):
    """A round ended without an aggregate. Nothing of it may be used again.

    Args:
        stage: name of the stage in which it ended.
        detail: why.
    """

    def __init__(self, stage: str, detail: str) -> None:
        self.stage = stage
        self.detail = detail
        super().__init__(f"round aborted in stage {stage}: {detail}")


class PersistenceError(SecurefedError):
    """A stored state cannot be taken up again: damaged, of another version, or of another job.

    Args:
        rule: number of the rule (P1 …).
        detail: which file, what is wrong, what to do.
    """

    def __init__(self, rule: str, detail: str) -> None:
        self.rule = rule
        self.detail = detail
        super().__init__(f"[{rule}] {detail}")


class BudgetExceeded(SecurefedError):
    """A privacy budget is spent: the step that was asked for is refused."""
