"""The vectors of parameters, and of what is drawn with them: picks, and the consents that a client looks for."""

from dataclasses import asdict
from itertools import product

from protocols.pairwise_masking.graph import drawn_consents, drawn_picks
from protocols.pairwise_masking.parameters import parameters_of
from protocols.pairwise_masking.scenario import COMMON, COMMON_MALICIOUS, SPARSE, SPARSE_MALICIOUS
from protocols.vector_files import Vector, VectorFile, seed
from protocols.wire.specification import (
    MALICIOUS,
    SEMI_HONEST,
    Adversary,
    corrupt_clients,
    dropouts,
    least_survivors,
)

NAME = "pairwise_masking"
SERVERS = (SEMI_HONEST, MALICIOUS)


def grid() -> list[tuple[int, Adversary]]:
    """Cohorts of all sizes, against adversaries of all kinds; each one is within its bounds (W15)."""
    cases = [(n, Adversary(server, 40, 20, c, c)) for server, n, c in product(SERVERS, (1000, 10_000), (50, 100, 200))]
    cases += [(2**20, Adversary(server, 40, 20, 50, 100)) for server in SERVERS]
    cases += [(n, COMMON) for n in (2, 3, 4, 5, 6, 7, 8, 20, 50)]
    cases += [(n, COMMON_MALICIOUS) for n in (2, 3, 4, 5, 6, 7, 8, 20, 50)]
    cases += [(n, Adversary(server, 40, 20, 0, 0)) for server, n in product(SERVERS, (2, 3, 4, 5, 100))]
    cases += [(n, SPARSE) for n in (11, 12, 13)]
    cases += [(n, SPARSE_MALICIOUS) for n in (10, 11, 12)]
    cases += [(300, Adversary(server, *bits, 100, 100)) for server, bits in product(SERVERS, [(1, 1), (128, 64)])]
    cases += [(n, Adversary(server, 40, 20, 1, 1)) for server, n in product(SERVERS, (999, 1000, 1001))]
    cases += [(1000, Adversary(SEMI_HONEST, 40, 20, 499, 499)), (1000, Adversary(MALICIOUS, 40, 20, 499, 249))]
    return cases


def parameters() -> VectorFile:
    """What follows from the cohort's size and the adversary."""
    file = VectorFile(
        NAME,
        "parameters",
        "A cohort of n and an adversary: how many are corrupt (C), may drop out (D), must survive (L), and the "
        "parameters that follow. In a complete graph k = κ = n.",
    )
    for n, adversary in grid():
        p = parameters_of(n, adversary)
        file.vectors.append(
            {
                "n": n,
                "adversary": asdict(adversary),
                "C": corrupt_clients(n, adversary),
                "D": dropouts(n, adversary),
                "L": least_survivors(n, adversary),
                "complete": p.complete,
                "k": p.neighbours,
                "t": p.threshold,
                "κ": p.mask_neighbours,
                "τ": p.mask_survivors,
                "q": p.sample,
                "θ": p.consents,
                "ℓ": p.inputs,
            }
        )
    return file


def picks() -> VectorFile:
    """Draws from small cohorts, in which many words name a position again, and from large ones."""
    file = VectorFile(
        NAME,
        "picks",
        "`function` picks: the first k picks of a client of the cohort, by its pick secret. consent draw: the q "
        "clients of the cohort whose consent is looked for. Both in the order of the draw.",
    )
    small = (3, 5, 8, 13, 21, 34, 55, 2**32 - 1)
    for cohort, client, k in (
        (small[:4], 3, 2),
        (small[:4], 13, 2),
        (small, 3, 6),
        (small, 13, 6),
        (small, 2**32 - 1, 6),
        (tuple(range(1, 101)), 50, 40),
        (tuple(range(7, 7_000, 7)), 3500, 100),
    ):
        S, pick_secret = seed(f"picks/session/{client}"), seed(f"picks/{client}/{k}")
        file.vectors.append(
            {
                "function": "picks",
                "session": S.hex(),
                "cohort": list(cohort),
                "client": client,
                "pick_secret": pick_secret.hex(),
                "k": k,
                "picks": list(drawn_picks(S, cohort, client, pick_secret, k)),
            }
        )
    for cohort, q in ((small, 6), (small, 8), (tuple(range(1, 101)), 60)):
        file.vectors.append(consent_draw(cohort, q))
    return file


def consent_draw(cohort: tuple[int, ...], q: int) -> Vector:
    """One draw of the consents that a client looks for."""
    sample_key, digest = seed(f"sample key/{q}"), seed(f"agreement/{q}")
    return {
        "function": "consent draw",
        "cohort": list(cohort),
        "sample_key": sample_key.hex(),
        "agreement_digest": digest.hex(),
        "q": q,
        "drawn": list(drawn_consents(cohort, sample_key, digest, q)),
    }
