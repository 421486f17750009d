"""Which node is which client: asked once, as the server knows nodes and the protocol knows clients."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Final

from flwr.app import Message
from flwr.serverapp import Grid

from securefed.aggregation import ClientId
from securefed.errors import SecurefedError
from securefed.integrations.flower.exchange import carry
from securefed.integrations.flower.records import greeted, hello

__all__ = ["Nodes"]

_LOG: Final = logging.getLogger("flwr")


class Nodes:
    """The clients of a job.

    A node whose owner gave it a client file says its id; the others get free ones, in the order of their node ids. Of
    two nodes with one id the later one is left out, unless the earlier one is there no more: a node that comes back may
    have another node id.

    Args:
        grid: to ask them over.
        roster: ids that take part; None for any.
    """

    def __init__(self, grid: Grid, roster: Iterable[ClientId] | None = None) -> None:
        self._grid = grid
        self._roster = None if roster is None else frozenset(roster)
        self._said: dict[int, ClientId | None] = {}
        self._clients: dict[int, ClientId] = {}
        self._left_out: set[int] = set()

    def clients(self, nodes: Iterable[int], message_type: str, timeout: float) -> Mapping[ClientId, int]:
        """Nodes by client id; without those that do not answer now, or must not take part.

        Args:
            nodes: that a round asks.
            message_type: of its train messages.
            timeout: seconds for nodes that have not answered before.
        """
        wanted = sorted(set(nodes))
        self._ask([node for node in wanted if node not in self._said], message_type, timeout)
        new = [node for node in wanted if node in self._said and node not in self._clients]
        # Those with an id of their own first: what is free is known then.
        for node in sorted(new, key=lambda one: self._said[one] is None):
            self._take(node, self._said[node])
        return {self._clients[node]: node for node in wanted if node in self._clients}

    def _ask(self, nodes: list[int], message_type: str, timeout: float) -> None:
        waiting = set(nodes)
        questions = {node: Message(hello(), node, message_type, ttl=timeout) for node in nodes}
        for node, content in carry(self._grid, questions, timeout) if questions else ():
            waiting.discard(node)
            try:
                if isinstance(content, SecurefedError):
                    raise content
                self._said[node] = greeted(content)
            except SecurefedError as error:
                _LOG.warning("securefed: node %s is not in this round: %s", node, error)
        for node in sorted(waiting):
            _LOG.warning("securefed: node %s does not answer, and is not in this round", node)

    def _take(self, node: int, client: ClientId | None) -> None:
        taken = {one: other for other, one in self._clients.items()}
        if self._roster is not None and client not in self._roster:
            who = "no client file" if client is None else f"the id {client}, which is not in the identity roster"
            self._leave_out(node, f"it has {who}")
        elif client in taken and taken[client] in self._grid.get_node_ids():
            self._leave_out(node, f"it has the id {client}, as node {taken[client]}, which answered before")
        else:
            if client in taken:
                del self._clients[taken[client]]
            self._clients[node] = client if client is not None else next(i for i in range(1, 2**32) if i not in taken)

    def _leave_out(self, node: int, why: str) -> None:
        if node not in self._left_out:
            _LOG.warning("securefed: node %s takes no part: %s", node, why)
        self._left_out.add(node)
