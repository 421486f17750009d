"""How the libraries below run: threads, seeds, and no talk on the console."""

from __future__ import annotations

import hashlib
import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

# The tokenizers library warns when a process that has used its threads forks; set before it is imported.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import torch
import transformers.utils.logging as transformers_logging

__all__ = ["derived_seed", "quiet", "use_threads"]


def use_threads(count: int | None = None) -> int:
    """Compute with so many threads from now on, in all of this process; returns the number.

    The number of threads decides how sums are split, hence their last bits: a run that must be repeated bit
    for bit is repeated with the same number.

    Args:
        count: threads, ≥ 1; by default one a core that this process may use.
    """
    if count is None:
        count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    if torch.get_num_threads() != count:
        torch.set_num_threads(count)
    return count


def derived_seed(seed: int, *labels: str | int) -> int:
    """A seed in [0, 2^63) for one purpose: sha256 over the seed and the labels.

    For data order and initial weights only. Nothing secret is ever drawn from it.
    """
    text = "\x00".join(("securefed llm", str(seed), *(f"{type(label).__name__}:{label}" for label in labels)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


@contextmanager
def quiet() -> Iterator[None]:
    """While inside, transformers and peft draw no progress bar and log and warn of nothing below an error.

    What was set before is set again at the end: a program's own settings for these libraries stay as they are.
    """
    bars = transformers_logging.is_progress_bar_enabled()
    loggers = [logging.getLogger(name) for name in ("transformers", "peft", "huggingface_hub")]
    levels = [logger.level for logger in loggers]
    transformers_logging.disable_progress_bar()
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            for module in ("transformers", "peft", "huggingface_hub"):
                warnings.filterwarnings("ignore", module=rf"{module}(\.|$)")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        if bars:
            transformers_logging.enable_progress_bar()
