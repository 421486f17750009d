"""A client after its input: it holds shares of others and nothing of its own, and releases one kind of each, once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from securefed.aggregation import Update
from securefed.crypto.hashing import digest
from securefed.crypto.shamir import SHARE_BYTES
from securefed.crypto.signing import verifies
from securefed.errors import LocalProtocolError, RemoteProtocolError
from securefed.participation import ClientIdentity
from securefed.secagg.graph import Neighbourhood, draw
from securefed.secagg.keys import PairContext, consent_draw_key
from securefed.secagg.parameters import Parameters
from securefed.secagg.stages import Stage, expected_from
from securefed.wire.frame import pack_set
from securefed.wire.from_client import Consent, Release
from securefed.wire.from_server import Agreement, Survivors
from securefed.wire.header import SERVER
from securefed.wire.specification import RoundSpec

__all__ = ["Closed", "Consented", "Held", "Masked"]


@dataclass(frozen=True)
class Closed:
    """Nothing is answered any more; holds no secret.

    Args:
        reason: for the error's text.
        rule: R4 after a complete round, R5 after an error.
    """

    reason: str
    rule: str = "R4"

    def answer(self, request: bytes, update: Callable[[], Update]) -> tuple[bytes, Closed]:
        """Raises always."""
        raise RemoteProtocolError(self.rule, self.reason)


@dataclass(frozen=True, repr=False)
class Held:
    """What is left of a client's round once its input is out.

    Attributes:
        pairs: what masks, attestations and consents are bound to.
        shared: U2, who shared.
        shares: the two shares held of each client, 66 bytes: none of those whose sealed share did not open.
        neighbourhoods: of the client itself and of all whose shares were delivered: whose mask peers must survive.
        sample_key: of the draw of consents.
    """

    identity: ClientIdentity
    spec: RoundSpec
    pairs: PairContext
    shared: tuple[int, ...]
    shares: Mapping[int, bytes]
    neighbourhoods: Mapping[int, Neighbourhood]
    sample_key: bytes

    @property
    def parameters(self) -> Parameters:
        """Neighbours and thresholds of the round."""
        return Parameters.of(len(self.spec.cohort), self.spec.adversary)

    def check(self, survived: tuple[int, ...]) -> None:
        """Refuse survivors that cannot be, are too few, or leave one of them with too few mask peers.

        Raises:
            RemoteProtocolError: R9 or G3.
        """
        me, least = self.identity.id, self.parameters.least_inputs
        if not set(survived) <= set(self.shared):
            raise RemoteProtocolError("R9", "survivors that did not share")
        if me not in survived:
            raise RemoteProtocolError("R9", "this client's input is said to be missing")
        if len(survived) < least:
            raise RemoteProtocolError("R9", f"{len(survived)} survivors, at least {least} are needed")
        alive = frozenset(survived)
        for client, neighbourhood in sorted(self.neighbourhoods.items()):
            if client in alive and (client in self.shares or client == me):
                neighbourhood.check_survivors(alive)

    def consent(self, survived: tuple[int, ...]) -> bytes:
        """The digest that survivors sign."""
        cohort = self.spec.cohort
        return self.pairs.consent(pack_set(self.shared, cohort), pack_set(survived, cohort))

    def attesting(self, survived: tuple[int, ...]) -> tuple[int, ...]:
        """The survivors whose attestations an agreement must show, ascending: those whose shares were delivered."""
        if not self.parameters.attested:
            return ()
        return tuple(sorted((self.neighbourhoods.keys() - {self.identity.id}).intersection(survived)))

    def check_attestations(self, attestations: Mapping[int, bytes]) -> None:
        """Refuse to help open one who masked within another set than the one consented to: perhaps with fewer peers.

        Raises:
            RemoteProtocolError: G4.
        """
        wanted = self.pairs.attested(pack_set(self.shared, self.spec.cohort))
        for client, attestation in attestations.items():
            identity = self.identity.public_key(client, self.spec)
            if client in self.shares and (identity is None or not verifies(identity, wanted, attestation)):
                raise RemoteProtocolError("G4", f"client {client} did not attest to have masked within this set")

    def release(self, survived: tuple[int, ...]) -> tuple[bytes, Closed]:
        """RELEASE: one kind of share for each client of which there are shares. The one place where they leave.

        The record has claimed it before.
        """
        alive = frozenset(survived)
        released = {
            client: both[:SHARE_BYTES] if client in alive else both[SHARE_BYTES:]
            for client, both in self.shares.items()
        }
        message = Release(released).encode(expected_from(self.spec, self.identity.id))
        return message, Closed("the round is over for this client")


@dataclass(frozen=True, repr=False)
class Masked:
    """The update is out: the next request says who survived."""

    held: Held

    def answer(self, request: bytes, _: Callable[[], Update]) -> tuple[bytes, Consented | Closed]:
        """SURVIVORS → CONSENT under a malicious server, → RELEASE under a semi-honest one."""
        held, spec = self.held, self.held.spec
        survived = Survivors.decode(request, expected_from(spec, SERVER), spec.cohort).survived
        held.check(survived)
        credentials = held.identity.credentials
        if not spec.adversary.malicious:
            held.identity.record.claim(Stage.RELEASE, spec.round, spec.session)
            return held.release(survived)
        if credentials is None:
            # A session that was taken up by an identity without its key. Never a way to release without consent.
            raise LocalProtocolError("K7", "this round needs the client's credentials, and the identity has none")
        signature = credentials.key.sign(held.consent(survived))
        held.identity.record.claim(Stage.CONSENT, spec.round, spec.session)
        return Consent(signature).encode(expected_from(spec, held.identity.id)), Consented(held, survived)


@dataclass(frozen=True, repr=False)
class Consented:
    """One set of survivors is signed: shares leave for that one alone, and if enough others signed it too."""

    held: Held
    survived: tuple[int, ...]

    def answer(self, request: bytes, _: Callable[[], Update]) -> tuple[bytes, Closed]:
        """AGREEMENT → RELEASE."""
        spec, held = self.held.spec, self.held
        attesting = held.attesting(self.survived)
        agreement = Agreement.decode(request, expected_from(spec, SERVER), spec.cohort, self.survived, attesting)
        # Before the sample is drawn, whatever comes of it: an older snapshot must not draw from another list.
        held.identity.record.claim(Stage.RELEASE, spec.round, spec.session)
        self._check(agreement, digest(request))
        held.check_attestations(agreement.attestations)
        return held.release(self.survived)

    def _check(self, agreement: Agreement, message: bytes) -> None:
        held, spec, parameters = self.held, self.held.spec, self.held.parameters
        wanted = held.consent(self.survived)
        positions: list[int] | range = range(len(spec.cohort))
        if parameters.signatures < len(spec.cohort):
            # Drawn now, from a key that nobody else knows: the list of signatures is fixed before the sample.
            key = consent_draw_key(held.sample_key, message)
            positions = draw(key, len(spec.cohort), parameters.signatures)
        valid = 0
        for client in (spec.cohort[at] for at in positions):
            if client not in agreement.signatures:
                continue
            identity = held.identity.public_key(client, spec)
            if identity is None or not verifies(identity, wanted, agreement.signatures[client]):
                raise RemoteProtocolError("C1", f"client {client} did not sign these survivors")
            valid += 1
        if valid < parameters.least_signatures:
            raise RemoteProtocolError(
                "C2", f"{valid} of {len(positions)} clients consented, {parameters.least_signatures} are needed"
            )
