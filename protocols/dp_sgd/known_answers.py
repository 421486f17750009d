"""The vectors of DP-SGD: known answers, and what is refused."""

import math
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from typing import Any

from protocols.dp_sgd import book as books
from protocols.dp_sgd import reference as r
from protocols.notation import RuleBroken
from protocols.vector_files import Vector, VectorFile, seeded_double, seeded_integer

DELTA = 1e-5


def number(x: float) -> float | str:
    """A double, or a word where JSON has none."""
    return x if math.isfinite(x) else str(x)


def file(name: str, description: str, vectors: list[Vector]) -> VectorFile:
    """One file of this folder."""
    return VectorFile("dp_sgd", name, description, vectors)


def gradient(name: str, size: int, scale: float) -> list[float]:
    """A gradient of one record in one group."""
    return [seeded_double(f"dp_sgd/{name}/{j}", scale) for j in range(size)]


def normals(name: str, size: int) -> list[float]:
    """Numbers that stand for noise: the sum of twelve uniform ones."""
    return [math.fsum(seeded_double(f"dp_sgd/{name}/{j}/{i}", 0.5) for i in range(12)) for j in range(size)]


def clipping() -> VectorFile:
    """Clipped noisy sums."""
    return file("clipping", "Per-record gradients and noise to what a step releases.", [
        step("layerwise", [3, 5, 2], 6, 3.0),
        step("nothing is clipped", [3, 5, 2], 4, 0.05),
        step("one group", [4], 5, 3.0),
        step("an empty sample", [3, 2], 0, 1.0),
        step("a zero gradient", [2, 2], 1, 0.0),
        step("an infinity in one group", [3, 2], 4, 2.0, spoiled={(1, 0): math.inf}),
        step("a NaN in every group", [3, 2], 4, 2.0, spoiled={(2, 0): math.nan, (2, 1): math.nan}),
    ])  # fmt: skip


def step(
    name: str, sizes: list[int], records: int, scale: float, spoiled: dict[tuple[int, int], float] | None = None
) -> Vector:
    """One step with C = 1, shared equally."""
    gradients = [[gradient(f"{name}/{i}/{k}", size, scale) for k, size in enumerate(sizes)] for i in range(records)]
    for (i, k), value in (spoiled or {}).items():
        gradients[i][k][0] = value
    bounds = [1 / math.sqrt(len(sizes))] * len(sizes)
    noise = [normals(f"{name}/noise/{k}", size) for k, size in enumerate(sizes)]
    # Of a linear map, so that anyone can replay it: each record's gradient is its input, with weights of 1.
    losses = [math.fsum(x for group in record for x in group) for record in gradients]
    sums = r.clipped_sum(gradients, losses, bounds, sizes)
    return {
        "name": name,
        **({"rule": "D8"} if spoiled else {}),
        "bounds": bounds,
        "gradients": [[[number(x) for x in group] for group in record] for record in gradients],
        "losses": [number(loss) for loss in losses],
        "noise": noise,
        "noise_multiplier": 1.25,
        "divisor": 4.0,
        "sum": sums,
        "released": r.released(sums, noise, 1.25, bounds, 4.0),
    }


def quantiles() -> VectorFile:
    """Adaptive bounds, and what they cost."""
    vectors: list[Vector] = []
    for records in (0, 1, 7):
        name = f"{records} records"
        norms = [[2 + seeded_double(f"dp_sgd/{name}/{i}/{k}", 2.0) for k in range(3)] for i in range(records)]
        noise, thresholds = normals(name, 3), [1.0, 2.0, 0.5]
        ties = [[0], [1], [2]] if records < 7 else [[0, 2], [1]]
        updated = r.quantile_update(norms, thresholds, noise, 3.0, 5.0, 0.5, 0.2)
        vectors.append({
            "name": name, "norms": norms, "thresholds": thresholds, "noise": noise, "deviation": 3.0, "divisor": 5.0,
            "target": 0.5, "rate": 0.2, "updated": updated,
            "total": 1.5, "ties": ties, "bounds": r.bounds_of(updated, 1.5, ties),
        })  # fmt: skip
    for z, groups, deviation in ((1.0, 1, 10.0), (0.6, 24, 40.0), (2.0, 3, 1.5)):
        vectors.append({
            "name": f"{groups} groups at {z}", "noise_multiplier": z, "groups": groups, "deviation": deviation,
            "effective": r.effective_multiplier(z, groups, deviation),
        })  # fmt: skip
    return file("quantiles", "Norms to the bounds of the next step; what the counts cost.", vectors)


def divergences() -> VectorFile:
    """Rényi divergences at whole orders, and ε."""
    vectors: list[Vector] = []
    orders = [2, 3, 8, 32, 63]
    for rate, z in ((0.01, 1.0), (0.001, 0.6), (0.3, 4.0), (0.5, 1.0)):
        event = {"kind": "poisson", "rate": rate, "noise_multiplier": z, "relation": "zero-out"}
        vectors.append(divergence(event, {a: r.poisson_divergence(rate, z, a) for a in orders}))
    for l1, l2, variance in ((10, 4.0, 100.0), (3000, 100.0, 1e6)):
        event = {"kind": "skellam", "l1": l1, "l2": l2, "variance": variance, "relation": "zero-out"}
        vectors.append(divergence(event, {a: r.skellam_divergence(l1, l2, variance, a) for a in orders}))
    for multipliers in ([1.0], [1.0] * 10, [2.0, 4.0, 4.0, 0.5]):
        exact = r.gaussian_epsilon(multipliers, DELTA)
        vectors.append({"multipliers": multipliers, "delta": DELTA, "epsilon": exact})
    return file(
        "divergences", "The cost of events: divergences at whole orders and ε from them alone; exact ε.", vectors
    )


def divergence(event: Vector, by_order: dict[int, float]) -> Vector:
    """One event's."""
    epsilon = r.epsilon_of_divergences({a: 20 * d for a, d in by_order.items()}, DELTA)
    shown = {"orders": list(by_order), "divergences": list(by_order.values())}
    return {"event": event, **shown, "times": 20, "delta": DELTA, "epsilon": epsilon}


def samples() -> VectorFile:
    """Words to Poisson samples and permutations."""
    vectors: list[Vector] = []
    for rate, examples in ((0.25, 12), (0.01, 40), (2.0**-66 * 5, 4), (0.9, 6)):
        digits, rest = list[int](), Fraction(rate)
        while rest:
            digits.append(int(rest * 2**64))
            rest = rest * 2**64 - digits[-1]
        words = [seeded_integer(f"dp_sgd/samples/{rate}/{i}", 2**64) for i in range(2 * examples)]
        words[0] = digits[0]  # agrees with the first digits: the next decide
        vectors.append({
            "rate": rate, "examples": examples, "words": words, "indices": r.poisson_sample(words, digits, examples),
        })  # fmt: skip
    for words, size in (([9, 4, 7, 1], 4), ([5, 5, 1, 2**64 - 1, 0, 2], 3), ([], 0)):
        vectors.append({"words": words, "size": size, "permutation": r.permutation(words, size)})
    return file("samples", "Words to the records of a Poisson sample, and to a permutation.", vectors)


POISSON: Vector = {"kind": "poisson", "rate": 0.01, "noise_multiplier": 1.0, "relation": "zero-out"}
GAUSSIAN: Vector = {"kind": "gaussian", "noise_multiplier": 4.0, "relation": "zero-out"}


def a_book(budget: float | None = None) -> books.Book:
    """A ledger of three entries."""
    book = books.begin("sequence", 1, DELTA, budget)
    for event, times in ((GAUSSIAN, 1), (GAUSSIAN, 3), (GAUSSIAN if budget else POISSON, 1)):
        books.spend(book, event, times)
    return book


def ledgers() -> VectorFile:
    """Whole ledgers."""
    vectors = []
    for name, book in (("empty", books.begin("user", 8, 1e-6, None)), ("entries", a_book()), ("budget", a_book(8.0))):
        read = books.read("\n".join(book.lines) + "\n")
        vectors.append({"name": name, "lines": read.lines, "count": len(read.lines) - 1, "digest": read.digests[-1]})
    return file("ledgers", "The lines of ledgers, and their heads.", vectors)


def refused() -> VectorFile:
    """What is refused, by operation."""
    good = a_book().lines
    vectors: list[Vector] = [
        using("D6", "a draw twice", [[0, 0], [0, 0]]),
        using("D6", "an earlier draw again", [[0, 0], [1, 0], [0, 0]]),
        using("D7", "a draw of another sampler", [[0, 1]]),
        spending("D9", "the event after the last", 8.0, [[GAUSSIAN, 1]] * 60),
        spending("D9", "many at once", 8.0, [[GAUSSIAN, 60]]),
        *out_of_range(),
        resuming("D11", "an entry is missing", good[:-1], 3, good[-1][11:75]),
        resuming("D11", "all are missing", good[:1], 3, good[-1][11:75]),
        resuming("D11", "another ledger", a_book(8.0).lines, 3, good[-1][11:75]),
        *damaged(good),
    ]
    return file("refused", "What is refused, by operation, and the rule.", vectors)


def using(rule: str, name: str, uses: list[list[int]]) -> Vector:
    """Uses of [draw, sampler]; draws 0 and 1 are of sampler 0. The last is refused."""
    draws = [r.Drawn(0, [1, 2]), r.Drawn(0, [])]

    def operation() -> None:
        for draw, sampler in uses:
            r.use(draws[draw], sampler)

    expect(rule, operation)
    return {"name": name, "rule": rule, "operation": "use", "uses": uses}


def spending(rule: str, name: str, budget: float, spent: list[list[Any]]) -> Vector:
    """Entries of one event, of which one passes the budget."""
    book = books.begin("sequence", 1, DELTA, budget)

    def operation() -> None:
        for event, times in spent:
            books.spend(book, event, times)

    expect(rule, operation)
    event, times = spent[0]
    return {
        "name": name, "rule": rule, "operation": "spend", "delta": DELTA, "budget": budget, "event": event,
        "times": times, "taken": len(book.lines) - 1,
    }  # fmt: skip


def out_of_range() -> list[Vector]:
    """D10."""
    nan, inf = math.nan, math.inf
    cases: list[tuple[str, list[float], Any]] = [
        ("epsilon", [0.0, -1.0, inf, nan], r.check_epsilon),
        ("delta", [0.0, 1.0, -1e-5, 1.5, nan], r.check_delta),
        ("noise_multiplier", [-1.0, inf, nan], lambda z: r.released([], [], z, [1.0], 1.0)),
        ("rate", [0.0, 1.25, -0.5, nan], lambda q: r.check_sampled(10, q, 5)),
        ("most", [0, 11], lambda most: r.check_sampled(10, 0.5, most)),
        ("bound", [0.0, -1.0, inf, nan], lambda c: r.clipped_sum([], [], [c], [1])),
    ]
    vectors = []
    for field, values, check in cases:
        for value in values:
            expect("D10", partial(check, value))
            given = {"operation": "configure", "field": field, "value": number(value)}
            vectors.append({"name": f"{field} {value}", "rule": "D10", **given})
    return vectors


def resuming(rule: str, name: str, lines: list[str], count: int, digest: str) -> Vector:
    """A checkpoint's head that the ledger does not hold."""
    expect(rule, lambda: books.resume(books.read("\n".join(lines) + "\n"), count, digest))
    return {"name": name, "rule": rule, "operation": "resume", "lines": lines, "count": count, "digest": digest}


def damaged(good: list[str]) -> list[Vector]:
    """D12: texts that are no ledger any more."""
    texts = {
        "a digit changed": [good[0], good[1].replace("4.0", "5.0"), *good[2:]],
        "a delta changed": [good[0].replace("1e-05", "1e-06"), *good[1:]],
        "another order": [good[0], good[2], good[1], good[3]],
        "an entry left out": [good[0], *good[2:]],
        "an entry twice": [*good[:2], good[1], *good[2:]],
        "another spelling": [*good[:3], good[3].replace(":1.0", ":1.00")],
        "a space": [*good[:3], good[3].replace(",", ", ", 1)],
        "no first line": good[1:],
        "another version": [good[0].replace('"version":1', '"version":2'), *good[1:]],
        "an empty line": [*good[:2], "", *good[2:]],
        "no object": [good[0], "[]"],
    }
    vectors = []
    for name, lines in texts.items():
        expect("D12", partial(books.read, "\n".join(lines) + "\n"))
        vectors.append({"name": name, "rule": "D12", "operation": "read", "lines": lines})
    return vectors


def expect(rule: str, operation: Callable[[], object]) -> None:
    """The reference refuses this, and for this rule."""
    found = None
    try:
        operation()
    except RuleBroken as broken:
        found = broken.rule
    assert found == rule, (found, rule)


def files() -> list[VectorFile]:
    """All files of this folder."""
    return [clipping(), quantiles(), divergences(), samples(), ledgers(), refused()]
