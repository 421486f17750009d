"""One client's whole update, clipped group by group, and bounds that follow a quantile: plain lists of numbers."""

import math

from protocols.notation import require

LEAST, GREATEST = 2.0**-100, 2.0**100
SLACK = 1 - 2.0**-20

Update = dict[str, list[float]]


def check_bounds(groups: dict[str, str], bounds: dict[str, float]) -> None:
    """Raise U1 for bounds that are not those of the groups of these tensors."""
    require(bool(groups), "U1", "no tensors")
    require(set(groups.values()) == set(bounds), "U1", "groups without bound, or bounds without group")
    require(all(LEAST <= bound <= GREATEST for bound in bounds.values()), "U1", "a bound out of range")


def clip(update: Update, groups: dict[str, str], bounds: dict[str, float]) -> tuple[Update, dict[str, bool]]:
    """The update with each group's norm at most (1 − 2^-20)·C_g, and whether it was before.

    Args:
        update: values by tensor.
        groups: name of each tensor's group.
        bounds: C_g by group.
    """
    check_bounds(groups, bounds)
    require(set(update) == set(groups), "U2", "other tensors than the groups'")
    for name, values in update.items():
        require(all(math.isfinite(x) for x in values), "V1", f"{name} is not finite")
    clipped, within = dict(update), {}
    for group, bound in bounds.items():
        names = [name for name in update if groups[name] == group]
        values = [x for name in names for x in update[name]]
        # norm = greatest·relative, which itself may be beyond the doubles
        greatest = max(map(abs, values)) or 1.0
        relative = math.hypot(*(x / greatest for x in values))
        within[group] = relative == 0 or greatest <= bound * SLACK / relative
        if not within[group]:
            for name in names:
                clipped[name] = [x / greatest / relative * (bound * SLACK) for x in update[name]]
    return clipped, within


def total_bound(bounds: dict[str, float]) -> float:
    """C."""
    return math.hypot(*bounds.values())


def update_multiplier(noise_multiplier: float, groups: int, bit_deviation: float) -> float:
    """z_Δ of the update beside K bits with noise σ_b, so that all together have the multiplier z. Raises U3 or U4."""
    require(0 < noise_multiplier < math.inf, "U4", f"a noise multiplier of {noise_multiplier}")
    left = noise_multiplier**-2 - groups / (4 * bit_deviation**2) if 0 < bit_deviation < math.inf else -1.0
    require(left > 0, "U3", "bits with so little noise take the whole budget")
    return 1 / math.sqrt(left)


def bit_scale(noise_multiplier: float, bounds: dict[str, float], bit_deviation: float) -> float:
    """κ: the entries of bits are ±κ/2, so that noise of z_Δ·C on them is σ_b on the count of clients."""
    return update_multiplier(noise_multiplier, len(bounds), bit_deviation) * total_bound(bounds) / bit_deviation


def adapted(
    bounds: dict[str, float], entries: dict[str, float], scale: float, cohort: float, quantile: float, rate: float
) -> dict[str, float]:
    """C_g·exp(−η·(b̃_g − γ)), b̃_g the share of clients within their bound as the noised sum of entries has it."""
    require(0 < quantile < 1 and 0 < rate < math.inf, "U3", "a quantile or rate out of range")
    require(0 < cohort < math.inf, "U4", f"a cohort of {cohort}")
    require(set(entries) == set(bounds) and all(map(math.isfinite, entries.values())), "U6", "other entries")
    shares = {name: min(max(entry / (scale * cohort) + 0.5, 0.0), 1.0) for name, entry in entries.items()}
    return {name: bound * math.exp(-rate * (shares[name] - quantile)) for name, bound in bounds.items()}
