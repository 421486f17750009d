"""A client's messages say something about it: weak masks, short seeds, a weight in clear, a length."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import numpy as np

from securefed.audit.protocol import ClientId, Contribution, Round
from securefed.crypto.keystream import StreamSum, Words
from securefed.secagg.stages import Stage
from securefed.wire.header import HEADER_BYTES
from tests.audit.broken.wrapping import Broken, ClientInFront, ServerInFront


class _OneWord(StreamSum):
    """Each stream's first word again and again."""

    def __init__(self, terms: Any) -> None:
        self._scalar = np.zeros(1, "<u8")
        StreamSum(terms).add_to(self._scalar)

    def add_to(self, words: Words) -> None:
        words += self._scalar[0]


class _ShortKeys(StreamSum):
    """Streams of keys of which 16 bits are left."""

    def __init__(self, terms: Any) -> None:
        super().__init__([(key[:2].ljust(32, b"\0"), sign) for key, sign in terms])


class _OtherStreams(Broken):
    streams: type[StreamSum]

    def make_round(self, contributions: Mapping[ClientId, Contribution]) -> Round:
        streams = self.streams

        class OtherClient(ClientInFront):
            def reply(self, request: bytes, update: Callable[[], Any]) -> bytes:
                with patch("securefed.secagg.client_input.StreamSum", streams):
                    return super().reply(request, update)

        class OtherServer(ServerInFront):
            def advance(self) -> None:
                with patch("securefed.secagg.unmask.StreamSum", streams):
                    super().advance()

        self.Client, self.Server = OtherClient, OtherServer
        return super().make_round(contributions)


class OneScalar(_OtherStreams):
    """One mask word for all coordinates: differences within the vector are in clear."""

    fails = "test_one_upload_looks_uniform"
    streams = _OneWord


class ShortSeeds(_OtherStreams):
    """Masks from seeds of 16 bits."""

    fails = "test_every_bit_of_a_mask_seed_counts"
    streams = _ShortKeys

    def make_round(self, contributions: Mapping[ClientId, Contribution]) -> Round:
        return replace(super().make_round(contributions), mask_stream=_short_stream)


def _short_stream(seed: bytes) -> bytes:
    words = np.zeros(4, "<u8")
    _ShortKeys([(seed, +1)]).add_to(words)
    return words.tobytes()


class _AppendsToUploads(Broken):
    """Something behind each upload, which the server cuts off."""

    class Server(ServerInFront):
        def receive(self, client: int, reply: bytes) -> None:
            if self.stage == Stage.INPUT:
                count = int.from_bytes(reply[HEADER_BYTES - 16 : HEADER_BYTES - 8], "big")
                reply = reply[: HEADER_BYTES + 8 * count]
            super().receive(client, reply)


class WeightInClear(_AppendsToUploads):
    """The client's weight, as in “number of examples”, behind its upload."""

    fails = "test_nothing_of_one_client_in_clear"

    class Client(ClientInFront):
        def reply(self, request: bytes, update: Callable[[], Any]) -> bytes:
            upload = self.client._stage.__class__.__name__ == "Shared"
            weight = self.own.contributions[self.me].weight
            return super().reply(request, update) + (weight.to_bytes(4, "big") if upload else b"")


class LengthTells(_AppendsToUploads):
    """As many bytes behind the upload as the weight says."""

    fails = "test_the_length_of_messages_does_not_depend_on_the_input"

    class Client(ClientInFront):
        def reply(self, request: bytes, update: Callable[[], Any]) -> bytes:
            upload = self.client._stage.__class__.__name__ == "Shared"
            return super().reply(request, update) + bytes(self.own.contributions[self.me].weight if upload else 0)


class NotANumber(Broken):
    """The client makes zeros of what is not finite, and sends them."""

    fails = "test_a_vector_that_is_not_finite_is_refused"

    class Client(ClientInFront):
        def reply(self, request: bytes, update: Callable[[], Any]) -> bytes:
            def tidied() -> Any:
                one = update()
                return replace(
                    one, tensors={name: np.nan_to_num(array, posinf=0, neginf=0) for name, array in one.tensors.items()}
                )

            return super().reply(request, tidied)
