"""Updates in safetensors files: read as the format's own library reads them, in a few megabytes, while they last."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from securefed.encoding.layout import Layout
from securefed.encoding.quantize import Numbers
from securefed.encoding.safetensors_file import StoredTensor, open_index, open_shards
from securefed.encoding.tensors import BFloat16
from securefed.encoding.vector import VectorEncoding
from securefed.errors import ConfigError
from tests.encoding.stored import GOOD, file_of, shards, update, write
from tests.rounds import identity_of
from tests.rules import refused

NUMBERS = Numbers(3, 16, 1.0)


def same(stored: StoredTensor, tensor: Any) -> bool:
    loaded = stored.load()
    assert (stored.shape, stored.dtype) == (tensor.shape, str(tensor.dtype))
    assert isinstance(loaded, BFloat16) == isinstance(tensor, BFloat16)
    one, other = (t.bits if isinstance(t, BFloat16) else t for t in (loaded, tensor))
    return bool((one == other).all()) and one.shape == other.shape


def words_of(tensors: Any) -> list[int]:
    encoding = VectorEncoding(Layout.of(tensors), NUMBERS)
    found: list[int] = np.concatenate(list(encoding.encode(tensors, 1, {}, identity_of(2).rounding(9)))).tolist()
    return found


def test_tensors_come_back(tmp_path: Path) -> None:
    write(tmp_path / "update.safetensors", update())
    stored = open_shards(tmp_path / "update.safetensors")
    assert list(stored) == sorted(update())
    assert all(same(stored[name], tensor) for name, tensor in update().items())


def test_the_formats_own_library_writes_and_reads_the_same(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    library = pytest.importorskip("safetensors.torch")
    tensors = {
        name: torch.from_numpy(t.bits.copy()).view(torch.bfloat16) if isinstance(t, BFloat16) else torch.from_numpy(t)
        for name, t in update().items()
    }
    library.save_file(tensors, tmp_path / "theirs", metadata={"format": "pt"})
    stored = open_shards(tmp_path / "theirs")
    assert all(same(stored[name], tensor) for name, tensor in update().items())
    write(tmp_path / "ours", update())
    for name, tensor in library.load_file(tmp_path / "ours").items():
        assert tensor.dtype == tensors[name].dtype
        assert torch.equal(tensor, tensors[name])


def test_the_layout_does_not_depend_on_how_tensors_are_spread_over_files(tmp_path: Path) -> None:
    """The same words from memory, from one file, and from shards in whatever order."""
    names = sorted(update())
    in_memory = {name: update()[name] for name in names}
    expected = words_of(in_memory)
    write(tmp_path / "whole", update())
    assert words_of(open_shards(tmp_path / "whole")) == expected
    for number, cuts in enumerate([(1,), (3,), (2, 5), (1, 2, 3, 4, 5, 6)]):
        folder = tmp_path / str(number)
        folder.mkdir()
        index = shards(folder, update(), *cuts)
        files = sorted(folder.glob("*.safetensors"))
        for stored in (open_index(index), open_shards(*files), open_shards(*files[::-1])):
            assert Layout.of(stored) == Layout.of(in_memory)
            assert words_of(stored) == expected


def test_pieces_are_read_from_wherever_they_begin(tmp_path: Path) -> None:
    write(tmp_path / "update", update())
    for name, stored in open_shards(tmp_path / "update").items():
        tensor = update()[name]
        flat = (tensor.widened() if isinstance(tensor, BFloat16) else tensor).astype("<f8").ravel()
        for start, length in ((0, flat.size), (0, 0), (flat.size // 2, flat.size // 3), (flat.size - 1, 1)):
            if start < 0:
                continue
            out = np.empty(length)
            stored.read(start, out)
            assert out.tolist() == flat[start : start + length].tolist()


def test_a_file_of_any_size_takes_some_megabytes(tmp_path: Path) -> None:
    """A hole of 48 MiB reads as zeros; what is read is not kept."""
    size = 24 * 2**20
    header = {"a": {"dtype": "BF16", "shape": [size], "data_offsets": [0, 2 * size]}}
    (tmp_path / "large").write_bytes(file_of(header, b""))
    os.truncate(tmp_path / "large", (tmp_path / "large").stat().st_size + 2 * size)
    tracemalloc.start()
    try:
        tensors = open_shards(tmp_path / "large")
        encoding = VectorEncoding(Layout.of(tensors), NUMBERS)
        count = sum(len(piece) for piece in encoding.encode(tensors, 1, {}, identity_of(2).rounding(0)))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert count == encoding.words
    assert peak < 10 * 2**20


@pytest.mark.rule("V1")
def test_v1_a_nan_in_a_file_names_its_tensor(tmp_path: Path) -> None:
    bad = update()
    bad["layers.1.q_proj"].bits[39, 69] = 0x7F81
    write(tmp_path / "update", bad)
    with refused("V1") as caught:
        words_of(open_shards(tmp_path / "update"))
    assert "'layers.1.q_proj'" in str(caught.value)


def changed(path: Path) -> None:
    raw = path.read_bytes()
    path.write_bytes(raw)
    os.utime(path, ns=(0, 0))


def replaced(path: Path) -> None:
    raw, before = path.read_bytes(), path.stat()
    other = path.with_name("other")
    other.write_bytes(raw)
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda path: os.truncate(path, path.stat().st_size - 1), "has changed"),
        (lambda path: path.write_bytes(path.read_bytes() + b"0"), "has changed"),
        (changed, "has changed"),
        (replaced, "has changed"),
        (lambda path: path.unlink(), "cannot be read"),
    ],
    ids=["cut off", "added to", "written again", "replaced", "deleted"],
)
def test_a_file_that_changes_after_it_was_opened_is_refused(
    tmp_path: Path, change: Callable[[Path], object], said: str
) -> None:
    """Half of one update and half of another is none; a file cut off ends the pass and not the process."""
    path = tmp_path / "update"
    path.write_bytes(file_of(GOOD))
    tensor = open_shards(path)["a"]
    tensor.read(0, np.empty(3))
    change(path)
    with pytest.raises(ConfigError, match=said) as caught:
        tensor.read(0, np.empty(3))
    assert str(path) in str(caught.value)


def test_a_folder_that_is_left_makes_no_difference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "update").write_bytes(file_of(GOOD))
    monkeypatch.chdir(tmp_path)
    tensor = open_shards(Path("update"))["a"]
    monkeypatch.chdir("/")
    assert tensor.load().tolist() == [0.0] * 3
