"""The server's side of the transport: requests wait until their clients fetch them, answers until they are read."""

from __future__ import annotations

import hashlib
import queue
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from securefed.deployment import JobTerms
from securefed.errors import RemoteProtocolError, SecurefedError

POLL_SECONDS = 20
"""A GET /request is held so long where there is no request yet."""
REFUSAL_BYTES = 1000

Answer = bytes | SecurefedError


class Mailbox:
    """What each client is to answer now, and what came.

    Args:
        deadline: seconds for one exchange; who has not answered by then is lost for the round.
        most_bytes: of an answer; a longer one is refused before it is read.
    """

    def __init__(self, deadline: float, most_bytes: int) -> None:
        self.deadline, self.most_bytes = deadline, most_bytes
        self.model = b""
        self._changed = threading.Condition()
        self._waiting: dict[int, tuple[str, bytes]] = {}
        self._came: queue.Queue[tuple[int, Answer]] = queue.Queue()
        self._over = False
        self._told: set[int] = set()

    def exchange(self, stage: str, requests: Mapping[int, tuple[JobTerms, bytes]]) -> Iterator[tuple[int, Answer]]:
        """What `Coordinator.run` asks for: send all, give what comes until the deadline."""
        print(f"{stage}: {len(requests)} asked", flush=True)
        with self._changed:
            self._came = queue.Queue()
            for client, (terms, request) in requests.items():
                text = terms.to_json().encode()
                body = len(text).to_bytes(4, "big") + text + request
                self._waiting[client] = (hashlib.sha256(request).hexdigest(), body)
            self._changed.notify_all()
        end = time.monotonic() + self.deadline
        try:
            for _ in requests:
                yield self._came.get(timeout=max(0.0, end - time.monotonic()))
        except queue.Empty:
            pass
        finally:
            with self._changed:
                self._waiting.clear()

    def fetch(self, client: int) -> tuple[int, bytes]:
        """Status and body for a client that asks for its request."""
        with self._changed:
            self._changed.wait_for(lambda: client in self._waiting or self._over, POLL_SECONDS)
            if client in self._waiting:
                return 200, self._waiting[client][1]
            if self._over:
                self._told.add(client)
                self._changed.notify_all()
            return (410 if self._over else 204), b""

    def post(self, client: int, name: str, answer: Answer) -> int:
        """Status for an answer to the request whose SHA-256 is `name`: 409 for one that is late, or came twice."""
        with self._changed:
            if self._waiting.get(client, ("", b""))[0] != name:
                return 409
            del self._waiting[client]
            self._came.put((client, answer))
            return 200

    def close(self, clients: tuple[int, ...]) -> None:
        """The job is over: wait a moment until these have been told."""
        with self._changed:
            self._over = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._told.issuperset(clients), 5)


def make_handler(mailbox: Mailbox) -> type[BaseHTTPRequestHandler]:
    """The HTTP side; a client is whoever its certificate says."""

    class Handler(BaseHTTPRequestHandler):
        timeout = 60  # for each read and write; not for what `fetch` waits

        def handle(self) -> None:
            with suppress(OSError):  # a client that was killed while it waited, or a stranger without a certificate
                super().handle()

        def do_GET(self) -> None:
            """/request: terms and request, 204 for none yet, 410 for the end. /model: the weights."""
            self._reply(*((200, mailbox.model) if self.path == "/model" else mailbox.fetch(self._client())))

        def do_POST(self) -> None:
            """/answer/NAME, or /refusal/NAME with the reason."""
            client, length = self._client(), self.headers.get("Content-Length", "")
            _, kind, name = (*self.path.split("/"), "", "")[:3]
            most = {"answer": mailbox.most_bytes, "refusal": REFUSAL_BYTES}.get(kind, -1)
            if not length.isdecimal() or int(length) > most:
                self._reply(413)
                return
            body = self.rfile.read(int(length))
            refusal = RemoteProtocolError("R4", f"says that it refuses: {body.decode(errors='replace')!r}", client)
            self._reply(mailbox.post(client, name, body if kind == "answer" else refusal))

        def _client(self) -> int:
            (name,) = (value for ((key, value),) in self.connection.getpeercert()["subject"] if key == "commonName")
            return int(name.removeprefix("client-"))

        def _reply(self, status: int, body: bytes = b"") -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    return Handler


def serve(mailbox: Mailbox, port: int, tls: Path) -> ThreadingHTTPServer:
    """Listen in threads; only who has a certificate of the authority is heard."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=tls / "authority.crt")
    context.load_cert_chain(tls / "server.crt", tls / "server.key")
    context.verify_mode = ssl.CERT_REQUIRED
    server = ThreadingHTTPServer(("", port), make_handler(mailbox))
    # The handshake is made by the thread of the connection: one that stalls holds up nobody else.
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server
