"""A client between its shares and its masked input: the one state that meets the update."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from securefed.aggregation import Update
from securefed.crypto.aead import open_sealed
from securefed.crypto.keystream import StreamSum, Words
from securefed.crypto.shamir import SHARE_BYTES, share_from_bytes
from securefed.encoding.vector import VectorEncoding
from securefed.errors import RemoteProtocolError
from securefed.participation import INPUT, ClientIdentity
from securefed.secagg.client_release import Held, Masked
from securefed.secagg.graph import Neighbourhood, check_promise
from securefed.secagg.keys import ClientSecrets, PairContext, check_entry, named_session, self_mask_key
from securefed.secagg.parameters import Parameters
from securefed.secagg.stages import expected_from
from securefed.wire.frame import pack_set
from securefed.wire.from_client import Shares
from securefed.wire.from_server import Delivery, NamedDelivery, Roster
from securefed.wire.header import SERVER
from securefed.wire.specification import NAMED_LATER, RoundSpec
from securefed.wire.vector_writer import write_words

__all__ = ["Shared"]


@dataclass(frozen=True, repr=False)
class Shared:
    """Shares are out; the next answer is the masked update, once.

    Attributes:
        roster: entries of all that advertised.
        pairs: what sealed shares are bound to.
        own: this client's edges.
        own_shares: its own two shares where it is a holder itself (complete graph), else nothing.
        came_from: the round secret and the requests so far: what this state can be computed from again.
    """

    identity: ClientIdentity
    spec: RoundSpec
    encoding: VectorEncoding
    secrets: ClientSecrets
    roster: Roster
    pairs: PairContext
    own: Neighbourhood
    own_shares: bytes
    came_from: tuple[bytes, ...]

    def answer(self, request: bytes, update: Callable[[], Update]) -> tuple[bytes, Masked]:
        """DELIVERY or NAMED_DELIVERY → INPUT: open the shares, train, encode, mask."""
        pieces, attestation, masked = self.masked(request, update)
        context, spec = expected_from(self.spec, self.identity.id), self.spec
        return write_words(context, pieces, spec.words, spec.numbers.lanes.ring_bits, attestation), masked

    def masked(self, request: bytes, update: Callable[[], Update]) -> tuple[Iterator[Words], bytes, Masked]:
        """The masked ring words, made piece by piece as they are taken, their attestation, and the state after them.

        When this returns the record holds the input: nothing can be masked again, whether the pieces leave or not.
        """
        me, spec, identity = self.identity.id, self.spec, self.identity
        model, delivery = self._delivered(request)
        self._check(delivery)
        # From here on masks and signatures are bound to the model too.
        named = PairContext(named_session(spec, model), self.pairs.roster)
        senders = {
            sender: self._check_sender(sender, part.pick_secret) for sender, part in delivery.senders.items()
        }  # fmt: skip
        opened = {sender: self._open(senders[sender], part.sealed) for sender, part in delivery.senders.items()}
        shares = {sender: both for sender, both in opened.items() if both is not None}
        if self.own_shares:
            shares[me] = self.own_shares
        # All keys are agreed before the training starts: a bad one costs no training.
        streams = StreamSum(self._masks(named, frozenset(delivery.shared), senders))
        contribution = update()
        identity.check_model(spec, contribution.model, model)
        words = self.encoding.encode(
            contribution.tensors, contribution.weight, contribution.metrics, identity.rounding(spec.round)
        )
        held = Held(
            identity=identity,
            spec=spec,
            pairs=named,
            shared=delivery.shared,
            shares=shares,
            neighbourhoods=senders | {me: self.own},
            sample_key=self.secrets.sample_key,
        )
        identity.record.claim(INPUT, spec.round, spec.session)
        return _added(words, streams), self._attestation(named, delivery.shared), Masked(held)

    def _delivered(self, request: bytes) -> tuple[bytes, Delivery]:
        """The round's model, and what was delivered."""
        spec, context, roster = self.spec, expected_from(self.spec, SERVER), self.roster.ids
        if not spec.prepared:
            return spec.model, Delivery.decode(request, context, spec.cohort, roster, self.identity.id)
        read = NamedDelivery.decode(request, context, spec.cohort, roster, self.identity.id)
        if read.model == NAMED_LATER:
            raise RemoteProtocolError("R12", "a delivery that names no model: its digest is zero")
        # The offer may be long ago: the record may hold an input for another session of this round by now.
        self.identity.check_round(spec)
        return read.model, read.delivery

    def _attestation(self, named: PairContext, shared: tuple[int, ...]) -> bytes:
        """The signature of whom this client masked with; nothing where a round has none."""
        credentials = self.identity.credentials
        if not self._parameters.attested or credentials is None:
            return b""
        return credentials.key.sign(named.attested(pack_set(shared, self.spec.cohort)))

    @property
    def _parameters(self) -> Parameters:
        return Parameters.of(len(self.spec.cohort), self.spec.adversary)

    def _check(self, delivery: Delivery) -> None:
        me, shared, parameters = self.identity.id, frozenset(delivery.shared), self._parameters
        if me not in shared:
            raise RemoteProtocolError("R8", "this client's shares are said to be missing")
        if len(shared) < parameters.least_inputs:
            raise RemoteProtocolError("R8", f"{len(shared)} clients shared, {parameters.least_inputs} are needed")
        holders = len(self.own.holders & shared)
        if holders < parameters.threshold:
            raise RemoteProtocolError("R8", f"{holders} holders of this client's shares, {parameters.threshold} needed")
        strangers = delivery.senders.keys() - shared
        if strangers:
            raise RemoteProtocolError("R8", f"a share from client {min(strangers)}, who is said not to have shared")
        missing = shared - {me} - delivery.senders.keys()
        if parameters.complete and missing:
            raise RemoteProtocolError("R8", f"client {min(missing)} shared, but its share is not delivered")
        self.own.check_survivors(shared)

    def _check_sender(self, sender: int, pick_secret: bytes) -> Neighbourhood:
        entry = self.roster[sender]
        check_promise(entry.promise, pick_secret, self.spec.session, sender)
        picks = Neighbourhood.of(self.spec, self._parameters, sender, pick_secret)
        if self.identity.id not in picks.holders:
            raise RemoteProtocolError("G2", f"client {sender} did not pick this client")
        if sender not in self.own.holders:
            check_entry(entry, self.spec.session, sender, self.identity.public_key(sender, self.spec))
        return picks

    def _open(self, sender: Neighbourhood, sealed: bytes) -> bytes | None:
        """The two shares, or None where they are not whole: then nothing is ever released for this sender (S1, S4)."""
        me = self.identity.id
        channel = self.roster[sender.client].channel
        key = self.pairs.channel_key(self.secrets.channel, channel, sender.client, me)
        recipients = len((sender.holders & self.roster.ids) - {sender.client})
        header = Shares.header(expected_from(self.spec, sender.client), recipients)
        try:
            shares = open_sealed(key, sealed, header + me.to_bytes(4, "big"))
            for at in (0, SHARE_BYTES):
                share_from_bytes(shares[at : at + SHARE_BYTES])
        except RemoteProtocolError:
            return None
        return shares

    def _masks(
        self, named: PairContext, shared: frozenset[int], senders: dict[int, Neighbourhood]
    ) -> list[tuple[bytes, int]]:
        """The streams that this client adds: its own, and one for each mask peer with the sign of their order."""
        me = self.identity.id
        picked_by = {sender for sender, picks in senders.items() if me in picks.picked_masks}
        peers = sorted((self.own.picked_masks & shared) | picked_by)
        own = (self_mask_key(self.secrets.self_mask_seed, named.session, me), +1)
        return [own] + [
            (named.mask_key(self.secrets.mask, self.roster[peer].mask, me, peer), +1 if me < peer else -1)
            for peer in peers
        ]


def _added(words: Iterator[Words], streams: StreamSum) -> Iterator[Words]:
    for piece in words:
        streams.add_to(piece)
        yield piece
