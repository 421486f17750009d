"""The public start: tokenizer and base model trained on the public share, once, and kept.

A cache entry is a directory named by everything that it depends on. It is written beside its place and
renamed into it, so a half-written one is never found, and every file is checked against its digest before it
is used.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import tokenizers
import torch
import transformers

from securefed.errors import ConfigError
from securefed.llm.blocks import pack
from securefed.llm.corpus import digest_of_texts
from securefed.llm.methods import Method, attach, save
from securefed.llm.models import check_fit, demo_configuration, from_configuration
from securefed.llm.runtime import derived_seed, quiet
from securefed.llm.schedule import Schedule
from securefed.llm.tokenizer import train_tokenizer
from securefed.llm.training import Progress, fit

__all__ = ["Base", "Pretraining", "cache_directory", "pretrained"]

_MANIFEST = "entry.json"
_FORMAT = 1


@dataclass(frozen=True)
class Pretraining:
    """How the base model is made.

    Attributes:
        configuration: of the model as `models.from_configuration` takes it; the tokenizer's size and special
            tokens are filled in.
        vocabulary: tokens of the tokenizer.
        context: tokens a block.
        steps, batch, learning_rate, schedule: of the training.
        seed: of initial weights and data order.
    """

    configuration: Mapping[str, object] = field(default_factory=demo_configuration)
    vocabulary: int = 1024
    context: int = 64
    steps: int = 350
    batch: int = 32
    learning_rate: float = 3e-3
    schedule: Schedule = Schedule.COSINE_WITH_WARMUP
    seed: int = 0


@dataclass(frozen=True)
class Base:
    """A base model on disk.

    Attributes:
        directory: model (safetensors) and tokenizer; both load from it with `load_model` and
            `load_tokenizer`.
        key: sha256 (hexadecimal) of all that it depends on.
        cached: it was there already.
        loss: mean training loss of the last tenth of its steps, in nats a token.
        tokens: tokens that it was trained to predict, with repetition.
        seconds: wall time that its making took (when it was made).
    """

    directory: Path
    key: str
    cached: bool
    loss: float
    tokens: int
    seconds: float


def cache_directory() -> Path:
    """$SECUREFED_CACHE, else securefed/ in $XDG_CACHE_HOME, else in ~/.cache."""
    if chosen := os.environ.get("SECUREFED_CACHE"):
        return Path(chosen)
    if general := os.environ.get("XDG_CACHE_HOME"):
        return Path(general) / "securefed"
    return Path.home() / ".cache" / "securefed"


def pretrained(
    public_train: Sequence[str],
    recipe: Pretraining,
    *,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> Base:
    """The base model of a recipe and a public text: from the cache, or trained now.

    Args:
        public_train: public documents.
        recipe: how it is made.
        cache: directory of all entries; `cache_directory()` by default.
        progress: is told of every training step; never called for a cached one.

    Raises:
        ConfigError: the recipe is not possible, or the cache cannot be written.
    """
    key = _key(public_train, recipe)
    root = cache if cache is not None else cache_directory()
    place = root / f"base-{key[:32]}"
    found = _entry(place, key)
    if found is not None:
        return found
    try:
        root.mkdir(parents=True, exist_ok=True)
        making = Path(tempfile.mkdtemp(prefix=".making-", dir=root))
    except OSError as error:
        detail = f"{root} cannot be written: {error.strerror}; set SECUREFED_CACHE to another place"
        raise ConfigError("cache", detail) from error
    try:
        figures = _make(making, public_train, recipe, progress)
        _write_manifest(making, key, figures)
        shutil.rmtree(place, ignore_errors=True)  # a damaged entry
        try:
            making.rename(place)
        except OSError:
            # Another process has just put the same entry there; `_entry` below says whether it is a good one.
            if not place.is_dir():
                raise
    finally:
        shutil.rmtree(making, ignore_errors=True)
    made = _entry(place, key)
    if made is None:
        detail = f"{place} does not hold what was just written; set SECUREFED_CACHE to another place"
        raise ConfigError("cache", detail)
    return Base(made.directory, made.key, False, made.loss, made.tokens, made.seconds)


def _make(
    directory: Path, public_train: Sequence[str], recipe: Pretraining, progress: Progress | None
) -> dict[str, float]:
    begin = time.perf_counter()
    tokenizer = train_tokenizer(public_train, recipe.vocabulary)
    blocks = pack(public_train, tokenizer, recipe.context)
    model = from_configuration(
        {
            **recipe.configuration,
            "vocab_size": len(tokenizer),
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
        },
        derived_seed(recipe.seed, "base model"),
    )
    check_fit(model, tokenizer, recipe.context)
    module = attach(model, Method.PRETRAIN)
    recent: list[float] = []

    def note(step: int, steps: int, loss: float) -> None:
        recent.append(loss)
        if progress is not None:
            progress(step, steps, loss)

    fitted = fit(
        module,
        blocks,
        steps=recipe.steps,
        batch=recipe.batch,
        learning_rate=recipe.learning_rate,
        schedule=recipe.schedule,
        seed=derived_seed(recipe.seed, "base order"),
        progress=note,
    )
    save(module, directory)
    with quiet():
        tokenizer.save_pretrained(str(directory))
    last = recent[-max(1, len(recent) // 10) :]
    return {"loss": sum(last) / len(last), "tokens": fitted.tokens, "seconds": time.perf_counter() - begin}


def _key(public_train: Sequence[str], recipe: Pretraining) -> str:
    depends_on = {
        "format": _FORMAT,
        "text": digest_of_texts(public_train),
        "recipe": {name: getattr(recipe, name) for name in recipe.__dataclass_fields__},
        "libraries": [module.__version__ for module in (np, tokenizers, torch, transformers)],
        "threads": torch.get_num_threads(),  # decides the last bits
    }
    return hashlib.sha256(_canonical(depends_on)).hexdigest()


def _canonical(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=dict).encode()


def _write_manifest(directory: Path, key: str, figures: Mapping[str, float]) -> None:
    files = {path.name: _sha256(path) for path in sorted(directory.iterdir())}
    body = {"key": key, "files": files, "figures": dict(figures)}
    (directory / _MANIFEST).write_text(
        json.dumps({"body": body, "sha256": hashlib.sha256(_canonical(body)).hexdigest()}, indent=1)
    )


def _entry(place: Path, key: str) -> Base | None:
    """The entry, or None where there is none or any byte of it is not as it was written."""
    try:
        manifest = json.loads((place / _MANIFEST).read_text())
        body = manifest["body"]
        if manifest["sha256"] != hashlib.sha256(_canonical(body)).hexdigest() or body["key"] != key:
            return None
        if any(_sha256(place / name) != digest for name, digest in body["files"].items()):
            return None
        figures = body["figures"]
        return Base(place, key, True, figures["loss"], figures["tokens"], figures["seconds"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
