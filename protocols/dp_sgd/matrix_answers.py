"""The vectors of the matrix mechanism: strategies, streams of noise, keys of its rows, who may take part."""

import struct
from typing import Any

from protocols.dp_sgd import matrix
from protocols.dp_sgd.matrix import Schema
from protocols.vector_files import Vector, VectorFile, seed, seeded_double

SQUARE_ROOT = [1.0, 0.5, 0.375, 0.3125, 0.2734375, 0.24609375, 0.2255859375, 0.20947265625]
FITTED = [1.0, 0.75, 0.625, 0.5625]
NO_NUMBER = "nan"


def matrices() -> VectorFile:
    """All of them."""
    file = VectorFile(
        "dp_sgd", "matrix", "The matrix mechanism: what an operation gives, or the rule by which it is refused."
    )
    file.vectors += strategies() + rows() + names() + attendances() + refused_strategies() + refused_attendances()
    return file


def strategy(name: str, schema: Schema, **parameters: list[float]) -> Vector:
    """A strategy and all that follows from it."""
    column = column_of(schema, parameters)
    noise = [row[0] for row in matrix.inverse(matrix.toeplitz(column))]
    greatest, mean = matrix.errors(column, [1.0] * schema.rounds)
    return {
        **description("strategy", name, schema),
        **parameters,
        "column": column,
        "noise_column": noise,
        "sensitivity": matrix.sensitivity(matrix.toeplitz(column), schema),
        "greatest_error": greatest,
        "mean_error": mean,
    }


def description(operation: str, name: str, schema: Schema) -> Vector:
    """What all vectors with a schema begin with."""
    numbers = {"rounds": schema.rounds, "separation": schema.separation, "participations": schema.participations}
    return {"operation": operation, "name": name, **numbers}


def column_of(schema: Schema, parameters: dict[str, list[float]]) -> list[float]:
    """First column of C from bands, or from decays and scales."""
    if "bands" in parameters:
        return matrix.banded_column(schema, parameters["bands"])
    return matrix.buffered_column(schema, parameters["decays"], parameters["scales"])


def strategies() -> list[Vector]:
    """Good ones under several schemas."""
    two = {"decays": [0.875, 0.25], "scales": [-0.0375, -0.275]}
    return [
        strategy("independent", Schema(5, 2), bands=[1.0]),
        strategy("square root, once", Schema(8, 8), bands=SQUARE_ROOT),
        strategy("square root, three times", Schema(8, 3), bands=SQUARE_ROOT),
        strategy("square root, twice at most", Schema(8, 3, 2), bands=SQUARE_ROOT),
        strategy("as many bands as the separation", Schema(9, 4), bands=FITTED),
        strategy("more bands than the separation", Schema(9, 3), bands=FITTED),
        strategy("bands of any sign", Schema(9, 3), bands=[1.0, -0.5, 0.75]),
        strategy("first band not one", Schema(6, 2), bands=[4.0, 1.0, 0.5]),
        strategy("one buffer", Schema(7, 2), decays=[0.5], scales=[-0.375]),
        strategy("two buffers", Schema(8, 3), **two),
        strategy("two buffers, once", Schema(8, 8, 1), **two),
        strategy("one round", Schema(1, 1), bands=[1.0]),
    ]


def rows() -> list[Vector]:
    """Streams of correlated noise from independent rows."""
    made: list[Vector] = []
    schema = Schema(7, 3)
    choices: dict[str, dict[str, list[float]]] = {
        "bands": {"bands": FITTED},
        "buffers": {"decays": [0.875, 0.25], "scales": [-0.0375, -0.275]},
    }
    for name, parameters in choices.items():
        z = [[matrix.float32(seeded_double(f"matrix/{name}/{t}/{i}", 3.0)) for i in range(3)] for t in range(7)]
        y = matrix.correlated(matrix.toeplitz(column_of(schema, parameters)), z)
        made.append({**description("rows", name, schema), **parameters, "independent": z, "correlated": y})
    return made


def names() -> list[Vector]:
    """Keys of rows, and what a row is drawn for."""
    key = seed("matrix/key")
    made: list[Vector] = []
    for row, clients in ((0, [3]), (1, []), (1, [9, 4, 2**32 - 1]), (70000, [1, 2])):
        total = [seeded_double(f"matrix/total/{row}/{i}", 5.0) for i in range(3)]
        claim = matrix.claim(row, clients, struct.pack("<3d", *total))
        vector: dict[str, Any] = {"operation": "claim", "row": row, "clients": clients, "total": total}
        made.append({**vector, "claim": claim.hex()})
        row_key = matrix.row_key(key, row, claim)
        made.append(
            {"operation": "row key", "key": key.hex(), "row": row, "binding": claim.hex()} | {"row_key": row_key.hex()}
        )
    return made


def attendances() -> list[Vector]:
    """Who takes part in each round, allowed."""
    good = {
        "as often as may be": (Schema(7, 3), [[1, 2], [3], [], [2, 1], [3], [], [1, 2]]),
        "as often as said": (Schema(7, 2, 2), [[1], [2], [1], [2], [], [], []]),
        "later than need be": (Schema(6, 2), [[1], [], [], [1], [], [1]]),
    }
    made: list[Vector] = []
    for name, (schema, rounds) in good.items():
        matrix.attend(schema, rounds)
        made.append({**description("attendance", name, schema), "attendance": rounds})
    return made


def refused_attendances() -> list[Vector]:
    """Who takes part where it may not, in the last of these rounds."""
    bad = {
        "a round too early": (Schema(7, 3), [[1], [2], [1]]),
        "once too often": (Schema(7, 2, 2), [[1], [], [1], [], [1]]),
        "twice in one round": (Schema(7, 2), [[1], [], [3, 3]]),
        "one of many": (Schema(7, 2), [[1, 2, 3], [4, 5, 3]]),
    }
    return [
        {**description("attendance", name, schema), "attendance": rounds, "rule": "M3"}
        for name, (schema, rounds) in bad.items()
    ]


def refused_strategies() -> list[Vector]:
    """Strategies that are none, or whose sensitivity is not known."""
    good = Schema(6, 2)
    bad: list[tuple[str, str, Schema, dict[str, list[float | str]]]] = [
        ("M1", "growing bands", good, {"bands": [1.0, 0.25, 0.5]}),
        ("M1", "negative bands", good, {"bands": [1.0, 0.5, -0.25]}),
        ("M1", "first band zero", good, {"bands": [0.0, 0.5]}),
        ("M1", "first band negative", good, {"bands": [-1.0]}),
        ("M1", "no number", good, {"bands": [1.0, NO_NUMBER]}),
        ("M1", "decay of one", good, {"decays": [1.0], "scales": [-0.5]}),
        ("M1", "decay of zero", good, {"decays": [0.0], "scales": [-0.5]}),
        ("M1", "scale that makes coefficients negative", good, {"decays": [0.5], "scales": [0.25]}),
        ("M1", "scale that makes coefficients grow", good, {"decays": [0.5], "scales": [-1.5]}),
        ("M1", "scale that is no number", good, {"decays": [0.5], "scales": [NO_NUMBER]}),
        ("M2", "no bands", good, {"bands": []}),
        ("M2", "more bands than rounds", good, {"bands": [1.0] * 7}),
        ("M2", "no buffers", good, {"decays": [], "scales": []}),
        ("M2", "scales missing", good, {"decays": [0.5, 0.25], "scales": [-0.25]}),
        ("M2", "seventeen buffers", good, {"decays": [0.5] * 17, "scales": [-0.03125] * 17}),
        ("M2", "no rounds", Schema(0, 1), {"bands": [1.0]}),
        ("M2", "too many rounds", Schema(10**5 + 1, 1), {"bands": [1.0]}),
        ("M2", "no separation", Schema(5, 0), {"bands": [1.0]}),
        ("M2", "more separation than rounds", Schema(5, 6), {"bands": [1.0]}),
        ("M2", "negative participations", Schema(5, 2, -1), {"bands": [1.0]}),
    ]
    return [
        {**description("strategy", name, schema), **parameters, "rule": rule} for rule, name, schema, parameters in bad
    ]
