"""What was hidden from whom, what was not, by the scheme of the run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from securefed import schemes
from securefed.report.events import Start
from securefed.report.summary import Summary

__all__ = ["Protection", "protection"]

_UPDATES: Final = "Each client's update, its number of examples and its training loss, in every round, whoever is lost."
_SUM: Final = "The sum of the updates of each round, and with it the model."
_ATTENDANCE: Final = "Who takes part, who is lost and when, and the sizes of messages."


@dataclass(frozen=True)
class Protection:
    """What was hidden from whom.

    Attributes:
        against: whom, in one sentence.
        hidden: what they do not learn.
        seen: what they do learn.
        not_covered: what this run gives no protection from.
    """

    against: str
    hidden: Sequence[str]
    seen: Sequence[str]
    not_covered: Sequence[str]


def protection(summary: Summary) -> Protection:
    """The statement that belongs to the scheme of the run."""
    start, private = summary.start, summary.events.privacy is not None
    entry = schemes.SCHEMES.get(start.scheme)
    match entry.protection if entry is not None else schemes.Protection.NONE:
        case schemes.Protection.MASKS:
            return _masks(start, private)
        case schemes.Protection.ENCRYPTION:
            return _encryption(start, private)
        case _:
            return Protection(
                against="Nobody: this run was made in the clear.",
                hidden=(),
                seen=("The server saw the update of every client in every round.",),
                not_covered=_never_covered(start, private),
            )


def _masks(start: Start, private: bool) -> Protection:
    corrupt = "the stated number" if start.corrupt is None else str(start.corrupt)
    return Protection(
        against=f"{_server(start)}, also together with {corrupt} of a round's clients.",
        hidden=(_UPDATES,),
        seen=(_SUM, _ATTENDANCE, "Colluding clients know their own updates, and can take them off the sum."),
        not_covered=[
            *_unless_malicious(start, "one that tells clients different things can undo masking"),
            *_never_covered(start, private),
        ],
    )


def _encryption(start: Start, private: bool) -> Protection:
    return Protection(
        against=f"{_server(start)}, alone: none of a round's clients works with it.",
        hidden=(_UPDATES,),
        seen=(
            _SUM,
            _ATTENDANCE,
            "The key holder of each round, one of its clients, sees the round's sum too, before the server does.",
        ),
        not_covered=[
            "Clients that work with the server: all clients of a round share its key, so with a single one of them the "
            "server opens every update of the round. The scheme “masks” stands a stated share of such clients.",
            "A key holder that lies: it alone opens the sum, and could keep it to itself or report another one.",
            "Clients that overhear each other: one that gets hold of another's encrypted update reads it.",
            *_unless_malicious(
                start,
                "clients do not check whose keys they are given, so one that invents clients "
                "can hand itself the round's key",
            ),
            *_never_covered(start, private),
        ],
    )


def _server(start: Start) -> str:
    does = (
        "it sends, drops, invents and lies as it likes"
        if start.adversary == "malicious"
        else "it follows the protocol, and tries to learn from everything it receives"
    )
    return f"A {start.adversary} server ({does})"


def _unless_malicious(start: Start, why: str) -> list[str]:
    return [] if start.adversary == "malicious" else [f"A malicious server: {why}."]


def _never_covered(start: Start, private: bool) -> list[str]:
    rest = ["Poisoning: a client that sends a harmful update is not noticed; single updates are not judged."]
    if not private:
        rest.append(
            "What the sum itself reveals: there is no differential privacy, so nothing is promised about what each "
            "round's sum, or the final model, gives away about a client's text."
        )
    if start.deployment == "simulation":
        rest.append(
            "The machine of this run: all parties were simulated in one process here. It measures the protocol, and "
            "knows figures of single clients that nobody would collect otherwise; "
            "parties that must not trust each other need a process of their own."
        )
    return rest
