"""The vectors of protocols/he_aggregation, good and bad, through our keys, packing, tags and state machines."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest

from protocols.he_aggregation.slots import MIDDLE, SMALL, WHOLE
from securefed.crypto import aead
from securefed.crypto.hashing import digest
from securefed.crypto.keystream import Reader
from securefed.crypto.signing import SigningKey
from securefed.crypto.x25519 import PrivateKey
from securefed.encoding.lanes import pack_bits, unpack_bits
from securefed.encoding.quantize import Numbers
from securefed.encoding.vector import VectorEncoding
from securefed.errors import RoundAborted
from securefed.he.exact import Bfv, _binomial
from securefed.he.keys import RoundContext, RoundKey, advertised, exchange_key, new_round_key
from securefed.he.packing import CoefficientPacking
from securefed.he.rings import COMPACT, CONSERVATIVE, NVFLARE, STANDARD_LIMIT, Ring
from securefed.he.slots import SlotPacking, compact_slots, nvflare_slots
from securefed.he.tags import PRIME, TAGS, TaggedSum, TagKey
from securefed.wire.header import MessageType, Suite
from securefed.wire.homomorphic import Ciphertexts
from tests.differential.he_rounds import (
    NUMBERS,
    OPEN,
    SCHEMES,
    Stage,
    client_of,
    play_vector,
    server_of,
    spec_from,
)
from tests.differential.reading import array_from, layout_from, load, named, policy_from, update_from
from tests.rules import refused

PROTOCOL = "he_aggregation"
RINGS = {Suite.BFV: CONSERVATIVE, Suite.BFV_2048: STANDARD_LIMIT}


def packing_of(suite: int, n: int, bits: int, lanes: int) -> CoefficientPacking:
    """The ring's own choice: what the suites' schemes take is looked at with whole rounds."""
    return CoefficientPacking(RINGS[Suite(suite)], Numbers(n, bits, 1.0), lanes)


@pytest.mark.parametrize("vector", named(PROTOCOL, "parameters"))
def test_parameters(vector: dict[str, Any]) -> None:
    def asked() -> Any:
        if "degree" in vector:
            return Ring(vector["degree"], vector["modulus_bits"])
        return packing_of(vector["suite"], vector["n"], vector["bits"], vector["lanes"])

    if "rule" in vector:
        with refused(vector["rule"]):
            asked()
        return
    p = asked()
    if "degree" in vector:
        return
    cipher = Bfv(p)
    found = (p.lanes.width, p.lanes.per_word, p.plain_bits, p.dropped, p.coefficients, p.polynomials)
    found += (cipher.payload_bytes, cipher.sum_bytes)
    names = ("w", "k", "p", "r", "coefficients", "polynomials", "payload_bytes", "sum_bytes")
    assert found == tuple(vector[name] for name in names)


def raw_of(vector: dict[str, Any]) -> dict[str, bytes]:
    names = {name for name, value in vector.items() if isinstance(value, str)} - {"function", "name", "rule"}
    return {name: bytes.fromhex(vector[name]) for name in names}


class Bound(RoundContext):
    """A context of bytes that a vector gives; the ring's degree is in them."""

    def __init__(self, raw: bytes) -> None:
        degree = int.from_bytes(raw[36:44], "big")
        ring = next(ring for ring in RINGS.values() if ring.degree == degree)
        super().__init__(Suite(raw[32]), raw[:32], CoefficientPacking(ring, Numbers(2, 2, 1.0), 1))
        object.__setattr__(self, "raw", raw)

    def pack(self) -> bytes:
        raw: bytes = self.__dict__["raw"]
        return raw


@pytest.mark.parametrize("vector", load(PROTOCOL, "derivations")["vectors"], ids=lambda vector: vector["function"])
def test_derivations(vector: dict[str, Any]) -> None:
    raw = raw_of(vector)
    match vector["function"]:
        case "binding":
            p = packing_of(vector["suite"], vector["n"], vector["bits"], vector["lanes"])
            assert RoundContext(Suite(vector["suite"]), raw["session"], p).pack() == raw["output"]
        case "exchange key":
            spec = _Session(raw["session"])
            mine = exchange_key(raw["round_secret"], raw["session"])
            assert mine.public == PrivateKey(raw["private_key"]).public == raw["public_key"]
            signed: bytes = advertised(mine.public, spec, vector["client"])  # type: ignore[arg-type]
            assert (signed, SigningKey(raw["identity_key"]).sign(signed)) == (raw["digest"], raw["signature"])
        case "round key":
            key = new_round_key(raw["round_secret"], Bound(raw["binding"]))
            assert (key.raw, key.id) == (raw["output"], raw["id"])
        case "secret polynomial":
            secret = RoundKey(raw["round_key"], Bound(raw["binding"])).secret.tolist()
            assert secret[:64] == vector["first"]
            assert digest(bytes(x % 3 for x in secret)) == raw["sha256"]
        case "sealing key":
            who = vector["holder"], vector["recipient"], vector["recipients"]
            made = Bound(raw["binding"]).sealing_key(PrivateKey(raw["private_key"]), raw["public_key"], *who)
            assert made == raw["output"]
        case "seal":
            data = raw["header"] + vector["recipient"].to_bytes(4, "big")
            assert aead.seal(raw["key"], raw["round_key"], data) == raw["output"]
            assert aead.open_sealed(raw["key"], raw["output"], data) == raw["round_key"]
        case "tag coefficients":
            stream = TagKey(raw["round_key"], raw["binding"]).coefficients(vector["tag"])
            assert stream.take(4 * len(vector["output"])).view("<u4").tolist() == vector["output"]
        case "tag pads":
            assert list(TagKey(raw["round_key"], raw["binding"]).pads(vector["client"])) == vector["output"]
        case function:
            pytest.fail(f"no replay for {function}")


class _Session:
    """All that a signature needs of a specification."""

    def __init__(self, session: bytes) -> None:
        self.session = session


@pytest.mark.parametrize("vector", named(PROTOCOL, "packing"))
def test_packing(vector: dict[str, Any]) -> None:
    p = packing_of(vector["suite"], vector["n"], vector["bits"], len(vector.get("lanes", [0])))
    if "lanes" in vector:
        lanes = np.array(vector["lanes"], "<u8")
        for pieces in ([lanes], [lanes[:1], lanes[1:]], [lanes[:-1], lanes[:0], lanes[-1:]]):
            (plaintext,) = np.concatenate(list(p.plaintexts(iter(pieces))))
            assert plaintext[: p.coefficients].tolist() == vector["plain"]
            assert not plaintext[p.coefficients :].any()
        assert p.lanes.unpack(plaintext)[: p.count].tolist() == vector["lanes"]
        return
    packed = np.frombuffer(bytes.fromhex(vector["packed"]), "<u8")
    assert pack_bits(np.array(vector["sent"], "<u8"), p.sent_bits).tolist() == packed.tolist()
    assert unpack_bits(packed, len(vector["sent"]), p.sent_bits).tolist() == vector["sent"]
    assert [x >> p.dropped for x in vector["coefficients"]] == vector["sent"]


@pytest.mark.parametrize("vector", named(PROTOCOL, "encryption"))
def test_encryption(vector: dict[str, Any]) -> None:
    raw = raw_of(vector)
    if "lanes" in vector:
        packing = packing_of(vector["suite"], vector["n"], vector["bits"], len(vector["lanes"]))
        cipher, secret = Bfv(packing), RoundKey(raw["round_key"], Bound(raw["binding"])).secret
        drawn = {"seed": raw["seed"], "error_key": raw["error_key"]}
        lanes = np.array(vector["lanes"], "<u8")
        for pieces in ([lanes], [lanes[:3], lanes[3:]]):
            assert cipher.encrypt(secret, iter(pieces), **drawn) == raw["payload"]
        adder = cipher.adder()
        adder.add(raw["payload"])
        assert np.concatenate(list(cipher.decrypt(secret, adder.total(), 1))).tolist() == vector["lanes"]
        return
    cipher, shape = Bfv(packing_of(vector["suite"], 2, 2, 1)), (2, RINGS[Suite(vector["suite"])].degree)
    if "seed" in vector:
        numbers = cipher.expand(Reader(raw["seed"]), 2) >> cipher.unit
    else:
        numbers = _binomial(Reader(raw["error_key"]), shape)
    assert numbers.reshape(-1)[:8].astype("<i8" if "error_key" in vector else "<u8").tolist() == vector["first"]
    assert digest(numbers.astype("<u8").tobytes()) == raw["sha256"]


@pytest.mark.parametrize("vector", named(PROTOCOL, "slots"))
def test_slots(vector: dict[str, Any]) -> None:
    make = nvflare_slots if vector["suite"] == Suite.CKKS else compact_slots

    def asked() -> Any:
        p = make(Numbers(vector["n"], vector["bits"], 1.0), vector["lanes"])
        return opened_lanes(p, vector) if "opened" in vector else p

    if "rule" in vector:
        with refused(vector["rule"]):
            asked()
        return
    found = asked()
    if "opened" in vector:
        assert found.tolist() == vector["sums"]
        return
    numbers = (found.ring.degree, found.lanes.width, found.per_part, found.scale_bits, found.parts, found.centre)
    lengths = (found.ciphertexts, _without_the_library(found).payload_bytes, _without_the_library(found).sum_bytes)
    names = ("N", "w", "g", "f", "parts", "c", "polynomials", "payload_bytes", "sum_bytes")
    assert numbers + lengths == tuple(vector[name] for name in names)


def _without_the_library(packing: SlotPacking) -> Any:
    """The cipher but for its context."""
    pytest.importorskip("tenseal", reason="the extra he is not installed")
    from securefed.he.approximate import Ckks

    cipher = object.__new__(Ckks)
    cipher.packing = packing
    return cipher


def opened_lanes(packing: SlotPacking, vector: dict[str, Any]) -> Any:
    """What the holder makes of parts of slots that the library would have opened."""
    size, parts = packing.values_per_ciphertext, np.zeros(packing.ciphertexts * packing.values_per_ciphertext)
    parts[: len(vector["opened"])] = vector["opened"]
    slots = [part.view(np.complex128) if packing.parts == 2 else part + 0j for part in parts.reshape(-1, size)]

    class Opened:
        def decryptor(self, secret: Any) -> None:
            return None

        def decrypt(self, decryptor: Any, at: int) -> Any:
            return slots[at]

    cipher = _without_the_library(packing)
    cipher.context = Opened()
    cipher.parse_sum = lambda total: range(len(slots))
    return np.concatenate(list(cipher.decrypt(None, b"", vector["summands"])))


def test_the_rings_are_those_of_the_text() -> None:
    assert [(ring.degree, ring.bits) for ring in RINGS.values()] == [(4096, 64), (2048, 54)]
    assert [ring.data_primes for ring in (*COMPACT, NVFLARE)] == [SMALL.primes, MIDDLE.primes, WHOLE.primes]
    assert NVFLARE.primes == WHOLE.primes + WHOLE.key_primes


@pytest.mark.parametrize("vector", named(PROTOCOL, "tags"))
def test_tags(vector: dict[str, Any]) -> None:
    raw, bits = raw_of(vector), vector["bits"]
    key, digits = TagKey(raw["round_key"], raw["binding"]), -(-64 // (bits - 1))
    if "lanes" in vector:
        lanes = np.array(vector["lanes"], "<u8")
        for pieces in ([lanes], [lanes[:5], lanes[5:]]):
            tagged = np.concatenate(list(key.append_tags(pieces, vector["client"], bits - 1, digits))).tolist()
            assert tagged == vector["lanes"] + vector["digits"]
        return
    with_tags, count = np.array(vector["sums"], "<u8"), len(vector["sums"]) - TAGS * digits
    total = TaggedSum(key)
    total.add(with_tags[:count])
    found = with_tags[count:].reshape(TAGS, digits).tolist()
    tags = [sum(digit << (bits - 1) * at for at, digit in enumerate(tag)) for tag in found]
    pads = [sum(column) for column in zip(*map(key.pads, vector["clients"]), strict=True)]
    fits = [(value + pad - tag) % PRIME == 0 for value, pad, tag in zip(total.values, pads, tags, strict=True)]
    # The whole check, which raises H5, is in the clients' vectors.
    assert all(fits) == ("rule" not in vector)


@pytest.mark.parametrize("vector", named(PROTOCOL, "ciphertexts"))
def test_ciphertexts_of_this_version_load(vector: dict[str, Any]) -> None:
    """They were drawn once, by whatever version of the library there was: they add up to the same sum."""
    pytest.importorskip("tenseal", reason="the extra he is not installed")
    spec, layout = spec_from(vector), layout_from(vector["layout"])
    parameters = SCHEMES[vector["suite"]].parameters
    encoding = VectorEncoding(layout, spec.numbers)
    cipher = parameters.cipher(encoding)
    key = new_round_key(bytes.fromhex(vector["round_secret"]), parameters.context(spec, encoding))
    adder = cipher.adder()
    for client, message in zip(spec.cohort, vector["messages"], strict=True):
        expected = parameters.expected_from(spec, client)
        received = Ciphertexts.decode(bytes.fromhex(message), expected, cipher.payload_bytes)
        assert received.key_id == key.id
        adder.add(received.payload)
    total = adder.total()
    assert total.hex() == vector["sum"]
    sums = np.concatenate(list(cipher.decrypt(key.secret, total, len(spec.cohort))))
    assert sums.tolist() == vector["sums"]


@pytest.mark.parametrize("vector", named(PROTOCOL, "rounds"))
def test_rounds(vector: dict[str, Any]) -> None:
    """Every message to the byte, who answered, sum and mean; approximate ciphertexts our clients draw anew."""
    exact = needed(vector)
    stored = [(m["stage"], m["from"], tuple(m["to"]), bytes.fromhex(m["message"])) for m in vector["messages"]]
    number = NUMBERS[Stage.INPUT]
    theirs = {sender: message for stage, sender, _, message in stored if stage == number and sender}
    server, played = play_vector(vector, theirs, as_drawn=exact)
    assert played.sent == stored
    answered = [(stage["stage"], tuple(stage["clients"])) for stage in vector["answered"]]
    assert (played.answered, played.aborted_at) == (answered, vector["aborted_at"])
    assert server.holder == vector["holder"]
    assert set(played.own) == set(theirs)
    for client, own in played.own.items():
        if exact:
            assert own == theirs[client]
        else:
            # Header and key id are the same; digest and payload are not, but as long.
            assert own[: 64 + 32] == theirs[client][: 64 + 32]
            assert len(own) == len(theirs[client])
            assert own[64 + 64 :] != theirs[client][64 + 64 :]
    if vector["sum"] is None:
        assert server.aggregate is None
        return
    assert server.aggregate is not None
    assert server.aggregate.words.tolist() == vector["sum"]
    for tensor in vector["mean"]["tensors"]:
        assert server.aggregate.tensors[tensor["name"]].tolist() == array_from(tensor).tolist()
    assert server.aggregate.weight == vector["mean"]["weight"]
    assert server.aggregate.metrics == vector["mean"]["metrics"]


def needed(vector: dict[str, Any]) -> bool:
    """Whether the round's ciphertexts are exact; the test is skipped where they are not and the library is missing."""
    exact: bool = vector["suite"] in RINGS
    if not exact:
        pytest.importorskip("tenseal", reason="the extra he is not installed")
    return exact


@pytest.mark.parametrize("vector", [v for v in named(PROTOCOL, "rounds") if v.values[0]["sum"] is not None])
def test_rounds_of_fresh_ciphertexts_have_the_same_sum(vector: dict[str, Any]) -> None:
    needed(vector)
    server, _ = play_vector(vector)
    assert server.aggregate is not None
    assert server.aggregate.words.tolist() == vector["sum"]


@cache
def file_of(name: str) -> dict[str, Any]:
    return load(PROTOCOL, name)


def message_of(file: dict[str, Any], request: dict[str, Any]) -> bytes:
    """A good request, one that was changed in places, or any other message."""
    if "message" in request:
        return bytes.fromhex(request["message"])
    message = bytearray.fromhex(file["good_requests"][request["good"]])
    for change in request.get("changes", []):
        new = bytes.fromhex(change["bytes"])
        message[change["at"] : change["at"] + len(new)] = new
    return bytes(message)


@pytest.mark.parametrize(
    ("name", "vector"),
    [
        pytest.param(name, *vector.values, id=f"{name} {vector.id}", marks=vector.marks)
        for name in ("client_refuses", "holder_refuses", "slots_holder_refuses")
        for vector in named(PROTOCOL, name)
    ],
)
def test_what_a_client_refuses(name: str, vector: dict[str, Any]) -> None:
    file = file_of(name)
    needed(file)
    policy = policy_from(file["policy"], OPEN.schemes)
    client = client_of(file, file["client"], policy, file["record"]["last_input"])
    for request in vector["requests"]:
        message = message_of(file, request)
        if "rule" in request:
            with refused(request["rule"], peer=0):
                client.reply(message, lambda: update_from(file["client"]["update"]))
        else:
            client.reply(message, lambda: update_from(file["client"]["update"]))
    assert vector["requests"][-1]["rule"] == vector["rule"]


@pytest.mark.parametrize("vector", named(PROTOCOL, "server_refuses"))
def test_what_a_server_refuses(vector: dict[str, Any]) -> None:
    file = file_of("server_refuses")
    good = {(answer["client"], answer["stage"]): answer["message"] for answer in file["good_answers"]}
    server = server_of(file)
    for event in vector["events"]:
        if "client" in event:
            message = bytes.fromhex(event["message"] if "message" in event else good[event["client"], event["good"]])
            if "rule" in event:
                with refused(event["rule"], peer=event["client"]):
                    server.receive(event["client"], message)
            else:
                server.receive(event["client"], message)
        elif "aborts" in event:
            with pytest.raises(RoundAborted):
                server.advance()
        else:
            server.advance()
    assert vector["events"][-1]["rule"] == vector["rule"]


def test_the_types_of_these_messages_are_those_of_the_text() -> None:
    numbers = [kind.value for kind in MessageType if kind.value > MessageType.AGREEMENT]
    assert numbers == [*range(11, 18), MessageType.NAMED_DELIVERY]
