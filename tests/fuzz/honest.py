"""Honest rounds, and their parties as they stood when each stage opened: what a state machine is fuzzed from."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, is_dataclass
from enum import Enum
from functools import cache, cached_property
from typing import Any, Final, TypeVar

import numpy as np

from securefed.aggregation import Adversary, ClientIdentity, RoundSpec, Update
from securefed.crypto.kdf import Label, derive
from securefed.crypto.signing import SIGNATURE_BYTES
from securefed.participation import MemoryRecord
from securefed.secagg.client import MaskingClient
from securefed.secagg.keys import ClientSecrets, advertised
from securefed.secagg.parameters import Parameters
from securefed.secagg.server import MaskingServer
from securefed.secagg.stages import Stage
from securefed.wire.from_client import Entry, entry_bytes
from securefed.wire.header import MessageType
from securefed.wire.specification import NAMED_LATER
from tests.fuzz.messages import Shape
from tests.rounds import MALICIOUS, SEMI_HONEST, Round, identities, seed, signing_key, spec_of, update_of

__all__ = ["ROUNDS", "Played", "played", "same", "twin"]

ROUNDS: Final = {
    "malicious": {"adversary": MALICIOUS},
    "semi-honest": {"adversary": SEMI_HONEST},
    "prepared": {"adversary": MALICIOUS, "model": NAMED_LATER},
    "sparse": {
        "adversary": Adversary("malicious", 0.04, 0.1, security=2, correctness=2), "cohort": tuple(range(3, 27)),
    },
    "sparse-semi-honest": {
        "adversary": Adversary("semi-honest", 0.02, 0.05, security=1, correctness=1), "cohort": tuple(range(3, 39)),
    },
}  # fmt: skip
"""What is not as in `tests.rounds.spec_of`; all of one session fixed by their nonce."""

Party = TypeVar("Party")


def twin(party: Party) -> Party:
    """A copy that may change alone; far cheaper than to play a round up to it again."""
    other = copy.copy(party)
    for name, value in vars(party).items():
        setattr(other, name, _twin(value))
    return other


def _twin(value: Any) -> Any:
    match value:
        case dict():
            return {key: dict(item) if isinstance(item, dict) else item for key, item in value.items()}
        case set() | list():
            return copy.copy(value)
        case np.ndarray():
            return value.copy()
        case _:
            return twin(value) if _changes(type(value)) else value


@cache
def _changes(kind: type) -> bool:
    """Whether it is one of securefed's own that holds a state: not a frozen dataclass, a name, or a key."""
    frozen = is_dataclass(kind) and kind.__dataclass_params__.frozen
    return kind.__module__.startswith("securefed.") and not (frozen or issubclass(kind, Enum)) and _has_fields(kind)


def _has_fields(kind: type) -> bool:
    return not any("__slots__" in vars(base) for base in kind.__mro__[:-1])


def same(one: Any, other: Any) -> bool:
    """Whether two twins still hold the same."""
    if one is other:
        return True
    if isinstance(one, np.ndarray):
        return np.array_equal(one, other)
    if _changes(type(one)):
        return all(same(value, getattr(other, name)) for name, value in vars(one).items())
    return bool(one == other)


@dataclass(frozen=True, eq=False)
class Played:
    """An honest round in which one client drops out before its input.

    Attributes:
        victim: the client that is lied to.
        stages: of this round, in order; `DONE` last.
        servers, clients: the parties (of the clients the victim) as each stage opened.
        records: what the victim's record held then.
        requests: to the victim, by stage.
        replies: by stage and client.
        attesting: whose attestations the victim is shown.
        secrets: 32-byte secrets of the victim that no error and no closed session may hold.
    """

    spec: RoundSpec
    victim: int
    identity: ClientIdentity
    stages: tuple[Stage, ...]
    servers: dict[Stage, MaskingServer] = field(repr=False)
    clients: dict[Stage, MaskingClient] = field(repr=False)
    records: dict[Stage, dict[str, Any]] = field(repr=False)
    requests: dict[Stage, bytes] = field(repr=False)
    replies: dict[Stage, dict[int, bytes]] = field(repr=False)
    attesting: tuple[int, ...]
    secrets: tuple[bytes, ...] = field(repr=False)
    update: Update = field(repr=False)

    def client(self, stage: Stage, remembers: Stage) -> MaskingClient:
        """The victim as a stage opened, with its record as another one did: a later one where the client was rolled
        back and its record was not."""
        record = self.identity.record
        assert isinstance(record, MemoryRecord)
        vars(record).update({name: copy.copy(value) for name, value in self.records[remembers].items()})
        return twin(self.clients[stage])

    def shape(self, kind: MessageType, sender: int) -> Shape:
        """How a message from this sender lies in its bytes; to the victim, if from the server."""
        tail = SIGNATURE_BYTES * len(self.attesting) if kind is MessageType.AGREEMENT else 0
        return Shape(kind, self.spec, sender, tail, self._sign)

    def _sign(self, kind: MessageType, sender: int, body: bytes) -> bytes:
        """All entries of a body signed by the identity keys of their owners: what corrupt clients help with."""
        size = entry_bytes(True)
        if not self.spec.adversary.malicious:
            return body
        if kind is MessageType.ADVERTISEMENT:
            return self._signed(sender, body)
        if kind is not MessageType.ROSTER:
            return body
        count = len(body) // (size + 4)
        ids = [int.from_bytes(body[4 * at : 4 * at + 4], "big") for at in range(count)]
        entries = [body[4 * count + at * size : 4 * count + (at + 1) * size] for at in range(count)]
        return body[: 4 * count] + b"".join(self._signed(*pair) for pair in zip(ids, entries, strict=True))

    def _signed(self, client: int, entry: bytes) -> bytes:
        if client not in self.spec.cohort or entry in self._good_entries or len(entry) != entry_bytes(True):
            return entry
        parsed = Entry.parse(entry)
        signature = signing_key(client).sign(advertised(parsed, self.spec.session, client))
        return parsed.signed() + signature

    @cached_property
    def identities(self) -> dict[int, bytes]:
        """The identity roster."""
        return identities(self.spec.cohort)

    @cached_property
    def _good_entries(self) -> frozenset[bytes]:
        return frozenset(reply[64:] for reply in self.replies[Stage.ADVERTISE].values())


@cache
def played(name: str) -> Played:
    """The round of this name."""
    round_ = Round(spec_of(**ROUNDS[name]))
    spec = round_.spec
    victim, lost = spec.cohort[1], spec.cohort[-2]
    assert Parameters.of(len(spec.cohort), spec.adversary).complete is not name.startswith("sparse")
    client = round_.clients[victim]
    identity: ClientIdentity = client._identity
    servers, clients, records, requests = {}, {}, {}, {}
    gone: tuple[int, ...] = ()
    while True:
        stage = round_.server.stage
        servers[stage], clients[stage] = twin(round_.server), twin(client)
        records[stage] = {key: copy.copy(value) for key, value in vars(identity.record).items()}
        if stage is Stage.DONE:
            break
        requests[stage] = round_.server.requests()[victim]
        gone = (lost,) if stage is Stage.INPUT else gone
        round_.play(gone)
    assert round_.server.aggregate is not None
    own = ClientSecrets(seed(f"round secret {victim}"), spec.session)
    told = next(stage for stage in servers if stage in (Stage.CONSENT, Stage.RELEASE))
    held = clients[told]._stage.held
    survived = servers[told]._survivors
    secrets = (
        seed(f"round secret {victim}"), seed(f"rounding {victim}"), seed(f"identity {victim}"),
        own.self_mask_seed, own.sample_key,
        derive(seed(f"round secret {victim}"), Label.MASK_KEY, spec.session),
        derive(seed(f"round secret {victim}"), Label.CHANNEL_KEY, spec.session),
        *(pair[at : at + 33] for pair in held.shares.values() for at in (0, 33)),
    )  # fmt: skip
    replies = {stage: dict(answers) for stage, answers in round_.replies.items() if answers}
    return Played(
        spec, victim, identity, tuple(servers), servers, clients, records, requests, replies,
        held.attesting(survived), secrets, update_of(victim),
    )  # fmt: skip
