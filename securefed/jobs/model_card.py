# ruff: noqa: E501 - the lines of the card are paragraphs of Markdown
"""The card beside a trained adapter or model: what it is, and what its training protected from whom."""

from __future__ import annotations

from securefed import __version__
from securefed.jobs.arms import adversary_of, cohort_of
from securefed.jobs.configuration import Configuration

__all__ = ["model_card"]

_PROTECTION = {
    "masks": (
        "Updates were summed under pairwise masks (suite 1) in rounds of {asked} clients, protected against {adversary}: it learns the sum of the updates of a "
        "round's survivors, at least {threshold}, and nothing else about any one of them. Poisoning is not covered."
    ),
    "plain": "Updates were summed in the clear: the server saw each of them.",
    "float": "Updates were summed in the clear: the server saw each of them.",
}


def model_card(config: Configuration, clients: int) -> bytes:
    """Markdown with the front matter of a model card, UTF-8.

    Args:
        config: of the run.
        clients: of the job.
    """
    method, training = config.method, config.training
    base = config.model.base or "../base"
    asked, adversary = cohort_of(config, clients), adversary_of(config)
    library = "peft" if method.kind == "lora" else "transformers"
    trained = f"LoRA, rank {method.rank}" if method.kind == "lora" else f"all weights ({method.kind})"
    protection = _PROTECTION[config.aggregation.scheme].format(
        adversary=adversary, threshold=adversary.least_survivors(asked), asked=asked
    )
    return f"""---
library_name: {library}
base_model: {base}
pipeline_tag: text-generation
tags: [federated-learning, secure-aggregation]
---

# {config.name}

Trained federatedly with securefed {__version__}: {clients} clients, {training.rounds} rounds of {training.local_steps} local steps, {trained}, from the base model
`{base}`. `config.toml` beside this folder says everything that was asked for; `report.html` what came of it.

## What was protected

{protection}

No differential privacy: no noise was added, and what the model itself remembers of its training text is not bounded. The run was a simulation in one
process: whoever ran it could see all.
""".encode()
