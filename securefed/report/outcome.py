"""A run in sentences: what came of it, and who was lost on the way.

The sentences say what the numbers say, also where that is that federating did not help.
"""

from __future__ import annotations

import math
from typing import Final

from securefed.report.events import Aborted, Refused
from securefed.report.summary import Arm, Dropout, Summary
from securefed.report.units import bound_text, change_text, perplexity_text, second_text, share_text
from securefed.schemes import PROTECTED

__all__ = ["EFFECTS", "aborted_text", "dropout_text", "headline", "refusal_text", "remarks", "state_text"]

_EQUAL: Final = 1e-3
"""Perplexities that differ by less than this part are called equal: that much comes from rounding alone."""

_METHOD: Final = {
    "masks": "Federated training under masks",
    "encrypted": "Federated training with encrypted updates",
    "plain": "Federated training in the clear",
}

EFFECTS: Final = {"masks": "Masking", "encrypted": "Encryption"}
"""What protects an arm, as the cause of a change."""

_LOST: Final = {
    "advertise": "before it had shown a key, and took no part in the round",
    "share": "before it had shared its seeds, and took no part in the round",
    "keys": "before it had made the round's key, and took no part in the round; the next client made it",
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
    if own is not None and own.name in PROTECTED and plain is not None:
        change = change_text(own.mean / plain.mean)
        cause = EFFECTS[own.name] + (" and privacy noise" if summary.events.privacy is not None else "")
        said.append(f"{cause} changed perplexity by {change} against the same training in the clear.")
    if (privacy := summary.events.privacy) is not None:
        bound = f"ε = {bound_text(privacy.epsilon)} at δ = {bound_text(privacy.delta)}"
        said.append(f"The result is differentially private: {bound} for every {privacy.unit}.")
    if cost is not None and cost.arm in PROTECTED and cost.protection_share is not None:
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
    """What a reader must know: the run has not finished, was resumed, or was warned of; else empty."""
    said = list(summary.start.warnings)
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


def aborted_text(aborted: Aborted) -> str:
    """Why an attempt at a round gave nothing, and what was done then."""
    clients = " and ".join(one.client for one in aborted.lost)
    if aborted.stage == "open" and clients:
        why = f"{clients}, which held the round's key, was lost before it had opened the sum, and nobody else can"
    else:
        why = f"{aborted.detail} (stage {aborted.stage})" + (f"; lost: {clients}" if clients else "")
    after = "It was run again under new keys with all clients" if aborted.again else "The run ended there"
    took = second_text(aborted.seconds)
    return (
        f"Round {aborted.round} was aborted: {why}. {after}; "
        f"nothing of the attempt is in the model, nor its {took} in the costs."
    )


def refusal_text(number: int, refused: Refused) -> str:
    """Whose message was not accepted, and why."""
    return f"Round {number}: a message of {refused.client} was refused: {refused.error}"
