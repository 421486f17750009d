"""Rounds whose graph is sparse though the cohort is small: the adversary is stated so weak that few neighbours do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from securefed.aggregation import Adversary
from securefed.crypto.hashing import digest
from securefed.errors import RemoteProtocolError
from securefed.secagg.graph import Neighbourhood, draw
from securefed.secagg.keys import ClientSecrets, consent_draw_key
from securefed.secagg.parameters import Parameters
from securefed.secagg.stages import Stage
from tests.rounds import Drops, Round, seed, spec_of
from tests.secagg.modes import stages_of

FORTY = Adversary("malicious", 0.04, 0.1, security=2, correctness=4)
FORTY_TRUSTING = Adversary("semi-honest", 0.04, 0.1, security=8, correctness=8)
"""For 40 clients: fewer mask peers than holders."""
SMALL = Adversary("malicious", 0.04, 0.1, security=2, correctness=2)
SMALL_TRUSTING = Adversary("semi-honest", 0.04, 0.1, security=2, correctness=2)
"""For 28 clients."""
LOSSY_TRUSTING = Adversary("semi-honest", 0.04, 0.15, security=2, correctness=2)
"""For 40 clients: as many may be lost as leave one client without enough holders."""
TIGHT = Adversary("malicious", 0.04, 0.05, security=4, correctness=4)
"""For 24 clients: more mask peers must survive than it takes holders to open a seed."""


def cohort_of(n: int) -> tuple[int, ...]:
    """Ids with gaps: a position is not an id."""
    return tuple(3 * position + 2 for position in range(n))


class Sparse(Round):
    """A round whose clients may refuse an honest server, where too many of others are gone.

    Attributes:
        found: its parameters.
        refused: by client, the rule by which it left.
    """

    def __init__(self, n: int, adversary: Adversary, nonce: str = "nonce", **changes: Any) -> None:
        super().__init__(spec_of(cohort=cohort_of(n), adversary=adversary, nonce=seed(nonce), **changes))
        self.found = Parameters.of(n, adversary)
        assert not self.found.complete
        self.refused: dict[int, str] = {}

    def neighbourhood(self, client: int) -> Neighbourhood:
        """The client's own edges, from its round secret."""
        secret = ClientSecrets(seed(f"round secret {client}"), self.spec.session).pick_secret
        return Neighbourhood.of(self.spec, self.found, client, secret)

    def neighbourhoods(self, clients: Iterable[int] | None = None) -> dict[int, Neighbourhood]:
        """All of them."""
        return {client: self.neighbourhood(client) for client in clients or self.spec.cohort}

    def answer(self, absent: tuple[int, ...] = (), order: int = 1) -> None:
        """As `Round.answer`; a client that refuses is out."""
        stage = self.server.stage
        self.requests[stage] = dict(self.server.requests())
        for client, request in list(self.requests[stage].items())[::order]:
            if client in absent:
                continue
            try:
                self.replies[stage][client] = self.ask(client, request)
            except RemoteProtocolError as error:
                self.refused[client] = error.rule
            else:
                self.server.receive(client, self.replies[stage][client])


@dataclass
class Foretold:
    """What must come of a round, from nothing but everyone's picks and who drops out when.

    Attributes:
        refused: as in `Sparse`.
        aborted: the stage in which too few answer, or release where a seed cannot be opened; None for a sum.
        survivors: of the sum.
        unopened: whose seed cannot be opened.
    """

    refused: dict[int, str] = field(default_factory=dict)
    aborted: Stage | None = None
    survivors: tuple[int, ...] = ()
    unopened: set[int] = field(default_factory=set)


def foretell(round_: Sparse, drops: Drops) -> Foretold:
    """The rules R7, R8, G3, C2 and S3, said once more over sets. Called when the round is over, for its agreements."""
    found, spec, told = round_.found, round_.spec, Foretold()
    edges = round_.neighbourhoods()
    answered: set[int] = set(spec.cohort)
    shared: set[int] = set()
    for stage in stages_of(spec.adversary):
        asked, answered = answered, {client for client in answered if drops.get(client) is not stage}
        answered = {client for client in answered if not _refuses(round_, edges, stage, client, asked, told.refused)}
        if stage is Stage.SHARE:
            shared = set(answered)
        if stage is Stage.INPUT:
            told.survivors = tuple(sorted(answered))
        until_input = stage in (Stage.ADVERTISE, Stage.SHARE, Stage.INPUT)
        if len(answered) < (found.least_inputs if until_input else spec.threshold):
            told.aborted = stage
            return told
        answered -= {client for client, at in drops.items() if at is stage}
    told.unopened = {client for client in shared if len(edges[client].holders & answered) < found.threshold}
    if told.unopened:
        told.aborted = Stage.RELEASE
    return told


def _refuses(
    round_: Sparse,
    edges: Mapping[int, Neighbourhood],
    stage: Stage,
    client: int,
    asked: set[int],
    refused: dict[int, str],
) -> bool:
    found, own, rule = round_.found, edges[client], ""
    few_holders = len(own.holders & asked) < found.threshold
    if stage is Stage.SHARE and few_holders:
        rule = "R7"
    if stage is Stage.INPUT and (few_holders or len(own.picked_masks & asked) < found.least_masks):
        rule = "R8" if few_holders else "G3"
    if stage is Stage.CONSENT:
        known = [one for one in asked if one == client or client in edges[one].holders]
        rule = "G3" if any(len(edges[one].picked_masks & asked) < found.least_masks for one in known) else ""
    if stage is Stage.RELEASE and round_.spec.adversary.malicious:
        sample = consents_drawn(round_, client, round_.requests[Stage.RELEASE][client])
        rule = "C2" if len(asked.intersection(sample)) < found.least_signatures else ""
    if rule:
        refused[client] = rule
    return bool(rule)


def consents_drawn(round_: Sparse, client: int, message: bytes) -> list[int]:
    """Whose consents the client verifies for this agreement."""
    cohort, q = round_.spec.cohort, round_.found.signatures
    if q == len(cohort):
        return list(cohort)
    sample_key = ClientSecrets(seed(f"round secret {client}"), round_.spec.session).sample_key
    return [cohort[at] for at in draw(consent_draw_key(sample_key, digest(message)), len(cohort), q)]
