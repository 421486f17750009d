"""What a run is asked to do: one typed configuration, from a TOML file and `key=value` overrides.

Everything that can be wrong with it is one `ConfigError` that names the dotted key, the value that was found
and what is allowed there. `keys()` lists every key with its default, range and meaning; documentation and error
messages are both made from it, so that they cannot disagree.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

import tomli_w
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from securefed.errors import ConfigError

__all__ = ["Arm", "Configuration", "Key", "digest", "keys", "load"]

Arm = Literal["public", "local", "plain", "masks", "central"]
"""A way to train: the public model as it is, each client alone, federated in the clear and under masks, and all
data in one place."""


def _as_tuple(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value  # TOML has lists; a frozen object holds tuples


def _each_once(value: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(value)) != len(value):
        raise ValueError("an entry is given twice")
    return value


_Word = Annotated[str, Field(min_length=1)]
_Words = Annotated[tuple[_Word, ...], BeforeValidator(_as_tuple), AfterValidator(_each_once)]
_Layers = Annotated[tuple[_Word, ...], Field(min_length=1), BeforeValidator(_as_tuple), AfterValidator(_each_once)]
_Arms = Annotated[tuple[Arm, ...], BeforeValidator(_as_tuple), AfterValidator(_each_once)]
_Share = Annotated[float, Field(gt=0, lt=1)]
_Rate = Annotated[float, Field(gt=0, le=10)]
_Clients = Annotated[int, Field(ge=0, le=100_000)]
_Round = Annotated[int, Field(ge=1, le=100_000)]
_Batch = Annotated[int, Field(ge=1, le=65_536)]
_Blocks = Annotated[int, Field(ge=1, le=256)]
_Width = Annotated[int, Field(ge=8, le=65_536)]


class _Section(BaseModel):
    # The text under a field is its description: it reads well here and still reaches keys().
    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


class Data(_Section):
    """Whose text is trained on, and how much of it."""

    source: Literal["standard-library", "jsonl"] = "standard-library"
    """Python packages found on this machine, or a file of one JSON object a line"""
    file: str = ""
    """the file, where source is jsonl"""
    client_field: _Word = "client"
    """field of a line that says whose it is"""
    text_field: str = ""
    """field of a line that holds the text; empty: guessed"""
    clients: _Words = ()
    """who takes part; empty: the default eight packages, or all of a file"""
    max_clients: _Clients = 0
    """at most so many clients; 0: no cap"""
    min_characters: Annotated[int, Field(ge=1, le=10**12)] = 2000
    """clients with less text are left out"""
    held_out_share: _Share = 0.25
    """share of each client's text that is only evaluated on"""
    tokens_per_client: Annotated[int, Field(ge=0, le=10**12)] = 20_000
    """training tokens of one client; 0: all"""
    public_share: _Share = 0.35
    """share of the source that is public: tokenizer and pretraining see it"""


class Pretraining(_Section):
    """The small model's training on public text, before any client takes part."""

    steps: Annotated[int, Field(ge=1, le=10_000_000)] = 350
    """optimiser steps"""
    batch: _Batch = 32
    """sequences a step"""
    learning_rate: _Rate = 3e-3
    """AdamW's"""


class Model(_Section):
    """The model that everybody starts from."""

    base: str = ""
    """directory or hub id; empty: pretrain a small one on the public share"""
    architecture: Literal["llama"] = "llama"
    """family of the small one"""
    vocabulary: Annotated[int, Field(ge=258, le=262_144)] = 1024
    """tokens that its tokenizer knows"""
    hidden: _Width = 128
    """its width"""
    layers: _Blocks = 3
    """its transformer blocks"""
    heads: _Blocks = 4
    """its attention heads; they divide hidden into even parts"""
    feed_forward: _Width = 384
    """width inside the feed-forward part of its blocks"""
    context: Annotated[int, Field(ge=8, le=131_072)] = 64
    """tokens of one training sequence, whatever the model"""
    pretraining: Pretraining = Pretraining()


class Method(_Section):
    """Which tensors are trained and sent."""

    kind: Literal["lora", "full", "pretrain"] = "lora"
    """adapters, all weights, or all weights from a random start (model.base then gives the shape alone)"""
    rank: Annotated[int, Field(ge=1, le=4096)] = 8
    """of the adapters"""
    alpha: Annotated[float, Field(gt=0, le=65_536)] = 16.0
    """adapters count alpha / rank"""
    targets: Literal["all-linear"] | _Layers = "all-linear"
    """linear layers that get an adapter, by name"""


class Training(_Section):
    """The rounds, and what a client does in one."""

    rounds: _Round = 8
    """federated rounds"""
    local_steps: Annotated[int, Field(ge=1, le=1_000_000)] = 15
    """optimiser steps of one client in one round"""
    batch: _Batch = 8
    """sequences a step"""
    learning_rate: _Rate = 6e-3
    """AdamW's, in the first round"""
    schedule: Literal["cosine", "constant"] = "cosine"
    """of the learning rate, over the rounds"""
    server_learning_rate: _Rate = 2.0
    """factor on the mean update"""
    weighting: Literal["uniform", "examples"] = "uniform"
    """what one client counts in the mean"""
    clients_per_round: _Clients = 0
    """clients asked in one round; 0: all"""


class Aggregation(_Section):
    """How updates become their sum, and who is lost on purpose."""

    scheme: Literal["masks", "plain", "float"] = "masks"
    """integers under pairwise masks, the same integers in the clear, or floats in the clear"""
    bits: Annotated[int, Field(ge=2, le=32)] = 16
    """of one quantised number"""
    clip: Literal["auto"] | Annotated[float, Field(gt=0)] = "auto"
    """greatest magnitude of one number of an update"""
    threshold: _Clients = 0
    """clients needed to unmask; 0: floor(2n/3) + 1"""
    lose_stage: Literal["none", "advertise", "share", "input", "release"] = "none"
    """stage in which one client is lost on purpose"""
    lose_round: _Round = 3
    """round in which it is lost, counted from 1"""


class Evaluation(_Section):
    """What the result is compared with, on text that was held out."""

    arms: _Arms = ("public", "local", "plain", "masks", "central")
    """the public model, each client alone, federated in the clear, under masks, all data in one place"""
    every_round: bool = True
    """after each round, not only at the end"""
    max_tokens_per_client: Annotated[int, Field(ge=2, le=10**12)] = 4096
    """held-out tokens of one client that are evaluated"""
    local_learning_rate: _Rate = 1e-3
    """of a client that trains alone"""
    central_learning_rate: _Rate = 3e-3
    """of training on all data in one place"""


class Configuration(_Section):
    """The configuration of a run, complete."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]+$")] = "run"
    """of the run and of its directory"""
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = 0
    """of everything random but the cryptography"""
    data: Data = Data()
    model: Model = Model()
    method: Method = Method()
    training: Training = Training()
    aggregation: Aggregation = Aggregation()
    evaluation: Evaluation = Evaluation()

    @model_validator(mode="after")
    def _fits_together(self) -> Configuration:
        """What no key can see alone. ConfigError passes through pydantic, ValueError would be wrapped."""
        data, model, training, aggregation = self.data, self.model, self.training, self.aggregation
        cohort = training.clients_per_round
        if set(self.name) <= {"."}:
            raise ConfigError("name", f'got "{self.name}"; a name of dots alone is no directory of its own')
        if data.source == "jsonl" and not data.file:
            raise ConfigError("data.file", 'got ""; data.source "jsonl" needs the path of a file')
        if not model.base and model.hidden % (2 * model.heads):
            allowed = f"allowed is a divisor of model.hidden ({model.hidden}) with an even quotient"
            raise ConfigError("model.heads", f"got {model.heads}; {allowed}")
        if aggregation.lose_stage != "none" and aggregation.lose_round > training.rounds:
            allowed = f"allowed is at most training.rounds ({training.rounds})"
            raise ConfigError("aggregation.lose_round", f"got {aggregation.lose_round}; {allowed}")
        if cohort and aggregation.threshold > cohort:
            allowed = f"allowed is at most training.clients_per_round ({cohort})"
            raise ConfigError("aggregation.threshold", f"got {aggregation.threshold}; {allowed}")
        for key, number in (("training.clients_per_round", cohort), ("data.max_clients", data.max_clients)):
            if number == 1 and aggregation.scheme == "masks":
                raise ConfigError(key, "got 1; the sum over one client is its update: allowed is 0 or ≥ 2")
        return self

    def to_toml(self) -> str:
        """All keys and their values as TOML; `load` of it gives an equal configuration."""
        parts = []
        for name, section in _sections(self):
            own = {k: v for k, v in section if not isinstance(v, _Section)}
            title = f"[{name}]\n" if name else ""
            parts.append(f"# {section.__doc__}\n{title}{tomli_w.dumps(own)}")
        return "\n".join(parts)


def _sections(section: _Section, name: str = "") -> Iterator[tuple[str, _Section]]:
    """The section and those inside it, with dotted names, in the order of their definition."""
    yield name, section
    for key, value in section:
        if isinstance(value, _Section):
            yield from _sections(value, f"{name}.{key}" if name else key)


@dataclass(frozen=True)
class Key:
    """One key: dotted name, default, what is allowed in words, and its meaning.

    `is_text` is true where any text is allowed, so that an override's value is taken as it stands.
    """

    name: str
    default: object
    allowed: str
    description: str
    is_text: bool


@cache
def keys() -> Mapping[str, Key]:
    """Every key of a configuration by its dotted name, in order."""
    found: dict[str, Key] = {}
    for prefix, section in _sections(Configuration()):
        properties = type(section).model_json_schema()["properties"]
        for name, value in section:
            if not isinstance(value, _Section):
                dotted, schema = f"{prefix}.{name}" if prefix else name, properties[name]
                is_text = schema.get("type") == "string" and "enum" not in schema and "const" not in schema
                found[dotted] = Key(dotted, value, _allowed(schema), schema.get("description", ""), is_text)
    return found


def _allowed(schema: Mapping[str, Any]) -> str:
    """What a key's JSON schema allows, in words."""
    if "anyOf" in schema:
        return " or ".join(_allowed(one) for one in schema["anyOf"])
    if "const" in schema:
        return json.dumps(schema["const"])
    if "enum" in schema:
        return "one of " + ", ".join(json.dumps(one) for one in schema["enum"])
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    bounds = " and ".join(f"{sign} {schema[name]}" for name, sign in signs.items() if name in schema)
    match schema["type"]:
        case "boolean":
            return "true or false"
        case "integer" | "number" as kind:
            return f"a {'whole ' if kind == 'integer' else ''}number {bounds}".strip()
        case "array":
            least = "not empty, " if schema.get("minItems") else ""
            return f"a list, {least}without repeats, of: {_allowed(schema['items'])}"
    if "pattern" in schema:
        return "a string of letters, digits, dots, dashes and underscores"
    return "a string that is not empty" if schema.get("minLength") else "a string"


def load(path: Path | None = None, overrides: Sequence[str] = ()) -> Configuration:
    """The configuration of a TOML file (None: the defaults) with overrides such as `training.rounds=4`.

    An override's value is TOML; a bare word, also inside a list, is a string.

    Raises:
        ConfigError: the file cannot be read, or something in it or in an override is not allowed.
    """
    values = {} if path is None else _read(path)
    for override in overrides:
        _set(values, override)
    try:
        return Configuration.model_validate(values)
    except ValidationError as error:
        raise _first_problem(error, values) from None


def digest(config: Configuration) -> str:
    """64 hex digits that differ wherever any value differs; a resumed run compares them."""
    canonical = json.dumps(config.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError("", f"cannot read the configuration {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError("", f"the configuration {path} is not valid TOML: {error}") from error


def _set(values: dict[str, Any], override: str) -> None:
    """Write one override into the nested values."""
    key, sign, text = override.partition("=")
    key = key.strip()
    if not sign or not re.fullmatch(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*", key):
        raise ConfigError(key, f"cannot read the override {_shown(override)}; write section.key=value")
    value = _value(key, text.strip())
    *sections, last = key.split(".")
    table = values
    for depth, name in enumerate(sections, start=1):
        if not isinstance(table.setdefault(name, {}), dict):
            found = f"got {_shown(table[name])}; {key} needs a table there"
            raise ConfigError(".".join(sections[:depth]), found)
        table = table[name]
    table[last] = value


def _value(key: str, text: str) -> object:
    """An override's value, as TOML where it is TOML."""
    known = keys().get(key)
    if known is not None and known.is_text and text[:1] not in ("'", '"'):
        return text  # a name such as 2026-01-31 or 42 is still a name
    try:
        table = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError as error:
        if text[:1] == "[" and text[-1:] == "]":
            return [_value("", part.strip()) for part in text[1:-1].split(",") if part.strip()]
        if text and text[0] not in "'\"[{" and "\n" not in text:
            return text
        raise ConfigError(key, f"cannot read the value {_shown(text)}: {error}") from error
    value = table.pop("value")
    if table or isinstance(value, dict):
        raise ConfigError(key, f"got {_shown(text)}; set one key at a time, to a number, a string or a list")
    return text if isinstance(value, date | datetime | time) else value


def _first_problem(error: ValidationError, values: Mapping[str, Any]) -> ConfigError:
    """One error for all that pydantic found; a misspelt key first, for it often explains the rest."""
    problems = sorted(error.errors(), key=lambda one: one["type"] != "extra_forbidden")
    kind, location = problems[0]["type"], problems[0]["loc"]
    found: Any = values
    path: list[str] = []
    for step in location:
        # Inside a key's value (an entry of a list, one half of a union) the key is what one can look for.
        if ".".join(path) in keys() or not isinstance(found, Mapping):
            break
        path.append(str(step))
        found = found.get(step)
    key = ".".join(path)
    if kind == "extra_forbidden":
        return ConfigError(key, f"got {_shown(found)}, but no such key is known; the nearest is {_nearest(key)}")
    if key not in keys():
        return ConfigError(key, f"got {_shown(found)}; allowed is a table, [{key}]")
    return ConfigError(key, f"got {_shown(found)}; allowed is {keys()[key].allowed}")


def _nearest(key: str) -> str:
    """The known key or section that looks most like it, by its whole name and by its last part."""

    def likeness(known: str) -> float:
        pairs = ((key, known), (key.rpartition(".")[2], known.rpartition(".")[2]))
        return sum(difflib.SequenceMatcher(None, *pair).ratio() for pair in pairs)

    names = [*keys(), *(name for name, _ in _sections(Configuration()) if name)]
    return max(names, key=likeness)


def _shown(value: object) -> str:
    """A value as its author would write it, cut where it is long."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 80 else f"{text[:77]}..."
