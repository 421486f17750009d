"""One client's noisy integers, and the mean update from the sum of many.

    mechanism = Mechanism(Parameters.for_budget(8.0, 1e-6, rounds=100, clients=100, least_honest=46, …))
    client:  mechanism.check_round(spec)
             ledger.spend(event) for event in mechanism.planned; mechanism.tensors(update, Source.fresh(), spec.session)
    server:  mechanism.decode(mechanism.sums(aggregate.tensors, survivors), survivors, spec.session)

What a client makes travels exactly through every scheme that sums integers, in a round with `bits`, `clip`, weight 1
and `layout`. Specification: `protocols/distributed_noise/README.md`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from securefed.dp.distributed.parameters import TENSOR, Parameters
from securefed.dp.distributed.rotation import Piece, Signs
from securefed.dp.distributed.rounding import ATTEMPTS, round_at_random, sum_of_squares
from securefed.dp.distributed.tails import Kind
from securefed.dp.noise import discrete_gaussian_of_variance, skellam
from securefed.encoding.layout import Layout
from securefed.errors import LocalProtocolError, RemoteProtocolError
from securefed.wire.header import SERVER

if TYPE_CHECKING:
    from securefed.dp.accounting import Event
    from securefed.dp.noise import Source
    from securefed.wire.specification import RoundSpec

__all__ = ["Integers", "Mechanism", "Vector"]

Vector = npt.NDArray[np.float32] | npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

_NOISE_PIECE: Final = 2**20
"""Noise numbers drawn at a time."""


class Mechanism:
    """The mechanism of one job: the same for all its clients and the server, without a state or a secret."""

    def __init__(self, parameters: Parameters) -> None:
        self.parameters = parameters
        self._rotation = parameters.rotation

    @property
    def length(self) -> int:
        """Integers that a client sends."""
        return self.parameters.length

    @property
    def bits(self) -> int:
        """For the round's specification."""
        return self.parameters.bits

    @property
    def clip(self) -> float:
        """For the round's specification: Q, so that integers travel as they are. Not the clip of an update."""
        return float(self.parameters.greatest)

    @property
    def layout(self) -> Layout:
        """For the round's specification."""
        return self.parameters.layout

    @property
    def planned(self) -> tuple[Event, ...]:
        """What a client spends before it sends anything; see `Parameters.planned`."""
        return self.parameters.planned

    def event(self, survivors: int) -> tuple[Event, ...]:
        """What the released sum cost, as is known when the round is over; see `Parameters.event`."""
        return self.parameters.event(survivors)

    @property
    def expected_error(self) -> float:
        """Of the mean of the whole cohort; see `Parameters.expected_error`."""
        return self.parameters.expected_error()

    def check_round(self, spec: RoundSpec, least_honest: int | None = None) -> None:
        """Refuse a round in which the sum would not have the noise that was planned: to be called before `encode`.

        That the scheme shows the server sums alone is the client's policy: `plain` does not.

        Args:
            spec: that the server offers.
            least_honest: fewest honest clients in any sum that the scheme lets the server learn. By default the round's
                threshold less its corrupt clients; ⌊n/4⌋ + 1 where a malicious server may learn sums over disjoint sets
                (pairwise masks in a sparse graph).

        Raises:
            RemoteProtocolError: N11, with the server as peer.
        """
        p, n = self.parameters, len(spec.cohort)
        corrupt = spec.adversary.corrupt_clients(n)
        honest = spec.threshold - corrupt if least_honest is None else least_honest
        if (spec.bits, spec.clip, spec.greatest_weight) != (p.bits, self.clip, 1):
            problem = f"needs {p.bits} bits, a clip of {self.clip:g} and no weights, or each client's noise is cut"
        elif spec.layout != self.layout.digest:
            problem = "needs the layout of noised integers, without metrics"
        elif n > p.clients:
            problem = f"was planned for {p.clients} clients at most, not {n}"
        elif corrupt > p.corrupt:
            problem = f"was planned for {p.corrupt} corrupt clients at most, not {corrupt}"
        elif honest < p.least_honest:
            problem = f"needs {p.least_honest} honest clients in every sum, not {honest}"
        else:
            return
        raise RemoteProtocolError("N11", f"this round's noise {problem}", SERVER)

    def encode(self, vector: Vector, source: Source, round_seed: bytes) -> Integers:
        """A client's noisy integers: clipped, rotated, rounded, and its share of the noise.

        One update, one round, one call: a second call gives other integers for the same update, and both together say
        more than the ledger knows. Noise must never be drawn twice alike, so `source` is fresh for this call or its
        stream goes on from where it was; one that is made again from a stored key would repeat its noise.

        The time taken depends on the update where a rounding is repeated (one in 2^20 at most).

        Args:
            vector: float32 or float64, shape [dimension]: the update, unclipped.
            source: secret randomness of this client.
            round_seed: 32 bytes, public, fresh for this round: of the rotation. `RoundSpec.session` is such.

        Returns:
            int64, shape [length], in [−Q, Q]. Memory beyond it: a few megabytes.

        Raises:
            LocalProtocolError: N3 an update that is not finite, N4 of another shape or dtype, N5 a seed of another
                length, N8 a source that is not random.
        """
        integers = self.rounded(vector, source, round_seed)
        self.add_noise(integers, source)
        return integers

    def tensors(self, vector: Vector, source: Source, round_seed: bytes) -> dict[str, npt.NDArray[np.float64]]:
        """`encode`, as the tensors of an `Update` in this mechanism's layout."""
        return {TENSOR: self.encode(vector, source, round_seed).astype(np.float64)}

    def rounded(self, vector: Vector, source: Source, round_seed: bytes) -> Integers:
        """The integers before the noise. They are the update: they must never leave the client.

        Args, Raises: as `encode`. Their squares add up to at most `parameters.l2_squared`, whatever is passed.
        """
        scale = self._scale(vector)
        signs = Signs(round_seed, self.length)
        integers = np.empty(self.length, np.int64)
        for _ in range(ATTEMPTS):
            squares = 0.0
            for piece, values in self._signal(vector, signs, scale):
                whole = round_at_random(values, source.words(len(values), "<u4"))
                squares += sum_of_squares(whole)  # whole numbers below 2^53: without error
                integers[piece.start : piece.stop] = whole
            if squares <= self.parameters.l2_squared:
                return integers
        raise LocalProtocolError(
            "N8", f"{ATTEMPTS} roundings in a row were too long: the source's words cannot be random; nothing was sent"
        )

    def add_noise(self, integers: Integers, source: Source) -> None:
        """Add one client's share of the noise in place, and clamp to [−Q, Q].

        Args:
            integers: int64, shape [length], of `rounded`.
            source: secret randomness of this client.
        """
        greatest = self.parameters.greatest
        for start in range(0, len(integers), _NOISE_PIECE):
            piece = integers[start : start + _NOISE_PIECE]
            piece += self._noise(source, len(piece))
            np.clip(piece, -greatest, greatest, out=piece)

    def sums(self, means: Mapping[str, npt.NDArray[np.float64]], survivors: int) -> Integers:
        """The sum of the survivors' integers from the tensors of an `Aggregate`: exact where the scheme is.

        Args:
            means: the aggregate's tensors: float64 means of integers.
            survivors: number of clients in them.
        """
        return np.rint(means[TENSOR] * survivors).astype(np.int64)

    def decode(self, sums: Integers, survivors: int, round_seed: bytes) -> npt.NDArray[np.float64]:
        """The mean update from the sum of the survivors' integers.

        Args:
            sums: int64, shape [length].
            survivors: number of clients in the sum.
            round_seed: as the clients had it.

        Returns:
            float64, shape [dimension], in the update's units; its error is `Parameters.expected_error(survivors)`.

        Raises:
            LocalProtocolError: N5 a seed of another length, N10 a number of survivors that was not planned with.
            RemoteProtocolError: N9, where no so many clients' integers have this sum.
        """
        parameters = self.parameters
        parameters.check_survivors(survivors)
        bound = survivors * parameters.greatest
        if sums.shape != (self.length,) or sums.dtype != np.int64:
            raise RemoteProtocolError("N9", f"a sum is int64 of shape ({self.length},), not {sums.dtype} {sums.shape}")
        if int(sums.max()) > bound or int(sums.min()) < -bound:
            raise RemoteProtocolError("N9", f"the sum of {survivors} clients' integers is outside ±{bound}")
        signs, scale = Signs(round_seed, self.length), parameters.step / survivors
        mean = np.empty(parameters.dimension)
        for piece in self._rotation.pieces():
            values = sums[piece.start : piece.stop].astype(np.float64)
            stop = min(piece.stop, parameters.dimension)
            mean[piece.start : stop] = self._rotation.back(values, piece, signs, scale)[: stop - piece.start]
        return mean

    def _scale(self, vector: Vector) -> float:
        """Steps of the grid in one unit of the clipped update: s/max(C, ‖x‖).

        Raises:
            LocalProtocolError: N3, N4.
        """
        parameters = self.parameters
        if vector.dtype not in (np.float32, np.float64) or vector.shape != (parameters.dimension,):
            raise LocalProtocolError(
                "N4",
                f"an update is float32 or float64 of shape ({parameters.dimension},), not {vector.dtype} "
                f"{vector.shape}: flatten its tensors in the layout's order first",
            )
        squares = 0.0
        with np.errstate(over="ignore", invalid="ignore"):
            for piece in self._rotation.pieces():
                values = vector[piece.start : piece.stop].astype(np.float64, copy=False)
                squares += sum_of_squares(values)
        if not math.isfinite(squares):
            raise LocalProtocolError("N3", "the update holds NaN, an infinity, or values beyond 2^511")
        return parameters.grid / max(parameters.clip, math.sqrt(squares))

    def _signal(self, vector: Vector, signs: Signs, scale: float) -> Iterator[tuple[Piece, npt.NDArray[np.float64]]]:
        """The clipped, rotated and clamped update in steps of the grid, piece by piece."""
        bound = self.parameters.signal_bound
        for piece in self._rotation.pieces():
            values = vector[piece.start : piece.stop].astype(np.float64, copy=False)
            rotated = self._rotation.forward(values, piece, signs, scale)
            np.clip(rotated, -bound, bound, out=rotated)
            yield piece, rotated

    def _noise(self, source: Source, size: int) -> Integers:
        variance = self.parameters.variance
        if self.parameters.kind is Kind.SKELLAM:
            return skellam(source, variance, size)
        return discrete_gaussian_of_variance(source, variance, size)
