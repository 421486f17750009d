"""Pairwise masking as a scheme of the seam."""

from __future__ import annotations

from securefed.aggregation import ClientIdentity
from securefed.encoding.layout import Layout
from securefed.secagg.client import MaskingClient
from securefed.secagg.client_stages import SCHEME
from securefed.secagg.server import MaskingServer
from securefed.secagg.stages import STAGES, Stage
from securefed.wire.specification import RoundSpec

__all__ = ["PairwiseMasks", "default_threshold"]


def default_threshold(cohort: int) -> int:
    """The smallest threshold over two thirds of the cohort: ⌊2n/3⌋ + 1.

    Over 2/3, a server that tells different clients different survivors cannot collect enough shares of both kinds
    for one client (Bonawitz et al. 2017, section 6.2); ⌈n/3⌉ − 1 clients may drop out.
    """
    return 2 * cohort // 3 + 1


class PairwiseMasks:
    """Four exchanges, after which the server holds the sum and nothing else."""

    name = SCHEME
    stages = tuple(stage.value for stage in STAGES)
    update_stage = Stage.INPUT.value

    def server(self, spec: RoundSpec, layout: Layout) -> MaskingServer:
        """The server's side of one round."""
        return MaskingServer(spec, layout)

    def client(self, identity: ClientIdentity) -> MaskingClient:
        """A client's side of one round; its secrets are fresh from the operating system."""
        return MaskingClient(identity)
