"""What the vectors of the server's refusals are made of: a good round's answers, and changes to them."""

from dataclasses import dataclass, replace
from functools import cached_property

from protocols.pairwise_masking import agreed, graph
from protocols.pairwise_masking.participant import entry_of
from protocols.pairwise_masking.received import own_pick_secret
from protocols.pairwise_masking.scenario import Scenario
from protocols.pairwise_masking.server import INPUT_STAGE
from protocols.pairwise_masking.shamir import P, combine, lagrange
from protocols.vector_files import Vector
from protocols.wire.bodies import Body, Entry, Release, Shares
from protocols.wire.reference import PAIRWISE_MASKS, SERVER, decode, encode
from protocols.wire.specification import Specification

ADVANCE: Vector = {"advance": True}
"""The event at the end of a stage."""


def name_model(model: bytes) -> Vector:
    """The event that the model of a prepared round is named."""
    return {"name_model": model.hex()}


@dataclass(frozen=True)
class AtServer:
    """A good round."""

    scenario: Scenario
    dropouts: dict[int, int]

    @property
    def specification(self) -> Specification:
        """What is offered."""
        return self.scenario.specification

    @cached_property
    def answers(self) -> dict[int, dict[int, bytes]]:
        """The good answers: stage, client, message."""
        sent = [s for s in self.scenario.run(self.dropouts).transcript if s.sender != SERVER]
        stages = sorted({s.stage for s in sent})
        return {stage: {s.sender: s.message for s in sent if s.stage == stage} for stage in stages}

    def context(self) -> Vector:
        """What all vectors of the file have in common."""
        return self.scenario.context_vector() | {
            "good_answers": [
                {"client": client, "stage": number, "message": message.hex()}
                for number, messages in self.answers.items()
                for client, message in messages.items()
            ],
        }

    def vector(self, rule: str, name: str, events: list[Vector]) -> Vector:
        """Events, the last of which breaks the rule."""
        return {"name": name, "rule": rule, "events": [*events[:-1], events[-1] | {"rule": rule}]}

    def answer(self, client: int, message: bytes, rule: str | None = None) -> Vector:
        """An answer that comes in on a client's channel: one of its good ones by the stage, another in hex."""
        event: Vector = {"client": client, "message": message.hex()}
        for number, messages in self.answers.items():
            if messages.get(client) == message:
                event = {"client": client, "good": number}
        return event if rule is None else event | {"rule": rule}

    def good(self, stage: int, *clients: int) -> list[Vector]:
        """The good answers of a stage, of all its clients or of some."""
        return [self.answer(i, self.answers[stage][i]) for i in clients or self.answers[stage]]

    def stages(self, last: int) -> list[Vector]:
        """The first stages, up to that one, as they should be; the model of a prepared round is named at the third."""
        events = []
        for number in self.answers:
            if number <= last:
                events += [*(self.named() if number == INPUT_STAGE else []), *self.good(number), ADVANCE]
        return events

    def named(self) -> list[Vector]:
        """The server's own call that names the model of a prepared round; in any other nothing."""
        model = self.scenario.named_model
        return [] if model is None else [name_model(model)]

    def from_client(self, body: Body, client: int) -> bytes:
        """A client's message in the session."""
        s = self.specification
        return encode(body, PAIRWISE_MASKS, agreed.session(s), s.round, client)

    def entry(self, client: int) -> Entry:
        """A client's good entry."""
        return entry_of(self.scenario.client(client), self.specification)

    def pick_secret(self, client: int) -> bytes:
        """What a client's picks follow from."""
        return own_pick_secret(self.scenario.client(client), self.specification)

    def recipients(self, client: int, pick_secret: bytes) -> frozenset[int]:
        """Whom the client shares with, had it that pick secret."""
        U1 = frozenset(self.answers[1])
        return (graph.holders(self.specification, client, pick_secret) & U1) - {client}

    def shares(self, client: int) -> Shares:
        """A client's good SHARES."""
        recipients = self.recipients(client, self.pick_secret(client))
        body = decode(self.answers[2][client], agreed.shares(self.specification, client, recipients))
        assert isinstance(body, Shares)
        return body

    def released(self, client: int) -> dict[int, int]:
        """A client's good shares in its RELEASE."""
        body = decode(self.answers[5][client], agreed.release(self.specification, client, self.answers[2]))
        assert isinstance(body, Release)
        return body.shares

    def release(self, client: int, changes: dict[int, int | None]) -> Vector:
        """A RELEASE with some shares changed, or (None) left out."""
        shares = {i: share for i, share in sorted((self.released(client) | changes).items()) if share is not None}
        return self.answer(client, self.from_client(Release(shares), client))

    def wrong(self, client: int, *owners: int) -> Vector:
        """A RELEASE with wrong shares of these; the error is the client's id, so that those of two do not cancel."""
        return self.release(client, {i: (self.released(client)[i] + client) % P for i in owners})

    def responders(self, owner: int) -> list[int]:
        """Who release a share of that client in the good round."""
        return [i for i in self.answers[5] if owner in self.released(i)]

    def moved(self, client: int, owner: int, secret: int) -> int:
        """The share that a client must release so that the owner's secret is combined to that number.

        Pre-condition: the client is among the first t of the responders.
        """
        t = graph.parameters(self.specification).threshold
        indices = self.responders(owner)[:t]
        true = combine([(i, self.released(i)[owner]) for i in indices], t)
        return (self.released(client)[owner] + (secret - true) * pow(lagrange(indices, client), -1, P)) % P


def without(shares: Shares, *recipients: int) -> Shares:
    """SHARES for fewer."""
    return replace(shares, sealed={i: box for i, box in shares.sealed.items() if i not in recipients})
