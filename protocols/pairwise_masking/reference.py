"""One whole round: a server, its clients, and the clients that drop out.

Read `parameters`, `graph`, `keys`, `signatures` and `shamir` first, then `participant`, `received` and `client`,
then `server` and `unmask`.
"""

from dataclasses import dataclass, field

from protocols.notation import RuleBroken
from protocols.pairwise_masking.client import advertise, consent, masked_input, release, replies, reply, share_seeds
from protocols.pairwise_masking.participant import Client, Policy
from protocols.pairwise_masking.server import LAST_STAGE, RoundAborted, Server
from protocols.pairwise_masking.signatures import Identities, identity
from protocols.wire.reference import SERVER, Specification


@dataclass(frozen=True)
class Sent:
    """A message of the transcript."""

    stage: int
    sender: int  # 0: the server
    recipients: tuple[int, ...]  # more than one: the same bytes to all
    message: bytes


Refused = tuple[int, str]
"""Stage and rule."""


@dataclass(frozen=True)
class Round:
    """What happened in a round."""

    transcript: tuple[Sent, ...]
    answered: dict[int, tuple[int, ...]]  # stage: U1, U2, U3, U4 (malicious server), who released
    sum: list[int] | None  # ring words; None when the round was aborted
    aborted_at: int | None = None  # stage
    refused: dict[int, Refused] = field(default_factory=dict)  # what clients made of requests that they could not use
    rule: str | None = None  # S3 where a seed has too few shares at the end


def run_round(
    specification: Specification,
    round_secrets: dict[int, bytes],
    inputs: dict[int, list[int]],
    dropouts: dict[int, int],
    identity_keys: dict[int, bytes] | None = None,
    model: bytes | None = None,
) -> Round:
    """Run a round of honest parties. A dropout answers neither the stage that `dropouts` names nor a later one.

    Stages: 1 advertise, 2 share, 3 input, 4 consent (malicious server only), 5 release. Pre-condition: a secret and
    an input for every client of the cohort, inputs in ring words below 2^R; identity keys (private) where they
    sign; a model where the round is prepared, which is named once all have shared. An honest client may refuse a
    request (in a sparse graph, where too many of its neighbours are gone): it is out then. That, and how a round is
    aborted, is reported, not raised.
    """
    own_keys = identity_keys or {}
    identities: Identities = {client: identity(key) for client, key in own_keys.items()}
    clients = {
        client: Client(client, round_secrets[client], own_keys.get(client), identities)
        for client in specification.cohort
    }
    server = Server(specification, identities)
    received: dict[int, list[bytes]] = {client: [] for client in specification.cohort}
    transcript: list[Sent] = []
    answered: dict[int, tuple[int, ...]] = {}
    refused: dict[int, Refused] = {}
    while server.stage <= LAST_STAGE:
        if server.unnamed and model is not None:
            server.name_model(model)
        stage, requests = server.stage, server.requests()
        transcript += sent_by_server(stage, requests)
        for client, request in requests.items():
            received[client].append(request)
            if client in dropouts and dropouts[client] <= stage:
                continue
            answer = attempt(clients[client], inputs[client], received[client])
            if isinstance(answer, RuleBroken):
                refused.setdefault(client, (stage, answer.rule))
                continue
            transcript.append(Sent(stage, client, (SERVER,), answer))
            server.receive(client, answer)
        answered[stage] = tuple(sorted(server.answered))
        try:
            server.advance()
        except RoundAborted:
            return Round(tuple(transcript), answered, None, stage, refused)
        except RuleBroken as broken:
            return Round(tuple(transcript), answered, None, stage, refused, broken.rule)
    return Round(tuple(transcript), answered, server.sum, None, refused)


def attempt(client: Client, ring_words: list[int], requests: list[bytes]) -> bytes | RuleBroken:
    """What the client makes of the last request, having answered those before it."""
    try:
        return reply(client, ring_words, requests, [])
    except RuleBroken as broken:
        return broken


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
    "consent",
    "identity",
    "masked_input",
    "release",
    "replies",
    "run_round",
    "share_seeds",
]
