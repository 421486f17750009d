"""The stored form of what a client holds after its input."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from securefed.crypto.hashing import DIGEST_BYTES
from securefed.participation import ClientIdentity
from securefed.secagg.client_release import Held
from securefed.secagg.graph import Neighbourhood
from securefed.secagg.keys import PairContext
from securefed.secagg.parameters import Parameters
from securefed.secagg.stages import SUITE
from securefed.wire.frame import cut, pack_list, pack_set, read_ids, read_set
from securefed.wire.from_server import Offer
from securefed.wire.snapshot import no_other_error

__all__ = ["pack_held", "parse_held"]


def pack_held(held: Held, survived: tuple[int, ...] | None) -> list[bytes]:
    """Sections; `survived` where the client has consented to it."""
    cohort = held.spec.cohort
    return [
        Offer(held.spec).encode(SUITE),
        held.pairs.session,
        held.pairs.roster,
        pack_set(held.shared, cohort),
        b"" if survived is None else pack_set(survived, cohort),
        _pack(held.shares),
        _pack({client: neighbourhood.pick_secret for client, neighbourhood in held.neighbourhoods.items()}),
        held.sample_key,
    ]


def parse_held(identity: ClientIdentity, sections: Sequence[bytes]) -> tuple[Held, tuple[int, ...] | None]:
    """What was packed.

    Raises:
        PersistenceError: P1, where it is not what `pack_held` writes.
    """
    with no_other_error():
        offer, named, roster, shared, survived, shares, pick_secrets, sample_key = sections
        spec = Offer.decode(offer, SUITE).spec
        if len(named) != DIGEST_BYTES or len(roster) != DIGEST_BYTES:
            raise ValueError
        parameters = Parameters.of(len(spec.cohort), spec.adversary)
        held = Held(
            identity=identity,
            spec=spec,
            pairs=PairContext(named, roster),
            shared=read_set(memoryview(shared), spec.cohort),
            shares=_parse(shares, spec.cohort),
            neighbourhoods={
                client: Neighbourhood.of(spec, parameters, client, secret)
                for client, secret in _parse(pick_secrets, spec.cohort).items()
            },
            sample_key=sample_key,
        )
        return held, read_set(memoryview(survived), spec.cohort) if survived else None


def _pack(items: Mapping[int, bytes]) -> bytes:
    return len(items).to_bytes(4, "big") + pack_list(dict(items))


def _parse(raw: bytes, cohort: Sequence[int]) -> dict[int, bytes]:
    count, body = int.from_bytes(raw[:4], "big"), memoryview(raw)[4:]
    if count == 0:
        return {}
    ids = read_ids(body, count, cohort)
    items = body[4 * count :]
    return dict(zip(ids, cut(items, len(items) // count), strict=True))
