"""The embedded federation."""

from __future__ import annotations

from pathlib import Path

import pytest

from securefed.errors import ConfigError
from securefed.llm.corpus import Corpus, Silo, digest_of_texts
from securefed.llm.standard_library import PACKAGES, standard_library, without_licence


def test_it_follows_from_the_seed_alone() -> None:
    first, again, other = standard_library(1), standard_library(1), standard_library(2)
    assert first == again
    assert first.digest == again.digest != other.digest
    assert first.public_digest == again.public_digest != other.public_digest
    assert [silo.name for silo in first.silos] == list(PACKAGES)
    assert first.silos[0].held_out != other.silos[0].held_out


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_no_text_is_in_two_places(seed: int) -> None:
    corpus = standard_library(seed)
    places = [corpus.public_train, corpus.public_held_out]
    for silo in corpus.silos:
        places += [silo.train, silo.held_out]
    texts = [text for place in places for text in place]
    assert len(texts) == len(set(texts))
    assert all(places)
    assert min(map(len, texts)) >= 400


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_fifth_to_a_third_of_every_silo_is_held_out(seed: int) -> None:
    for silo in standard_library(seed).silos:
        held_out, train = (sum(len(text.encode()) for text in texts) for texts in (silo.held_out, silo.train))
        assert 0.2 <= held_out / (held_out + train) <= 0.35, silo.name


def test_public_modules_are_none_of_the_clients(tmp_path: Path) -> None:
    root = made(tmp_path)
    corpus = standard_library(0, packages=("left", "right"), public_share=1.0, root=root)
    assert all("public" in text for text in (*corpus.public_train, *corpus.public_held_out))
    assert len(corpus.public_train) + len(corpus.public_held_out) == 4


def made(root: Path) -> Path:
    """A small standard library: two packages, four public modules, and what must be left out."""

    def put(name: str, content: str) -> None:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)

    for package in ("left", "right"):
        for i in range(4):
            put(f"{package}/part{i}.py", f"# {package} {i}\n" + f"{package} = {i}\n" * 1000)
        put(f"{package}/tests/test_it.py", f"test_of_{package} = 1\n" * 1000)
        put(f"{package}/stub.py", "short = 1\n")
    put("right/copy.py", (root / "left/part0.py").read_text())
    for i in range(4):
        put(f"free{i}.py", f"public = {i}\n" * 10_000)
    put("free4.py", (root / "left/part1.py").read_text())
    put("test/test_public.py", "public_test = 1\n" * 10_000)
    put("site-packages/other/__init__.py", "other = 1\n" * 10_000)
    return root


def test_copies_stubs_and_tests_are_left_out(tmp_path: Path) -> None:
    corpus = standard_library(0, packages=("left", "right"), public_share=1.0, root=made(tmp_path))
    for silo in corpus.silos:
        assert len(silo.train) + len(silo.held_out) == 4
        assert all(text.startswith(f"# {silo.name} ") for text in (*silo.train, *silo.held_out))
    assert not any("test" in text for text in corpus.public_train)


def test_one_package_more_or_less_moves_no_other_split(tmp_path: Path) -> None:
    root = made(tmp_path)
    both = standard_library(0, packages=("left", "right"), public_share=1.0, root=root)
    one = standard_library(0, packages=("left",), public_share=1.0, root=root)
    assert one.silos[0] == both.silos[0]


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"packages": ("left", "nowhere")}, "data.clients"),
        ({"packages": ("left", "../right")}, "data.clients"),
        ({"packages": ("left", "left")}, "data.clients"),
        ({"packages": ()}, "data.clients"),
        ({"packages": ("left",), "public_share": 0.0}, "data.public_share"),
        ({"packages": ("left",), "public_share": 1e-9}, "data.public_share"),
    ],
)
def test_what_is_not_there_is_refused(tmp_path: Path, options: dict[str, object], key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        standard_library(0, root=made(tmp_path), **options)  # type: ignore[arg-type]
    assert caught.value.key == key


def test_a_python_without_sources_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="installed with its sources"):
        standard_library(0, root=tmp_path / "none")


def test_licence_headers_are_cut() -> None:
    assert without_licence("# Copyright Someone\n# Licensed to you\n\nx = 1\n") == "x = 1\n"
    assert without_licence("#!/bin/sh\n\n# All rights reserved.\nx = 1\n# Copyright\n") == "x = 1\n# Copyright\n"
    for kept in ("# What this is for\nx = 1\n", "x = 1\n# Copyright\n", '"""Copyright."""\n', ""):
        assert without_licence(kept) == kept


def test_digests_see_borders_order_and_names() -> None:
    assert len({digest_of_texts(texts) for texts in ([], [""], ["ab"], ["a", "b"], ["b", "a"])}) == 5
    silo = Silo("a", ("x",), ("y",))
    corpora = [
        Corpus((), (), (silo,)),
        Corpus(("x",), (), (silo,)),
        Corpus((), ("x",), (silo,)),
        Corpus((), (), (Silo("b", ("x",), ("y",)),)),
        Corpus((), (), (Silo("a", ("x", "y"), ()),)),
        Corpus((), (), (silo, silo)),
    ]
    assert len({corpus.digest for corpus in corpora}) == len(corpora)
    assert corpora[0].public_digest == corpora[2].public_digest != corpora[1].public_digest
