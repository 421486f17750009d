"""NVIDIA FLARE is an extra: without it there is nothing to test here.

Its simulator takes half a minute for a job, most of it waiting. So both jobs of these tests run at the same time, once.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from securefed.deployment.identities import make_identity, make_roster

ROOT = Path(__file__).resolve().parents[3]
HERE = Path(__file__).parent
SITES = ("site-1", "site-2", "site-3")

collect_ignore_glob = [] if find_spec("nvflare") else ["test_*.py"]


class Simulation:
    """A job in a process of its own, in a folder of its own."""

    def __init__(self, home: Path, job: str, *others: str, **environment: str) -> None:
        self.results = home / "results"
        self.results.mkdir()
        self.log = home / "log.txt"
        for source, name in zip((job, *others), ("job.py", "client.py"), strict=False):
            shutil.copy(HERE / source, home / name)
        # No setting of whoever runs the tests: the paths of its workspaces, its home, its client file.
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("NVFLARE", "SECUREFED"))}
        added = {"PYTHONPATH": str(ROOT), "JOB_RESULTS": str(self.results), "HOME": str(home)} | environment
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "job.py", "simulation"], cwd=home, env=clean | added, stdout=log, stderr=log
            )

    def finished(self) -> Path:
        """The folder of its results."""
        assert self.process.wait(timeout=240) == 0, self.log.read_text()[-8000:]
        return self.results


@pytest.fixture(scope="session")
def simulations(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Simulation, Simulation]]:
    home = tmp_path_factory.mktemp("collab")
    files = [make_identity(home / "owners" / site, number) for number, site in enumerate(SITES, 1)]
    roster = home / "identities.json"
    make_roster(roster, [file.with_name("identity.pub.json") for file in files])
    for file in files:
        shutil.copy(roster, file.with_name("identities.json"))
        file.write_text(file.read_text().replace("corrupt = 0.1", "corrupt = 0.0"))
    client_files = str(home / "owners" / "{site}" / "client.toml")
    both = (
        Simulation(home, "simulated_job.py", SITE_FILES=client_files, ROSTER=str(roster)),
        Simulation(tmp_path_factory.mktemp("fedavg"), "fedavg_job.py", "fedavg_client.py"),
    )
    yield both
    for simulation in both:
        simulation.process.kill()
        simulation.process.wait()


@pytest.fixture(scope="session")
def collab_job(simulations: tuple[Simulation, Simulation]) -> Path:
    """What `simulated_job` has left."""
    return simulations[0].finished()


@pytest.fixture(scope="session")
def fedavg_job(simulations: tuple[Simulation, Simulation]) -> Path:
    """What `fedavg_job` has left."""
    return simulations[1].finished()
