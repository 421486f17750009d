"""One whole round: a server, its clients, and the clients that drop out.

Read `parameters`, `packing`, `bfv`, `keys` and `tags`, then `bodies` and `messages`, then `received` and `client`,
then `server`. Approximate ciphertexts are in `slots`, `generator`, `transforms` and `ckks`; `ciphers` chooses.
"""

from dataclasses import dataclass, field

from protocols.he_aggregation.bfv import Randomness
from protocols.he_aggregation.ckks import SlotRandomness
from protocols.he_aggregation.client import Client, Contribution, replies, reply
from protocols.he_aggregation.parameters import BFV, BFV_2048, RINGS
from protocols.he_aggregation.server import Server
from protocols.notation import RuleBroken
from protocols.pairwise_masking.reference import Sent, sent_by_server
from protocols.pairwise_masking.server import RoundAborted
from protocols.pairwise_masking.signatures import Identities, identity
from protocols.wire.reference import SERVER
from protocols.wire.specification import Specification

END = 5


@dataclass(frozen=True)
class Round:
    """What happened in a round."""

    transcript: tuple[Sent, ...]
    answered: list[tuple[int, tuple[int, ...]]]  # (stage, who answered it); stage 2 once for each holder that was asked
    holder: int | None
    sum: list[int] | None  # ring words; None when the round was aborted
    aborted_at: int | None = None  # stage
    refused: dict[int, tuple[int, str]] = field(default_factory=dict)  # by clients: stage, rule

    @property
    def survived(self) -> tuple[int, ...]:
        """U3. Pre-condition: the round came to its third stage."""
        return dict(self.answered)[3]


def run_round(
    specification: Specification,
    suite: int,
    round_secrets: dict[int, bytes],
    inputs: dict[int, Contribution],
    dropouts: dict[int, int],
    identity_keys: dict[int, bytes] | None = None,
    away: frozenset[tuple[int, int]] = frozenset(),
) -> Round:
    """Run a round of honest parties. A dropout answers neither the stage that `dropouts` names nor a later one.

    `away`: (client, stage), where a request does not reach the client, and later ones do.

    Stages: 1 advertise, 2 keys, 3 input, 4 open. Pre-condition: a secret and a contribution for every client of the
    cohort; identity keys (private) where they sign. How a round is aborted is reported, not raised.
    """
    own_keys = identity_keys or {}
    identities: Identities = {client: identity(key) for client, key in own_keys.items()}
    clients = {c: Client(c, round_secrets[c], own_keys.get(c), identities) for c in specification.cohort}
    server = Server(specification, suite, identities=identities)
    received: dict[int, list[bytes]] = {client: [] for client in specification.cohort}
    transcript: list[Sent] = []
    answered: list[tuple[int, tuple[int, ...]]] = []
    refused: dict[int, tuple[int, str]] = {}
    while server.stage < END:
        stage, requests = server.stage, server.requests()
        transcript += sent_by_server(stage, requests)
        for client, request in requests.items():
            if (client, stage) in away:
                continue
            received[client].append(request)
            if client in dropouts and dropouts[client] <= stage:
                continue
            try:
                answer = reply(clients[client], suite, inputs[client], received[client], [])
            except RuleBroken as broken:
                refused.setdefault(client, (stage, broken.rule))
                continue
            transcript.append(Sent(stage, client, (SERVER,), answer))
            server.receive(client, answer)
        answered.append((stage, tuple(sorted(server.answered))))
        try:
            server.advance()
        except RoundAborted:
            return Round(tuple(transcript), answered, server.holder, None, stage, refused)
    return Round(tuple(transcript), answered, server.holder, server.sum, None, refused)


__all__ = [
    "BFV",
    "BFV_2048",
    "RINGS",
    "Client",
    "Contribution",
    "Randomness",
    "Round",
    "RoundAborted",
    "Sent",
    "Server",
    "SlotRandomness",
    "identity",
    "replies",
    "reply",
    "run_round",
]
