"""Flower's SecAgg+ behind the adapter of the property suite: its own client mod and its own server workflow.

Nothing of it is written again here. The client is `secaggplus_mod` with a context, the server `SecAggPlusWorkflow`,
stage by stage; messages are Flower's record dicts in Flower's own serialisation. What Flower leaves to its link (one
answer to a request) is done here in its place.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np
from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.app.message_type import MessageType
from flwr.client.mod.secure_aggregation.secaggplus_mod import SecAggPlusState, secaggplus_mod
from flwr.common import Code, FitIns, FitRes, Status, bytes_to_ndarray, ndarrays_to_parameters
from flwr.common.secure_aggregation.ndarrays_arithmetic import factor_combine, factor_extract, parameters_multiply
from flwr.common.secure_aggregation.quantization import quantize
from flwr.common.secure_aggregation.secaggplus_constants import RECORD_KEY_CONFIGS, RECORD_KEY_STATE, Key, Stage
from flwr.common.secure_aggregation.secaggplus_utils import pseudo_rand_gen
from flwr.common.serde import recorddict_from_proto, recorddict_to_proto
from flwr.compat.common import recorddict_compat as compat
from flwr.proto.recorddict_pb2 import RecordDict as ProtoRecordDict
from flwr.server.compat.legacy_context import LegacyContext
from flwr.server.workflow.constant import MAIN_CONFIGS_RECORD, MAIN_PARAMS_RECORD
from flwr.server.workflow.constant import Key as WorkflowKey
from flwr.server.workflow.secure_aggregation.secaggplus_workflow import SecAggPlusWorkflow, WorkflowState
from flwr.supercore.task_identity import TaskIdentity

from securefed.audit.protocol import AggregationProperties, ClientId, Contribution, Round, Sum, Words

TARGET, MODULUS, CLIP, MOST_EXAMPLES = 2**22, 2**32, 8.0, 1000
"""Flower's defaults."""

TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 1, 0, 0  # what a message is stamped with

THRESHOLD = 0.8
"""Of the shares: over two thirds, so that two sets of survivors alone do not open both kinds."""


class Halted(Exception):
    """The workflow returned False: it says no more than a line in the log."""


class Refused(Exception):
    """The link keeps the first answer to a request."""


def pack(content: RecordDict) -> bytes:
    raw: bytes = recorddict_to_proto(content).SerializeToString(deterministic=True)
    return raw


def parse(raw: bytes) -> RecordDict:
    return recorddict_from_proto(ProtoRecordDict.FromString(raw))


class FlowerClient:
    """`secaggplus_mod` around a training that has happened."""

    def __init__(self, client: ClientId) -> None:
        self.id = client
        self.context = Context(run_id=1, node_id=client, node_config={}, state=RecordDict(), run_config={})

    def reply(self, request: bytes, update: Callable[[], FitRes]) -> bytes:
        def train(message: Message, _: Context) -> Message:
            result = update()
            np.random.seed(self.id)  # Flower rounds with numpy's global generator: so the test knows how
            return Message(compat.fitres_to_recorddict(result, keep_input=True), reply_to=message)

        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            asked = Message(parse(request), self.id, MessageType.TRAIN)
            return pack(secaggplus_mod(asked, self.context, train).content)


class _Asked(Exception):
    """Carries out of the workflow what it sends."""

    def __init__(self, messages: Iterable[Message]) -> None:
        self.messages = list(messages)
        super().__init__()


class FlowerServer:
    """`SecAggPlusWorkflow`, one stage at a time: each is run up to what it sends, and again with the answers."""

    def __init__(self, cohort: tuple[ClientId, ...]) -> None:
        self.aggregate: Sum | None = None
        workflow = SecAggPlusWorkflow(1.0, THRESHOLD, max_weight=MOST_EXAMPLES, clipping_range=CLIP)
        self._stages = [
            workflow.setup_stage,
            workflow.share_keys_stage,
            workflow.collect_masked_vectors_stage,
            workflow.unmask_stage,
        ]
        self._state = WorkflowState()
        records = RecordDict(
            {
                MAIN_CONFIGS_RECORD: ConfigRecord({WorkflowKey.CURRENT_ROUND: 1}),
                MAIN_PARAMS_RECORD: compat.parameters_to_arrayrecord(ndarrays_to_parameters([np.zeros(1)]), True),
            }
        )
        context = Context(run_id=1, node_id=0, node_config={}, state=records, run_config={})
        proxies: Any = [(SimpleNamespace(node_id=c), FitIns(ndarrays_to_parameters([np.zeros(1)]), {})) for c in cohort]
        strategy: Any = SimpleNamespace(configure_fit=lambda *_: proxies, aggregate_fit=self._aggregated)
        manager: Any = SimpleNamespace(num_available=lambda: len(cohort))
        self._context = LegacyContext(context, strategy=strategy, client_manager=manager)
        self._integers: Words | None = None
        self._answers: dict[ClientId, bytes] = {}

    def requests(self) -> Mapping[ClientId, bytes]:
        def send_and_receive(messages: Iterable[Message], **_: Any) -> list[Message]:
            raise _Asked(messages)

        try:
            self._run(SimpleNamespace(send_and_receive=send_and_receive))
        except _Asked as asked:
            return {message.metadata.dst_node_id: pack(message.content) for message in asked.messages}
        return {}

    def receive(self, client: ClientId, reply: bytes) -> None:
        if client in self._answers:
            raise Refused("the link keeps the first answer")
        if client not in self.requests():
            raise Refused("not asked")
        parse(reply)
        self._answers[client] = reply

    def advance(self) -> None:
        answers, self._answers = self._answers, {}

        def send_and_receive(messages: Iterable[Message], **_: Any) -> list[Message]:
            return [
                Message(parse(answers[message.metadata.dst_node_id]), reply_to=message)
                for message in messages
                if message.metadata.dst_node_id in answers
            ]

        def extracted(parameters: list[Any]) -> Any:
            self._integers = np.concatenate([np.asarray(array).reshape(-1) for array in parameters]).astype("<u8")
            return factor_extract(parameters)

        with patch("flwr.server.workflow.secure_aggregation.secaggplus_workflow.factor_extract", extracted):
            goes_on = self._run(SimpleNamespace(send_and_receive=send_and_receive))
        self._stages.pop(0)
        if not goes_on:
            raise Halted("the workflow halted")

    def _run(self, grid: Any) -> bool:
        return bool(self._stages[0](grid, self._context, self._state)) if self._stages else False

    def _aggregated(self, _: int, results: list[Any], __: list[Any]) -> tuple[None, dict[str, Any]]:
        assert self._integers is not None
        self.aggregate = Sum(tuple(sorted(proxy.node_id for proxy, _ in results)), self._integers)
        return None, {}


def update_of(one: Contribution) -> FitRes:
    """What a Flower client's training returns."""
    parameters = ndarrays_to_parameters([one.values])
    return FitRes(Status(Code.OK, ""), parameters, one.weight, {"loss": one.metric})


def plain_of(client: ClientId, one: Contribution) -> Words:
    """The integers that Flower's client masks, made by Flower's functions."""
    factor = round(one.weight / MOST_EXAMPLES * TARGET)
    np.random.seed(client)
    quantized = quantize(parameters_multiply([one.values], factor / TARGET), CLIP, TARGET)
    return np.concatenate([array.reshape(-1) for array in factor_combine(factor, quantized)]).astype("<u8")


def body(message: bytes) -> bytes:
    """The masked integers, which are below 2^32, without the zeros above them."""
    arrays = parse(message).config_records[RECORD_KEY_CONFIGS][Key.MASKED_PARAMETERS]
    return b"".join(bytes_to_ndarray(raw).astype("<u4").tobytes() for raw in arrays)  # type: ignore[union-attr]


def held_shares(client: FlowerClient) -> dict[ClientId, tuple[bytes, bytes]]:
    """From the mod's state."""
    state = SecAggPlusState(**client.context.state.config_records[RECORD_KEY_STATE])
    return {c: (share, state.sk1_share_dict[c]) for c, share in state.rd_seed_share_dict.items()}


def lies(stage: str, client: ClientId, request: bytes) -> dict[str, bytes]:
    """One peer in both lists; a threshold of one."""
    content = parse(request)
    configs = content.config_records[RECORD_KEY_CONFIGS]
    if stage == Stage.SETUP:
        configs[Key.THRESHOLD] = 1
        return {"a threshold of one": pack(content)}
    if stage == Stage.UNMASK:
        active: Any = configs[Key.ACTIVE_NODE_ID_LIST]
        configs[Key.DEAD_NODE_ID_LIST] = list(active)
        return {"everyone survived and everyone dropped out": pack(content)}
    return {}


class FlowerSecAggPlus(AggregationProperties):
    """Flower's SecAgg+ with its defaults, four clients and a threshold of three."""

    cohort = (1, 2, 3, 4)
    clip = CLIP
    greatest_weight = MOST_EXAMPLES

    def make_round(self, contributions: Mapping[ClientId, Contribution]) -> Round:
        cohort = tuple(contributions)
        return Round(
            cohort=cohort,
            stages=Stage.all(),
            update_stage=Stage.COLLECT_MASKED_VECTORS,
            threshold=round(THRESHOLD * len(cohort)),
            modulus=MODULUS,
            new_server=lambda: FlowerServer(cohort),
            new_client=FlowerClient,
            update=lambda client: update_of(contributions[client]),
            plain=lambda client: plain_of(client, contributions[client]),
            body=body,
            read=lambda aggregate: aggregate,
            refusals=(Exception,),
            aborts=(Halted,),
            held_shares=held_shares,
            forge=lies,
            mask_stream=lambda seed: pseudo_rand_gen(seed, MODULUS, [(8,)])[0].astype("<u4").tobytes(),
        )
