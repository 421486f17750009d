"""Private training steps over plain ones and over Opacus's, in one run; the noise's figures beside them."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from statistics import median
from typing import Final

from bench.figures import Figure, Report, Skipped

__all__ = ["run"]

Taken = tuple[list[Figure], list[Skipped]]

STEP_BOUNDS: Final = {
    "layerwise_full_t128": 1.15, "layerwise_full_t512": 1.10, "layerwise_lora": 1.04, "flat_full_t128": 1.25,
}  # fmt: skip
PEER_BOUNDS: Final = {"opacus_ghost_over_full_t128": 1.9, "opacus_ghost_over_lora_all": 1.9}
MEMORY_BOUNDS: Final = {"full": 1.10, "lora": 1.03}
NAMES: Final = {"flat_full_t128": "flat_full", "opacus_ghost_over_full_t128": "opacus_ghost_over_full"}
"""Figures that are named without the shape that they are taken at."""

_LLM: Final = "needs the extra `llm`: pip install 'securefed[llm]'"


def run(*, quick: bool, quiet: bool) -> Report:
    """All figures."""
    shapes = ("full_t128", "full_t512", "lora", "lora_all", "lora_all_t512", *(() if quick else ("gpt2_full",)))
    parts: dict[str, Callable[[], Taken]] = {f"*_{shape}": partial(_steps, shape, quick) for shape in shapes}
    parts["memory_*"] = partial(_memory, () if quick else ("flat", "ghost"), 1 if quick else 3)
    parts |= {f"bench.{name}": partial(_beside, name, quick) for name in ("dp_noise", "dp_distributed", "dp_gpu")}
    figures: list[Figure] = []
    skipped: list[Skipped] = []
    for name, take in parts.items():
        try:
            taken, missing = take()
        except ImportError as error:
            taken, missing = [], [Skipped(name, f"{_LLM} ({error})")]
        figures += taken
        skipped += missing
    if quiet:  # there is no table then, and standard output is for the numbers
        for one in skipped:
            print(f"{one.name} skipped: {one.reason}", file=sys.stderr)
    return Report(figures, skipped=skipped)


def _steps(shape: str, quick: bool) -> Taken:
    """The step of one shape, over the plain one and over ours; peers less often, for theirs take twice as long."""
    from bench import dp_steps, peers_opacus

    ours, peers = ["layerwise", "flat"], ["hooks", "ghost", "per_layer"]
    if quick and shape != "full_t128":
        ours, peers = ["layerwise"], ["ghost"]
    elif shape == "full_t128" and not quick:
        ours.append("adaptive")
    variants = {way: dp_steps.variant(shape, way) for way in ("plain", *ours)}
    for step in variants.values():
        step()
    turns = dict.fromkeys(variants, 3 if quick else 7)
    skipped = []
    for mode in peers:
        names = (f"opacus_{mode}_over_{shape}", f"opacus_{mode}_{shape}")
        try:
            variants[mode] = peers_opacus.tried(dp_steps.SHAPES[shape], mode)
            turns[mode] = 2 if quick else 3
        except ImportError as error:
            skipped += [Skipped(NAMES.get(name, name), f"{peers_opacus.INSTALL} ({error})") for name in names]
        except dp_steps.NotRun as error:
            skipped += [Skipped(NAMES.get(name, name), str(error)) for name in names]
    seconds = dp_steps.cpu_seconds(variants, turns)
    note = f"{dp_steps.SHAPES[shape]}, AdamW, σ = 1; {1e3 * seconds.median('plain'):.0f} ms without privacy"

    def figure(name: str, over: str, under: str, bound: float | None, note: str) -> Figure:
        ratios = seconds.ratios(over, under)
        better = "lower" if under == "plain" and over not in peers_opacus.MODES else "higher"
        spread = f"{min(ratios):.3g} … {max(ratios):.3g} in {len(ratios)} turns"
        return Figure(NAMES.get(name, name), median(ratios), "", better, bound, f"{note}; {spread}")  # type: ignore[arg-type]

    figures = [
        figure(f"{way}_{shape}", way, "plain", STEP_BOUNDS.get(f"{way}_{shape}"), note) for way in ours
    ]  # fmt: skip
    for mode in (mode for mode in peers if mode in variants):
        name = f"opacus_{mode}_over_{shape}"
        figures.append(figure(name, mode, "layerwise", PEER_BOUNDS.get(name), "Opacus's step over our layerwise one"))
        figures.append(figure(f"opacus_{mode}_{shape}", mode, "plain", None, "Opacus's step over the plain one"))
    return figures, skipped


def _memory(others: tuple[str, ...], repeats: int) -> Taken:
    """The most memory of a few steps over that of plain ones, each in a process of its own."""
    if not sys.platform.startswith("linux"):
        return [], [Skipped("memory_*", "reads the peak from Linux's /proc")]
    from bench import dp_steps

    def taken(shape: str, way: str) -> float:
        return median(dp_steps.peak_mib(shape, way) for _ in range(repeats))

    figures, installed = [], find_spec("opacus") is not None
    for name, shape in (("full", "full_t128"), ("lora", "lora_all")):
        plain = taken(shape, "plain")
        for way in ("layerwise", *others):
            called = {"layerwise": "", "flat": "flat_", "ghost": "opacus_ghost_"}[way]
            if way == "ghost" and not installed:
                continue
            value = taken(shape, way)
            bound = MEMORY_BOUNDS[name] if way == "layerwise" else None
            note = f"{dp_steps.SHAPES[shape]}: {value:.0f} over {plain:.0f} MiB beyond the imported libraries"
            figures.append(Figure(f"memory_{called}{name}", value / plain, "", "lower", bound, note))
    return figures, []


def _beside(name: str, quick: bool) -> Taken:
    """The figures of another module of this bench."""
    found = importlib.import_module(f"bench.{name}").figures(quick=quick)
    return found if isinstance(found, tuple) else (found, [])
