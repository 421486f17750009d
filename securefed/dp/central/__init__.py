"""Privacy of whole clients under an aggregator that is trusted to add the noise: numpy alone.

`groups`, `update_clip` and `adaptive` bound what one client can do to a sum; `central_noise` hides it round by round,
`matrix_mechanism` over a whole run of rounds whose cohorts are not sampled. Only fitting a strategy needs scipy.
"""

from securefed.dp.central.adaptive import AdaptiveClip
from securefed.dp.central.banded import Banded
from securefed.dp.central.buffered import Buffered
from securefed.dp.central.central_noise import CentralNoise
from securefed.dp.central.cohorts import FixedCohorts, PoissonCohorts
from securefed.dp.central.groups import Groups
from securefed.dp.central.matrix_mechanism import MatrixMechanism
from securefed.dp.central.matrix_noise import MatrixNoise
from securefed.dp.central.participation import Attendance, Schema
from securefed.dp.central.strategies import strategy_from_json
from securefed.dp.central.strategy import Strategy, expected_error
from securefed.dp.central.toeplitz import momentum, prefix_sums
from securefed.dp.central.update_clip import Clipped, UpdateClip, rounded_sensitivity

__all__ = [
    "AdaptiveClip", "Attendance", "Banded", "Buffered", "CentralNoise", "Clipped", "FixedCohorts", "Groups",
    "MatrixMechanism", "MatrixNoise", "PoissonCohorts", "Schema", "Strategy", "UpdateClip", "expected_error",
    "momentum", "prefix_sums", "rounded_sensitivity", "strategy_from_json",
]  # fmt: skip
