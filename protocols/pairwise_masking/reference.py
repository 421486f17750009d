"""One whole round: a server, its clients, and the clients that drop out.

Read `keys` and `shamir` first, then `client`, then `server`.
"""

from dataclasses import dataclass

from protocols.notation import RuleBroken
from protocols.pairwise_masking.client import (
    Client,
    Policy,
    advertise,
    masked_input,
    release,
    replies,
    share_seeds,
)
from protocols.pairwise_masking.server import RoundAborted, Server, unmask
from protocols.wire.reference import SERVER, Specification


@dataclass(frozen=True)
class Sent:
    """A message of the transcript."""

    stage: int
    sender: int  # 0: the server
    recipients: tuple[int, ...]  # more than one: the same bytes to all
    message: bytes


@dataclass(frozen=True)
class Round:
    """What happened in a round."""

    transcript: tuple[Sent, ...]
    answered: tuple[tuple[int, ...], ...]  # U1 … U4, as far as the round went
    sum: list[int] | None  # ring words; None when the round was aborted
    aborted_at: int | None = None  # stage


def run_round(
    specification: Specification,
    round_secrets: dict[int, bytes],
    inputs: dict[int, list[int]],
    dropouts: dict[int, int],
) -> Round:
    """Run a round of honest parties. A dropout answers neither the stage that `dropouts` names nor a later one.

    Stages: 1 advertise, 2 share, 3 input, 4 release. Pre-condition: a secret and an input for every client
    of the cohort, inputs in ring words below 2^R. A round with too few answers is reported, not raised.
    """
    server = Server(specification)
    received: dict[int, list[bytes]] = {client: [] for client in specification.cohort}
    transcript: list[Sent] = []
    answered: list[tuple[int, ...]] = []
    for stage in (1, 2, 3, 4):
        requests = server.requests()
        transcript += sent_by_server(stage, requests)
        for client, request in requests.items():
            received[client].append(request)
            if client in dropouts and dropouts[client] <= stage:
                continue
            outcome = replies(Client(client, round_secrets[client]), inputs[client], received[client])[-1]
            if isinstance(outcome, RuleBroken):
                raise outcome
            transcript.append(Sent(stage, client, (SERVER,), outcome))
            server.receive(client, outcome)
        answered.append(tuple(sorted(server.answered)))
        try:
            server.advance()
        except RoundAborted:
            return Round(tuple(transcript), tuple(answered), None, stage)
    return Round(tuple(transcript), tuple(answered), server.sum)


def sent_by_server(stage: int, requests: dict[int, bytes]) -> list[Sent]:
    """One entry for each different message, with all its recipients."""
    recipients: dict[bytes, list[int]] = {}
    for client, message in requests.items():
        recipients.setdefault(message, []).append(client)
    return [Sent(stage, SERVER, tuple(clients), message) for message, clients in recipients.items()]


__all__ = [
    "Client",
    "Policy",
    "Round",
    "RoundAborted",
    "Sent",
    "Server",
    "advertise",
    "masked_input",
    "release",
    "replies",
    "run_round",
    "share_seeds",
    "unmask",
]
