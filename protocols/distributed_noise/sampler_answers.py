"""The samplers' vectors: values from streams, and from words chosen so that 64 digits do not settle a comparison."""

from collections.abc import Callable
from fractions import Fraction
from functools import cache

from protocols.distributed_noise.samplers import Gaussian, Law, Skellam, Table, Words, bernoulli, sample, table
from protocols.notation import RuleBroken, stream, words
from protocols.vector_files import Vector, VectorFile, seed

LAWS: dict[str, Callable[[Fraction], Law]] = {"discrete-gaussian": Gaussian, "skellam": Skellam}

DRAWN = [
    ("discrete-gaussian", "1/100", 64), ("discrete-gaussian", "9/100", 256), ("discrete-gaussian", "1", 256),
    ("discrete-gaussian", "100", 256), ("discrete-gaussian", "40000", 256), ("discrete-gaussian", "1000000/7", 256),
    ("discrete-gaussian", "4294967296", 256), ("discrete-gaussian", "281474976710656", 512),
    ("discrete-gaussian", "79228162514264337593543950336", 256),
    ("skellam", "1/1048576", 64), ("skellam", "9/100", 256), ("skellam", "1", 256), ("skellam", "100", 256),
    ("skellam", "16383", 256), ("skellam", "16384", 256), ("skellam", "1000000/7", 512), ("skellam", "1048576", 256),
    ("bernoulli", "1/3", 64), ("bernoulli", "3/4", 64), ("bernoulli", "0", 8), ("bernoulli", "1", 8),
]  # fmt: skip

REFUSED = [
    ("discrete-gaussian", "0"), ("discrete-gaussian", "1/257"), ("discrete-gaussian", "-1"),
    ("discrete-gaussian", "79228162514264337593543950337"), ("skellam", "0"), ("skellam", "-1/2"),
    ("skellam", "1/1048577"), ("skellam", "79228162514264337593543950337"), ("bernoulli", "-1/3"),
    ("bernoulli", "4/3"),
]  # fmt: skip


class Source:
    """The words of some bytes, in order."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.used = 0

    def __call__(self, count: int, bits: int) -> list[int]:
        """The next `count` little-endian words."""
        start, self.used = self.used, self.used + count * bits // 8
        assert self.used <= len(self._data), "the words have run out"
        return words(self._data[start : self.used], bits // 8)


def samplers() -> VectorFile:
    """All of them."""
    file = VectorFile(
        "distributed_noise",
        "samplers",
        "`law`, its `parameter` (a variance or a probability) and the bytes of the source (those of Stream(`key`), "
        "or `source`, all of which are used) to `values`; `table` is b, R, q, N, t, numbers of sure and open cells.",
    )
    for law, parameter, size in DRAWN:
        key = seed(f"samplers/{law}/{parameter}")
        values = drawn(law, Fraction(parameter), size, Source(stream(key, 16 * size + 4096)))
        vector: Vector = {"name": f"{law} {parameter}", "law": law, "parameter": parameter, "key": key.hex()}
        if law in LAWS:
            vector["table"] = numbers(table_of(law, Fraction(parameter)))
        file.vectors.append(vector | {"values": values})
    file.vectors += scripts()
    for law, parameter in REFUSED:
        broken = rule_broken(law, Fraction(parameter))
        assert broken == "N1", (law, parameter)
        file.vectors.append(
            {"name": f"{law} {parameter} is out of bounds", "rule": broken, "law": law, "parameter": parameter}
        )
    return file


@cache
def table_of(law: str, variance: Fraction) -> Table:
    """The table of a law, computed once."""
    return table(LAWS[law](variance))


def numbers(of: Table) -> list[int]:
    """What identifies a table."""
    return [of.b, of.R, of.q, of.N, of.t, len(of.sure), len(of.open_cells)]


def drawn(law: str, parameter: Fraction, size: int, source: Words) -> list[int]:
    """By the reference."""
    if law == "bernoulli":
        return [int(coin) for coin in bernoulli(parameter, size, source)]
    return sample(table_of(law, parameter), size, source)


def rule_broken(law: str, parameter: Fraction) -> str | None:
    """By the reference."""
    try:
        drawn(law, parameter, 1, Source(bytes(4096)))
    except RuleBroken as broken:
        return broken.rule
    return None


def scripts() -> list[Vector]:
    """Sources whose every byte is chosen."""
    vectors = []
    for law, parameter, low in [
        ("discrete-gaussian", "100", 0), ("discrete-gaussian", "281474976710656", 77777), ("skellam", "1/2", 0),
        ("skellam", "100", 0), ("skellam", "200000/3", 3), ("skellam", "65536", 3),
    ]:  # fmt: skip
        of = table_of(law, Fraction(parameter))
        for place in ("first", "last"):
            start, level = of.open_cells[0 if place == "first" else -1]
            number = len(of.sure) + (0 if place == "first" else len(of.open_cells) - 1)
            name = f"{law} {parameter}, the {place} open cell"
            word = cell(of, number, low)
            for further in (0, 1, 2):
                vectors += both_ways(f"{name}, {further * 64} digits agree", law, parameter, of, [word], start + low,
                                     level, 0, further)  # fmt: skip
        first_tail = len(of.sure) + len(of.open_cells)
        for side in ("right", "left"):
            for block in (0, 3):
                l = low + 1 if of.q else 0  # noqa: E741 - the name in the text
                x = of.R + block * 2 ** (of.b + of.q) + l
                x = x if side == "right" else -1 - x
                level = bound(of, x, of.q + 1 + block, 0)
                number = first_tail + level + (of.t if side == "left" else 0)
                words = [cell(of, number, 0), eight(1 << block), eight(l)]
                vectors += both_ways(f"{law} {parameter}, {side} tail, block {block}", law, parameter, of, words,
                                     x, level, of.q + 1 + block, 1)  # fmt: skip
    return [*vectors, empty_cell(), far_out(), *coins()]


def both_ways(
    name: str, law: str, parameter: str, of: Table, proposing: list[bytes], x: int, level: int, e: int, agreeing: int
) -> list[Vector]:
    """A proposal whose f agrees with the bound in so many words, and is then less, or greater."""
    digits = bound(of, x, e, agreeing + 1) - (level << 64 * (agreeing + 1))
    assert 0 < digits < 1 << 64 * (agreeing + 1), "the graph does not cut this cell"
    f = [eight(digits >> 64 * at & (2**64 - 1)) for at in range(agreeing, 0, -1)]
    # The last word settles the matter, by a single unit.
    last = digits % 2**64
    taken = b"".join([*proposing, *f, eight(last - 1)])
    refused = b"".join([*proposing, *f, eight(last + 1), cell(of, 0, 0)])
    return [
        scripted(f"{name}, then less", law, parameter, taken, [x]),
        scripted(f"{name}, then greater: refused, and a sure cell", law, parameter, refused, [of.sure[0]]),
    ]


def bound(of: Table, x: int, e: int, words: int, digits: int = 512) -> int:
    """⌊N·2^e·w(x)·2^(64·words)⌋."""
    low, high = (of.N * 2 ** (e + 64 * words) * end for end in of.law.weight(x, digits))
    assert low // 1 == high // 1
    return int(low // 1)


def empty_cell() -> Vector:
    """Refused at once."""
    of = table_of("discrete-gaussian", Fraction(10000))
    assert len(of.sure) + len(of.open_cells) + 2 * of.t < 2**16
    data = cell(of, 2**16 - 1, 0) + cell(of, 5, 0)
    return scripted("an empty cell, then a sure one", "discrete-gaussian", "10000", data, [of.sure[5]])


def far_out() -> Vector:
    """The first word of the tail is zero, so the block is beyond the 64th, where weights are below 2^-3000."""
    of = table_of("discrete-gaussian", Fraction(1))
    data = cell(of, len(of.sure) + len(of.open_cells), 0) + eight(0) + eight(1) + eight(0)
    x, e = of.R + 64 * 2**of.q, of.q + 65
    zero_words = 0
    while not bound(of, x, e, zero_words + 1, 8192):
        zero_words += 1
    return scripted(
        f"the 64th block of the tail: f is 0 in {zero_words} words, and less in the one after them",
        "discrete-gaussian", "1", data + eight(0) * (zero_words + 1), [x],
    )  # fmt: skip


def coins() -> list[Vector]:
    """A third is 0.010101…: the same words again and again."""
    third = eight(0x5555555555555555)
    return [
        scripted("a third, 128 digits agree, then less", "bernoulli", "1/3", third * 2 + eight(5), [1]),
        scripted("a third, 128 digits agree, then greater", "bernoulli", "1/3", third * 2 + eight(2**64 - 1), [0]),
        scripted("a half has no open cases", "bernoulli", "1/2", eight(2**63 - 1) + eight(2**63), [1, 0]),
    ]


def scripted(name: str, law: str, parameter: str, data: bytes, values: list[int]) -> Vector:
    """A vector whose values the reference confirms, from all of the bytes."""
    source = Source(data)
    assert drawn(law, Fraction(parameter), len(values), source) == values, name
    assert source.used == len(data), name
    return {"name": name, "law": law, "parameter": parameter, "source": data.hex(), "values": values}


def cell(of: Table, number: int, low: int) -> bytes:
    """The word that falls on a cell, with these lowest bits."""
    width = 16 if of.b == 0 else 32 if of.b <= 16 else 64
    return ((number << (width - 16)) + low).to_bytes(width // 8, "little")


def eight(word: int) -> bytes:
    """A word of 64 bits."""
    return word.to_bytes(8, "little")
