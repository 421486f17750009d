"""A job over bytes in one process: every message meets a new `Participant`, as if each client's process had ended."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest

from securefed.aggregation import Adversary, Credentials, Policy, Update
from securefed.deployment import Coordinator, FolderState, JobTerms, Participant, RoundReport
from securefed.deployment.client_state import ClientState
from securefed.encoding.layout import Layout, TensorSpec
from securefed.errors import SecurefedError
from securefed.schemes import SCHEMES
from tests.rounds import identities, seed, signing_key
from tests.tenseal import needs_tenseal

COHORT = (2, 3, 5, 8)
LAYOUT = Layout((TensorSpec("lora_A", (2, 3)), TensorSpec("lora_B", (4,), "float64")), ("loss",))
START = 1000
SEMI_HONEST, MALICIOUS = (Adversary(server, 0.25, 0.25) for server in ("semi-honest", "malicious"))
KEYED_SEMI_HONEST, KEYED_MALICIOUS = (Adversary(server, 0.0, 0.25) for server in ("semi-honest", "malicious"))

INTEGERS = [
    pytest.param("plain", SEMI_HONEST, id="plain"),
    pytest.param("masks", SEMI_HONEST, id="masks-semi-honest"),
    pytest.param("masks", MALICIOUS, id="masks-malicious"),
    pytest.param("bfv", KEYED_SEMI_HONEST, id="bfv-semi-honest"),
    pytest.param("bfv", KEYED_MALICIOUS, id="bfv-malicious"),
]
"""Schemes that sum the same integers."""
ALL = [*INTEGERS, pytest.param("ckks-compact", KEYED_MALICIOUS, id="ckks", marks=needs_tenseal)]
MASKS = [one for one in INTEGERS if one.id is not None and one.id.startswith("masks")]

Answer = bytes | SecurefedError
Requests = Mapping[int, tuple[JobTerms, bytes]]


class Killed(BaseException):
    """A process ends here."""


def model_of(round_: int) -> bytes:
    return seed(f"model {round_}")


def update_of(client: int, model: bytes) -> Update:
    rng = np.random.default_rng([client, *model[:4]])
    tensors = {t.name: rng.normal(0, 0.3, t.shape).astype(t.dtype) for t in LAYOUT.tensors}
    return Update(tensors, model, client, {"loss": float(client)})


def mean_of(clients: tuple[int, ...], model: bytes) -> dict[str, np.ndarray]:
    """The weighted mean in floating point, to within the step of the encoding."""
    updates = [update_of(client, model) for client in clients]
    weight = sum(update.weight for update in updates)
    return {
        t.name: sum(u.weight * np.clip(np.float64(u.tensors[t.name]), -1, 1) for u in updates) / weight
        for t in LAYOUT.tensors
    }


class Job:
    """Clients with folders of their own, and a server's folder."""

    def __init__(self, folder: Path, scheme: str = "masks", adversary: Adversary = MALICIOUS) -> None:
        self.folder, self.scheme, self.adversary = folder, scheme, adversary
        weakest = Adversary(adversary.server, 0.0, 0.0, security=1)
        self.policy = Policy(frozenset({scheme}), weakest, least_cohort=1, least_sum=1)
        self.trained: list[int] = []
        self.stages: list[str] = []
        self.model = model_of(1)
        for client in COHORT:
            # Fixed, so that two jobs round alike.
            FolderState(self.client_folder(client))
            (self.client_folder(client) / "rounding.key").write_bytes(seed(f"rounding {client}"))

    def client_folder(self, client: int) -> Path:
        return self.folder / f"client {client}"

    def participant(self, client: int, state: ClientState | None = None, **changes: object) -> Participant:
        """A new process of a client."""
        credentials = Credentials(signing_key(client), identities(COHORT))
        state = state or FolderState(self.client_folder(client))
        return Participant(state, self.policy, client=client, credentials=credentials, **changes)  # type: ignore[arg-type]

    def coordinator(self, *, folder: Path | None = None) -> Coordinator:
        """A new process of the server, on the job's folder."""
        return Coordinator(
            self.scheme, self.adversary, bits=16, clip=1.0, greatest_weight=8, identities=identities(COHORT),
            folder=folder or self.folder / "server", clock=lambda: START,
        )  # fmt: skip

    def update(self, client: int) -> Callable[[], Update]:
        def train() -> Update:
            self.trained.append(client)
            return update_of(client, self.model)

        return train

    def ask(self, client: int, terms: JobTerms, request: bytes) -> Answer:
        """The client's answer or its error, over the terms' text."""
        try:
            return self.participant(client).answer(JobTerms.from_json(terms.to_json()), request, self.update(client))
        except SecurefedError as error:
            return error

    def exchange(self, stage: str, requests: Requests) -> Iterator[tuple[int, Answer]]:
        self.stages.append(stage)
        for client, (terms, request) in requests.items():
            yield client, self.ask(client, terms, request)

    def without(self, lost: Mapping[int, str]) -> Callable[[str, Requests], Iterator[tuple[int, Answer]]]:
        """An exchange in which these clients do not answer from a stage of this round on."""
        gone: set[int] = set()

        def exchange(stage: str, requests: Requests) -> Iterator[tuple[int, Answer]]:
            gone.update(client for client, at in lost.items() if at == stage)
            yield from self.exchange(stage, {c: r for c, r in requests.items() if c not in gone})

        return exchange

    def run(self, coordinator: Coordinator, round_: int = 1, exchange: object = None, **more: bool) -> RoundReport:
        """A round over all clients; the model's digest is a function of its number."""
        self.model = model_of(round_)
        return coordinator.run(COHORT, LAYOUT, self.model, exchange or self.exchange, **more)  # type: ignore[arg-type]


def stages_of(scheme: str, adversary: Adversary) -> tuple[str, ...]:
    """Of a round without any set-up before it."""
    stages = SCHEMES[scheme].stages
    return tuple(stage for stage in stages if adversary.malicious or stage != "consent")


def check_mean(report: RoundReport, model: bytes, clients: tuple[int, ...] = COHORT) -> None:
    """The aggregate is the mean of these clients' updates, up to one step of rounding."""
    assert report.aggregate.survivors == clients
    assert report.aggregate.weight == sum(clients)
    for name, wanted in mean_of(clients, model).items():
        np.testing.assert_allclose(report.aggregate.tensors[name], wanted, atol=2e-4)


def words_of(report: RoundReport) -> list[int]:
    assert report.aggregate.words is not None
    return report.aggregate.words.tolist()
