"""Identities of clients, and the timer that ends what was left behind.

    $ python -m securefed.deployment identity hospital-3 --id 3
    hospital-3/identity.key       secret: stays on this machine
    hospital-3/identity.pub.json  for the identity roster: hand it to whoever makes that
    hospital-3/client.toml        who this client is and what it demands: read it
    $ python -m securefed.deployment roster identities.json hospital-*/identity.pub.json
    identities.json: 3 clients (1, 2, 3), fingerprint 5f0c 93d1 77aa 02be
    Every client puts a copy beside its client.toml, and compares the fingerprint with the others.
    $ python -m securefed.deployment expire hospital-3/client.toml
    nothing is left

Exit codes: 0 done, 1 it could not be done (what and why on standard error), 2 a wrong command line.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from securefed.crypto.hashing import digest
from securefed.deployment.client_file import ClientFile
from securefed.deployment.identities import make_identity, make_roster
from securefed.deployment.participant import Participant
from securefed.errors import PersistenceError, SecurefedError

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; gives its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m securefed.deployment", description="Identities of clients, and the timer of their secrets."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    identity = commands.add_parser("identity", help="make a client's identity key and its client file")
    identity.add_argument("folder", type=Path, help="of the client")
    identity.add_argument("--id", type=int, required=True, help="client id, 1 … 2^32 - 1, one for each client")
    identity.add_argument("--state", default="state", help="where the client keeps its state (default: FOLDER/state)")
    roster = commands.add_parser("roster", help="put public identities together to an identity roster")
    roster.add_argument("out", type=Path, help="the roster, for every client")
    roster.add_argument("publics", type=Path, nargs="+", metavar="identity.pub.json", help="of each client")
    expire = commands.add_parser("expire", help="destroy the secrets of rounds whose deadline is over; for a timer")
    expire.add_argument("client", type=Path, metavar="client.toml")
    expire.add_argument("--now", action="store_true", help="whatever the deadline: the client leaves its rounds")
    chosen = parser.parse_args(arguments)
    try:
        match chosen.command:
            case "identity":
                _identity(chosen.folder, chosen.id, chosen.state)
            case "roster":
                _roster(chosen.out, chosen.publics)
            case _:
                _expire(chosen.client, chosen.now)
    except SecurefedError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _identity(folder: Path, client: int, state: str) -> None:
    make_identity(folder, client, state)
    for name, what in (
        ("identity.key", "secret: stays on this machine"),
        ("identity.pub.json", "for the identity roster: hand it to whoever makes that"),
        ("client.toml", "who this client is and what it demands: read it"),
    ):
        print(f"{folder / name!s:<{len(str(folder)) + 20}}{what}")


def _roster(out: Path, publics: Sequence[Path]) -> None:
    clients = make_roster(out, publics)
    fingerprint = digest(*(one.to_bytes(4, "big") + clients[one] for one in sorted(clients))).hex()
    in_fours = " ".join(fingerprint[at : at + 4] for at in range(0, 32, 4))
    ids = ", ".join(map(str, sorted(clients))) if len(clients) <= 20 else f"{min(clients)} … {max(clients)}"
    print(f"{out}: {len(clients)} clients ({ids}), fingerprint {in_fours}")
    print("Every client puts a copy beside its client.toml, and compares the fingerprint with the others.")


def _expire(path: Path, now: bool) -> None:
    participant = Participant.of(ClientFile.load(path))
    try:
        if now:
            participant.leave()
        left = not participant.expire()
    except PersistenceError as error:
        if error.rule != "P5":
            raise
        print("another process answers a request at the moment: nothing is destroyed")
        return
    print("a round goes on: its deadline is not over" if left else "nothing is left")


if __name__ == "__main__":
    sys.exit(main())
