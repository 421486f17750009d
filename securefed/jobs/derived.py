"""What follows from a configuration: whom rounds are protected from, how many are asked, what is never cut."""

from __future__ import annotations

from securefed.aggregation import Adversary
from securefed.jobs.configuration import Configuration
from securefed.schemes import SCHEMES

__all__ = ["adversary_of", "clip_of", "cohort_of", "main_arm"]

ADAM_BOUND = 1.2
"""(1 − β1) / √((1 − β2)(1 − β1²/β2)) is 1.165 for the betas of `llm.training`, rounded up."""


def main_arm(config: Configuration) -> str:
    """The arm that the run is for: the federation under the configured scheme."""
    return SCHEMES[config.aggregation.scheme].protection.value


def clip_of(config: Configuration) -> float:
    """The configured clip; for "auto" what the steps of AdamW cannot pass.

    By Cauchy–Schwarz one step without weight decay changes a parameter by at most learning rate × `ADAM_BOUND`,
    whatever the gradients; so a client's update lies within that times its steps, and nothing is ever cut.
    """
    clip = config.aggregation.clip
    return config.training.learning_rate * config.training.local_steps * ADAM_BOUND if clip == "auto" else clip


def cohort_of(config: Configuration, clients: int) -> int:
    """Clients asked in a round of this job."""
    return config.training.clients_per_round or clients


def adversary_of(config: Configuration) -> Adversary:
    """Whom the rounds of this job are protected against."""
    return config.aggregation.adversary
