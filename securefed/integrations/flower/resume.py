"""A strategy's run that goes on after its server app was stopped."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from flwr.app import ArrayRecord
from flwr.serverapp.strategy import Result, Strategy

from securefed.errors import ConfigError
from securefed.integrations.flower.grid import SecureGrid
from securefed.integrations.flower.stored_run import StoredRun

__all__ = ["run_rounds"]

_LOG: Final = logging.getLogger("flwr")
_ROUND_METHODS: Final = ("configure_train", "aggregate_train", "configure_evaluate", "aggregate_evaluate")
_ROUND_RESULTS: Final = ("train_metrics_clientapp", "evaluate_metrics_clientapp", "evaluate_metrics_serverapp")


def run_rounds(
    strategy: Strategy, grid: SecureGrid, initial_arrays: ArrayRecord, num_rounds: int, **kwargs: Any
) -> Result:
    """As `strategy.start`, but a run that was stopped goes on where it was: call it again, with the same arguments.

    After each round's aggregation the arrays and the strategy's state are written to the grid's `checkpoint` folder, on
    disk before anything goes on. State is what lies in the strategy's attributes as an array, a list or dict of arrays,
    or an `ArrayRecord`: the moments of FedAdam, FedYogi, FedAdagrad and FedAvgM. A round that was going on is taken up
    in the very exchange in which it was stopped, if the nodes kept their state (client files); else it begins anew.
    Rounds keep their numbers, also in `server-round`. The result has the metrics of the rounds of this call.

    Args:
        strategy: a new one, with the same parameters as before.
        grid: with a checkpoint folder, for this run alone.
        initial_arrays: of a run that begins; of another one their names and shapes must be the stored ones'.
        num_rounds: in all.
        kwargs: as of `Strategy.start`.

    Raises:
        ConfigError: `checkpoint`, a grid without it, or a folder of another model or strategy.
        PersistenceError: P1 … the stored run is damaged, or cannot be written.
    """
    if not isinstance(grid, SecureGrid) or grid.checkpoint is None:
        raise ConfigError("checkpoint", "run_rounds needs a folder: SecureGrid(grid, checkpoint=…)")
    path = grid.checkpoint / "run.bin"
    stored = StoredRun.load(path)
    if stored is None:
        done, arrays = 0, initial_arrays
    else:
        stored.check(path, strategy, initial_arrays)
        stored.restore(strategy)
        done, arrays = stored.round, stored.arrays
        grid.content.bfloat16 |= set(stored.bfloat16)
        _LOG.info("securefed: %s of %s rounds are done, from %s", done, num_rounds, path)
    if done >= num_rounds:
        result = Result()
        result.arrays = arrays
        return result

    def save(number: int, new: ArrayRecord) -> None:
        StoredRun.of(strategy, number, new, grid.content.bfloat16).save(path)

    evaluate = kwargs.pop("evaluate_fn", None)
    if evaluate is not None and done:
        kwargs["evaluate_fn"] = lambda number, new: evaluate(number + done, new) if number else None
    elif evaluate is not None:
        kwargs["evaluate_fn"] = evaluate
    with _numbered_from(strategy, done, save):
        result = strategy.start(grid=grid, initial_arrays=arrays, num_rounds=num_rounds - done, **kwargs)
    for name in _ROUND_RESULTS:
        setattr(result, name, {number + done: metrics for number, metrics in getattr(result, name).items()})
    return result


@contextmanager
def _numbered_from(strategy: Strategy, done: int, save: Callable[[int, ArrayRecord], None]) -> Iterator[None]:
    """While inside, round 1 of `Strategy.start` is round `done` + 1 to the strategy, and each aggregation is saved.

    `Strategy.start` counts from 1 and has no other way to begin. The number reaches a strategy through four methods,
    which are covered by attributes of the object for as long as it runs.
    """

    def covered(name: str) -> Callable[..., Any]:
        method = getattr(strategy, name)

        def call(server_round: int, *args: Any, **kwargs: Any) -> Any:
            return method(server_round + done, *args, **kwargs)

        def aggregate(server_round: int, *args: Any, **kwargs: Any) -> Any:
            arrays, metrics = call(server_round, *args, **kwargs)
            if arrays is not None:
                save(server_round + done, arrays)
            return arrays, metrics

        return aggregate if name == "aggregate_train" else call

    covers: Mapping[str, Callable[..., Any]] = {name: covered(name) for name in _ROUND_METHODS}
    vars(strategy).update(covers)
    try:
        yield
    finally:
        for name in covers:
            vars(strategy).pop(name, None)
