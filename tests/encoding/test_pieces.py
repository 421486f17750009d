"""No step copies a whole tensor: memory is that of some pieces, whatever a tensor's size, order or place."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from securefed.crypto.keystream import StreamSum
from securefed.encoding.layout import Layout, TensorSpec
from securefed.encoding.quantize import Numbers
from securefed.encoding.tensors import BFloat16
from securefed.encoding.vector import PIECE_WORDS, VectorEncoding
from securefed.wire.frame import Expected
from securefed.wire.header import Suite
from securefed.wire.vector_writer import iter_words
from tests.rounds import identity_of

MIB = 2**20
SIZE = 12 * MIB
"""Parameters of a tensor that is too large to be copied: 24 MiB even as bfloat16."""
PIECES = 10 * MIB
CONTEXT = Expected(Suite.PLAIN_INTEGERS, bytes(32), 7, 3)


def peak(what: Callable[[], object]) -> int:
    """Greatest number of bytes held at once beyond what was held before; numpy's own are counted."""
    tracemalloc.start()
    try:
        what()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def send(tensors: Mapping[str, Any], numbers: Numbers) -> Iterator[object]:
    """All that a client does with its update, piece by piece."""
    encoding = VectorEncoding(Layout.of(tensors), numbers)
    streams = StreamSum([(bytes(32), 1)])

    def masked() -> Iterator[np.ndarray]:
        for piece in encoding.encode(tensors, 1, {}, identity_of(2).rounding(0)):
            streams.add_to(piece)
            yield piece

    return iter_words(CONTEXT, masked(), encoding.words, numbers.lanes.ring_bits)


def exhaust(pieces: Iterator[object]) -> None:
    for _ in pieces:
        pass


@pytest.mark.parametrize("form", ["C", "transposed", "strided", "reversed", "big-endian", "bfloat16", "its transposed"])
def test_a_tensor_is_not_copied(form: str) -> None:
    array: Any = np.zeros((SIZE // 4096, 4096), np.float16)
    match form:
        case "transposed":
            array = array.T
        case "strided":
            array = np.zeros((SIZE // 4096, 8192), np.float16)[:, ::2]
        case "reversed":
            array = array[::-1]
        case "big-endian":
            array = array.astype(">f2")
        case "bfloat16":
            array = BFloat16(array.view(np.uint16))
        case "its transposed":
            array = BFloat16(array.view(np.uint16).T)
    assert peak(lambda: exhaust(send({"a": array}, Numbers(11, 16, 1.0)))) < PIECES


@pytest.mark.parametrize(("clients", "bits"), [(1, 2), (3, 2), (100, 3), (11, 16), (2**20, 32)])
def test_narrow_lanes_take_no_more_memory(clients: int, bits: int) -> None:
    """32 lanes in a word: a piece of as many words as usual would be 2^21 parameters, or 16 MiB as float64."""
    numbers = Numbers(clients, bits, 1.0)
    tensors = {"a": np.zeros(SIZE, np.float16)}
    assert peak(lambda: exhaust(send(tensors, numbers))) < PIECES
    piece_words = VectorEncoding(Layout.of(tensors), numbers).piece_words
    assert PIECE_WORDS // 8 <= piece_words <= PIECE_WORDS
    assert piece_words % 64 == 0


class Lazy(Mapping[str, Any]):
    """Opens a tensor when it is asked for, and counts how many are open at once."""

    def __init__(self, folder: Path, names: list[str], size: int) -> None:
        self.folder, self.names, self.size = folder, names, size
        for name in names:
            np.random.default_rng(len(name)).normal(0, 0.3, size).astype(np.float32).tofile(folder / name)

    def __getitem__(self, name: str) -> np.memmap:
        return np.memmap(self.folder / name, np.float32, "r", shape=(self.size,))

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)


def test_a_mapping_that_opens_tensors_lazily_encodes_to_the_same_words(tmp_path: Path) -> None:
    lazy, numbers = Lazy(tmp_path, ["b", "a", "cc"], 500_000), Numbers(3, 16, 1.0)
    in_memory = {name: np.array(lazy[name]) for name in lazy}
    ours, theirs = (b"".join(map(bytes, send(tensors, numbers))) for tensors in (lazy, in_memory))
    assert ours == theirs
    assert peak(lambda: exhaust(send(lazy, numbers))) < PIECES


@dataclass(frozen=True)
class Counting:
    """A source of our own: values that are computed where they are asked for."""

    shape: tuple[int, ...]
    dtype: str = "float32"

    def read(self, start: int, out: np.ndarray) -> None:
        out[:] = np.arange(start, start + len(out)) % 7 / 16


def test_any_source_is_read_piece_by_piece() -> None:
    numbers = Numbers(3, 16, 1.0)
    source = Counting((3, 300_001))
    array = (np.arange(3 * 300_001) % 7 / 16).astype(np.float32).reshape(source.shape)
    assert Layout.of({"a": source}) == Layout.of({"a": array})
    ours, theirs = (b"".join(map(bytes, send({"a": tensor}, numbers))) for tensor in (source, array))
    assert ours == theirs


@pytest.mark.parametrize("dtype", ["float16", "float32", "bfloat16"])
def test_a_mean_is_made_piece_by_piece(dtype: str) -> None:
    """Beyond the sum and the mean itself, and whatever a tensor's size."""
    numbers = Numbers(3, 16, 1.0)
    layout = Layout((TensorSpec("a", (SIZE,), dtype),))
    encoding = VectorEncoding(layout, numbers)
    zeros = Counting((SIZE,), dtype)
    total = np.concatenate(list(encoding.encode({"a": zeros}, 1, {}, lambda count: np.zeros(count, np.uint32))))
    assert peak(lambda: encoding.decode(total, 1)) < SIZE * (4 if dtype == "float32" else 2) + PIECES


@given(st.lists(st.integers(0, 9), min_size=1), st.data())
def test_tensors_are_assembled_from_pieces_of_any_lengths(sizes: list[int], data: st.DataObject) -> None:
    dtypes = st.sampled_from(["float16", "float32", "float64", "bfloat16"])
    layout = Layout((*(TensorSpec(f"{i}", (n,), data.draw(dtypes)) for i, n in enumerate(sizes)), TensorSpec("z", ())))
    values = np.linspace(-3, 3, layout.size)
    cuts = sorted(data.draw(st.lists(st.integers(0, layout.size), max_size=6)))
    pieces = [values[a:b] for a, b in zip([0, *cuts], [*cuts, layout.size], strict=True)]
    ours, whole = layout.assemble(iter(pieces)), layout.unflatten(values)
    assert list(ours) == list(whole) == [tensor.name for tensor in layout.tensors]
    at = 0
    for tensor in layout.tensors:
        mine, other = (t.widened() if isinstance(t, BFloat16) else t for t in (ours[tensor.name], whole[tensor.name]))
        exact = values[at : at + tensor.size].reshape(tensor.shape)
        expected = BFloat16.nearest(exact).widened() if tensor.dtype == "bfloat16" else exact.astype(tensor.dtype)
        assert mine.shape == other.shape == tensor.shape
        assert mine.tolist() == other.tolist() == expected.tolist()
        at += tensor.size
