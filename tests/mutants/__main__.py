"""`python -m tests.mutants`: break the core in one place at a time and see whether a test notices."""

from __future__ import annotations

import argparse
import json
import math
import random
import re
import sys
from itertools import zip_longest
from pathlib import Path

from tests.mutants.mutations import Mutant, mutants_of
from tests.mutants.runner import ROOMS, Verdict, forked_session, on_import

_PAGE = Path("docs", "mutants.md")
_RESULTS = Path("build", "mutants", "results.jsonl")


def main(argv: list[str] | None = None) -> int:
    """Exit status 1 where a room has too many survivors."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("paths", nargs="*", type=Path, help="rooms or files (default: all four rooms)")
    parser.add_argument("--sample", type=int, metavar="N", help="so many of each room, drawn with the seed")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--function", help="only inside functions whose qualified name has this in it")
    parser.add_argument("--again", action="store_true", help="keep what was killed the last time")
    parser.add_argument("--seconds", type=float, default=15, help="of tests for each mutant (%(default)s)")
    parser.add_argument(
        "--least", type=float, default=95, help="percent to be killed of those without a reason (%(default)s)"
    )
    options = parser.parse_args(argv)
    chosen = _chosen(options)
    _RESULTS.parent.mkdir(parents=True, exist_ok=True)
    if not options.again:
        _RESULTS.write_text("")
    killed = {name for name, result in _verdicts().items() if result != "survived"}
    left = [mutant for mutant in chosen if mutant.id not in killed]
    print(f"{len(left)} mutants", flush=True)
    before = len(_RESULTS.read_text().splitlines())
    forked_session(left, options.seconds, _seen)
    judged = _verdicts(before)
    for mutant in left:
        if mutant.id not in judged:
            _seen(mutant, on_import(mutant, options.seconds))
    return _report(chosen, _verdicts(), options.least)


def _chosen(options: argparse.Namespace) -> list[Mutant]:
    """Room by room in turns and in random order: a run that is stopped early has seen a fair sample."""
    rooms = []
    for room in ROOMS:
        files = sorted(Path("securefed", room).glob("*.py"))
        wanted = [file for file in files if not options.paths or {file, file.parent} & set(options.paths)]
        found = [m for file in wanted for m in mutants_of(file) if (options.function or "") in m.function]
        random.Random(f"{options.seed} {room}").shuffle(found)
        rooms.append(found[: options.sample])
    return [mutant for turn in zip_longest(*rooms) for mutant in turn if mutant is not None]


def _seen(mutant: Mutant, verdict: Verdict) -> None:
    result, test = verdict
    if result == "survived":
        print(f"survived: {mutant}", flush=True)
    with _RESULTS.open("a") as file:
        file.write(
            json.dumps({"id": mutant.id, "mutant": str(mutant), "kind": mutant.kind, "result": result, "by": test})
            + "\n"
        )


def _verdicts(start: int = 0) -> dict[str, str]:
    lines = map(json.loads, _RESULTS.read_text().splitlines()[start:])
    return {line["id"]: line["result"] for line in lines}


def _report(mutants: list[Mutant], verdicts: dict[str, str], least: float) -> int:
    print(f"{'room':10}{'mutants':>9}{'killed':>9}{'share':>9}  {'95 % interval':17}{'explained':>11}{'open':>7}")
    enough, explained = True, _explained()
    for room in ROOMS:
        of_room = [mutant for mutant in mutants if mutant.room == room]
        survivors = [mutant for mutant in of_room if verdicts[mutant.id] == "survived"]
        still_open = [
            mutant for mutant in survivors if (str(mutant.path), mutant.function, mutant.change) not in explained
        ]
        if of_room:
            killed, of = len(of_room) - len(survivors), len(of_room)
            low, high = _wilson(killed, of)
            interval = f"{low:.1%} … {high:.1%}"
            known = len(survivors) - len(still_open)
            print(f"{room:10}{of:9}{killed:9}{killed / of:9.1%}  {interval:17}{known:11}{len(still_open):7}")
            enough &= killed >= least / 100 * (of - known)
    return 0 if enough else 1


def _explained() -> set[tuple[str, str, str]]:
    """File, function and change of each survivor that the page gives a reason for."""
    rows = re.findall(r"^\| `(\S+)` (?:`(\S+)`|on import) \| `(.+)` \| ", _PAGE.read_text(), re.MULTILINE)
    return {(path, function, change.replace("\\|", "|")) for path, function, change in rows}


def _wilson(killed: int, of: int) -> tuple[float, float]:
    """The 95 % interval of a share; what a sample says about all."""
    z, share = 1.96, killed / of
    middle = (share + z * z / (2 * of)) / (1 + z * z / of)
    half = z / (1 + z * z / of) * math.sqrt(share * (1 - share) / of + z * z / (4 * of * of))
    return max(0.0, middle - half), min(1.0, middle + half)


if __name__ == "__main__":
    sys.exit(main())
