"""Exact samplers and Gaussian floats: values a second, against OpenDP's and torch's, and against masking.

All times are those of the processor, on one thread.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from math import sqrt
from time import process_time
from typing import Any, Final

import numpy as np

from bench.figures import Figure, Skipped, ratio, spread
from securefed.crypto.keystream import StreamSum
from securefed.dp.noise import Source, add_gaussian, discrete_gaussian, gaussian, skellam

__all__ = ["figures"]

_INSTALL: Final = "needs the extra `peers`: make install-peers, or pip install 'securefed[peers]'"

Taken = tuple[list[Figure], list[Skipped]]

NEIGHBOURS: Final = 10
MASKED: Final = 10**7


def figures(*, quick: bool) -> Taken:
    """All figures, or what to install for them."""
    taken: list[Figure] = []
    skipped: list[Skipped] = []
    parts: dict[tuple[str, ...], Callable[[], list[Figure]]] = {
        ("gaussian_mega_per_second", "skellam_mega_per_second"): lambda: _speed(5 if quick else 15),
        ("opendp_over_gaussian", "opendp_over_skellam"): lambda: _opendp(3 if quick else 9),
        ("skellam_over_masking_words",): lambda: _masking(3 if quick else 9),
        ("float_gaussian_mega_per_second", "float_gaussian_over_torch"): lambda: _floats(5 if quick else 25),
    }
    for names, take in parts.items():
        try:
            taken += take()
        except ImportError as error:
            skipped += [Skipped(name, f"{_INSTALL} ({error})") for name in names]
    return taken, skipped


def _processor_time(variants: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """Seconds of processor time of each variant, in turn, after one turn that is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for turn in range(repeats + 1):
        for name, variant in variants.items():
            start = process_time()
            variant()
            if turn:
                seconds[name].append(process_time() - start)
    return seconds


def _speed(repeats: int, values: int = 4 * 10**6) -> list[Figure]:
    """Both laws at a small and a large deviation; tables are made in the turn that is not counted."""
    source = Source.fresh()
    variants: dict[str, Callable[[], object]] = {}
    for label, sigma in (("10", 10.0), ("2^24", 2.0**24)):
        variants[f"gaussian {label}"] = partial(discrete_gaussian, source, sigma, values)
        variants[f"skellam {label}"] = partial(skellam, source, sigma * sigma, values)
    seconds = _processor_time(variants, repeats)
    bounds = {"gaussian 10": 50.0, "gaussian 2^24": 20.0}
    shown = []
    for name, taken in seconds.items():
        law, label = name.split()
        speeds = [values / 1e6 / second for second in taken]
        best = max(speeds) if name in bounds else float(np.median(speeds))
        shown.append(
            Figure(
                f"{law}_mega_per_second.{label}", best, "M/s", "higher", bounds.get(name),
                f"standard deviation {label}, {values:,} exact values, one thread, processor time; "
                f"{'the fastest turn; ' if name in bounds else ''}{spread(speeds)}",
            )
        )  # fmt: skip
    return shown


def _opendp(repeats: int, theirs: int = 20_000, ours: int = 2 * 10**6) -> list[Figure]:
    """Time of a value there over time of a value here, both exact, σ = 10. OpenDP has no Skellam noise."""
    opendp: Any = import_module("opendp.prelude")
    opendp.enable_features("contrib")
    measurement = opendp.m.make_gaussian(
        opendp.vector_domain(opendp.atom_domain(T="i64")), opendp.l2_distance(T="f64"), scale=10.0
    )
    zeros, source = [0] * theirs, Source.fresh()
    seconds = _processor_time(
        {
            "theirs": lambda: measurement(zeros),
            "gaussian": lambda: discrete_gaussian(source, 10.0, ours),
            "skellam": lambda: skellam(source, 100.0, ours),
        },
        repeats,
    )
    each = {name: [second / (theirs if name == "theirs" else ours) for second in taken]
            for name, taken in seconds.items()}  # fmt: skip
    opendp_s = f"OpenDP's discrete Gaussian of σ = 10, {theirs:,} values"
    return [
        Figure(
            "opendp_over_gaussian", ratio(each["theirs"], each["gaussian"]), "", "higher", 200.0,
            f"{opendp_s}, over ours, {ours:,} values; {spread(each['theirs'], each['gaussian'])}",
        ),
        Figure(
            "opendp_over_skellam", ratio(each["theirs"], each["skellam"]), "", "higher", 200.0,
            f"{opendp_s} (it has no Skellam noise), over our Skellam noise of the same variance; "
            f"{spread(each['theirs'], each['skellam'])}",
        ),
    ]  # fmt: skip


def _masking(repeats: int) -> list[Figure]:
    """A number of noise for every word that is masked; with lanes a word has several (`bench.dp_distributed`)."""
    vector = np.ones(MASKED, "<u8")
    terms = [(os.urandom(32), 1 if at % 2 else -1) for at in range(NEIGHBOURS)]
    source = Source.fresh()
    variants: dict[str, Callable[[], object]] = {"mask": lambda: StreamSum(terms, threads=1).add_to(vector)}
    deviations = {"2": 2.0, "1000": 1000.0, "2^16": 2.0**16}
    for label, deviation in deviations.items():
        variants[label] = partial(skellam, source, deviation**2, MASKED)
    seconds = _processor_time(variants, repeats)
    mask = seconds.pop("mask")
    size = f"d = 10^7, k = {NEIGHBOURS}, one thread"
    return [
        Figure(
            f"skellam_over_masking_words.{label}", ratio(taken, mask), "", "lower", None,
            f"{size}, deviation {label}; {spread(taken, mask)}",
        )
        for label, taken in seconds.items()
    ]  # fmt: skip


def _floats(repeats: int, values: int = 4 * 10**6) -> list[Figure]:
    """What DP-SGD adds to its gradients, beside torch's generator, which is no cryptographic one."""
    source, ours = Source.fresh(), np.zeros(values, np.float32)
    shown = []
    variants: dict[str, Callable[[], object]] = {
        "drawn": lambda: gaussian(source, values, ours),
        "added": lambda: add_gaussian(source, ours, 1.0 / sqrt(values)),
    }
    try:
        torch: Any = import_module("torch")
    except ImportError:
        torch = None
    else:
        torch.set_num_threads(1)
        theirs = torch.zeros(values)
        noise = torch.zeros(values)
        variants["torch"] = lambda: theirs.normal_()
        variants["torch added"] = lambda: theirs.add_(noise.normal_(), alpha=1.0 / sqrt(values))
    seconds = _processor_time(variants, repeats)
    for name, figure in (("drawn", "float_gaussian_mega_per_second"), ("added", "float_gaussian_mega_per_second.add")):
        speeds = [values / 1e6 / second for second in seconds[name]]
        note = f"{values:,} float32, one thread; {spread(speeds)}"
        shown.append(Figure(figure, float(np.median(speeds)), "M/s", "higher", None, note))
    if torch is not None:
        for name, other in (("drawn", "torch"), ("added", "torch added")):
            suffix = "" if name == "drawn" else ".add"
            shown.append(
                Figure(
                    f"float_gaussian_over_torch{suffix}", ratio(seconds[name], seconds[other]), "", "lower", None,
                    f"time over that of torch's normal_{' and add_' if suffix else ''}, one thread; "
                    f"{spread(seconds[name], seconds[other])}",
                )
            )  # fmt: skip
    return shown
