"""Who a client is: its policy, its record, its keys, and the secrets that follow for one session."""

from dataclasses import dataclass

from protocols.encoding.layout import Layout
from protocols.notation import require
from protocols.pairwise_masking import agreed, graph, keys, signatures
from protocols.pairwise_masking.signatures import Identities
from protocols.wire.bodies import Entry
from protocols.wire.specification import SEMI_HONEST, Specification, least_survivors


@dataclass(frozen=True)
class Policy:
    """What the client asks of a specification (rule O1)."""

    least_server: int = SEMI_HONEST  # MALICIOUS: nothing less
    least_corrupt: int = 0  # thousandths
    least_security: int = 1  # σ
    least_cohort: int = 1
    least_sum: int = 1  # clients in each sum that the server may learn
    greatest_clip: float = float("inf")
    least_bits: int = 2


@dataclass(frozen=True, eq=False)
class Client:
    """Who the client is: all that its answers depend on but what it receives."""

    id: int
    round_secret: bytes  # ρ, 32 bytes for one session alone
    identity_key: bytes | None = None  # its private Ed25519 key
    identities: Identities | None = None  # the identity roster; whoever has a key has a roster
    policy: Policy = Policy()
    layout: Layout | None = None  # of its updates (rule O2); None: whatever the specification says
    last_input: int | None = None  # the record: the greatest round that it gave an input for (rule R11)
    last_input_since: int | None = None  # the same when a prepared round's delivery comes, where it is another by then

    def __post_init__(self) -> None:
        if self.identity_key is not None:
            signatures.check_identities(self.known, (self.id, signatures.identity(self.identity_key)))

    @property
    def known(self) -> Identities:
        """The identity roster."""
        return self.identities or {}

    def sign(self, digest: bytes) -> bytes:
        """The client's signature. Pre-condition: it has a key, see rule O1."""
        assert self.identity_key is not None
        return signatures.sign(self.identity_key, digest)


@dataclass(frozen=True)
class Secrets:
    """A client's secrets in one session, as raw bytes."""

    channel: bytes
    mask: bytes  # s
    seed: bytes  # b
    pick: bytes  # r
    sample: bytes


def secrets_of(client: Client, session: bytes) -> Secrets:
    """The secrets that follow from the round secret."""
    return Secrets(
        channel=keys.channel_private_key(client.round_secret, session),
        mask=keys.mask_private_key(client.round_secret, session),
        seed=keys.self_mask_seed(client.round_secret, session),
        pick=keys.pick_secret(client.round_secret, session),
        sample=keys.sample_key(client.round_secret, session),
    )


def entry_of(client: Client, s: Specification) -> Entry:
    """What the client advertises."""
    session = agreed.session(s)
    own = secrets_of(client, session)
    promise = keys.promise(session, client.id, own.pick)
    entry = Entry(keys.public_key(own.channel), keys.public_key(own.mask), promise)
    if not s.malicious:
        return entry
    signature = client.sign(signatures.advertisement_digest(session, client.id, entry))
    return Entry(entry.channel_key, entry.mask_key, entry.promise, signature)


def least_sum(s: Specification) -> int:
    """So many clients are at least in a sum that the server may learn: in an attested round it may learn several."""
    n = len(s.cohort)
    return n // 4 + 1 if graph.attested(s) else least_survivors(n, s.adversary)


def check_policy(client: Client, s: Specification) -> None:
    """Raise O1 for a specification that the client does not take part in."""
    n, adversary, policy = len(s.cohort), s.adversary, client.policy
    require(adversary.server >= policy.least_server, "O1", f"a server of kind {adversary.server}")
    require(adversary.corrupt >= policy.least_corrupt, "O1", f"{adversary.corrupt} thousandths corrupt")
    require(adversary.security >= policy.least_security, "O1", f"{adversary.security} bits of security")
    require(n >= policy.least_cohort, "O1", f"a cohort of {n}")
    require(least_sum(s) >= policy.least_sum, "O1", f"a sum of {least_sum(s)}")
    require(s.clip <= policy.greatest_clip, "O1", f"a clip of {s.clip}")
    require(s.bits >= policy.least_bits, "O1", f"{s.bits} bits a value")
    require(not s.malicious or client.identity_key is not None, "O1", "no identity key to sign with")
