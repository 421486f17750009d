"""Sites in this process: their published functions are called as NVFlare calls them, without its processes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
from nvflare.collab import CollabCallError
from nvflare.collab.api.context import Context, get_call_context, set_call_context
from nvflare.collab.api.exceptions import RunAborted
from nvflare.fuel.utils import fobs

from securefed.aggregation import Adversary, Policy

SITES = ("site-1", "site-2", "site-3")
SEMI_HONEST = Adversary("semi-honest", corrupt=0.0, dropouts=0.34)
OPEN = Policy(frozenset({"masks", "plain", "bfv", "float"}), SEMI_HONEST, least_sum=2)
BITS, GREATEST = 16, 64
CLIP = 32767 * 2.0**-12
STEP = 2.0**-10
"""Whole multiples of it, times a weight of 16, 32 or 48 of 64, are quantised without rounding: sums can be compared bit
for bit, whatever a site's rounding key."""


def weights() -> dict[str, np.ndarray]:
    return {"w": np.zeros((4, 3), np.float32), "b": np.zeros(5, np.float64)}


def moved(old: Mapping[str, np.ndarray], site: str, round_number: int) -> dict[str, np.ndarray]:
    """What a site of these tests trains: whole multiples of `STEP`, another for each site, round and value."""
    number = int(site.rsplit("-", 1)[1])
    return {
        name: array + ((np.arange(array.size).reshape(array.shape) % 7 - 3) * number + round_number) * STEP
        for name, array in old.items()
    }


def on_grid(new: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The nearest weights from which such training gives exact updates again."""
    return {name: (np.round(array / STEP) * STEP).astype(array.dtype) for name, array in new.items()}


def examples(site: str) -> int:
    return 16 * int(site.rsplit("-", 1)[1])


class Site:
    """A proxy, as `collab.clients` gives them."""

    def __init__(self, name: str, functions: Mapping[str, Callable[..., Any]], caller: str = "server") -> None:
        self.name = name
        self.functions = functions
        self.caller = caller
        self.fails = self.aborted = False
        self.calls: list[dict[str, Any]] = []

    def __call__(self, timeout: float) -> Site:
        self.timeout = timeout
        return self

    def __getattr__(self, function: str) -> Callable[..., Any]:
        def call(terms: str, request: bytes, weights: bytes, config: str) -> Any:
            if self.fails or function not in self.functions:
                raise CollabCallError(self.name, function, f"no method {function!r}")
            arguments = {"terms": terms, "request": request, "weights": weights, "config": config}
            self.calls.append(arguments | {"timeout": self.timeout})
            if self.aborted:
                raise RunAborted("the job is aborted")
            carried = fobs.loads(fobs.dumps(arguments))
            before = get_call_context()
            set_call_context(Context(SimpleNamespace(name=self.name), self.caller, self.name, None))
            try:
                return fobs.loads(fobs.dumps(self.functions[function](**carried)))
            finally:
                set_call_context(before)

        return call
