"""Inputs of a state machine: which stage it starts in, then messages and ends of stages. Every byte string is one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import IntEnum
from random import Random
from typing import Final

from tests.fuzz.target import Havoc

__all__ = ["Event", "Script", "What", "mutate_script"]

MOST_EVENTS: Final = 16


class What(IntEnum):
    """What happens."""

    MESSAGE = 0
    """The payload is received."""
    GOOD = 1
    """The honest message of the stage is received."""
    ALL_GOOD = 2
    """The honest messages of all clients are (at the server)."""
    ADVANCE = 3
    """The stage ends (at the server)."""
    RESUME = 4
    """The session is taken up from its snapshot."""


@dataclass(frozen=True)
class Event:
    """One of them; `who`: position in the cohort of the client that it comes from."""

    what: What
    who: int = 0
    payload: bytes = b""


@dataclass(frozen=True)
class Script:
    """selector (1 byte) ‖ events: kind (1) ‖ who (1) [‖ length (2) ‖ payload]."""

    selector: int
    events: tuple[Event, ...] = ()

    def pack(self) -> bytes:
        """As bytes."""
        parts = [bytes([self.selector])]
        for event in self.events:
            parts.append(bytes([event.what, event.who]))
            if event.what is What.MESSAGE:
                payload = event.payload[:0xFFFF]
                parts += [len(payload).to_bytes(2, "big"), payload]
        return b"".join(parts)

    @classmethod
    def parse(cls, raw: bytes) -> Script:
        """Of any bytes: what is cut off in the middle counts as far as it is there."""
        events: list[Event] = []
        at = 1
        while at < len(raw) and len(events) < MOST_EVENTS:
            what, who = What(raw[at] % len(What)), raw[at + 1] if at + 1 < len(raw) else 0
            at += 2
            payload = b""
            if what is What.MESSAGE:
                size = int.from_bytes(raw[at : at + 2], "big")
                payload = raw[at + 2 : at + 2 + size]
                at += 2 + size
            events.append(Event(what, who, payload))
        return cls(raw[0] if raw else 0, tuple(events))


def mutate_script(
    raw: bytes, rng: Random, havoc: Havoc, changed: Callable[[Script, int, Random, Havoc], bytes]
) -> bytes:
    """Another script.

    Args:
        changed: the message of the event at an index, or the honest one that would be there, changed.
    """
    if rng.randrange(32) == 0:
        return havoc(raw)
    script = Script.parse(raw)
    events = list(script.events)
    for _ in range(rng.choice((1, 1, 2))):
        at = rng.randrange(len(events) + 1)
        match rng.randrange(14):
            case 0:
                events.insert(at, Event(What(rng.randrange(1, len(What))), rng.randrange(256)))
            case 1:
                del events[at : at + 1]
            case 2 if at < len(events):
                events.insert(at, events[at])
            case 3 if at < len(events):
                other = rng.randrange(len(events))
                events[at], events[other] = events[other], events[at]
            case 4 if at < len(events):
                events[at] = replace(events[at], who=rng.randrange(256))
            case 5:
                script = replace(script, selector=rng.randrange(256))
            case 6:
                # Whoever is left answers well and the stage ends: what comes next meets the stage behind it.
                events[at:at] = [Event(What.ALL_GOOD), Event(What.ADVANCE)]
            case _:
                events.insert(at, Event(What.GOOD, rng.randrange(256))) if at == len(events) else None
                event = events[at]
                message = changed(replace(script, events=tuple(events)), at, rng, havoc)
                events[at] = Event(What.MESSAGE, event.who, message)
    return replace(script, events=tuple(events[:MOST_EVENTS])).pack()
