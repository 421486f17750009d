"""A client of a federated job: it asks the server for requests and posts its answers.

    python client.py client-3/client.toml

Kill it and start it again: what it has answered it answers again, what it has not is computed.
"""

from __future__ import annotations

import argparse
import hashlib
import http.client
import ssl
import time
from pathlib import Path

import task

from securefed.aggregation import Update
from securefed.deployment import ClientFile, JobTerms, Participant
from securefed.errors import SecurefedError
from securefed.federated.model_digest import model_digest

MOST_BYTES = 64 * 2**20
"""Of anything that the server sends."""


class Connection:
    """The server, as this client reaches it."""

    def __init__(self, host: str, port: int, tls: Path, client: int) -> None:
        self._address = (host, port)
        self._context = ssl.create_default_context(cafile=tls / "authority.crt")
        self._context.load_cert_chain(tls / f"client-{client}.crt", tls / f"client-{client}.key")

    def call(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        """Status and body; tries again for as long as the server cannot be reached."""
        told = False
        while True:
            connection = http.client.HTTPSConnection(*self._address, timeout=60, context=self._context)
            try:
                connection.request(method, path, body)
                response = connection.getresponse()
                received = response.read(MOST_BYTES + 1)
            except ssl.SSLCertVerificationError:
                raise
            except (OSError, http.client.HTTPException) as error:
                if not told:
                    print(f"the server cannot be reached ({error}): trying again", flush=True)
                told = True
                time.sleep(1)
                continue
            finally:
                connection.close()
            if len(received) > MOST_BYTES:
                raise ValueError(f"the server sends more than {MOST_BYTES} bytes for {path}")
            return response.status, received


def main() -> None:
    """Answer until the server says that the job is over."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="client.toml: who this client is and what it demands")
    parser.add_argument("--host", default="localhost")
    parser.add_argument("--port", type=int, default=8443)
    parser.add_argument("--tls", type=Path, default=Path("tls"), help="of certificates.py")
    arguments = parser.parse_args()

    file = ClientFile.load(arguments.file)
    participant = Participant.of(file)
    server = Connection(arguments.host, arguments.port, arguments.tls, file.id)
    model, data = task.make_model(), task.load_data(file.id)

    def update() -> Update:  # called once a round, in the exchange that needs it
        task.unpack(model, server.call("GET", "/model")[1])
        change, examples, loss = task.train(model, *data)
        print(f"trained: loss {loss:.4f}", flush=True)
        digest = model_digest(task.JOB, task.arrays(model))
        return Update(change, digest, weight=examples, metrics={"loss": loss})

    status = 0
    while status != 410:
        status, body = server.call("GET", "/request")
        if status != 200:
            continue
        length = int.from_bytes(body[:4], "big")
        text, request = body[4 : 4 + length].decode(errors="replace"), body[4 + length :]
        try:
            answer, kind = participant.answer(JobTerms.from_json(text), request, update), "answer"
        except SecurefedError as error:
            print(f"refused: {error}", flush=True)
            answer, kind = str(error).encode()[:1000], "refusal"
        server.call("POST", f"/{kind}/{hashlib.sha256(request).hexdigest()}", answer)
    with file.state.lock():
        file.state.destroy()  # nothing is owed to this job any more; record and rounding key stay


if __name__ == "__main__":
    main()
