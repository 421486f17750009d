"""A job of four ways to aggregate and two kinds of loss, on the simulator; copied to a folder and run there.

Argument: the folder for its results. SITE_FILES: path of the sites' client files, with `{site}` in it.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import numpy as np
from nvflare.collab import CollabRecipe, collab
from nvflare.recipe import SimEnv

from securefed.aggregation import Adversary, Policy
from securefed.integrations.nvflare import SecureRounds, secure_site
from tests.integrations.nvflare.calls import (
    BITS,
    CLIP,
    GREATEST,
    OPEN,
    SEMI_HONEST,
    SITES,
    examples,
    moved,
    on_grid,
    weights,
)

OUT = Path(os.environ["JOB_RESULTS"])
MALICIOUS = Adversary("malicious", corrupt=0.0, dropouts=0.0)


def _train(old, config):
    lost = config.get("lost") == collab.site_name
    if lost and config["how"] == "raise":
        raise ValueError("the patient's name is Ada")
    if lost and config["how"] == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    (OUT / f"{collab.site_name}.pid").write_text(str(os.getpid()))
    return moved(old, collab.site_name, config["round"]), examples(collab.site_name), {"loss": 0.5}


@secure_site(OPEN)
def plain(weights, config):
    return _train(weights, config)


@secure_site(OPEN)
def masks(weights, config):
    return _train(weights, config)


@secure_site(OPEN)
def bfv(weights, config):
    return _train(weights, config)


@secure_site(Policy(adversary=MALICIOUS), client_file=os.environ["SITE_FILES"])
def malicious(weights, config):
    return _train(weights, config)


def rounds_of(function: str) -> SecureRounds:
    strict = function == "malicious"
    return SecureRounds(
        "masks" if strict else function, adversary=MALICIOUS if strict else SEMI_HONEST, clip=CLIP, bits=BITS,
        greatest_weight=GREATEST, metrics=("loss",), function=function, training_seconds=6.0, exchange_seconds=30.0,
        identities=os.environ["ROSTER"] if strict else None, folder=OUT / "server" / function,
    )  # fmt: skip


def note(name: str, number: int, done) -> None:
    report = done.report
    (OUT / f"{name}-{number}.json").write_text(
        json.dumps({
            "sites": done.sites, "lost": dict(done.lost), "examples": done.examples, "metrics": dict(done.metrics),
            "exchanges": report.exchanges, "seconds": report.seconds,
        })
    )  # fmt: skip
    np.savez(OUT / f"{name}-{number}.npz", words=report.aggregate.words, **done.weights)


@collab.main
def run():
    for function in ("plain", "masks", "malicious", "bfv"):
        rounds, present = rounds_of(function), weights()
        for number in (1, 2, 3):
            done = rounds.average(present, {"round": number}, more=number < 3)
            note(function, number, done)
            present = on_grid(done.weights)
    rounds, present = rounds_of("masks"), weights()
    for number, how in enumerate(("", "raise", "", "kill", ""), 4):
        done = rounds.average(present, {"round": number, "lost": SITES[1] if how else "", "how": how})
        note("loss", number, done)
        present = on_grid(done.weights)


if __name__ == "__main__":
    recipe = CollabRecipe(job_name="sums", min_clients=len(SITES))
    recipe.execute(SimEnv(clients=list(SITES), workspace_root=sys.argv[1]))
