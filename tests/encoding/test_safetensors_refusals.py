"""Safetensors files and indexes that are not exactly of the format: refused with the file and what is wrong."""

from __future__ import annotations

import json
import os
import re
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from securefed.encoding.safetensors_file import GREATEST_HEADER, open_index, open_shards
from securefed.errors import ConfigError
from tests.encoding.stored import GOOD, file_of, two


def entry(**changes: Any) -> dict[str, Any]:
    return {"a": {**GOOD["a"], **changes}}


DEEP = b'{"a":' * 100_000 + b"1" + b"}" * 100_000


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        pytest.param(b"", "cut off", id="nothing"),
        pytest.param(bytes(7), "cut off", id="less than a length"),
        pytest.param(bytes(8), "not a JSON object", id="an empty header"),
        pytest.param(file_of(GOOD, length=2**63), "cut off", id="a length beyond the file"),
        pytest.param(file_of(GOOD)[:40], "cut off", id="cut off in its header"),
        pytest.param(file_of(b" " + json.dumps(GOOD).encode()), "not a JSON object", id="space before the header"),
        pytest.param(file_of(b"[1, 2]"), "not a JSON object", id="a list"),
        pytest.param(file_of(b"{not JSON"), "not JSON", id="no JSON"),
        pytest.param(file_of(b'{"\xff": 1}'), "not JSON", id="no UTF-8"),
        pytest.param(file_of(DEEP), "not JSON", id="nested too deep"),
        pytest.param(file_of(b'{"a": {}, "a": {}}'), "occurs twice", id="a tensor twice"),
        pytest.param(
            file_of(b'{"a": {"dtype": "F32", "dtype": "F16", "shape": [3], "data_offsets": [0, 12]}}'),
            "occurs twice",
            id="a dtype twice",
        ),
        pytest.param(file_of({**GOOD, "__metadata__": {"format": 1}}), "metadata", id="metadata that is no text"),
        pytest.param(file_of({**GOOD, "__metadata__": []}), "metadata", id="metadata that is a list"),
        pytest.param(file_of({"a": 7}), "another way", id="an entry that is no object"),
        pytest.param(file_of({"a": {"dtype": "F32", "shape": [3]}}), "another way", id="no offsets"),
        pytest.param(file_of(entry(more=1)), "another way", id="a field more"),
        pytest.param(file_of(entry(dtype=7)), "another way", id="a dtype that is no text"),
        pytest.param(file_of(entry(shape=3)), "another way", id="a shape that is no list"),
        pytest.param(file_of(entry(shape=[3.0])), "another way", id="a fraction in a shape"),
        pytest.param(file_of(entry(shape=[True, 3])), "another way", id="a truth value in a shape"),
        pytest.param(file_of(entry(shape=[-3])), "another way", id="a negative shape"),
        pytest.param(file_of(entry(shape=[-1, -3])), "another way", id="two negative extents"),
        pytest.param(file_of(entry(shape=[3] + [1] * 64)), "another way", id="65 dimensions"),
        pytest.param(file_of(entry(data_offsets=[0, 12, 12])), "another way", id="three offsets"),
        pytest.param(file_of(entry(data_offsets=[0])), "another way", id="one offset"),
        pytest.param(file_of(entry(data_offsets=[12, 0])), "another way", id="an end before its begin"),
        pytest.param(file_of(entry(data_offsets=[-12, 0])), "another way", id="a negative offset"),
        pytest.param(file_of(entry(data_offsets=[0, 2**63])), "another way", id="an offset of 64 bits"),
        pytest.param(file_of(entry(data_offsets=["0", "12"])), "another way", id="offsets as text"),
        pytest.param(file_of(b'{"\\ud800": ' + json.dumps(GOOD["a"]).encode() + b"}"), "not text", id="no text"),
        pytest.param(file_of(entry(dtype="I32")), "can be summed", id="integers"),
        pytest.param(file_of(entry(dtype="F8_E4M3", shape=[12])), "can be summed", id="eight bits"),
        pytest.param(file_of(entry(dtype="f32")), "can be summed", id="a small letter"),
        pytest.param(file_of(entry(shape=[4])), "gives 12 bytes", id="a shape larger than its bytes"),
        pytest.param(file_of(entry(shape=[2])), "gives 12 bytes", id="a shape smaller than its bytes"),
        pytest.param(file_of(entry(shape=[2**62, 4])), "gives 12 bytes", id="a product that overflows 64 bits"),
        pytest.param(file_of(entry(data_offsets=[0, 16], shape=[4])), "cut off", id="beyond the end"),
        pytest.param(file_of(entry(data_offsets=[4, 16])), "next free", id="a gap at the front"),
        pytest.param(file_of(two([0, 4], [8, 12])), "next free", id="a gap between"),
        pytest.param(file_of(two([0, 8], [4, 12])), "next free", id="an overlap"),
        pytest.param(file_of(two([0, 12], [0, 12])), "next free", id="two tensors in one place"),
        pytest.param(file_of(two([0, 12], [4, 4])), "next free", id="an empty tensor inside another"),
        pytest.param(file_of(GOOD, bytes(13)), "added to", id="a byte too many"),
        pytest.param(file_of(GOOD, bytes(11)), "cut off", id="a byte too few"),
        pytest.param(file_of({}, bytes(4)), "added to", id="bytes of no tensor"),
    ],
)
def test_files_that_are_not_of_the_format(tmp_path: Path, raw: bytes, said: str) -> None:
    path = tmp_path / "bad.safetensors"
    path.write_bytes(raw)
    with pytest.raises(ConfigError, match=re.escape(said)) as caught:
        open_shards(path)
    assert str(path) in str(caught.value)


def test_the_good_ones_beside_them_are_read(tmp_path: Path) -> None:
    twos = [two([0, 4], [4, 12]), two([0, 0], [0, 12]), two([0, 12], [12, 12])]
    for number, header in enumerate([GOOD, entry(shape=[3] + [1] * 63), *twos]):
        path = tmp_path / str(number)
        path.write_bytes(file_of(header))
        assert set(open_shards(path)) == set(header)


def test_a_header_is_not_read_beyond_its_bound(tmp_path: Path) -> None:
    path = tmp_path / "long"
    path.write_bytes(file_of(b"{", b"", length=GREATEST_HEADER + 1))
    os.truncate(path, GREATEST_HEADER + 100)
    tracemalloc.start()
    try:
        with pytest.raises(ConfigError, match="more shards"):
            open_shards(path)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()
    path.write_bytes(b" " * (GREATEST_HEADER + 1))
    with pytest.raises(ConfigError, match="no index"):
        open_index(path)


@settings(max_examples=4 * settings().max_examples)
@given(data=st.data())
def test_any_bytes_are_tensors_or_a_refusal(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    """And what is accepted can be read to its end."""
    raw = bytearray(file_of(two([0, 4], [4, 12])))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(raw)))
        match data.draw(st.sampled_from(["set", "digit", "cut", "insert"])):
            case "set":
                raw[at : at + 1] = data.draw(st.binary(max_size=2))
            case "digit":
                digits = [i for i, byte in enumerate(raw) if byte in b"0123456789"]
                if digits:
                    raw[data.draw(st.sampled_from(digits))] = data.draw(st.sampled_from(b"0123456789"))
            case "cut":
                del raw[at : at + data.draw(st.integers(1, 9))]
            case _:
                raw[at:at] = data.draw(st.binary(min_size=1, max_size=9))
    path = tmp_path_factory.getbasetemp() / "any"
    path.write_bytes(raw)
    try:
        tensors = open_shards(path)
    except ConfigError:
        return
    assert sum(tensor.load().nbytes for tensor in tensors.values()) <= len(raw)


def test_a_name_in_two_files_is_refused(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).write_bytes(file_of(GOOD))
    with pytest.raises(ConfigError, match=r"which .*one has too"):
        open_shards(tmp_path / "one", tmp_path / "two")
    with pytest.raises(ConfigError, match=r"which .*one has too"):
        open_shards(tmp_path / "one", tmp_path / "one")


def test_what_is_no_readable_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "missing", tmp_path, tmp_path / "pipe"):
        with pytest.raises(ConfigError, match="is no file"):
            open_shards(path)
    with pytest.raises(ConfigError, match="cannot be read"):
        open_index(tmp_path / "missing")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        pytest.param(lambda names: names.pop("c"), "'c' is only in", id="a tensor that the index does not name"),
        pytest.param(lambda names: names.update(d="one"), "'d' is in no file", id="a tensor that no file has"),
        pytest.param(lambda names: names.update(a="two", b="one"), "but it lies in", id="exchanged files"),
        pytest.param(lambda names: names.update(a="../one"), "no file beside it", id="a file above"),
        pytest.param(lambda names: names.update(a="/etc/passwd"), "no file beside it", id="a file elsewhere"),
        pytest.param(lambda names: names.update(a=".."), "no file beside it", id="the folder above"),
        pytest.param(lambda names: names.update(a=""), "no file beside it", id="no name"),
        pytest.param(lambda names: names.update(a="x\0y"), "no file beside it", id="a zero byte"),
        pytest.param(lambda names: names.update(a="x\\y"), "no file beside it", id="a folder of another system"),
        pytest.param(lambda names: names.update(a="three"), "is no file", id="a file that is not there"),
        pytest.param(lambda names: names.update(a=1), "weight_map", id="a number for a file"),
    ],
)
def test_an_index_that_does_not_fit_its_files(tmp_path: Path, change: Callable[[dict], object], said: str) -> None:
    (tmp_path / "one").write_bytes(file_of(GOOD))
    nothing = entry(shape=[0], data_offsets=[12, 12])["a"]
    (tmp_path / "two").write_bytes(file_of({"b": GOOD["a"], "c": nothing}))
    names: dict[str, Any] = {"a": "one", "b": "two", "c": "two"}
    index = tmp_path / "index.json"
    index.write_text(json.dumps({"weight_map": names}))
    assert list(open_index(index)) == ["a", "b", "c"]
    change(names)
    index.write_text(json.dumps({"weight_map": names}))
    with pytest.raises(ConfigError, match=re.escape(said)):
        open_index(index)


@pytest.mark.parametrize("raw", ["[]", "{}", '{"weight_map": []}', "", "{", '{"weight_map": {}, "weight_map": {}}'])
def test_what_is_no_index(tmp_path: Path, raw: str) -> None:
    (tmp_path / "index.json").write_text(raw)
    with pytest.raises(ConfigError):
        open_index(tmp_path / "index.json")
