"""The server's side: a Flower grid that gives a strategy the mean of all updates instead of the updates."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from flwr.app import ArrayRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid

from securefed.aggregation import Adversary, ClientId
from securefed.deployment import Coordinator, JobTerms, RoundReport, model_digest
from securefed.deployment.identities import read_roster
from securefed.encoding.layout import WEIGHT, Layout
from securefed.errors import ConfigError, RemoteProtocolError, RoundAborted, SecurefedError
from securefed.federated.clipped_share import CLIPPED_SHARE
from securefed.integrations.flower.arrays import added, as_array
from securefed.integrations.flower.content import Content, common_content
from securefed.integrations.flower.exchange import carry
from securefed.integrations.flower.nodes import Nodes
from securefed.integrations.flower.records import Options, answer_of, job_text, pack_request
from securefed.integrations.flower.strategies import Caller, calling_strategy, check_strategy
from securefed.schemes import SCHEMES, Protection

if TYPE_CHECKING:
    from flwr.proto.node_pb2 import NodeInfo
    from flwr.supercore.run import Run

__all__ = ["SecureGrid"]

_LOG: Final = logging.getLogger("flwr")
_A_THIRD: Final = 0.34
"""So that of three clients two may be corrupt: a sum is over at least three."""
_MUCH_CLIPPED: Final = 0.001
_EVERY_TIME: Final = ("O", "V")
"""Rules about what a client wants, and about its update: it would refuse the next attempt for the same reason."""


class SecureGrid(Grid):
    """A grid whose train messages are protected rounds: a strategy gets one reply, with the mean of all updates.

    All defaults together make a job against a semi-honest server (one that follows the protocol and looks at all it
    sees, together with up to a third of the clients) that needs no files. Against a malicious server every node's owner
    gives a client file, and the server needs the identity roster.

    The reply's arrays are old + mean update, which is what FedAvg makes of all replies. Strategies that need single
    updates are refused; a `train_metrics_aggr_fn` sees this one reply. bfloat16 arrays (`to_arrays`) come back to the
    strategy as float32, and are rounded to bfloat16 again where they are sent: it keeps what rounding would lose.

    Evaluate and query messages pass through, and their replies are in clear.

    Args:
        grid: Flower's.
        scheme: name in `schemes.SCHEMES`: masks, bfv, bfv-2048, ckks, ckks-compact; plain and float protect nothing.
            The nodes' policy must allow it, and by default allows masks alone.
        adversary: whom rounds are protected against. None is a semi-honest server with up to a third of the clients, or
            with none of them for the schemes in which all clients share a key (bfv …, ckks …).
        bits: of one quantised value, 2 … 32.
        clip: bound of every value of an update times weight/greatest_weight.
        greatest_weight: no node's weight (`num-examples`) may be over it. The closer the weights come to it, the finer
            the mean: its step is clip / 2^(bits−1) · greatest_weight / mean weight.
        metrics: names of all metrics of the train function besides the weight. They are in the sum: the strategy sees
            their weighted means.
        identities: the identity roster, as a file or as public keys by client id. For a malicious server.
        checkpoint: folder in which rounds are kept, so that a job that broke off goes on (`run_rounds`).
        stage_timeout: seconds for an exchange that does not train; the one that does has the strategy's timeout.
        prepare: let the next round's set-up ride on this one's messages, where the scheme can: fewer exchanges.
        attempts: at a round that aborts because too few nodes are left, ≥ 1; each is a new one, with all nodes.
        sums_only: the strategy (an own one, or an own loop) reads one reply that holds the mean and needs no more.

    Raises:
        ConfigError: names the argument.
    """

    def __init__(
        self,
        grid: Grid,
        *,
        scheme: str = "masks",
        adversary: Adversary | None = None,
        bits: int = 24,
        clip: float = 1.0,
        greatest_weight: int = 4096,
        metrics: Sequence[str] = (),
        identities: Mapping[ClientId, bytes] | str | Path | None = None,
        checkpoint: str | Path | None = None,
        stage_timeout: float = 120.0,
        prepare: bool = True,
        attempts: int = 2,
        sums_only: bool = False,
    ) -> None:
        super().__init__()
        if scheme not in SCHEMES:
            raise ConfigError("scheme", f"{scheme!r} is none of {', '.join(SCHEMES)}")
        entry = SCHEMES[scheme]
        if adversary is None:
            adversary = Adversary("semi-honest", corrupt=0.0 if entry.shares_a_key else _A_THIRD)
        self.adversary = adversary
        if isinstance(metrics, str) or {CLIPPED_SHARE, WEIGHT} & set(metrics):
            raise ConfigError(
                "metrics", f"a list of names is wanted; {CLIPPED_SHARE!r} and {WEIGHT!r} are there already"
            )
        if attempts < 1:
            raise ConfigError("attempts", f"{attempts} are none")
        if not stage_timeout > 0:
            raise ConfigError("stage_timeout", f"in {stage_timeout} seconds no node answers")
        roster = read_roster(Path(identities)) if isinstance(identities, str | Path) else identities
        if self.adversary.malicious and roster is None:
            raise ConfigError(
                "identities",
                "a malicious server's rounds need the identity roster: python -m securefed.deployment roster …",
            )
        if entry.protection is Protection.NONE:
            _LOG.warning("securefed: scheme %s protects nothing: the server sees every update", scheme)
        self.checkpoint = None if checkpoint is None else Path(checkpoint)
        self.report: RoundReport | None = None  # of the last round, without its tensors
        self.content = Content()
        self._grid = grid
        self._scheme = scheme
        self._numbers = (bits, clip, greatest_weight)
        self._metrics = tuple(metrics)
        self._stage_timeout = stage_timeout
        self._prepare = prepare
        self._attempts = attempts
        self._sums_only = sums_only
        self._update_stage = entry.make().update_stage
        self._nodes = Nodes(grid, roster if self.adversary.malicious else None)
        self._coordinator = Coordinator(
            scheme, self.adversary, bits=bits, clip=clip, greatest_weight=greatest_weight,
            identities=roster if self.adversary.malicious else None,
            folder=None if self.checkpoint is None else self.checkpoint / "rounds",
        )  # fmt: skip

    def set_run(self, run: Run) -> None:
        """See `Grid`."""
        self._grid.set_run(run)

    @property
    def run(self) -> Run:
        """See `Grid`."""
        return self._grid.run

    def create_message(self, *args: Any, **kwargs: Any) -> Message:
        """See `Grid`."""
        return self._grid.create_message(*args, **kwargs)

    def get_node_ids(self) -> Iterable[int]:
        """See `Grid`."""
        return self._grid.get_node_ids()

    def get_nodes(self) -> Iterable[NodeInfo]:
        """See `Grid`."""
        return self._grid.get_nodes()

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """See `Grid`; not for train messages, whose replies are asked for all at once.

        Raises:
            ConfigError: a train message.
        """
        found = list(messages)
        if any(_is_train(message) for message in found):
            raise ConfigError("push_messages", "train messages of a protected round go through send_and_receive")
        return self._grid.push_messages(self.content.as_sent(found))

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """See `Grid`."""
        return self._grid.pull_messages(message_ids)

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        """Of train messages, which must all be the same, one reply with the mean; others as Flower's grid does it.

        Args:
            messages: of a strategy.
            timeout: seconds; of train messages those of the exchange in which nodes train.

        Raises:
            ConfigError: a strategy that needs single updates, messages that differ, arrays that cannot be summed.
            RoundAborted: too few nodes are left; what was learnt is nothing.
        """
        found = list(messages)
        if not any(_is_train(message) for message in found):
            return self._grid.send_and_receive(self.content.as_sent(found), timeout=timeout)
        caller = calling_strategy()
        check_strategy(caller.strategy, sums_only=self._sums_only)
        return [self._round(found, caller, timeout)]

    def _round(self, messages: list[Message], caller: Caller, timeout: float | None) -> Message:
        content = common_content(messages)
        name, old = self.content.tensors_of(content)
        sent = self.content.sent(content)
        arrays = self.content.tensors_of(sent)[1]
        kind = messages[0].metadata.message_type
        layout = Layout.of(arrays, (*self._metrics, CLIPPED_SHARE))
        options = Options(caller.weighted_by, self._metrics, *self._numbers[1:])
        digest = model_digest(job_text(sent, options, kind), arrays)
        members = self._members(messages, kind, caller)
        hopeless: set[str] = set()

        def exchange(
            stage: str, requests: Mapping[ClientId, tuple[JobTerms, bytes]]
        ) -> Iterator[tuple[ClientId, bytes | SecurefedError]]:
            trains = stage == self._update_stage
            limit = timeout if trains else self._stage_timeout
            outgoing = {}
            for client, (terms, request) in requests.items():
                packed = pack_request(terms.to_json(), options, request)
                # What is trained from travels once, with the request that trains.
                whole = RecordDict({**packed, **sent}) if trains else packed
                outgoing[client] = Message(whole, members[client], kind, ttl=limit)
            for client, found in carry(self._grid, outgoing, limit, large=trains):
                answer = _answer(found)
                hopeless.update(rule for rule in [getattr(answer, "rule", "")] if rule[:1] in _EVERY_TIME)
                del found
                yield client, answer
                del answer

        cohort, more = tuple(sorted(members)), self._prepare and not caller.last
        for left in reversed(range(self._attempts)):
            try:
                report = self._coordinator.run(cohort, layout, digest, exchange, more=more)
                break
            except RoundAborted as error:
                if hopeless or not left:
                    raise
                _LOG.warning("securefed: %s; the round begins anew", error)
        self._log(report, members, _number(content) or report.spec.round)
        mean = dict(report.aggregate.tensors)
        # What is kept between rounds has no vectors.
        aggregate = replace(report.aggregate, tensors={}, words=None)
        self.report = report = replace(report, aggregate=aggregate)
        metrics = {one: value for one, value in aggregate.metrics.items() if one != CLIPPED_SHARE}
        reply = RecordDict(
            {
                name: ArrayRecord({key: as_array(added(tensor, mean.pop(key))) for key, tensor in old.items()}),
                "metrics": MetricRecord({caller.weighted_by: aggregate.weight, **metrics}),
            }
        )
        return Message(reply, reply_to=messages[0])

    def _members(self, messages: list[Message], kind: str, caller: Caller) -> Mapping[ClientId, int]:
        """Nodes by client id, after all that makes a round impossible has been looked at."""
        asked = [message.metadata.dst_node_id for message in messages]
        if len(set(asked)) < len(asked):
            raise ConfigError("messages", "a node has two train messages in one round")
        problem = self.adversary.infeasible(len(asked))
        if problem is not None:
            raise ConfigError(
                "adversary", f"{problem} (the strategy's min_train_nodes and fraction_train choose the cohort)"
            )
        # A node may take long over its first message: Flower installs the app then.
        for _ in range(self._attempts):
            members = self._nodes.clients(asked, kind, self._stage_timeout)
            problem = self.adversary.infeasible(len(members)) if members else "no node answered"
            if problem is None and len(members) >= caller.least_nodes:
                break
        if problem is not None:
            raise RoundAborted("hello", f"{len(members)} of {len(asked)} nodes take part: {problem}")
        return members

    def _log(self, report: RoundReport, members: Mapping[ClientId, int], number: object) -> None:
        survivors = report.aggregate.survivors
        lost = [f"node {members[one]} (client {one}) at {stage}" for one, stage in report.lost.items()]
        refused = [f"node {members[one]} (client {one}): {why}" for one, why in report.refused.items()]
        _LOG.info(
            "securefed: round %s (%s) in %s exchanges and %.1f s, %s of %s nodes in the sum; lost: %s; refused: %s",
            number, self._scheme, report.exchanges, report.seconds, len(survivors), len(members),
            ", ".join(lost) or "none", "; ".join(refused) or "none",
        )  # fmt: skip
        share = report.aggregate.metrics[CLIPPED_SHARE]
        if share > _MUCH_CLIPPED:
            _LOG.warning(
                "securefed: %.1f%% of the update's values were over the clip bound %g and were cut off: "
                "raise SecureGrid's clip",
                100 * share, self._numbers[1],
            )  # fmt: skip


def _is_train(message: Message) -> bool:
    return message.metadata.message_type.partition(".")[0] == "train"


def _number(content: RecordDict) -> object:
    """What the strategy calls the round."""
    return next((one["server-round"] for one in content.values() if "server-round" in one), None)


def _answer(found: RecordDict | SecurefedError) -> bytes | SecurefedError:
    if isinstance(found, SecurefedError):
        return found
    try:
        return answer_of(found)
    except RemoteProtocolError as error:
        return error
