"""The server's side of one masked round."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from securefed.aggregation import Aggregate, Attendance, ClientId
from securefed.crypto.hashing import digest
from securefed.crypto.shamir import share_from_bytes
from securefed.crypto.x25519 import check_public_key
from securefed.encoding.layout import Layout
from securefed.encoding.vector import VectorEncoding
from securefed.errors import LocalProtocolError, RemoteProtocolError, RoundAborted
from securefed.secagg.client_stages import SUITE, expected_from
from securefed.secagg.stages import Stage
from securefed.secagg.unmask import Evidence, unmask
from securefed.wire.header import SERVER
from securefed.wire.messages import Advertisement, Delivery, Keys, Offer, Release, Roster, Shares, Survivors
from securefed.wire.specification import RoundSpec
from securefed.wire.vector_writer import read_words

__all__ = ["MaskingServer"]


class MaskingServer:
    """State machine of the server in one round (`protocols/pairwise_masking/README.md`).

    It holds public keys, sealed shares, the running sum of masked words, and in the last stage the shares that
    clients released; never a secret of a client whose update is in the sum.

    Args:
        spec: of the round.
        layout: of the updates; its digest is the specification's.

    Memory: two vectors of ring words, and 82 bytes for each ordered pair of clients.
    """

    def __init__(self, spec: RoundSpec, layout: Layout) -> None:
        if layout.digest != spec.layout:
            raise LocalProtocolError("O2", "the layout is not the one that the specification names")
        self._spec = spec
        self._encoding = VectorEncoding(layout, spec.numbers)
        self._stage = Stage.ADVERTISE
        self._present = Attendance(spec.cohort)
        self._keys: dict[ClientId, Keys] = {}
        self._public_keys: set[bytes] = set()
        self._roster = b""
        self._shares: dict[ClientId, Shares] = {}
        self._total = np.zeros(0, "<u8")
        self._survived: dict[ClientId, bool] = {}
        self._released: dict[ClientId, dict[ClientId, bytes]] = {}
        self._aggregate: Aggregate | None = None

    @property
    def stage(self) -> Stage:
        """The exchange that is going on."""
        return self._stage

    @property
    def aggregate(self) -> Aggregate | None:
        """None until the round is done."""
        return self._aggregate

    def requests(self) -> Mapping[ClientId, bytes]:
        """What each client must be sent now; the same bytes to all but in the input stage."""
        context = expected_from(self._spec, SERVER)
        match self._stage:
            case Stage.ADVERTISE:
                return dict.fromkeys(self._spec.cohort, Offer(self._spec).encode(SUITE))
            case Stage.SHARE:
                return dict.fromkeys(self._keys, self._roster)
            case Stage.INPUT:
                return {
                    client: Delivery(
                        {sender: s.sealed[client] for sender, s in self._shares.items() if sender != client}
                    ).encode(context)
                    for client in self._shares
                }
            case Stage.RELEASE:
                message = Survivors(self._survived).encode(context)
                return {client: message for client, alive in self._survived.items() if alive}
            case Stage.DONE:
                return {}

    def receive(self, client: ClientId, reply: bytes) -> None:
        """See `aggregation.ServerSession.receive`: an answer is taken whole or not at all."""
        with self._present.answer(client):
            expected = expected_from(self._spec, client)
            match self._stage:
                case Stage.ADVERTISE:
                    self._take_keys(client, Advertisement.decode(reply, expected).keys)
                case Stage.SHARE:
                    self._shares[client] = Shares.decode(reply, expected, self._keys.keys() - {client})
                case Stage.INPUT:
                    self._total += read_words(reply, expected, self._spec.words, self._spec.numbers.lanes.ring_bits)
                case Stage.RELEASE:
                    shares = Release.decode(reply, expected, self._survived.keys()).shares
                    for share in shares.values():
                        share_from_bytes(share)
                    self._released[client] = shares

    def _take_keys(self, client: ClientId, keys: Keys) -> None:
        for key in (keys.channel, keys.mask):
            check_public_key(key)
        if keys.channel == keys.mask or not self._public_keys.isdisjoint((keys.channel, keys.mask)):
            raise RemoteProtocolError("K4", "a public key was advertised twice")
        self._public_keys |= {keys.channel, keys.mask}
        self._keys[client] = keys

    def advance(self) -> None:
        """See `aggregation.ServerSession.advance`."""
        if self._stage is Stage.DONE:
            raise LocalProtocolError("R5", "the round is over: there is no further stage")
        # DONE until the next stage is complete: a round that aborts here stays over.
        stage, self._stage = self._stage, Stage.DONE
        answered = self._present.next_stage(stage, self._spec.threshold)
        match stage:
            case Stage.ADVERTISE:
                self._keys = {client: self._keys[client] for client in answered}
                self._roster = Roster(self._keys).encode(expected_from(self._spec, SERVER))
                self._stage = Stage.SHARE
            case Stage.SHARE:
                self._total = np.zeros(self._spec.words, "<u8")
                self._stage = Stage.INPUT
            case Stage.INPUT:
                self._survived = {client: client in answered for client in sorted(self._shares)}
                self._stage = Stage.RELEASE
            case Stage.RELEASE:
                self._present.close()
                self._finish()

    def _finish(self) -> None:
        commitments = {client: shares.commitment for client, shares in self._shares.items()}
        evidence = Evidence(self._spec, digest(self._roster), self._keys, commitments, self._survived, self._released)
        survivors = tuple(client for client, alive in self._survived.items() if alive)
        try:
            unmask(self._total, evidence)
            self._total &= self._spec.numbers.lanes.ring_mask
            decoded = self._encoding.decode(self._total, len(survivors))
        except RemoteProtocolError as error:
            self._present.close(aborted=True)
            raise RoundAborted(Stage.RELEASE, str(error)) from None
        self._aggregate = Aggregate(decoded.tensors, decoded.weight, decoded.metrics, survivors, self._total)
