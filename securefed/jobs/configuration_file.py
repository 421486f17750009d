"""A configuration from a TOML file and `key=value` overrides, and one error for whatever is wrong with it.

Everything that can be wrong is one `ConfigError` that names the dotted key, the value that was found and what is
allowed there. `keys()` lists every key with its default, range and meaning; documentation and error messages are both
made from it, so that they cannot disagree.
"""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from securefed.errors import ConfigError
from securefed.jobs.configuration import Configuration, sections
from securefed.jobs.sections import Section

__all__ = ["Key", "keys", "load"]


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
    for prefix, section in sections(Configuration()):
        properties = type(section).model_json_schema()["properties"]
        for name, value in section:
            if not isinstance(value, Section):
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
            unique = "without repeats, " if schema.get("uniqueItems") else ""
            return f"a list, {least}{unique}of: {_allowed(schema['items'])}"
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

    names = [*keys(), *(name for name, _ in sections(Configuration()) if name)]
    return max(names, key=likeness)


def _shown(value: object) -> str:
    """A value as its author would write it, cut where it is long."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 80 else f"{text[:77]}..."
