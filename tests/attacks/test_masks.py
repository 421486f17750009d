"""The words under the mask: weak randomness, floats, overflow, what rides in clear, and poison."""

from __future__ import annotations

import struct
from dataclasses import replace

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB

from securefed.aggregation import Aggregate, Update
from securefed.crypto.kdf import Label, derive
from securefed.crypto.keystream import StreamSum
from securefed.encoding.lanes import Lanes
from securefed.errors import ConfigError
from securefed.plain import PlainFloats
from securefed.secagg.client import MaskingClient
from securefed.secagg.graph import promise
from securefed.secagg.keys import ClientSecrets, self_mask_key
from securefed.secagg.stages import STAGES, Stage
from securefed.wire.from_server import Offer
from securefed.wire.header import Suite
from tests.attacks.knowledge import VICTIM
from tests.attacks.server import MaliciousServer
from tests.attacks.switches import lanes_one_bit_short, non_finite_values_pass, values_unclipped
from tests.attacks.weaker import float_mask, plain_floats, short_seed
from tests.rounds import COHORT, LAYOUT, SEMI_HONEST, Round, encoded, identity_of, seed, spec_of, update_of
from tests.rules import case, refused


def aes(key: bytes, blocks: bytes) -> bytes:
    """AES-256 of single blocks, by another mode than the product uses."""
    return Cipher(AES(key), ECB()).encryptor().update(blocks)


def test_the_mask_is_aes_256_in_counter_mode() -> None:
    """A generator of its own design, or a biased one, would leave structure in the masked words.

    Defence: a mask is the AES-256 counter stream and nothing else: FIPS 197 (appendix C.3) for the block, counters
    from 2 in a nonce of the segment for the stream, word for word in what a client sends.
    """
    key, block = bytes(range(32)), bytes.fromhex("00112233445566778899aabbccddeeff")
    assert aes(key, block).hex() == "8ea2b7ca516745bfeafc49904b496089"
    server = MaliciousServer(corrupt=[2, 5, 8]).until_inputs()
    server.plot()
    server.ask_consent(VICTIM, COHORT)
    terms = [(self_mask_key(server.self_mask_seed(VICTIM), server.spec.session, VICTIM), +1)]
    terms += [
        (server.pairs.mask_key(server.mask_key(p), server.entries[VICTIM].mask, p, VICTIM), 1 if p > VICTIM else -1)
        for p in (2, 5, 8)
    ]
    mask = np.zeros(server.spec.words + 1, "<u8")
    counters = b"".join(bytes(12) + struct.pack(">I", 2 + at) for at in range(len(mask) // 2))
    for key, sign in terms:
        stream = np.frombuffer(aes(key, counters), "<u8")
        mask += stream if sign > 0 else -stream
    ring = server.spec.numbers.lanes.ring_mask
    assert ((server.inputs[VICTIM] - mask[: server.spec.words]) & ring).tolist() == encoded(
        server.spec, VICTIM
    ).tolist()


def brute_force(server: MaliciousServer, victim: int) -> ClientSecrets | None:
    """All round secrets of 16 bits against what the victim advertised."""
    session, wanted = server.spec.session, server.entries[victim].promise
    for value in range(2**16):
        if promise(derive(short_seed(value), Label.PICK_SECRET, session), session, victim) == wanted:
            return ClientSecrets(short_seed(value), session)
    return None


def test_brute_force_over_short_seeds() -> None:
    """A client's secret is 256 bits of the operating system's: an exhaustive search of a weak generator's seeds finds
    nothing."""
    server = MaliciousServer()
    server.clients[VICTIM] = MaskingClient(identity_of(VICTIM))
    server.offer(VICTIM)
    assert brute_force(server, VICTIM) is None


def test_succeeds_with_short_seed() -> None:
    """The same search against a client whose round secret has 16 bits: every mask of it is known."""
    server = MaliciousServer()
    server.clients[VICTIM] = MaskingClient(identity_of(VICTIM), round_secret=short_seed(0x2A51))
    server.until_inputs()
    found = brute_force(server, VICTIM)
    assert found is not None
    server.corrupt[VICTIM] = found
    assert server.recover().tolist() == encoded(server.spec, VICTIM).tolist()


def with_value(client: int, tensor: str, value: float) -> Update:
    update = update_of(client)
    spoilt = update.tensors[tensor].copy()
    spoilt.reshape(-1)[0] = value
    return replace(update, tensors={**update.tensors, tensor: spoilt})


def whole_round(updates: dict[int, Update]) -> Aggregate:
    """An honest server's round over these updates."""
    round_ = Round().until(Stage.INPUT)
    for client, request in round_.requests[Stage.INPUT].items():
        update = updates.get(client) or update_of(client)
        round_.server.receive(client, round_.clients[client].reply(request, lambda u=update: u))
    round_.server.advance()
    return round_.until(Stage.DONE).server.aggregate


@pytest.mark.parametrize("tensor", ["lora_A", "lora_B"])
@pytest.mark.parametrize(
    ("rule", "value"), [case("V1", "NaN", np.nan), case("V1", "+Inf", np.inf), case("V1", "-Inf", -np.inf)]
)
def test_a_value_that_is_no_number(rule: str, value: float, tensor: str) -> None:
    """Quantised, a NaN is any number, and under a mask nobody sees it. Refused at the client, with its name (V1)."""
    with refused(rule) as caught:
        whole_round({VICTIM: with_value(VICTIM, tensor, value)})
    assert repr(tensor) in str(caught.value)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf], ids=str)
def test_succeeds_with_non_finite_values_pass(value: float) -> None:
    """The round ends well, says everyone, and one value of the mean is made up."""
    good = whole_round({VICTIM: with_value(VICTIM, "lora_A", 0.0)}).tensors["lora_A"].reshape(-1)
    with non_finite_values_pass():
        bad = whole_round({VICTIM: with_value(VICTIM, "lora_A", value)}).tensors["lora_A"].reshape(-1)
    assert np.isfinite(bad).all()
    assert bad[0] != good[0]
    assert bad[1:].tolist() == good[1:].tolist()


def low_bits(values: np.ndarray) -> np.ndarray:
    return values & np.uint64(0xFF)


def test_floats_under_masks_are_not_what_leaves() -> None:
    """Words of a ring: of 3,000 masked words about one in 256 has the low byte that the word under it has."""
    words = np.arange(3000, dtype="<u8")
    masked = words.copy()
    StreamSum([(seed("a mask"), +1)]).add_to(masked)
    assert np.count_nonzero(low_bits(masked) == low_bits(words)) < 3000 // 64


def test_succeeds_with_float_mask() -> None:
    """What would leave instead: a float mask lies on a grid, and what the update has below the grid is in clear."""
    values = np.random.default_rng(1).normal(0, 2.0**-12, 3000)
    below = np.remainder(values + float_mask(len(values), 2.0**-10), 2.0**-10)
    assert np.abs(below - np.remainder(values, 2.0**-10)).max() < 2.0**-30


def extreme(client: int) -> Update:
    """The greatest value that there is in front, the least one everywhere else."""
    update = update_of(client)
    tensors = {name: np.full_like(tensor, -10.0) for name, tensor in update.tensors.items()}
    tensors["lora_A"].reshape(-1)[0] = 10.0
    return replace(update, tensors=tensors, weight=100)


def first_and_others() -> tuple[float, float]:
    """Of the mean over a cohort of extremes: the value in front, and the greatest of all others."""
    mean = whole_round({client: extreme(client) for client in COHORT})
    flat = np.concatenate([tensor.reshape(-1) for tensor in mean.tensors.values()])
    return float(flat[0]), float(flat[1:].max())


@pytest.mark.rule("V8")
def test_an_overflow_of_the_ring() -> None:
    """Values that add up over the ring's end would come out with the wrong sign, or in the neighbour's lane.

    Defence: the ring follows from the cohort, so that the sum of the greatest values fits; where none fits, the round
    is not configured (V8). Within the bounds of a specification one always does.
    """
    clip = spec_of().clip
    assert first_and_others() == (pytest.approx(clip, abs=1e-4), pytest.approx(-clip, abs=1e-4))
    assert Lanes(2**20, 2 * (2**31 - 1)).width <= 64
    with pytest.raises(ConfigError, match=r"\[V8\]"):
        Lanes(2**33, 2 * (2**31 - 1))


def test_succeeds_with_lanes_one_bit_short() -> None:
    """The sum runs over its lane, and nobody sees it: from the greatest value all that is left is about zero."""
    with lanes_one_bit_short():
        first, _ = first_and_others()
    assert abs(first) < 1e-3


SECRET_WEIGHT, SECRET_LOSS = 0x5EC2E7, 0.123456789012345
TELLING = {"greatest_weight": 2**24}


def traces(weight: int, loss: float) -> list[bytes]:
    """How the two might look in a message."""
    numbers = [struct.pack(code, weight) for code in ("<I", ">I", "<d", ">d", "<f", ">f", "<Q", ">Q")]
    numbers += [struct.pack(code, loss) for code in ("<d", ">d", "<f", ">f")]
    return [*numbers, str(weight).encode(), repr(loss).encode()[:10]]


def telling(weight: int, loss: float) -> Update:
    return replace(update_of(VICTIM), weight=weight, metrics={"loss": loss})


def sent(weight: int, loss: float) -> list[bytes]:
    """All messages of the victim in a whole round."""
    round_ = Round(spec_of(**TELLING)).until(Stage.INPUT)
    for client, request in round_.requests[Stage.INPUT].items():
        update = telling(weight, loss) if client == VICTIM else update_of(client)
        round_.replies[Stage.INPUT][client] = round_.clients[client].reply(request, lambda u=update: u)
        round_.server.receive(client, round_.replies[Stage.INPUT][client])
    round_.server.advance()
    round_.until(Stage.DONE)
    return [round_.replies[stage][VICTIM] for stage in STAGES]


def test_metadata_in_clear() -> None:
    """Weight and loss beside the masked vector tell how much data a client has and what it is like.

    Defence: they are in the protected vector: in no message to be found, and no length depends on them.
    """
    one, other = sent(SECRET_WEIGHT, SECRET_LOSS), sent(1, -1e6)
    assert not [trace for trace in traces(SECRET_WEIGHT, SECRET_LOSS) for message in one if trace in message]
    assert list(map(len, one)) == list(map(len, other))
    assert [a == b for a, b in zip(one, other, strict=True)] == [True, True, False, True, True]


def test_succeeds_with_plain_floats() -> None:
    """The same search in the message of the scheme that protects nothing finds the weight."""
    client = PlainFloats().client(plain_floats(identity_of(VICTIM)))
    offer = Offer(spec_of(**TELLING, adversary=SEMI_HONEST)).encode(Suite.PLAIN_FLOATS)
    message = client.reply(offer, lambda: telling(SECRET_WEIGHT, SECRET_LOSS))
    assert [trace for trace in traces(SECRET_WEIGHT, SECRET_LOSS) if trace in message]


def poison() -> Update:
    """Two and a half times the clip: what an honest program cuts."""
    update = update_of(VICTIM)
    return replace(update, tensors={n: np.full_like(t, 1.25) for n, t in update.tensors.items()}, weight=100)


def moved(updates: dict[int, Update]) -> float:
    """How far the victim moves the sum of all weighted updates, beyond what it could by clipped values."""
    spec, mean = spec_of(), whole_round(updates)
    others = {client: update_of(client) for client in COHORT if client != VICTIM}
    weight = mean.weight
    rest = sum(
        np.clip(u.tensors["lora_A"] * (u.weight / spec.greatest_weight), -spec.clip, spec.clip) for u in others.values()
    )
    return float(np.abs(mean.tensors["lora_A"] * weight / spec.greatest_weight - rest).max())


def test_a_poisoned_update_of_an_honest_program() -> None:
    """A client with poisoned data and the honest program moves the sum by no more than the clip."""
    assert moved({VICTIM: poison()}) <= spec_of().clip + 8 * spec_of().numbers.step


def test_succeeds_with_values_unclipped() -> None:
    with values_unclipped():
        assert moved({VICTIM: poison()}) > 2 * spec_of().clip


def test_succeeds_with_a_program_of_its_own() -> None:
    """A client that makes ring words of its own is not bound by the clip: masks hide a lie as well as a truth. The
    protocol's text names it first of what is not covered."""
    round_ = Round().until(Stage.INPUT)
    round_.answer()
    lanes = round_.spec.numbers.lanes
    honest = encoded(round_.spec, VICTIM)
    lie = lanes.unpack(honest)
    lie[: LAYOUT.size] = 4 * round_.spec.numbers.greatest
    # What it sends is what it sent, with another vector under the same masks.
    round_.server._inputs.total += lanes.pack(lie)[: len(honest)] - honest
    round_.server.advance()
    mean = round_.until(Stage.DONE).server.aggregate
    shares = mean.tensors["lora_A"] * mean.weight / round_.spec.greatest_weight
    others = {client: update_of(client) for client in COHORT if client != VICTIM}
    rest = sum(np.clip(u.tensors["lora_A"] * (u.weight / 100), -0.5, 0.5) for u in others.values())
    assert (shares - rest).min() > 2 * round_.spec.clip
