"""A round with everything that is in it, from the layout to each client's update, all from one name."""

from dataclasses import dataclass, replace

from protocols.encoding.known_answers import layout_vector, seeded_update, tensors_vector, update_vector
from protocols.encoding.layout import Layout, TensorSpec, layout_digest
from protocols.encoding.reference import Parameters, Update, decode_sum, encode_update
from protocols.pairwise_masking.reference import Client, Policy, Round, identity, run_round
from protocols.vector_files import Vector, seed, seeded_integer
from protocols.wire.reference import MALICIOUS, SEMI_HONEST, Adversary, Specification, encode_specification
from protocols.wire.specification import NAMED_LATER

COMMON = Adversary(SEMI_HONEST, security=40, correctness=20, corrupt=200, dropouts=400)
"""For 2 … 6 clients, the graph is complete."""
COMMON_MALICIOUS = replace(COMMON, server=MALICIOUS, dropouts=250)
SPARSE = Adversary(SEMI_HONEST, security=1, correctness=1, corrupt=100, dropouts=150)
"""Too little for anything but a small sparse graph: 18 clients have L = 10, k = κ = 6, t = 3."""
SPARSE_MALICIOUS = Adversary(MALICIOUS, security=1, correctness=1, corrupt=1, dropouts=0)
"""9 clients have L = 6, k = κ = 4, t = τ = 3, q = 9, θ = 6: more than nobody may drop out, with luck."""
SAMPLED = Adversary(MALICIOUS, security=3, correctness=1, corrupt=1, dropouts=50)
"""20 clients have L = 11, k = κ = 6, t = 4, τ = 5, q = 10, θ = 9."""
FEWER_MASKS = Adversary(SEMI_HONEST, security=2, correctness=4, corrupt=100, dropouts=150)
"""25 clients have L = 13, k = 8, t = 4, κ = 7."""
FEWER_MASKS_MALICIOUS = Adversary(MALICIOUS, security=1, correctness=1, corrupt=50, dropouts=150)
"""22 clients have L = 13, k = 10, t = 7, κ = 8, τ = 5, q = 22, θ = 13."""

LAYOUT = Layout((TensorSpec("lora_A", "float32", (2, 2)), TensorSpec("lora_B", "float64", (3,))), ("weight", "loss"))


ANY = Policy()


@dataclass(frozen=True)
class Scenario:
    """A specification, and what each client brings to the round."""

    name: str
    cohort: tuple[int, ...]
    adversary: Adversary = COMMON
    bits: int = 16
    clip: float = 0.5
    greatest_weight: int = 100
    round: int = 4
    prepared: bool = False  # the model is named when all have shared

    @property
    def parameters(self) -> Parameters:
        """The numbers of the encoding."""
        return Parameters(len(self.cohort), self.bits, self.clip, self.greatest_weight)

    @property
    def model(self) -> bytes:
        """The digest of the model that all train from."""
        return seed(f"{self.name}/model")

    @property
    def named_model(self) -> bytes | None:
        """That digest, where it is named later."""
        return self.model if self.prepared else None

    @property
    def specification(self) -> Specification:
        """What the server offers."""
        return Specification(
            nonce=seed(f"{self.name}/nonce"),
            round=self.round,
            adversary=self.adversary,
            model=NAMED_LATER if self.prepared else self.model,
            layout=layout_digest(LAYOUT),
            values=LAYOUT.values,
            scalars=len(LAYOUT.scalars),
            greatest_weight=self.greatest_weight,
            bits=self.bits,
            clip=self.clip,
            cohort=self.cohort,
        )

    def round_secret(self, client: int) -> bytes:
        """ρ of one client."""
        return seed(f"{self.name}/round secret/{client}")

    def identity_key(self, client: int) -> bytes:
        """The client's private Ed25519 key."""
        return seed(f"{self.name}/identity key/{client}")

    @property
    def identities(self) -> dict[int, bytes]:
        """The identity roster: empty under a semi-honest server."""
        malicious = self.adversary.server == MALICIOUS
        return {client: identity(self.identity_key(client)) for client in self.cohort if malicious}

    def client(self, client: int, policy: Policy = ANY, last_input: int | None = None) -> Client:
        """One client of the round."""
        key = self.identity_key(client) if self.identities else None
        return Client(client, self.round_secret(client), key, self.identities, policy, LAYOUT, last_input)

    def rounding_key(self, client: int) -> bytes:
        """The client's key for the rounding."""
        return seed(f"{self.name}/rounding key/{client}")

    def update(self, client: int) -> Update:
        """What the client trained."""
        weight = 1 + seeded_integer(f"{self.name}/weight/{client}", self.greatest_weight)
        return seeded_update(f"{self.name}/update/{client}", LAYOUT, self.model, 2 * self.clip, weight)

    def ring_words(self, client: int) -> list[int]:
        """The client's update, encoded."""
        update, key = self.update(client), self.rounding_key(client)
        return encode_update(update, LAYOUT, self.model, self.parameters, key, self.round)

    def run(self, dropouts: dict[int, int]) -> Round:
        """The round among honest parties."""
        secrets = {client: self.round_secret(client) for client in self.cohort}
        inputs = {client: self.ring_words(client) for client in self.cohort}
        keys = {client: self.identity_key(client) for client in self.identities}
        return run_round(self.specification, secrets, inputs, dropouts, keys, self.named_model)

    def context_vector(self) -> Vector:
        """What all parties know before the round; of a prepared one also the model that is named later."""
        return {
            "layout": layout_vector(LAYOUT),
            "specification": encode_specification(self.specification).hex(),
            "identities": self.identities_vector(),
            **({"model": self.model.hex()} if self.prepared else {}),
        }

    def identities_vector(self) -> list[Vector]:
        """The identity roster."""
        return [{"id": client, "key": key.hex()} for client, key in self.identities.items()]

    def client_vector(self, client: int) -> Vector:
        """What one client knows before the round."""
        return {
            "id": client,
            "round_secret": self.round_secret(client).hex(),
            "identity_key": self.identity_key(client).hex() if self.identities else None,
            "rounding_key": self.rounding_key(client).hex(),
            "update": update_vector(self.update(client)),
            "ring_words": self.ring_words(client),
        }

    def mean_vector(self, result: Round) -> Vector:
        """The weighted mean that the round's sum decodes to."""
        assert result.sum is not None
        mean = decode_sum(result.sum, len(result.answered[3]), LAYOUT, self.parameters)
        return {"tensors": tensors_vector(mean.tensors), "weight": mean.weight, "metrics": mean.metrics}
