"""What a client holds between two requests of a masked round, and how it answers the next one.

A type for each state: it holds what the rest of the round needs and nothing more, so a secret is gone with the
state that last needed it, and what a state does not hold it cannot release. Each answers exactly one type of request.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from securefed.aggregation import ClientIdentity, Update
from securefed.crypto.aead import open_sealed, seal
from securefed.crypto.hashing import digest
from securefed.crypto.keystream import StreamSum, Words
from securefed.crypto.shamir import SHARE_BYTES, share_from_bytes
from securefed.crypto.x25519 import check_public_key
from securefed.encoding.vector import VectorEncoding
from securefed.errors import RemoteProtocolError
from securefed.secagg.keys import ClientSecrets, PairContext, commitment, self_mask_key
from securefed.wire.header import SERVER, Suite
from securefed.wire.messages import (
    Advertisement,
    Delivery,
    Expected,
    Keys,
    Offer,
    Release,
    Roster,
    Shares,
    Survivors,
)  # fmt: skip
from securefed.wire.specification import RoundSpec
from securefed.wire.vector_writer import write_words

__all__ = ["Advertised", "ClientStage", "Closed", "Masked", "New", "Shared", "expected_from"]

SUITE = Suite.PAIRWISE_MASKS
SCHEME = "masks"


def expected_from(spec: RoundSpec, sender: int) -> Expected:
    """What the header of a message of this round says."""
    return Expected(SUITE, spec.session, spec.round, sender)


@dataclass(frozen=True, repr=False)
class New:
    """Nothing is known yet but who this client is."""

    identity: ClientIdentity
    round_secret: bytes

    def answer(self, request: bytes, _: Callable[[], Update]) -> tuple[bytes, Advertised]:
        """OFFER → ADVERTISEMENT: check the round, make keys."""
        spec = Offer.decode(request, SUITE).spec
        encoding = self.identity.accept(SCHEME, spec)
        secrets = ClientSecrets(self.round_secret, spec.session)
        keys = Keys(secrets.channel.public, secrets.mask.public)
        message = Advertisement(keys).encode(expected_from(spec, self.identity.id))
        return message, Advertised(self.identity, spec, encoding, secrets)


@dataclass(frozen=True, repr=False)
class Advertised:
    """Keys are made; nobody holds a share."""

    identity: ClientIdentity
    spec: RoundSpec
    encoding: VectorEncoding
    secrets: ClientSecrets

    def answer(self, request: bytes, _: Callable[[], Update]) -> tuple[bytes, Shared]:
        """ROSTER → SHARES: check the roster, share both secrets, seal the shares."""
        me, spec = self.identity.id, self.spec
        roster = Roster.decode(request, expected_from(spec, SERVER), spec.cohort).keys
        self._check(roster)
        pairs = PairContext(spec.session, digest(request))
        ids = tuple(sorted(roster))
        shares = self.secrets.share_out(pairs.roster, ids, spec.threshold)
        others = [client for client in ids if client != me]
        context = expected_from(spec, me)
        header = Shares.header(context, len(others))
        sealed = {}
        for client in others:
            key = pairs.channel_key(self.secrets.channel, roster[client].channel, me, client)
            sealed[client] = seal(key, shares[client], header + client.to_bytes(4, "big"))
        promise = commitment(self.secrets.self_mask_seed, spec.session, me)
        message = Shares(promise, sealed).encode(context)
        return message, Shared(self.identity, spec, self.encoding, self.secrets, roster, pairs, shares[me])

    def _check(self, roster: dict[int, Keys]) -> None:
        me = self.identity.id
        if me not in roster:
            raise RemoteProtocolError("R7", "the roster does not hold this client")
        if len(roster) < self.spec.threshold:
            raise RemoteProtocolError("R7", f"a roster of {len(roster)}, the threshold is {self.spec.threshold}")
        every = [key for keys in roster.values() for key in (keys.channel, keys.mask)]
        for key in every:
            check_public_key(key)
        if roster[me] != Keys(self.secrets.channel.public, self.secrets.mask.public):
            raise RemoteProtocolError("K3", "the roster has other keys for this client than it advertised")
        if len(set(every)) != len(every):
            raise RemoteProtocolError("K4", "a public key occurs twice in the roster")


@dataclass(frozen=True, repr=False)
class Shared:
    """Shares are out; the next answer is the masked update, once."""

    identity: ClientIdentity
    spec: RoundSpec
    encoding: VectorEncoding
    secrets: ClientSecrets
    roster: dict[int, Keys]
    pairs: PairContext
    own_shares: bytes

    def answer(self, request: bytes, update: Callable[[], Update]) -> tuple[bytes, Masked]:
        """DELIVERY → INPUT: open the shares, train, encode, mask."""
        me, spec = self.identity.id, self.spec
        others = self.roster.keys() - {me}
        sealed = Delivery.decode(request, expected_from(spec, SERVER), others, len(spec.cohort)).sealed
        if len(sealed) + 1 < spec.threshold:
            raise RemoteProtocolError("R8", f"shares of {len(sealed)} others, the threshold is {spec.threshold}")
        held = {client: self._open(client, box) for client, box in sealed.items()} | {me: self.own_shares}
        # All keys are agreed before the training starts: a bad one costs no training.
        streams = StreamSum(
            [(self_mask_key(self.secrets.self_mask_seed, spec.session, me), +1)]
            + [
                (
                    self.pairs.mask_key(self.secrets.mask, self.roster[client].mask, me, client),
                    +1 if me < client else -1,
                )
                for client in sorted(sealed)
            ]
        )
        contribution = update()
        self.identity.check_model(spec, contribution)
        message = write_words(
            expected_from(spec, me),
            self._masked(contribution, streams),
            spec.words,
            spec.numbers.lanes.ring_bits,
        )
        return message, Masked(self.identity, spec, held)

    def _open(self, sender: int, box: bytes) -> bytes:
        key = self.pairs.channel_key(self.secrets.channel, self.roster[sender].channel, sender, self.identity.id)
        # Everyone in the roster shares with everyone else in it, so the sender's header is known.
        header = Shares.header(expected_from(self.spec, sender), len(self.roster) - 1)
        try:
            shares = open_sealed(key, box, header + self.identity.id.to_bytes(4, "big"))
            for at in (0, SHARE_BYTES):
                share_from_bytes(shares[at : at + SHARE_BYTES])
        except RemoteProtocolError as error:
            raise error.blame(sender) from None
        return shares

    def _masked(self, update: Update, streams: StreamSum) -> Iterator[Words]:
        randomness = self.identity.rounding(self.spec.round)
        for piece in self.encoding.encode(update.tensors, update.weight, update.metrics, randomness):
            streams.add_to(piece)
            yield piece


@dataclass(frozen=True, repr=False)
class Masked:
    """The update is out. All that is left are the shares of others: the client's own keys are gone."""

    identity: ClientIdentity
    spec: RoundSpec
    held: dict[int, bytes]

    def answer(self, request: bytes, _: Callable[[], Update]) -> tuple[bytes, Closed]:
        """SURVIVORS → RELEASE: one kind of share for each client, once."""
        me, spec = self.identity.id, self.spec
        survived = Survivors.decode(request, expected_from(spec, SERVER), spec.cohort).survived
        if survived.keys() != self.held.keys():
            raise RemoteProtocolError("R9", f"{len(survived)} clients named, shares of {len(self.held)} were delivered")
        if not survived[me]:
            raise RemoteProtocolError("R9", "this client's input is said to be missing")
        if sum(survived.values()) < spec.threshold:
            raise RemoteProtocolError("R9", f"{sum(survived.values())} survivors, the threshold is {spec.threshold}")
        shares = {
            client: self.held[client][:SHARE_BYTES] if alive else self.held[client][SHARE_BYTES:]
            for client, alive in survived.items()
        }
        return Release(shares).encode(expected_from(spec, me)), Closed("the round is over for this client")


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


ClientStage = New | Advertised | Shared | Masked | Closed
