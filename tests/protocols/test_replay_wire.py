"""The wire reference replays its vectors."""

from typing import Any

import pytest

from protocols.notation import RuleBroken
from protocols.vector_files import load
from protocols.wire.bundle import decode_bundle, encode_bundle, is_bundle
from protocols.wire.known_answers import body_vector, specification_vector
from protocols.wire.reference import (
    Agreed,
    Type,
    decode,
    decode_specification,
    encode,
    encode_specification,
    session_of,
)
from protocols.wire.specification import corrupt_clients, dropouts, least_survivors


def agreed_from(vector: dict[str, Any]) -> Agreed:
    session, ids, cohort, members = (vector[name] for name in ("session", "ids", "cohort", "members"))
    parsed = {
        "type": Type(vector["type"]),
        "session": session and bytes.fromhex(session),
        "ids": None if ids is None else frozenset(ids),
        "cohort": None if cohort is None else tuple(cohort),
        "members": None if members is None else frozenset(members),
    }
    return Agreed(**(vector | parsed))


def named(name: str) -> list[Any]:
    return [pytest.param(v, id=f"{v.get('rule', '')} {v['name']}".strip()) for v in load("wire", name)["vectors"]]


@pytest.mark.parametrize("vector", named("messages"))
def test_message_decodes_to_its_body_and_back(vector):
    message, agreed = bytes.fromhex(vector["message"]), agreed_from(vector["agreed"])
    body = decode(message, agreed)
    assert body_vector(body) == vector["body"]
    session, round_ = message[8:40], int.from_bytes(message[40:44], "big")
    assert encode(body, agreed.suite, session, round_, agreed.sender, agreed.cohort or ()) == message


@pytest.mark.parametrize("vector", named("specifications"))
def test_specification_decodes_to_its_fields_and_back(vector):
    data = bytes.fromhex(vector["specification"])
    specification = decode_specification(data)
    assert specification_vector(specification) == vector["fields"]
    assert encode_specification(specification) == data
    assert session_of(data).hex() == vector["session"]
    n, adversary = len(specification.cohort), specification.adversary
    assert corrupt_clients(n, adversary) == vector["C"]
    assert dropouts(n, adversary) == vector["D"]
    assert least_survivors(n, adversary) == vector["L"]


@pytest.mark.parametrize("vector", [*named("refused"), *named("refused_named")])
def test_bad_message_breaks_its_rule(vector):
    with pytest.raises(RuleBroken) as broken:
        decode(bytes.fromhex(vector["message"]), agreed_from(vector["agreed"]))
    assert broken.value.rule == vector["rule"]


@pytest.mark.parametrize("vector", named("messages"))
def test_any_other_bytes_are_read_or_refused_by_a_rule(vector):
    message, agreed = bytes.fromhex(vector["message"]), agreed_from(vector["agreed"])
    others = [message[:length] for length in range(0, len(message), 7)]
    others += [message[:i] + bytes([message[i] ^ 0x81]) + message[i + 1 :] for i in range(0, len(message), 3)]
    for other in others:
        try:
            body = decode(other, agreed)
        except RuleBroken:
            continue
        round_ = int.from_bytes(other[40:44], "big")
        assert encode(body, agreed.suite, other[8:40], round_, agreed.sender, agreed.cohort or ()) == other


@pytest.mark.parametrize("vector", named("bundles"))
def test_bundle_is_read_and_written_or_refused(vector):
    bundle = bytes.fromhex(vector["bundle"])
    if "rule" in vector:
        with pytest.raises(RuleBroken) as broken:
            decode_bundle(bundle)
        assert broken.value.rule == vector["rule"]
        return
    rider, main = bytes.fromhex(vector["rider"]), bytes.fromhex(vector["main"])
    assert decode_bundle(bundle) == (rider, main)
    assert encode_bundle(rider, main) == bundle
    assert is_bundle(bundle)
    assert not is_bundle(main) or main == rider
