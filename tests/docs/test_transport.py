"""The transport of the HTTP example: who is heard, how much is read, what comes too late."""

from __future__ import annotations

import hashlib
import http.client
import importlib
import ssl
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from securefed.deployment import JobTerms
from securefed.encoding.layout import Layout
from securefed.errors import RemoteProtocolError
from tests.docs.processes import ROOT, run

EXAMPLE = ROOT / "docs" / "examples" / "over_http"
LAYOUT = Layout.of({"w": np.zeros(3, np.float32)})
MOST = 2000


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certificates")
    run(str(EXAMPLE / "certificates.py"), "tls", "--clients", "2", folder=folder)
    run(str(EXAMPLE / "certificates.py"), "strangers", "--clients", "2", folder=folder)
    return folder / "tls"


@pytest.fixture
def transport(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(EXAMPLE)
    module = importlib.import_module("transport")
    monkeypatch.delitem(sys.modules, "transport")
    monkeypatch.setattr(module, "POLL_SECONDS", 0.05)
    return module


class Place:
    """A server that listens, and clients with certificates."""

    def __init__(self, transport: ModuleType, tls: Path, deadline: float) -> None:
        self.mailbox = transport.Mailbox(deadline, MOST)
        self.tls = tls
        self.http = transport.serve(self.mailbox, 0, tls)
        self.came: list[tuple[int, Any]] = []

    def ask(self, **requests: bytes) -> threading.Thread:
        """An exchange, in a thread as the coordinator's would be."""
        terms = {int(c[1:]): (JobTerms("masks", LAYOUT, int(c[1:])), request) for c, request in requests.items()}
        thread = threading.Thread(target=lambda: self.came.extend(self.mailbox.exchange("input", terms)))
        thread.start()
        with self.mailbox._changed:
            assert self.mailbox._changed.wait_for(lambda: self.mailbox._waiting, 5)
        return thread

    def call(
        self, client: int | None, path: str, body: bytes | None = None, tls: Path | None = None
    ) -> tuple[int, bytes]:
        context = ssl.create_default_context(cafile=self.tls / "authority.crt")
        if client is not None:
            folder = tls or self.tls
            context.load_cert_chain(folder / f"client-{client}.crt", folder / f"client-{client}.key")
        connection = http.client.HTTPSConnection("localhost", self.http.server_port, timeout=5, context=context)
        try:
            connection.request("GET" if body is None else "POST", path, body)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()


def named(kind: str, request: bytes) -> str:
    return f"/{kind}/{hashlib.sha256(request).hexdigest()}"


@pytest.fixture
def place(transport: ModuleType, tls: Path) -> Iterator[Place]:
    made = Place(transport, tls, deadline=5)
    yield made
    made.http.shutdown()
    made.http.server_close()


def test_an_exchange(place: Place) -> None:
    place.mailbox.model = b"weights"
    assert place.call(1, "/request") == (204, b"")
    exchange = place.ask(c1=b"one", c2=b"two")
    status, body = place.call(1, "/request")
    length = int.from_bytes(body[:4], "big")
    assert status == 200
    assert JobTerms.from_json(body[4 : 4 + length].decode()) == JobTerms("masks", LAYOUT, 1)
    assert body[4 + length :] == b"one"
    assert place.call(1, "/model") == (200, b"weights")
    assert place.call(1, named("answer", b"one"), b"an answer") == (200, b"")
    assert place.call(1, "/request") == (204, b"")
    assert place.call(2, named("refusal", b"two"), b"not I") == (200, b"")
    exchange.join()
    (first, answer), (second, error) = place.came
    assert (first, answer, second) == (1, b"an answer", 2)
    assert isinstance(error, RemoteProtocolError)
    assert (error.peer, "not I" in str(error)) == (2, True)


def test_what_is_late_or_comes_twice_is_of_no_account(place: Place) -> None:
    place.mailbox.deadline = 2
    exchange = place.ask(c1=b"one", c2=b"two")
    assert place.call(1, named("answer", b"one"), b"first")[0] == 200
    assert place.call(1, named("answer", b"one"), b"second")[0] == 409
    exchange.join()
    assert place.came == [(1, b"first")]
    assert place.call(2, named("answer", b"two"), b"late")[0] == 409
    exchange = place.ask(c2=b"three")
    assert place.call(2, named("answer", b"two"), b"later still")[0] == 409
    assert place.call(2, named("answer", b"three"), b"in time")[0] == 200
    exchange.join()
    assert place.came == [(1, b"first"), (2, b"in time")]


def test_nobody_answers_for_another(place: Place) -> None:
    exchange = place.ask(c2=b"two")
    assert place.call(1, named("answer", b"two"), b"from client 1")[0] == 409
    assert place.call(2, named("answer", b"two"), b"its own")[0] == 200
    exchange.join()
    assert place.came == [(2, b"its own")]


@pytest.mark.parametrize("kind", ["answer", "refusal", "other"])
def test_what_is_too_long_is_not_read(place: Place, kind: str) -> None:
    exchange = place.ask(c1=b"one")
    most = {"answer": MOST, "refusal": 1000, "other": -1}[kind]
    with suppress(ConnectionError, ssl.SSLError):  # the server has hung up before all was sent
        assert place.call(1, named(kind, b"one"), b"x" * (most + 1))[0] == 413
    assert place.came == []
    assert place.call(1, named("answer", b"one"), b"x" * MOST)[0] == 200
    exchange.join()
    assert place.came == [(1, b"x" * MOST)]


def test_strangers_are_not_heard(place: Place, tls: Path) -> None:
    place.mailbox.model = b"weights"
    for client, folder in ((None, tls), (1, tls.parent / "strangers")):
        with pytest.raises(OSError, match=r"(?i)alert|reset|eof|pipe"):
            place.call(client, "/model", tls=folder)


def test_at_the_end_clients_are_told(place: Place) -> None:
    closing = threading.Thread(target=place.mailbox.close, args=((1, 2),))
    closing.start()
    assert place.call(1, "/request")[0] == 410
    assert closing.is_alive()
    assert place.call(2, "/request")[0] == 410
    closing.join(timeout=2)
    assert not closing.is_alive()
