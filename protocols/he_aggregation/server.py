"""The server: its messages, what it refuses in an answer, and the bookkeeping of who may answer what when."""

from dataclasses import dataclass, field

from protocols.encoding.lanes import unpack
from protocols.encoding.layout import Layout
from protocols.encoding.reference import Parameters, decode_sum
from protocols.he_aggregation import agreed, keys
from protocols.he_aggregation.bfv import Ciphertext
from protocols.he_aggregation.bodies import (
    Body,
    Ciphertexts,
    CiphertextSum,
    Entry,
    ExchangeKey,
    ExchangeKeys,
    Opened,
    SealedKey,
    SealedKeys,
)
from protocols.he_aggregation.ciphers import add, read_payload, sum_payload
from protocols.he_aggregation.messages import SEALED_BYTES, decode, encode
from protocols.he_aggregation.parameters import packing_of_round
from protocols.he_aggregation.received import check_round
from protocols.notation import RuleBroken, require
from protocols.pairwise_masking import signatures
from protocols.pairwise_masking.agreed import ring_of_round, ring_words_of_round
from protocols.pairwise_masking.server import RoundAborted
from protocols.pairwise_masking.signatures import Identities
from protocols.wire import reference as wire
from protocols.wire.bodies import Offer
from protocols.wire.reference import SERVER, Agreed
from protocols.wire.specification import Specification, least_survivors

KEYS, INPUT, OPEN = 2, 3, 4
"""Stages by number; 1 is the advertisement, 5 the end."""


@dataclass
class Server:
    """The server's side of a round: `requests`, `receive` for each answer, `advance`, until `sum` is there."""

    specification: Specification
    suite: int
    layout: Layout | None = None  # of the updates; None: what is opened is not decoded
    identities: Identities = field(default_factory=dict)  # the identity roster; empty under a semi-honest server
    stage: int = 1
    entries: dict[int, Entry] = field(default_factory=dict)  # U1; a holder that is lost in stage 2 leaves it
    holder: int | None = None
    sealed: SealedKeys | None = None
    total: Ciphertext | None = None
    inputs: list[int] = field(default_factory=list)  # U3, in the order of arrival
    sum: list[int] | None = None  # ring words
    refused: set[int] = field(default_factory=set)
    aborted: bool = False

    def __post_init__(self) -> None:
        """Raises K6, K7 and H6: errors of the configuration, before the round."""
        if self.specification.malicious:
            signatures.check_identities(self.identities)
            signatures.check_known(self.specification.cohort, self.identities)
        check_round(self.specification, self.suite)

    @property
    def least(self) -> int:
        """L."""
        return least_survivors(len(self.specification.cohort), self.specification.adversary)

    @property
    def asked(self) -> set[int]:
        """Who is asked in this stage."""
        holder = set() if self.holder is None else {self.holder}
        return (set(self.specification.cohort), holder, set(self.entries), holder, set[int]())[self.stage - 1]

    @property
    def answered(self) -> set[int]:
        """Who has answered in this stage."""
        holder = set() if self.holder is None else {self.holder}
        sealed, opened = holder if self.sealed else set(), holder if self.sum is not None else set()
        return (set(self.entries), sealed, set(self.inputs), opened, set[int]())[self.stage - 1]

    def requests(self) -> dict[int, bytes]:
        """The message for each client whose answer this stage still waits for."""
        return {client: self.request(client) for client in sorted(self.asked - self.answered - self.refused)}

    def request(self, client: int) -> bytes:
        """The message for one client in this stage."""
        s = self.specification
        if self.stage == 1:
            return wire.encode(Offer(s), self.suite, agreed.session(s), s.round, SERVER)
        if self.stage == KEYS:
            return self.message(ExchangeKeys(dict(sorted(self.entries.items()))))
        assert self.holder is not None
        assert self.sealed is not None
        if self.stage == INPUT:
            sealed, count = self.sealed.sealed, len(self.sealed.sealed)
            box = bytes(SEALED_BYTES) if client == self.holder else sealed[client]
            return self.message(SealedKey(self.holder, count, self.sealed.key_id, box, self.entries[self.holder]))
        assert self.total is not None
        payload = sum_payload(self.total, packing_of_round(s, self.suite))
        return self.message(CiphertextSum(tuple(sorted(self.inputs)), self.sealed.key_id, payload))

    def message(self, body: Body) -> bytes:
        """A message of the server."""
        s = self.specification
        return encode(body, self.suite, agreed.session(s), s.round, SERVER, s.cohort)

    def receive(self, client: int, reply: bytes) -> None:
        """Take an answer. Raises R5, R6, R3, then what is wrong with it: then the client's part in the round ends."""
        require(not self.aborted, "R5", "the round is aborted")
        require(client not in self.refused, "R5", f"an answer of client {client} was refused before")
        require(client in self.asked, "R6", f"client {client} is not asked in stage {self.stage}")
        require(client not in self.answered, "R3", f"client {client} has answered stage {self.stage}")
        try:
            self.accept(client, reply)
        except RuleBroken:
            self.refused.add(client)
            raise

    def expected(self, client: int) -> Agreed:
        """What is agreed on the answer of this client in this stage."""
        s, suite = self.specification, self.suite
        match self.stage:
            case 1:
                return agreed.exchange_key(s, suite, client)
            case 2:
                return agreed.sealed_keys(s, suite, client, set(self.entries) - {client})
            case 3:
                return agreed.ciphertexts(s, suite, client)
            case _:
                return agreed.opened(s, suite, client)

    def accept(self, client: int, reply: bytes) -> None:
        """Read the answer that this stage expects and keep it."""
        p = packing_of_round(self.specification, self.suite)
        match decode(reply, self.expected(client)):
            case ExchangeKey(entry):
                self.check_entry(client, entry)
                self.entries[client] = entry
            case SealedKeys() as sealed:
                self.sealed = sealed
            case Ciphertexts(key_id, payload):
                assert self.sealed is not None
                require(key_id == self.sealed.key_id, "H2", "ciphertexts under another key")
                received = read_payload(payload, p)
                self.total = received if self.total is None else add(self.total, received, p)
                self.inputs.append(client)
            case Opened(opened):
                count, bits = ring_words_of_round(self.specification), ring_of_round(self.specification).bits
                ring_words = unpack(opened, count, bits)
                self.check_sum(ring_words)
                self.sum = ring_words

    def check_entry(self, client: int, entry: Entry) -> None:
        """Raise K2, K1, K5 or K4 for an entry that may not be passed on."""
        keys.check_canonical(entry.public)
        keys.check_order(entry.public)
        if self.specification.malicious:
            digest = keys.entry_digest(agreed.session(self.specification), client, entry.public)
            signatures.verify(self.identities[client], digest, entry.signature, "K5")
        known = [other.public for other in self.entries.values()]
        require(entry.public not in known, "K4", f"a key occurs twice: {entry.public.hex()}")

    def check_sum(self, ring_words: list[int]) -> None:
        """Raise V11 for a sum that cannot be one."""
        s = self.specification
        if self.layout is not None:
            parameters = Parameters(len(s.cohort), s.bits, s.clip, s.greatest_weight)
            decode_sum(ring_words, len(self.inputs), self.layout, parameters)

    def advance(self) -> None:
        """The stage is over. Raises `RoundAborted`."""
        require(not self.aborted, "R5", "the round is aborted")
        self.aborted = True  # until the stage has ended well
        if self.stage == KEYS and self.sealed is None:
            assert self.holder is not None
            del self.entries[self.holder]
            self.continue_with(len(self.entries))
            self.holder = min(self.entries)
        elif self.stage == OPEN:
            self.continue_with(self.least if self.sum is not None else 0)
            self.stage += 1
        elif self.stage == KEYS:
            self.continue_with(len(self.entries))
            self.stage += 1
        else:
            self.continue_with(len(self.answered))
            if self.stage == 1:
                self.holder = min(self.entries)
            self.stage += 1

    def continue_with(self, left: int) -> None:
        """Raise `RoundAborted` where fewer than L are left."""
        if left < self.least:
            raise RoundAborted(self.stage)
        self.aborted = False
