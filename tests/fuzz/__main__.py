"""`python -m tests.fuzz`: every target, or those that are named, each in a process of its own."""

from __future__ import annotations

import argparse
import importlib.util
import os
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

from tests.fuzz.scratch import SCRATCH, memory

_FOLDER = Path("build", "fuzz")
_RUNS = 1_000_000
_KILLED = ("timeout", "oom", "crash", "leak", "slow-unit")
"""How libFuzzer names the inputs of what the target itself could not live to tell."""


def main(argv: list[str] | None = None) -> int:
    """Exit status 1 where something was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", help="default: all of them, one after the other")
    parser.add_argument("--list", action="store_true", help="the targets and what must hold")
    parser.add_argument("--replay", type=Path, metavar="FILE", help="run one target on the input in this file")
    parser.add_argument(
        "--runs", type=int, default=int(os.environ.get("FUZZ_RUNS") or _RUNS), help="executions of each"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the random numbers (with atheris 0: others every time)")
    parser.add_argument("--engine", choices=("atheris", "plain"), default=_best_engine(), help="here: %(default)s")
    parser.add_argument("--folder", type=Path, default=_FOLDER, help="corpora and findings (%(default)s)")
    parser.add_argument("--go-on", action="store_true", help="look for further findings after the first")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    # Coverage is of what is imported from here on.
    targets = _targets(guided=options.here and options.engine == "atheris")
    unknown = [name for name in options.targets if name not in targets]
    if unknown:
        parser.error(f"no target {unknown[0]!r}; there are: {', '.join(targets)}")
    # A warning of numpy's about a number from outside is as much a finding as an exception.
    warnings.simplefilter("error")
    if options.list:
        for name, make in targets.items():
            print(f"{name:24} {make().invariant}")
        return 0
    if options.replay is not None:
        if len(options.targets) != 1:
            parser.error("--replay takes one target")
        return _replay(options)
    if options.here:
        return _fuzz(options)
    print(f"{options.engine}: {options.runs:,} executions of each target", flush=True)
    failed = False
    for name in options.targets or targets:
        status = _in_a_process(name, options)
        if status:
            failed = True
            print(f"{name}: stopped with status {status}; inputs of findings are in {options.folder / 'findings'}")
            if not options.go_on:
                break
    return int(failed)


def _best_engine() -> str:
    return "atheris" if importlib.util.find_spec("atheris") else "plain"


def _targets(*, guided: bool) -> dict:
    if guided:
        import atheris

        with atheris.instrument_imports(include=["securefed"]):
            from tests.fuzz.registry import TARGETS
    else:
        from tests.fuzz.registry import TARGETS
    return TARGETS


def _in_a_process(name: str, options: argparse.Namespace) -> int:
    log, findings = options.folder / f"{name}.log", options.folder / "findings"
    findings.mkdir(parents=True, exist_ok=True)
    known = set(findings.iterdir())
    command = [sys.executable, "-m", "tests.fuzz", name, "--here", f"--runs={options.runs}", f"--seed={options.seed}",
               f"--engine={options.engine}", f"--folder={options.folder}", *["--go-on"] * options.go_on]  # fmt: skip
    # libFuzzer's own lines go to a file; what the target has to say goes to the terminal. libFuzzer ends its process
    # without cleaning up: that is done here.
    with log.open("wb") as file, tempfile.TemporaryDirectory(dir=memory()) as scratch:
        environment = {**os.environ, SCRATCH: scratch}
        status = subprocess.run(command, stderr=file, env=environment, check=False).returncode
    for path in sorted(set(findings.iterdir()) - known):
        if path.name.startswith(tuple(f"{name}-{what}-" for what in _KILLED)):
            print(f"{name}: {path.read_bytes().hex()}\nsee {log}; again: python -m tests.fuzz {name} --replay {path}")
    return status


def _fuzz(options: argparse.Namespace) -> int:
    from tests.fuzz.engines import Watch, fuzz_guided, fuzz_plainly
    from tests.fuzz.registry import TARGETS

    (name,) = options.targets
    watch = Watch(TARGETS[name](), options.folder / "findings", options.go_on)
    if options.engine == "atheris":
        fuzz_guided(watch, options.runs, options.folder / "corpus" / name, options.seed)
    fuzz_plainly(watch, options.runs, options.seed)
    print(watch.report(), flush=True)
    return int(bool(watch.findings))


def _replay(options: argparse.Namespace) -> int:
    from tests.fuzz.engines import show
    from tests.fuzz.registry import TARGETS

    return int(show(TARGETS[options.targets[0]](), options.replay))


if __name__ == "__main__":
    sys.exit(main())
