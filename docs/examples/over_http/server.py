"""The server of a federated job: clients fetch requests and post answers over HTTPS.

    python server.py --clients 1 2 3 --rounds 3

Kill it and start it again: it goes on where it was.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import task
from transport import Mailbox, serve

from securefed.aggregation import Adversary
from securefed.deployment import Coordinator
from securefed.deployment.identities import read_roster
from securefed.encoding.layout import Layout
from securefed.errors import RoundAborted
from securefed.federated.files import replace
from securefed.federated.model_digest import model_digest


def main() -> None:
    """Run the rounds that are left."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, nargs="+", required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=Path("server"), help="model and state")
    parser.add_argument("--roster", type=Path, default=Path("roster.json"), help="public identity keys")
    parser.add_argument("--tls", type=Path, default=Path("tls"), help="of certificates.py")
    parser.add_argument("--port", type=int, default=8443)
    parser.add_argument("--deadline", type=float, default=60, help="seconds that an exchange may take")
    arguments = parser.parse_args()

    arguments.folder.mkdir(mode=0o700, exist_ok=True)
    model, path, finished = task.make_model(), arguments.folder / "model.bin", 0
    if path.exists():
        stored = path.read_bytes()
        finished = int.from_bytes(stored[:4], "big")
        task.unpack(model, stored[4:])

    layout = Layout.of(task.arrays(model), metrics=("loss",))
    coordinator = Coordinator(
        "masks",
        Adversary("malicious", corrupt=0.1, dropouts=0.1),
        bits=task.BITS,
        clip=task.CLIP,
        greatest_weight=task.MOST_EXAMPLES,
        identities=read_roster(arguments.roster),
        folder=arguments.folder,
    )
    mailbox = Mailbox(arguments.deadline, most_bytes=8 * layout.size + 2**20)
    server = serve(mailbox, arguments.port, arguments.tls)
    cohort, failed = tuple(arguments.clients), 0
    while finished < arguments.rounds:
        mailbox.model = task.pack(model)
        digest = model_digest(task.JOB, task.arrays(model))
        try:
            report = coordinator.run(cohort, layout, digest, mailbox.exchange, more=finished + 1 < arguments.rounds)
        except RoundAborted as error:
            failed += 1
            print(f"round {finished + 1}: {error}", flush=True)
            if failed == 5:
                raise
            continue
        mean = report.aggregate
        task.add(model, mean.tensors)
        finished, failed = finished + 1, 0
        replace(path, finished.to_bytes(4, "big"), task.pack(model))  # the old file or the new one, never half of one
        print(
            f"round {finished}: loss {mean.metrics['loss']:.4f} over {mean.weight} examples of clients "
            f"{', '.join(map(str, mean.survivors))}, {report.exchanges} exchanges",
            flush=True,
        )
    mailbox.close(cohort)
    server.shutdown()
    server.server_close()


if __name__ == "__main__":
    main()
