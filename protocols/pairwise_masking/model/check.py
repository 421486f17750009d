"""Runs spin over every configuration of the model and compares the verdicts with what is expected.

python3 check.py                 all but the deep ones; one line each
python3 check.py --deep          the larger cohorts too
python3 check.py --only TEXT     those with TEXT in their line; with --trace also what happened before a violation
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from protocols.pairwise_masking.model.configurations import CONFIGURATIONS, PROPERTIES, Configuration

HERE = Path(__file__).resolve().parent
MEMORY_MIB = 1800
DEPTH = 200_000
SECONDS = 900


class Verdict(NamedTuple):
    """What spin found: `holds`, `broken`, or what went wrong where it said neither."""

    found: str
    states: str
    seconds: float
    trace: tuple[str, ...] = ()


def defines(configuration: Configuration) -> list[str]:
    """What the preprocessor is told."""
    bits = sum(1 << list(PROPERTIES).index(name) for name in configuration.properties if name in PROPERTIES)
    return [f"-D{name}" for name in [*configuration.defines.split(), f"CHECK={bits}"]]


def compiler_flags(configuration: Configuration) -> list[str]:
    """For the verifier that spin writes."""
    flags = ["-O2" if configuration.deep or configuration.long else "-O1", f"-DMEMLIM={MEMORY_MIB}", "-DVECTORSZ=2048"]
    if configuration.liveness:
        # No fairness is asked for: the runs are finite whatever the schedule, which is more.
        return [*flags, "-DNOFAIR"]
    flags += ["-DSAFETY", "-DNOCLAIM"]
    # The malicious server is one process a client whose every step is global: nothing to reduce.
    return [*flags, "-DNOREDUCE"] if configuration.model == "malicious" else flags


def judge(configuration: Configuration, output: str) -> str:
    """The verdict in what the verifier printed."""
    errors = re.search(r"errors: (\d+)", output)
    if errors is None:
        return "no verdict: " + output.strip().splitlines()[-1] if output.strip() else "no verdict"
    if errors[1] == "0":
        complete = "Search not completed" not in output and "search depth too small" not in output
        return "holds" if complete else "not complete"
    # A violation of something else than what was asked for is no proof of anything.
    if configuration.liveness:
        return "broken" if "acceptance cycle" in output else "another error: " + output.splitlines()[0]
    assertion = re.search(r"assertion violated (.*)", output)
    expected = [PROPERTIES[name] for name in configuration.properties]
    if assertion and any(text in assertion[1].replace(" ", "") for text in expected):
        return "broken"
    return "another error: " + (output.strip().splitlines() or [""])[0]


def run(configuration: Configuration, *, trace: bool = False) -> Verdict:
    """One configuration, in a folder of its own."""
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        for part in HERE.glob("*.pml"):
            shutil.copy(part, folder)
        try:
            found, states, lines = verify(configuration, Path(folder), trace=trace)
        except subprocess.TimeoutExpired as error:
            found, states, lines = f"no end of {error.cmd[0]} after {error.timeout:.0f} s", "-", ()
    return Verdict(found, states, time.monotonic() - start, lines)


def verify(configuration: Configuration, folder: Path, *, trace: bool) -> tuple[str, str, tuple[str, ...]]:
    """Verdict, number of states, and what happened before a violation."""

    def call(*command: str) -> str:
        done = subprocess.run(  # noqa: S603 - spin, gcc and what they made
            command, cwd=folder, capture_output=True, text=True, timeout=SECONDS, check=False
        )
        return done.stdout + done.stderr

    model = f"{configuration.model}.pml"
    said = call("spin", *defines(configuration), "-a", model)
    if not (folder / "pan.c").exists() or "Error" in said:
        return f"spin: {said.strip()}", "-", ()
    said = call("gcc", *compiler_flags(configuration), "-w", "-o", "pan", "pan.c")
    if not (folder / "pan").exists():
        return f"gcc: {said.strip()}", "-", ()
    claim = ["-a", "-N", configuration.properties[0]] if configuration.liveness else []
    said = call("./pan", *claim, f"-m{DEPTH}")
    states = re.search(r"([\d.e+]+) states, stored", said)
    found = judge(configuration, said)
    lines: tuple[str, ...] = ()
    if trace and found == "broken":
        told = call("spin", *defines(configuration), "-t", model).splitlines()
        lines = tuple(line.strip() for line in told if re.match(r" +client ", line))
    return found, states[1] if states else "-", lines


def main() -> int:
    """All that were chosen; 0 where every verdict is the expected one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--deep", action="store_true")
    parser.add_argument("--only", default="", metavar="TEXT")
    parser.add_argument("--trace", action="store_true")
    parser.add_argument("-j", "--jobs", type=int, default=2)
    arguments = parser.parse_args()
    for program, package in (("spin", "spin"), ("gcc", "gcc")):
        if shutil.which(program) is None:
            print(f"{program} is missing: install it (Debian: apt-get install {package})", file=sys.stderr)
            return 2
    chosen = [c for c in CONFIGURATIONS if arguments.only in str(c) and (arguments.deep or not c.deep)]
    wrong = 0
    start = time.monotonic()
    with ThreadPoolExecutor(arguments.jobs) as pool:
        verdicts = pool.map(lambda c: run(c, trace=arguments.trace), chosen)
        for configuration, verdict in zip(chosen, verdicts, strict=True):
            right = verdict.found == configuration.expected
            wrong += not right
            mark = "" if right else f"UNEXPECTED ({configuration.expected} should be) "
            print(f"{mark}{verdict.found:6} {configuration} {verdict.states:>9} states {verdict.seconds:5.1f} s")
            for line in verdict.trace:
                print(f"         {line}")
            sys.stdout.flush()
    print(f"{len(chosen) - wrong} of {len(chosen)} verdicts as expected, {time.monotonic() - start:.0f} s")
    return 1 if wrong or not chosen else 0


if __name__ == "__main__":
    sys.exit(main())
