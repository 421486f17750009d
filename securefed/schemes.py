"""Every scheme by its name: how it is made, what protects the updates in it, and what it asks of a configuration."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from securefed.aggregation import Adversary, Scheme
from securefed.encoding.quantize import Numbers
from securefed.he import HomomorphicScheme, bfv, bfv_2048, ckks, ckks_compact
from securefed.plain import PlainFloats, PlainIntegers
from securefed.secagg import PairwiseMasks
from securefed.secagg.parameters import Parameters
from securefed.wire.header import Suite

__all__ = ["PROTECTED", "SCHEMES", "Protection", "SchemeEntry"]


class Protection(StrEnum):
    """What hides updates from the server; the value names the way to train in a run's records and its report."""

    MASKS = "masks"
    ENCRYPTION = "encrypted"
    NONE = "plain"


PROTECTED: Final = tuple(one.value for one in Protection if one is not Protection.NONE)
"""Ways to train in which the server learns sums alone."""


@dataclass(frozen=True)
class SchemeEntry:
    """A scheme as a configuration names it.

    Attributes:
        make: a scheme of the seam.
        protection: of the updates.
        suite: on the wire.
        libraries: distributions that it needs beyond those of every run.
    """

    make: Callable[[], Scheme]
    protection: Protection
    suite: Suite
    libraries: tuple[str, ...] = ()

    @property
    def stages(self) -> tuple[str, ...]:
        """The exchanges of a round, in order."""
        return self.make().stages

    @property
    def shares_a_key(self) -> bool:
        """Whether all clients of a round know what its updates are encrypted under: none may be the server's."""
        return self.protection is Protection.ENCRYPTION

    @property
    def holder_stages(self) -> tuple[str, ...]:
        """Exchanges with the key holder alone."""
        scheme = self.make()
        return scheme.holder_stages if isinstance(scheme, HomomorphicScheme) else ()

    def least_honest(self, cohort: int, adversary: Adversary) -> int:
        """Fewest honest clients in any sum that the server may learn, where the scheme protects updates.

        Args:
            cohort: number of clients.
            adversary: of the round.
        """
        if self.parts_sums(cohort, adversary):
            return cohort // 4 + 1
        return adversary.least_survivors(cohort) - adversary.corrupt_clients(cohort)

    def parts_sums(self, cohort: int, adversary: Adversary) -> bool:
        """Whether the server may learn sums over disjoint parts of the survivors, each of over n/4 honest ones."""
        return self.protection is Protection.MASKS and Parameters.of(cohort, adversary).attested

    def check_numbers(self, numbers: Numbers) -> None:
        """Refuse numbers whose sum does not fit.

        Raises:
            ConfigError: V8.
        """
        scheme = self.make()
        if isinstance(scheme, HomomorphicScheme):
            scheme.parameters.make_packing(numbers, 1)

    def check_here(self, numbers: Numbers) -> None:
        """Refuse what cannot be computed on this machine: before a model is pretrained, not in the first round.

        Raises:
            ConfigError: a library is missing, or V8.
        """
        scheme = self.make()
        if isinstance(scheme, HomomorphicScheme):
            scheme.parameters.make_cipher(numbers, 1)


_TENSEAL: Final = ("tenseal",)

SCHEMES: Final[Mapping[str, SchemeEntry]] = {
    "masks": SchemeEntry(PairwiseMasks, Protection.MASKS, Suite.PAIRWISE_MASKS),
    "bfv": SchemeEntry(bfv, Protection.ENCRYPTION, Suite.BFV),
    "bfv-2048": SchemeEntry(bfv_2048, Protection.ENCRYPTION, Suite.BFV_2048),
    "ckks": SchemeEntry(ckks, Protection.ENCRYPTION, Suite.CKKS, _TENSEAL),
    "ckks-compact": SchemeEntry(ckks_compact, Protection.ENCRYPTION, Suite.CKKS_COMPACT, _TENSEAL),
    "plain": SchemeEntry(PlainIntegers, Protection.NONE, Suite.PLAIN_INTEGERS),
    "float": SchemeEntry(PlainFloats, Protection.NONE, Suite.PLAIN_FLOATS),
}
