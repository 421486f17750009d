"""All targets by name, made when they are asked for: some play whole rounds first."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from securefed.wire.header import MessageType
from securefed.wire.snapshot import Party
from tests.fuzz import files
from tests.fuzz.chains import bundle_target, chain_client_target, chain_server_target, chain_snapshot_target
from tests.fuzz.decoders import decoder_target, pieces_target, specification_target
from tests.fuzz.homomorphic import KINDS, agreed_here
from tests.fuzz.homomorphic_clients import he_client_target
from tests.fuzz.homomorphic_server import he_server_target, he_snapshot_target
from tests.fuzz.honest import ROUNDS
from tests.fuzz.parties import client_target, server_target
from tests.fuzz.privacy_files import certificate_target, ledger_target
from tests.fuzz.snapshots import client_snapshot_target, server_snapshot_target
from tests.fuzz.target import Target

__all__ = ["TARGETS"]


def _homomorphic(kind: MessageType) -> Target:
    return decoder_target(kind, agreed_here(kind), f"wire-{kind.name.lower()}")


def _homomorphic_parties() -> dict[str, Callable[[], Target]]:
    found: dict[str, Callable[[], Target]] = {}
    for server in ("malicious", "semi-honest"):
        for who, client in (("holder", 2), ("client", 3)):
            found[f"{who}-bfv-{server}"] = partial(he_client_target, server, client, f"{who}-bfv-{server}")
        found[f"server-bfv-{server}"] = partial(he_server_target, server, f"server-bfv-{server}")
    for party in (Party.CLIENT, Party.SERVER):
        name = f"{party.name.lower()}-snapshot-bfv"
        found[name] = partial(he_snapshot_target, party, name)
    return found


TARGETS: Final[dict[str, Callable[[], Target]]] = {
    **{f"wire-{kind.name.lower()}": partial(decoder_target, kind) for kind in MessageType if kind not in KINDS},
    **{f"wire-{kind.name.lower()}": partial(_homomorphic, kind) for kind in KINDS},
    "wire-input-pieces": pieces_target,
    "specification": specification_target,
    **{f"client-{name}": partial(client_target, name) for name in ROUNDS},
    **{f"server-{name}": partial(server_target, name) for name in ROUNDS},
    "bundle": bundle_target,
    "chain-client": chain_client_target,
    "chain-server": chain_server_target,
    "chain-client-snapshot": partial(chain_snapshot_target, Party.CLIENT_CHAIN),
    "chain-server-snapshot": partial(chain_snapshot_target, Party.SERVER_CHAIN),
    "client-snapshot": client_snapshot_target,
    "server-snapshot": server_snapshot_target,
    **_homomorphic_parties(),
    "checkpoint": files.checkpoint_target,
    "journal": files.journal_target,
    "record": files.record_target,
    "ledger": ledger_target,
    "certificate": certificate_target,
    "safetensors": files.safetensors_target,
    "safetensors-index": files.index_target,
}
