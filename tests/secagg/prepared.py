"""Prepared rounds: the set-up is done before the model is named."""

from __future__ import annotations

from typing import Any

from securefed.aggregation import RoundSpec
from securefed.secagg.keys import PairContext, named_session
from securefed.secagg.stages import Stage
from securefed.wire.from_server import NamedDelivery
from securefed.wire.specification import NAMED_LATER
from tests.rounds import MODEL, Round, context_of, spec_of
from tests.secagg import lies
from tests.secagg.lies import VICTIM


def prepared_spec(**changes: Any) -> RoundSpec:
    """As `spec_of`, its model to be named later."""
    return spec_of(**{"model": NAMED_LATER, **changes})


def set_up(**changes: Any) -> Round:
    """A prepared round whose set-up is done and whose model is not named."""
    round_ = Round(prepared_spec(**changes)).until(Stage.SHARE)
    round_.answer()
    round_.server.advance()
    return round_


def named_delivery(round_: Round, model: bytes = MODEL, client: int = VICTIM) -> NamedDelivery:
    """The client's delivery under any name; the server has named one."""
    cohort = round_.spec.cohort
    message = round_.server.requests()[client]
    good = NamedDelivery.decode(message, context_of(round_.spec), cohort, cohort, client)
    return NamedDelivery(model, good.delivery)


def encoded(round_: Round, message: NamedDelivery) -> bytes:
    return message.encode(context_of(round_.spec), round_.spec.cohort)


def pairs_of(round_: Round, model: bytes = MODEL) -> PairContext:
    """What masks, attestations and consents of this round are bound to, under this name."""
    return PairContext(named_session(round_.spec, model), lies.roster_digest(round_))
