"""Schemes of one exchange inside NVFlare's own workflows: the server's round behind an aggregator."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any, Final

import numpy as np
from nvflare.apis.event_type import EventType
from nvflare.apis.fl_context import FLContext
from nvflare.app_common.abstract.fl_model import FLModel, ParamsType
from nvflare.app_common.aggregators.model_aggregator import ModelAggregator

from securefed.aggregation import Adversary, ClientId, Scheme, ServerSession, new_round
from securefed.deployment import JobTerms, model_digest
from securefed.encoding.layout import Layout
from securefed.errors import ConfigError, RemoteProtocolError, SecurefedError
from securefed.integrations.nvflare.training_input import to_arrays
from securefed.schemes import SCHEMES

__all__ = ["ANSWER", "JOB", "ROUND", "ExactSum", "one_exchange"]

ANSWER: Final = "securefed"
"""Name of the one array (uint8) in the params of a site's result, and of the header with a round's offer."""
ROUND: Final = "securefed.round"
"""Key of the server's context under which the aggregator is found by the filter."""
JOB: Final = ""
"""What goes into the model's digest beside the weights: nothing, as NVFlare's workflows have no configuration here."""


def one_exchange(scheme: str) -> Scheme:
    """A scheme that a filter and an aggregator can carry.

    Raises:
        ConfigError: `scheme`, for one that is not known or takes more exchanges.
    """
    if scheme not in SCHEMES:
        raise ConfigError("scheme", f"{scheme!r} is none of {', '.join(SCHEMES)}")
    made = SCHEMES[scheme].make()
    if len(made.stages) > 1:
        raise ConfigError(
            "scheme",
            f"a round of {scheme!r} takes {len(made.stages)} exchanges and a filter sees one: use SecureRounds and "
            "secure_site over the Collab API",
        )
    return made


@dataclass(frozen=True)
class _Round:
    session: ServerSession
    ids: Mapping[str, ClientId]
    layout: Layout
    requests: Mapping[ClientId, bytes]


class ExactSum(ModelAggregator):
    """Sums what `QuantizeUpdate` lets through, exactly. Nothing is protected: the server can read every update.

    It is the sum that `masks` gives, bit for bit and at the same cost in precision: for a workflow that is to be moved
    to it, or compared with it. Needs `OfferRound` on the server's output and `QuantizeUpdate` on the clients' input and
    output. All of the job's sites are each round's cohort, and more than half of them must be there.

    Args:
        clip: bound of each value of an update (new − old weights, times the site's steps over `greatest_weight`).
        bits: of a quantised value.
        greatest_weight: no site may count more steps (`NUM_STEPS_CURRENT_ROUND`), and what it is above the largest
            site's is lost in precision.
        metrics: names of the metrics that sites report and whose weighted mean is wanted.
        scheme: "plain", or "float" for the same without clipping and rounding.

    Raises:
        ConfigError: an argument is out of its bounds.
    """

    def __init__(
        self,
        clip: float = 1.0,
        bits: int = 24,
        greatest_weight: int = 4096,
        metrics: Sequence[str] = (),
        scheme: str = "plain",
    ) -> None:
        super().__init__()
        one_exchange(scheme)
        self.clip = clip
        self.bits = bits
        self.greatest_weight = greatest_weight
        self.metrics = list(metrics)
        self.scheme = scheme
        self._adversary = Adversary("semi-honest", corrupt=0.0, dropouts=0.0)
        self._first = int(time.time())
        self._lock = Lock()
        self._round: _Round | None = None

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        """Be found by the filter (`ROUND`)."""
        super().handle_event(event_type, fl_ctx)
        if event_type == EventType.START_RUN:
            fl_ctx.set_prop(ROUND, self, private=True, sticky=True)

    def offer(self, site: str, sites: Sequence[str], params: Mapping[str, Any], number: int) -> tuple[str, bytes]:
        """What one site must be sent beside the model: `JobTerms` as text, and the round's request.

        Args:
            site: its name.
            sites: names of all sites of the job.
            params: the model that is sent.
            number: of the round, from 0 on.
        """
        with self._lock:
            if self._round is None:
                arrays = to_arrays(params)
                layout = Layout.of(arrays, self.metrics)
                ids = {name: client for client, name in enumerate(sorted(sites), 1)}
                # Above the numbers of earlier jobs, which a site's record may hold.
                spec = new_round(
                    round_number=self._first + number, cohort=tuple(ids.values()), adversary=self._adversary,
                    model=model_digest(JOB, arrays), layout=layout, bits=self.bits, clip=self.clip,
                    greatest_weight=self.greatest_weight,
                )  # fmt: skip
                session = one_exchange(self.scheme).server(spec, layout)
                self._round = _Round(session, ids, layout, dict(session.requests()))
            client = self._round.ids[site]
            # A site that asks for its task once more gets the same.
            return JobTerms(self.scheme, self._round.layout, client).to_json(), self._round.requests[client]

    def accept_model(self, model: FLModel) -> None:
        """Take one site's answer. One that breaks a rule is not counted, and the log says why."""
        site = str((model.meta or {}).get("client_name"))
        answer = (model.params or {}).get(ANSWER)
        with self._lock:
            if self._round is None or site not in self._round.ids or not isinstance(answer, np.ndarray):
                self.warning(f"site {site}: its result did not pass QuantizeUpdate, and is left out")
                return
            try:
                self._round.session.receive(self._round.ids[site], answer.astype(np.uint8, copy=False).tobytes())
            except RemoteProtocolError as error:
                self.warning(f"site {site}: its result is left out: {error}")

    def aggregate_model(self) -> FLModel:
        """The weighted mean of the updates, to be added to the model.

        Raises:
            RoundAborted: fewer sites than the round needs.
        """
        with self._lock:
            if self._round is None:
                raise SecurefedError("no round was offered: add OfferRound to the server's output filters")
            session, self._round = self._round.session, None
            session.advance()
        aggregate = session.aggregate
        assert aggregate is not None  # noqa: S101 a round of one exchange is over, or aborted
        return FLModel(ParamsType.DIFF, dict(aggregate.tensors), metrics=dict(aggregate.metrics) or None)

    def reset_stats(self) -> None:
        """A new round begins."""
        with self._lock:
            self._round = None
