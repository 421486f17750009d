"""Two engines with one interface: libFuzzer through atheris, guided by coverage, and a plain one that runs anywhere."""

from __future__ import annotations

import hashlib
import os
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from tests.fuzz.mutation import havoc
from tests.fuzz.target import OUTCOMES, Target

__all__ = ["Watch", "fuzz_guided", "fuzz_plainly", "smallest"]

_KEPT = 4000
"""Most inputs that the plain engine mutates further."""
_ATTEMPTS = 1500
"""Executions that may be spent on making a finding small."""
_FROM_A_SEED = 6
"""One in so many guided mutations is of a seed."""
_SLOWEST = 60
"""Seconds for one execution before libFuzzer calls it a finding."""


@dataclass
class Watch:
    """Runs a target and writes down what it raises: the input in a file and as hex, the stack, how to see it again.

    Args:
        folder: for inputs of findings.
        go_on: after a finding, to look for others; by default the first one ends it all.
    """

    target: Target
    folder: Path
    go_on: bool = False
    executions: int = 0
    outcomes: set[str] = field(default_factory=set)
    findings: dict[str, Path] = field(default_factory=dict)
    _start: float = field(default_factory=time.perf_counter)

    def execute(self, data: bytes) -> None:
        """Once."""
        self.executions += 1
        found = None
        try:
            self.outcomes.update(self.target.run(data).split(OUTCOMES))
        except Exception as error:  # whatever it is: that is what is looked for
            found = place(error)
        if found is not None:
            self._found(data, found)

    def report(self) -> str:
        """One line."""
        rate = self.executions / max(time.perf_counter() - self._start, 1e-9)
        return (
            f"{self.target.name:24} {self.executions:>10,} executions {rate:>9,.0f}/s "
            f"{len(self.outcomes):>4} outcomes {len(self.findings):>3} findings"
        )

    def _found(self, data: bytes, what: str) -> None:
        if what in self.findings:
            return
        least = smallest(self.target, data, what)
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{self.target.name}-{hashlib.sha256(least).hexdigest()[:12]}"
        path.write_bytes(least)
        self.findings[what] = path
        show(self.target, path)

    @property
    def over(self) -> bool:
        """Whether to stop."""
        return bool(self.findings) and not self.go_on


def show(target: Target, path: Path) -> bool:
    """Replay an input: its hex, and the stack of what it raises. Returns whether it raises anything."""
    data = path.read_bytes()
    print(f"\n{target.name}: {target.invariant}\n{len(data)} bytes: {data.hex() or '(nothing)'}", flush=True)
    try:
        outcome = target.run(data)
    except Exception:
        # An error may repeat what no terminal can show: that is what is looked for.
        print(traceback.format_exc().encode(errors="backslashreplace").decode())
        print(f"again: python -m tests.fuzz {target.name} --replay {path}\n", flush=True)
        return True
    print(f"nothing wrong: {outcome}", flush=True)
    return False


def place(error: Exception) -> str:
    """Type of an exception and where it was raised, which tells findings apart."""
    frames = traceback.extract_tb(error.__traceback__)
    # A library's own frames say little, and change with what it is given.
    at = next((frame for frame in reversed(frames) if "securefed" in Path(frame.filename).parts), frames[-1])
    # Of an invariant what comes before the colon: behind it is what this very input made of it.
    invariant = str(error).split(":")[0] if isinstance(error, AssertionError) else ""
    return f"{type(error).__name__} {at.filename}:{at.lineno} {invariant}"


def smallest(target: Target, data: bytes, what: str) -> bytes:
    """The same finding with fewer bytes: pieces are left out, then zeroed, as long as it stays."""
    attempts = 0

    def stays(candidate: bytes) -> bool:
        nonlocal attempts
        attempts += 1
        try:
            target.run(target.repair(candidate))
        except Exception as error:
            return place(error) == what
        return False

    # What anyone can compute may be at fault itself; and how deep a recursion may go depends on who calls.
    if not stays(data) or what.startswith(RecursionError.__name__):
        return data
    size = 1 << max(0, len(data).bit_length() - 1)
    while size and attempts < _ATTEMPTS:
        at = 0
        while at < len(data) and attempts < _ATTEMPTS:
            without = data[:at] + data[at + size :]
            if stays(without):
                data = without
                continue
            zeroed = data[:at] + bytes(len(data[at : at + size])) + data[at + size :]
            if zeroed != data and stays(zeroed):
                data = zeroed
            at += max(1, size // 2)
        size //= 2
    return target.repair(data)


def fuzz_plainly(watch: Watch, runs: int, seed: int = 0) -> None:
    """The same executions for the same seed: seeds, then mutations of them and of what had a new outcome."""
    target = watch.target
    rng = Random(f"{target.name} {seed}")
    kept = list(target.seeds)
    blind: Callable[[bytes], bytes] = lambda data: havoc(data, rng)  # noqa: E731
    for data in target.seeds[:runs]:
        watch.execute(data)
    while watch.executions < runs and not watch.over:
        data = rng.choice(kept)
        for _ in range(rng.choice((1, 1, 1, 2, 4))):
            data = target.mutate(data, rng, blind)
        data = data[: target.longest]
        known = len(watch.outcomes)
        watch.execute(data)
        if len(watch.outcomes) > known and len(kept) < _KEPT:
            kept.append(data)


def fuzz_guided(watch: Watch, runs: int, corpus: Path, seed: int = 0) -> None:
    """With atheris, in a process of its own that this ends: libFuzzer never comes back.

    Args:
        corpus: folder of inputs that reached something new, kept for the next time.
        seed: of libFuzzer's random numbers; 0 for other ones every time.
    """
    import atheris

    target, rng = watch.target, Random()
    corpus.mkdir(parents=True, exist_ok=True)
    for data in target.seeds:
        (corpus / hashlib.sha256(data).hexdigest()[:20]).write_bytes(data)

    def finish() -> None:
        print(watch.report(), flush=True)
        os._exit(bool(watch.findings))

    def one(data: bytes) -> None:
        watch.execute(data)
        if watch.over or watch.executions >= runs:
            finish()

    def mutate(data: bytes, greatest: int, seed_: int) -> bytes:
        rng.seed(seed_)
        # A corpus fills up with what is refused in many ways; what is next to a good input stays worth a look.
        base = rng.choice(target.seeds) if rng.randrange(_FROM_A_SEED) == 0 else data
        changed = target.mutate(base, rng, lambda part: _either(part, rng, greatest))
        return changed[:greatest]

    def _either(part: bytes, rng: Random, greatest: int) -> bytes:
        return (
            atheris.Mutate(part, max(len(part), min(greatest, len(part) + 256)))
            if rng.randrange(2)
            else havoc(part, rng)
        )

    flags = [f"-runs={2 * runs}", f"-max_len={target.longest}", f"-timeout={_SLOWEST}", f"-seed={seed}",
             f"-artifact_prefix={watch.folder}/{target.name}-", "-verbosity=0"]  # fmt: skip
    watch.folder.mkdir(parents=True, exist_ok=True)
    atheris.Setup([target.name, *flags, str(corpus)], one, custom_mutator=mutate)
    atheris.Fuzz()
