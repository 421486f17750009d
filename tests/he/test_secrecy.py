"""No secret leaves a client but sealed, none is in a text, and the server holds nothing that anything opens with."""

from __future__ import annotations

import types
from collections.abc import Iterator
from itertools import chain
from typing import Any

import numpy as np
import pytest

from securefed.audit.uniformity import not_uniform, told_apart
from securefed.crypto.kdf import Label, derive
from securefed.encoding.lanes import pack_bits
from securefed.he import HomomorphicScheme
from securefed.he.keys import exchange_key
from securefed.he.products import SmallFactor
from securefed.he.stages import Stage
from tests.he.rounds import HOLDER, STAGES, Round, both_modes, both_schemes, everyone, he_spec, round_secret
from tests.he.test_sum import layout_of
from tests.rounds import COHORT, seed
from tests.secagg.test_secrecy import every_text, forms


def to_the_server(round_: Round) -> bytes:
    """Everything that clients said."""
    return b"".join(chain.from_iterable(round_.replies[stage].values() for stage in STAGES))


def polynomials(round_: Round) -> Iterator[tuple[str, bytes, int]]:
    """The secret polynomial, in every form in which it is anywhere: a name, the bytes, and of how many of them a run
    says something (32 coefficients or more)."""
    secret = round_.round_key().secret
    factor = SmallFactor(secret)
    yield "words", secret.astype("<i8").tobytes(), 256
    yield "words, big-endian", secret.astype(">i8").tobytes(), 256
    yield "words modulo 2^54", (secret.astype("<i8").view("<u8") << np.uint64(10)).tobytes(), 256
    yield "bytes", secret.tobytes(), 32
    yield "digits", (secret % 3).astype(np.uint8).tobytes(), 32
    yield "packed to 54 bits", pack_bits(secret.astype("<i8").view("<u8"), 54).tobytes(), 216
    yield "packed to two bits", pack_bits((secret % 3).astype("<u8"), 2).tobytes(), 16
    yield "values at roots of unity", factor._values.tobytes(), 16
    yield "values at other roots", np.fft.rfft(secret).astype("<c16").tobytes(), 16


def secrets(round_: Round) -> Iterator[tuple[str, bytes]]:
    """What only clients may know, in bytes of which any 16 say enough."""
    key, packed = round_.round_key(), round_.context.pack()
    yield "the round key", key.raw
    yield "the key of the polynomial", derive(key.raw, Label.SECRET_POLYNOMIAL, packed)
    for tag in range(4):
        yield "coefficients of a tag", key.tags.coefficients(tag).take(64).tobytes()
        yield "their key", derive(key.raw, Label.TAG_COEFFICIENTS, packed + bytes([tag]))
    for client in COHORT:
        yield "a round secret", round_secret(client)
        yield "an identity key", seed(f"identity {client}")
        yield "a rounding key", seed(f"rounding {client}")
        yield "an exchange key", derive(round_secret(client), Label.EXCHANGE_KEY, round_.spec.session)
        yield "the key of pads", derive(key.raw, Label.TAG_PADS, packed + client.to_bytes(4, "big"))
        for pad in key.tags.pads(client):
            yield "a pad", pad.to_bytes(8, "little")
            yield "a pad", pad.to_bytes(8, "big")
        if client != HOLDER:
            mine = exchange_key(round_secret(client), round_.spec.session)
            theirs = round_.entry(HOLDER).public
            yield "a sealing key", round_.context.sealing_key(mine, theirs, HOLDER, client, len(COHORT) - 1)
            yield "an agreed secret", mine.agree(theirs)


def found_in(blob: bytes, round_: Round) -> list[str]:
    """Which secrets have a run in these bytes."""
    found = []
    for name, secret in secrets(round_):
        size = min(16, len(secret))
        found += [name for at in range(0, len(secret) - size + 1, size) if secret[at : at + size] in blob]
    for name, form, size in polynomials(round_):
        found += [name for at in range(0, len(form) - size + 1, size) if form[at : at + size] in blob]
    return found


@both_schemes
@both_modes
def test_no_message_to_the_server_holds_a_secret(scheme: HomomorphicScheme, adversary: Any) -> None:
    round_ = Round(he_spec(adversary=adversary), scheme=scheme)
    round_.words()
    assert not found_in(to_the_server(round_), round_)
    # Nor do those that the server passes on.
    assert not found_in(b"".join(b"".join(sent.values()) for sent in round_.requests.values()), round_)


def test_the_search_finds_a_secret_where_there_is_one() -> None:
    round_ = Round()
    round_.words()
    for name, secret in secrets(round_):
        assert name in found_in(b"#" + secret + b"#", round_)
    for name, form, size in polynomials(round_):
        at = len(form) // size // 2 * size
        assert name in found_in(b"#" + form[at : at + size] + b"#", round_)


@both_schemes
def test_the_same_update_twice_looks_different(scheme: HomomorphicScheme) -> None:
    """Even under one key: seed and errors are fresh. Nor do uploads of zeros and of the greatest values differ."""
    layout = layout_of(6000)
    spec = he_spec(layout, greatest_weight=1)
    packed = {}
    for value in (0.0, 1.0):
        round_ = Round(spec, layout, scheme, lambda _, v=value: everyone(layout, v, 1, spec)).until(Stage.INPUT)
        older = {client: round_.clients[client].snapshot() for client in COHORT}
        round_.answer()
        payloads = [round_.payload(client) for client in COHORT]
        for client in COHORT:
            # The same client again, under the same key: as if its record had been lost.
            round_.identities[client].record.__init__()
            round_.clients[client] = scheme.resume_client(round_.identities[client], older[client])
            payloads.append(round_.ask(client, round_.requests[Stage.INPUT][client])[128:])
        assert len({payload[:32] for payload in payloads}) == len({p[32:96] for p in payloads}) == 2 * len(COHORT)
        bodies = [payload[:-8] for payload in payloads]
        assert not_uniform(bodies) is None
        packed[value] = b"".join(bodies)
    assert told_apart(packed[0.0], packed[1.0]) is None


@both_schemes
def test_nothing_is_printed(scheme: HomomorphicScheme, capfd: pytest.CaptureFixture[str]) -> None:
    """The library below writes to the process's own file descriptors where it writes."""
    round_ = Round(scheme=scheme).until(Stage.OPEN)
    round_.words()
    assert capfd.readouterr() == ("", "")


def reachable(thing: Any) -> list[Any]:
    """All that hangs on an object: attributes, slots, items, cells of closures."""
    found, queue = {}, [thing]
    while queue:
        one = queue.pop()
        if id(one) in found or isinstance(one, type | types.ModuleType | types.FunctionType | int | float | str):
            continue
        found[id(one)] = one
        if isinstance(one, dict):
            queue += [*one.keys(), *one.values()]
        elif isinstance(one, list | tuple | set | frozenset):
            queue += one
        queue += list(getattr(one, "__dict__", {}).values())
        slots = chain.from_iterable(getattr(base, "__slots__", ()) for base in type(one).__mro__)
        queue += [getattr(one, name) for name in slots if isinstance(name, str) and hasattr(one, name)]
    return list(found.values())


KEYS = {
    "SecretKey", "PublicKey", "KeyGenerator", "Encryptor", "Decryptor", "RoundKey", "TagKey", "TaggedSum", "PrivateKey",
    "SigningKey", "X25519PrivateKey", "SmallFactor",
}  # fmt: skip


@both_schemes
@pytest.mark.parametrize("stage", [*STAGES, Stage.DONE])
def test_the_server_holds_no_key(scheme: HomomorphicScheme, stage: Stage) -> None:
    """Whatever hangs on its session, in every stage, before and after its answers."""
    round_ = Round(scheme=scheme).until(stage)
    for _ in range(2):
        things = reachable(round_.server)
        assert not KEYS & {type(thing).__name__ for thing in things}
        blobs = [bytes(thing) for thing in things if isinstance(thing, bytes | bytearray | memoryview)]
        arrays = [thing.tobytes() for thing in things if isinstance(thing, np.ndarray)]
        assert not found_in(b"#".join([*blobs, *arrays]), round_)
        if stage is not Stage.DONE:
            round_.answer()
    assert "adder" in type(round_.server._sum).__name__.lower()
    assert not [name for name in dir(round_.server._sum) if "decrypt" in name.lower() or "key" in name.lower()]


def test_the_walk_finds_a_key_where_there_is_one() -> None:
    round_ = Round().until(Stage.INPUT)
    round_.server._cipher.left = [{"here": round_.round_key()}]
    assert "RoundKey" in {type(thing).__name__ for thing in reachable(round_.server)}


@both_schemes
@pytest.mark.parametrize("stage", [*STAGES, Stage.DONE])
def test_no_text_holds_a_secret(scheme: HomomorphicScheme, stage: Stage) -> None:
    round_ = Round(scheme=scheme).until(stage)
    text = "\n".join(every_text(party) for party in [*round_.clients.values(), round_.server, round_.round_key()])
    text += every_text(round_.round_key().tags)
    assert not [name for name, secret in secrets(round_) if len(secret) >= 32 for form in forms(secret) if form in text]


@both_schemes
def test_the_key_of_a_round_is_of_that_round(scheme: HomomorphicScheme) -> None:
    """One round secret in two sessions: nothing in common."""
    one, other = (Round(he_spec(nonce=seed(nonce)), scheme=scheme).round_key() for nonce in ("one", "another"))
    assert len({one.raw, other.raw, one.id, other.id}) == 4
    assert not np.array_equal(one.secret, other.secret)
    assert not set(one.tags.pads(3)) & set(other.tags.pads(3))
    assert len({one.tags.pads(client) for client in COHORT}) == len(COHORT)


@both_schemes
def test_the_secret_polynomial_is_ternary(scheme: HomomorphicScheme) -> None:
    """Each of the three values about as often: within six deviations."""
    round_ = Round(scheme=scheme)
    secret, ring = round_.round_key().secret, round_.server._cipher.packing.ring
    counts = [int((secret == value).sum()) for value in (-1, 0, 1)]
    assert sum(counts) == ring.degree == len(secret)
    spread = 6 * (ring.degree * 2 / 9) ** 0.5
    assert all(abs(count - ring.degree / 3) < spread for count in counts)


@both_schemes
def test_seed_and_errors_are_each_fresh(scheme: HomomorphicScheme) -> None:
    """Errors that repeat would be known after one round: with one seed for both, two ciphertexts differ still."""
    layout = layout_of(6000)
    # Lanes that fill a coefficient, so that few bits are dropped and errors reach those that are sent.
    round_ = Round(he_spec(layout, bits=16 if scheme.name == "bfv" else 20), layout, scheme)
    cipher, secret = round_.server._cipher, round_.round_key().secret
    assert cipher.packing.dropped <= 7
    lanes = np.zeros(cipher.packing.count, "<u8")
    one, other = (cipher.encrypt(secret, iter([lanes]), seed=seed("one")) for _ in range(2))
    assert one[:32] == other[:32] == seed("one")
    assert one != other
    one, other = (cipher.encrypt(secret, iter([lanes]), error_key=seed("errors")) for _ in range(2))
    assert one[:32] != other[:32]
    assert told_apart(one[32:], other[32:]) is None
