"""Schemes of one exchange inside NVFlare's own workflows: what goes out with a task, and what comes back for it."""

from __future__ import annotations

import operator
import os
from pathlib import Path
from typing import Any

import numpy as np
from nvflare.apis.dxo import DXO, DataKind, from_shareable
from nvflare.apis.filter import Filter, FilterChainType, FilterContextKey
from nvflare.apis.fl_constant import ReturnCode
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import ReservedHeaderKey, Shareable
from nvflare.app_common.abstract.fl_model import MetaKey
from nvflare.app_common.app_constant import AppConstants

from securefed.aggregation import Adversary, Policy, Update
from securefed.deployment import ClientFile, JobTerms, MemoryState, Participant, model_digest
from securefed.errors import LocalProtocolError, SecurefedError
from securefed.integrations.nvflare.exact_sum import ANSWER, JOB, ROUND, ExactSum, one_exchange
from securefed.integrations.nvflare.site import CLIENT_FILE_VARIABLE
from securefed.integrations.nvflare.training_input import difference, to_arrays

__all__ = ["OfferRound", "QuantizeUpdate"]

_TASK = "securefed.task"
_ROUND_HEADERS = (AppConstants.CURRENT_ROUND, AppConstants.START_ROUND, AppConstants.NUM_ROUNDS)


class OfferRound(Filter):
    """On the server's output, where `ExactSum` is the aggregator: the round's offer goes out beside the model."""

    def process(self, shareable: Shareable, fl_ctx: FLContext) -> Shareable:
        """Add the header; tasks without a model pass as they are."""
        dxo = _dxo(shareable)
        if dxo is None or dxo.data_kind != DataKind.WEIGHTS:
            return shareable
        rounds = fl_ctx.get_prop(ROUND)
        if not isinstance(rounds, ExactSum):
            raise SecurefedError("OfferRound needs ExactSum as the workflow's aggregator")
        sites = [client.name for client in fl_ctx.get_engine().get_clients()]
        number = int(shareable.get_header(AppConstants.CURRENT_ROUND, 0))
        site = fl_ctx.get_peer_context().get_identity_name()
        terms, request = rounds.offer(site, sites, dxo.data, number)
        # The task is one object for all sites, and each gets terms of its own.
        out = Shareable()
        out.update(shareable)
        headers = shareable[ReservedHeaderKey.HEADERS]
        out[ReservedHeaderKey.HEADERS] = {**headers, ANSWER: {"terms": terms, "request": request}}
        return out


class QuantizeUpdate(Filter):
    """On a client's input and its output: the update leaves clipped and as integers, as `masks` would hide them.

    Also the number of steps and the metrics travel in it, and in clear nowhere else. A result without an offer does not
    leave the site.

    Args:
        scheme: the one that the site takes part in: "plain" or "float".
        client_file: as in `secure_site`.

    Raises:
        ConfigError: `scheme`.
    """

    def __init__(self, scheme: str = "plain", client_file: str | None = None) -> None:
        super().__init__()
        one_exchange(scheme)
        self.scheme = scheme
        self.client_file = client_file
        self._participant: Participant | None = None

    def process(self, shareable: Shareable, fl_ctx: FLContext) -> Shareable:
        """Keep what a task brings, or replace what its result has."""
        if self.get_prop(FilterContextKey.CHAIN_TYPE) == FilterChainType.TASK_DATA_CHAIN:
            return self._task(shareable, fl_ctx)
        return self._result(shareable, fl_ctx)

    def _task(self, shareable: Shareable, fl_ctx: FLContext) -> Shareable:
        offer, dxo = shareable.get_header(ANSWER), _dxo(shareable)
        kept = None
        if isinstance(offer, dict) and dxo is not None:
            # Copies: training in this process may write to what it is given.
            kept = offer, {name: array.copy() for name, array in to_arrays(dxo.data).items()}
        fl_ctx.set_prop(_TASK, kept, private=True, sticky=False)
        return shareable

    def _result(self, shareable: Shareable, fl_ctx: FLContext) -> Shareable:
        if shareable.get_return_code() != ReturnCode.OK:
            return shareable
        kept, dxo = fl_ctx.get_prop(_TASK), _dxo(shareable)
        if kept is None or dxo is None:
            raise SecurefedError(
                "a result without an offer stays here: QuantizeUpdate is needed on the client's input too, OfferRound "
                "on the server's output, and both for the same tasks"
            )
        offer, old = kept
        terms = JobTerms.from_json(offer["terms"])
        answer = self._open(fl_ctx).answer(terms, offer["request"], lambda: _update(terms, dxo, old))
        out = DXO(DataKind.WEIGHT_DIFF, {ANSWER: np.frombuffer(answer, np.uint8)}).to_shareable()
        for header in _ROUND_HEADERS:
            if shareable.get_header(header) is not None:
                out.set_header(header, shareable.get_header(header))
        return out

    def _open(self, fl_ctx: FLContext) -> Participant:
        if self._participant is None:
            path = self.client_file or os.environ.get(CLIENT_FILE_VARIABLE)
            weakest = Adversary("semi-honest", corrupt=0.0, dropouts=0.0, security=1)
            policy = Policy(frozenset({self.scheme}), weakest, least_cohort=1, least_sum=1)
            if path:
                file = ClientFile.load(Path(path.replace("{site}", fl_ctx.get_identity_name())))
                self._participant = Participant.of(file, policy)
            else:
                self._participant = Participant(MemoryState(), policy)
        return self._participant


def _dxo(shareable: Shareable) -> DXO | None:
    try:
        return from_shareable(shareable)
    except ValueError:  # it holds none
        return None


def _update(terms: JobTerms, dxo: DXO, old: dict[str, Any]) -> Update:
    layout = terms.layout
    if dxo.data_kind == DataKind.WEIGHTS:
        tensors = difference(layout, dxo.data, old)
    elif dxo.data_kind == DataKind.WEIGHT_DIFF:
        tensors = difference(layout, dxo.data, {name: np.zeros_like(array) for name, array in old.items()})
    else:
        raise LocalProtocolError(
            "V2", f"a result of kind {dxo.data_kind} is no update: weights or their difference are"
        )
    reported = dxo.get_meta_prop(MetaKey.INITIAL_METRICS) or {}
    metrics = {name: float(reported[name]) for name in layout.metrics if name in reported}
    steps = operator.index(dxo.get_meta_prop(MetaKey.NUM_STEPS_CURRENT_ROUND, 1))
    return Update(tensors, model_digest(JOB, old), steps, metrics)
