"""Files that are read again: checkpoints, journals and records (PersistenceError alone), safetensors (ConfigError)."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from random import Random
from typing import Final

import numpy as np
import safetensors.numpy

from securefed.encoding.safetensors_file import open_index, open_shards
from securefed.errors import ConfigError, LocalProtocolError
from securefed.federated.checkpoint import Checkpoint
from securefed.federated.journal import Journal
from securefed.federated.record import FileRecord
from securefed.participation import INPUT
from securefed.secagg.stages import STAGES, Stage
from tests.fuzz.mutation import JSON_TOKENS, mutate_json
from tests.fuzz.mutation import havoc as blind
from tests.fuzz.scratch import folder
from tests.fuzz.target import Havoc, Target, expect, reader_target
from tests.rounds import seed

__all__ = ["checkpoint_target", "index_target", "journal_target", "record_target", "safetensors_target"]

_JOB: Final = "job"
_FRESH: Final = seed("a session that no file holds")
_HEAD_AT: Final = 8 + 32
_LINE_TOKENS: Final = (*JSON_TOKENS, b'"round"', b'"session"', b'"step"', b'"input"')
_TENSOR_TOKENS: Final = (b"F16", b"BF16", b"F64", b"I64", b"F8_E4M3", b"BOOL", b"__metadata__", b"0", b"-1", b"[]")
_ONE: Final = "one.safetensors"


def _file(name: str, content: bytes) -> Path:
    path = folder() / name
    path.write_bytes(content)
    return path


def checkpoint_target() -> Target:
    """A checkpoint's file."""
    weights = {"b": np.arange(6, dtype=np.float32).reshape(2, 3), "a": np.array([1.5, -2.0], np.float16)}
    seeds = []
    for checkpoint in (Checkpoint(_JOB, 3, weights), Checkpoint(_JOB, 0, {}), Checkpoint("another job", 3, weights)):
        path = folder() / "seed"
        checkpoint.save(path)
        seeds.append(path.read_bytes())

    def read(raw: bytes) -> None:
        checkpoint = Checkpoint.load(_file("checkpoint", raw), _JOB)
        expect(checkpoint.job == _JOB, "a checkpoint of another job")

    def mutate(raw: bytes, rng: Random, havoc: Havoc) -> bytes:
        body = raw[_HEAD_AT:]
        size = int.from_bytes(body[:4], "big")
        head, tensors = body[4 : 4 + size], body[4 + size :]
        match rng.randrange(8):
            case 0:
                return havoc(raw)
            case 1:
                body = havoc(body)
            case 2 | 3 | 4:
                head = mutate_json(head, rng) if rng.randrange(4) else havoc(head)
                body = len(head).to_bytes(4, "big") + head + tensors
            case _:
                body = body[: 4 + size] + _mutate_tensors(tensors, rng, havoc)
        return repair(bytes(_HEAD_AT) + body)

    def repair(raw: bytes) -> bytes:
        body = raw[_HEAD_AT:]
        return b"SFEDCKPT" + hashlib.sha256(body).digest() + body

    return reader_target("checkpoint", seeds, read, mutate, repair)


def _mutate_tensors(raw: bytes, rng: Random, havoc: Havoc) -> bytes:
    """Of a safetensors file: mostly its head, which is JSON behind its length."""
    size = int.from_bytes(raw[:8], "little")
    head, data = raw[8 : 8 + size], raw[8 + size :]
    match rng.randrange(6):
        case 0:
            return havoc(raw)
        case 1:
            data = havoc(data)
        case 2:
            head = blind(head, rng, _TENSOR_TOKENS)
        case _:
            head = mutate_json(head, rng)
    size = len(head) if rng.randrange(8) else rng.choice((0, 1, len(head) + 1, 2**63, 2**64 - 1, rng.randrange(2**64)))
    return size.to_bytes(8, "little") + head + data


def _tensor_files() -> tuple[bytes, ...]:
    arrays = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.array([1.5, -2.0], np.float16)}
    empty = {"none": np.zeros((0, 4), np.float64), "scalar": np.array(1.0)}
    return tuple(safetensors.numpy.save(one) for one in (arrays, empty, {**arrays, **empty}, {}))


def safetensors_target() -> Target:
    """A file of tensors; what is opened can be read to its last value."""

    def read(raw: bytes) -> None:
        for tensor in open_shards(_file("tensors.safetensors", raw)).values():
            expect(tuple(tensor.load().shape) == tensor.shape, "a tensor of another shape than said")

    return reader_target("safetensors", _tensor_files(), read, _mutate_tensors, refuses=ConfigError)


def index_target() -> Target:
    """The index of a model in shards, beside one shard."""
    shard, *_ = _tensor_files()
    good = {"weight_map": {"a": _ONE, "b": _ONE}}

    def read(raw: bytes) -> None:
        if not (folder() / _ONE).exists():
            _file(_ONE, shard)
        tensors = open_index(_file("model.safetensors.index.json", raw))
        expect(tensors.keys() in ({"a", "b"}, set()), "an index has lost a tensor or found one")

    def mutate(raw: bytes, rng: Random, havoc: Havoc) -> bytes:
        tokens = (b'"."', b'".."', b'"a/b"', b'"/dev/zero"', b'"\\u0000"', b'"' + b"x" * 300 + b'"', _ONE.encode())
        if rng.randrange(3):
            return mutate_json(raw, rng)
        return blind(raw, rng, tokens) if rng.randrange(4) else havoc(raw)

    seeds = [json.dumps(one).encode() for one in (good, {**good, "metadata": {"total_size": 28}}, {"weight_map": {}})]
    return reader_target("safetensors-index", seeds, read, mutate, refuses=ConfigError)


def _mutate_lines(raw: bytes, rng: Random, havoc: Havoc) -> bytes:
    lines = raw.split(b"\n")
    at, other = rng.randrange(len(lines)), rng.randrange(len(lines))
    match rng.randrange(7):
        case 0:
            return havoc(raw)
        case 1:
            lines.insert(other, lines[at])
        case 2:
            del lines[at]
        case 3:
            lines[at] = lines[at][: rng.randrange(len(lines[at]) + 1)]
        case _:
            lines[at] = mutate_json(lines[at], rng) if rng.randrange(4) else blind(lines[at], rng, _LINE_TOKENS)
    return b"\n".join(lines)


def _lines(*entries: object) -> bytes:
    return b"".join(json.dumps(entry).encode() + b"\n" for entry in entries)


def journal_target() -> Target:
    """A journal's file; what is read can be gone on with, and holds what was added when it is read again."""
    sessions = [{"round": number, "session": seed(f"session {number}").hex()} for number in range(3)]
    whole = _lines(*sessions)

    def read(raw: bytes) -> None:
        path = _file("journal", raw)
        journal = Journal(path)
        journal.begin(2**32 - 1, _FRESH)
        again = Journal(path)
        expect(len(again) == len(journal), "a journal has lost a session or found one")
        try:
            again.begin(0, _FRESH)
        except LocalProtocolError as error:
            expect(error.rule == "R10", error.rule)
        else:
            expect(False, "a session is begun twice")

    seeds = (b"", whole, whole[:-1], whole[:-20], _lines(sessions[0]) + b'{"rou\n' + _lines(sessions[1]))
    return reader_target("journal", seeds, read, _mutate_lines)


def record_target() -> Target:
    """A client's record; what is read can be gone on with, and holds what was added when it is read again."""
    steps = [
        {"step": stage.value, "round": number, "session": seed(f"session {number}").hex()}
        for number in range(2)
        for stage in STAGES
        if stage in (Stage.INPUT, Stage.CONSENT, Stage.RELEASE)
    ]
    whole = _lines(*steps)

    def read(raw: bytes) -> None:
        path = _file("record", raw)
        record = FileRecord(path)
        following = record.last_round + 1
        record.claim(INPUT, following, _FRESH)
        again = FileRecord(path)
        expect(again.last_round == following, "a record has lost its last round")
        try:
            again.claim(INPUT, following + 1, _FRESH)
        except LocalProtocolError as error:
            expect(error.rule == "R10", error.rule)
        else:
            expect(False, "an input is given twice")

    seeds = (b"", whole, whole[:-1], whole[:-20], _lines(steps[0]) + b'{"step": "con\n' + _lines(steps[1]))
    return reader_target("record", seeds, read, _mutate_lines)
