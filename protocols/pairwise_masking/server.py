"""The server: its messages, what it refuses in an answer, and the bookkeeping of who may answer what when."""

from dataclasses import dataclass, field

from protocols.notation import H, RuleBroken, require
from protocols.pairwise_masking import agreed, graph, keys, shamir, signatures
from protocols.pairwise_masking.signatures import Identities
from protocols.pairwise_masking.unmask import unmask
from protocols.wire.bodies import (
    Advertisement,
    Agreement,
    Body,
    Consent,
    Delivery,
    Entry,
    Input,
    NamedDelivery,
    Offer,
    Release,
    Roster,
    Sender,
    Shares,
    Survivors,
)
from protocols.wire.reference import (
    HEADER,
    MODEL_BYTES,
    PAIRWISE_MASKS,
    PICK_SECRET_BYTES,
    SERVER,
    Agreed,
    check_input_bits,
    decode,
    encode,
    encode_set,
)
from protocols.wire.specification import NAMED_LATER, Specification, least_survivors

INPUT_STAGE, LAST_STAGE = 3, 5


class RoundAborted(Exception):
    """A stage ended with fewer answers than must survive."""

    def __init__(self, stage: int) -> None:
        super().__init__(f"too few answered stage {stage}")
        self.stage = stage


def from_server(body: Body, s: Specification) -> bytes:
    """A message of the server."""
    return encode(body, PAIRWISE_MASKS, agreed.session(s), s.round, SERVER, s.cohort)


def roster_message(s: Specification, advertised: dict[int, Entry]) -> bytes:
    """ROSTER, the same bytes to all of U1."""
    return from_server(Roster(dict(sorted(advertised.items()))), s)


def delivery_message(s: Specification, shared: dict[int, Shares], recipient: int, model: bytes | None) -> bytes:
    """DELIVERY to one client of U2, in a prepared round NAMED_DELIVERY with the model."""
    senders = {
        i: Sender(shares.pick_secret, shares.sealed[recipient])
        for i, shares in sorted(shared.items())
        if recipient in shares.sealed
    }
    delivery = Delivery(tuple(sorted(shared)), senders)
    return from_server(delivery if model is None else NamedDelivery(model, delivery), s)


def survivors_message(s: Specification, inputs: dict[int, Input]) -> bytes:
    """SURVIVORS, the same bytes to all of U3."""
    return from_server(Survivors(tuple(sorted(inputs))), s)


def agreement_message(
    s: Specification, consents: dict[int, Consent], inputs: dict[int, Input], shared: dict[int, Shares], recipient: int
) -> bytes:
    """AGREEMENT to one client of U4; in a complete graph the same bytes to all."""
    signatures = {i: consent.signature for i, consent in sorted(consents.items())}
    senders = [i for i in sorted(inputs) if recipient in shared[i].sealed and graph.attested(s)]
    return from_server(Agreement(signatures, tuple(inputs[i].attestation for i in senders)), s)


@dataclass
class Server:
    """The server's side of a round: `requests`, `receive` for each answer, `advance`, until `sum` is there."""

    specification: Specification
    identities: Identities = field(default_factory=dict)  # the identity roster; empty under a semi-honest server
    model: bytes | None = None  # the one that a prepared round's inputs come from, once it is named
    stage: int = 1  # 1 … 5 (4 only under a malicious server); 6 once the sum is there
    advertised: dict[int, Entry] = field(default_factory=dict)  # U1
    shared: dict[int, Shares] = field(default_factory=dict)  # U2
    inputs: dict[int, Input] = field(default_factory=dict)  # U3
    consents: dict[int, Consent] = field(default_factory=dict)  # U4
    released: dict[int, Release] = field(default_factory=dict)
    refused: set[int] = field(default_factory=set)
    aborted: bool = False
    sum: list[int] | None = None
    wrong: frozenset[int] = frozenset()  # who sent wrong shares (S7)

    def __post_init__(self) -> None:
        """Raises K6 and K7: errors of the configuration, before the round."""
        if self.specification.malicious:
            signatures.check_identities(self.identities)
            signatures.check_known(self.specification.cohort, self.identities)

    @property
    def asked(self) -> set[int]:
        """Who is asked in this stage: all who answered the last one; nobody for an input before its model is named."""
        if self.unnamed:
            return set()
        before_release = self.consents if self.specification.malicious else self.inputs
        earlier = (self.specification.cohort, self.advertised, self.shared, self.inputs, before_release, ())
        return set(earlier[self.stage - 1])

    @property
    def answered(self) -> set[int]:
        """Who has answered in this stage."""
        now = (self.advertised, self.shared, self.inputs, self.consents, self.released, ())
        return set(now[self.stage - 1])

    @property
    def unnamed(self) -> bool:
        """Whether the inputs of a prepared round are next, and nobody has said yet from which model."""
        return self.specification.prepared and self.stage == INPUT_STAGE and self.model is None

    @property
    def named_session(self) -> bytes:
        """S*."""
        return keys.named_session(agreed.session(self.specification), self.model)

    @property
    def roster_digest(self) -> bytes:
        """P."""
        return H(roster_message(self.specification, self.advertised))

    def name_model(self, model: bytes) -> None:
        """Say what the inputs of a prepared round come from. Raises R12: an error of one's own."""
        require(self.unnamed, "R12", "no model is to be named: the round has one, or its seeds are not shared")
        require(len(model) == MODEL_BYTES and model != NAMED_LATER, "R12", f"no model: {model.hex()}")
        self.model = model

    def requests(self) -> dict[int, bytes]:
        """The message for each client whose answer this stage still waits for."""
        return {client: self.request(client) for client in sorted(self.asked - self.answered - self.refused)}

    def request(self, client: int) -> bytes:
        """The message for one client in this stage."""
        s = self.specification
        match self.stage:
            case 1:
                return from_server(Offer(s), s)
            case 2:
                return roster_message(s, self.advertised)
            case 3:
                return delivery_message(s, self.shared, client, self.model)
            case 5 if s.malicious:
                return agreement_message(s, self.consents, self.inputs, self.shared, client)
            case _:
                return survivors_message(s, self.inputs)

    def receive(self, client: int, reply: bytes) -> None:
        """Accept a client's answer, or raise the rule that it breaks: the client then counts as dropped."""
        require(not self.aborted, "R5", "the round is aborted")
        require(client not in self.refused, "R5", f"client {client} was refused before")
        require(client in self.asked, "R6", f"client {client} is not asked in stage {self.stage}")
        require(client not in self.answered, "R3", f"client {client} has answered stage {self.stage}")
        try:
            self.accept(client, reply)
        except RuleBroken:
            self.refused.add(client)
            raise

    def expected(self, client: int, reply: bytes) -> Agreed:
        """What is agreed on the answer of this client in this stage."""
        s = self.specification
        match self.stage:
            case 1:
                return agreed.advertisement(s, client)
            case 2:
                # Whom the client shares with follows from its pick secret, which the answer itself brings.
                pick_secret = reply[HEADER.size : HEADER.size + PICK_SECRET_BYTES]
                if len(pick_secret) < PICK_SECRET_BYTES and not graph.parameters(s).complete:
                    return agreed.cut_shares(s, client)
                holders = graph.holders(s, client, pick_secret) & frozenset(self.advertised)
                return agreed.shares(s, client, holders - {client})
            case 3:
                return agreed.masked_input(s, client, graph.attested(s))
            case 4:
                return agreed.consent(s, client)
            case _:
                return agreed.release(s, client, self.shared)

    def accept(self, client: int, reply: bytes) -> None:
        """Read the answer that this stage expects and keep it."""
        match decode(reply, self.expected(client, reply)):
            case Advertisement(entry):
                self.check_entry(client, entry)
                self.advertised[client] = entry
            case Shares() as shares:
                promised = keys.promise(agreed.session(self.specification), client, shares.pick_secret)
                require(promised == self.advertised[client].promise, "G1", f"not what client {client} promised")
                self.shared[client] = shares
            case Input() as masked:
                self.check_input(client, masked)
                self.inputs[client] = masked
            case Consent() as consent:
                signatures.verify(self.identities[client], self.consent_digest(), consent.signature, "C1")
                self.consents[client] = consent
            case Release() as release:
                for share in release.shares.values():
                    shamir.check_share(share)
                self.released[client] = release

    def check_entry(self, client: int, entry: Entry) -> None:
        """Raise K2, K1, K4 or K5 for an entry that may not enter the roster."""
        both = (entry.channel_key, entry.mask_key)
        known = [key for e in self.advertised.values() for key in (e.channel_key, e.mask_key)]
        for key in both:
            keys.check_canonical(key)
        for key in both:
            keys.check_order(key)
        for key in both:
            require(key not in known, "K4", f"a key occurs twice: {key.hex()}")
            known.append(key)
        if self.specification.malicious:
            digest = signatures.advertisement_digest(agreed.session(self.specification), client, entry)
            signatures.verify(self.identities[client], digest, entry.signature, "K5")

    def check_input(self, client: int, masked: Input) -> None:
        """Raise G4 for an attestation that is not the client's for U2, then W13."""
        s = self.specification
        if graph.attested(s):
            digest = signatures.input_digest(self.named_session, self.roster_digest, encode_set(self.shared, s.cohort))
            signatures.verify(self.identities[client], digest, masked.attestation, "G4")
        check_input_bits(masked.words, agreed.input_bits(s))

    def consent_digest(self) -> bytes:
        """What all of U3 are asked to sign."""
        s = self.specification
        sets = [encode_set(sorted(members), s.cohort) for members in (self.shared, self.inputs)]
        return signatures.consent_digest(self.named_session, self.roster_digest, *sets)

    def advance(self) -> None:
        """The stage is over. Raises `RoundAborted`, and S3, S5 or S6 at the end: the round is then aborted.

        Raises R12, an error of one's own, where a model is to be named first.
        """
        require(not self.aborted, "R5", "the round is aborted")
        require(not self.unnamed, "R12", "the model is to be named first")
        s = self.specification
        self.aborted = True  # until the stage has ended well
        # Who is lost after the inputs is in the sum all the same: ℓ counts until then.
        needed = (
            graph.parameters(s).inputs if self.stage <= INPUT_STAGE else least_survivors(len(s.cohort), s.adversary)
        )
        if len(self.answered) < needed:
            raise RoundAborted(self.stage)
        if self.stage == LAST_STAGE:
            answers = (self.advertised, self.shared, self.inputs, self.released)
            unmasked = unmask(s, self.named_session, self.roster_digest, *answers)
            self.sum, self.wrong = unmasked.sum, unmasked.wrong
        self.aborted = False
        self.stage += 1 if self.stage != INPUT_STAGE or s.malicious else 2
