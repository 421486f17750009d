"""Who a round is protected against: stated once, in the specification, and everything else follows from it."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from securefed.errors import ConfigError, RemoteProtocolError

__all__ = ["ADVERSARY_BYTES", "Adversary", "Server"]

_FORMAT: Final = struct.Struct(">BBBBHH")
ADVERSARY_BYTES: Final = _FORMAT.size
_THOUSANDTHS_BELOW: Final = 500


class Server(IntEnum):
    """What the server does."""

    SEMI_HONEST = 1
    """It follows the protocol, and looks at all it sees."""
    MALICIOUS = 2
    """It sends, drops, delays, invents and tells lies as it likes."""


@dataclass(frozen=True)
class Adversary:
    """The stated adversary of a round (`protocols/wire/README.md`).

    Attributes:
        server: "malicious" or "semi-honest", or a `Server`.
        corrupt: share of the cohort that is corrupt with the server, 0 … 0.499, in thousandths; at least one client.
        dropouts: share of the cohort that may drop out in a round, 0 … 0.499, in thousandths. It is no secret and no
            protection: it says how many losses a round must survive.
        security: bits of statistical security σ, 1 … 128; matters where a cohort is large enough for a sparse graph.
        correctness: η, 1 … 64: an honest round fails with probability of about 2^−η.

    Raises:
        ConfigError: `adversary.<field>`, out of its bounds.
    """

    server: Server | str = Server.MALICIOUS
    corrupt: float = 0.1
    dropouts: float = 0.1
    security: int = 40
    correctness: int = 20

    def __post_init__(self) -> None:
        object.__setattr__(self, "server", _server(self.server))
        for name in ("corrupt", "dropouts"):
            object.__setattr__(self, name, _thousandths(name, getattr(self, name)) / 1000)
        for name, greatest in (("security", 128), ("correctness", 64)):
            bits = getattr(self, name)
            if bits not in range(1, greatest + 1):
                raise ConfigError(f"adversary.{name}", f"{bits} bits are not in 1 … {greatest}")

    @property
    def malicious(self) -> bool:
        """Whether the server may deviate from the protocol."""
        return self.server is Server.MALICIOUS

    def corrupt_clients(self, cohort: int) -> int:
        """C: clients of a cohort that the adversary holds, at least one."""
        return max(1, -(-cohort * _thousandths("corrupt", self.corrupt) // 1000))

    def lost_clients(self, cohort: int) -> int:
        """D: clients of a cohort that may drop out."""
        return cohort * _thousandths("dropouts", self.dropouts) // 1000

    def least_survivors(self, cohort: int) -> int:
        """L: fewest clients in a sum."""
        corrupt = self.corrupt_clients(cohort)
        return (cohort + corrupt) // 2 + 1 if self.malicious else max(corrupt, cohort // 2) + 1

    def infeasible(self, cohort: int) -> str | None:
        """Why no round of so many clients can be protected against this one; None where it can."""
        needed, left = self.least_survivors(cohort), cohort - self.lost_clients(cohort)
        if needed <= left:
            return None
        return (
            f"against {self}, a cohort of {cohort} needs {needed} survivors, and {left} are left where "
            f"{self.dropouts:.1%} drop out: state fewer dropouts, fewer corrupt clients, or a larger cohort"
        )

    def covers(self, other: Adversary) -> bool:
        """Whether protection against this one is protection against the other, whatever its dropouts."""
        as_bad = int(self.server) >= int(other.server)
        return as_bad and self.corrupt >= other.corrupt and self.security >= other.security

    def __str__(self) -> str:
        server = "malicious" if self.malicious else "semi-honest"
        return f"a {server} server with {self.corrupt:.1%} of the clients, {self.security} bits"

    def pack(self) -> bytes:
        """8 bytes of a specification."""
        return _FORMAT.pack(
            self.server, self.security, self.correctness, 0,
            _thousandths("corrupt", self.corrupt), _thousandths("dropouts", self.dropouts),
        )  # fmt: skip

    @classmethod
    def parse(cls, raw: bytes | memoryview) -> Adversary:
        """From the 8 bytes.

        Raises:
            RemoteProtocolError: W15.
        """
        server, security, correctness, zero, corrupt, dropouts = _FORMAT.unpack(raw)
        try:
            if zero:
                raise ConfigError("adversary", "a reserved byte is set")
            return cls(server, corrupt / 1000, dropouts / 1000, security, correctness)
        except ConfigError as error:
            raise RemoteProtocolError("W15", str(error)) from None


def _server(value: object) -> Server:
    names = {"semi-honest": Server.SEMI_HONEST, "malicious": Server.MALICIOUS}
    if isinstance(value, str) and value in names:
        return names[value]
    if isinstance(value, int) and value in tuple(Server):
        return Server(value)
    raise ConfigError("adversary.server", f"{value!r} is neither 'malicious' nor 'semi-honest'")


def _thousandths(name: str, share: float) -> int:
    whole = round(share * 1000) if 0 <= share < 1 else -1
    if not 0 <= whole < _THOUSANDTHS_BELOW or abs(whole / 1000 - share) > 1e-9:
        raise ConfigError(f"adversary.{name}", f"{share!r} is not a share in 0 … 0.499, in thousandths")
    return whole
