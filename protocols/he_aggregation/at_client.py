"""What the vectors of a client's refusals are made of: a good round seen by one client, and other requests."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

from protocols.encoding.known_answers import layout_vector
from protocols.he_aggregation import agreed, keys
from protocols.he_aggregation.bfv import Ciphertext
from protocols.he_aggregation.bodies import Body, Ciphertexts, CiphertextSum, Entry, ExchangeKeys, SealedKey
from protocols.he_aggregation.ciphers import read_payload, read_sum, sum_payload
from protocols.he_aggregation.messages import decode, encode
from protocols.he_aggregation.parameters import binding
from protocols.he_aggregation.received import entry_of, header_of_sealed_keys
from protocols.he_aggregation.scenario import LAYOUT, Scenario
from protocols.pairwise_masking.participant import Client, Policy
from protocols.vector_files import Vector
from protocols.wire import reference as wire
from protocols.wire.bodies import Offer
from protocols.wire.reference import SERVER
from protocols.wire.specification import Specification


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

    @property
    def suite(self) -> int:
        """Of the round."""
        return self.scenario.suite

    @cached_property
    def client(self) -> Client:
        """The client."""
        return self.scenario.client(self.id, self.policy, self.last_input)

    @cached_property
    def requests(self) -> list[bytes]:
        """The good requests, in their order."""
        transcript = self.scenario.encrypted_round(self.dropouts).transcript
        return [sent.message for sent in transcript if sent.sender == SERVER and self.id in sent.recipients]

    def context(self) -> Vector:
        """What all vectors of the file have in common."""
        return {
            "suite": self.suite,
            "client": self.scenario.client_vector(self.id),
            "identities": self.scenario.identities_vector(),
            "policy": asdict(self.policy),
            "record": {"last_input": self.last_input},
            "layout": layout_vector(LAYOUT),
            "good_requests": [message.hex() for message in self.requests],
        }

    def vector(self, rule: str, name: str, accepted: list[bytes], refused: bytes) -> Vector:
        """Good requests and a bad one."""
        requests = [described(message, self.requests) for message in accepted]
        return {"name": name, "rule": rule, "requests": [*requests, described(refused, self.requests) | {"rule": rule}]}

    def message(self, body: Body) -> bytes:
        """A message of the server in the session."""
        s = self.specification
        return encode(body, self.suite, agreed.session(s), s.round, SERVER, s.cohort)

    def offer(self, **changes: Any) -> bytes:
        """An OFFER of another round, with other fields of the specification or of its adversary."""
        ours = {name: changes.pop(name) for name in list(changes) if name in asdict(self.specification.adversary)}
        s = replace(self.specification, **changes, adversary=replace(self.specification.adversary, **ours))
        return wire.encode(Offer(s), self.suite, agreed.session(s), s.round, SERVER)

    def entry(self, client: int) -> Entry:
        """What a client of the cohort advertises, or would."""
        return entry_of(self.scenario.client(client), self.specification)

    @cached_property
    def entries(self) -> dict[int, Entry]:
        """The good entries of U1."""
        gone = {client for client, stage in self.dropouts.items() if stage == 1}
        return {i: self.entry(i) for i in self.specification.cohort if i not in gone}

    def exchange_keys(self, changes: Mapping[int, Entry | None]) -> bytes:
        """EXCHANGE_KEYS with entries changed, added, or (None) taken out."""
        entries: dict[int, Entry | None] = {**self.entries, **changes}
        return self.message(ExchangeKeys({i: entry for i, entry in sorted(entries.items()) if entry is not None}))

    @cached_property
    def B(self) -> bytes:  # noqa: N802 - the name it has in the text
        """The binding."""
        return binding(self.specification, self.suite)

    def round_key_of(self, holder: int) -> bytes:
        """The key that a client would give the round."""
        return keys.round_key(self.scenario.round_secret(holder), self.B)

    def sealed_by(self, holder: int, recipients: int, key: bytes | None = None) -> SealedKey:
        """What a client of the cohort, as key holder, would have sealed for this client among so many."""
        s, session = self.specification, agreed.session(self.specification)
        kept = self.round_key_of(holder) if key is None else key
        private = keys.exchange_private_key(self.scenario.round_secret(holder), session)
        sealing = keys.sealing_key(private, self.entry(self.id).public, self.B, holder, self.id, recipients)
        box = keys.seal(sealing, kept, header_of_sealed_keys(s, self.suite, holder, recipients), self.id)
        return SealedKey(holder, recipients, keys.key_id(self.B, kept), box, self.entry(holder))

    @cached_property
    def sealed_key(self) -> SealedKey:
        """The good SEALED_KEY."""
        message = next(m for m in self.requests if m[5] == wire.Type.SEALED_KEY)
        body = decode(message, agreed.sealed_key(self.specification, self.suite))
        assert isinstance(body, SealedKey)
        return body

    @cached_property
    def total(self) -> CiphertextSum:
        """The good CIPHERTEXT_SUM."""
        body = decode(self.requests[-1], agreed.ciphertext_sum(self.specification, self.suite, self.entries))
        assert isinstance(body, CiphertextSum)
        return body

    def ciphertext_of(self, client: int) -> Ciphertext:
        """What a client sent."""
        s, transcript = self.specification, self.scenario.encrypted_round(self.dropouts).transcript
        message = next(sent.message for sent in transcript if sent.stage == 3 and sent.sender == client)
        body = decode(message, agreed.ciphertexts(s, self.suite, client))
        assert isinstance(body, Ciphertexts)
        return read_payload(body.payload, self.scenario.any_packing)

    def total_with(self, change: Callable[[Ciphertext], Ciphertext]) -> bytes:
        """The good CIPHERTEXT_SUM of another ciphertext."""
        p = self.scenario.any_packing
        changed = sum_payload(change(read_sum(self.total.payload, p)), p)
        return self.message(replace(self.total, payload=changed))


def described(message: bytes, good: list[bytes]) -> Vector:
    """One of the good messages by its number, one that is nearly as good by what is changed, any other in hex."""
    if message in good:
        return {"good": good.index(message)}
    for number, other in enumerate(good):
        changes = differences(other, message)
        if changes is not None and sum(len(new) for _, new in changes) <= len(message) // 16:
            return {"good": number, "changes": [{"at": at, "bytes": new} for at, new in changes]}
    return {"message": message.hex()}


def differences(one: bytes, other: bytes) -> list[tuple[int, str]] | None:
    """Where the second differs from the first, and its bytes there; None for another length."""
    if len(one) != len(other) or len(one) < 1024:
        return None
    places = [at for at, (x, y) in enumerate(zip(one, other, strict=True)) if x != y]
    runs: list[list[int]] = []
    for at in places:
        if runs and at - runs[-1][1] <= 4:
            runs[-1][1] = at
        else:
            runs.append([at, at])
    return [(first, other[first : last + 1].hex()) for first, last in runs]
