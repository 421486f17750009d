"""The exchanges of a homomorphic round, and what both sides know about its parameters and messages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from securefed.encoding.quantize import Numbers
from securefed.encoding.vector import VectorEncoding
from securefed.errors import ConfigError
from securefed.he.cipher import Cipher, Packing
from securefed.he.keys import RoundContext
from securefed.he.tags import TAGS
from securefed.wire.frame import Expected
from securefed.wire.header import Suite
from securefed.wire.specification import RoundSpec

__all__ = ["Parameters", "Stage"]


class Stage(StrEnum):
    """The exchanges, and the end."""

    ADVERTISE = "advertise"
    KEYS = "keys"
    """The key holder alone is asked."""
    INPUT = "input"
    OPEN = "open"
    """The key holder alone is asked."""
    DONE = "done"


@dataclass(frozen=True)
class Parameters:
    """What is fixed by the scheme's name: suite, packing, encryption.

    Attributes:
        name: as in configurations and policies.
        suite: on the wire.
        make_packing, make_cipher: of a round, from its numbers and the lanes of a vector.
    """

    name: str
    suite: Suite
    make_packing: Callable[[Numbers, int], Packing]
    make_cipher: Callable[[Numbers, int], Cipher]

    def check(self, spec: RoundSpec) -> None:
        """Refuse a round that claims what no scheme with a shared key gives.

        Raises:
            ConfigError: `adversary.corrupt`.
        """
        if spec.adversary.corrupt:
            raise ConfigError(
                "adversary.corrupt",
                f"all clients of a {self.name!r} round share its key, so one that is the server's opens every update: "
                "state corrupt = 0, or use the scheme 'masks'",
            )

    def packing(self, encoding: VectorEncoding) -> Packing:
        """Of the lanes of an update and its tags.

        Raises:
            ConfigError: V8.
        """
        return self.make_packing(encoding.numbers, _lanes(encoding))

    def cipher(self, encoding: VectorEncoding) -> Cipher:
        """Of the same lanes.

        Raises:
            ConfigError: V8.
        """
        return self.make_cipher(encoding.numbers, _lanes(encoding))

    def context(self, spec: RoundSpec, encoding: VectorEncoding) -> RoundContext:
        """What the keys of a round are bound to.

        Raises:
            ConfigError: V8.
        """
        return RoundContext(self.suite, spec.session, self.packing(encoding))

    def expected_from(self, spec: RoundSpec, sender: int) -> Expected:
        """What the header of a message of this round says."""
        return Expected(self.suite, spec.session, spec.round, sender)


def _lanes(encoding: VectorEncoding) -> int:
    return encoding.lanes_used + TAGS * encoding.numbers.digits
