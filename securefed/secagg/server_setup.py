"""A round's set-up at the server: who advertised, who shared, and what is delivered to whom. It knows no model."""

from __future__ import annotations

from collections.abc import Mapping

from securefed.crypto.x25519 import check_public_keys
from securefed.errors import RemoteProtocolError
from securefed.participation import ClientId
from securefed.secagg.graph import Neighbourhood, check_promise
from securefed.secagg.keys import check_signature
from securefed.secagg.parameters import Parameters
from securefed.secagg.stages import expected_from
from securefed.wire.from_client import Advertisement, Entry, Shares
from securefed.wire.from_server import Delivered, Delivery, Roster
from securefed.wire.header import SERVER
from securefed.wire.specification import RoundSpec

__all__ = ["SetUp"]


class SetUp:
    """What stages 1 and 2 give.

    Args:
        spec: of the round.
        identities: public identity keys, for the signatures of advertisements.

    Attributes:
        entries: by client, of those that advertised.
        roster: the ROSTER message, once stage 1 is over.
        shares: by client ascending, of those that shared.
        neighbourhoods: likewise.
    """

    def __init__(self, spec: RoundSpec, identities: Mapping[ClientId, bytes]) -> None:
        self._spec = spec
        self._parameters = Parameters.of(len(spec.cohort), spec.adversary)
        self._identities = identities
        self._public_keys: set[bytes] = set()
        self._delivered: dict[ClientId, dict[ClientId, Delivered]] = {}
        self.entries: dict[ClientId, Entry] = {}
        self.roster = b""
        self.shares: dict[ClientId, Shares] = {}
        self.neighbourhoods: dict[ClientId, Neighbourhood] = {}

    def take_entry(self, client: ClientId, message: bytes) -> None:
        """An ADVERTISEMENT.

        Raises:
            RemoteProtocolError: wire rules, K1, K2, K4, K5.
        """
        spec, signed = self._spec, self._spec.adversary.malicious
        entry = Advertisement.decode(message, expected_from(spec, client), signed=signed).entry
        keys = (entry.channel, entry.mask)
        check_public_keys(*keys)
        if entry.channel == entry.mask or not self._public_keys.isdisjoint(keys):
            raise RemoteProtocolError("K4", "a public key was advertised twice")
        check_signature(entry, spec.session, client, self._identities.get(client))
        self._public_keys.update(keys)
        self.entries[client] = entry

    def close_roster(self, answered: tuple[ClientId, ...]) -> None:
        """Stage 1 is over."""
        self.entries = {client: self.entries[client] for client in answered}
        self.roster = Roster.of(self.entries).encode(expected_from(self._spec, SERVER))

    def take_shares(self, client: ClientId, message: bytes) -> None:
        """A SHARES message.

        Raises:
            RemoteProtocolError: wire rules, G1.
        """
        spec, expected = self._spec, expected_from(self._spec, client)
        neighbourhood = Neighbourhood.of(spec, self._parameters, client, Shares.peek_pick_secret(message))
        recipients = (neighbourhood.holders & self.entries.keys()) - {client}
        shares = Shares.decode(message, expected, recipients)
        check_promise(self.entries[client].promise, shares.pick_secret, spec.session, client)
        self.shares[client], self.neighbourhoods[client] = shares, neighbourhood

    def close_shares(self, answered: tuple[ClientId, ...]) -> None:
        """Stage 2 is over: what each client made for others becomes what was made for each."""
        self.shares = {client: self.shares[client] for client in answered}
        self._delivered = {client: {} for client in answered}
        for sender, shares in self.shares.items():
            for receiver, sealed in shares.sealed.items():
                if receiver in self._delivered:
                    self._delivered[receiver][sender] = Delivered(shares.pick_secret, sealed)

    def delivery(self, client: ClientId) -> Delivery:
        """What this client is delivered."""
        return Delivery(tuple(self.shares), self._delivered[client])
