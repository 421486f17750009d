"""Rounds of our homomorphic schemes, as the audit kit wants them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from securefed.aggregation import Adversary
from securefed.audit.own_rounds import OwnRound, own_round, round_of
from securefed.audit.round import ClientId, Contribution, Round
from securefed.audit.simulation import drawn, stated
from securefed.crypto.hashing import DIGEST_BYTES
from securefed.he import HomomorphicScheme, bfv, bfv_2048, ckks, ckks_compact
from securefed.he.client import HomomorphicClient
from securefed.he.stages import Stage
from securefed.wire.header import HEADER_BYTES

__all__ = ["approximate_round_of_seed", "homomorphic_round", "homomorphic_round_of_seed"]

_WORD_BYTES = 8


def homomorphic_round(
    contributions: Mapping[ClientId, Contribution],
    adversary: Adversary,
    *,
    secret: bytes | None = None,
    scheme: HomomorphicScheme | None = None,
) -> tuple[Round, OwnRound]:
    """A round in which one client holds the key.

    Args:
        contributions: by client; the cohort is theirs.
        adversary: the stated one, without corrupt clients.
        secret: 32 bytes that all keys and nonces are drawn from; encryption itself is fresh every time.
        scheme: `bfv` by default.
    """
    scheme = scheme or bfv()
    own = own_round(contributions, adversary, scheme, secret)
    started = dict.fromkeys(own.spec.cohort, 0)

    def new_client(client: ClientId) -> HomomorphicClient:
        started[client] += 1
        round_secret = own.round_secret(client, started[client])
        return HomomorphicClient(scheme.parameters, own.identities[client], round_secret=round_secret)

    round_ = replace(
        round_of(own, scheme.stages),
        new_client=new_client,
        lying_server=adversary.malicious,
        body=_ciphertext,
        words_of=None,
        stage_of=_stage_of,
        gives_up=lambda drops: _lacks_its_holder(own.spec.cohort, drops),
        # One client alone opens a sum, and only one.
        shown_to=1,
        result_stage=Stage.OPEN.value,
    )
    return round_, own


def homomorphic_round_of_seed(seed: int) -> Round:
    """A small round for the simulation: `bfv` or `bfv-2048`, most of them against a malicious server."""
    return _round_of_seed(seed, (bfv_2048, bfv))


def approximate_round_of_seed(seed: int) -> Round:
    """The same: `ckks-compact` or, in one of ten, `ckks`, which takes a second. They need TenSEAL."""
    return _round_of_seed(seed, (*[ckks_compact] * 9, ckks))


def _round_of_seed(seed: int, schemes: Sequence[Callable[[], HomomorphicScheme]]) -> Round:
    contributions, secret, generator = drawn(seed)
    kind = int(generator.integers(10))
    adversary = stated("malicious" if kind >= 3 else "semi-honest", 0.0, len(contributions), generator)
    scheme = schemes[kind % len(schemes)]()
    return homomorphic_round(contributions, adversary, secret=secret, scheme=scheme)[0]


def _ciphertext(message: bytes) -> bytes:
    """Seeds and coefficients of an upload, without the last word, which is not always full."""
    return message[HEADER_BYTES + 2 * DIGEST_BYTES : -_WORD_BYTES]


def _stage_of(server: Any) -> str | None:
    return None if server.stage is Stage.DONE else str(server.stage)


def _lacks_its_holder(cohort: tuple[ClientId, ...], drops: Mapping[ClientId, str]) -> bool:
    """The first that seals a key holds it; if it falls silent afterwards, nobody opens the sum."""
    early = (Stage.ADVERTISE.value, Stage.KEYS.value)
    holder = next((client for client in cohort if drops.get(client) not in early), None)
    return holder in drops
