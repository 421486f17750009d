"""What a client brings into every round and what it demands: identity, policy, record. The server has no say in it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from securefed.crypto.kdf import KEY_BYTES, Label, derive
from securefed.crypto.keystream import Reader
from securefed.crypto.signing import IDENTITY_KEY_BYTES, SigningKey
from securefed.encoding.layout import Layout
from securefed.encoding.vector import Randomness, VectorEncoding
from securefed.errors import LocalProtocolError, RemoteProtocolError
from securefed.wire.adversary import Adversary
from securefed.wire.header import SERVER
from securefed.wire.specification import RoundSpec

__all__ = [
    "INPUT", "ClientId", "ClientIdentity", "Credentials", "MemoryRecord", "Policy", "Record", "check_identities",
]  # fmt: skip

ClientId = int
"""1 … 2^32 − 1, the same for one client over the whole job."""

INPUT: Final = "input"
"""The step of a record that makes its round the last one."""


@dataclass(frozen=True)
class Policy:
    """What a client demands of a round, whatever the server asks for. It belongs to the client alone.

    Attributes:
        schemes: names of schemes that it takes part in.
        adversary: the weakest one that a round must be protected against: what the server does, the share of corrupt
            clients and the bits of security count; dropouts and correctness are the server's affair.
        least_cohort: fewest clients in a cohort.
        least_sum: fewest clients in a sum, corrupt ones included: of a sum over two, each knows the other's part. In a
            sparse graph a malicious server may learn sums over disjoint sets of more than n/4; this is of each of them.
        greatest_clip: largest clip bound; None for any.
        least_bits: fewest bits of a quantised value.
    """

    schemes: frozenset[str] = frozenset({"masks"})
    adversary: Adversary = field(default_factory=Adversary)
    least_cohort: int = 3
    least_sum: int = 3
    greatest_clip: float | None = None
    least_bits: int = 2

    def check(self, scheme: str, spec: RoundSpec) -> None:
        """Refuse a round that asks for less.

        Raises:
            RemoteProtocolError: O1, with the server as peer.
        """
        n = len(spec.cohort)
        if scheme not in self.schemes:
            problem = f"scheme {scheme!r}, this client takes part in {', '.join(sorted(self.schemes))}"
        elif not spec.adversary.covers(self.adversary):
            problem = f"protection against {spec.adversary}, this client wants it against {self.adversary}"
        elif n < self.least_cohort:
            problem = f"a cohort of {n}, this client wants at least {self.least_cohort}"
        elif spec.threshold < self.least_sum:
            problem = f"sums over {spec.threshold} clients, this client wants at least {self.least_sum} in a sum"
        elif self.greatest_clip is not None and spec.clip > self.greatest_clip:
            problem = f"clip {spec.clip:g}, this client allows at most {self.greatest_clip:g}"
        elif spec.bits < self.least_bits:
            problem = f"{spec.bits} bits a value, this client wants at least {self.least_bits}"
        else:
            return
        raise RemoteProtocolError("O1", f"refused by the client's policy: {problem}", SERVER)

    def check_sums(self, least: int) -> None:
        """Refuse a round in which the server may learn sums over so few: less than the threshold in some sparse graphs.

        Raises:
            RemoteProtocolError: O1, with the server as peer.
        """
        if least < self.least_sum:
            raise RemoteProtocolError(
                "O1", f"sums over {least} clients, this client wants at least {self.least_sum}", SERVER
            )


class Record(Protocol):
    """What a client has given, over all rounds and restarts. It must outlive the sessions: see `federated.record`."""

    @property
    def last_round(self) -> int:
        """The greatest round that an input was given for; −1 where there is none."""
        ...

    def claim(self, step: str, round_number: int, session: bytes) -> None:
        """Write down that this step is about to leave the client; durably written when this returns.

        Raises:
            LocalProtocolError: R10, where it was claimed before, or where an input was given for this or a later round.
        """
        ...


class MemoryRecord:
    """A record for as long as the process lives."""

    def __init__(self) -> None:
        self._claimed: set[tuple[str, bytes]] = set()
        self._last_round = -1

    @property
    def last_round(self) -> int:
        """See `Record`."""
        return self._last_round

    def claim(self, step: str, round_number: int, session: bytes) -> None:
        """See `Record`."""
        if (step, session) in self._claimed:
            raise LocalProtocolError("R10", f"the record holds this session's {step} already: it is given once")
        if step == INPUT:
            if round_number <= self._last_round:
                raise LocalProtocolError("R10", f"the record holds an input for round {self._last_round}")
            self._last_round = round_number
        self._claimed.add((step, session))


@dataclass(frozen=True)
class Credentials:
    """What protects a client from a server that invents clients.

    Attributes:
        key: the client's own identity key.
        identities: public identity keys of 32 bytes by client id, its own among them, from somewhere that is not the
            server. Clients that are not in it are refused.
    """

    key: SigningKey
    identities: Mapping[ClientId, bytes]


def check_identities(identities: Mapping[ClientId, bytes]) -> None:
    """Refuse an identity roster in which one key stands for two clients.

    Raises:
        LocalProtocolError: K7.
    """
    if any(len(key) != IDENTITY_KEY_BYTES for key in identities.values()):
        raise LocalProtocolError("K7", f"a public identity key has {IDENTITY_KEY_BYTES} bytes")
    if len(set(identities.values())) != len(identities):
        raise LocalProtocolError("K7", "the identity roster has one key for two clients")


@dataclass(frozen=True)
class ClientIdentity:
    """What a client brings into every round.

    Attributes:
        id: its client id.
        layout: of its updates; must be the round's.
        policy: what it demands.
        rounding_key: 32 secret bytes, the client's own for the whole job: with it the same update in the same round
            rounds to the same integers. Not shown in a repr.
        credentials: needed in rounds against a malicious server.
        record: what it has given; keep it in a file (`federated.record`) where a process may be started again.

    Raises:
        LocalProtocolError: K7, where the credentials are not this client's.
    """

    id: ClientId
    layout: Layout
    policy: Policy = field(default_factory=Policy)
    rounding_key: bytes = field(default_factory=lambda: os.urandom(KEY_BYTES), repr=False)
    credentials: Credentials | None = field(default=None, repr=False)
    record: Record = field(default_factory=MemoryRecord, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.credentials is None:
            return
        check_identities(self.credentials.identities)
        if self.credentials.identities.get(self.id) != self.credentials.key.public:
            raise LocalProtocolError("K7", f"the identity roster does not hold the key of this client ({self.id})")

    def accept(self, scheme: str, spec: RoundSpec) -> VectorEncoding:
        """Check an offered round against what this client has and wants; gives the encoding of its vector.

        Raises:
            RemoteProtocolError: R7 a cohort without this client, O1 policy, O2 another layout; the server is the peer.
        """
        self.check_wishes(scheme, spec)
        return self.encoding_of(spec)

    def check_wishes(self, scheme: str, spec: RoundSpec) -> None:
        """Refuse a round that is not for this client, or below its policy.

        Raises:
            RemoteProtocolError: R7, O1.
        """
        if self.id not in spec.cohort:
            raise RemoteProtocolError("R7", f"the cohort does not hold this client ({self.id})", SERVER)
        self.policy.check(scheme, spec)

    def check_keys(self, spec: RoundSpec) -> None:
        """Refuse a round against a malicious server that this client has no identity key for.

        Raises:
            RemoteProtocolError: O1.
        """
        if spec.adversary.malicious and self.credentials is None:
            raise RemoteProtocolError("O1", "a round against a malicious server needs credentials", SERVER)

    def encoding_of(self, spec: RoundSpec) -> VectorEncoding:
        """How this client's updates are written in a round.

        Raises:
            RemoteProtocolError: O2, where the round is of other updates.
        """
        if (spec.layout, spec.values, spec.scalars) != (
            self.layout.digest, self.layout.size, len(self.layout.scalars),
        ):  # fmt: skip
            raise RemoteProtocolError("O2", "the round's layout is not the layout of this client's updates", SERVER)
        return VectorEncoding(self.layout, spec.numbers)

    def check_cohort(self, spec: RoundSpec) -> None:
        """Check an offered round against identity roster and record.

        Raises:
            RemoteProtocolError: K6 a client that is not in the identity roster, R11 as `check_round`.
        """
        if spec.adversary.malicious and self.credentials is not None:
            strangers = set(spec.cohort).difference(self.credentials.identities)
            if strangers:
                raise RemoteProtocolError("K6", f"client {min(strangers)} is not in the identity roster", SERVER)
        self.check_round(spec)

    def check_round(self, spec: RoundSpec) -> None:
        """Refuse a round that an input was given for, or one before it.

        Raises:
            RemoteProtocolError: R11.
        """
        last = self.record.last_round
        if spec.round <= last:
            raise RemoteProtocolError("R11", f"round {spec.round}: the record holds an input for round {last}", SERVER)

    def public_key(self, client: ClientId, spec: RoundSpec) -> bytes | None:
        """The key that a client's messages must be signed with; None where the server is trusted with that."""
        if not spec.adversary.malicious or self.credentials is None:
            return None
        return self.credentials.identities[client]

    def check_model(self, spec: RoundSpec, model: bytes, named: bytes | None = None) -> None:
        """Refuse an update that was not trained from the round's model: `named` where the specification leaves it open.

        Raises:
            LocalProtocolError: V9.
        """
        if model != (spec.model if named is None else named):
            raise LocalProtocolError(
                "V9", "the update was trained from another model or configuration than the round names"
            )

    def rounding(self, round_number: int) -> Randomness:
        """The stream that this client's stochastic rounding draws from in one round."""
        reader = Reader(derive(self.rounding_key, Label.ROUNDING, round_number.to_bytes(4, "big")))
        return lambda count: reader.take(4 * count).view("<u4")
