"""DP-FTRL: a whole run of rounds as one Gaussian mechanism with correlated noise, for cohorts that are not sampled.

**Guarantee.** All released rows together are one Gaussian mechanism of noise multiplier z on (x_0, …, x_(n−1)), also
where later sums depend on earlier releases (Denisov et al. 2022, arXiv 2202.08312, theorem 2.1): z independent of the
data, C lower triangular, noise C⁻¹·z of deviation z·C·sens(C). Neighbours differ in one client, all of whose vectors
are zero in one run; each has norm ≤ C, and the client takes part as the schema allows, which is checked. Nothing is
amplified and nobody needs to be hidden. The adversary sees every released mean, and not the state of this object.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import numpy as np
import numpy.typing as npt

from securefed.dp.accounting import Gaussian
from securefed.dp.central import matrix_state
from securefed.dp.central.central_noise import Spender, check_sum
from securefed.dp.central.matrix_noise import MatrixNoise, claim_of
from securefed.dp.central.matrix_state import MatrixState, RunNumbers
from securefed.dp.central.participation import Attendance
from securefed.dp.central.strategy import Strategy
from securefed.errors import ConfigError, LocalProtocolError

__all__ = ["MatrixMechanism"]

_PIECE = 2**18


class MatrixMechanism:
    """Releases the mean of each round's clipped updates with its row of correlated noise.

    The order of a release is: the ledger is charged (once, before the first row), the row is drawn, the state is
    written, the mean is returned. A crash in between loses at most a round: the state holds the row and what it was
    drawn for, so the same sum is released again to the bit, and another sum is refused this row and takes the next. A
    lost state begins anew and is charged anew; an older copy of the state draws other rows than the first time
    (`MatrixNoise`), but then two runs were released and one was charged: keep one state, and no copies.

    Args:
        strategy: the matrix C, and the participation that its sensitivity is for.
        size: d, values of a sum.
        noise_multiplier: z > 0, of the whole run.
        bound: C > 0: L2 sensitivity of one round's sum to one client (`UpdateClip.total`, after `rounded_sensitivity`
            where updates were rounded to integers on their way). The same in all rounds: bounds may not adapt.
        cohort: m, clients expected in a round: the fixed divisor of every sum.
        key: 32 secret bytes for the noise, kept beside the state and used for nothing else.
        ledger: charged with one Gaussian event.
        persist: writes a state durably before it returns (`snapshot`); the state is secret.
        state: of an earlier process, as `persist` got it; None begins the run.

    Raises:
        ConfigError: U4.
        PersistenceError: P1 damaged, P2 another version, P3 another run's state.
    """

    def __init__(
        self,
        strategy: Strategy,
        size: int,
        *,
        noise_multiplier: float,
        bound: float,
        cohort: float,
        key: bytes,
        ledger: Spender,
        persist: Callable[[bytes], None],
        state: bytes | None = None,
    ) -> None:
        for name, number in (("noise_multiplier", noise_multiplier), ("clip", bound), ("cohort", cohort)):
            if not 0 < number < math.inf:
                raise ConfigError(f"privacy.{name}", f"[U4] {number} is not positive and finite")
        self.strategy = strategy
        self.noise_multiplier = float(noise_multiplier)
        self.attendance = Attendance(strategy.schema)
        self._noise = MatrixNoise(strategy, size, key)
        self._numbers = RunNumbers(
            strategy.to_json(), size, self.noise_multiplier, float(bound), float(cohort), self._noise.key_name.hex()
        )
        self._ledger, self._persist = ledger, persist
        self._claim, self._durable = b"", True
        if state is not None:
            held = matrix_state.load(state, self._numbers, strategy.buffers)
            self._noise.restore(held.row, held.last, held.buffers)
            self.attendance = Attendance(strategy.schema, held.seen)
            self._claim = held.claim

    def __repr__(self) -> str:
        return f"MatrixMechanism(rounds={self.strategy.schema.rounds}, drawn={self.drawn})"

    @property
    def drawn(self) -> int:
        """Rows that were drawn: the number of the next round, from 0."""
        return self._noise.row + 1

    @property
    def event(self) -> Gaussian:
        """The whole run's."""
        return Gaussian(self.noise_multiplier)

    @property
    def deviation(self) -> float:
        """Of the independent rows z: noise multiplier · clip bound · sens(C)."""
        return self.noise_multiplier * self._numbers.bound * self.strategy.sensitivity

    def mean(self, row: int, total: npt.NDArray[np.float64], clients: Iterable[int]) -> npt.NDArray[np.float64]:
        """(x_t + y_t)/m: one round's release.

        Args:
            row: t, from 0: the next one; or the last one again, with the same sum of the same clients.
            total: float64, shape [d]: the sum of the clients' clipped vectors.
            clients: ids of those whose vectors are in it.

        Returns:
            float64, shape [d].

        Raises:
            LocalProtocolError: M3 for a client that may not take part, M4 for another row or another sum, U6 for a sum
                that is not finite.
            BudgetExceeded: nothing was drawn.
        """
        check_sum(total, self._noise.size)
        if row < 0:
            raise LocalProtocolError("M4", "rounds of the matrix mechanism are counted from 0")
        met = sorted(clients)
        claim = claim_of(row, met, total)
        if row == self._noise.row:
            if claim != self._claim:
                raise LocalProtocolError(
                    "M4", f"the noise of round {row} was drawn for another sum: release this one as round {row + 1}"
                )
            self._make_durable()  # where writing it failed the first time
            return self._noised(total)
        if row != self.drawn:
            raise LocalProtocolError("M4", f"round {row} is not the next one, which is {self.drawn}")
        if row >= self.strategy.schema.rounds:
            raise LocalProtocolError("M4", f"the run has {row} rounds, and all were released")
        self.attendance.check(met, row)
        if row == 0:
            self._ledger.spend(self.event)
        self._noise.next(claim)
        self.attendance.record(met, row)
        self._claim, self._durable = claim, False
        self._make_durable()
        return self._noised(total)

    def snapshot(self) -> bytes:
        """The state after the last row. It holds noise that was used and will be used: as secret as the key."""
        noise = self._noise
        return matrix_state.dump(
            MatrixState(noise.row, self._claim, dict(self.attendance.seen), noise.last, noise.buffers), self._numbers
        )

    def _make_durable(self) -> None:
        if not self._durable:
            self._persist(self.snapshot())
        self._durable = True

    def _noised(self, total: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        out = total.copy()
        for start in range(0, len(out), _PIECE):
            out[start : start + _PIECE] += self._noise.last[start : start + _PIECE].astype(np.float64) * self.deviation
        out /= self._numbers.cohort
        return out
