"""Which tensors of an update are clipped together."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from securefed.errors import ConfigError

__all__ = ["Groups"]

ALL: Final = "all"
"""Name of the one group of flat clipping."""
OUTSIDE: Final = "outside layers"
"""Name of the group of what lies in no numbered layer: embeddings, the last norm, the head."""
_LAYER: Final = re.compile(r"^(.*?\.\d+)(?:\.|$)")


@dataclass(frozen=True)
class Groups:
    """Tensors of an update, each in one group.

    Args:
        by_tensor: name of each tensor's group, in the order of the update's tensors.

    Raises:
        ConfigError: U1 where there is no tensor.
    """

    by_tensor: Mapping[str, str]

    def __post_init__(self) -> None:
        if not self.by_tensor:
            raise ConfigError("privacy.groups", "[U1] there are no tensors to clip")

    @classmethod
    def by(cls, names: Iterable[str], group: Callable[[str], str]) -> Groups:
        """Groups by a function from a tensor's name to its group's name."""
        return cls({name: group(name) for name in names})

    @classmethod
    def flat(cls, names: Iterable[str]) -> Groups:
        """One group of all tensors."""
        return cls.by(names, lambda name: ALL)

    @classmethod
    def each_tensor(cls, names: Iterable[str]) -> Groups:
        """A group for each tensor."""
        return cls.by(names, lambda name: name)

    @classmethod
    def each_layer(cls, names: Iterable[str]) -> Groups:
        """A group for each transformer layer: for the path up to the first number in a name (`model.layers.3`).

        What has no number in its name is one further group.
        """
        return cls.by(names, lambda name: match[1] if (match := _LAYER.match(name)) else OUTSIDE)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the groups, each once, in the order in which tensors come to them."""
        return tuple(dict.fromkeys(self.by_tensor.values()))

    @cached_property
    def tensors(self) -> Mapping[str, tuple[str, ...]]:
        """Names of the tensors of each group."""
        held: dict[str, list[str]] = {name: [] for name in self.names}
        for tensor, group in self.by_tensor.items():
            held[group].append(tensor)
        return {name: tuple(tensors) for name, tensors in held.items()}

    def __len__(self) -> int:
        return len(self.names)
