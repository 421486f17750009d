"""The sections of a run's configuration: their keys, types, ranges and meanings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from securefed.aggregation import Adversary
from securefed.errors import ConfigError
from securefed.schemes import SCHEMES

__all__ = [
    "Aggregation",
    "Arm",
    "Data",
    "Evaluation",
    "Method",
    "Model",
    "Pretraining",
    "Privacy",
    "Section",
    "Training",
]

Arm = Literal["public", "local", "plain", "masks", "encrypted", "central"]
"""A way to train: the public model as it is, each client alone, federated in the clear, under masks or encrypted, and
all data in one place."""

Stage = Literal["none", "advertise", "share", "keys", "input", "consent", "release", "open"]
"""An exchange of any scheme, in the order of a round; or none of them."""


def _as_tuple(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value  # TOML has lists; a frozen object holds tuples


def _each_once(value: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(value)) != len(value):
        raise ValueError("an entry is given twice")
    return value


_UNIQUE = Field(json_schema_extra={"uniqueItems": True})
_Word = Annotated[str, Field(min_length=1)]
_Words = Annotated[tuple[_Word, ...], BeforeValidator(_as_tuple), AfterValidator(_each_once), _UNIQUE]
_Layers = Annotated[
    tuple[_Word, ...], Field(min_length=1), BeforeValidator(_as_tuple), AfterValidator(_each_once), _UNIQUE
]
_Arms = Annotated[tuple[Arm, ...], BeforeValidator(_as_tuple), AfterValidator(_each_once), _UNIQUE]
_Rank = Annotated[int, Field(ge=1, le=4096)]
_Ranks = Annotated[tuple[_Rank, ...], BeforeValidator(_as_tuple)]
_Share = Annotated[float, Field(gt=0, lt=1)]
_Rate = Annotated[float, Field(gt=0, le=10)]
_Clients = Annotated[int, Field(ge=0, le=100_000)]
_Thousandths = Annotated[float, Field(ge=0, le=0.499)]
_Round = Annotated[int, Field(ge=1, le=100_000)]
_Batch = Annotated[int, Field(ge=1, le=65_536)]
_Blocks = Annotated[int, Field(ge=1, le=256)]
_Width = Annotated[int, Field(ge=8, le=65_536)]


class Section(BaseModel):
    """Keys that belong together: frozen, strict, nothing unknown."""

    # The text under a field is its description: it reads well here and still reaches keys().
    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


class Data(Section):
    """Whose text is trained on, and how much of it."""

    source: Literal["standard-library", "jsonl"] = "standard-library"
    """Python packages found on this machine, or a file of one JSON object a line"""
    file: str = ""
    """the file, where source is jsonl"""
    client_field: _Word = "client"
    """field of a line that says whose it is"""
    text_field: str = ""
    """field of a line that holds the text; empty: guessed"""
    clients: _Words = ()
    """who takes part; empty: the default eight packages, or all of a file"""
    max_clients: _Clients = 0
    """at most so many clients; 0: no cap"""
    min_characters: Annotated[int, Field(ge=1, le=10**12)] = 2000
    """clients of a file with less text are left out"""
    held_out_share: _Share = 0.25
    """share of each client's text that is only evaluated on, for a file; of a package, 20-35% in whole files"""
    tokens_per_client: Annotated[int, Field(ge=0, le=10**12)] = 20_000
    """training tokens of one client; 0: all"""
    public_share: _Share = 0.35
    """share of the source that is public: tokenizer and pretraining see it"""


class Pretraining(Section):
    """The small model's training on public text, before any client takes part."""

    steps: Annotated[int, Field(ge=1, le=10_000_000)] = 350
    """optimiser steps"""
    batch: _Batch = 32
    """sequences a step"""
    learning_rate: _Rate = 3e-3
    """AdamW's"""


class Model(Section):
    """The model that everybody starts from."""

    base: str = ""
    """directory or hub id; empty: pretrain a small one on the public share"""
    architecture: Literal["llama"] = "llama"
    """family of the small one"""
    vocabulary: Annotated[int, Field(ge=258, le=262_144)] = 1024
    """tokens that its tokenizer knows"""
    hidden: _Width = 128
    """its width"""
    layers: _Blocks = 3
    """its transformer blocks"""
    heads: _Blocks = 4
    """its attention heads; they divide hidden into even parts"""
    feed_forward: _Width = 384
    """width inside the feed-forward part of its blocks"""
    context: Annotated[int, Field(ge=8, le=131_072)] = 64
    """tokens of one training sequence, whatever the model"""
    pretraining: Pretraining = Pretraining()


class Method(Section):
    """Which tensors are trained and sent."""

    kind: Literal["lora", "full", "pretrain"] = "lora"
    """adapters, all weights, or all weights from a random start (model.base then gives the shape alone)"""
    rank: _Rank = 16
    """of the adapters"""
    alpha: Annotated[float, Field(gt=0, le=65_536)] = 32.0
    """adapters count alpha / rank"""
    targets: Literal["all-linear"] | _Layers = "all-linear"
    """linear layers that get an adapter, by name"""
    lora_aggregation: Literal["ffa", "alternate", "core", "fedit"] = "ffa"
    """B alone with A fixed, A and B in turns, a core between fixed factors, or A and B averaged apart (biased)"""
    client_ranks: _Ranks = ()
    """rank of each client's adapter, in the clients' order, at most rank; empty: rank for all"""


class Training(Section):
    """The rounds, and what a client does in one."""

    rounds: _Round = 8
    """federated rounds"""
    local_steps: Annotated[int, Field(ge=1, le=1_000_000)] = 15
    """optimiser steps of one client in one round"""
    batch: _Batch = 8
    """sequences a step"""
    learning_rate: _Rate = 6e-3
    """AdamW's, in the first round"""
    schedule: Literal["cosine", "constant"] = "cosine"
    """of the learning rate, over the rounds"""
    server_learning_rate: _Rate = 2.0
    """factor on the mean update"""
    weighting: Literal["uniform", "examples"] = "uniform"
    """what one client counts in the mean"""
    clients_per_round: _Clients = 0
    """clients asked in one round; 0: all"""


class Aggregation(Section):
    """How updates become their sum, and who is lost on purpose."""

    scheme: Literal["masks", "bfv", "bfv-2048", "ckks", "ckks-compact", "plain", "float"] = "masks"
    """integers under pairwise masks, encrypted (bfv, ckks), or in the clear; or floats in the clear"""
    bits: Annotated[int, Field(ge=2, le=32)] = 16
    """of one quantised number"""
    clip: Literal["auto"] | Annotated[float, Field(gt=0)] = "auto"
    """greatest magnitude of one number of an update"""
    server: Literal["malicious", "semi-honest"] = "malicious"
    """what updates are protected from: one that lies, or one that follows the protocol and looks"""
    corrupt: _Thousandths = 0.25
    """share of a cohort that is corrupt with the server, in thousandths; at least one client. bfv and ckks need 0"""
    dropouts: _Thousandths = 0.25
    """share of a cohort that may be lost in a round, in thousandths"""
    lose_stage: Stage = "none"
    """stage of the scheme in which one client is lost on purpose: in keys and open of bfv and ckks the key holder"""
    lose_round: _Round = 3
    """round in which it is lost, counted from 1"""

    @property
    def adversary(self) -> Adversary:
        """Whom the rounds are protected against, with σ and η as they are by default.

        Raises:
            ConfigError: a share that is not in thousandths.
        """
        try:
            return Adversary(self.server, self.corrupt, self.dropouts)
        except ConfigError as error:
            raise ConfigError(error.key.replace("adversary", "aggregation"), f"got {error.detail}") from None

    def check_scheme(self) -> None:
        """Refuse what the scheme has not, or does not stand.

        Raises:
            ConfigError: `aggregation.corrupt` or `aggregation.lose_stage`.
        """
        scheme = SCHEMES[self.scheme]
        if scheme.shares_a_key and self.corrupt:
            raise ConfigError(
                "aggregation.corrupt",
                f'got {self.corrupt:g}; all clients of a "{self.scheme}" round share its key, so one that works with '
                "the server opens every update: set it to 0 where no client does, or take aggregation.scheme masks, "
                "which stands such clients",
            )
        if self.lose_stage not in ("none", *scheme.stages):
            has = f'the scheme "{self.scheme}" has {", ".join(scheme.stages)}'
            raise ConfigError("aggregation.lose_stage", f'got "{self.lose_stage}"; {has}')
        if self.lose_stage == "consent" and self.server != "malicious":
            raise ConfigError("aggregation.lose_stage", 'got "consent"; only a "malicious" server has that stage')


class Privacy(Section):
    """Differential privacy: of whom, how much, and how it is made."""

    kind: Literal["none", "example", "client", "distributed"] = "none"
    """of nobody; of each training sequence, made by its client; of each client, by the server; or by all clients"""
    epsilon: Annotated[float, Field(gt=0, le=1000)] = 8.0
    """of the whole run, with delta"""
    delta: Annotated[float, Field(gt=0, lt=1)] = 1e-5
    """probability that epsilon does not hold: far below one over the number of those protected"""
    clip: Literal["auto", "layerwise", "adaptive", "flat"] = "auto"
    """bounds layer by layer, the same with private quantiles, or one for all; auto: layerwise of examples, else flat"""
    bound: Literal["auto"] | Annotated[float, Field(gt=0)] = "auto"
    """L2 norm at which a sequence's gradient or a client's update is clipped; auto: 1, or as far as the steps walk"""
    mechanism: Literal["auto", "gaussian", "matrix", "skellam", "discrete-gaussian"] = "auto"
    """noise: gaussian or matrix on a server, skellam or discrete-gaussian from clients; auto: the first that fits"""

    MECHANISMS: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "none": ("auto",),
        "example": ("gaussian",),
        "client": ("gaussian", "matrix"),
        "distributed": ("skellam", "discrete-gaussian"),
    }

    @property
    def noise(self) -> str:
        """The mechanism, chosen."""
        return self.MECHANISMS[self.kind][0] if self.mechanism == "auto" else self.mechanism

    @property
    def clipping(self) -> str:
        """How the bound is spread over the layers, chosen."""
        return {"example": "layerwise"}.get(self.kind, "flat") if self.clip == "auto" else self.clip

    def check(self) -> None:
        """Refuse what does not go together.

        Raises:
            ConfigError: `privacy.kind`, `privacy.mechanism` or `privacy.clip`.
        """
        if self.kind == "none":
            if self != Privacy():
                kinds = ", ".join(kind for kind in self.MECHANISMS if kind != "none")
                raise ConfigError("privacy.kind", f'got "none" beside other keys of [privacy]: say of whom, {kinds}')
            return
        allowed = self.MECHANISMS[self.kind]
        if self.noise not in allowed:
            raise ConfigError(
                "privacy.mechanism",
                f'got "{self.mechanism}"; with privacy.kind "{self.kind}" allowed is {" or ".join(allowed)}, or auto',
            )
        if self.clipping == "adaptive" and (self.kind == "distributed" or self.noise == "matrix"):
            raise ConfigError(
                "privacy.clip",
                'got "adaptive"; bounds follow private quantiles where the same party adds fresh noise in every round: '
                "allowed with this mechanism is layerwise or flat",
            )


class Evaluation(Section):
    """What the result is compared with, on text that was held out."""

    arms: _Arms = ("public", "local", "plain", "masks", "central")
    """the public model, each client alone, federated in the clear, all data in one place; always the run's own"""
    every_round: bool = True
    """after each round, not only at the end"""
    max_tokens_per_client: Annotated[int, Field(ge=2, le=10**12)] = 4096
    """held-out tokens of one client that are evaluated"""
    local_learning_rate: _Rate = 1e-3
    """of a client that trains alone"""
    central_learning_rate: _Rate = 3e-3
    """of training on all data in one place"""
