"""The vectors of client-level clipping: updates to clipped ones, bounds to the next round's."""

from typing import Any

from protocols.dp_sgd import client_level
from protocols.vector_files import Vector, VectorFile, seeded_double

GROUPS = {"embedding": "outside", "layer.0.a": "layer.0", "layer.0.b": "layer.0", "layer.1.a": "layer.1"}
BOUNDS = {"outside": 0.5, "layer.0": 0.25, "layer.1": 2.0}
FLAT = dict.fromkeys(GROUPS, "all")


def client_levels() -> VectorFile:
    """All of them."""
    file = VectorFile(
        "dp_sgd", "client_level", "Whole updates: what an operation gives, or the rule by which it is refused."
    )
    file.vectors += clips() + adaptations() + refused()
    return file


def update(name: str, bound: float) -> dict[str, list[float]]:
    """Values for the tensors of the groups."""
    return {tensor: [seeded_double(f"client level/{name}/{tensor}/{i}", bound) for i in range(3)] for tensor in GROUPS}


def clips() -> list[Vector]:
    """Updates within their bounds, beyond them, and at both ends of the doubles."""
    made: list[Vector] = []
    cases: list[tuple[str, dict[str, list[float]], dict[str, str], dict[str, float]]] = [
        ("beyond all bounds", update("large", 9.0), GROUPS, BOUNDS),
        ("within all bounds", update("small", 0.01), GROUPS, BOUNDS),
        ("beyond some bounds", update("some", 0.5), GROUPS, BOUNDS),
        ("one group", update("flat", 1.0), FLAT, {"all": 1.0}),
        ("all zero", {name: [0.0, -0.0] for name in GROUPS}, GROUPS, BOUNDS),
        ("greatest doubles", {name: [1.5e308, -1e308] for name in GROUPS}, FLAT, {"all": 1.0}),
        ("least doubles", {name: [5e-324, -1e-310] for name in GROUPS}, FLAT, {"all": 2.0**-100}),
        ("both", update("both", 1.0) | {"embedding": [1e-320], "layer.1.a": [1e300]}, GROUPS, BOUNDS),
    ]
    for name, values, groups, bounds in cases:
        clipped, within = client_level.clip(values, groups, bounds)
        head = {"operation": "clip", "name": name, "groups": groups, "bounds": bounds, "update": values}
        made.append({**head, "total": client_level.total_bound(bounds), "clipped": clipped, "within": within})
    return made


def adaptation(entries: dict[str, Any], **changes: float) -> Vector:
    """The numbers of one round."""
    numbers = {"noise_multiplier": 0.75, "bit_deviation": 5.0, "cohort": 100.0, "quantile": 0.5, "rate": 0.25}
    return {"operation": "adapt", "bounds": BOUNDS, **(numbers | changes), "entries": entries}


def adaptations() -> list[Vector]:
    """Bounds that grow, fall, and stay."""
    made: list[Vector] = []
    for entries in ({"outside": 20.0, "layer.0": -6.0, "layer.1": 0.0}, dict.fromkeys(BOUNDS, 1e9)):
        vector = adaptation(entries)
        z, deviation = vector["noise_multiplier"], vector["bit_deviation"]
        scale = client_level.bit_scale(z, BOUNDS, deviation)
        numbers = (vector["cohort"], vector["quantile"], vector["rate"])
        vector["update_multiplier"] = client_level.update_multiplier(z, len(BOUNDS), deviation)
        vector |= {"scale": scale, "adapted": client_level.adapted(BOUNDS, entries, scale, *numbers)}
        made.append(vector)
    return made


def refused() -> list[Vector]:
    """What may not be."""
    good = update("refused", 1.0)

    def clip(rule: str, name: str, **changes: Any) -> Vector:
        head: Vector = {"operation": "clip", "name": name, "rule": rule}
        return head | {"groups": GROUPS, "bounds": BOUNDS, "update": good} | changes

    def adapt(rule: str, name: str, entries: dict[str, Any] | None = None, **changes: Any) -> Vector:
        return {"name": name, "rule": rule} | adaptation(entries or dict.fromkeys(BOUNDS, 0.0), **changes)

    return [
        clip("U1", "no tensors", groups={}, bounds={}, update={}),
        clip("U1", "a bound too few", bounds={"outside": 1.0, "layer.0": 1.0}),
        clip("U1", "a bound too many", bounds=BOUNDS | {"layer.2": 1.0}),
        clip("U1", "a bound of zero", bounds=BOUNDS | {"layer.0": 0.0}),
        clip("U1", "a bound that is no number", bounds=BOUNDS | {"layer.0": "nan"}),
        clip("U1", "a bound too great", bounds=BOUNDS | {"layer.0": 2.0**101}),
        clip("U2", "a tensor too few", update={name: good[name] for name in list(GROUPS)[1:]}),
        clip("U2", "a tensor too many", update=good | {"layer.2.a": [0.0]}),
        clip("V1", "no number", update=good | {"layer.0.b": [0.0, "nan"]}),
        clip("V1", "an infinity", update=good | {"layer.0.b": ["-inf", 0.0]}),
        adapt("U3", "quantile of zero", quantile=0.0),
        adapt("U3", "rate of zero", rate=0.0),
        adapt("U3", "bits with too little noise", bit_deviation=0.75 * 3**0.5 / 2),
        adapt("U4", "no noise", noise_multiplier=0.0),
        adapt("U4", "no cohort", cohort=0.0),
        adapt("U6", "an entry too few", entries={"outside": 1.0, "layer.0": 1.0}),
        adapt("U6", "no number", entries=dict.fromkeys(BOUNDS, "nan")),
    ]
