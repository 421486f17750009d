"""The samplers' vectors, by our samplers and by the reference."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest

from protocols.distributed_noise import sampler_answers
from protocols.notation import stream
from securefed.dp.noise import Source, bernoulli, discrete_gaussian_of_variance, skellam
from securefed.dp.noise.discrete_gaussian import gaussian_cells
from securefed.dp.noise.skellam import skellam_cells
from tests.differential.reading import named
from tests.dp.noise.scripted import Scripted
from tests.rules import refused

SAMPLERS = {"discrete-gaussian": discrete_gaussian_of_variance, "skellam": skellam, "bernoulli": bernoulli}
TABLES = {"discrete-gaussian": gaussian_cells, "skellam": skellam_cells}

VECTORS = named("distributed_noise", "samplers")


@pytest.mark.parametrize("vector", VECTORS)
def test_our_samplers(vector: dict[str, Any]) -> None:
    law, parameter = vector["law"], Fraction(vector["parameter"])
    if "rule" in vector:
        with refused(vector["rule"]):
            SAMPLERS[law](Source(bytes(32)), parameter, 1)
        return
    source: Any = Scripted(bytes.fromhex(vector["source"])) if "source" in vector else Source(_key(vector))
    values = SAMPLERS[law](source, parameter, len(vector["values"]))
    assert values.astype(int).tolist() == vector["values"]
    assert "source" not in vector or source.left == 0
    if "table" in vector:
        table = TABLES[law](parameter).table
        assert vector["table"] == [
            table.low_bits, table.reach, table.tail_bits - table.low_bits, table.height, table.tail_cells,
            len(table.sure), len(table.open_starts),
        ]  # fmt: skip


@pytest.mark.parametrize("vector", VECTORS)
def test_the_reference(vector: dict[str, Any]) -> None:
    law, parameter = vector["law"], Fraction(vector["parameter"])
    if "rule" in vector:
        assert sampler_answers.rule_broken(law, parameter) == vector["rule"]
        return
    size = len(vector["values"])
    data = bytes.fromhex(vector["source"]) if "source" in vector else stream(_key(vector), 16 * size + 4096)
    assert sampler_answers.drawn(law, parameter, size, sampler_answers.Source(data)) == vector["values"]


def test_the_file_is_what_the_reference_writes() -> None:
    file = sampler_answers.samplers()
    assert file.path.read_text(encoding="utf-8") == file.render()


def _key(vector: dict[str, Any]) -> bytes:
    return bytes.fromhex(vector["key"])
