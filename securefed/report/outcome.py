"""A run in sentences: what came of it, what was protected against whom, what was not.

The sentences say what the numbers say, also where that is that federating did not help.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from securefed.report.events import Refused
from securefed.report.summary import Arm, Dropout, Summary
from securefed.report.units import change_text, perplexity_text, share_text

__all__ = ["Protection", "dropout_text", "headline", "protection", "refusal_text", "remarks", "state_text"]

_EQUAL: Final = 1e-3
"""Perplexities that differ by less than this part are called equal: that much comes from rounding alone."""

_METHOD: Final = {"masks": "Federated training under masks", "plain": "Federated training in the clear"}

_LOST: Final = {
    "advertise": "before it had shown a key, and took no part in the round",
    "share": "before it had shared its seeds, and took no part in the round",
    "input": "before its update arrived, which is not in the sum",
    "consent": "after its update had arrived, which counts",
    "release": "after its update had arrived, which counts",
}
_UNMASKED: Final = {
    "input": "; the others' shares took its masks out",
    "consent": "; the others' shares were enough to unmask",
    "release": "; the others' shares were enough to unmask",
}


def headline(summary: Summary) -> str:
    """The outcome in one sentence."""
    own = summary.federated
    if own is None:
        return "No federated model has been evaluated."
    subject = _METHOD.get(own.name, own.label)
    if not math.isfinite(own.mean):
        return f"{subject} diverged: its held-out perplexity is no longer a number."
    public, local = summary.arms.get("public"), summary.arms.get("local")
    before = "" if public is None else f", from {perplexity_text(public.mean)} for the public model"
    if local is None or own.over_local is None or not math.isfinite(own.over_local):
        change = "" if own.over_public is None else f" ({change_text(own.over_public)})"
        return f"{subject} reaches a held-out perplexity of {perplexity_text(own.mean)}{before}{change}."
    both = f"{perplexity_text(own.mean)} against {perplexity_text(local.mean)}"
    change = change_text(own.over_local)
    if own.over_local < 1 - _EQUAL:
        return f"{subject} beats training alone: held-out perplexity {both} ({change}){before}."
    if own.over_local <= 1 + _EQUAL:
        return f"{subject} is no better than training alone: held-out perplexity {both}{before}."
    return f"{subject} does not beat training alone: held-out perplexity {both} ({change}){before}."


def remarks(summary: Summary) -> list[str]:
    """What the headline leaves out: who gains, who does not, what protection changed and took."""
    own, cost = summary.federated, summary.cost
    said = []
    if own is not None:
        if own.compared:
            said.append(f"Better than alone for {own.better_than_local} of {own.compared} clients.")
        said.append(f"Worst client: {own.worst_client}, perplexity {perplexity_text(own.worst)}.")
        if own.over_public is not None and not own.over_public < 1:
            said.append("It is no better than the public model that it started from.")
        said += _against_central(own, summary.arms.get("central"))
    plain = summary.arms.get("plain")
    if own is not None and own.name == "masks" and plain is not None:
        change = change_text(own.mean / plain.mean)
        said.append(f"Masking changed perplexity by {change} against the same training in the clear.")
    if cost is not None and cost.arm == "masks" and cost.protection_share is not None:
        said.append(f"Protection took {share_text(cost.protection_share)} of the rounds' time.")
    if own is not None:
        said.append("This is one run from one seed: a difference of a few percent needs several of them.")
    return said


def _against_central(own: Arm, central: Arm | None) -> list[str]:
    if central is None or not math.isfinite(own.mean / central.mean):
        return []
    change = change_text(own.mean / central.mean)
    return [f"Training on all data in one place gives {perplexity_text(central.mean)}; this is {change} from there."]


def state_text(summary: Summary) -> str:
    """What a reader must know where the run has not finished, or was resumed; else empty."""
    said = []
    if summary.events.finish is None:
        done = summary.cost.rounds if summary.cost else 0
        planned = "" if summary.planned_rounds is None else f" of {summary.planned_rounds}"
        said.append(f"This run has not finished: {done}{planned} rounds are recorded, and the numbers are of those.")
    if resumes := summary.events.resumes:
        rounds = ", ".join(str(one.round) for one in resumes)
        said.append(f"The run was interrupted, and taken up again after round {rounds}.")
    elif summary.events.processes > 1:
        said.append("The run was interrupted, and taken up again.")
    return " ".join(said)


def dropout_text(dropout: Dropout) -> str:
    """Who was lost when, and what that did to the sum."""
    effect = _LOST.get(dropout.stage, f"in stage {dropout.stage}")
    effect += _UNMASKED.get(dropout.stage, "") if dropout.arm == "masks" else ""
    return (
        f"Round {dropout.round}: {dropout.client} was lost {effect}. "
        f"{dropout.survivors} of {dropout.cohort} clients are in the sum."
    )


def refusal_text(number: int, refused: Refused) -> str:
    """Whose message was not accepted, and why."""
    return f"Round {number}: a message of {refused.client} was refused: {refused.error}"


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
    start = summary.start
    rest = [
        "Poisoning: a client that sends a harmful update is not noticed; single updates are not judged.",
        "What the sum itself reveals: there is no differential privacy, so nothing is promised about what each "
        "round's sum, or the final model, gives away about a client's text.",
    ]
    if start.deployment == "simulation":
        rest.append(
            "The machine of this run: all parties were simulated in one process here. It measures the protocol, and "
            "knows figures of single clients that nobody would collect otherwise; "
            "parties that must not trust each other need a process of their own."
        )
    if start.scheme != "masks":
        return Protection(
            against="Nobody: this run was made in the clear.",
            hidden=(),
            seen=("The server saw the update of every client in every round.",),
            not_covered=rest,
        )
    malicious = start.adversary == "malicious"
    does = (
        "it sends, drops, invents and lies as it likes"
        if malicious
        else ("it follows the protocol, and tries to learn from everything it receives")
    )
    corrupt = "the stated number" if start.corrupt is None else str(start.corrupt)
    return Protection(
        against=(f"A {start.adversary} server ({does}), also together with {corrupt} of a round's clients."),
        hidden=(
            "Each client's update, its number of examples and its training loss, in every round, whoever is lost.",
        ),
        seen=(
            "The sum of the updates of each round, and with it the model.",
            "Who takes part, who is lost and when, and the sizes of messages.",
            "Colluding clients know their own updates, and can take them off the sum.",
        ),
        not_covered=[
            *([] if malicious else ["A malicious server: one that tells clients different things can undo masking."]),
            *rest,
        ],
    )
