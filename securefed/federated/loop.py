"""The federated loop: rounds of local training, aggregation and server steps over named tensors of any kind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from securefed.aggregation import (
    Adversary,
    Aggregate,
    ClientId,
    ClientIdentity,
    Credentials,
    MemoryRecord,
    Policy,
    Scheme,
    SigningKey,
    Update,
    new_round,
)  # fmt: skip
from securefed.crypto.hashing import digest_in_domain
from securefed.encoding.layout import Layout
from securefed.errors import ConfigError, RoundAborted
from securefed.federated.checkpoint import Checkpoint
from securefed.federated.cohort import Cohort, Loss
from securefed.federated.journal import Journal
from securefed.federated.ledgers import Ledgers
from securefed.federated.model_digest import model_digest
from securefed.federated.release import Release
from securefed.federated.rounds import InProcess, RoundCost, run_round
from securefed.federated.server_optimizer import FedAvg
from securefed.federated.training import FloatArray, LocalTrainer
from securefed.federated.update_plan import AllTensors, UpdatePlan

__all__ = [
    "AbortedAttempt", "FederatedLoop", "Observer", "RoundResult", "Settings", "model_digest",
    "simulated_rounding_key",
]  # fmt: skip


@dataclass(frozen=True)
class Settings:
    """What a job's rounds have in common.

    Attributes:
        seed: of the choice of cohorts and of the simulated clients' rounding.
        job: digest of the configuration; part of the model digest that every key is bound to.
        rounds: number of rounds.
        clients_per_round: cohort size, 0 for all.
        adversary: whom each round is protected against.
        optimizer: the server's.
        losses: clients that are lost on purpose, in the first attempt at their round.
        attempts: at one round, ≥ 1: one that aborts because clients were lost is begun anew, under new keys and with
            the whole cohort.
    """

    seed: int
    job: str
    rounds: int
    adversary: Adversary
    clients_per_round: int = 0
    optimizer: FedAvg = field(default_factory=FedAvg)
    losses: tuple[Loss, ...] = ()
    attempts: int = 1


@dataclass(frozen=True)
class RoundResult:
    """A finished round.

    Attributes:
        number: counted from 1.
        session: digest of the round's specification.
        weights: the new global ones.
        aggregate: what the server learnt.
        cost: what it took.
    """

    number: int
    session: bytes
    weights: Mapping[str, FloatArray]
    aggregate: Aggregate
    cost: RoundCost


@dataclass(frozen=True)
class AbortedAttempt:
    """An attempt at a round that gave nothing.

    Attributes:
        number: of the round.
        error: where it ended, and why.
        cost: what it took.
        again: whether another attempt follows.
    """

    number: int
    error: RoundAborted
    cost: RoundCost
    again: bool


class Observer(Protocol):
    """Who watches a job: progress bars, logs, evaluations."""

    def stage(self, round_number: int, stage: str, clients: int) -> None:
        """A stage begins, with so many clients asked."""

    def trained(self, round_number: int, client: ClientId) -> None:
        """A client has trained. Nothing of its result is told here: the simulator protects it as a network would."""

    def aborted(self, attempt: AbortedAttempt) -> None:
        """An attempt at a round ended without an aggregate."""

    def round(self, result: RoundResult) -> None:
        """A round is over, its checkpoint about to be written.

        After a crash in here the round is run again, with the same result: what this writes may come twice.
        """


def simulated_rounding_key(seed: int, name: str) -> bytes:
    """The rounding key of a simulated client, so that a configuration gives the same model every time.

    A deployed client draws it from the operating system. It hides nothing: it decides which way a value is rounded.
    """
    return digest_in_domain("simulated-rounding-key", f"{seed}\0{name}".encode())


class FederatedLoop:
    """Rounds over clients in this process.

    Args:
        settings: of the job.
        cohort: names and ids.
        trainers: by client id; may share one model, only one trains at a time.
        scheme: how updates become their mean.
        release: what of an update leaves its client, and what is learnt from the sum.
        weights: the global model's tensors before the first round: all that any round trains, and what they stand on.
        folder: for checkpoint and journal; None keeps nothing (a round cannot be taken up again then).
        update_plan: which of the tensors each round trains and sends.
        ledgers: of all privacy that trainers and release spend; their heads are part of every checkpoint.
    """

    def __init__(
        self,
        settings: Settings,
        cohort: Cohort,
        trainers: Mapping[ClientId, LocalTrainer],
        scheme: Scheme,
        release: Release,
        weights: Mapping[str, FloatArray],
        folder: Path | None = None,
        update_plan: UpdatePlan | None = None,
        ledgers: Ledgers | None = None,
    ) -> None:
        self._settings = settings
        self._cohort = cohort
        self._trainers = trainers
        self._scheme = scheme
        self._release = release
        self._ledgers = ledgers if ledgers is not None else Ledgers()
        self._folder = folder
        self._journal = Journal(folder / "sessions.jsonl") if folder else None
        self._update_plan = update_plan if update_plan is not None else AllTensors()
        # Simulated clients take part in whatever the job's configuration says: it is their user's own.
        policy = Policy(frozenset({scheme.name}), settings.adversary, least_cohort=1, least_sum=1)
        keys = {client: SigningKey() for client in cohort.by_id}
        self._public_keys = {client: key.public for client, key in keys.items()}
        self.weights: dict[str, FloatArray] = dict(weights)
        layout = self._layout(1)
        self._identities = {
            client: ClientIdentity(
                client, layout, policy, simulated_rounding_key(settings.seed, name),
                Credentials(keys[client], self._public_keys),
            )
            for client, name in cohort.by_id.items()
        }  # fmt: skip
        self.finished = 0

    def resume(self) -> bool:
        """Take up the folder's checkpoint; False where there is none.

        Raises:
            PersistenceError: P1, P2 or P3; or a ledger has forgotten what the checkpoint's rounds spent.
        """
        path = self._checkpoint_path()
        if path is None or not path.exists():
            return False
        checkpoint = Checkpoint.load(path, self._settings.job)
        if Layout.of(checkpoint.weights).digest != Layout.of(self.weights).digest:
            raise ConfigError("method", f"{path} holds other tensors than this method trains")
        self._ledgers.require(checkpoint.ledgers)
        self._release.restore(checkpoint.release)
        self.weights, self.finished = dict(checkpoint.weights), checkpoint.round
        return True

    def run(self, observer: Observer) -> dict[str, FloatArray]:
        """All rounds that are left; gives the final weights.

        Raises:
            RoundAborted: the last attempt at a round ended without an aggregate; the last checkpoint stands and the
                round can be run again.
            BudgetExceeded: a privacy budget does not allow another round; the last checkpoint stands.
        """
        while self.finished < self._settings.rounds:
            self._round(self.finished + 1, observer)
        return self.weights

    def _round(self, number: int, observer: Observer) -> None:
        losses = self._settings.losses
        for left in reversed(range(self._settings.attempts)):
            cost = RoundCost()
            try:
                self._attempt(number, observer, cost, losses)
            except RoundAborted as error:
                # Who was lost comes back; whose message was refused would send the same again.
                again = left > 0 and bool(cost.lost)
                observer.aborted(AbortedAttempt(number, error, cost, again))
                if not again:
                    raise
                losses = ()
            else:
                return

    def _attempt(self, number: int, observer: Observer, cost: RoundCost, losses: tuple[Loss, ...]) -> None:
        settings, scheme = self._settings, self._scheme
        cohort = self._cohort.choose(number, settings.clients_per_round, settings.seed)
        release = self._release
        digest = model_digest(settings.job, self.weights)
        layout = self._layout(number)
        spec = new_round(
            round_number=number, cohort=cohort, adversary=settings.adversary, model=digest, layout=layout,
            bits=release.bits, clip=release.clip, greatest_weight=release.greatest_weight,
        )  # fmt: skip
        if self._journal is not None:
            self._journal.begin(number, spec.session)
        release.begin(spec)

        def update(client: ClientId) -> Update:
            made = self._update(client, number, digest)
            observer.trained(number, client)
            return made

        transport = InProcess(
            # A round that aborted is run again under its number. The user of simulated clients runs their server too:
            # they keep no record over attempts, as deployed clients do.
            {
                client: scheme.client(replace(self._identities[client], layout=layout, record=MemoryRecord()))
                for client in cohort
            },
            update,
            cost,
            lost={loss.client: loss.stage for loss in losses if loss.round == number},
            stages=scheme.stages,
        )
        server = scheme.server(spec, layout, self._public_keys)
        aggregate = run_round(server, transport, cost, lambda stage, asked: observer.stage(number, stage, asked))
        sent = self._sent(number)
        aggregate = release.opened(aggregate, sent, number)
        self.weights = {**self.weights, **settings.optimizer.step(sent, self._update_plan.mean(aggregate))}
        self.finished = number
        observer.round(RoundResult(number, spec.session, self.weights, aggregate, cost))
        path = self._checkpoint_path()
        if path is not None:
            Checkpoint(settings.job, number, self.weights, self._ledgers.heads(), self._release.state()).save(path)

    def _sent(self, number: int) -> dict[str, FloatArray]:
        """The global tensors that a round trains: the plan may choose others in the next."""
        return {name: self.weights[name] for name in self._update_plan.tensors(self.weights, number)}

    def _layout(self, number: int) -> Layout:
        return self._release.layout(self._sent(number), self._update_plan.metrics)

    def _update(self, client: ClientId, number: int, digest: bytes) -> Update:
        trained = self._trainers[client].train(self.weights, number)
        sent = self._sent(number)
        unequal = trained.weights.keys() ^ sent.keys()
        if unequal:
            raise ConfigError(
                "method", f"round {number} sends other tensors than client {client} trained: {min(unequal)!r}"
            )
        deltas = {name: trained.weights[name] - old for name, old in sent.items()}
        outgoing = self._release.outgoing(deltas, trained, number)
        return Update(outgoing.tensors, digest, outgoing.weight, outgoing.metrics)

    def _checkpoint_path(self) -> Path | None:
        return self._folder / "checkpoint.bin" if self._folder else None
