"""A federation from the user's own file: JSON lines, one row a document or a list of them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from securefed.errors import ConfigError
from securefed.llm.corpus import Corpus, Silo
from securefed.llm.runtime import derived_seed

__all__ = ["jsonl"]

# What a row's text is called when the user does not say: the first of these whose every field the first row
# has.
_GUESSES: tuple[tuple[str, ...], ...] = (
    ("text",),
    ("content",),
    ("lines",),
    ("document",),
    ("body",),
    ("code",),
    ("instruction", "context", "response"),
    ("instruction", "response"),
    ("instruction", "input", "output"),
    ("prompt", "completion"),
    ("prompt", "response"),
    ("question", "answer"),
)


def jsonl(
    path: Path,
    *,
    client_field: str,
    text_field: str | None = None,
    clients: Sequence[str] = (),
    max_clients: int = 0,
    min_characters: int = 2000,
    held_out_share: float = 0.2,
    public_share: float = 0.0,
    seed: int = 0,
) -> Corpus:
    """Read a federation.

    A client's documents are shuffled and whole ones held out; a client with a single document has it split at
    an end of line. Clients that take no part are left out. With a `public_share`, that share of them becomes
    the public text instead: ask for that only where their owners agree.

    Args:
        path: UTF-8, one JSON object a line; empty lines are skipped.
        client_field: field that names a row's client: text or a whole number.
        text_field: field with a row's text, or with a list of texts, each then a document of its own. Several,
            separated by commas, are joined by an empty line. Empty or None: guessed from the first row.
        clients: who takes part; empty: all that have enough text.
        max_clients: at most so many, the largest; 0: no cap.
        min_characters: a client with fewer takes no part.
        held_out_share: share of a client's characters that is held out, in (0, 1).
        public_share: share of those who take no part, by number, whose text is public, in [0, 1].
        seed: of the split and of the choice of the public ones.

    Returns:
        The corpus; silos in the order of `clients`, else from the largest to the smallest, equally large ones
        by name. A twentieth of the public documents is held out.

    Raises:
        ConfigError: an option is out of range, the file cannot be read, a row is wrong (with its line and
            field), a named client has not enough text, or nobody (or, where asked for, no public text) is left.
    """
    _check(clients, max_clients, min_characters, held_out_share, public_share)
    documents = _documents(path, client_field, text_field)
    ranked = sorted(documents, key=lambda name: (-sum(map(len, documents[name])), name))
    silos: dict[str, Silo] = {}
    for name in clients or ranked:
        split = None
        if sum(map(len, documents.get(name, ()))) >= min_characters:
            split = _split(documents[name], held_out_share, derived_seed(seed, "split", name))
        if split is not None:
            silos[name] = Silo(name, *split)
        elif clients:
            wanted = f"{min_characters} characters in at least two lines or documents"
            raise ConfigError("data.clients", f"{path}: client {name!r} has not {wanted}")
        if max_clients and len(silos) == max_clients:
            break
    if not silos:
        raise ConfigError(
            "data.min_characters",
            f"{path}: none of {len(documents)} clients has {min_characters} characters in at least two lines or "
            "documents",
        )
    others = [name for name in ranked if name not in silos]
    public = _public(path, documents, others, public_share, seed) if public_share else ((), ())
    return Corpus(*public, tuple(silos.values()))


def _check(
    clients: Sequence[str], max_clients: int, min_characters: int, held_out_share: float, public_share: float
) -> None:
    if len(set(clients)) != len(clients):
        raise ConfigError("data.clients", "a client is named twice")
    if max_clients < 0:
        raise ConfigError("data.max_clients", f"{max_clients} is below 0")
    if min_characters < 1:
        raise ConfigError("data.min_characters", f"{min_characters} is below 1")
    if not 0 < held_out_share < 1:
        raise ConfigError("data.held_out_share", f"{held_out_share} is not in (0, 1)")
    if not 0 <= public_share <= 1:
        raise ConfigError("data.public_share", f"{public_share} is not in [0, 1]")


def _documents(path: Path, client_field: str, text_field: str | None) -> dict[str, list[str]]:
    """All documents by client, in the order of the file, without the empty ones."""
    fields = _named(text_field)
    documents: dict[str, list[str]] = {}
    for where, row in _rows(path):
        client = row.get(client_field)
        if isinstance(client, bool) or not isinstance(client, str | int) or client == "":
            fault = _fault(row, client_field, "text or a whole number")
            raise ConfigError("data.client_field", f"{where}: {fault}")
        if not fields:
            fields = _guessed(row, where)
        texts = _texts(row, fields, where)
        for text in (str(client), *texts):
            if not text.isascii() and any("\ud800" <= sign <= "\udfff" for sign in text):
                # JSON can spell half of a surrogate pair; no tokenizer takes it.
                raise ConfigError("data.file", f"{where}: half of a surrogate pair (\\ud800 to \\udfff)")
        documents.setdefault(str(client), []).extend(text for text in texts if text.strip())
    if not documents:
        raise ConfigError("data.file", f"{path} has no row")
    return documents


def _rows(path: Path) -> Iterator[tuple[str, Mapping[str, object]]]:
    """Each row with where it stands, for errors."""
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                where = f"{path}, line {number}"
                try:
                    row = json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8"))
                except UnicodeDecodeError as error:
                    raise ConfigError("data.file", f"{where}: not UTF-8 at byte {error.start}") from None
                except json.JSONDecodeError as error:
                    raise ConfigError(
                        "data.file",
                        f"{where}: not JSON at column {error.colno} ({error.msg}); one object a line is wanted",
                    ) from None
                except ValueError:  # a whole number of thousands of digits
                    raise ConfigError("data.file", f"{where}: a number is too long") from None
                except RecursionError:
                    raise ConfigError("data.file", f"{where}: nested too deeply") from None
                if not isinstance(row, dict):
                    raise ConfigError("data.file", f"{where}: {_kind(row)}; one object a line is wanted")
                yield where, row
    except OSError as error:
        raise ConfigError("data.file", f"{path} cannot be read: {error.strerror}") from error


def _texts(row: Mapping[str, object], fields: Sequence[str], where: str) -> list[str]:
    if len(fields) == 1:
        value = row.get(fields[0])
        if isinstance(value, str):
            return [value]
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            return value
        raise ConfigError("data.text_field", f"{where}: {_fault(row, fields[0], 'text or a list of texts')}")
    parts: list[str] = []
    for name in fields:
        value = row.get(name)
        if not isinstance(value, str):
            raise ConfigError("data.text_field", f"{where}: {_fault(row, name, 'text')}")
        parts.append(value)
    return ["\n\n".join(part for part in parts if part)]


def _named(text_field: str | None) -> tuple[str, ...]:
    if not text_field:
        return ()
    fields = tuple(name.strip() for name in text_field.split(","))
    if not all(fields):
        raise ConfigError("data.text_field", f"{text_field!r} names no field, or an empty one")
    return fields


def _guessed(row: Mapping[str, object], where: str) -> tuple[str, ...]:
    for fields in _GUESSES:
        if all(name in row for name in fields):
            return fields
    names = ", ".join(sorted(row))
    raise ConfigError("data.text_field", f"{where}: name the field that holds the text; the row has {names}")


def _fault(row: Mapping[str, object], name: str, wanted: str) -> str:
    """What is wrong with a field; never its content, which may be private."""
    if name not in row:
        return f"field {name!r} is missing; the row has {', '.join(sorted(row))}"
    if row[name] == "":
        return f"field {name!r} is empty; {wanted} is wanted"
    return f"field {name!r} holds {_kind(row[name])}; {wanted} is wanted"


def _kind(value: object) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


def _split(texts: Sequence[str], share: float, seed: int) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
    """Train and held out, at least one document each; None where there is but one line in all.

    The same text again is dropped: it would be trained on and held out at once.
    """
    texts = list(dict.fromkeys(texts))
    if len(texts) == 1:
        lines = texts[0].splitlines(keepends=True)
        if len(lines) < 2:
            return None
        border = min(max(round(len(lines) * (1 - share)), 1), len(lines) - 1)
        return ("".join(lines[:border]),), ("".join(lines[border:]),)
    order = np.random.Generator(np.random.PCG64(seed)).permutation(len(texts))
    total = sum(map(len, texts))
    held: list[str] = []
    rest: list[str] = []
    for i in order:
        full = sum(map(len, held)) >= share * total or len(held) == len(texts) - 1
        (rest if full else held).append(texts[int(i)])
    return tuple(rest), tuple(held)


def _public(
    path: Path, documents: Mapping[str, list[str]], others: Sequence[str], share: float, seed: int
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    order = np.random.Generator(np.random.PCG64(derived_seed(seed, "public"))).permutation(len(others))
    count = max(1, round(share * len(others)))
    texts = [text for i in order[:count] for text in documents[others[int(i)]]]
    split = _split(texts, 0.05, derived_seed(seed, "public split")) if texts else None
    if split is None:
        raise ConfigError(
            "data.public_share",
            f"{path}: {len(others)} clients are left over for the public text, and that is not enough; lower "
            "data.max_clients",
        )
    return split
