"""An update that is larger than memory: from safetensors shards on disk to masked bytes, in some megabytes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import median

import numpy as np

from bench.figures import Figure, interleaved, ratio, spread
from securefed.crypto.keystream import Reader, StreamSum
from securefed.encoding.layout import Layout
from securefed.encoding.quantize import Numbers
from securefed.encoding.safetensors_file import StoredTensor, open_index
from securefed.encoding.tensors import Tensor
from securefed.encoding.vector import VectorEncoding
from securefed.wire.frame import Expected
from securefed.wire.header import Suite
from securefed.wire.vector_writer import iter_words

STREAMS = 10
"""Masks on each word: the self mask and nine neighbours'."""
COHORT = 100
BITS = 16
GREATEST_SHARD = 5 * 10**9
SHAPE = {"layers": 32, "hidden": 4096, "feed_forward": 11008, "vocabulary": 32000}
"""Of a Llama 7B."""
TIMED = {False: 2 * 10**8, True: 10**8}
"""Parameters that are read, at least: whole tensors; `quick` or not."""
INDEX = "model.safetensors.index.json"
_BLOCK_BYTES = 16 * 2**20


def figures(*, quick: bool) -> list[Figure]:
    """Memory and speed of the client's whole pass: read, clip, round, mask, pack, hand on."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        parameters = write_shards(folder)
        fill(first(open_index(folder / INDEX), TIMED[quick]))
        stored = first(open_index(folder / INDEX), TIMED[quick])
        return [*_memory(folder, quick), *_speed(stored, parameters, 5 if quick else 9)]


def _speed(stored: Mapping[str, StoredTensor], parameters: int, repeats: int) -> list[Figure]:
    in_memory = {name: tensor.load() for name, tensor in stored.items()}
    timed = Layout.of(stored).size

    def from_disk() -> None:
        drop_pages(stored)
        send(stored)

    seconds = interleaved(
        {"memory": lambda: send(in_memory), "disk": from_disk, "cached": lambda: send(stored)}, repeats
    )
    memory, disk, cached = seconds["memory"], seconds["disk"], seconds["cached"]
    rate = timed / median(disk)
    part = f"{timed / 1e6:.0f} of {parameters / 1e6:.0f} million parameters, bfloat16, {STREAMS} masks, {BITS} bits"
    return [
        Figure(
            "stream_over_memory", ratio(memory, disk), "", "higher", 0.8,
            f"{part}; read from the disk over held in memory, {spread(memory, disk)}; where the system still has the "
            f"pages {ratio(memory, cached):.2f}",
        ),
        Figure("stream_parameters_per_second", rate, "1/s", "higher", None, "from the disk; masks on all processors"),
        Figure(
            "whole_update_minutes", parameters / rate / 60, "min", "lower", None,
            f"not run: {parameters / 1e9:.2f}·10^9 parameters at the rate of that part",
        ),
    ]  # fmt: skip


def _memory(folder: Path, quick: bool) -> list[Figure]:
    if not sys.platform.startswith("linux"):
        return []
    command = [sys.executable, "-c", _MEMORY_PROBE, str(folder / INDEX), str(TIMED[quick])]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    anonymous, without_files, of_files = json.loads(output)
    return [
        Figure(
            "stream_extra_mib", max(anonymous, without_files), "MiB", "lower", 64.0,
            f"how far a process grows that opens and sends these tensors: anonymous {anonymous:.1f}, all resident "
            f"but pages of files {without_files:.1f}, pages of files {of_files:.1f}",
        )
    ]  # fmt: skip


_MEMORY_PROBE = """
import json, sys, threading
from pathlib import Path
import numpy as np
from bench.streaming import first, send
from securefed.encoding.safetensors_file import open_index
from securefed.encoding.tensors import BFloat16

def resident():
    with open("/proc/self/status") as status:
        kib = {line.split()[0]: int(line.split()[1]) for line in status if line.startswith(("VmRSS", "Rss"))}
    return [kib["RssAnon:"] / 1024, (kib["VmRSS:"] - kib["RssFile:"]) / 1024, kib["RssFile:"] / 1024]

send({"first use": BFloat16(np.zeros(1000, np.uint16))})  # the library's own memory is not the update's
before, over = resident(), threading.Event()
peak = before
def look():
    global peak
    peak = [max(pair) for pair in zip(peak, resident())]
def watch():
    while not over.wait(0.0005):
        look()
watcher = threading.Thread(target=watch)
watcher.start()
send(first(open_index(Path(sys.argv[1])), int(sys.argv[2])))
look()
over.set()
watcher.join()
print(json.dumps([most - least for most, least in zip(peak, before)]))
"""


def llama() -> dict[str, tuple[int, ...]]:
    """The shapes of the model's tensors, in the order in which they are written."""
    hidden, feed_forward, vocabulary = SHAPE["hidden"], SHAPE["feed_forward"], SHAPE["vocabulary"]
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (vocabulary, hidden)}
    for layer in range(SHAPE["layers"]):
        of_layer: dict[str, tuple[int, ...]] = {
            **{f"self_attn.{which}_proj": (hidden, hidden) for which in "qkvo"},
            **{f"mlp.{which}_proj": (feed_forward, hidden) for which in ("gate", "up")},
            "mlp.down_proj": (hidden, feed_forward),
            "input_layernorm": (hidden,),
            "post_attention_layernorm": (hidden,),
        }
        shapes |= {f"model.layers.{layer}.{part}.weight": shape for part, shape in of_layer.items()}
    return shapes | {"model.norm.weight": (hidden,), "lm_head.weight": (vocabulary, hidden)}


def write_shards(folder: Path) -> int:
    """Shards of bfloat16 zeros and their index; sparse, so they take no room. Gives the number of parameters."""
    shards: list[dict[str, tuple[int, ...]]] = [{}]
    size = total = 0
    for name, shape in llama().items():
        length = 2 * int(np.prod(shape))
        if size + length > GREATEST_SHARD:
            shards.append({})
            size = 0
        shards[-1][name] = shape
        size, total = size + length, total + length // 2
    weight_map: dict[str, str] = {}
    for number, shapes in enumerate(shards, start=1):
        file = f"model-{number:05}-of-{len(shards):05}.safetensors"
        header: dict[str, object] = {}
        at = 0
        for name, shape in shapes.items():
            end = at + 2 * int(np.prod(shape))
            header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [at, end]}
            at = end
        raw = json.dumps(header).encode()
        (folder / file).write_bytes(len(raw).to_bytes(8, "little") + raw)
        os.truncate(folder / file, 8 + len(raw) + at)
        weight_map |= dict.fromkeys(shapes, file)
    (folder / INDEX).write_text(json.dumps({"weight_map": weight_map}))
    return total


def first(tensors: Mapping[str, StoredTensor], parameters: int) -> dict[str, StoredTensor]:
    """The first of them that have so many parameters together."""
    chosen: dict[str, StoredTensor] = {}
    for name, tensor in tensors.items():
        if sum(int(np.prod(t.shape)) for t in chosen.values()) >= parameters:
            break
        chosen[name] = tensor
    return chosen


def fill(tensors: Mapping[str, StoredTensor]) -> None:
    """Real values in place of the holes: what is timed is read from the disk, and is no row of zeros."""
    values = np.random.default_rng(0).normal(0, 0.01, _BLOCK_BYTES // 2).astype("<f4")
    block = (values.view("<u4") >> 16).astype("<u2").tobytes()
    for tensor in tensors.values():
        left = 2 * int(np.prod(tensor.shape))
        with tensor.file.path.open("r+b", buffering=0) as file:
            file.seek(tensor.offset)
            while left:
                left -= file.write(block[:left])
            os.fsync(file.fileno())  # pages that are not on the disk yet cannot be dropped


def drop_pages(tensors: Mapping[str, StoredTensor]) -> None:
    """Let the system forget what it holds of the files, where it can be asked to."""
    if hasattr(os, "posix_fadvise"):
        for path in {tensor.file.path for tensor in tensors.values()}:
            with path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def send(tensors: Mapping[str, Tensor]) -> None:
    """All that a client does with its update; the bytes are dropped where a connection would take them."""
    layout, numbers = Layout.of(tensors), Numbers(COHORT, BITS, 0.05)
    encoding = VectorEncoding(layout, numbers)
    rounding = Reader(os.urandom(32))
    streams = StreamSum([(os.urandom(32), 1 if at % 2 else -1) for at in range(STREAMS)])

    def masked() -> Iterator[np.ndarray]:
        for piece in encoding.encode(tensors, 1, {}, lambda count: rounding.take(4 * count).view("<u4")):
            streams.add_to(piece)
            yield piece

    context = Expected(Suite.PAIRWISE_MASKS, bytes(32), 1, 1)
    for _ in iter_words(context, masked(), encoding.words, numbers.lanes.ring_bits):
        pass
