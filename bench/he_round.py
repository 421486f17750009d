"""Whole homomorphic rounds, clients in processes of their own: how long a large one takes, what its server holds."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any, Final

import numpy as np

from bench.figures import Figure
from bench.he_ours import MODEL, Cohort, Tensors, scheme_named
from securefed.aggregation import Aggregate, ServerSession, Update
from securefed.encoding.vector import VectorEncoding

__all__ = ["large_model", "memory"]

SCHEME: Final = "bfv"
CLIENTS: Final = 8
PROCESSES: Final = 2
LAYERS, WIDTH, RANK = 32, 4096, 8
BITS, CLIP = 18, 0.05


def large_model(turns: int) -> list[Figure]:
    """LoRA of rank 8 on q and v of a 7B model (Llama 2: 32 layers, width 4096), from the offer to the mean."""
    shapes = {"A": (RANK, WIDTH), "B": (WIDTH, RANK)}
    rng = np.random.default_rng(1)
    update = {
        f"{layer}.{module}.{name}": (0.01 * rng.standard_normal(shape)).astype(np.float32)
        for layer in range(LAYERS)
        for module in "qv"
        for name, shape in shapes.items()
    }
    seconds = []
    for _ in range(turns):
        cohort = Cohort.of(scheme_named(SCHEME), update, BITS, CLIP, CLIENTS)
        with _clients(cohort, update) as clients:
            start = perf_counter()
            aggregate = _play(cohort.server(), clients)
            seconds.append(perf_counter() - start)
        off = max(
            np.abs(aggregate.tensors[name] - np.clip(tensor, -CLIP, CLIP)).max() for name, tensor in update.items()
        )
        assert off < 2 * CLIP / 2**BITS
    return [
        Figure(
            "round_7b_seconds", median(seconds), "s", "lower", 10.0,
            f"{sum(tensor.size for tensor in update.values()):,} parameters, {BITS} bits, {CLIENTS} clients in "
            f"{PROCESSES} processes; all messages, {min(seconds):.3g} … {max(seconds):.3g} in {turns} rounds",
        )
    ]  # fmt: skip


def memory(clients: int, parameters: int = 10**6) -> list[Figure]:
    """The server's peak in a round whose clients all send at once."""
    if not sys.platform.startswith("linux"):
        return []
    scheme_named(SCHEME)
    command = [sys.executable, "-c", f"from bench import he_round; he_round.print_peaks({clients}, {parameters})"]
    # glibc keeps freed arrays for itself by default, which says nothing about what the server holds.
    (_, _, kept, _, _), (adding, summed, peak, update, upload) = (
        map(int, subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout.split())
        for environment in (None, {**os.environ, "MALLOC_MMAP_THRESHOLD_": "131072"})
    )
    mib = 2**20
    return [
        Figure(
            "server_peak_ciphertexts", peak / update, "", "lower", 2.5,
            f"{clients} clients, {parameters:,} parameters: {peak / mib:.3g} MiB over what ciphertexts of one update "
            f"take in memory, two polynomials of 64-bit words, {update / mib:.3g} MiB (as sent {upload / mib:.3g} MiB)",
        ),
        Figure(
            "server_peak_ciphertexts.default_allocator", kept / update, "", "lower", None,
            "without MALLOC_MMAP_THRESHOLD_=131072, which the other three have",
        ),
        Figure("server_peak_ciphertexts.adding", adding / update, "", "lower", None, "until the last update is added"),
        Figure("server_peak_ciphertexts.sum", summed / update, "", "lower", None, "until the sum is written"),
    ]  # fmt: skip


def print_peaks(clients: int, parameters: int) -> None:
    """For a process of its own: bytes above what it had before, until the last update is added, the sum is written and
    the round is over; of one update's ciphertexts in memory, and as sent."""
    _peaks(3, 4096)  # what the libraries take once is not the round's
    print(*_peaks(clients, parameters))


def _peaks(clients: int, parameters: int) -> tuple[int, int, int, int, int]:
    update = {"update": np.zeros(parameters, np.float32)}
    scheme: Any = scheme_named(SCHEME)
    cohort = Cohort.of(scheme, update, 16, CLIP, clients)
    packing = scheme.parameters.packing(VectorEncoding(cohort.layout, cohort.spec.numbers))
    adding = summed = largest = 0
    with _clients(cohort, update) as answers:
        before = _reset_peak()
        server = cohort.server()
        while server.aggregate is None:
            requests = [server.requests()]
            summed = _memory("VmHWM") - before  # of the last stage's requests: the sum
            for client, answer in answers.of(requests.pop()):
                server.receive(client, answer)
                largest = max(largest, len(answer) if server.stage == scheme.update_stage else 0)
                del answer  # before the next one is read
            if server.stage == scheme.update_stage:
                adding = _memory("VmHWM") - before
            server.advance()
        peak = _memory("VmHWM") - before
    return adding, summed, peak, packing.polynomials * packing.ring.degree * 16, largest


def _reset_peak() -> int:
    """Resident bytes now; the kernel's peak counter begins from them again."""
    Path("/proc/self/clear_refs").write_text("5")
    return _memory("VmRSS")


def _memory(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) * 1024


def _play(server: ServerSession, clients: _Clients) -> Aggregate:
    while server.aggregate is None:
        for client, answer in clients.of(server.requests()):
            server.receive(client, answer)
        server.advance()
    return server.aggregate


class _Clients:
    """A cohort's clients, over pipes: one of a process answers after the other."""

    def __init__(self, pipes: list[Connection], ended: list[int]) -> None:
        self._pipes = pipes
        self._ended = ended  # what `wait` takes for processes that are no more

    def of(self, requests: Mapping[int, bytes]) -> Iterator[tuple[int, bytes]]:
        """Answers as they come."""
        asked, left = list(requests), dict(requests)
        del requests
        for client in asked:
            pipe = self._pipes[client % len(self._pipes)]
            pipe.send_bytes(client.to_bytes(4, "big"))
            pipe.send_bytes(left.pop(client))  # nobody needs what has left
        for _ in asked:
            ready: Any = wait([*self._pipes, *self._ended])[0]
            if ready in self._ended:
                raise RuntimeError("a client's process has ended with an error")
            yield int.from_bytes(ready.recv_bytes(), "big"), ready.recv_bytes()


@contextmanager
def _clients(cohort: Cohort, update: Tensors) -> Iterator[_Clients]:
    """All clients, half of them in each of two processes; all send the same update."""
    context = multiprocessing.get_context("fork")  # nothing of a cohort, its keys least of all, is pickled
    ends = [context.Pipe() for _ in range(PROCESSES)]
    processes = [context.Process(target=_answer, args=(end, cohort, update), daemon=True) for _, end in ends]
    for process in processes:
        process.start()
    try:
        yield _Clients([end for end, _ in ends], [process.sentinel for process in processes])
    finally:
        for process in processes:
            process.kill()
            process.join()


def _answer(pipe: Connection, cohort: Cohort, update: Tensors) -> None:
    sessions: dict[int, Any] = {}
    while True:
        name = pipe.recv_bytes()
        client = int.from_bytes(name, "big")
        if client not in sessions:
            sessions[client] = cohort.client(client)
        answer = sessions[client].reply(pipe.recv_bytes(), lambda: Update(update, MODEL))
        pipe.send_bytes(name)
        pipe.send_bytes(answer)
