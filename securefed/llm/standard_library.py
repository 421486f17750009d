"""The embedded federation: packages of the Python standard library play companies with code of their own.

Every machine has them, their texts differ in style and subject by nature, and nothing is downloaded. What
other top-level modules hold is the public data. The text depends on the Python version; the corpus' digest
says which was used.
"""

from __future__ import annotations

import hashlib
import re
import sysconfig
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from securefed.errors import ConfigError
from securefed.llm.corpus import Corpus, Silo

__all__ = ["PACKAGES", "standard_library"]

PACKAGES = ("asyncio", "email", "xml", "multiprocessing", "unittest", "importlib", "http", "logging")
"""The eight packages that play the clients."""

LEAST_CHARACTERS = 400
"""A shorter file is a stub: an import or two, often the same in many packages."""

LEAST_SILO_CHARACTERS = 20_000
LEAST_PUBLIC_CHARACTERS = 300_000
HELD_OUT_SHARE = (0.20, 0.35)
PUBLIC_HELD_OUT_SHARE = (0.03, 0.06)

# Tests, tables, generated files and what some distributions remove or patch: none of it reads like a library,
# and a corpus should be as equal as it can be from one machine to the next.
_NOT_PUBLIC = frozenset(
    (
        *("test", "idlelib", "turtle", "turtledemo", "encodings", "pydoc_data", "lib2to3", "distutils"),
        *("ensurepip", "venv", "sitecustomize", "usercustomize", "this", "antigravity"),
        *("__hello__", "__phello__"),
    )
)
_TEST_FOLDERS = frozenset({"test", "tests", "idle_test", "__pycache__"})
_LICENCE_WORDS = re.compile(
    r"copyright|licen[sc]e|all rights reserved|redistribut|permission (to use|is hereby)|warrant(y|ies)|©",
    re.IGNORECASE,
)


def standard_library(
    seed: int,
    *,
    packages: Sequence[str] = PACKAGES,
    public_share: float = 0.35,
    root: Path | None = None,
) -> Corpus:
    """The federation of the standard library's packages.

    Whole files are held out: 20–35% of each package's bytes, or what comes nearest where it has few files.
    Licence headers are cut, files under 400 characters and exact duplicates (over all silos and the public
    share) dropped.

    Args:
        seed: chooses the split, the order of files and the public modules.
        packages: top-level packages, one a client.
        public_share: share of the other top-level modules that is public, in (0, 1].
        root: folder of the standard library; by default that of the running Python.

    Raises:
        ConfigError: a package is missing or too small, or there is too little public text.
    """
    if not packages or len(set(packages)) != len(packages):
        raise ConfigError("data.clients", "name each package once, and at least one")
    if not 0 < public_share <= 1:
        raise ConfigError("data.public_share", f"{public_share} is not in (0, 1]")
    folder = root if root is not None else Path(sysconfig.get_paths()["stdlib"])
    seen: set[bytes] = set()
    silos = tuple(_silo(folder, package, seed, seen) for package in packages)
    public_train, public_held_out = _public(folder, frozenset(packages), public_share, seed, seen)
    return Corpus(public_train, public_held_out, silos)


def _silo(folder: Path, package: str, seed: int, seen: set[bytes]) -> Silo:
    texts = list(_texts(folder / package, seen)) if package.isidentifier() else []
    size = sum(map(len, texts))
    if len(texts) < 2 or size < LEAST_SILO_CHARACTERS:
        raise ConfigError(
            "data.clients",
            f"{package!r} has {len(texts)} usable source files with {size} characters in the standard library; "
            f"a client needs 2 files and {LEAST_SILO_CHARACTERS} characters. Choose other packages, or a Python "
            "that was installed with its sources",
        )
    train, held_out = _split(texts, HELD_OUT_SHARE, _generator(seed, "silo", package))
    return Silo(package, train, held_out)


def _public(
    folder: Path, private: frozenset[str], share: float, seed: int, seen: set[bytes]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    modules = sorted(
        path
        for path in folder.iterdir()
        if path.stem not in private
        and path.stem not in _NOT_PUBLIC
        and not path.name.startswith("_sysconfigdata")
        and (path.suffix == ".py" if path.is_file() else (path / "__init__.py").is_file())
    )
    # Each module has its own coin, so that one more or less (another Python version) moves no other one.
    chosen = [path for path in modules if _generator(seed, "public", path.stem).random() < share]
    texts = [text for path in chosen for text in _texts(path, seen)]
    size = sum(map(len, texts))
    if len(texts) < 2 or size < LEAST_PUBLIC_CHARACTERS:
        raise ConfigError(
            "data.public_share",
            f"{len(chosen)} public modules hold {size} characters; {LEAST_PUBLIC_CHARACTERS} are needed to "
            "train a tokenizer and a base model. Raise the share",
        )
    return _split(texts, PUBLIC_HELD_OUT_SHARE, _generator(seed, "public split"))


def _texts(path: Path, seen: set[bytes]) -> Iterator[str]:
    """Usable files at or under a path in order of their names; adds to `seen` what it yields."""
    files = [path] if path.is_file() else sorted(path.rglob("*.py"))
    for file in files:
        if _TEST_FOLDERS.intersection(file.relative_to(path.parent).parts[1:-1]):
            continue
        try:
            text = without_licence(file.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError):
            continue  # a file that cannot be read is no text; too little text in all is refused by the caller
        digest = hashlib.sha256(text.encode()).digest()
        if len(text) >= LEAST_CHARACTERS and digest not in seen:
            seen.add(digest)
            yield text


def without_licence(text: str) -> str:
    """The text with its leading comment lines cut where they speak of copyright or licence.

    Headers repeat from file to file and from package to package: held-out text would be in the training text.
    """
    lines = text.split("\n")
    end = next((i for i, line in enumerate(lines) if line.strip() and not line.startswith("#")), len(lines))
    if not _LICENCE_WORDS.search("\n".join(lines[:end])):
        return text
    return "\n".join(lines[end:])


def _split(
    texts: list[str], share: tuple[float, float], generator: np.random.Generator
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Whole texts into train and held out; the held-out bytes' share in the range, or nearest to it."""
    sizes = [len(text.encode()) for text in texts]
    total = sum(sizes)
    best: tuple[float, list[int], list[int]] | None = None
    for _ in range(64):
        order = [int(i) for i in generator.permutation(len(texts))]
        held: list[int] = []
        for i in order:
            if len(held) + 1 < len(texts) and sum(sizes[j] for j in held) + sizes[i] <= share[1] * total:
                held.append(i)
            if sum(sizes[j] for j in held) >= share[0] * total:
                break
        # Nothing fits under the upper bound (few, large files): the smallest alone is the nearest above it.
        held = held or [min(range(len(texts)), key=lambda j: sizes[j])]
        part = sum(sizes[j] for j in held) / total
        miss = max(share[0] - part, part - share[1], 0.0)
        if best is None or miss < best[0]:
            best = (miss, held, [i for i in order if i not in held])
        if miss == 0.0:
            break
    if best is None:  # pragma: no cover - the loop above runs at least once
        raise AssertionError
    return tuple(texts[i] for i in best[2]), tuple(texts[i] for i in best[1])


def _generator(seed: int, *labels: str) -> np.random.Generator:
    """A generator for one purpose: what it draws does not depend on what others draw."""
    digest = hashlib.sha256("\x00".join((f"standard library {seed}", *labels)).encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest[:16], "little")))
