"""Homomorphic aggregation of LoRA updates against TenSEAL and NVFlare, in one run, and what a large one takes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from functools import partial
from statistics import median
from typing import Final

import numpy as np

from bench import he_round
from bench.figures import Figure, Report, Skipped, interleaved, ratio, spread
from bench.he_ours import Ours
from bench.peers_he import Floats, NvflareFilters, NvflarePath, Side, TensealFlat, silenced

__all__ = ["run"]

CLIENTS: Final = 8
BITS: Final = 18
CLIP: Final = 0.05
STEPS: Final = 16
"""Local steps that NVFlare multiplies updates with."""
SHAPES: Final = {
    f"h.{layer}.attn.c_attn.lora_{name}": shape
    for layer in range(12)
    for name, shape in (("A", (8, 768)), ("B", (2304, 8)))
}
"""LoRA of rank 8 on the joint q, k, v projection of GPT-2 small: 24 tensors, 294,912 parameters."""
PARAMETERS: Final = sum(rows * columns for rows, columns in SHAPES.values())
OTHERS: Final = ("bfv_2048", "ckks_compact", "ckks")
"""Our schemes besides `bfv`, which the bounds are for."""
ROLES: Final = ("client", "server", "holder", "mean")

_INSTALL: Final = "needs the extra `he`: pip install 'securefed[he]'"
_NVFLARE: Final = "needs nvflare: pip install nvflare, without its extra `he`, which wants an older TenSEAL"


def run(*, quick: bool, quiet: bool) -> Report:
    """All figures."""
    taken: list[Figure] = []
    skipped: list[Skipped] = []
    parts: dict[str, Callable[[], tuple[list[Figure], list[Skipped]]]] = {
        "bench he": lambda: _peers(1 if quick else 5),
        "server_peak_ciphertexts": lambda: (he_round.memory(20 if quick else 100), []),
        "round_7b_seconds": lambda: (he_round.large_model(1 if quick else 3), []),
    }
    for name, take in parts.items():
        try:
            figures, missing = take()
        except ImportError as error:
            figures, missing = [], [Skipped(name, f"{_INSTALL} ({error})")]
        taken += figures
        skipped += missing
    if quiet:  # there is no table then, and standard output is for the numbers
        for one in skipped:
            print(f"{one.name} skipped: {one.reason}", file=sys.stderr)
    return Report(taken, skipped=skipped)


def _updates() -> list[dict[str, Floats]]:
    rng = np.random.default_rng(1)
    return [
        {name: np.clip(0.01 * rng.standard_normal(shape), -CLIP, CLIP) for name, shape in SHAPES.items()}
        for _ in range(CLIENTS)
    ]


def _flat(update: Mapping[str, Floats]) -> Floats:
    return np.concatenate([tensor.ravel() for tensor in update.values()])


class _Measured:
    """A side that has played one round, whose mean was right.

    Attributes:
        upload, download: bytes of one client's update and of the aggregate.
        seconds: by role, turn by turn; filled in by `_seconds`.
    """

    def __init__(self, side: Side, updates: list[dict[str, Floats]], error: float) -> None:
        self.side = side
        self._update = updates[0]
        self._uploads = [side.client(update) for update in updates]
        self._download = side.server(self._uploads)
        self._opened = side.holder(self._download)
        off = side.mean(self._opened) - np.mean([_flat(update) for update in updates], axis=0)
        assert np.abs(off).max() <= error, f"{type(side).__name__} is wrong by {np.abs(off).max():.3g}"
        self.upload = max(sum(map(len, upload)) for upload in self._uploads)
        self.download = sum(map(len, self._download))
        self.seconds: dict[str, list[float]] = {}

    def variants(self) -> dict[str, Callable[[], object]]:
        """One call of each role."""
        side = self.side
        calls: list[Callable[[], object]] = [
            partial(side.client, self._update),
            partial(side.server, self._uploads),
            partial(side.holder, self._download),
            partial(side.mean, self._opened),
        ]
        return dict(zip(ROLES, calls, strict=True))


def _peers(repeats: int) -> tuple[list[Figure], list[Skipped]]:
    """All sides in turn, role by role."""
    updates, step = _updates(), 2 * CLIP / (2**BITS - 1)
    skipped = []
    with silenced():
        sides: dict[str, Side] = {
            "tenseal": TensealFlat(),
            "nvflare": NvflarePath(STEPS),
            "ours": Ours("bfv", updates, BITS, CLIP),
            **{f"ours.{name}": Ours(name, updates, BITS, CLIP) for name in OTHERS},
        }
        try:
            sides["filters"] = NvflareFilters(STEPS)
        except ImportError as error:
            skipped.append(Skipped("nvflare_over_*.filters", f"{_NVFLARE} ({error})"))
        measured = {
            name: _Measured(side, updates, step if isinstance(side, Ours) else 1e-6) for name, side in sides.items()
        }
        for side in sides.values():
            if isinstance(side, Ours):
                side.ready(repeats + 1)
        seconds = interleaved(
            {f"{name} {role}": call for name, one in measured.items() for role, call in one.variants().items()},
            repeats,
        )
    for name, one in measured.items():
        one.seconds = {role: seconds[f"{name} {role}"] for role in ROLES}
    return _figures(measured), skipped


def _figures(measured: dict[str, _Measured]) -> list[Figure]:
    ours = measured["ours"]
    assert isinstance(ours.side, Ours)
    whole = (ours.upload + max(ours.side.set_up_bytes.values())) / PARAMETERS
    figures = [
        Figure(
            "upload_bytes_per_parameter", whole, "B", "lower", 3.9,
            f"{BITS}-bit updates, {CLIENTS} clients, {PARAMETERS:,} parameters in {len(SHAPES)} tensors, all messages "
            "before the sum is opened",
        )
    ]  # fmt: skip
    bounds = {
        "tenseal_over_upload": 14.0, "tenseal_over_download": 7.0, "tenseal_over_client": 3.5,
        "tenseal_over_server": 4.0, "tenseal_over_decrypt": 4.0, "nvflare_over_upload": 28.0,
        "nvflare_over_server": 30.0,
    }  # fmt: skip
    for peer in ("tenseal", "nvflare"):
        figures += [
            Figure(name, value, "", "higher", bounds.get(name), note)
            for name, value, note in _ratios(peer, measured[peer], ours)
        ]
    pairs = [("nvflare", "filters", measured["filters"], ours)] if "filters" in measured else []
    pairs += [("tenseal", name, measured["tenseal"], measured[f"ours.{name}"]) for name in OTHERS]
    figures += [
        Figure(f"{name}.{kind}", value, "", "higher", None, note)
        for peer, kind, them, us in pairs
        for name, value, note in _ratios(peer, them, us)
    ]
    return figures + _absolute(measured)


def _ratios(peer: str, them: _Measured, us: _Measured) -> list[tuple[str, float, str]]:
    rows = [
        (
            f"{peer}_over_{what}",
            over / under,
            f"{over / PARAMETERS:.4g} over {under / PARAMETERS:.4g} bytes a parameter",
        )
        for what, over, under in (("upload", them.upload, us.upload), ("download", them.download, us.download))
    ]
    parts = {"client": ("client",), "server": ("server",), "decrypt": ("holder",), "opening": ("holder", "mean")}
    for name, roles in parts.items():
        over, under = (
            [sum(turn) for turn in zip(*(side.seconds[role] for role in roles), strict=True)] for side in (them, us)
        )
        note = f"{1e3 * median(over):.4g} over {1e3 * median(under):.4g} ms; {spread(over, under)}"
        rows.append((f"{peer}_over_{name}", ratio(over, under), note))
    return rows


def _absolute(measured: dict[str, _Measured]) -> list[Figure]:
    us = measured["ours"]
    return [Figure(f"{role}_ms", 1e3 * median(us.seconds[role]), "ms", "lower", None, _DONE[role]) for role in ROLES]


_DONE: Final = {
    "client": "quantise, tag, encrypt, pack",
    "server": f"check and add {CLIENTS} updates, write the sum",
    "holder": "open the sum, check its tags, pack it",
    "mean": "at the server: the floats of the opened sum",
}
