"""Which of Flower's strategies can work with the mean alone, and which strategy is asking."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from flwr.serverapp import strategy as flower
from flwr.serverapp.strategy import FedAdagrad, FedAdam, FedAvg, FedAvgM, FedYogi, Strategy

from securefed.errors import ConfigError

__all__ = ["Caller", "calling_strategy", "check_strategy"]

_DEFAULT_WEIGHT: Final = "num-examples"

_MEAN_IS_ENOUGH: Final = tuple(one.aggregate_train for one in (FedAvg, FedAvgM, FedAdagrad, FedAdam, FedYogi))
"""FedProx and other subclasses inherit one of these."""

_PRIVACY: Final = (
    "noise that a server adds protects nobody from the server, and it counts the replies: add it on the clients "
    "(securefed.dp.distributed), where it is in the sum before the server sees it"
)
_ROBUST: Final = "use FedAvg: a bound on every update is in the protocol already (SecureGrid's clip)"
_TREES: Final = "trees are not summed: protected rounds are for models of tensors"

_SINGLE_UPDATES: Final[Mapping[str, tuple[str, str]]] = {
    "FedMedian": ("takes the median over the nodes' updates", _ROBUST),
    "FedTrimmedAvg": ("sorts the nodes' updates and drops the outermost", _ROBUST),
    "Krum": ("compares the nodes' updates in pairs", _ROBUST),
    "MultiKrum": ("compares the nodes' updates in pairs", _ROBUST),
    "Bulyan": ("compares the nodes' updates in pairs", _ROBUST),
    "QFedAvg": ("weighs each node's update by its loss", "use FedAvg, and let nodes weigh by their metric"),
    "FedXgbBagging": ("collects the nodes' trees", _TREES),
    "FedXgbCyclic": ("passes one node's trees on", _TREES),
    "DifferentialPrivacyServerSideFixedClipping": ("clips each node's update", _PRIVACY),
    "DifferentialPrivacyServerSideAdaptiveClipping": ("clips each node's update", _PRIVACY),
    "DifferentialPrivacyClientSideFixedClipping": ("adds noise for a number of replies", _PRIVACY),
    "DifferentialPrivacyClientSideAdaptiveClipping": ("reads each node's clipping indicator", _PRIVACY),
}


@dataclass(frozen=True)
class Caller:
    """Who asks for a round.

    Attributes:
        strategy: None where no strategy does.
        last: whether it is known that no round follows.
    """

    strategy: Strategy | None = None
    last: bool = False

    @property
    def weighted_by(self) -> str:
        """The metric that is the weight."""
        return str(getattr(self.strategy, "weighted_by_key", _DEFAULT_WEIGHT))

    @property
    def least_nodes(self) -> int:
        """How many nodes it wants to train."""
        return int(getattr(self.strategy, "min_train_nodes", 0))


def calling_strategy() -> Caller:
    """The strategy whose method is the nearest one on the stack of calls.

    A grid is handed messages alone. There is no other way to know which strategy will read the replies: it is not in
    the messages, and not among the arguments of `Grid.send_and_receive`.
    """
    frame = inspect.currentframe()
    while frame is not None:
        found = frame.f_locals.get("self")
        if isinstance(found, Strategy):
            current, last = (frame.f_locals.get(name) for name in ("current_round", "num_rounds"))
            return Caller(found, last is not None and current == last)
        frame = frame.f_back
    return Caller()


def check_strategy(strategy: Strategy | None, *, sums_only: bool) -> None:
    """Refuse a strategy that needs what no server learns here: single updates.

    Args:
        sums_only: the user says that the strategy reads one reply which holds the mean.

    Raises:
        ConfigError: `strategy`.
    """
    for name, (what, instead) in _SINGLE_UPDATES.items():
        refused = getattr(flower, name, None)  # not every version of Flower has all of them
        if refused is not None and isinstance(strategy, refused):
            raise ConfigError("strategy", f"{name} {what}, and a protected round gives their mean alone: {instead}")
    if sums_only:
        return
    if strategy is None:
        raise ConfigError(
            "strategy",
            "train messages were sent by no strategy of flwr.serverapp.strategy: where your own loop needs no more "
            "than one reply with the mean, write SecureGrid(..., sums_only=True)",
        )
    if type(strategy).aggregate_train not in _MEAN_IS_ENOUGH:
        raise ConfigError(
            "strategy",
            f"{type(strategy).__name__} has an aggregate_train of its own, and would get one reply, with the mean of "
            "all nodes: where it needs no more, write SecureGrid(..., sums_only=True)",
        )
