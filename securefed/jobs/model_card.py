# ruff: noqa: E501 - the lines of the card are paragraphs of Markdown
"""The card beside a trained adapter or model: what it is, and what its training protected from whom."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from securefed import __version__
from securefed.jobs.configuration import Configuration
from securefed.jobs.derived import adversary_of, cohort_of
from securefed.jobs.privacy_statement import Statement
from securefed.llm.lora_aggregation import FEDIT_WARNING
from securefed.schemes import SCHEMES, Protection

__all__ = ["model_card", "warnings_of"]

_PROTECTION: Final[Mapping[Protection, str]] = {
    Protection.MASKS: (
        "Updates were summed under pairwise masks (suite {suite:#04x}) in rounds of {asked} clients, protected against {adversary}: it learns the sum of the updates of a "
        "round's survivors, at least {threshold}, and nothing else about any one of them. Poisoning is not covered."
    ),
    Protection.ENCRYPTION: (
        "Updates were summed under homomorphic encryption (`{scheme}`, suite {suite:#04x}) in rounds of {asked} clients, protected against a {server} server that no client works with: it learns the sum of the updates of a "
        "round's survivors, at least {threshold}, and nothing else about any one of them. In each round the key holder, one of the clients, learns that sum too. All clients of a round share its key: **a client that worked with the server could have opened every update of the round.** "
        "Poisoning is not covered."
    ),
    Protection.NONE: "Updates were summed in the clear: the server saw each of them.",
}


def _privacy(statement: Statement | None) -> str:
    """What is promised of the model itself, and what is not."""
    if statement is None:
        return "No differential privacy: no noise was added, and what the model itself remembers of its training text is not bounded. "
    facts = "".join(f"| {term} | {fact} |\n" for term, fact in statement.facts)
    gaps = "".join(f"- {gap}\n" for gap in statement.gaps)
    return f"## Differential privacy\n\n| | |\n|---|---|\n{facts}\nNot covered by it:\n\n{gaps}\n"


def warnings_of(config: Configuration) -> list[str]:
    """What whoever reads a run's result must know of its configuration, a paragraph each; usually none."""
    method = config.method
    return [FEDIT_WARNING] if method.kind == "lora" and method.lora_aggregation == "fedit" else []


def model_card(config: Configuration, clients: int, statement: Statement | None = None) -> bytes:
    """Markdown with the front matter of a model card, UTF-8.

    Args:
        config: of the run.
        clients: of the job.
        statement: of its differential privacy; None where it has none.
    """
    method, training = config.method, config.training
    base = config.model.base or "../base"
    asked, adversary = cohort_of(config, clients), adversary_of(config)
    library = "peft" if method.kind == "lora" else "transformers"
    lora = f"LoRA, rank {method.rank}, aggregated by {method.lora_aggregation}"
    trained = lora if method.kind == "lora" else f"all weights ({method.kind})"
    warnings = "".join(f"\n**Note.** {one}\n" for one in warnings_of(config))
    entry = SCHEMES[config.aggregation.scheme]
    protection = _PROTECTION[entry.protection].format(
        adversary=adversary, threshold=adversary.least_survivors(asked), asked=asked,
        scheme=config.aggregation.scheme, suite=entry.suite, server=config.aggregation.server,
    )  # fmt: skip
    return f"""---
library_name: {library}
base_model: {base}
pipeline_tag: text-generation
tags: [federated-learning, secure-aggregation]
---

# {config.name}

Trained federatedly with securefed {__version__}: {clients} clients, {training.rounds} rounds of {training.local_steps} local steps, {trained}, from the base model
`{base}`. `config.toml` beside this folder says everything that was asked for; `report.html` what came of it.
{warnings}
## What was protected

{protection}

{_privacy(statement)}The run was a simulation in one
process: whoever ran it could see all.
""".encode()
