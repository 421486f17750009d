"""What the adversary knows, and what follows from it.

It has the messages that it received and the secrets of its corrupt clients, and computes with these alone: what it
recovers of an honest client it has really learnt.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from securefed.aggregation import RoundSpec
from securefed.crypto.aead import open_sealed
from securefed.crypto.hashing import digest
from securefed.crypto.keystream import StreamSum, Words
from securefed.crypto.shamir import SECRET_BYTES, SHARE_BYTES, Responders
from securefed.crypto.x25519 import PrivateKey
from securefed.encoding.vector import Decoded, VectorEncoding
from securefed.secagg import client_input
from securefed.secagg.graph import Neighbourhood
from securefed.secagg.keys import ClientSecrets, PairContext, self_mask_key
from securefed.secagg.parameters import Parameters
from securefed.secagg.stages import expected_from
from securefed.wire.from_client import Entry, Shares
from securefed.wire.from_server import Delivery
from tests.rounds import LAYOUT, seed

VICTIM = 3
"""The honest client whose ring words are wanted."""

SELF_MASK, MASK_KEY = 0, 1
"""The two kinds of share."""


class Knowledge:
    """What came in one round, and the clients that are corrupt in it.

    Attributes:
        corrupt: secrets of corrupt and of invented clients.
        entries, shares, inputs, attestations: what clients sent, by client.
        roster: the ROSTER message that keys are bound to.
        told: what each client was delivered.
        named: in a prepared round, the model that each client was told of.
        opened: shares by holder, of an owner and a kind.
    """

    def __init__(self, spec: RoundSpec, corrupt: Iterable[int] = ()) -> None:
        self.spec = spec
        self.parameters = Parameters.of(len(spec.cohort), spec.adversary)
        self.corrupt = {client: ClientSecrets(seed(f"corrupt {client}"), spec.session) for client in corrupt}
        self.entries: dict[int, Entry] = {}
        self.roster = b""
        self.shares: dict[int, Shares] = {}
        self.told: dict[int, Delivery] = {}
        self.named: dict[int, bytes] = {}
        self.inputs: dict[int, Words] = {}
        self.attestations: dict[int, bytes] = {}
        self.opened: dict[tuple[int, int], dict[int, bytes]] = {}

    @property
    def pairs(self) -> PairContext:
        return PairContext(self.spec.session, digest(self.roster))

    def masking(self, client: int) -> PairContext:
        """What this client's masks are bound to, whatever the program makes of the name that it was told."""
        named = client_input.named_session(self.spec, self.named.get(client, self.spec.model))
        return PairContext(named, digest(self.roster))

    def picks_in(self, client: int, reply: bytes) -> Neighbourhood:
        return Neighbourhood.of(self.spec, self.parameters, client, Shares.peek_pick_secret(reply))

    def picks(self, client: int) -> Neighbourhood:
        """Everyone's edges are the server's to see once the shares are sent."""
        return Neighbourhood.of(self.spec, self.parameters, client, self.shares[client].pick_secret)

    def plot(self) -> None:
        """Corrupt clients open every share that was sealed for them, of both kinds."""
        self.plot_of(self.shares)

    def plot_of(self, owners: Iterable[int]) -> None:
        """Likewise, of these clients."""
        for owner in owners:
            shares = self.shares[owner]
            header = Shares.header(expected_from(self.spec, owner), len(shares.sealed))
            for client, secrets in self.corrupt.items():
                if client in shares.sealed:
                    key = self.pairs.channel_key(secrets.channel, self.entries[owner].channel, owner, client)
                    both = open_sealed(key, shares.sealed[client], header + client.to_bytes(4, "big"))
                    self.opened.setdefault((owner, SELF_MASK), {})[client] = both[:SHARE_BYTES]
                    self.opened.setdefault((owner, MASK_KEY), {})[client] = both[SHARE_BYTES:]

    def _secret(self, owner: int, kind: int) -> bytes | None:
        shares, threshold = self.opened.get((owner, kind), {}), self.parameters.threshold
        if len(shares) < threshold:
            return None
        value = Responders(sorted(shares)[:threshold], threshold).combine(shares)
        return value.to_bytes(SECRET_BYTES, "big") if value < 2 ** (8 * SECRET_BYTES) else None

    def self_mask_seed(self, owner: int) -> bytes | None:
        """None while there are fewer shares than the threshold."""
        return self.corrupt[owner].self_mask_seed if owner in self.corrupt else self._secret(owner, SELF_MASK)

    def mask_key(self, owner: int) -> PrivateKey | None:
        """Likewise; a key that is not the advertised one is none."""
        if owner in self.corrupt:
            return self.corrupt[owner].mask
        secret = self._secret(owner, MASK_KEY)
        key = PrivateKey(secret) if secret is not None else None
        return key if key is not None and key.public == self.entries[owner].mask else None

    def peers(self, client: int) -> frozenset[int]:
        """With whom a client masked, by what it was told."""
        told = self.told[client]
        if self.parameters.complete:
            return frozenset(told.shared) - {client}
        picked_by = {sender for sender in told.senders if client in self.picks(sender).picked_masks}
        return (self.picks(client).picked_masks & set(told.shared)) | picked_by

    def recover(self, victim: int = VICTIM, cancelling: Iterable[int] = ()) -> Words | None:
        """The victim's ring words, if all of its masks can be made but those that cancel each other; else None."""
        seed_ = self.self_mask_seed(victim)
        if seed_ is None:
            return None
        pairs = self.masking(victim)
        terms = [(self_mask_key(seed_, pairs.session, victim), -1)]
        mine = self.mask_key(victim)
        for peer in self.peers(victim).difference(cancelling):
            theirs = self.mask_key(peer)
            if mine is not None:
                key = pairs.mask_key(mine, self.entries[peer].mask, victim, peer)
            elif theirs is not None:
                key = pairs.mask_key(theirs, self.entries[victim].mask, peer, victim)
            else:
                return None
            terms.append((key, -1 if victim < peer else +1))
        words = self.inputs[victim].copy()
        StreamSum(terms).add_to(words)
        return words & self.spec.numbers.lanes.ring_mask

    def decoded(self, survivors: int) -> Decoded:
        """The mean that the sum stands for."""
        return VectorEncoding(LAYOUT, self.spec.numbers).decode(self.total(), survivors)

    def total(self) -> Words:
        """The sum of all inputs without their self-masks: pairwise masks cancel where all clients had one view."""
        words = np.sum(list(self.inputs.values()), axis=0, dtype="<u8")
        seeds = {client: self.self_mask_seed(client) for client in self.inputs}
        opened = [
            (self_mask_key(s, self.masking(client).session, client), -1) for client, s in seeds.items() if s is not None
        ]
        StreamSum(opened).add_to(words)
        return words & self.spec.numbers.lanes.ring_mask
