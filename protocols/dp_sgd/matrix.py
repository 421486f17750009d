"""The matrix mechanism written out: dense matrices as lists of rows, sensitivities by trying every pattern."""

import itertools
import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from protocols.notation import KDF, H, require, u64

MOST_ROUNDS = 10**5
MOST_BUFFERS = 16
CLAIM_DOMAIN = b"securefed/1/matrix-row\x00"

Matrix = list[list[float]]


@dataclass(frozen=True)
class Schema:
    """n rounds; a client takes part at most k times, b rounds apart at least. k = 0: as often as b allows."""

    rounds: int
    separation: int
    participations: int = 0

    @property
    def most(self) -> int:
        """k, cut to what b allows."""
        allowed = math.ceil(self.rounds / self.separation)
        return min(self.participations or allowed, allowed)


def check_schema(schema: Schema) -> None:
    """Raise M2 for numbers that are none."""
    require(1 <= schema.rounds <= MOST_ROUNDS, "M2", f"{schema.rounds} rounds")
    require(1 <= schema.separation <= schema.rounds, "M2", f"a separation of {schema.separation}")
    require(schema.participations >= 0, "M2", f"{schema.participations} participations")


def banded_column(schema: Schema, bands: list[float]) -> list[float]:
    """First column of C with these bands, as float32 numbers. Raises M1 or M2."""
    check_schema(schema)
    require(1 <= len(bands) <= schema.rounds, "M2", f"{len(bands)} bands")
    require(all(math.isfinite(c) for c in bands) and bands[0] > 0, "M1", "coefficients that are no matrix")
    column = [float32(c / bands[0]) for c in bands] + [0.0] * (schema.rounds - len(bands))
    check_known(column, len(bands), schema)
    return column


def buffered_column(schema: Schema, decays: list[float], scales: list[float]) -> list[float]:
    """First column of C, the inverse of 1 + Σ ω_j·(x + λ_j·x² + λ_j²·x³ + …). Raises M1 or M2."""
    check_schema(schema)
    require(1 <= len(decays) == len(scales) <= MOST_BUFFERS, "M2", f"{len(decays)} buffers")
    require(all(0 < decay < 1 for decay in decays), "M1", "a decay outside (0, 1)")
    require(all(map(math.isfinite, scales)), "M1", "scales that are no numbers")
    pairs = [(float32(decay), float32(scale)) for decay, scale in zip(decays, scales, strict=True)]
    noise = [1.0] + [sum(scale * decay**t for decay, scale in pairs) for t in range(schema.rounds - 1)]
    column = [row[0] for row in inverse(toeplitz(noise))]
    check_known(column, schema.rounds, schema)
    return column


def float32(x: float) -> float:
    """The nearest float32 number. Pre-condition: it is finite."""
    return float(struct.unpack("<f", struct.pack("<f", x))[0])


def check_known(column: list[float], bands: int, schema: Schema) -> None:
    """Raise M1 where the sensitivity is not known exactly."""
    require(all(math.isfinite(c) for c in column), "M1", "coefficients that are no numbers")
    falling = all(a >= b >= 0 for a, b in itertools.pairwise(column))
    require(bands <= schema.separation or falling, "M1", "neither few bands nor falling coefficients")


def toeplitz(column: list[float]) -> Matrix:
    """The lower-triangular matrix with this first column, repeated along its diagonals."""
    n = len(column)
    return [[column[i - j] if i >= j else 0.0 for j in range(n)] for i in range(n)]


def inverse(matrix: Matrix) -> Matrix:
    """Of a lower-triangular matrix, column by column by forward substitution."""
    n = len(matrix)
    columns = [solve(matrix, [1.0 if i == j else 0.0 for i in range(n)]) for j in range(n)]
    return [[columns[j][i] for j in range(n)] for i in range(n)]


def solve(matrix: Matrix, right: list[float]) -> list[float]:
    """y with C·y = z."""
    y: list[float] = []
    for row, z in zip(matrix, right, strict=True):
        y.append((z - math.fsum(c * x for c, x in zip(row, y, strict=False))) / row[len(y)])
    return y


def correlated(matrix: Matrix, rows: list[list[float]]) -> list[list[float]]:
    """C⁻¹·z for the rows z_0, z_1, … of independent noise: column by column of z."""
    solved = [solve(matrix, [row[at] for row in rows]) for at in range(len(rows[0]))]
    return [[column[t] for column in solved] for t in range(len(rows))]


def patterns(schema: Schema, first: int = 0, left: int | None = None) -> Iterator[list[int]]:
    """Every set of rounds in which one client may take part."""
    left = schema.most if left is None else left
    yield []
    for at in range(first, schema.rounds) if left else ():
        for rest in patterns(schema, at + schema.separation, left - 1):
            yield [at, *rest]


def sensitivity(matrix: Matrix, schema: Schema) -> float:
    """max over patterns of √Σ_{i,j} |C_iᵀ·C_j|, C_i column i.

    That is what vectors of norm 1, one for each round of the pattern, reach together at most; they do reach it where
    no two columns have an inner product below zero, or where all those of a pattern are orthogonal.
    """
    n = len(matrix)
    columns = [[matrix[i][j] for i in range(n)] for j in range(n)]
    inner = [[abs(math.fsum(a * b for a, b in zip(p, q, strict=True))) for q in columns] for p in columns]
    return max(math.sqrt(math.fsum(inner[i][j] for i in pattern for j in pattern)) for pattern in patterns(schema))


def errors(column: list[float], workload: list[float]) -> tuple[float, float]:
    """Greatest and root mean square deviation over the rounds of A·C⁻¹·z, for z of deviation 1."""
    noise, work = inverse(toeplitz(column)), toeplitz(workload)
    n = len(column)
    both = [[math.fsum(work[i][t] * noise[t][j] for t in range(n)) for j in range(n)] for i in range(n)]
    squares = [math.fsum(x * x for x in row) for row in both]
    return math.sqrt(max(squares)), math.sqrt(math.fsum(squares) / n)


def attend(schema: Schema, rounds: list[list[int]]) -> None:
    """Raise M3 for the first client that takes part where it may not."""
    check_schema(schema)
    took_part: dict[int, list[int]] = {}
    for row, clients in enumerate(rounds):
        require(len(set(clients)) == len(clients), "M3", f"a client twice in round {row}")
        for client in clients:
            before = took_part.setdefault(client, [])
            require(len(before) < schema.most, "M3", f"client {client} once more in round {row}")
            require(not before or row - before[-1] >= schema.separation, "M3", f"client {client} early in round {row}")
            before.append(row)


def claim(row: int, clients: list[int], total: bytes) -> bytes:
    """What row t is drawn for: the round, the clients in ascending order, and the doubles of their sum."""
    ids = b"".join(u64(client) for client in sorted(clients))
    return H(CLAIM_DOMAIN + u64(row) + u64(len(clients)) + ids + total)


def row_key(key: bytes, row: int, binding: bytes) -> bytes:
    """The key of the stream from which row t of z is drawn."""
    return KDF(key, "dp-noise", u64(row + 1) + H(binding))
