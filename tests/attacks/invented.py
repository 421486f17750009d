"""Clients that the server makes up."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from securefed.aggregation import RoundSpec, SigningKey
from securefed.secagg.graph import promise
from securefed.secagg.keys import ClientSecrets, advertised
from securefed.wire.from_client import SEALED_BYTES, Entry, Shares
from tests.rounds import seed


def invented(spec: RoundSpec, client: int) -> tuple[ClientSecrets, Entry]:
    """A client that the server makes up under an id: all but a signature by the id's identity key."""
    secrets = ClientSecrets(seed(f"invented {client}"), spec.session)
    entry = Entry(secrets.channel.public, secrets.mask.public, promise(secrets.pick_secret, spec.session, client))
    if not spec.adversary.malicious:
        return secrets, entry
    signature = invented_identity(client).sign(advertised(entry, spec.session, client))
    return secrets, replace(entry, signature=signature)


def invented_identity(client: int) -> SigningKey:
    """The identity key that the server makes up with it."""
    return SigningKey(seed(f"invented identity {client}"))


def no_shares(secrets: ClientSecrets, recipients: Iterable[int]) -> Shares:
    """What an invented client sends: boxes that do not open, as nobody notices."""
    return Shares(secrets.pick_secret, bytes(32), dict.fromkeys(recipients, bytes(SEALED_BYTES)))
