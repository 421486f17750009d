"""The client's side: a `ClientApp` around the user's, which answers the protocol and lets it train in between."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Final

from flwr.app import Context, Error, Message
from flwr.clientapp import ClientApp
from flwr.clientapp.typing import ClientAppCallable, Mod

from securefed.aggregation import Policy, Update
from securefed.deployment import JobTerms
from securefed.errors import SecurefedError
from securefed.integrations.flower.membership import Membership
from securefed.integrations.flower.records import HELLO, RECORD, hello_answer, pack_answer, request_of, without
from securefed.integrations.flower.training import TrainedElsewhere, update_of

__all__ = ["SecureClientApp", "secure"]

_REFUSED: Final = 6
"""Flower's error code of a modifier whose condition is not met (`MOD_FAILED_PRECONDITION`)."""
_LOG: Final = logging.getLogger("flwr")


def secure(app: ClientApp, *, policy: Policy | None = None, clear_evaluation: bool = True) -> ClientApp:
    """The same app, which gives the update of its train functions to protected rounds alone.

    The train functions stay as they are, with their modifiers: they see an ordinary train message, and their reply (one
    `ArrayRecord`, one `MetricRecord`) never leaves the node: the update and the metrics go into the sum. Config records
    in it are dropped. A train message without protection is refused.

    Replies to evaluate and query messages are in clear, as Flower sends them: the server sees each node's.

    Where the owner of the node gave a client file (`flower-supernode --node-config 'securefed="/path/client.toml"'`),
    identity, identity roster, state and the owner's policy are from there, and `policy` must hold too. Without one the
    node has no identity and keeps its state in the run's context: that is for servers that are trusted to follow the
    protocol, and the least policy is `Policy(adversary=Adversary("semi-honest"))`.

    Args:
        app: with its functions registered or not; the returned one registers with it.
        policy: what every node of this app demands.
        clear_evaluation: False refuses evaluate messages.
    """
    return SecureClientApp(app, policy, clear_evaluation=clear_evaluation)


class SecureClientApp(ClientApp):
    """See `secure`."""

    def __init__(self, app: ClientApp, policy: Policy | None, *, clear_evaluation: bool) -> None:
        super().__init__()
        self._app = app
        self._policy = policy
        self._clear_evaluation = clear_evaluation

    def train(
        self, action: str = "default", *, mods: list[Mod] | None = None
    ) -> Callable[[ClientAppCallable], ClientAppCallable]:
        """See `ClientApp.train`."""
        return self._app.train(action, mods=mods)

    def evaluate(
        self, action: str = "default", *, mods: list[Mod] | None = None
    ) -> Callable[[ClientAppCallable], ClientAppCallable]:
        """See `ClientApp.evaluate`."""
        return self._app.evaluate(action, mods=mods)

    def query(
        self, action: str = "default", *, mods: list[Mod] | None = None
    ) -> Callable[[ClientAppCallable], ClientAppCallable]:
        """See `ClientApp.query`."""
        return self._app.query(action, mods=mods)

    def lifespan(
        self,
    ) -> Callable[[Callable[[Context], Iterator[None]]], Callable[[Context], Iterator[None]]]:
        """See `ClientApp.lifespan`; entered where one of the app's functions is called."""
        return self._app.lifespan()

    def __call__(self, message: Message, context: Context) -> Message:
        """Answer one message."""
        category = message.metadata.message_type.partition(".")[0]
        if category == "evaluate" and not self._clear_evaluation:
            return _refusal(message, "replies to evaluate messages are in clear, and this app gives none")
        if category != "train":
            return self._app(message, context)
        if RECORD not in message.content:
            return _refusal(
                message,
                "a train message without protection is refused: start the strategy with grid=SecureGrid(grid) "
                "(securefed.integrations.flower) in the server app",
            )
        try:
            return self._exchange(message, context)
        except SecurefedError as error:
            return _refusal(message, str(error))
        except TrainedElsewhere as other:
            return other.reply

    def _exchange(self, message: Message, context: Context) -> Message:
        content = message.content
        membership = Membership.of(context, self._policy)
        if HELLO in content[RECORD]:
            return Message(hello_answer(membership.client), reply_to=message)
        terms, options, request = request_of(content)

        def update() -> Update:
            message.content = without(content)
            return update_of(message, options, lambda plain: self._app(plain, context))

        answer = membership.participant.answer(JobTerms.from_json(terms), request, update)
        return Message(pack_answer(answer), reply_to=message)


def _refusal(message: Message, problem: str) -> Message:
    _LOG.warning("securefed: %s", problem)
    return Message(Error(code=_REFUSED, reason=f"securefed: {problem}"), reply_to=message)
