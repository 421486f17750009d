"""Parameters of any adversary, in both writings: one counts every size, the other only where a rough look says yes."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.pairwise_masking import parameters as reference
from protocols.wire.specification import MALICIOUS, SEMI_HONEST
from protocols.wire.specification import Adversary as Stated
from securefed.aggregation import Adversary
from securefed.secagg.parameters import Parameters

BITS = st.sampled_from([1, 2, 8, 20, 40, 64])


@settings(max_examples=2 * settings().max_examples)
@given(
    n=st.integers(2, 60) | st.integers(60, 600),
    server=st.sampled_from([SEMI_HONEST, MALICIOUS]),
    security=BITS | st.just(128),
    correctness=BITS,
    corrupt=st.sampled_from([0, 1, 10, 50, 100, 200]) | st.integers(0, 499),
    dropouts=st.sampled_from([0, 1, 10, 50, 100, 200]) | st.integers(0, 499),
)
def test_both_find_the_same(n: int, server: int, security: int, correctness: int, corrupt: int, dropouts: int) -> None:
    stated = Adversary(server, corrupt / 1000, dropouts / 1000, security, correctness)
    if stated.infeasible(n):
        return  # W15: nobody computes it
    p = reference.parameters_of(n, Stated(server, security, correctness, corrupt, dropouts))
    assert Parameters.of(n, stated) == Parameters(
        p.complete, p.neighbours, p.threshold, p.mask_neighbours, p.mask_survivors, p.sample, p.consents, p.inputs
    )
