"""Homomorphic aggregation as schemes of the seam."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from securefed.encoding.layout import Layout
from securefed.he.bfv import Bfv
from securefed.he.client import HomomorphicClient
from securefed.he.rings import CONSERVATIVE, STANDARD_LIMIT
from securefed.he.server import HomomorphicServer
from securefed.he.stages import Parameters, Stage
from securefed.participation import ClientId, ClientIdentity
from securefed.wire.header import Suite
from securefed.wire.specification import RoundSpec

__all__ = ["HomomorphicScheme", "bfv", "bfv_2048"]


@dataclass(frozen=True)
class HomomorphicScheme:
    """Four exchanges, two of them with the key holder alone; one of them is as large as an update."""

    parameters: Parameters

    stages = tuple(stage.value for stage in Stage if stage is not Stage.DONE)
    update_stage = Stage.INPUT.value

    @property
    def name(self) -> str:
        """As in configurations and policies."""
        return self.parameters.name

    def server(
        self, spec: RoundSpec, layout: Layout, identities: Mapping[ClientId, bytes] | None = None
    ) -> HomomorphicServer:
        """The server's side of one round."""
        return HomomorphicServer(self.parameters, spec, layout, identities)

    def client(self, identity: ClientIdentity) -> HomomorphicClient:
        """A client's side of one round; its secrets are fresh from the operating system."""
        return HomomorphicClient(self.parameters, identity)

    def resume_server(
        self, spec: RoundSpec, layout: Layout, snapshot: bytes, identities: Mapping[ClientId, bytes] | None = None
    ) -> HomomorphicServer:
        """See `aggregation.Scheme`."""
        return HomomorphicServer.resume(self.parameters, spec, layout, identities, snapshot)

    def resume_client(self, identity: ClientIdentity, snapshot: bytes) -> HomomorphicClient:
        """See `aggregation.Scheme`."""
        return HomomorphicClient.resume(self.parameters, identity, snapshot)


def bfv() -> HomomorphicScheme:
    """Exact sums at degree 4096 with 60 bits, where the standard allows 109."""
    return HomomorphicScheme(Parameters("bfv", Suite.BFV, CONSERVATIVE, Bfv))


def bfv_2048() -> HomomorphicScheme:
    """Exact sums at degree 2048 with 54 bits, the standard's limit."""
    return HomomorphicScheme(Parameters("bfv-2048", Suite.BFV_2048, STANDARD_LIMIT, Bfv))
