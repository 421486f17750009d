"""All targets by name, made when they are asked for: some play whole rounds first."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from securefed.wire.header import MessageType
from tests.fuzz import files
from tests.fuzz.decoders import decoder_target, pieces_target, specification_target
from tests.fuzz.honest import ROUNDS
from tests.fuzz.parties import client_target, server_target
from tests.fuzz.snapshots import client_snapshot_target, server_snapshot_target
from tests.fuzz.target import Target

__all__ = ["TARGETS"]

TARGETS: Final[dict[str, Callable[[], Target]]] = {
    **{f"wire-{kind.name.lower()}": partial(decoder_target, kind) for kind in MessageType},
    "wire-input-pieces": pieces_target,
    "specification": specification_target,
    **{f"client-{name}": partial(client_target, name) for name in ROUNDS},
    **{f"server-{name}": partial(server_target, name) for name in ROUNDS},
    "client-snapshot": client_snapshot_target,
    "server-snapshot": server_snapshot_target,
    "checkpoint": files.checkpoint_target,
    "journal": files.journal_target,
    "record": files.record_target,
    "safetensors": files.safetensors_target,
    "safetensors-index": files.index_target,
}
