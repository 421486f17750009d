"""Properties of what one client sends: nothing of it says anything about that client alone."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping

import numpy as np

from securefed.audit.audited import Audited, claim
from securefed.audit.round import ClientId, Contribution, Play, Words
from securefed.audit.uniformity import LEAST_BYTES, not_uniform, told_apart

__all__ = ["SecrecyProperties"]

_LEAST_RUNS = 8
_RUNS = 24
"""Fresh runs a side in the search for bits that follow the input. A bit of noise is the same in all of them on either
side and different between the two with probability 2^-47: under 10^-9 for all of 10^5 bits."""
_PREFIX = 16
"""Bytes of a mask that two seeds may not share: by chance any two of 4,225 do with probability 2^-104."""


class SecrecyProperties(Audited):
    """What is seen of one client."""

    def test_one_upload_looks_uniform(self) -> None:
        """One client's upload alone, over fresh runs, cannot be told from noise, and not what it was made of: all-zero
        or all-greatest vectors. False alarms: at most one in 10^9 runs of the suite."""
        bodies = {
            name: self._bodies(self.everyone(value, weight, parameters=self.many_parameters))
            for name, value, weight in (("zeros", 0.0, 1), ("greatest values", self.clip, self.greatest_weight))
        }
        for name, samples in bodies.items():
            claim(len({len(sample) for sample in samples}) == 1, f"uploads of {name} differ in length")
            claim(len(set(samples)) == len(samples), f"two fresh runs gave the same upload of {name}")
            problem = not_uniform(samples)
            claim(problem is None, f"uploads of {name} do not look uniform: {problem}")
        problem = told_apart(*(b"".join(samples) for samples in bodies.values()))
        claim(problem is None, f"uploads of zeros and of the greatest values can be told apart: {problem}")

    def _bodies(self, contributions: Mapping[ClientId, Contribution]) -> list[bytes]:
        """The first client's upload over as many fresh runs as the statistics need."""
        bodies: list[bytes] = []
        while len(bodies) < _LEAST_RUNS or sum(map(len, bodies)) < LEAST_BYTES:
            round_ = self.make_round(contributions)
            play = Play(round_).until(round_.update_stage)
            play.answer()
            upload = play.replies[round_.update_stage].get(self.cohort[0])
            claim(upload is not None, f"no upload to look at ({'; '.join(play.refused[:3])})")
            bodies.append(round_.body(upload or b""))
            claim(len(bodies[-1]) >= 64, "the body of an upload has less than 64 bytes: set many_parameters higher")
        return bodies

    def test_every_bit_of_a_mask_seed_counts(self) -> None:
        """No two mask seeds that differ in one bit, or in two that are whole bytes apart, have the same mask: finds
        every seed that is cut short or folded on its way into the generator, and any other below some 20 bits."""
        stream = self.needs("mask_stream").mask_stream
        base = int.from_bytes(np.random.default_rng(self.seed).bytes(32), "big")
        seen: dict[bytes, tuple[int, ...]] = {}
        pairs = (pair for pair in itertools.combinations(range(256), 2) if (pair[1] - pair[0]) % 8 == 0)
        for flipped in itertools.chain([()], ((bit,) for bit in range(256)), pairs):
            seed = base
            for bit in flipped:
                seed ^= 1 << bit
            mask = bytes(stream(seed.to_bytes(32, "big"))[:_PREFIX]) if stream else b""
            claim(len(mask) == _PREFIX, f"mask_stream gave {len(mask)} bytes, at least {_PREFIX} are needed")
            claim(
                mask not in seen,
                f"two seeds that differ in bits {sorted({*flipped} ^ {*seen.get(mask, ())})} have the same mask",
            )
            seen[mask] = flipped

    def test_nothing_of_one_client_in_clear(self) -> None:
        """In no message of a client does a bit follow its vector, weight or metric, and no piece of its vector, as
        floats or as the integers that are summed, occurs: every stage but one whose answers are the sum itself, over
        fresh runs that differ in nothing else."""
        others = self.contributions()
        pair = self._opposites()
        runs = [[self.one_contribution(others, one) for _ in range(_RUNS)] for one in pair]
        for plays in runs:
            for play in plays:
                play.finish()
        round_ = runs[0][0].round
        for stage in (stage for stage in round_.stages if stage != round_.result_stage):
            sides = [[play.replies[stage].get(self.cohort[0], b"") for play in plays] for plays in runs]
            at = _following_bits(*sides)
            claim(not at, f"{stage}: bits follow the client's input, at {_few(at)}")
            for play, message in zip(runs[0], sides[0], strict=True):
                found = _piece_in(message, pair[0], play.round.plain(self.cohort[0]))
                claim(found is None, f"{stage}: a piece of the client's vector is in its message, {found}")

    def _opposites(self) -> tuple[Contribution, Contribution]:
        """Two contributions with nothing in common, random bits in all that they say."""
        generator = np.random.default_rng(self.seed)
        values = generator.uniform(0.2 * self.clip, self.clip, self.parameters)
        weight = int(generator.integers(1, max(1, self.greatest_weight // 2) + 1))
        metric = float(generator.uniform(1, 100))
        return (
            Contribution(values, weight, metric),
            Contribution(-values, max(1, self.greatest_weight - weight), -1000 * metric),
        )

    def test_the_length_of_messages_does_not_depend_on_the_input(self) -> None:
        """Every message of a client is as long for zeros, weight 1 and no loss as for random, greatest and huge ones.
        Where lengths differ between fresh runs of one input too, the inputs must share some of them."""
        others = self.contributions()
        zeros, greatest = np.zeros(self.parameters), np.full(self.parameters, self.clip)
        inputs = {
            "zeros with weight 1": Contribution(zeros, 1, 0.0),
            "the greatest values": Contribution(greatest, self.greatest_weight, 1e6),
            "random values": others[self.cohort[0]],
        }
        seen: dict[str, dict[str, set[int]]] = {}
        for name, one in inputs.items():
            for _run in range(_LEAST_RUNS // 2):
                play = self.one_contribution(others, one)
                play.finish()
                for stage, sent in play.replies.items():
                    lengths = seen.setdefault(stage, {}).setdefault(name, set())
                    lengths.add(len(sent.get(self.cohort[0], b"")))
        for stage, by_input in seen.items():
            shared = set.intersection(*by_input.values())
            told = ", ".join(f"{sorted(lengths)} bytes for {name}" for name, lengths in by_input.items())
            claim(shared, f"{stage}: messages have {told}")


def _following_bits(one: list[bytes], other: list[bytes]) -> list[int]:
    """Bits, counted from the front, that are the same in all of `one` and the other way in all of `other`."""
    length = min(map(len, [*one, *other]))
    ones, others = (
        np.unpackbits(np.array([np.frombuffer(message[:length], np.uint8) for message in side]), axis=1)
        for side in (one, other)
    )
    constant = (ones == ones[0]).all(axis=0) & (others == others[0]).all(axis=0)
    found: list[int] = np.flatnonzero(constant & (ones[0] != others[0])).tolist()
    return found


def _few(at: list[int]) -> str:
    return f"bytes {sorted({bit // 8 for bit in at})[:8]}" + (" …" if len(at) > 8 else "")


def _piece_in(message: bytes, contribution: Contribution, plain: Words) -> str | None:
    """Which form of three successive entries of a vector is in a message; None where none is."""
    for name, raw, size in _forms(contribution, plain):
        for start in range(0, len(raw) - 3 * size + 1, size):
            piece = raw[start : start + 3 * size]
            # Small or repeated entries may occur anywhere: what is looked for must be worth six random bytes.
            if len(set(piece)) >= 6 and piece in message:
                return f"entries {start // size} … as {name}"
    return None


def _forms(contribution: Contribution, plain: Words) -> Iterator[tuple[str, bytes, int]]:
    for order in "<>":
        for size in (2, 4, 8):
            yield f"{order}f{size}", contribution.values.astype(f"{order}f{size}").tobytes(), size
            yield f"{order}u{size}", plain.astype(f"{order}u{size}").tobytes(), size
