"""Pairwise masking at the level of words."""

from __future__ import annotations

import os
import subprocess
import sys
from statistics import median

import numpy as np

from bench import peers
from bench.cohorts import RealCohort
from bench.figures import Figure, Report, Skipped, interleaved, ratio, spread
from securefed.aggregation import Adversary
from securefed.crypto.engine import Engine, fastest_engine, open_stream
from securefed.crypto.keystream import BLOCK_BYTES, SEGMENT_BYTES, StreamSum
from securefed.encoding.vector import PIECE_WORDS

NEIGHBOURS = 10
COHORT = 100
WORDS = 10**7


def run(*, quick: bool, quiet: bool) -> Report:
    """All figures."""
    repeats = 5 if quick else 15
    threads, without = _threads(WORDS, repeats)
    theirs, missing = peers.figures(quick=quick)
    own = [*_speed(WORDS, repeats), *threads, _upload(10**6), *_memory(WORDS)]
    report = Report([*own, *theirs], skipped=[*without, *missing])
    if quiet:  # there is no table then, and standard output is for the numbers
        for skipped in report.skipped:
            print(f"{skipped.name} skipped: {skipped.reason}", file=sys.stderr)
    return report


def _terms() -> list[tuple[bytes, int]]:
    return [(os.urandom(32), 1 if at % 2 else -1) for at in range(NEIGHBOURS)]


def _speed(words: int, repeats: int) -> list[Figure]:
    vector = np.ones(words, "<u8")
    target = vector.copy()
    terms = _terms()

    def copy_as_often() -> None:
        for _ in terms:
            np.copyto(target, vector)

    seconds = interleaved(
        {
            "mask": lambda: StreamSum(terms, threads=1).add_to(vector),
            "copy": copy_as_often,
            "gcm": lambda: _keystream("gcm", words),
            "ctr": lambda: _keystream("ctr", words),
        },
        repeats,
    )
    mask, copy = ([value / NEIGHBOURS for value in seconds[name]] for name in ("mask", "copy"))
    engine = fastest_engine()
    stream = seconds[engine]
    size = f"d = 10^{len(str(words)) - 1} words, {NEIGHBOURS} neighbours, one thread"
    return [
        Figure(
            "mask_add_over_copyto", ratio(mask, copy), "", "lower", 1.2, f"{size}, {engine}; {spread(mask, copy)}"
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


def _threads(words: int, repeats: int) -> tuple[list[Figure], list[Skipped]]:
    """What a second thread gives, on the whole vector and on the pieces that a client's encoding hands over."""
    names = ("two_threads_speedup", "two_threads_speedup.pieces")
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if usable < 2:
        return [], [Skipped(name, "needs two processors") for name in names]
    vector = np.ones(words, "<u8")
    terms = _terms()

    def pieces(threads: int) -> None:
        streams = StreamSum(terms, threads=threads)
        for start in range(0, words, PIECE_WORDS):
            streams.add_to(vector[start : start + PIECE_WORDS])

    seconds = interleaved(
        {
            "one": lambda: StreamSum(terms, threads=1).add_to(vector),
            "two": lambda: StreamSum(terms, threads=2).add_to(vector),
            "one in pieces": lambda: pieces(1),
            "two in pieces": lambda: pieces(2),
        },
        repeats,
    )
    one, two, one_in_pieces, two_in_pieces = seconds.values()
    size = f"d = 10^{len(str(words)) - 1} words, {NEIGHBOURS} neighbours"
    return [
        Figure(
            names[0], ratio(one, two), "", "higher", 1.35,
            f"{size}, as a server takes masks off; {spread(one, two)}",
        ),
        Figure(
            names[1], ratio(one_in_pieces, two_in_pieces), "", "higher", None,
            f"in pieces of {PIECE_WORDS} words, as a client adds them; {spread(one_in_pieces, two_in_pieces)}",
        ),
    ], []  # fmt: skip


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
    """All that the clients of a cohort send in a whole round of real sessions."""
    cohort = RealCohort.of(COHORT, parameters, Adversary(), {})
    cohort.run()
    sent = list(cohort.cost.bytes_up.values())
    return Figure(
        "upload_bytes_per_parameter", max(sent) / parameters, "B", "lower", 3.0,
        f"16-bit updates, {COHORT} clients, {parameters:,} parameters, all messages of the client that sends most; "
        f"least {min(sent) / parameters:.4g}",
    )  # fmt: skip


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
