"""An exact sum inside NVFlare's own FedAvg: filters, aggregator, and a job with both on the simulator."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from nvflare.apis.dxo import DXO, DataKind, from_shareable
from nvflare.apis.event_type import EventType
from nvflare.apis.filter import FilterChainType, FilterContextKey
from nvflare.apis.fl_constant import ReservedKey, ReturnCode
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable, make_reply
from nvflare.app_common.utils.fl_model_utils import FLModelUtils

from securefed.deployment.identities import make_identity
from securefed.errors import ConfigError, RoundAborted, SecurefedError
from securefed.integrations.nvflare import ExactSum, OfferRound, QuantizeUpdate
from tests.integrations.nvflare.calls import BITS, CLIP, GREATEST, SITES, examples, moved, weights
from tests.integrations.nvflare.reference import sum_of


class Workflow:
    """One round as FedAvg runs it: the contexts are NVFlare's, the processes are not there."""

    def __init__(self, scheme: str = "plain") -> None:
        self.sum = ExactSum(CLIP, BITS, GREATEST, ["loss"], scheme)
        self.server = FLContext()
        self.sum.handle_event(EventType.START_RUN, self.server)
        self.sum.reset_stats()
        clients = [SimpleNamespace(name=name) for name in SITES]
        self.server.set_prop(
            ReservedKey.ENGINE, SimpleNamespace(get_clients=lambda: clients, fire_event=lambda *_: None), sticky=False
        )
        self.sites = {name: self.chains(scheme=scheme) for name in SITES}
        self.contexts = {name: FLContext() for name in SITES}
        self.data = DXO(DataKind.WEIGHTS, weights()).to_shareable()
        self.data.set_header("current_round", 0)

    @staticmethod
    def chains(**more: Any) -> tuple[QuantizeUpdate, QuantizeUpdate]:
        """Two objects, as NVFlare makes them of a job's configuration."""
        both = QuantizeUpdate(**more), QuantizeUpdate(**more)
        for chain, kind in zip(both, (FilterChainType.TASK_DATA_CHAIN, FilterChainType.TASK_RESULT_CHAIN), strict=True):
            chain.set_prop(FilterContextKey.CHAIN_TYPE, kind)
        return both

    def task(self, site: str) -> Shareable:
        peer = FLContext()
        peer.set_prop(ReservedKey.IDENTITY_NAME, site, private=False, sticky=False)
        self.server.set_peer_context(peer)
        self.contexts[site].set_prop(ReservedKey.IDENTITY_NAME, site, private=False, sticky=False)
        offered = OfferRound().process(self.data, self.server)
        return self.sites[site][0].process(offered, self.contexts[site])

    def result(self, site: str, kind: str = DataKind.WEIGHTS) -> Shareable:
        old = from_shareable(self.task(site)).data
        if kind == DataKind.WEIGHT_DIFF:
            old = {name: np.zeros_like(array) for name, array in old.items()}
        meta = {"NUM_STEPS_CURRENT_ROUND": examples(site), "initial_metrics": {"loss": 0.5, "accuracy": 0.25}}
        done = DXO(kind, moved(old, site, 1), meta).to_shareable()
        return self.sites[site][1].process(done, self.contexts[site])

    def accept(self, site: str, result: Shareable) -> None:
        model = FLModelUtils.from_shareable(result)
        model.meta["client_name"] = site
        self.sum.accept_model(model)


@pytest.mark.parametrize("kind", [DataKind.WEIGHTS, DataKind.WEIGHT_DIFF])
def test_a_round_of_filters_gives_the_exact_mean(kind: str) -> None:
    flow = Workflow()
    for site in SITES:
        flow.accept(site, flow.result(site, kind))
    model = flow.sum.aggregate_model()
    expected = sum_of(weights(), SITES, 1, metrics={"loss": 0.5})
    assert model.params_type == "DIFF"
    for name, array in model.params.items():
        np.testing.assert_array_equal(array, expected.tensors[name])
    assert model.metrics == {"loss": 0.5}


def test_floats_are_summed_without_clipping() -> None:
    flow = Workflow("float")
    for site in SITES:
        flow.accept(site, flow.result(site))
    expected = sum_of(weights(), SITES, 1, metrics={"loss": 0.5})
    model = flow.sum.aggregate_model()
    for name, array in model.params.items():
        np.testing.assert_allclose(array, expected.tensors[name], rtol=1e-6)
    assert model.metrics == {"loss": 0.5}


def test_training_in_place_changes_nothing() -> None:
    flow = Workflow()
    for site in SITES:
        task = flow.task(site)
        old = from_shareable(task).data
        new = moved(old, site, 1)
        for name, array in old.items():
            array[...] = new[name]
        meta = {"NUM_STEPS_CURRENT_ROUND": examples(site), "initial_metrics": {"loss": 0.5}}
        flow.accept(
            site, flow.sites[site][1].process(DXO(DataKind.WEIGHTS, old, meta).to_shareable(), flow.contexts[site])
        )
        flow.data = DXO(DataKind.WEIGHTS, weights()).to_shareable()
    expected = sum_of(weights(), SITES, 1, metrics={"loss": 0.5})
    for name, array in flow.sum.aggregate_model().params.items():
        np.testing.assert_array_equal(array, expected.tensors[name])


def test_nothing_but_the_answer_leaves_a_site() -> None:
    flow = Workflow()
    left = flow.result(SITES[0])
    dxo = from_shareable(left)
    assert list(dxo.data) == ["securefed"]
    assert dxo.data["securefed"].dtype == np.uint8
    assert not {"NUM_STEPS_CURRENT_ROUND", "initial_metrics"} & set(dxo.meta)
    assert left.get_header("current_round", "none") == "none"


def test_each_site_gets_its_own_terms_and_the_task_stays_as_it_was() -> None:
    flow = Workflow()
    terms = [json.loads(flow.task(site).get_header("securefed")["terms"])["client"] for site in SITES]
    assert terms == [1, 2, 3]
    assert flow.data.get_header("securefed") is None


def test_a_site_that_asks_again_gets_and_gives_the_same() -> None:
    flow = Workflow()
    first, again = flow.result(SITES[0]), flow.result(SITES[0])
    np.testing.assert_array_equal(from_shareable(first).data["securefed"], from_shareable(again).data["securefed"])
    for result in (first, again, flow.result(SITES[0])):
        flow.accept(SITES[0], result)
    for site in SITES[1:]:
        flow.accept(site, flow.result(site))
    expected = sum_of(weights(), SITES, 1, metrics={"loss": 0.5})
    for name, array in flow.sum.aggregate_model().params.items():
        np.testing.assert_array_equal(array, expected.tensors[name])


def test_a_task_without_a_model_passes() -> None:
    flow = Workflow()
    other = Shareable({"question": 1})
    assert OfferRound().process(other, flow.server) is other
    assert flow.sites[SITES[0]][0].process(other, flow.contexts[SITES[0]]) is other


def test_a_result_without_an_offer_stays_at_the_site() -> None:
    flow = Workflow()
    flow.sites[SITES[0]][0].process(flow.data, flow.contexts[SITES[0]])
    with pytest.raises(SecurefedError, match="OfferRound"):
        flow.sites[SITES[0]][1].process(DXO(DataKind.WEIGHTS, weights()).to_shareable(), flow.contexts[SITES[0]])


def test_a_failed_task_passes() -> None:
    flow = Workflow()
    failed = make_reply(ReturnCode.EXECUTION_EXCEPTION)
    assert flow.sites[SITES[0]][1].process(failed, flow.contexts[SITES[0]]) is failed


def test_an_offer_needs_the_aggregator() -> None:
    flow = Workflow()
    with pytest.raises(SecurefedError, match="ExactSum"):
        OfferRound().process(flow.data, FLContext())


@pytest.mark.parametrize(
    "change",
    [lambda answer: answer[:-1], lambda answer: answer[::-1], lambda answer: np.zeros(0, np.uint8),
     lambda answer: answer.tobytes(), lambda answer: None],
)  # fmt: skip
def test_an_answer_that_breaks_a_rule_is_left_out(change: Any) -> None:
    flow = Workflow()
    for site in SITES:
        result = flow.result(site)
        if site == SITES[1]:
            dxo = from_shareable(result)
            dxo.data = {"securefed": change(dxo.data["securefed"])}
            result = dxo.to_shareable()
        flow.accept(site, result)
    expected = sum_of(weights(), (SITES[0], SITES[2]), 1, metrics={"loss": 0.5})
    for name, array in flow.sum.aggregate_model().params.items():
        np.testing.assert_array_equal(array, expected.tensors[name])


def test_a_result_that_went_around_the_filter_is_left_out() -> None:
    flow = Workflow()
    flow.accept(SITES[0], flow.result(SITES[0]))
    for site in SITES[1:]:
        flow.task(site)
        flow.accept(site, DXO(DataKind.WEIGHTS, weights()).to_shareable())
    with pytest.raises(RoundAborted, match="1 of 3"):
        flow.sum.aggregate_model()


def test_an_aggregator_without_offers_says_what_is_missing() -> None:
    with pytest.raises(SecurefedError, match="OfferRound"):
        Workflow().sum.aggregate_model()


def test_the_owners_policy_holds(tmp_path: Path) -> None:
    """A client file as it is made takes part in `masks` alone."""
    file = make_identity(tmp_path / "owner", 1)
    file.write_text(file.read_text().replace("identities = ", "# ").replace("key = ", "# "))
    flow = Workflow()
    flow.sites[SITES[0]] = flow.chains(client_file=str(file))
    with pytest.raises(SecurefedError, match=r"policy\.schemes"):
        flow.result(SITES[0])


@pytest.mark.parametrize("scheme", ["masks", "bfv", "bfv-2048", "ckks-compact"])
@pytest.mark.parametrize("make", [QuantizeUpdate, lambda scheme: ExactSum(1.0, scheme=scheme)])
def test_schemes_of_more_exchanges_are_refused(make: Any, scheme: str) -> None:
    with pytest.raises(ConfigError, match="SecureRounds") as raised:
        make(scheme=scheme)
    assert raised.value.key == "scheme"


def test_fedavg_on_the_simulator_sums_exactly(fedavg_job: Path) -> None:
    for number in (1, 2):
        with np.load(fedavg_job / f"fedavg-{number}.npz", allow_pickle=False) as found:
            expected = sum_of({"numpy_key": np.zeros((4, 3), np.float32)}, SITES, number, metrics={"loss": 0.5})
            np.testing.assert_array_equal(found["words"], expected.words)
            np.testing.assert_array_equal(found["numpy_key"], expected.tensors["numpy_key"])
            assert found["metric-loss"] == 0.5
            assert "metric-accuracy" not in found


def test_the_server_of_that_job_got_nothing_else(fedavg_job: Path) -> None:
    received = [json.loads(line) for line in (fedavg_job / "received.jsonl").read_text().splitlines()]
    assert len(received) == 6
    for one in received:
        assert one == {"params": ["securefed"], "metrics": None, "meta": ["client_name", "props"]}
