"""What the vectors of a client's refusals are made of: a good round seen by one client, and other requests."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

from protocols.encoding.known_answers import layout_vector
from protocols.notation import H
from protocols.pairwise_masking import agreed, graph, keys
from protocols.pairwise_masking.client import reply
from protocols.pairwise_masking.participant import Client, Policy, entry_of
from protocols.pairwise_masking.received import header_of_shares, own_pick_secret, own_shares
from protocols.pairwise_masking.scenario import LAYOUT, Scenario
from protocols.vector_files import Vector
from protocols.wire.bodies import Agreement, Body, Delivery, Entry, NamedDelivery, Offer, Roster, Sender, Survivors
from protocols.wire.reference import PAIRWISE_MASKS, SERVER, SHARE_BYTES, decode, encode
from protocols.wire.specification import Specification

LOW_ORDER = {
    "0": 0,
    "1": 1,
    "of order 8": 0x00B8495F16056286FDB1329CEB8D09DA6AC49FF1FAE35616AEB8413B7C7AEBE0,
    "of order 8, the other": 0x57119FD0DD4E22D8868E1C58C45C44045BEF839C55B1D0B1248C50A3BC959C5F,
    "−1": keys.FIELD - 1,
}
"""Coordinates of points of low order."""


@dataclass(frozen=True)
class AtClient:
    """One client of a good round."""

    scenario: Scenario
    dropouts: dict[int, int]
    id: int
    policy: Policy
    last_input: int  # the round of the last input in its record

    @property
    def specification(self) -> Specification:
        """What was offered."""
        return self.scenario.specification

    @cached_property
    def client(self) -> Client:
        """The client."""
        return self.scenario.client(self.id, self.policy, self.last_input)

    @cached_property
    def requests(self) -> list[bytes]:
        """The good requests, in their order."""
        transcript = self.scenario.run(self.dropouts).transcript
        return [sent.message for sent in transcript if sent.sender == SERVER and self.id in sent.recipients]

    def context(self) -> Vector:
        """What all vectors of the file have in common."""
        return {
            "client": self.scenario.client_vector(self.id),
            "identities": self.scenario.identities_vector(),
            "policy": asdict(self.policy),
            "record": {"last_input": self.last_input},
            "layout": layout_vector(LAYOUT),
            "good_requests": [message.hex() for message in self.requests],
        }

    def vector(
        self, rule: str, name: str, accepted: list[bytes], refused: bytes, last_input: int | None = None
    ) -> Vector:
        """Good requests and a bad one; the record's last input by then, where it is another than before."""
        requests = [self.request(message) for message in accepted]
        since = {} if last_input is None else {"last_input": last_input}
        return {"name": name, "rule": rule, "requests": [*requests, self.request(refused) | since | {"rule": rule}]}

    def request(self, message: bytes) -> Vector:
        """One of the good requests by its number, another in hex."""
        known = message in self.requests
        return {"good": self.requests.index(message)} if known else {"message": message.hex()}

    def message(self, body: Body) -> bytes:
        """A message of the server in the session."""
        s = self.specification
        return encode(body, PAIRWISE_MASKS, agreed.session(s), s.round, SERVER, s.cohort)

    def offer(self, **changes: Any) -> bytes:
        """An OFFER of another round, with other fields of the specification or of its adversary."""
        ours = {name: changes.pop(name) for name in list(changes) if name in asdict(self.specification.adversary)}
        s = replace(self.specification, **changes, adversary=replace(self.specification.adversary, **ours))
        return encode(Offer(s), PAIRWISE_MASKS, agreed.session(s), s.round, SERVER)

    @cached_property
    def entries(self) -> dict[int, Entry]:
        """The good roster."""
        body = decode(self.requests[1], agreed.roster(self.specification))
        assert isinstance(body, Roster)
        return body.entries

    def entry(self, client: int) -> Entry:
        """What a client of the cohort advertises, or would."""
        return entry_of(self.scenario.client(client), self.specification)

    def roster(self, changes: Mapping[int, Entry | None]) -> bytes:
        """The good roster with entries changed, added, or (None) taken out."""
        entries: dict[int, Entry | None] = {**self.entries, **changes}
        return self.message(Roster({i: entry for i, entry in sorted(entries.items()) if entry is not None}))

    def roster_of(self, clients: Iterable[int]) -> bytes:
        """The roster had these advertised."""
        return self.message(Roster({i: self.entry(i) for i in sorted(clients)}))

    @cached_property
    def delivered(self) -> Delivery:
        """The good delivery."""
        body = decode(self.requests[2], agreed.delivery(self.specification, self.id, self.entries))
        body = body.delivery if isinstance(body, NamedDelivery) else body
        assert isinstance(body, Delivery)
        return body

    def delivery(self, changes: Mapping[int, Sender | None], shared: Iterable[int] | None = None) -> bytes:
        """The good delivery with senders changed, added, or (None) taken out, and with another set."""
        senders: dict[int, Sender | None] = {**self.delivered.senders, **changes}
        chosen = {i: sender for i, sender in sorted(senders.items()) if sender is not None}
        body = Delivery(tuple(sorted(self.delivered.shared if shared is None else shared)), chosen)
        return self.message(body if self.scenario.named_model is None else NamedDelivery(self.scenario.model, body))

    def delivery_of(self, shared: Iterable[int]) -> bytes:
        """The good delivery had only these shared: senders and set fit."""
        U2 = set(shared)
        return self.delivery({i: None for i in self.delivered.senders if i not in U2}, U2)

    def named(self, model: bytes, shared: Iterable[int] | None = None) -> bytes:
        """The good delivery behind another model, and with another set."""
        body = self.delivered if shared is None else Delivery(tuple(sorted(shared)), self.delivered.senders)
        return self.message(NamedDelivery(model, body))

    def survivors(self, *survived: int) -> bytes:
        """SURVIVORS."""
        return self.message(Survivors(tuple(sorted(survived))))

    def agreement(self, signatures: Mapping[int, bytes]) -> bytes:
        """AGREEMENT."""
        return self.message(Agreement(dict(sorted(signatures.items()))))

    def pick_secret(self, client: int) -> bytes:
        """What a client's picks follow from."""
        return own_pick_secret(self.scenario.client(client), self.specification)

    def mask_picks(self, client: int) -> frozenset[int]:
        """The first κ picks of any client of the cohort."""
        return graph.mask_picks(self.specification, client, self.pick_secret(client))

    def holders(self, client: int) -> frozenset[int]:
        """The holders of any client of the cohort."""
        return graph.holders(self.specification, client, self.pick_secret(client))

    def shares_of(self, sender: int, holder: int) -> tuple[int, int]:
        """The two shares that a sender has for a holder."""
        return own_shares(self.scenario.client(sender), self.specification, self.requests[1], holder)

    def sealed_by(self, sender: int, of_seed: int, of_key: int, recipient: int | None = None) -> Sender:
        """Any two shares, sealed by a sender of the roster as it should."""
        S, to = agreed.session(self.specification), self.id if recipient is None else recipient
        private = keys.channel_private_key(self.scenario.round_secret(sender), S)
        key = keys.channel_key(private, self.entries[to].channel_key, S, H(self.requests[1]), sender, to)
        both = of_seed.to_bytes(SHARE_BYTES, "big") + of_key.to_bytes(SHARE_BYTES, "big")
        pick_secret = self.pick_secret(sender)
        shares_header = header_of_shares(self.specification, sender, pick_secret, frozenset(self.entries))
        return Sender(pick_secret, keys.seal(key, both, shares_header, to))

    def answer(self, requests: list[bytes]) -> bytes:
        """The client's answer to the last of some requests, none of which it refuses."""
        return reply(self.client, self.scenario.ring_words(self.id), requests, [])


def patched(data: bytes, offset: int, new: bytes) -> bytes:
    """The bytes with others at one place."""
    return data[:offset] + new + data[offset + len(new) :]


def flipped(data: bytes, offset: int) -> bytes:
    """The bytes with one bit the other way."""
    return patched(data, offset, bytes([data[offset] ^ 1]))
