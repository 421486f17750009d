"""Every other scheme works through chains too: its rounds carry nothing, and have all their exchanges."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from securefed.aggregation import Adversary
from securefed.encoding.vector import VectorEncoding
from securefed.schemes import SCHEMES
from tests.chains.jobs import Job, model_of
from tests.he.rounds import MALICIOUS, SEMI_HONEST
from tests.rounds import COHORT, plain_sum, update_of
from tests.tenseal import needs_tenseal

NAMES = [
    pytest.param(name, id=name, marks=needs_tenseal if name.startswith("ckks") else ())
    for name in SCHEMES
    if name != "masks"
]


@pytest.mark.parametrize("adversary", [MALICIOUS, SEMI_HONEST], ids=["malicious", "semi-honest"])
@pytest.mark.parametrize("name", NAMES)
def test_rounds_that_follow_each_other(name: str, adversary: Adversary) -> None:
    job = Job(adversary, scheme=SCHEMES[name].make())
    assert not job.scheme.carriers
    counts = []
    for number in (1, 2):
        counts.append(job.round(number, between=Job.restart if number == 2 else lambda _: None))
        assert job.server.model == model_of(number)
        found = job.aggregate()
        assert found.survivors == COHORT
        assert not job.refused
        assert all(len(kinds) == 1 for kinds in set().union(*job.seen.values()))
        if found.words is not None:
            assert found.words.tolist() == plain_sum(job.server.spec, COHORT)
        for tensor, mean in means(job, clipped=name != "float").items():
            assert np.allclose(found.tensors[tensor], mean, atol=1e-3)
    assert counts[0] == counts[1] >= 1


def means(job: Job, *, clipped: bool) -> Mapping[str, np.ndarray]:
    """Of the updates, by tensor: as integers say it, or of the floats themselves."""
    spec, updates = job.server.spec, [update_of(client) for client in COHORT]
    if clipped:
        words = np.array(plain_sum(spec, COHORT), "<u8")
        return VectorEncoding(job.layout, spec.numbers).decode(words, len(COHORT)).tensors
    weight = sum(update.weight for update in updates)
    return {
        tensor.name: sum(update.weight * update.tensors[tensor.name] for update in updates) / weight
        for tensor in job.layout.tensors
    }


@pytest.mark.parametrize("name", NAMES)
def test_in_pieces_too(name: str) -> None:
    """Where a session cannot take an answer in pieces it is put together."""
    job = Job(SEMI_HONEST, scheme=SCHEMES[name].make())
    job.begin(1)
    while job.server.aggregate is None:
        for client, request in job.server.requests().items():
            made = job.clients[client].reply_in_pieces(request, job.update(client))
            job.server.receive_in_pieces(client, made)
        job.server.advance()
    assert job.aggregate().survivors == COHORT


def test_names() -> None:
    """The one scheme that prepares rounds has tests of its own."""
    assert [name for name in SCHEMES if SCHEMES[name].make().carriers] == ["masks"]
    assert replace(MALICIOUS, server="semi-honest") == SEMI_HONEST
