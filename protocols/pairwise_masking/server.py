"""The server: one function a stage on what it accepted, and the bookkeeping of who may answer what when."""

from dataclasses import dataclass, field

from protocols.encoding.lanes import unpack
from protocols.notation import H, RuleBroken, require
from protocols.pairwise_masking import agreed, keys, shamir
from protocols.wire.reference import (
    PAIRWISE_MASKS,
    SERVER,
    Advertisement,
    Agreed,
    Body,
    Delivery,
    Input,
    Offer,
    Release,
    Roster,
    Shares,
    Specification,
    Survivors,
    decode,
    encode,
)


class RoundAborted(Exception):
    """A stage ended with fewer answers than the threshold."""

    def __init__(self, stage: int) -> None:
        super().__init__(f"fewer than the threshold answered stage {stage}")
        self.stage = stage


def from_server(body: Body, s: Specification) -> bytes:
    """A message of the server."""
    return encode(body, PAIRWISE_MASKS, agreed.session(s), s.round, SERVER)


def roster_message(s: Specification, advertised: dict[int, Advertisement]) -> bytes:
    """ROSTER, the same bytes to all of U1."""
    return from_server(Roster(dict(sorted(advertised.items()))), s)


def delivery_message(s: Specification, shared: dict[int, Shares], recipient: int) -> bytes:
    """DELIVERY to one client of U2."""
    sealed = {i: shared[i].sealed[recipient] for i in sorted(shared) if i != recipient}
    return from_server(Delivery(sealed), s)


def survivors_message(s: Specification, shared: dict[int, Shares], inputs: dict[int, Input]) -> bytes:
    """SURVIVORS, the same bytes to all of U3."""
    return from_server(Survivors({i: i in inputs for i in sorted(shared)}), s)


def check_advertisement(new: Advertisement, accepted: dict[int, Advertisement]) -> None:
    """Raise K1, K2 or K4 for keys that may not enter the roster."""
    known = [key for both in accepted.values() for key in (both.channel_key, both.mask_key)]
    for key in (new.channel_key, new.mask_key):
        keys.check_public_key(key)
        require(key not in known, "K4", f"a key occurs twice: {key.hex()}")
        known.append(key)


def unmask(
    s: Specification,
    advertised: dict[int, Advertisement],
    shared: dict[int, Shares],
    inputs: dict[int, Input],
    released: dict[int, Release],
) -> list[int]:
    """The sum of the inputs of U3, in ring words. Raises S5, S6.

    Pre-condition: the arguments are U1 … U4 with the messages that were accepted, t of each at least.
    """
    session, P = agreed.session(s), H(roster_message(s, advertised))
    count, bits = agreed.ring_words_of_round(s), agreed.ring_of_round(s).bits
    total = [0] * count
    for masked in inputs.values():
        keys.add(total, +1, unpack(masked.words, count, bits))
    for i in sorted(shared):
        shares = [(j, released[j].shares[i]) for j in sorted(released)]
        secret = shamir.combine(shares, s.threshold)
        if i in inputs:
            seed = self_mask_seed(secret, session, i, shared[i].commitment)
            keys.add(total, -1, keys.mask(keys.self_mask_key(seed, session, i), count, bits))
        else:
            private = mask_private_key(secret, advertised[i].mask_key)
            for j in inputs:
                key = keys.pairwise_mask_key(private, advertised[j].mask_key, session, P, i, j)
                # j's input holds the stream with a plus where i > j: take it off with the other sign.
                keys.add(total, -1 if i > j else +1, keys.mask(key, count, bits))
    return [word % 2**bits for word in total]


def self_mask_seed(secret: int, session: bytes, client: int, commitment: bytes) -> bytes:
    """The combined seed of a survivor's self mask. Raises S5."""
    require(secret < 2**256, "S5", f"the seed of client {client} is not below 2^256")
    seed = secret.to_bytes(32, "big")
    fits = keys.commitment(session, client, seed) == commitment
    require(fits, "S5", f"the seed of client {client} does not fit its commitment")
    return seed


def mask_private_key(secret: int, advertised: bytes) -> bytes:
    """The combined mask key of a dropout. Raises S6."""
    require(secret < 2**256, "S6", "the mask key is not below 2^256")
    private = secret.to_bytes(32, "big")
    require(keys.public_key(private) == advertised, "S6", f"not the key behind {advertised.hex()}")
    return private


@dataclass
class Server:
    """The server's side of a round: `requests`, `receive` for each answer, `advance`, until `sum` is there."""

    specification: Specification
    stage: int = 1  # 1 … 4; 5 once the sum is there
    advertised: dict[int, Advertisement] = field(default_factory=dict)  # U1
    shared: dict[int, Shares] = field(default_factory=dict)  # U2
    inputs: dict[int, Input] = field(default_factory=dict)  # U3
    released: dict[int, Release] = field(default_factory=dict)  # U4
    refused: set[int] = field(default_factory=set)
    aborted: bool = False
    sum: list[int] | None = None

    @property
    def asked(self) -> set[int]:
        """Who is asked in this stage: all who answered the last one."""
        earlier = (self.specification.cohort, self.advertised, self.shared, self.inputs, ())
        return set(earlier[self.stage - 1])

    @property
    def answered(self) -> set[int]:
        """Who has answered in this stage."""
        now = (self.advertised, self.shared, self.inputs, self.released, ())
        return set(now[self.stage - 1])

    def requests(self) -> dict[int, bytes]:
        """The message for each client that is asked in this stage."""
        return {client: self.request(client) for client in sorted(self.asked)}

    def request(self, client: int) -> bytes:
        """The message for one client in this stage."""
        s = self.specification
        match self.stage:
            case 1:
                return from_server(Offer(s), s)
            case 2:
                return roster_message(s, self.advertised)
            case 3:
                return delivery_message(s, self.shared, client)
            case _:
                return survivors_message(s, self.shared, self.inputs)

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

    def expected(self, client: int) -> Agreed:
        """What is agreed on the answer of this client in this stage."""
        s = self.specification
        match self.stage:
            case 1:
                return agreed.advertisement(s, client)
            case 2:
                return agreed.shares(s, client, self.advertised)
            case 3:
                return agreed.masked_input(s, client)
            case _:
                return agreed.release(s, client, self.shared)

    def accept(self, client: int, reply: bytes) -> None:
        """Read the answer that this stage expects and keep it."""
        match decode(reply, self.expected(client)):
            case Advertisement() as advertisement:
                check_advertisement(advertisement, self.advertised)
                self.advertised[client] = advertisement
            case Shares() as shares:
                self.shared[client] = shares
            case Input() as masked:
                self.inputs[client] = masked
            case Release() as release:
                for share in release.shares.values():
                    shamir.check_share(share)
                self.released[client] = release

    def advance(self) -> None:
        """The stage is over. Raises `RoundAborted`, and S5 or S6 at the end: the round is then aborted."""
        require(not self.aborted, "R5", "the round is aborted")
        self.aborted = True  # until the stage has ended well
        if len(self.answered) < self.specification.threshold:
            raise RoundAborted(self.stage)
        if self.stage == 4:
            self.sum = unmask(self.specification, self.advertised, self.shared, self.inputs, self.released)
        self.aborted = False
        self.stage += 1
