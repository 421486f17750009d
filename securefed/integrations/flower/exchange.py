"""One exchange over Flower's grid: push all, and hand on each reply as it comes."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterator, Mapping
from typing import Final, TypeVar

from flwr.app import Message, RecordDict
from flwr.serverapp import Grid

from securefed.errors import RemoteProtocolError, SecurefedError

__all__ = ["carry"]

_PAUSE: Final = 0.2
"""Seconds between two looks for replies; Flower's own loop sleeps 3."""
_SHOWN: Final = 300
_UNREACHED: Final = (3, 4, 5)
"""Flower's error codes for what nobody answered: no message, no reply, or no node there."""
_RULE: Final = re.compile(r"\[([A-Z]\d+)\] (.*)", re.DOTALL)
_LOG: Final = logging.getLogger("flwr")

Key = TypeVar("Key")


def carry(
    grid: Grid, messages: Mapping[Key, Message], timeout: float | None, *, large: bool = False
) -> Iterator[tuple[Key, RecordDict | SecurefedError]]:
    """Send messages and yield each reply once, in the order in which they come; who is missing at the end is lost.

    Args:
        messages: by whatever names them.
        timeout: seconds for all of it, None for as long as it takes.
        large: look for one reply at a time, so that no two are in memory.
    """
    waiting = _pushed(grid, messages)
    end = None if timeout is None else time.monotonic() + timeout
    while waiting:
        looks = [[name] for name in waiting] if large else [list(waiting)]
        for names in looks:
            for reply in grid.pull_messages(names):
                if reply.metadata.reply_to_message_id in waiting:
                    key = waiting.pop(reply.metadata.reply_to_message_id)
                    found = _read(reply, key)
                    del reply
                    if found is not None:
                        yield key, found
        if not waiting or (end is not None and time.monotonic() >= end):
            return
        time.sleep(_PAUSE)


def _pushed(grid: Grid, messages: Mapping[Key, Message]) -> dict[str, Key]:
    """What was taken, by message id. A grid may leave out what it could not take, or give None for it."""
    given = list(grid.push_messages(list(messages.values())))
    if len(given) == len(messages):
        return {name: key for name, key in zip(given, messages, strict=True) if name}
    taken = set(given)
    return {m.metadata.message_id: key for key, m in messages.items() if m.metadata.message_id in taken}


def _read(reply: Message, key: object) -> RecordDict | SecurefedError | None:
    """The content of a reply, or why there is none; None where nobody answered."""
    if not reply.has_error():
        return reply.content
    reason = str(reply.error.reason)[:_SHOWN]
    if reply.error.code in _UNREACHED:
        _LOG.warning("securefed: client %s was not reached: %s", key, reason)
        return None
    ruled = _RULE.search(reason)
    return RemoteProtocolError(ruled[1], ruled[2]) if ruled else SecurefedError(reason)
