"""From the reply of a user's train function to the update that goes into the sum."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from flwr.app import ArrayRecord, Message, MetricRecord

from securefed.aggregation import Update
from securefed.deployment import model_digest
from securefed.encoding.tensors import TypedTensor
from securefed.errors import LocalProtocolError
from securefed.federated.clipped_share import CLIPPED_SHARE, clipped_share
from securefed.integrations.flower.arrays import Difference, as_tensor
from securefed.integrations.flower.records import Options, job_text, only_record

__all__ = ["TrainedElsewhere", "update_of"]


class TrainedElsewhere(Exception):
    """The train function replied with an error of its own, which is passed on as it is."""

    def __init__(self, reply: Message) -> None:
        super().__init__()
        self.reply = reply


def update_of(message: Message, options: Options, train: Callable[[Message], Message]) -> Update:
    """Let the user's function train, and make an update of its reply.

    Args:
        message: as the strategy wrote it, without the protocol's records.
        options: of the round.
        train: the user's app.

    Raises:
        LocalProtocolError: V2 … V6, where arrays or metrics are not what can be summed.
        TrainedElsewhere: the reply is an error.
    """
    old = _tensors(_only(message, ArrayRecord, "the message"))
    digest = model_digest(job_text(message.content, options, message.metadata.message_type), old)
    reply = train(message)
    if reply.has_error():
        raise TrainedElsewhere(reply)
    new = _tensors(_only(reply, ArrayRecord, "the train function's reply"))
    _check_names(new, old)
    tensors = {name: Difference(name, new[name], tensor) for name, tensor in old.items()}
    metrics = _scalars(_only(reply, MetricRecord, "the train function's reply"))
    weight = _weight(metrics, options)
    _check_metrics(metrics, options)
    share = clipped_share(tensors, weight / options.greatest_weight, options.clip)
    return Update(tensors, digest, weight, {**metrics, CLIPPED_SHARE: share})


def _only(message: Message, kind: type[ArrayRecord] | type[MetricRecord], where: str) -> Any:
    found = only_record(message.content, kind)
    if found is None:
        raise LocalProtocolError("V2", f"{where} must have one {kind.__name__}, no more and no less")
    return found[1]


def _tensors(record: ArrayRecord) -> dict[str, TypedTensor]:
    return {name: as_tensor(name, array) for name, array in record.items()}


def _check_names(new: Mapping[str, TypedTensor], old: Mapping[str, TypedTensor]) -> None:
    missing, added = sorted(old.keys() - new.keys()), sorted(new.keys() - old.keys())
    if missing or added:
        what = f"lacks {missing[:3]}" if missing else f"has {added[:3]}, which the server did not send"
        raise LocalProtocolError(
            "V2", f"the train function's reply {what}: reply with the arrays of the message, under their names"
        )


def _scalars(record: MetricRecord) -> dict[str, float]:
    for name, value in record.items():
        if isinstance(value, list):
            raise LocalProtocolError("V6", f"metric {name!r} is a list: give each of its values a name of its own")
    return {name: value for name, value in record.items() if not isinstance(value, list)}


def _weight(metrics: dict[str, float], options: Options) -> int:
    """The weight, taken out of the metrics. Errors do not tell its value: they are sent in clear."""
    name = options.weighted_by
    if name not in metrics:
        raise LocalProtocolError("V5", f"the train function's reply has no metric {name!r}, which is its weight")
    weight = metrics.pop(name)
    if not (math.isfinite(weight) and weight == int(weight) and weight >= 1):
        raise LocalProtocolError("V5", f"metric {name!r} is the weight, and must be a whole number from 1 on")
    if weight > options.greatest_weight:
        raise LocalProtocolError(
            "V5",
            f"metric {name!r} is over the greatest weight of the round: in the server app write "
            f"SecureGrid(..., greatest_weight=…) with more than {options.greatest_weight}",
        )
    return int(weight)


def _check_metrics(metrics: Mapping[str, float], options: Options) -> None:
    """Names are no secret, values are."""
    declared = set(options.metrics)
    if set(metrics) != declared:
        raise LocalProtocolError(
            "V6",
            f"the train function's metrics are {sorted(metrics)}, the server declared {sorted(declared)}: in the "
            f"server app write SecureGrid(..., metrics={tuple(sorted(metrics))!r}), or leave them out of the reply",
        )
