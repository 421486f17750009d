"""A federation from the user's own file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from securefed.errors import ConfigError
from securefed.llm.jsonl import jsonl


def written(folder: Path, *rows: object) -> Path:
    path = folder / "rows.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return path


def rows_of(client: object, count: int, field: str = "text", size: int = 50) -> list[dict[str, object]]:
    return [{"client": client, field: f"{client} document {i} ".ljust(size, "x")} for i in range(count)]


def test_rows_are_grouped_and_split_by_whole_documents(tmp_path: Path) -> None:
    rows = [*rows_of("b", 20), *rows_of("a", 30), *rows_of(7, 10)]
    corpus = jsonl(written(tmp_path, *rows), client_field="client", min_characters=500, held_out_share=0.3)
    assert [silo.name for silo in corpus.silos] == ["a", "b", "7"]
    for silo, count in zip(corpus.silos, (30, 20, 10), strict=True):
        assert {*silo.train, *silo.held_out} == {str(row["text"]) for row in rows if str(row["client"]) == silo.name}
        assert len(silo.held_out) == round(0.3 * count)
    assert (corpus.public_train, corpus.public_held_out) == ((), ())


def test_the_split_follows_from_the_seed_alone(tmp_path: Path) -> None:
    path = written(tmp_path, *rows_of("a", 30), *rows_of("b", 30))
    digests = [jsonl(path, client_field="client", min_characters=1, seed=seed).digest for seed in (1, 1, 2)]
    assert digests[0] == digests[1] != digests[2]


def test_a_client_is_split_alike_whoever_else_is_in_the_file(tmp_path: Path) -> None:
    alone = jsonl(written(tmp_path, *rows_of("a", 30)), client_field="client", min_characters=1)
    both = jsonl(written(tmp_path, *rows_of("b", 40), *rows_of("a", 30)), client_field="client", min_characters=1)
    assert alone.silos[0] == both.silos[1]


def test_small_clients_and_those_beyond_the_cap_are_left_out_or_public(tmp_path: Path) -> None:
    path = written(tmp_path, *rows_of("a", 30), *rows_of("b", 20), *rows_of("c", 25), *rows_of("d", 3))
    corpus = jsonl(path, client_field="client", min_characters=500, max_clients=2, public_share=1.0)
    assert [silo.name for silo in corpus.silos] == ["a", "c"]
    public = {*corpus.public_train, *corpus.public_held_out}
    assert {text.split()[0] for text in public} == {"b", "d"}
    assert len(public) == 23
    assert corpus.public_held_out
    half = jsonl(path, client_field="client", min_characters=500, max_clients=2, public_share=0.5)
    assert len({text.split()[0] for text in half.public_train}) == 1


def test_named_clients_take_part_in_their_order(tmp_path: Path) -> None:
    path = written(tmp_path, *rows_of("a", 30), *rows_of("b", 20), *rows_of("c", 25))
    corpus = jsonl(path, client_field="client", clients=("b", "c"), min_characters=1)
    assert [silo.name for silo in corpus.silos] == ["b", "c"]
    with pytest.raises(ConfigError, match="'nobody'"):
        jsonl(path, client_field="client", clients=("b", "nobody"), min_characters=1)
    with pytest.raises(ConfigError, match="twice"):
        jsonl(path, client_field="client", clients=("b", "b"), min_characters=1)


def test_a_single_document_is_split_at_an_end_of_line(tmp_path: Path) -> None:
    text = "".join(f"line {i}\n" for i in range(10))
    silo = jsonl(written(tmp_path, {"client": "a", "text": text}), client_field="client", min_characters=1).silos[0]
    assert silo.train[0] + silo.held_out[0] == text
    assert silo.held_out[0] == "line 8\nline 9\n"


def test_the_same_text_is_not_trained_on_and_held_out_at_once(tmp_path: Path) -> None:
    rows = rows_of("a", 10) * 5
    silo = jsonl(written(tmp_path, *rows), client_field="client", min_characters=1).silos[0]
    assert not {*silo.train} & {*silo.held_out}
    assert len(silo.train) + len(silo.held_out) == 10


@pytest.mark.parametrize(
    ("row", "documents"),
    [
        ({"lines": ["one", "two", ""], "extra": 1}, {"one", "two"}),
        ({"content": "one\ntwo"}, {"one\n", "two"}),
        ({"instruction": "do", "context": "", "response": "done"}, {"do\n\n", "done"}),
        ({"question": "why", "answer": "so"}, {"why\n\n", "so"}),
    ],
)
def test_the_text_field_is_guessed(tmp_path: Path, row: dict[str, object], documents: set[str]) -> None:
    path = written(tmp_path, {"client": "a", **row})
    silo = jsonl(path, client_field="client", min_characters=1, held_out_share=0.3).silos[0]
    assert {*silo.train, *silo.held_out} == documents


def test_several_fields_are_joined(tmp_path: Path) -> None:
    path = written(tmp_path, *({"who": "a", "q": f"q{i}", "r": f"r{i}", "text": "not this"} for i in range(4)))
    silo = jsonl(path, client_field="who", text_field="r, q", min_characters=1).silos[0]
    assert {*silo.train, *silo.held_out} == {f"r{i}\n\nq{i}" for i in range(4)}


GOOD = json.dumps({"client": "a", "text": "some text\nmore\n"})


@pytest.mark.parametrize(
    ("line", "key", "match"),
    [
        ('{"client": "a", "text": ', "data.file", "line 3: not JSON at column"),
        ("[1, 2]", "data.file", "line 3: a list; one object a line"),
        ('"text"', "data.file", "line 3: text; one object a line"),
        ("[" * 100_000, "data.file", "line 3: nested too deeply"),
        ('{"client": "a", "text": "\\ud83d"}', "data.file", "line 3: half of a surrogate pair"),
        ('{"client": ' + "1" * 5000 + ', "text": "x"}', "data.file", "line 3: a number is too long"),
        ('{"text": "x"}', "data.client_field", "line 3: field 'client' is missing; the row has text"),
        ('{"client": null, "text": "x"}', "data.client_field", "line 3: field 'client' holds null"),
        ('{"client": true, "text": "x"}', "data.client_field", "holds true or false"),
        ('{"client": 1.5, "text": "x"}', "data.client_field", "holds a number; text or a whole number"),
        ('{"client": "", "text": "x"}', "data.client_field", "is empty"),
        ('{"client": "a"}', "data.text_field", "line 3: field 'text' is missing; the row has client"),
        ('{"client": "a", "text": 3}', "data.text_field", "line 3: field 'text' holds a number"),
        ('{"client": "a", "text": ["x", 3]}', "data.text_field", "line 3: field 'text' holds a list"),
        ('{"client": "a", "text": {"x": 1}}', "data.text_field", "holds an object"),
    ],
)
def test_a_wrong_row_is_named_by_line_and_field(tmp_path: Path, line: str, key: str, match: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(f"{GOOD}\n\n{line}\n{GOOD}\n")
    with pytest.raises(ConfigError, match=match) as caught:
        jsonl(path, client_field="client", min_characters=1)
    assert caught.value.key == key
    assert str(path) in caught.value.detail


def test_bytes_that_are_no_text_are_named_by_line(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(GOOD.encode() + b'\n{"client": "a", "text": "\xff"}\n')
    with pytest.raises(ConfigError, match="line 2: not UTF-8 at byte 25"):
        jsonl(path, client_field="client", min_characters=1)


def test_a_byte_order_mark_is_no_fault(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + GOOD.encode())
    assert jsonl(path, client_field="client", min_characters=1).silos[0].name == "a"


def test_an_error_never_shows_the_text(tmp_path: Path) -> None:
    path = written(tmp_path, {"client": "a", "text": {"private": "SECRET"}})
    with pytest.raises(ConfigError) as caught:
        jsonl(path, client_field="client")
    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"held_out_share": 0.0}, "data.held_out_share"),
        ({"held_out_share": 1.0}, "data.held_out_share"),
        ({"held_out_share": float("nan")}, "data.held_out_share"),
        ({"min_characters": 0}, "data.min_characters"),
        ({"min_characters": 10**6}, "data.min_characters"),
        ({"max_clients": -1}, "data.max_clients"),
        ({"public_share": 1.5}, "data.public_share"),
        ({"public_share": 1.0}, "data.public_share"),  # everybody takes part: nobody is left to be public
        ({"text_field": "a,,b"}, "data.text_field"),
    ],
)
def test_options_out_of_range_are_refused(tmp_path: Path, options: dict[str, object], key: str) -> None:
    path = written(tmp_path, *rows_of("a", 5))
    with pytest.raises(ConfigError) as caught:
        jsonl(path, client_field="client", **{"min_characters": 1, **options})  # type: ignore[arg-type]
    assert caught.value.key == key


def test_no_file_and_no_row_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        jsonl(tmp_path / "none.jsonl", client_field="client")
    with pytest.raises(ConfigError, match="has no row"):
        jsonl(written(tmp_path), client_field="client")
    with pytest.raises(ConfigError, match="the row has client, other"):
        jsonl(written(tmp_path, {"client": "a", "other": "x"}), client_field="client")


def test_shakespeares_speakers_are_clients(shared_data: Path) -> None:
    path = shared_data / "tinyshakespeare_by_speaker.jsonl"
    corpus = jsonl(path, client_field="client", max_clients=16, public_share=0.1)
    assert len(corpus.silos) == 16
    assert corpus.silos[0].name == "GLOUCESTER"
    sizes = [sum(map(len, silo.train + silo.held_out)) for silo in corpus.silos]
    assert sizes == sorted(sizes, reverse=True)
    assert all(sum(map(len, silo.held_out)) >= 0.2 * size * 0.9 for silo, size in zip(corpus.silos, sizes, strict=True))
    assert corpus.public_train
