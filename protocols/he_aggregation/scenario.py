"""A round with everything that is in it, all from one name; what a client draws for its encryption included."""

from dataclasses import dataclass, replace
from functools import lru_cache

from protocols.encoding.lanes import to_lanes
from protocols.he_aggregation.bfv import Randomness
from protocols.he_aggregation.ciphers import AnyRandomness
from protocols.he_aggregation.ckks import SlotRandomness
from protocols.he_aggregation.client import Contribution
from protocols.he_aggregation.parameters import BFV, AnyPacking, Packing, packing_of_round, value_lanes
from protocols.he_aggregation.reference import Round, run_round
from protocols.pairwise_masking import scenario
from protocols.vector_files import Vector, seed, seeded_bytes, seeded_integer
from protocols.wire.reference import MALICIOUS, SEMI_HONEST, Adversary

LAYOUT = scenario.LAYOUT
COMMON = Adversary(SEMI_HONEST, security=40, correctness=20, corrupt=0, dropouts=400)
COMMON_MALICIOUS = replace(COMMON, server=MALICIOUS, dropouts=250)

NOBODY: frozenset[tuple[int, int]] = frozenset()
"""Nobody is away."""

GREATEST_ERROR = 21
"""Of a coefficient."""

ERRORS = 23
"""So many are drawn: they are repeated for the other coefficients."""


@dataclass(frozen=True)
class Scenario(scenario.Scenario):
    """A specification, a suite, and what each client brings to the round."""

    adversary: Adversary = COMMON
    suite: int = BFV

    @property
    def any_packing(self) -> AnyPacking:
        """Of the round."""
        return packing_of_round(self.specification, self.suite)

    @property
    def packing(self) -> Packing:
        """Of a round of exact ciphertexts."""
        packing = self.any_packing
        assert isinstance(packing, Packing)
        return packing

    def lanes(self, client: int) -> list[int]:
        """The client's update, encoded, without its tags."""
        return to_lanes(self.ring_words(client), self.parameters.ring)[: value_lanes(self.specification)]

    def randomness(self, client: int) -> AnyRandomness:
        """A seed and an error key; of approximate ciphertexts a seed for each polynomial, and errors that repeat."""
        p, name = self.any_packing, f"{self.name}/encryption/{client}"
        if isinstance(p, Packing):
            return Randomness(seed(f"{name}/seed"), seed(f"{name}/error key"))
        seeds = [seeded_bytes(f"{name}/seed/{at}", 64) for at in range(p.polynomials)]
        return [SlotRandomness(drawn, repeated(self.errors(client), p.ring.degree)) for drawn in seeds]

    def errors(self, client: int) -> list[int]:
        """Of the first coefficients of each polynomial of an approximate ciphertext."""
        name = f"{self.name}/encryption/{client}"
        return [seeded_integer(f"{name}/error/{j}", 2 * GREATEST_ERROR + 1) - GREATEST_ERROR for j in range(ERRORS)]

    def contribution(self, client: int) -> Contribution:
        """What the client brings to the input stage."""
        return Contribution(self.lanes(client), self.randomness(client))

    def encrypted_round(self, dropouts: dict[int, int], away: frozenset[tuple[int, int]] = NOBODY) -> Round:
        """The round among honest parties."""
        return played(self, tuple(sorted(dropouts.items())), away)

    def client_vector(self, client: int) -> Vector:
        """What one client knows before the round, and draws in it."""
        drawn = self.randomness(client)
        if isinstance(drawn, Randomness):
            both: Vector = {"seed": drawn.seed.hex(), "error_key": drawn.error_key.hex()}
        else:
            both = {"seeds": [one.seed.hex() for one in drawn], "errors": self.errors(client)}
        return super().client_vector(client) | {"lanes": self.lanes(client), "randomness": both}


def repeated(errors: list[int], degree: int) -> tuple[int, ...]:
    """N errors: these, over and over."""
    return tuple(errors[j % len(errors)] for j in range(degree))


@lru_cache(maxsize=64)
def played(of: Scenario, dropouts: tuple[tuple[int, int], ...], away: frozenset[tuple[int, int]]) -> Round:
    """The round; not computed again for the same arguments."""
    secrets = {client: of.round_secret(client) for client in of.cohort}
    inputs = {client: of.contribution(client) for client in of.cohort}
    keys = {client: of.identity_key(client) for client in of.identities}
    return run_round(of.specification, of.suite, secrets, inputs, dict(dropouts), keys, away)
