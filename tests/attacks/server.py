"""The adversary: a server that sends what it likes to whom it likes, and clients that are corrupt with it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

import numpy as np

from securefed.aggregation import Adversary, ClientIdentity, RoundSpec, Update
from securefed.crypto.keystream import Words
from securefed.crypto.signing import SIGNATURE_BYTES
from securefed.encoding.lanes import packed_length, unpack_bits
from securefed.encoding.vector import VectorEncoding
from securefed.errors import RemoteProtocolError
from securefed.secagg.client import MaskingClient
from securefed.secagg.keys import advertised
from securefed.secagg.stages import SUITE, expected_from
from securefed.wire.frame import pack_set
from securefed.wire.from_client import Advertisement, Consent, Entry, Input, Release, Shares
from securefed.wire.from_server import Agreement, Delivered, Delivery, NamedDelivery, Offer, Roster, Survivors
from securefed.wire.header import SERVER
from tests.attacks.knowledge import MASK_KEY, SELF_MASK, Knowledge
from tests.rounds import LAYOUT, identity_of, seed, signing_key, spec_of, update_of

MANY = tuple(range(1, 41))
LARGE = {"cohort": MANY, "adversary": Adversary("malicious", corrupt=0.0, dropouts=0.25)}
"""What changes `tests.rounds.spec_of` to a cohort for which there is a sparse graph; one client is corrupt."""


class MaliciousServer(Knowledge):
    """A server that follows no protocol; one method a message that it may send.

    Args:
        spec: what it offers.
        corrupt: clients whose round secrets and identity keys are the adversary's.
        identities: honest clients that are not as in `tests.rounds`.
        updates: what honest clients train, where it is not `update_of`.
    """

    def __init__(
        self,
        spec: RoundSpec | None = None,
        corrupt: Iterable[int] = (),
        identities: Mapping[int, ClientIdentity] | None = None,
        updates: Mapping[int, Update] | None = None,
    ) -> None:
        super().__init__(spec or spec_of(), corrupt)
        self.updates = dict(updates or {})
        own = {client: identity_of(client, LAYOUT, cohort=self.spec.cohort) for client in self.spec.cohort}
        self.identities = own | dict(identities or {})
        self.clients = {
            client: MaskingClient(
                self.identities[client],
                round_secret=seed(f"corrupt {client}" if client in self.corrupt else f"round secret {client}"),
            )
            for client in self.spec.cohort
        }

    def ask(self, client: int, message: bytes, update: Callable[[], Update] | None = None) -> bytes:
        """Any message to any client; what it trains, trained from whatever model it was offered."""
        trained = self.updates.get(client) or replace(update_of(client), model=self.spec.model)
        return self.clients[client].reply(message, update or (lambda: trained))

    def offer(self, client: int, spec: RoundSpec | None = None) -> Entry:
        """OFFER → the client's entry."""
        spec = spec or self.spec
        reply = self.ask(client, Offer(spec).encode(SUITE))
        entry = Advertisement.decode(reply, expected_from(spec, client), signed=spec.adversary.malicious).entry
        self.entries[client] = entry
        return entry

    def show_roster(self, client: int, entries: Mapping[int, Entry] | None = None) -> Shares:
        """ROSTER → SHARES. The last roster that was shown is the one that keys are bound to."""
        self.roster = Roster.of(entries or self.entries).encode(expected_from(self.spec, SERVER))
        reply = self.ask(client, self.roster)
        recipients = (self.picks_in(client, reply).holders & Roster.of(entries or self.entries).ids) - {client}
        self.shares[client] = Shares.decode(reply, expected_from(self.spec, client), recipients)
        return self.shares[client]

    def delivery(self, client: int, shared: Iterable[int] | None = None, withheld: Iterable[int] = ()) -> Delivery:
        """What the server has for a client, within this set and without some senders."""
        told = frozenset(self.shares if shared is None else shared)
        senders = {
            sender: Delivered(shares.pick_secret, shares.sealed[client])
            for sender, shares in self.shares.items()
            if sender in told and client in shares.sealed and sender not in set(withheld)
        }
        return Delivery(tuple(sorted(told)), senders)

    def deliver(self, client: int, shared: Iterable[int] | None = None, withheld: Iterable[int] = ()) -> Words:
        """DELIVERY of this set, without some senders → the masked words."""
        self.told[client] = self.delivery(client, shared, withheld)
        return self.deliver_as_told(client)

    def deliver_as_told(self, client: int) -> Words:
        """The delivery that is noted for the client."""
        reply = self.ask(client, self.encoded_delivery(self.told[client], client))
        self.inputs[client] = self.read_input(client, reply)
        return self.inputs[client]

    def acceptable(self, client: int, survived: Iterable[int]) -> bool:
        """Whether the client would take these survivors: all that it checks is known to the server."""
        alive = frozenset(survived)
        if client not in alive or len(alive) < self.spec.threshold or not alive <= set(self.told[client].shared):
            return False
        try:
            for owner in {*self.told[client].senders, client} & alive:
                self.picks(owner).check_survivors(alive)
        except RemoteProtocolError:
            return False
        return True

    def encoded_delivery(self, delivery: Delivery, client: int | None = None) -> bytes:
        """With the model that the client is to be told of, where the round is a prepared one."""
        context, cohort = expected_from(self.spec, SERVER), self.spec.cohort
        if self.spec.prepared and client is not None:
            return NamedDelivery(self.named[client], delivery).encode(context, cohort)
        return delivery.encode(context, cohort)

    def rehearse(self, victim: int, shared: Iterable[int] | None = None) -> None:
        """What everyone will be told: the truth, but the victim this set, and nothing from those who picked it.

        So it masks with its own picks alone.
        """
        for client in self.shares:
            own = client == victim
            self.told[client] = self.delivery(client, shared if own else None, self.spec.cohort if own else ())

    def deliver_all(self) -> None:
        """As rehearsed."""
        for client in self.told:
            self.deliver_as_told(client)

    def read_input(self, client: int, reply: bytes) -> Words:
        """The masked words; the attestation that comes with them is kept."""
        spec, ring_bits = self.spec, self.spec.numbers.lanes.ring_bits
        length, attested = packed_length(spec.words, ring_bits), self.parameters.attested
        message = Input.decode(reply, expected_from(spec, client), length, attested=attested)
        if attested:
            self.attestations[client] = message.attestation
        return unpack_bits(message.words, spec.words, ring_bits).copy()

    def survivors(self, survived: Iterable[int]) -> bytes:
        return Survivors(tuple(survived)).encode(expected_from(self.spec, SERVER), self.spec.cohort)

    def agreement(self, client: int, survived: Iterable[int], signatures: Mapping[int, bytes]) -> bytes:
        """These signatures, and the attestations that the client asks for, whatever they attest to."""
        asked_for = self.told[client].senders.keys() & set(survived) if self.parameters.attested else ()
        attestations = {sender: self.attestations.get(sender, bytes(SIGNATURE_BYTES)) for sender in asked_for}
        context = expected_from(self.spec, SERVER)
        return Agreement(dict(signatures), attestations).encode(context, self.spec.cohort)

    def ask_consent(self, client: int, survived: Iterable[int]) -> bytes:
        """SURVIVORS → the client's signature of them."""
        return Consent.decode(self.ask(client, self.survivors(survived)), expected_from(self.spec, client)).signature

    def sign(self, client: int, shared: Iterable[int], survived: Iterable[int]) -> bytes:
        """A corrupt client's signature: of anything."""
        if client not in self.corrupt:
            raise AssertionError("the adversary has no identity key of an honest client")
        cohort = self.spec.cohort
        return signing_key(client).sign(self.pairs.consent(pack_set(shared, cohort), pack_set(survived, cohort)))

    def ask_release(self, client: int, survived: Iterable[int], signatures: Mapping[int, bytes] | None = None) -> None:
        """AGREEMENT, or SURVIVORS in a semi-honest round → shares, sorted by what they open."""
        survived = tuple(survived)
        message = self.survivors(survived) if signatures is None else self.agreement(client, survived, signatures)
        self.take_release(client, self.ask(client, message), survived)

    def take_release(self, client: int, reply: bytes, survived: Iterable[int]) -> None:
        alive = frozenset(survived)
        released = Release.decode(reply, expected_from(self.spec, client), self.spec.cohort).shares
        for owner, share in released.items():
            self.opened.setdefault((owner, SELF_MASK if owner in alive else MASK_KEY), {})[client] = share

    def signature_of(self, entry: Entry, client: int, by: int) -> bytes:
        """An advertisement's signature by a corrupt client's identity key."""
        if by not in self.corrupt:
            raise AssertionError("the adversary has no identity key of an honest client")
        return signing_key(by).sign(advertised(entry, self.spec.session, client))

    # Whole stages, without a lie.

    def until_shares(self) -> MaliciousServer:
        """Offers to all and one roster for all."""
        for client in self.spec.cohort:
            self.offer(client)
        for client in self.entries:
            self.show_roster(client)
        return self

    def until_inputs(self) -> MaliciousServer:
        """And one delivery for all."""
        self.until_shares()
        for client in self.shares:
            self.deliver(client)
        return self

    def close_round(self, survived: Iterable[int], answering: Iterable[int] | None = None) -> None:
        """All of these survivors sign and release, or those `answering`."""
        survived = tuple(survived)
        answering = survived if answering is None else tuple(answering)
        if not self.spec.adversary.malicious:
            for client in answering:
                self.ask_release(client, survived)
            return
        signatures = {client: self.ask_consent(client, survived) for client in answering}
        for client in answering:
            self.ask_release(client, survived, signatures)


def words_of(spec: RoundSpec, client: int, update: Update) -> Words:
    """The ring words of an update, as the client rounds it in this round."""
    rounding = identity_of(client).rounding(spec.round)
    encoding = VectorEncoding(LAYOUT, spec.numbers)
    return np.concatenate(list(encoding.encode(update.tensors, update.weight, update.metrics, rounding)))
