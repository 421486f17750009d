"""Who holds whose shares, and who is masked with whom: drawn by each client for itself, from its pick secret."""

from functools import lru_cache

from protocols.notation import KDF, stream, u32
from protocols.pairwise_masking import agreed
from protocols.pairwise_masking.parameters import Parameters, parameters_of
from protocols.wire.specification import Specification


def parameters(s: Specification) -> Parameters:
    """The parameters of the round."""
    return parameters_of(len(s.cohort), s.adversary)


def draw(key: bytes, choices: int, wanted: int) -> list[int]:
    """So many different numbers below `choices`, in the order in which `Stream(key)` names them.

    Pre-condition: wanted ≤ choices.
    """
    limit = 2**64 - 2**64 % choices
    drawn: list[int] = []
    at = 0
    while len(drawn) < wanted:
        word = int.from_bytes(stream(key, 8, at), "little")
        at += 8
        if word < limit and word % choices not in drawn:
            drawn.append(word % choices)
    return drawn


def drawn_picks(S: bytes, cohort: tuple[int, ...], client: int, pick_secret: bytes, k: int) -> tuple[int, ...]:
    """The first k clients of the cohort that the client's stream names, in this order."""
    own = cohort.index(client)
    numbers = draw(KDF(pick_secret, "picks", S + u32(client)), len(cohort) - 1, k)
    return tuple(cohort[p + 1 if p >= own else p] for p in numbers)


def drawn_consents(cohort: tuple[int, ...], sample_key: bytes, agreement_digest: bytes, q: int) -> tuple[int, ...]:
    """The q clients of the cohort whose consent is looked for, in the order of the draw."""
    if q == len(cohort):
        return cohort
    numbers = draw(KDF(sample_key, "consent-draw", agreement_digest), len(cohort), q)
    return tuple(cohort[p] for p in numbers)


@lru_cache(maxsize=4096)
def picks(s: Specification, client: int, pick_secret: bytes) -> tuple[int, ...]:
    """Whom the client picks, in the order of the draw. Pre-condition: the graph is not complete."""
    return drawn_picks(agreed.session(s), s.cohort, client, pick_secret, parameters(s).neighbours)


def holders(s: Specification, client: int, pick_secret: bytes) -> frozenset[int]:
    """Who get shares of the client's seeds; in a complete graph the client too."""
    if parameters(s).complete:
        return frozenset(s.cohort)
    return frozenset(picks(s, client, pick_secret))


def mask_picks(s: Specification, client: int, pick_secret: bytes) -> frozenset[int]:
    """The first κ picks: whom the client is masked with, whoever else picks it; in a complete graph all others."""
    if parameters(s).complete:
        return frozenset(s.cohort) - {client}
    return frozenset(picks(s, client, pick_secret)[: parameters(s).mask_neighbours])


def are_mask_peers(s: Specification, i: int, secret_i: bytes, j: int, secret_j: bytes) -> bool:
    """Whether one of the two is among the mask picks of the other."""
    return j in mask_picks(s, i, secret_i) or i in mask_picks(s, j, secret_j)


def attested(s: Specification) -> bool:
    """Whether inputs are attested: under a malicious server, in a sparse graph."""
    return s.malicious and not parameters(s).complete


def consents_looked_for(s: Specification, sample_key: bytes, agreement_digest: bytes) -> tuple[int, ...]:
    """The clients of the cohort whose consent the client verifies, in the order of the draw."""
    return drawn_consents(s.cohort, sample_key, agreement_digest, parameters(s).sample)
