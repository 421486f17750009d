"""Pairwise masking at the level of words."""

from __future__ import annotations

import os
import subprocess
import sys
from statistics import median

import numpy as np

from bench.figures import Figure, Report, interleaved, ratio, spread
from securefed.aggregation import ClientIdentity, Policy, Update, new_round
from securefed.crypto.keystream import BLOCK_BYTES, SEGMENT_BYTES, Engine, StreamSum, fastest_engine, open_stream
from securefed.encoding.layout import Layout
from securefed.secagg import PairwiseMasks, default_threshold
from securefed.secagg.client_stages import expected_from
from securefed.wire.header import SERVER
from securefed.wire.messages import Survivors

NEIGHBOURS = 10
COHORT = 100
BITS = 16


def run(*, quick: bool, quiet: bool) -> Report:
    """All figures."""
    return Report([*_speed(10**6 if quick else 10**7, 9), _upload(10**6 if quick else 10**7), *_memory(10**7)])


def _speed(words: int, repeats: int) -> list[Figure]:
    vector = np.zeros(words, "<u8")
    target = vector.copy()
    terms = [(os.urandom(32), 1 if at % 2 else -1) for at in range(NEIGHBOURS)]
    seconds = interleaved(
        {
            "mask": lambda: StreamSum(terms).add_to(vector),
            "copy": lambda: np.copyto(target, vector),
            "gcm": lambda: _keystream("gcm", words),
            "ctr": lambda: _keystream("ctr", words),
        },
        repeats,
    )
    mask = [value / NEIGHBOURS for value in seconds["mask"]]
    engine = fastest_engine()
    stream, copy = seconds[engine], seconds["copy"]
    size = f"d = 10^{len(str(words)) - 1} words, {NEIGHBOURS} neighbours, one thread"
    return [
        Figure(
            "mask_add_over_copyto", ratio(mask, copy), "", "lower", 1.5, f"{size}, {engine}; {spread(mask, copy)}"
        ),
        Figure(
            "mask_add_over_keystream", ratio(mask, stream), "", "lower", 1.5,
            f"over making the same stream and dropping it; {spread(mask, stream)}",
        ),
        Figure(
            "keystream_over_copyto", ratio(stream, copy), "", "lower", None,
            f"what this processor's AES leaves of the first figure; {spread(stream, copy)}",
        ),
        Figure("ctr_over_gcm", ratio(seconds["ctr"], seconds["gcm"]), "", "lower", None, "the two engines' streams"),
        Figure("mask_add_ms", 1e3 * median(mask), "ms", "lower", None, "one mask made and added"),
        Figure("copyto_ms", 1e3 * median(copy), "ms", "lower", None, "np.copyto of the same bytes"),
    ]  # fmt: skip


def _keystream(engine: Engine, words: int) -> None:
    """Make a stream of so many words and drop it: the cipher alone, in blocks of the size that masking uses."""
    zeros, out = memoryview(bytes(BLOCK_BYTES)), memoryview(bytearray(BLOCK_BYTES + 15))
    key = bytes(32)
    for at in range(0, words * 8, BLOCK_BYTES):
        segment, within = divmod(at, SEGMENT_BYTES)
        if within == 0:
            encryptor = open_stream(engine, key, segment)
        size = min(BLOCK_BYTES, words * 8 - at)
        encryptor.update_into(zeros[:size], out)


def _upload(parameters: int) -> Figure:
    """All that one client of a cohort sends in a round, by its real session."""
    layout = Layout.of({"update": np.zeros(parameters, np.float32)}, ("loss",))
    spec = new_round(
        round_number=1, cohort=tuple(range(1, COHORT + 1)), threshold=default_threshold(COHORT), model=bytes(32),
        layout=layout, bits=BITS, clip=1.0,
    )  # fmt: skip
    scheme = PairwiseMasks()
    server = scheme.server(spec, layout)
    clients = {client: scheme.client(ClientIdentity(client, layout, Policy())) for client in spec.cohort}
    update = Update({"update": np.zeros(parameters, np.float32)}, bytes(32), 1, {"loss": 0.0})
    sent = 0
    for _stage in scheme.stages[:2]:
        for client, request in server.requests().items():
            answer = clients[client].reply(request, lambda: update)
            server.receive(client, answer)
            sent += len(answer) if client == 1 else 0
        server.advance()
    # The last two messages of one client do not depend on the inputs of the others.
    sent += len(clients[1].reply(server.requests()[1], lambda: update))
    survivors = Survivors(dict.fromkeys(spec.cohort, True)).encode(expected_from(spec, SERVER))
    sent += len(clients[1].reply(survivors, lambda: update))
    return Figure(
        "upload_bytes_per_parameter",
        sent / parameters,
        "B",
        "lower",
        4.0,
        f"{BITS}-bit updates, {COHORT} clients, {parameters:,} parameters, all four messages",
    )


_MEMORY_PROBE = """
import os, sys, tempfile, threading
import numpy as np
from securefed.crypto.keystream import StreamSum

def anonymous():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("RssAnon")) / 1024

kind, words = sys.argv[1], int(sys.argv[2])
terms = [(os.urandom(32), 1) for _ in range(10)]
with tempfile.TemporaryDirectory() as folder:
    if kind == "file":
        vector = np.memmap(os.path.join(folder, "vector"), "<u8", "w+", shape=(words,))
    else:
        vector = np.ones(words, "<u8")
    StreamSum(terms).add_to(np.zeros(1024, "<u8"))  # the library's own first-use memory is not the vector's
    before, peak, over = anonymous(), 0.0, threading.Event()
    def watch():
        global peak
        while not over.wait(0.0005):
            peak = max(peak, anonymous())
    watcher = threading.Thread(target=watch)
    watcher.start()
    StreamSum(terms).add_to(vector)
    peak = max(peak, anonymous())
    over.set()
    watcher.join()
    print(peak - before)
"""


def _memory(words: int) -> list[Figure]:
    if not sys.platform.startswith("linux"):
        return []
    extra = {}
    for kind in ("memory", "file"):
        command = [sys.executable, "-c", _MEMORY_PROBE, kind, str(words)]
        extra[kind] = float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return [
        Figure(
            "extra_memory_mib",
            max(0.0, *extra.values()),
            "MiB",
            "lower",
            8.0,
            f"private memory beyond the vector, in memory {extra['memory']:.2f}, in a mapped file {extra['file']:.2f}",
        )
    ]
