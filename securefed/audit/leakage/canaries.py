"""Canaries: random token sequences of one format, and how often each goes into the training.

Carlini et al. 2019, "The Secret Sharer" (arXiv 1802.08232). A canary is prefix, secret, suffix; the secret's tokens are
drawn uniformly. Those that go in no times are the control: what is measured of them is what chance gives.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from securefed.dp.noise.source import Source
from securefed.errors import ConfigError

__all__ = ["CanaryFormat", "InsertionPlan"]

Tokens = npt.NDArray[np.int64]

_GREATEST_SPACE: Final = 2.0**62
_WHOLE: Final = 2**20
"""A space up to this size is written out, to be drawn from without repetition."""


@dataclass(frozen=True)
class CanaryFormat:
    """A family of token sequences that differ in their secret alone.

    Attributes:
        prefix, suffix: token ids around the secret, the same in all.
        alphabet: token ids that a secret is made of, all different, two or more.
        length: tokens of the secret, 1 or more.

    Raises:
        ConfigError: something else; or more than 2^62 secrets.
    """

    prefix: tuple[int, ...]
    alphabet: tuple[int, ...]
    length: int
    suffix: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if len(set(self.alphabet)) != len(self.alphabet) or len(self.alphabet) < 2:
            raise ConfigError("leakage.canaries", "the alphabet needs two token ids or more, all different")
        if self.length < 1 or float(len(self.alphabet)) ** self.length > _GREATEST_SPACE:
            raise ConfigError(
                "leakage.canaries",
                f"secrets of {self.length} tokens out of {len(self.alphabet)}: 1 token or more, and no more than 2^62 "
                "secrets, are needed",
            )

    @property
    def space(self) -> int:
        """|R|: how many secrets there are."""
        return int(len(self.alphabet) ** self.length)

    @property
    def secret(self) -> slice:
        """Where in a canary its secret is."""
        return slice(len(self.prefix), len(self.prefix) + self.length)

    def draw(self, count: int, source: Source | None = None) -> Tokens:
        """Different canaries, every set of them with the same probability.

        Draw canaries and references at once and split them: then no reference is a canary, and a canary that was not
        trained on has any rank with the same probability.

        Args:
            count: how many, at most `space`.
            source: of the secrets; by default a fresh one from the operating system.

        Returns:
            int64 [count, tokens].

        Raises:
            ConfigError: more than there are.
        """
        if not 0 < count <= self.space:
            raise ConfigError(
                "leakage.canaries", f"{count} different secrets of {self.space}: ask for 1 … {self.space}"
            )
        source = source or Source.fresh()
        if self.space <= _WHOLE:
            numbers = np.argsort(source.words(self.space), kind="stable")[:count]
        else:
            numbers = np.empty(0, np.int64)
            while len(numbers) < count:
                digits = source.words(count * self.length).reshape(count, -1) % np.uint64(len(self.alphabet))
                more = digits.astype(np.int64) @ (len(self.alphabet) ** np.arange(self.length))
                _, first = np.unique(both := np.concatenate([numbers, more]), return_index=True)
                numbers = both[np.sort(first)][:count]
        return self.canaries(numbers)

    def canaries(self, numbers: npt.ArrayLike) -> Tokens:
        """The canaries of these numbers.

        Args:
            numbers: int [n], each in 0 … `space` − 1.

        Returns:
            int64 [n, tokens].
        """
        rest = np.asarray(numbers, np.int64)
        digits = []
        for _ in range(self.length):
            rest, digit = np.divmod(rest, len(self.alphabet))
            digits.append(digit)
        secrets = np.array(self.alphabet, np.int64)[np.stack(digits, axis=1)]
        around = [np.tile(np.array(part, np.int64), (len(secrets), 1)) for part in (self.prefix, self.suffix)]
        return np.concatenate([around[0], secrets, around[1]], axis=1)


@dataclass(frozen=True)
class InsertionPlan:
    """Which canary goes how often to whom.

    Attributes:
        canaries: int64 [n, tokens].
        repetitions: [n]: how often; 0 for those that nobody trains on.
        clients: [n]: number of the client that has all repetitions of it, so that it is one privacy unit's.
    """

    canaries: Tokens
    repetitions: tuple[int, ...]
    clients: tuple[int, ...]

    @classmethod
    def spread(cls, canaries: Tokens, repetitions: Sequence[int], clients: Sequence[int]) -> InsertionPlan:
        """The same number of canaries for each number of repetitions, and their clients in turn.

        Args:
            canaries: int64 [n, tokens], in random order.
            repetitions: such as (0, 1, 4, 16); n must be a multiple of how many these are.
            clients: their numbers.

        Raises:
            ConfigError: counts that do not fit, or a negative one.
        """
        count = len(canaries)
        if not repetitions or count % len(repetitions) or min(repetitions) < 0 or not clients:
            raise ConfigError(
                "leakage.canaries",
                f"{count} canaries, {len(repetitions)} numbers of repetitions, {len(clients)} clients: the first must "
                "be a multiple of the second, and none of them 0",
            )
        each = count // len(repetitions)
        times = tuple(times for times in repetitions for _ in range(each))
        owners = tuple(clients[number % len(clients)] for number in range(count))
        return cls(canaries, times, owners)

    def records(self, client: int) -> list[list[int]]:
        """The token sequences to put among this client's texts."""
        return [
            canary.tolist()
            for canary, times, owner in zip(self.canaries, self.repetitions, self.clients, strict=True)
            if owner == client
            for _ in range(times)
        ]

    def repeated(self, times: int) -> Tokens:
        """The canaries that go in so often: int64 [k, tokens]."""
        chosen: Tokens = self.canaries[np.array(self.repetitions) == times]
        return chosen
