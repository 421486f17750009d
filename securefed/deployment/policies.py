"""Two policies at once: the one of the machine's owner and the one of the job's code."""

from __future__ import annotations

from dataclasses import dataclass, field

from securefed.participation import Policy
from securefed.wire.adversary import Adversary
from securefed.wire.specification import RoundSpec

__all__ = ["both"]


@dataclass(frozen=True)
class _Both(Policy):
    """Takes part in what each of the two takes part in."""

    first: Policy = field(default_factory=Policy)
    second: Policy = field(default_factory=Policy)

    def check(self, scheme: str, spec: RoundSpec) -> None:
        """See `Policy`: both, in this order."""
        self.first.check(scheme, spec)
        self.second.check(scheme, spec)

    def check_sums(self, least: int) -> None:
        """See `Policy`: both, in this order."""
        self.first.check_sums(least)
        self.second.check_sums(least)


def both(first: Policy, second: Policy) -> Policy:
    """The policy that takes part in a round if and only if both do.

    Its attributes say what that comes to: the schemes of both, and of each bound the stricter one.
    """
    adversaries = (first.adversary, second.adversary)
    clips = [clip for clip in (first.greatest_clip, second.greatest_clip) if clip is not None]
    return _Both(
        schemes=first.schemes & second.schemes,
        adversary=Adversary(
            max(int(one.server) for one in adversaries),  # type: ignore[arg-type]
            max(one.corrupt for one in adversaries),
            max(one.dropouts for one in adversaries),
            max(one.security for one in adversaries),
            max(one.correctness for one in adversaries),
        ),
        least_cohort=max(first.least_cohort, second.least_cohort),
        least_sum=max(first.least_sum, second.least_sum),
        greatest_clip=min(clips, default=None),
        least_bits=max(first.least_bits, second.least_bits),
        first=first,
        second=second,
    )
