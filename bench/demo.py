"""The main job: exactness over every dropout pattern, loss over plain FedAvg, share of protection."""

from __future__ import annotations

import itertools
import json
import math
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median

import numpy as np
from rich.console import Console

from bench.figures import Figure, Report, spread
from securefed.aggregation import (
    Adversary,
    ClientIdentity,
    Credentials,
    MemoryRecord,
    Policy,
    SigningKey,
    Update,
    new_round,
)
from securefed.encoding.layout import Layout
from securefed.encoding.vector import VectorEncoding
from securefed.errors import RoundAborted
from securefed.federated.rounds import InProcess, RoundCost, run_round
from securefed.jobs.configuration_file import load
from securefed.jobs.job import run as run_job
from securefed.jobs.progress import TerminalDisplay
from securefed.secagg import PairwiseMasks

QUICK = ("model.pretraining.steps=80", "training.rounds=3", "training.local_steps=8", "data.tokens_per_client=6000")


def run(*, quick: bool, quiet: bool) -> Report:
    """All figures."""
    clients, adversary = 3 if quick else 4, Adversary("malicious", corrupt=0.1, dropouts=0.0)
    mismatches, patterns, aborted = _mismatches(clients, adversary)
    threshold = adversary.least_survivors(clients)
    note = f"n = {clients}, L = {threshold}: {patterns} dropout patterns with a sum, {aborted} without (all refused)"
    with tempfile.TemporaryDirectory() as folder:
        config = load(
            None,
            [
                "name=bench",
                'evaluation.arms=["plain"]',
                "evaluation.every_round=false",
                *(QUICK if quick else ()),
            ],
        )
        with TerminalDisplay(Console(stderr=True, quiet=quiet)) as display:
            run_job(config, Path(folder), display)
        events = [json.loads(line) for line in (Path(folder) / "metrics.jsonl").read_text().splitlines()]
    losses = {
        arm: {e["client"]: e["loss"] for e in events if e["event"] == "evaluation" and e["arm"] == arm and e["final"]}
        for arm in ("masks", "plain")
    }
    ratios = [losses["masks"][name] / losses["plain"][name] for name in losses["plain"]]
    rounds = [e for e in events if e["event"] == "round" and e["arm"] == "masks"]
    shares = [e["protection_seconds"] / e["seconds"] for e in rounds]
    up = [size for e in rounds for size in e["bytes_up"].values()]
    down = [size for e in rounds for size in e["bytes_down"].values()]
    return Report(
        [
            Figure("sum_mismatches", mismatches, "words", "lower", 0, note),
            Figure(
                "loss_over_plain",
                math.fsum(losses["masks"].values()) / math.fsum(losses["plain"].values()),
                "",
                "lower",
                1.001,
                f"final held-out loss over plain FedAvg on floats, same seeds; by client {spread(ratios)}",
            ),
            Figure("protection_share", median(shares), "", "lower", 0.05, f"of a round's wall time; {spread(shares)}"),
            Figure("bytes_up", median(up), "B", "lower", None, "a client and round"),
            Figure("bytes_down", median(down), "B", "lower", None, "a client and round, without the model itself"),
        ]
    )


def _mismatches(n: int, adversary: Adversary) -> tuple[int, int, int]:
    """Words that differ from the integer sum in the clear; patterns with and without a sum."""
    layout = Layout.of({"w": np.zeros(53, np.float32)}, ("loss",))
    generator = np.random.default_rng(0)
    updates = {
        client: Update({"w": generator.normal(0, 0.5, 53).astype(np.float32)}, bytes([1]) * 32, 1, {"loss": client / 3})
        for client in range(1, n + 1)
    }
    keys = {client: SigningKey() for client in updates}
    public = {client: key.public for client, key in keys.items()}
    policy = Policy(adversary=adversary)
    identities = {
        client: ClientIdentity(client, layout, policy, credentials=Credentials(keys[client], public))
        for client in updates
    }
    scheme, mismatches, patterns, aborted = PairwiseMasks(), 0, 0, 0
    for pattern in itertools.product((*scheme.stages, None), repeat=n):
        lost = {client: stage for client, stage in zip(updates, pattern, strict=True) if stage is not None}
        spec = new_round(
            round_number=1, cohort=tuple(updates), adversary=adversary, model=bytes([1]) * 32, layout=layout, bits=16,
            clip=1.0,
        )  # fmt: skip
        sessions = {
            client: scheme.client(replace(identity, record=MemoryRecord())) for client, identity in identities.items()
        }
        cost = RoundCost()
        transport = InProcess(sessions, updates.__getitem__, cost, lost=lost, stages=scheme.stages)
        enough = sum(stage is None for stage in pattern) >= spec.threshold
        try:
            aggregate = run_round(scheme.server(spec, layout, public), transport, cost)
        except RoundAborted:
            aborted += 1
            mismatches += spec.words if enough else 0
            continue
        patterns += 1
        encoding = VectorEncoding(layout, spec.numbers)
        expected = np.zeros(spec.words, "<u8")
        for client in (c for c in updates if lost.get(c, "release") in ("consent", "release")):
            expected += np.concatenate(list(_words(encoding, updates[client], identities[client])))
        assert aggregate.words is not None
        mismatches += int(np.count_nonzero(expected != aggregate.words)) if enough else spec.words
    return mismatches, patterns, aborted


def _words(encoding: VectorEncoding, update: Update, identity: ClientIdentity) -> Iterator[np.ndarray]:
    return encoding.encode(update.tensors, update.weight, update.metrics, identity.rounding(1))
