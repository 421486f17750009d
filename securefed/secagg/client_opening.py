"""A client before its shares are out: it checks the round, makes keys, checks the roster, shares its seeds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from securefed.aggregation import Update
from securefed.crypto.aead import seal
from securefed.crypto.hashing import digest
from securefed.encoding.vector import VectorEncoding
from securefed.errors import RemoteProtocolError
from securefed.participation import ClientIdentity
from securefed.secagg.client_input import Shared
from securefed.secagg.graph import Neighbourhood, promise
from securefed.secagg.keys import ClientSecrets, PairContext, advertised, check_entry, commitment
from securefed.secagg.parameters import Parameters
from securefed.secagg.stages import SCHEME, SUITE, expected_from
from securefed.wire.from_client import Advertisement, Entry, Shares
from securefed.wire.from_server import Offer, Roster
from securefed.wire.header import SERVER
from securefed.wire.specification import RoundSpec

__all__ = ["Advertised", "New"]


@dataclass(frozen=True, repr=False)
class New:
    """Nothing is known yet but who this client is."""

    identity: ClientIdentity
    round_secret: bytes

    def answer(self, request: bytes, _: Callable[[], Update]) -> tuple[bytes, Advertised]:
        """OFFER → ADVERTISEMENT: check the round, make keys, promise the picks."""
        me, spec = self.identity.id, Offer.decode(request, SUITE).spec
        self.identity.check_wishes(SCHEME, spec)
        self.identity.check_keys(spec)
        parameters = Parameters.of(len(spec.cohort), spec.adversary)
        self.identity.policy.check_sums(parameters.least_in_a_sum(len(spec.cohort)))
        encoding = self.identity.encoding_of(spec)
        self.identity.check_cohort(spec)
        secrets = ClientSecrets(self.round_secret, spec.session)
        entry = Entry(secrets.channel.public, secrets.mask.public, promise(secrets.pick_secret, spec.session, me))
        credentials = self.identity.credentials
        if spec.adversary.malicious and credentials is not None:
            signature = credentials.key.sign(advertised(entry, spec.session, me))
            entry = Entry(entry.channel, entry.mask, entry.promise, signature)
        message = Advertisement(entry).encode(expected_from(spec, me))
        return message, Advertised(self.identity, spec, encoding, secrets, entry, (self.round_secret, request))


@dataclass(frozen=True, repr=False)
class Advertised:
    """Keys are made; nobody holds a share.

    Attributes:
        came_from: the round secret and the requests so far: what this state can be computed from again.
    """

    identity: ClientIdentity
    spec: RoundSpec
    encoding: VectorEncoding
    secrets: ClientSecrets
    entry: Entry
    came_from: tuple[bytes, ...]

    def answer(self, request: bytes, _: Callable[[], Update]) -> tuple[bytes, Shared]:
        """ROSTER → SHARES: check the roster, share both secrets, seal the shares."""
        me, spec = self.identity.id, self.spec
        signed = spec.adversary.malicious
        roster = Roster.decode(request, expected_from(spec, SERVER), spec.cohort, signed=signed)
        parameters = Parameters.of(len(spec.cohort), spec.adversary)
        own = Neighbourhood.of(spec, parameters, me, self.secrets.pick_secret)
        holders = tuple(sorted(own.holders & roster.ids))
        self._check(roster, holders, parameters)
        pairs = PairContext(spec.session, digest(request))
        shares = self.secrets.share_out(pairs.roster, holders, parameters.threshold)
        own_shares = shares.pop(me, b"")
        context = expected_from(spec, me)
        header = Shares.header(context, len(shares))
        sealed = {}
        for client, both in shares.items():
            key = pairs.channel_key(self.secrets.channel, roster[client].channel, me, client)
            sealed[client] = seal(key, both, header + client.to_bytes(4, "big"))
        promised = commitment(self.secrets.self_mask_seed, spec.session, me)
        message = Shares(self.secrets.pick_secret, promised, sealed).encode(context)
        return message, Shared(
            self.identity, spec, self.encoding, self.secrets, roster, pairs, own, own_shares, (*self.came_from, request)
        )  # fmt: skip

    def _check(self, roster: Roster, holders: tuple[int, ...], parameters: Parameters) -> None:
        me, spec = self.identity.id, self.spec
        if me not in roster.ids:
            raise RemoteProtocolError("R7", "the roster does not hold this client")
        least, threshold = parameters.least_inputs, parameters.threshold
        if len(roster) < least:
            raise RemoteProtocolError("R7", f"a roster of {len(roster)}, at least {least} are needed")
        if len(holders) < threshold:
            raise RemoteProtocolError("R7", f"{len(holders)} holders for this client's shares, {threshold} are needed")
        if roster[me] != self.entry:
            raise RemoteProtocolError("K3", "the roster has another entry for this client than it advertised")
        if roster.repeats_a_key():
            raise RemoteProtocolError("K4", "a public key occurs twice in the roster")
        for client in holders:
            if client != me:
                check_entry(roster[client], spec.session, client, self.identity.public_key(client, spec))
