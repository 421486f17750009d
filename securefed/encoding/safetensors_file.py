"""Tensors that lie in safetensors files, read piece by piece: an update of any size in a few megabytes.

Format: https://github.com/huggingface/safetensors#format. Eight bytes, little-endian: the length of the header; the
header, JSON; then the tensors, little-endian and in C order, without a gap. Whatever is not exactly that is refused
before any value is read.

Values are read into memory of ours and not mapped: what is read once would pile up as mapped pages, and a mapped file
that another program cuts off kills the process where a read fails with an error.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NoReturn

import numpy as np
import numpy.typing as npt

from securefed.encoding.tensors import BFLOAT16, BFloat16, TypedTensor, read_values
from securefed.errors import ConfigError

__all__ = ["StoredTensor", "open_index", "open_shards"]

GREATEST_HEADER: Final = 16 * 2**20
"""Bytes of a header or an index, each of which is parsed as a whole and takes some times its size: room for 100 000
tensors, more than a shard of any model has. The format's own bound is 100 MB."""
_LENGTH_BYTES: Final = 8
_GREATEST_DIMENSIONS: Final = 64
"""As many as an array of numpy can have."""
_DTYPES: Final = {"F16": "float16", "BF16": BFLOAT16, "F32": "float32", "F64": "float64"}
_STORED: Final[Mapping[str, str]] = {"float16": "<f2", BFLOAT16: "<u2", "float32": "<f4", "float64": "<f8"}


@dataclass(frozen=True)
class ShardFile:
    """A file as it was when its header was read.

    Attributes:
        path: where it lies.
        state: device, inode, size and time of change, by which another file in its place is noticed.
    """

    path: Path
    state: tuple[int, ...]

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill the buffer from the file's byte `offset` on.

        Raises:
            ConfigError: the file cannot be read, or is no longer the one whose header was read.
        """
        try:
            with self.path.open("rb", buffering=0) as file:
                if _state(os.fstat(file.fileno())) != self.state:
                    _refuse(self.path, "has changed since its header was read: write it once, then open it")
                file.seek(offset)
                done = 0
                while done < len(buffer):
                    got = file.readinto(buffer[done:])
                    if not got:
                        _refuse(self.path, f"ends at byte {offset + done}, in the middle of a tensor: copy it again")
                    done += got
        except OSError as error:
            _refuse(self.path, f"cannot be read ({error.strerror})")


@dataclass(frozen=True)
class StoredTensor:
    """One tensor of a file; nothing is open or held in memory between two reads.

    Attributes:
        dtype: name as in `TensorSpec`.
        offset: of its first byte in the file.
    """

    file: ShardFile
    offset: int
    shape: tuple[int, ...]
    dtype: str

    def read(self, start: int, out: npt.NDArray[np.float64]) -> None:
        """See `TensorSource.read`.

        Raises:
            ConfigError: see `ShardFile.read_into`.
        """
        read_values(self._typed(self._raw(start, len(out))), 0, out)

    def load(self) -> TypedTensor:
        """The whole tensor in memory: a `BFloat16` or an array."""
        return self._typed(self._raw(0, math.prod(self.shape)).reshape(self.shape))

    def _raw(self, start: int, count: int) -> npt.NDArray[Any]:
        raw = np.empty(count, _STORED[self.dtype])
        self.file.read_into(self.offset + start * raw.itemsize, raw.view(np.uint8).data)
        return raw

    def _typed(self, raw: npt.NDArray[Any]) -> TypedTensor:
        return BFloat16(raw) if self.dtype == BFLOAT16 else raw


def open_shards(*paths: Path) -> dict[str, StoredTensor]:
    """The tensors of all these files together, in the order of their names, however they are spread over the files.

    Only the headers are read. The order does not depend on who wrote the files, so clients that store the same
    tensors have the same layout.

    Raises:
        ConfigError: a file cannot be read, is not exactly of the format, holds another dtype than F16, BF16, F32 and
            F64, or has a tensor that an earlier one has; with the file and what to do.
    """
    tensors: dict[str, StoredTensor] = {}
    for path in paths:
        for name, tensor in _read_header(path).items():
            if name in tensors:
                _refuse(path, f"has tensor {name!r}, which {tensors[name].file.path} has too: keep one of them")
            tensors[name] = tensor
    return dict(sorted(tensors.items()))


def open_index(index: Path) -> dict[str, StoredTensor]:
    """The tensors of the files that a `….safetensors.index.json` names, which lie beside it.

    Raises:
        ConfigError: as `open_shards`, or index and files do not name the same tensors.
    """
    try:
        with index.open("rb") as file:
            raw = file.read(GREATEST_HEADER + 1)
    except OSError as error:
        _refuse(index, f"cannot be read ({error.strerror})")
    if len(raw) > GREATEST_HEADER:
        _refuse(index, f"has more than {GREATEST_HEADER} bytes: no index of a model is so long")
    content = _parse(index, raw)
    names = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(names, dict) or not all(isinstance(name, str) for name in names.values()):
        _refuse(index, "has no weight_map from tensors to files: give the index that was written with the shards")
    for name in set(names.values()):
        # An index may come from elsewhere: it names files beside it and no others.
        if name in ("", ".", "..") or Path(name).name != name or "\\" in name or "\0" in name:
            _refuse(index, f"names {name!r}, which is no file beside it")
    tensors = open_shards(*(index.parent / name for name in sorted(set(names.values()))))
    for name in sorted(names.keys() ^ tensors.keys()):
        where = "in no file" if name in names else f"only in {tensors[name].file.path}"
        _refuse(index, f"and its files do not fit together: {name!r} is {where}; copy all of them again")
    for name, tensor in tensors.items():
        if tensor.file.path.name != names[name]:
            _refuse(index, f"says that {name!r} lies in {names[name]}, but it lies in {tensor.file.path.name}")
    return tensors


def _refuse(path: Path, problem: str) -> NoReturn:
    raise ConfigError("", f"{path} {problem}") from None


def _state(found: os.stat_result) -> tuple[int, ...]:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _parse(path: Path, raw: bytes) -> Any:
    """JSON in which no object has a name twice."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        entries = dict(pairs)
        if len(entries) != len(pairs):
            raise ValueError("a name occurs twice")
        return entries

    try:
        return json.loads(raw.decode("utf-8"), object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        _refuse(path, f"has a header or an index that is not JSON ({error}): copy the file again")


def _read_header(path: Path) -> dict[str, StoredTensor]:
    try:
        if not path.is_file():
            _refuse(path, "is no file: give the safetensors files of one update")
        with path.open("rb") as file:
            found = os.fstat(file.fileno())
            size = found.st_size
            length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
            first = _LENGTH_BYTES + length
            if first > size or size < _LENGTH_BYTES:
                _refuse(path, f"is no safetensors file, or cut off: it has {size} bytes")
            if length > GREATEST_HEADER:
                _refuse(path, f"has a header of {length} bytes, at most {GREATEST_HEADER} are read: use more shards")
            raw = file.read(length)
    except OSError as error:
        _refuse(path, f"cannot be read ({error.strerror})")
    if len(raw) != length or raw[:1] != b"{":
        _refuse(path, "is no safetensors file: its header is not a JSON object")
    entries = _parse(path, raw)
    metadata = entries.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        _refuse(path, "has metadata that are not texts by name: write the file again")
    return _place(ShardFile(path.absolute(), _state(found)), entries, first, size)


def _place(file: ShardFile, entries: Mapping[str, Any], first: int, size: int) -> dict[str, StoredTensor]:
    """The tensors of one file, whose first lies at byte `first` and which fill it up to its size."""
    tensors: dict[str, StoredTensor] = {}
    extents: list[tuple[int, int, str]] = []
    for name, entry in entries.items():
        dtype, shape, begin, end = _checked(file.path, name, entry)
        if dtype not in _DTYPES:
            _refuse(
                file.path,
                f"has tensor {name!r} of {dtype}: only {', '.join(_DTYPES)} can be summed; leave it out of the update",
            )
        known = _DTYPES[dtype]
        if end - begin != math.prod(shape) * np.dtype(_STORED[known]).itemsize:
            _refuse(file.path, f"gives {end - begin} bytes to tensor {name!r} of {dtype} and shape {list(shape)}")
        extents.append((begin, end, name))
        tensors[name] = StoredTensor(file, first + begin, shape, known)
    at = 0
    for begin, end, name in sorted(extents):
        if begin != at:
            _refuse(file.path, f"has tensor {name!r} at byte {begin} where {at} is the next free one: write it again")
        at = end
    if first + at != size:
        _refuse(file.path, f"has {size} bytes, its header speaks of {first + at}: it is cut off, or was added to")
    return tensors


def _checked(path: Path, name: str, entry: Any) -> tuple[str, tuple[int, ...], int, int]:
    """dtype, shape and extent of one entry of a header; the types alone are right."""

    def naturals(value: Any, most: int) -> bool:
        return (
            isinstance(value, list)
            and len(value) <= most
            and all(type(number) is int and 0 <= number < 2**63 for number in value)
        )

    whole = isinstance(entry, dict) and entry.keys() == {"dtype", "shape", "data_offsets"}
    if not (
        whole
        and isinstance(entry["dtype"], str)
        and naturals(entry["shape"], _GREATEST_DIMENSIONS)
        and naturals(entry["data_offsets"], 2)
        and len(entry["data_offsets"]) == 2
        and entry["data_offsets"][0] <= entry["data_offsets"][1]
    ):
        _refuse(path, f"describes tensor {name!r} in another way than the format does: write the file again")
    if any("\ud800" <= character <= "\udfff" for character in name):
        _refuse(path, f"has a tensor whose name is not text: {name!r}")
    return entry["dtype"], tuple(entry["shape"]), *entry["data_offsets"]
