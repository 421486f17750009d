"""A round with everything that is in it, from the layout to each client's update, all from one name."""

from dataclasses import dataclass

from protocols.encoding.known_answers import layout_vector, seeded_update, tensors_vector, update_vector
from protocols.encoding.layout import Layout, TensorSpec, layout_digest
from protocols.encoding.reference import Parameters, Update, decode_sum, encode_update
from protocols.pairwise_masking.reference import Round, run_round
from protocols.vector_files import Vector, seed, seeded_integer
from protocols.wire.reference import Specification, encode_specification

LAYOUT = Layout((TensorSpec("lora_A", "float32", (2, 2)), TensorSpec("lora_B", "float64", (3,))), ("weight", "loss"))


@dataclass(frozen=True)
class Scenario:
    """A specification, and what each client brings to the round."""

    name: str
    cohort: tuple[int, ...]
    threshold: int
    bits: int = 16
    clip: float = 0.5
    greatest_weight: int = 100
    round: int = 4

    @property
    def parameters(self) -> Parameters:
        """The numbers of the encoding."""
        return Parameters(len(self.cohort), self.bits, self.clip, self.greatest_weight)

    @property
    def model(self) -> bytes:
        """The digest of the model that all train from."""
        return seed(f"{self.name}/model")

    @property
    def specification(self) -> Specification:
        """What the server offers."""
        return Specification(
            nonce=seed(f"{self.name}/nonce"),
            round=self.round,
            threshold=self.threshold,
            model=self.model,
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
        return run_round(self.specification, secrets, inputs, dropouts)

    def context_vector(self) -> Vector:
        """What all parties know before the round."""
        return {
            "layout": layout_vector(LAYOUT),
            "specification": encode_specification(self.specification).hex(),
        }

    def client_vector(self, client: int) -> Vector:
        """What one client knows before the round."""
        return {
            "id": client,
            "round_secret": self.round_secret(client).hex(),
            "rounding_key": self.rounding_key(client).hex(),
            "update": update_vector(self.update(client)),
            "ring_words": self.ring_words(client),
        }

    def mean_vector(self, result: Round) -> Vector:
        """The weighted mean that the round's sum decodes to."""
        assert result.sum is not None
        mean = decode_sum(result.sum, len(result.answered[2]), LAYOUT, self.parameters)
        return {"tensors": tensors_vector(mean.tensors), "weight": mean.weight, "metrics": mean.metrics}
