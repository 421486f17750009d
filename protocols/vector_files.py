"""Files of vectors: how one is written, and the seeds that all of them are made from."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from protocols.notation import H

Vector = dict[str, Any]
"""One vector, in JSON's types: bytes as lowercase hex, integers exact, doubles shortest, nan and inf as text."""

VERSIONS = {"distributed_noise": 1, "dp_sgd": 1, "encoding": 1, "he_aggregation": 1, "pairwise_masking": 2, "wire": 2}
"""The version of a protocol that its vectors are for."""


@dataclass
class VectorFile:
    """One file: protocols/<protocol>/vectors/<name>.json."""

    protocol: str
    name: str
    description: str
    vectors: list[Vector] = field(default_factory=list)
    context: Vector = field(default_factory=dict)  # what all its vectors have in common

    @property
    def path(self) -> Path:
        """Where the file lies."""
        return Path(__file__).parent / self.protocol / "vectors" / f"{self.name}.json"

    def render(self) -> str:
        """The file's text."""
        head = {"protocol": self.protocol, "version": VERSIONS[self.protocol], "description": self.description}
        return render(head | self.context | {"vectors": self.vectors}) + "\n"


def load(protocol: str, name: str) -> Vector:
    """A whole file: `vectors`, and beside it what they have in common."""
    content: Vector = json.loads(VectorFile(protocol, name, "").path.read_text(encoding="utf-8"))
    return content


def render(value: Any, indent: str = "") -> str:
    """JSON with a line for each entry of an object, and one line for a list of numbers or of texts."""
    deeper = indent + " "
    if isinstance(value, dict) and value:
        entries = (f"{deeper}{json.dumps(k)}: {render(v, deeper)}" for k, v in value.items())
        return "{\n" + ",\n".join(entries) + f"\n{indent}}}"
    if isinstance(value, list) and any(isinstance(item, dict) for item in value):
        return "[\n" + ",\n".join(deeper + render(item, deeper) for item in value) + f"\n{indent}]"
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def seed(name: str) -> bytes:
    """32 bytes that look random and are the same everywhere."""
    return H(b"securefed/1/vectors\x00" + name.encode("utf-8"))


def seeded_bytes(name: str, length: int) -> bytes:
    """As many bytes as wanted."""
    return b"".join(seed(f"{name}/{i}") for i in range(-(-length // 32)))[:length]


def seeded_integer(name: str, below: int) -> int:
    """An integer in [0, below). Pre-condition: below is at most 2^200, so that the bias does not matter."""
    return int.from_bytes(seed(name), "big") % below


def seeded_double(name: str, bound: float) -> float:
    """A double in [−bound, bound)."""
    return (seeded_integer(name, 2**53) / 2**52 - 1.0) * bound
