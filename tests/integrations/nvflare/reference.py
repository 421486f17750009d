"""The same rounds by hand, in one process and without protection: what every other way must equal bit for bit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

from securefed.aggregation import Aggregate, ClientIdentity, Policy, Update, new_round
from securefed.encoding.layout import Layout
from securefed.plain import PlainIntegers
from tests.integrations.nvflare.calls import BITS, CLIP, GREATEST, SEMI_HONEST, examples, moved

MODEL = bytes(31) + b"\1"
METRICS = MappingProxyType({"loss": 0.5, "clipped_share": 0.0})


def sum_of(
    old: Mapping[str, np.ndarray],
    sites: tuple[str, ...],
    number: int,
    *,
    metrics: Mapping[str, float] = MappingProxyType(METRICS),
) -> Aggregate:
    """The aggregate of what these of three sites train in a round."""
    layout = Layout.of(old, tuple(metrics))
    scheme, ids = PlainIntegers(), (1, 2, 3)
    spec = new_round(
        round_number=number, cohort=ids, adversary=SEMI_HONEST, model=MODEL, layout=layout, bits=BITS, clip=CLIP,
        greatest_weight=GREATEST,
    )  # fmt: skip
    server = scheme.server(spec, layout)
    policy = Policy(frozenset({"plain"}), SEMI_HONEST, least_sum=2)
    for client, request in server.requests().items():
        site = f"site-{client}"
        if site in sites:
            answer = scheme.client(ClientIdentity(client, layout, policy)).reply(
                request, _update(old, site, number, metrics)
            )
            server.receive(client, answer)
    server.advance()
    assert server.aggregate is not None
    return server.aggregate


def _update(
    old: Mapping[str, np.ndarray], site: str, number: int, metrics: Mapping[str, float]
) -> Callable[[], Update]:
    new = moved(old, site, number)
    tensors = {name: (new[name] - old[name]).astype(array.dtype) for name, array in old.items()}
    return lambda: Update(tensors, MODEL, examples(site), metrics)


def after(old: Mapping[str, np.ndarray], aggregate: Aggregate) -> dict[str, np.ndarray]:
    """The weights that a round leaves."""
    return {
        name: (array.astype(np.float64) + np.asarray(aggregate.tensors[name], np.float64)).astype(array.dtype)
        for name, array in old.items()
    }
