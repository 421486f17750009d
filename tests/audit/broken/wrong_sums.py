"""The sum is wrong: always, after a dropout, in another order, or nobody is told that there is none."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np

from securefed.errors import RoundAborted
from securefed.secagg.client_input import Shared
from securefed.secagg.stages import Stage
from tests.audit.broken.wrapping import Broken, ClientInFront, ServerInFront, as_broken


class WrongSign(Broken):
    """Every client adds its pairwise masks: none of them cancels."""

    fails = "test_the_sum_is_exact"

    class Client(ClientInFront):
        def reply(self, request: bytes, update: Callable[[], Any]) -> bytes:
            if isinstance(self.client._stage, Shared):
                self.client._stage = as_broken(self.client._stage, _AddsAll)
            return super().reply(request, update)


class _AddsAll(Shared):
    def _masks(self, *arguments: Any) -> list[tuple[bytes, int]]:
        return [(key, +1) for key, _ in super()._masks(*arguments)]


class ForgetsASurvivor(Broken):
    """The server takes the last client's upload, says that it is in the sum, and does not add it."""

    fails = "test_the_sum_is_exact"

    class Server(ServerInFront):
        def receive(self, client: int, reply: bytes) -> None:
            before = self.server._inputs.total.copy()
            forgotten = self.stage == Stage.INPUT and client == self.own.spec.cohort[-1]
            super().receive(client, reply)
            if forgotten:
                self.server._inputs.total = before


class AbortsAtADropout(Broken):
    """The server goes on only when everyone has answered."""

    fails = "test_dropouts_down_to_the_threshold_are_survived"

    class Server(ServerInFront):
        def advance(self) -> None:
            present = self.server._present
            everyone = present._answered == present._asked
            super().advance()
            if not everyone:
                raise RoundAborted("any", "someone dropped out")


class SaysNothing(Broken):
    """With too few answers the server ends the round and tells nobody."""

    fails = "test_too_few_left_aborts"

    class Server(ServerInFront):
        def advance(self) -> None:
            if self.server.stage != Stage.DONE:
                with suppress(RoundAborted):
                    super().advance()


class DependsOnTheOrder(Broken):
    """An upload that comes after one of a client with a greater id is added a little wrong."""

    fails = "test_the_order_of_answers_does_not_matter"

    class Server(ServerInFront):
        greatest = 0

        def receive(self, client: int, reply: bytes) -> None:
            super().receive(client, reply)
            if self.stage == Stage.INPUT:
                if client < self.greatest:
                    self.server._inputs.total[0] += np.uint64(1)
                self.greatest = max(self.greatest, client)
