"""Homomorphic aggregation as schemes of the seam."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

from securefed.encoding.layout import Layout
from securefed.encoding.quantize import Numbers
from securefed.he.cipher import Cipher
from securefed.he.client import HomomorphicClient
from securefed.he.exact import Bfv
from securefed.he.packing import CoefficientPacking
from securefed.he.rings import CONSERVATIVE, STANDARD_LIMIT, Ring
from securefed.he.server import HomomorphicServer
from securefed.he.slots import SlotPacking, compact_slots, nvflare_slots
from securefed.he.stages import Parameters, Stage
from securefed.participation import ClientId, ClientIdentity
from securefed.wire.header import Suite
from securefed.wire.specification import RoundSpec

__all__ = ["HomomorphicScheme", "bfv", "bfv_2048", "ckks", "ckks_compact"]


@dataclass(frozen=True)
class HomomorphicScheme:
    """Four exchanges, two of them with the key holder alone; one of them is as large as an update."""

    parameters: Parameters

    stages = tuple(stage.value for stage in Stage if stage is not Stage.DONE)
    update_stage = Stage.INPUT.value
    holder_stages = (Stage.KEYS.value, Stage.OPEN.value)
    """Exchanges with the key holder alone, who is the first client of those that are there."""

    carriers: ClassVar[Mapping[str, str]] = {}

    @property
    def suite(self) -> Suite:
        """On the wire."""
        return self.parameters.suite

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
    """Exact ciphertexts at degree 4096 with 64 bits of modulus, where the standard allows 109."""
    return _exact("bfv", Suite.BFV, CONSERVATIVE)


def bfv_2048() -> HomomorphicScheme:
    """Exact ciphertexts at degree 2048 with 54 bits of modulus, the standard's limit."""
    return _exact("bfv-2048", Suite.BFV_2048, STANDARD_LIMIT)


def ckks() -> HomomorphicScheme:
    """Approximate ciphertexts with the parameters that NVFlare's users know; the sum is rounded to exact integers."""
    return _approximate("ckks", Suite.CKKS, nvflare_slots)


def ckks_compact() -> HomomorphicScheme:
    """Approximate ciphertexts at degree 1024 or 2048, as the round's precision needs; likewise rounded."""
    return _approximate("ckks-compact", Suite.CKKS_COMPACT, compact_slots)


def _exact(name: str, suite: Suite, ring: Ring) -> HomomorphicScheme:
    def packing(numbers: Numbers, count: int) -> CoefficientPacking:
        return CoefficientPacking(ring, numbers, count)

    return HomomorphicScheme(Parameters(name, suite, packing, lambda numbers, count: Bfv(packing(numbers, count))))


def _approximate(name: str, suite: Suite, packing: Callable[[Numbers, int], SlotPacking]) -> HomomorphicScheme:
    def cipher(numbers: Numbers, count: int) -> Cipher:
        from securefed.he.approximate import Ckks  # TenSEAL is needed here alone

        return Ckks(packing(numbers, count))

    return HomomorphicScheme(Parameters(name, suite, packing, cipher))
