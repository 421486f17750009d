"""The numbers of a mechanism, and all that follows from them: sensitivities, ranges, bits, the accountant's events."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

from securefed.dp.accounting import DiscreteGaussianSum, Failure, Skellam
from securefed.dp.distributed.rotation import BLOCK, Rotation
from securefed.dp.distributed.rounding import l1_bound, l2_squared_bound
from securefed.dp.distributed.tails import Kind, log2_tail
from securefed.dp.distributed.tails import reach as reach_of
from securefed.encoding.layout import Layout, TensorSpec
from securefed.encoding.quantize import Numbers
from securefed.errors import ConfigError, LocalProtocolError

if TYPE_CHECKING:
    from securefed.dp.accounting import Event

__all__ = [
    "GREATEST_BITS", "GREATEST_GRID", "GREATEST_VARIANCE", "LEAST_VARIANCE", "TENSOR", "Parameters", "kind_named",
    "noise_event", "signal_bound",
]  # fmt: skip

GREATEST_BITS: Final = 22
"""Of an integer: with more, floor(z + r/2^32) of the encoding, in doubles, is no longer z for every r."""
GREATEST_GRID: Final = 2**24
"""So that the squares of a client's integers add up below 2^53, where doubles add whole numbers without error."""
GREATEST_LENGTH: Final = 2**40
LEAST_CLIP: Final = 2.0**-400
GREATEST_CLIP: Final = 2.0**400
"""Within these no square of an update that is not refused overflows, and none that matters underflows."""
LEAST_VARIANCE: Final = 2.0**-2
GREATEST_VARIANCE: Final = 2.0**40
CLAMPED: Final = 2.0**-20
"""Most that any coordinate of an update is clamped with, before the noise: a matter of bias alone."""
_LEAST_EXPONENT: Final = -1000.0
"""So that no probability becomes 0."""
TENSOR: Final = "noised"
"""Name of the one tensor of a round's updates."""


def kind_named(name: Kind | str) -> Kind:
    """The kind of noise of this name.

    Raises:
        ConfigError: N6, where there is none.
    """
    if name not in tuple(Kind):
        raise ConfigError("privacy.noise", f"[N6] {name!r} is none of {', '.join(Kind)}")
    return Kind(name)


def signal_bound(rotation: Rotation, grid: int) -> int:
    """K: the range of a rotated coordinate before rounding and noise, in steps."""
    return math.ceil(grid * rotation.flatness(CLAMPED))


def noise_event(kind: Kind, l2_squared: int, length: int, variance: float, honest: int) -> Event:
    """The release of a sum of integer vectors with the noise of so many honest clients.

    Args:
        kind: of noise.
        l2_squared: N, most that the squares of one client's integers add up to; Δ₂ = √N, rounded up.
        length: of the vectors.
        variance: v, of one client's noise.
        honest: clients whose noise the adversary does not know.
    """
    l1, l2 = l1_bound(l2_squared, length), math.nextafter(math.sqrt(l2_squared), math.inf)
    if kind is Kind.SKELLAM:
        return Skellam(l1=l1, l2=l2, variance=honest * variance)
    return DiscreteGaussianSum(l1=l1, l2=l2, sigma=math.sqrt(variance), clients=honest, dimension=length)


@dataclass(frozen=True)
class Parameters:
    """How the clients of a round add noise together: everything follows from these.

    Args:
        clients: n, of the cohort, ≥ 1.
        least_honest: t, fewest honest clients whose noise is in a sum: the round's threshold less the corrupt ones.
            The noise of so many is what a guarantee is planned with.
        corrupt: clients that the adversary holds, whose noise it therefore knows and can take off.
        dimension: d, of an update.
        clip: C, an update's L2 norm is clipped to it; in the unit of the update.
        grid: s, steps of the integer grid in C.
        bits: b, of a noisy integer, 2 … 22: all are in [−Q, Q], Q = 2^(b−1) − 1.
        variance: v, of one client's noise in steps squared: of the Skellam distribution, or σ² of a discrete Gaussian.
        kind: of noise.
        block: most coordinates rotated together, a power of two.
        failure_bits: k: any noise number of a round leaves its range with a probability of at most 2^−k.

    Raises:
        ConfigError: N6 for a number outside its bounds, N7 where the bits are too few for the noise. Within these
            bounds a cohort's sum always fits a word of 64 bits (V8); the plaintexts of a homomorphic scheme may be
            smaller, and that scheme says so itself.
    """

    clients: int
    least_honest: int
    corrupt: int
    dimension: int
    clip: float
    grid: int
    bits: int
    variance: float
    kind: Kind = Kind.SKELLAM
    block: int = BLOCK
    failure_bits: int = 128

    def __post_init__(self) -> None:
        object.__setattr__(self, "kind", kind_named(self.kind))
        for field, problem in self._problems():
            raise ConfigError(f"privacy.{field}", f"[N6] {problem}")
        if self.overflow_log2 > -self.failure_bits:
            raise ConfigError("privacy.bits", f"[N7] {self._too_few_bits()}")
        _ = self.numbers

    def _problems(self) -> list[tuple[str, str]]:
        """What is out of bounds, by field, the first of each kind."""
        bounds = {
            "clients": (1, 2**20),
            "least_honest": (1, 2**20),
            "corrupt": (0, 2**20),
            "dimension": (1, GREATEST_LENGTH),
            "grid": (1, GREATEST_GRID),
            "bits": (2, GREATEST_BITS),
            "block": (1, 2**20),
            "failure_bits": (1, 1000),
        }
        problems = []
        for field, (least, greatest) in bounds.items():
            value = getattr(self, field)
            if type(value) is not int or not least <= value <= greatest:
                problems.append((field, f"{value!r} is not an integer in {least} … {greatest}"))
        if problems:
            return problems
        if self.block & (self.block - 1):
            problems.append(("block", f"{self.block} is not a power of two"))
        if not LEAST_CLIP <= self.clip <= GREATEST_CLIP:
            problems.append(("clip", f"{self.clip!r} is not in 2^-400 … 2^400"))
        if not LEAST_VARIANCE <= self.variance <= GREATEST_VARIANCE:
            problems.append(("variance", f"{self.variance!r} is not in 1/4 … 2^40"))
        if self.least_honest + self.corrupt > self.clients:
            text = f"{self.least_honest} honest and {self.corrupt} corrupt clients are more than {self.clients}"
            problems.append(("least_honest", f"{text}: state fewer, or take a larger cohort"))
        return problems

    def _too_few_bits(self) -> str:
        needed = (self.signal_bound + self.noise_reach).bit_length() + 1
        return (
            f"{self.bits} bits a value hold integers up to {self.greatest}; signal and noise need up to "
            f"{self.signal_bound} + {self.noise_reach} ({needed} bits) so that none leaves its range but for a "
            f"probability of 2^-{self.failure_bits}: use more bits (at most {GREATEST_BITS}), a coarser grid or less "
            "noise a client (more clients)"
        )

    @cached_property
    def rotation(self) -> Rotation:
        """Of the updates."""
        return Rotation(self.dimension, self.block)

    @cached_property
    def length(self) -> int:
        """Integers that a client sends: the dimension and at most one in 64 more."""
        return self.rotation.length

    @property
    def greatest(self) -> int:
        """Q: what a client sends is in [−Q, Q]."""
        return int(2 ** (self.bits - 1) - 1)

    @property
    def step(self) -> float:
        """C/s: the update's units in one step of the grid."""
        return self.clip / self.grid

    @cached_property
    def signal_bound(self) -> int:
        """K: a rotated coordinate is clamped to [−K, K] before rounding and noise."""
        return signal_bound(self.rotation, self.grid)

    @cached_property
    def noise_reach(self) -> int:
        """Least range of the noise numbers that `failure_bits` asks for."""
        return reach_of(self.kind, self.variance, self.clients * self.length, self.failure_bits)

    @cached_property
    def overflow_log2(self) -> float:
        """Base-2 logarithm of a bound on the probability that any noise number of a round leaves [K − Q, Q − K]."""
        room = self.greatest - self.signal_bound
        if room < 0:
            return 0.0
        return log2_tail(self.kind, self.variance, room) + math.log2(self.clients * self.length)

    @cached_property
    def l2_squared(self) -> int:
        """N: the squares of a client's integers, before the noise, add up to at most this."""
        return l2_squared_bound(self.grid, self.length)

    @cached_property
    def numbers(self) -> Numbers:
        """How a round writes the noisy integers: with the clip Q they travel as they are."""
        return Numbers(self.clients, self.bits, float(self.greatest))

    @property
    def layout(self) -> Layout:
        """Of the round's updates: one tensor, and no metric, since none would be protected by the noise."""
        return Layout((TensorSpec(TENSOR, (self.length,), "float64"),))

    @cached_property
    def planned(self) -> tuple[Event, ...]:
        """What a client spends before it sends: the worst case, a sum with the noise of `least_honest` clients.

        Unit: client. Neighbouring: one client's update is another than zero in one case and zero in the other, whoever
        takes part (zero-out). Adversary: all but one client's updates, the noise of the corrupt ones, and the sum.
        """
        return self._events(self.least_honest)

    def event(self, survivors: int) -> tuple[Event, ...]:
        """What the release of a sum of so many clients' integers costs: for reports, since a client cannot know it.

        Args:
            survivors: number of clients in the sum, those that are corrupt included.

        Raises:
            LocalProtocolError: N10, where they are fewer than was planned with, or more than the cohort.
        """
        self.check_survivors(survivors)
        return self._events(survivors - self.corrupt)

    def check_survivors(self, survivors: int) -> None:
        """Whether a sum of so many is one that was planned.

        Raises:
            LocalProtocolError: N10.
        """
        least = self.least_honest + self.corrupt
        if not least <= survivors <= self.clients:
            raise LocalProtocolError(
                "N10",
                f"a sum of {survivors} clients: the noise was planned for {least} … {self.clients}; it must not be "
                "released, and the round must not be given for one with this guarantee",
            )

    def _events(self, honest: int) -> tuple[Event, ...]:
        noise = noise_event(self.kind, self.l2_squared, self.length, self.variance, honest)
        return noise, Failure(2.0 ** max(self.overflow_log2, _LEAST_EXPONENT))

    def expected_error(self, survivors: int | None = None) -> float:
        """Root mean square of a coordinate's error in the decoded mean, in the update's units.

        Noise, and rounding at its worst of a quarter of a step squared; neither clipping nor clamping.

        Args:
            survivors: in the sum; by default the whole cohort.
        """
        clients = self.clients if survivors is None else survivors
        return math.sqrt((self.variance + 0.25) / clients) * self.step

    @classmethod
    def for_budget(
        cls,
        epsilon: float,
        delta: float,
        *,
        rounds: int,
        clients: int,
        least_honest: int,
        dimension: int,
        clip: float,
        corrupt: int = 0,
        bits: int | None = None,
        kind: Kind | str = Kind.SKELLAM,
        excess: float = 0.01,
        block: int = BLOCK,
        failure_bits: int = 128,
    ) -> Parameters:
        """The least noise that keeps a client's account of so many rounds within (ε, δ); see `calibration`."""
        from securefed.dp.distributed.calibration import for_budget

        return for_budget(
            epsilon, delta, rounds=rounds, clients=clients, least_honest=least_honest, dimension=dimension, clip=clip,
            corrupt=corrupt, bits=bits, kind=kind, excess=excess, block=block, failure_bits=failure_bits,
        )  # fmt: skip
