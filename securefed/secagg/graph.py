"""Who neighbours whom: each client draws its own neighbours over the cohort, promised before it knows anyone's keys."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from securefed.crypto.hashing import digest_in_domain
from securefed.crypto.kdf import Label, derive
from securefed.crypto.keystream import Reader
from securefed.errors import RemoteProtocolError
from securefed.secagg.parameters import Parameters
from securefed.wire.specification import RoundSpec

__all__ = ["Neighbourhood", "check_promise", "draw", "mask_peers", "promise"]

_WORDS_AT_ONCE = 64


def promise(pick_secret: bytes, session: bytes, client: int) -> bytes:
    """Binds a client to its picks before the roster is known; hides them, as the secret has 256 bits."""
    return digest_in_domain("picks", session, client.to_bytes(4, "big"), pick_secret)


def draw(key: bytes, below: int, count: int) -> list[int]:
    """`count` distinct uniform numbers in 0 … below − 1, in the order drawn from `Stream(key)`.

    Words over the greatest multiple of `below` are skipped, so none is likelier than another.
    """
    limit = 2**64 - 2**64 % below
    reader, found = Reader(key), dict[int, None]()
    while len(found) < count:
        for word in reader.take(8 * _WORDS_AT_ONCE).view("<u8").tolist():
            if word < limit and len(found) < count:
                found[word % below] = None
    return list(found)


def check_promise(promised: bytes, pick_secret: bytes, session: bytes, client: int) -> None:
    """Refuse a pick secret that is not the one promised.

    Raises:
        RemoteProtocolError: G1.
    """
    if promise(pick_secret, session, client) != promised:
        raise RemoteProtocolError("G1", f"the pick secret of client {client} is not the promised one")


@dataclass(frozen=True, repr=False)
class Neighbourhood:
    """One client's own edges.

    Attributes:
        client: whose they are.
        pick_secret: what they were drawn from, 32 bytes.
        holders: who gets shares of its seeds; in a complete graph the whole cohort with the client itself.
        picked_masks: the mask peers that it drew; others may have drawn it.
        least_masks: how many of these must survive.
    """

    client: int
    pick_secret: bytes
    holders: frozenset[int]
    picked_masks: frozenset[int]
    least_masks: int

    @staticmethod
    def of(spec: RoundSpec, parameters: Parameters, client: int, pick_secret: bytes) -> Neighbourhood:
        """From the client's pick secret."""
        if parameters.complete:
            everyone = frozenset(spec.cohort)
            return Neighbourhood(client, pick_secret, everyone, everyone - {client}, 0)
        own = spec.position(client)
        key = derive(pick_secret, Label.PICKS, spec.session + client.to_bytes(4, "big"))
        picks = [
            spec.cohort[at + (at >= own)] for at in draw(key, len(spec.cohort) - 1, parameters.neighbours)
        ]  # fmt: skip
        first = frozenset(picks[: parameters.masks])
        return Neighbourhood(client, pick_secret, frozenset(picks), first, parameters.least_masks)

    def check_survivors(self, survived: Collection[int]) -> None:
        """Refuse survivors that leave this client with too few mask peers: the rest may all be the server's.

        Raises:
            RemoteProtocolError: G3.
        """
        if self.least_masks == 0:
            return
        left = len(self.picked_masks.intersection(survived))
        if left < self.least_masks:
            raise RemoteProtocolError(
                "G3", f"client {self.client} would keep {left} mask peers, at least {self.least_masks} are needed"
            )


def mask_peers(neighbourhoods: Mapping[int, Neighbourhood]) -> dict[int, set[int]]:
    """For each client all mask peers among the others: those that it drew, and those that drew it."""
    peers: dict[int, set[int]] = {client: set() for client in neighbourhoods}
    for client, neighbourhood in neighbourhoods.items():
        for other in neighbourhood.picked_masks & peers.keys():
            peers[client].add(other)
            peers[other].add(client)
    return peers
