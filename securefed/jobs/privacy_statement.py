"""What a run's differential privacy is: one statement, for its records, its report and the card of its model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from securefed.dp.accounting import Certificate, Ledger
from securefed.dp.accounting.accountant import used_accountant
from securefed.dp.distributed import Kind
from securefed.errors import ConfigError
from securefed.jobs.configuration import Configuration
from securefed.jobs.derived import adversary_of, cohort_of
from securefed.jobs.material import Material
from securefed.jobs.privacy import PLANNED, RELEASED, Plan, update_bound
from securefed.report.units import bound_text
from securefed.schemes import SCHEMES, Protection

__all__ = ["Statement", "statement_of"]

_ACCOUNTANTS: Final[Mapping[str, str]] = {
    "pld": "privacy loss distributions of dp-accounting, rounded up",
    "rdp": "Rényi divergences",
}
_KINDS: Final[Mapping[Kind, str]] = {Kind.SKELLAM: "Skellam", Kind.DISCRETE_GAUSSIAN: "discrete Gaussian"}
_RELATIONS: Final[Mapping[str, str]] = {
    "zero-out": "the same clients and numbers of sequences, but all of one {unit} counts for nothing (zero-out)",
}
_HELD_OUT: Final = "Evaluation: figures on held-out text are computed from it without noise. It was never trained on."
_CHOSEN: Final = "Settings that are chosen after looking at the results of several runs: each run spends by itself."
_FLOATS: Final = (
    "The gap between real numbers and the floats that the noise is made of (Mironov 2012); the time that a step takes."
)


@dataclass(frozen=True)
class Statement:
    """See `report.events.Privacy`."""

    kind: str
    unit: str
    epsilon: float
    delta: float
    planned: float
    facts: tuple[tuple[str, str], ...]
    gaps: tuple[str, ...]
    certificates: Mapping[str, Certificate]
    """By ledger: what anyone can compute the figures from."""

    def fields(self) -> dict[str, object]:
        """For the run's records."""
        return {name: value for name, value in vars(self).items() if name != "certificates"}

    @property
    def line(self) -> str:
        """In one line."""
        bound = f"ε = {bound_text(self.epsilon)} at δ = {bound_text(self.delta)}"
        return f"differential privacy: {bound} for every {self.unit}"


def statement_of(config: Configuration, material: Material, plan: Plan) -> Statement:
    """The statement of an arm that has ended, from what its ledgers hold."""
    match config.privacy.kind:
        case "example":
            return _of_examples(config, material, plan)
        case "client":
            return _of_clients(config, material, plan)
        case "distributed":
            return _distributed(config, material, plan)
    raise ConfigError("privacy.kind", "there is no differential privacy to state")


def _of_examples(config: Configuration, material: Material, plan: Plan) -> Statement:
    privacy, training = config.privacy, config.training
    ledgers = plan.ledgers.by_name
    worst = max(ledgers.values(), key=Ledger.epsilon)
    unit = f"sequence of {config.model.context} tokens"
    z = _range(plan.noise_multiplier)
    first = next(iter(plan.local.values()))
    rates = [one.sampler.expected_batch / one.sampler.examples for one in plan.local.values()]
    facts = (
        _guarantee(worst, privacy.delta, f"every {unit} of every client"),
        ("Unit", f"{unit}. Text that runs over several of them has several times its own."),
        _neighbours("sequence"),
        ("Against", "Everybody but the client itself: the server, other clients, and whoever gets the model."),
        ("Mechanism", f"DP-SGD with AdamW at each client: Gaussian noise of {z} times the bound on every step's sum."),
        (
            "Clipping",
            f"Each sequence's gradient in the backward pass, {_clipping(config)}, bound {first.clip.total:g}.",
        ),
        (
            "Sampling",
            f"Poisson: each sequence is in each step's batch with probability {_range((max(rates), min(rates)))}, "
            f"{training.local_steps} steps a round; drawn from the operating system's randomness.",
        ),
        _accountant(worst),
        (
            "Dropouts",
            "Change nothing: each client's own noise protects what it sends. Attempts that failed are counted.",
        ),
        _ledger_fact(len(ledgers), sum(ledger.head.count for ledger in ledgers.values()), privacy.epsilon),
    )
    gaps = (
        "What is in several sequences, or at several clients: of that every copy has its own ε.",
        "How many sequences a client has: its sampling rate is a setting, not a secret.",
        _FLOATS, _HELD_OUT, _CHOSEN,
    )  # fmt: skip
    return Statement("example", unit, worst.epsilon(), privacy.delta, privacy.epsilon, facts, gaps, _certificates(plan))


def _of_clients(config: Configuration, material: Material, plan: Plan) -> Statement:
    privacy, ledger = config.privacy, plan.ledgers.by_name[RELEASED]
    cohort = cohort_of(config, len(material.clients))
    kind = (
        "noise that is correlated over the rounds (matrix mechanism with three buffers)"
        if privacy.noise == "matrix"
        else "fresh Gaussian noise in every round"
    )
    facts = (
        _guarantee(ledger, privacy.delta, "every client"),
        ("Unit", "client: everything that it holds, in all rounds together."),
        _neighbours("client"),
        (
            "Against",
            "Whoever sees the models. Not against the server: it sees each round's exact sum and adds the noise.",
        ),
        ("Mechanism", f"The server adds {kind}, {_range(plan.noise_multiplier)} times the bound, to the sum."),
        _update_clipping(config, material),
        _noise_fact(plan),
        ("Sampling", f"None is counted on: {cohort} clients a round, whom the server knows."),
        _accountant(ledger),
        ("Dropouts", "The sum is divided by the whole cohort, whoever is lost: noise and guarantee stay the same."),
        _ledger_fact(1, ledger.head.count, privacy.epsilon),
    )
    gaps = ("Who takes part and who is lost in which round.", _FLOATS, _HELD_OUT, _CHOSEN)
    return Statement(
        "client", "client", ledger.epsilon(), privacy.delta, privacy.epsilon, facts, gaps, _certificates(plan)
    )


def _distributed(config: Configuration, material: Material, plan: Plan) -> Statement:
    privacy, released, planned = config.privacy, plan.ledgers.by_name[RELEASED], plan.ledgers.by_name[PLANNED]
    cohort, adversary = cohort_of(config, len(material.clients)), adversary_of(config)
    corrupt = adversary.corrupt_clients(cohort)
    scheme = SCHEMES[config.aggregation.scheme]
    honest = scheme.least_honest(cohort, adversary)
    against = (
        "Whoever sees the models. Not the server: nothing hides single updates from it in this run, and it sees each "
        "with that client's own noise alone."
        if scheme.protection is Protection.NONE
        else f"The server together with {corrupt} of a round's clients, and whoever sees the models."
    )
    parameters = plan.release.mechanism.parameters  # type: ignore[attr-defined]
    facts = (
        _guarantee(released, privacy.delta, "every client"),
        (
            "Planned",
            f"A client spends before it sends, for the worst case, in which the noise of {honest} honest clients is in "
            f"the sum: ε = {bound_text(planned.epsilon())}. Failed attempts are counted there.",
        ),
        ("Unit", "client: everything that it holds, in all rounds together."),
        _neighbours("client"),
        ("Against", against),
        (
            "Mechanism",
            f"Each client adds {_KINDS[parameters.kind]} noise to the integers that it sends, {parameters.bits} bits "
            f"each, before they are {_carried(config)}: of deviation {math.sqrt(parameters.variance):.4g}, where its "
            f"clipped update has the length {parameters.grid}.",
        ),
        _update_clipping(config, material),
        _noise_fact(plan),
        ("Sampling", f"None is counted on: {cohort} clients a round, whom the server knows."),
        _accountant(released),
        (
            "Dropouts",
            f"At least {adversary.least_survivors(cohort)} of {cohort} clients are in a sum, or there is none. "
            + (
                "A server that lies may learn sums over parts of them, so the figure is the planned one."
                if scheme.parts_sums(cohort, adversary)
                else "The figure above counts the noise of those that were, less the corrupt."
            ),
        ),
        _ledger_fact(2, released.head.count + planned.head.count, privacy.epsilon),
    )
    gaps = (
        "Who takes part and who is lost in which round.",
        f"More than {corrupt} corrupt clients: the noise of each further one can be taken off the sum.",
        "The time that a client takes: rounding is repeated, about once in a million updates, as the update has it.",
        _HELD_OUT, _CHOSEN,
    )  # fmt: skip
    return Statement(
        "distributed", "client", released.epsilon(), privacy.delta, planned.epsilon(), facts, gaps, _certificates(plan)
    )


def _certificates(plan: Plan) -> dict[str, Certificate]:
    return {name: ledger.certificate() for name, ledger in plan.ledgers.by_name.items()}


def _guarantee(ledger: Ledger, delta: float, whom: str) -> tuple[str, str]:
    return "Guarantee", f"(ε, δ) = ({bound_text(ledger.epsilon())}, {bound_text(delta)}) for {whom}."


def _neighbours(unit: str) -> tuple[str, str]:
    return "Neighbours", f"Two worlds that differ in one {unit}: {_RELATIONS['zero-out'].format(unit=unit)}."


def _accountant(ledger: Ledger) -> tuple[str, str]:
    used = used_accountant(dict(ledger.events), ledger.delta)
    second = "" if used == "rdp" else f" By Rényi divergences ε = {bound_text(ledger.epsilon('rdp'))}."
    return "Accountant", f"{_ACCOUNTANTS[used][:1].upper()}{_ACCOUNTANTS[used][1:]}.{second}"


def _ledger_fact(files: int, entries: int, budget: float) -> tuple[str, str]:
    books = "one file" if files == 1 else f"{files} files"
    return "Ledger", f"{entries} entries in {books} under state/, written before each release; budget ε = {budget:g}."


def _clipping(config: Configuration) -> str:
    return {
        "flat": "one norm over all parameters",
        "layerwise": "layer by layer",
        "adaptive": "layer by layer, with bounds that follow private quantiles",
    }[config.privacy.clipping]


def _update_clipping(config: Configuration, material: Material) -> tuple[str, str]:
    names = material.update_plan.tensors(material.weights, 1)
    bound = update_bound(config, sum(material.weights[name].size for name in names))
    return "Clipping", f"Each client's update, {_clipping(config)}, to an L2 norm of {bound:.4g}."


def _noise_fact(plan: Plan) -> tuple[str, str]:
    times = plan.noise_over_update
    drowned = " It drowns what the clients learnt: more of them are needed." if plan.drowned else ""
    return "Noise", f"In each round's mean, {times:.2g} times as long as one clipped update.{drowned}"


def _carried(config: Configuration) -> str:
    return {"masks": "masked", "plain": "sent in the clear", "float": "sent in the clear"}.get(
        config.aggregation.scheme, "encrypted"
    )


def _range(values: tuple[float, float]) -> str:
    greatest, least = values
    return f"{greatest:.3g}" if greatest == least else f"{least:.3g} to {greatest:.3g}"
