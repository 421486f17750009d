"""A job's differential privacy: from its configuration to noise, ledgers and the release of every round."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Final

from securefed import dp
from securefed.aggregation import ClientId
from securefed.crypto.kdf import KEY_BYTES
from securefed.dp.accounting import Ledger, Unit, noise_multiplier
from securefed.dp.central.adaptive import AdaptiveClip
from securefed.dp.central.buffered import Buffered
from securefed.dp.central.central_noise import CentralNoise
from securefed.dp.central.groups import Groups
from securefed.dp.central.matrix_mechanism import MatrixMechanism
from securefed.dp.central.participation import Schema
from securefed.dp.central.strategies import strategy_from_json
from securefed.dp.central.strategy import Strategy
from securefed.dp.central.update_clip import UpdateClip
from securefed.dp.clipping.modes import COUNTS_SHARE
from securefed.dp.distributed import Mechanism, Parameters
from securefed.dp.noise import Source
from securefed.errors import ConfigError
from securefed.federated.central_release import CentralRelease, MatrixNoised, NoisedMean, RoundByRound
from securefed.federated.distributed_release import DistributedRelease
from securefed.federated.files import replace
from securefed.federated.ledgers import Ledgers
from securefed.federated.release import AsTrained, Release
from securefed.federated.training import FloatArray
from securefed.jobs.configuration import Configuration
from securefed.jobs.derived import adversary_of, clip_of, cohort_of
from securefed.jobs.material import Material
from securefed.llm.private_training import LocalPrivacy
from securefed.schemes import SCHEMES

__all__ = ["PLANNED", "RELEASED", "Plan", "file_name", "in_the_clear", "plan_of", "update_bound"]

PLANNED: Final = "clients"
"""Name of the ledger of what clients spend before they send, where they make the noise themselves."""
RELEASED: Final = "released"
"""Name of the ledger of what was released, where one noise covers all clients."""
_BUFFERS: Final = 3
_DROWNS: Final = 0.25


@dataclass(frozen=True)
class Plan:
    """How the protected arm of a job is made private.

    Attributes:
        release: of its rounds.
        ledgers: of everything that is spent.
        local: by client, what its own training is noised with; empty where updates are noised, or nothing is.
        noise_multiplier: z, the greatest and the least over clients; of the noise of one release.
        mechanism: of updates of so many values, where clients make the noise.
        noise_over_update: length of the noise in a round's mean over that of a clipped update; 0 where they get none.
    """

    release: Release
    ledgers: Ledgers = field(default_factory=Ledgers)
    local: Mapping[ClientId, LocalPrivacy] = field(default_factory=dict)
    noise_multiplier: tuple[float, float] = (0.0, 0.0)
    mechanism: Callable[[int], Mechanism] | None = None
    noise_over_update: float = 0.0

    @property
    def drowned(self) -> bool:
        """Whether little of what clients learn can be left: their mean is shorter than one update's bound."""
        return self.noise_over_update > _DROWNS

    @property
    def warning(self) -> str:
        """What to expect where the noise drowns the updates; else empty."""
        if not self.drowned:
            return ""
        return (
            f"the noise in each round's mean is {self.noise_over_update:.2g} times as long as a clipped update: the "
            "model will probably get worse. It falls with the number of clients; take more of them, fewer trained "
            'values (method.rank, lora_aggregation "core"), or privacy.kind "example"'
        )


def plan_of(config: Configuration, material: Material, folder: Path) -> Plan:
    """The plan of the run's own arm.

    Args:
        config: of the run.
        material: what it works on.
        folder: of the arm's state; ledgers are kept there.

    Raises:
        ConfigError: the budget cannot be kept with these numbers, or a library is missing.
        PersistenceError: a ledger is damaged, or of other terms.
    """
    match config.privacy.kind:
        case "example":
            return _of_examples(config, material, folder)
        case "client":
            return _of_clients(config, material, folder)
        case "distributed":
            return _distributed(config, material, folder)
    return in_the_clear(config)


def in_the_clear(config: Configuration) -> Plan:
    """No differential privacy: updates as they are, protected by their scheme alone."""
    training = config.training
    weight = 1 if training.weighting == "uniform" else training.local_steps * training.batch
    return Plan(AsTrained(config.aggregation.bits, clip_of(config), weight))


def update_bound(config: Configuration, values: int) -> float:
    """L2 bound of a client's update of so many values.

    For "auto", learning rate × √(steps × values): as far as a random walk of AdamW's steps goes, of which each moves a
    value by about the learning rate. It depends on nobody's data.
    """
    bound, training = config.privacy.bound, config.training
    return training.learning_rate * math.sqrt(training.local_steps * values) if bound == "auto" else bound


def _of_examples(config: Configuration, material: Material, folder: Path) -> Plan:
    privacy, training = config.privacy, config.training
    total = 1.0 if privacy.bound == "auto" else privacy.bound
    adaptive = privacy.clipping == "adaptive"
    clip = (
        dp.Flat(total) if privacy.clipping == "flat" else dp.Layerwise(total, adapt=dp.Quantile() if adaptive else None)
    )
    unit, local, ledgers = Unit("sequence"), {}, {}
    for client, blocks in zip(material.cohort.by_id, material.clients, strict=True):
        examples = blocks.train.examples
        sampler = dp.Poisson(examples, min(1.0, training.batch / examples))
        noise = noise_multiplier(
            privacy.epsilon, privacy.delta, sampling=sampler, steps=training.rounds * training.local_steps
        )
        if adaptive:  # the counts for the quantiles take so much of each step's budget
            noise *= math.sqrt(1 + COUNTS_SHARE) * (1 + 1e-9)
        ledger = _ledger(folder, blocks.name, unit, config)
        ledgers[blocks.name] = ledger
        local[client] = LocalPrivacy(clip, noise, sampler, ledger)
    multipliers = [one.noise_multiplier for one in local.values()]
    release = AsTrained(config.aggregation.bits, clip_of(config), metrics=("clipped_share",))
    return Plan(release, Ledgers(ledgers), local, (max(multipliers), min(multipliers)))


def _of_clients(config: Configuration, material: Material, folder: Path) -> Plan:
    privacy, training = config.privacy, config.training
    cohort = cohort_of(config, len(material.clients))
    ledger = _ledger(folder, RELEASED, Unit("client"), config)
    matrix = privacy.noise == "matrix"
    noise = noise_multiplier(privacy.epsilon, privacy.delta, steps=1 if matrix else training.rounds)

    def clip(tensors: Mapping[str, FloatArray]) -> UpdateClip | AdaptiveClip:
        bound = update_bound(config, sum(tensor.size for tensor in tensors.values()))
        groups = _groups(config, tensors)
        fixed = UpdateClip(groups, bound)
        return AdaptiveClip(groups, fixed.bounds, noise, cohort) if privacy.clipping == "adaptive" else fixed

    mean: NoisedMean
    if matrix:
        if config.method.kind == "lora" and config.method.lora_aggregation == "alternate":
            raise ConfigError(
                "privacy.mechanism",
                'got "matrix"; lora_aggregation "alternate" sends other tensors in every other round, whose noise '
                "cannot be correlated: use gaussian, or another lora_aggregation",
            )
        strategy = _fitted(folder / "strategy.json", Schema(training.rounds, 1))
        state, key = folder / "noise.bin", folder / "noise.key"

        def make(size: int, sensitivity: float) -> MatrixMechanism:
            return MatrixMechanism(
                strategy, size, noise_multiplier=noise, bound=sensitivity, cohort=cohort, key=_kept_key(key),
                ledger=ledger, persist=lambda content: replace(state, content),
                state=state.read_bytes() if state.exists() else None,
            )  # fmt: skip

        mean = MatrixNoised(make)
    else:
        mean = RoundByRound(CentralNoise(noise, cohort, Source.fresh()), ledger)
    release = CentralRelease(config.aggregation.bits, clip, cohort, mean)
    over = noise * math.sqrt(_values(material)) / cohort
    return Plan(release, Ledgers({RELEASED: ledger}), noise_multiplier=(noise, noise), noise_over_update=over)


def _distributed(config: Configuration, material: Material, folder: Path) -> Plan:
    privacy, training = config.privacy, config.training
    cohort, adversary = cohort_of(config, len(material.clients)), adversary_of(config)
    corrupt, scheme = adversary.corrupt_clients(cohort), SCHEMES[config.aggregation.scheme]
    honest = scheme.least_honest(cohort, adversary)

    @cache
    def mechanism(values: int) -> Mechanism:
        parameters = Parameters.for_budget(
            privacy.epsilon, privacy.delta, rounds=training.rounds, clients=cohort, least_honest=honest,
            corrupt=corrupt, dimension=values, clip=update_bound(config, values), kind=privacy.noise,
        )  # fmt: skip
        scheme.check_here(parameters.numbers)
        return Mechanism(parameters)

    planned, released = (_ledger(folder, name, Unit("client"), config) for name in (PLANNED, RELEASED))
    release = DistributedRelease(
        mechanism, lambda tensors: _groups(config, tensors), planned, released,
        least_honest=scheme.least_honest, parted=scheme.parts_sums(cohort, adversary),
    )  # fmt: skip
    first = mechanism(values := _values(material))
    over = first.expected_error * math.sqrt(values) / first.parameters.clip
    ledgers = Ledgers({PLANNED: planned, RELEASED: released})
    return Plan(release, ledgers, mechanism=mechanism, noise_over_update=over)


def _values(material: Material) -> int:
    """How many the first round trains."""
    return sum(material.weights[name].size for name in material.update_plan.tensors(material.weights, 1))


def _groups(config: Configuration, tensors: Mapping[str, FloatArray]) -> Groups:
    return Groups.flat(tensors) if config.privacy.clipping == "flat" else Groups.each_layer(tensors)


def _ledger(folder: Path, name: str, unit: Unit, config: Configuration) -> Ledger:
    """In a file of its own."""
    place = folder / "ledgers"
    place.mkdir(parents=True, exist_ok=True)
    return Ledger(unit, config.privacy.delta, config.privacy.epsilon, place / f"{file_name(name)}.jsonl")


def file_name(name: str) -> str:
    """Of a client's ledger or certificate."""
    return name if name.replace("-", "").replace("_", "").isalnum() and name.isascii() else name.encode().hex()


def _fitted(path: Path, schema: Schema) -> Strategy:
    """Fitted once: another machine's optimiser would end some bits away, and the noise's state is for one strategy."""
    if not path.exists():
        replace(path, json.dumps(Buffered.optimised(schema, _BUFFERS).to_json()).encode())
    return strategy_from_json(json.loads(path.read_bytes()))


def _kept_key(path: Path) -> bytes:
    """The secret of a run's correlated noise: on the disk before it is used, and for this user's eyes alone."""
    if not path.exists():
        beside = path.with_suffix(".new")
        beside.unlink(missing_ok=True)
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(os.urandom(KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    return path.read_bytes()
