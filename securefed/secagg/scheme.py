"""Pairwise masking as a scheme of the seam."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from securefed.encoding.layout import Layout
from securefed.participation import ClientId, ClientIdentity
from securefed.secagg.client import MaskingClient
from securefed.secagg.server import MaskingServer
from securefed.secagg.stages import SCHEME, STAGES, SUITE, Stage
from securefed.wire.specification import RoundSpec

__all__ = ["PairwiseMasks"]


class PairwiseMasks:
    """Four exchanges, five against a malicious server, after which the server holds the sum and nothing else."""

    name = SCHEME
    stages = tuple(stage.value for stage in STAGES)
    update_stage = Stage.INPUT.value
    suite = SUITE
    # Between two of a round's later exchanges the whole set-up of the next one.
    carriers: ClassVar[Mapping[str, str]] = {
        Stage.INPUT.value: Stage.ADVERTISE.value,
        Stage.RELEASE.value: Stage.SHARE.value,
    }

    def server(
        self, spec: RoundSpec, layout: Layout, identities: Mapping[ClientId, bytes] | None = None
    ) -> MaskingServer:
        """The server's side of one round."""
        return MaskingServer(spec, layout, identities)

    def client(self, identity: ClientIdentity) -> MaskingClient:
        """A client's side of one round; its secrets are fresh from the operating system."""
        return MaskingClient(identity)

    def resume_server(
        self, spec: RoundSpec, layout: Layout, snapshot: bytes, identities: Mapping[ClientId, bytes] | None = None
    ) -> MaskingServer:
        """See `aggregation.Scheme`."""
        return MaskingServer.resume(spec, layout, identities, snapshot)

    def resume_client(self, identity: ClientIdentity, snapshot: bytes) -> MaskingClient:
        """See `aggregation.Scheme`."""
        return MaskingClient.resume(identity, snapshot)
