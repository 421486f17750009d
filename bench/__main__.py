"""`python -m bench NAME [--quick] [--json -]`."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from dataclasses import asdict
from pathlib import Path

from bench.figures import Report, show

BENCHES = {
    "masking": "pairwise masking at the level of words: time over a copy, bytes, memory",
    "scale": "pairwise masking against a malicious server: large cohorts, updates larger than memory",
    "he": "homomorphic aggregation of LoRA updates: bytes, time and memory, against TenSEAL and NVFlare",
    "dp": "private training steps over plain ones and over Opacus's, in time and memory; exact noise over OpenDP's",
    "dp_utility": "what privacy costs in perplexity: a real small model, three ways to clip, several seeds",
    "exchange": "rounds on a real Flower SuperLink: seconds and exchanges, over plain FedAvg and Flower's SecAgg+",
    "memory": "an update of 300 MB on a real Flower SuperLink: time and memory of client and server, over plain FedAvg",
    "demo": "the main job: exactness of the sum, loss over plain FedAvg, share of protection",
}


def main() -> int:
    listing = "\n".join(f"  {name:10} {text}" for name, text in BENCHES.items())
    parser = argparse.ArgumentParser(
        prog="python -m bench", description=f"benches:\n{listing}", formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("name", choices=BENCHES)
    parser.add_argument("--quick", action="store_true", help="smaller sizes, fewer repeats: within a minute")
    parser.add_argument("--json", metavar="FILE", help="write one JSON object to FILE, '-' for standard output")
    arguments = parser.parse_args()
    quiet = arguments.json == "-"
    report: Report = importlib.import_module(f"bench.{arguments.name}").run(quick=arguments.quick, quiet=quiet)
    content = {
        "bench": arguments.name,
        "machine": report.machine,
        "figures": [{k: v for k, v in asdict(figure).items() if k != "note"} for figure in report.figures],
    }
    if quiet:
        print(json.dumps(content))
    else:
        show(arguments.name, report)
        if arguments.json:
            Path(arguments.json).write_text(json.dumps(content) + "\n")
    return 0 if all(figure.holds for figure in report.figures) else 1


if __name__ == "__main__":
    sys.exit(main())
