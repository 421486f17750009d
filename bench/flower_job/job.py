"""What every variant does: a few tensors, a training that costs nothing, and a clock."""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

TENSORS = 4
EXAMPLES = 32

Arrays = list[npt.NDArray[np.float32]]


def initial(values: int) -> Arrays:
    """A model of about so many float32 parameters; the first one is 0.

    The others are random: Flower sends and keeps chunks that are equal once, which those of a real model are not.
    """
    generator = np.random.default_rng(0)
    arrays = [generator.normal(0, 0.02, values // TENSORS).astype(np.float32) for _ in range(TENSORS)]
    arrays[0][0] = 0.0
    return arrays


def trained(arrays: Arrays, client: int) -> Arrays:
    """Another model, by a step that depends on the client."""
    return [array + np.float32(0.001 * (client + 1)) for array in arrays]


def report(folder: str, name: str, facts: Mapping[str, float]) -> None:
    """Append a line to the bench's file; called by processes of their own, so one write a line."""
    line = json.dumps({"name": name, "time": time.time(), "peak": peak_bytes(), **facts}) + "\n"
    with (Path(folder) / "facts.jsonl").open("a") as file:
        file.write(line)


def peak_bytes() -> int:
    """The greatest resident set of this process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak
