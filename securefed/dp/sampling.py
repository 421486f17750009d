"""Which records a step sees, drawn by the one who also says what that costs.

A sampler gives the batches and the accountant's event from the same numbers, so that sampling and accounting cannot
disagree. The draws come from the keyed stream: whoever can predict which records are drawn has no use for the
amplification, and the guarantee counts on it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from securefed.dp.accounting.events import Event, Gaussian, PoissonSampled, TruncatedPoissonSampled
from securefed.dp.noise.source import Source
from securefed.errors import ConfigError, LocalProtocolError

__all__ = ["Draw", "FixedBatches", "Poisson", "Sampler", "TruncatedPoisson", "bernoulli", "permutation"]

Indices = npt.NDArray[np.int64]

_WORD: Final = 64


class Words(Protocol):
    """Where uniform words come from: `securefed.dp.noise.Source`."""

    def words(self, size: int, dtype: Any = ...) -> npt.NDArray[Any]:
        """The next `size` words."""
        ...


class Sampler(Protocol):
    """What an engine needs of a sampler."""

    @property
    def expected_batch(self) -> float:
        """The divisor of every step's sum: it depends on no draw."""
        ...

    def event(self, noise_multiplier: float) -> Event:
        """What is charged at once: for a step, or for a pass over fixed batches."""
        ...

    def charges(self, steps: int) -> int:
        """How many such events so many steps from a fresh start are."""
        ...

    def draws(self, steps: int, source: Words | None = None) -> Iterator[Draw]:
        """The draws of so many steps."""
        ...


@dataclass
class _Pass:
    """What the steps of one pass over fixed batches have in common."""

    charged: float | None = None  # the noise multiplier that the pass was charged for


@dataclass(eq=False)
class Draw:
    """The records of one step. It is used once.

    Attributes:
        indices: int64 of shape [b], ascending for Poisson samples; b may be 0, and the step is taken all the same.
        step: its number, from 0.
        sampler: that drew it.
    """

    indices: Indices
    step: int
    sampler: Sampler
    _whole: _Pass | None = field(default=None, repr=False)
    _used: bool = field(default=False, repr=False)

    @property
    def used(self) -> bool:
        """Whether a step took it."""
        return self._used

    def use(self, sampler: Sampler) -> None:
        """Take the draw for a step of an engine that is set up for this sampler.

        Raises:
            LocalProtocolError: D7 a draw of another sampler, D6 one that was used before.
        """
        if sampler is not self.sampler:
            raise LocalProtocolError("D7", "this draw is of another sampler than the one that is accounted for")
        if self._used:
            raise LocalProtocolError("D6", f"the draw of step {self.step} was used before: each draw is for one step")
        self._used = True

    def event(self, noise_multiplier: float) -> Event | None:
        """What the accountant must be told before this step's release; None where its pass is charged already.

        Raises:
            LocalProtocolError: D7, where the noise is not that which the pass was charged for.
        """
        if self._whole is None:
            return self.sampler.event(noise_multiplier)
        if self._whole.charged is None:
            self._whole.charged = noise_multiplier
            return self.sampler.event(noise_multiplier)
        if noise_multiplier != self._whole.charged:
            raise LocalProtocolError(
                "D7", "the noise was changed within a pass over fixed batches, which is charged once"
            )
        return None


@dataclass(frozen=True, eq=False)
class Poisson:
    """Each record is in each step's batch with probability `rate`, by itself.

    Args:
        examples: N, the number of records.
        rate: q, 0 < q ≤ 1. The probability is the double's exact value.

    Raises:
        ConfigError: D10, for a number outside its bounds.
    """

    examples: int
    rate: float

    def __post_init__(self) -> None:
        _check(self.examples, self.rate)

    @property
    def expected_batch(self) -> float:
        """q·N."""
        return self.rate * self.examples

    def event(self, noise_multiplier: float) -> Event:
        """One step's event."""
        return PoissonSampled(self.rate, noise_multiplier)

    def charges(self, steps: int) -> int:
        """As many events as steps."""
        return steps

    def draws(self, steps: int, source: Words | None = None) -> Iterator[Draw]:
        """The draws of so many steps, each made when it is asked for.

        Args:
            steps: how many.
            source: of uniform words; a fresh one by default. It must be used for nothing else.
        """
        source = Source.fresh() if source is None else source
        for step in range(steps):
            yield Draw(np.flatnonzero(bernoulli(source, self.rate, self.examples)), step, self)


@dataclass(frozen=True, eq=False)
class TruncatedPoisson:
    """A Poisson sample, cut to a uniform subset of `most` records where it is larger. A cap on memory, accounted.

    Args:
        examples: N, the number of records.
        rate: q, 0 < q ≤ 1.
        most: B, 1 … N. It costs little six deviations above the mean, q·N + 6·√(q·N), and a lot below five: a cut
            batch lets one record move the sum by 2·C, and how often that happens is held against δ.

    Raises:
        ConfigError: D10, for a number outside its bounds.
    """

    examples: int
    rate: float
    most: int

    def __post_init__(self) -> None:
        _check(self.examples, self.rate)
        if not _whole(self.most) or not 1 <= self.most <= self.examples:
            raise ConfigError("privacy.sampling", f"[D10] a cap of {self.most} is not in 1 … {self.examples}")

    @property
    def expected_batch(self) -> float:
        """q·N: what is cut off is not made up for."""
        return self.rate * self.examples

    def event(self, noise_multiplier: float) -> Event:
        """One step's event."""
        return TruncatedPoissonSampled(self.examples, self.rate, self.most, noise_multiplier)

    def charges(self, steps: int) -> int:
        """As many events as steps."""
        return steps

    def draws(self, steps: int, source: Words | None = None) -> Iterator[Draw]:
        """See `Poisson.draws`."""
        source = Source.fresh() if source is None else source
        for step in range(steps):
            drawn = np.flatnonzero(bernoulli(source, self.rate, self.examples))
            if len(drawn) > self.most:
                drawn = np.sort(drawn[permutation(source, len(drawn))[: self.most]])
            yield Draw(drawn, step, self)


@dataclass(frozen=True, eq=False)
class FixedBatches:
    """Disjoint batches of a permutation that is drawn anew for each pass over the records. Nothing is amplified.

    Each record is in exactly one batch of a pass, so one release of the pass depends on it, and the whole pass costs
    one
    Gaussian event: charged at its first step. That holds where neighbours have the same number of records ("zero-out"):
    with a record more or less, all later batches would be other ones. Each call of `draws` begins a new pass: one that
    was interrupted is charged and lost.

    Args:
        examples: N, the number of records.
        batch: records a step, 1 … N; the last one of a pass may be smaller.

    Raises:
        ConfigError: D10, for a number outside its bounds.
    """

    examples: int
    batch: int

    def __post_init__(self) -> None:
        _check(self.examples, 1.0)
        if not _whole(self.batch) or not 1 <= self.batch <= self.examples:
            raise ConfigError("privacy.sampling", f"[D10] a batch of {self.batch} is not in 1 … {self.examples}")

    @property
    def expected_batch(self) -> float:
        """The batch, for the smaller last one as well."""
        return float(self.batch)

    @property
    def steps_per_pass(self) -> int:
        """How many batches one pass has."""
        return math.ceil(self.examples / self.batch)

    def event(self, noise_multiplier: float) -> Event:
        """One pass's event."""
        return Gaussian(noise_multiplier)

    def charges(self, steps: int) -> int:
        """As many events as passes are begun."""
        return math.ceil(steps / self.steps_per_pass)

    def draws(self, steps: int, source: Words | None = None) -> Iterator[Draw]:
        """See `Poisson.draws`."""
        source = Source.fresh() if source is None else source
        order, whole = np.empty(0, np.int64), _Pass()
        for step in range(steps):
            at = step % self.steps_per_pass
            if at == 0:
                order, whole = permutation(source, self.examples), _Pass()
            yield Draw(order[at * self.batch : (at + 1) * self.batch], step, self, whole)


def bernoulli(source: Words, rate: float, size: int) -> npt.NDArray[np.bool_]:
    """Independent coins that show True with exactly this probability.

    A uniform number in [0, 1) is compared with the rate's binary digits, 64 at a time; only where the first 64 agree,
    which happens once in 2^64 coins, are more needed.

    Args:
        source: of uniform words.
        rate: in [0, 1]; the probability is the double's exact value.
        size: how many.

    Returns:
        bool of shape [size].
    """
    numerator, denominator = rate.as_integer_ratio()
    shown = np.zeros(size, np.bool_)
    undecided = np.arange(size)
    if numerator == denominator:
        return ~shown
    while numerator and len(undecided):
        digits, numerator = divmod(numerator << _WORD, denominator)
        words = source.words(len(undecided), "<u8")
        shown[undecided[words < np.uint64(digits)]] = True
        undecided = undecided[words == np.uint64(digits)]
    return shown


def permutation(source: Words, size: int) -> Indices:
    """A uniform permutation of 0 … size − 1: the order of independent random keys, drawn anew until no two are equal.

    Given that all keys differ, every order of them is equally likely: exact, with no bounded integers to reject.

    Args:
        source: of uniform words.
        size: how many.

    Returns:
        int64 of shape [size].
    """
    while True:
        keys = source.words(size, "<u8")
        order = np.argsort(keys)
        if not (np.diff(keys[order]) == 0).any():
            return order.astype(np.int64)


def _check(examples: int, rate: float) -> None:
    if not _whole(examples) or examples < 1:
        raise ConfigError("privacy.sampling", f"[D10] {examples} records: at least one is needed")
    if isinstance(rate, bool) or not isinstance(rate, float) or not 0 < rate <= 1:
        raise ConfigError("privacy.sampling", f"[D10] a rate of {rate} is not in (0, 1]")


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
