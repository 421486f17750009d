"""Bundles, and both sides of rounds that follow each other, fed with what the other side may send."""

from __future__ import annotations

import copy
import hashlib
import zlib
from dataclasses import dataclass, replace
from functools import cache
from itertools import count
from random import Random
from typing import Any, Final
from unittest.mock import patch

from securefed.chains import ClientChain, ServerChain
from securefed.errors import LocalProtocolError, RemoteProtocolError
from securefed.participation import MemoryRecord
from securefed.secagg.stages import Stage
from securefed.wire.bundle import bundle_header, is_bundle, pack_bundle, parse_bundle, split_bundle
from securefed.wire.header import SERVER
from securefed.wire.snapshot import Party
from tests.chains.jobs import Job
from tests.fuzz.honest import same, twin
from tests.fuzz.mutation import interesting
from tests.fuzz.snapshots import mutate_snapshot, with_digest
from tests.fuzz.target import OUTCOMES, Havoc, Target, check_text, expect, reader_target
from tests.rounds import LAYOUT, identities

__all__ = ["bundle_target", "chain_client_target", "chain_server_target", "chain_snapshot_target"]

_VICTIM: Final = 3
_LENGTH: Final = slice(8, 16)
_LONGEST: Final = 8000


@dataclass(frozen=True, eq=False)
class _Step:
    """An exchange of a job's second and third round, as it opened: the victim's chain, its request and its answer."""

    stage: str
    client: ClientChain
    server: ServerChain
    record: dict[str, Any]
    request: bytes
    answer: bytes
    replies: dict[int, bytes]


@cache
def _steps() -> tuple[Job, tuple[_Step, ...]]:
    """Two prepared rounds; every secret and nonce is the same in every run."""
    numbers = count()
    fixed = lambda size: (hashlib.sha256(f"fuzz {next(numbers)}".encode()).digest() * (size // 32 + 1))[:size]  # noqa: E731
    steps = []
    with patch("os.urandom", fixed):
        job = Job()
        job.round(1)
        for number in (2, 3):
            job.begin(number)
            while job.server.aggregate is None:
                server, client = _server(job.server), _client(job.clients[_VICTIM])
                record = {key: copy.copy(value) for key, value in vars(job.identities[_VICTIM].record).items()}
                requests = job.server.requests()
                replies = {who: job.ask(who, request) for who, request in requests.items()}
                for who, reply in replies.items():
                    job.server.receive(who, reply)
                steps.append(
                    _Step(job.server.stage, client, server, record, requests[_VICTIM], replies[_VICTIM], replies)
                )
                job.server.advance()
    return job, tuple(steps)


def _client(chain: ClientChain) -> ClientChain:
    """A copy that may change alone."""
    other = copy.copy(chain)
    other._sessions = {
        name: replace(kept, session=twin(kept.session)) for name, kept in chain._sessions.items()
    }  # fmt: skip
    return other


def _server(chain: ServerChain) -> ServerChain:
    other = copy.copy(chain)
    for name in ("_round", "_next"):
        kept = getattr(chain, name)
        setattr(other, name, None if kept is None else (kept[0], twin(kept[1])))
    return other


def _mutate_bundle(message: bytes, rng: Random, havoc: Havoc) -> bytes:
    """Its header changed, one of its parts, or which is where."""
    if not is_bundle(message) or rng.randrange(8) == 0:
        return havoc(message)
    try:
        rider, main = (bytes(part) for part in parse_bundle(message))
    except RemoteProtocolError:
        return havoc(message)
    match rng.randrange(8):
        case 0:
            return message[: _LENGTH.start] + interesting(rng, 8) + message[_LENGTH.stop :]
        case 1:
            return havoc(message[:16]) + message[16:]
        case 2:
            return pack_bundle(main, rider)
        case 3:
            return rng.choice((rider, main, pack_bundle(b"", main), pack_bundle(rider, message)))
        case 4:
            return message[: rng.randrange(len(message) + 1)]
        case 5:
            return pack_bundle(rider, havoc(main))
        case _:
            return pack_bundle(havoc(rider), main)


def bundle_target() -> Target:
    """The codec: whole and in pieces the same, and written back the same bytes."""

    def run(message: bytes) -> str:
        rng, chunks, rest = Random(zlib.crc32(message)), [], message
        while rest:
            size = rng.choice((0, 1, 3, 4, 16, 17, 100))
            chunks.append(rest[:size])
            rest = rest[size:]
        try:
            rider, rest_of = split_bundle(chunks, len(message))
            in_pieces: object = (rider, b"".join(rest_of))
        except RemoteProtocolError as error:
            check_text(error, message)
            in_pieces = error.rule
        if not is_bundle(message):
            expect(in_pieces == (b"", message), "a message that is no bundle is another one in pieces")
            return "message"
        try:
            rider, main = parse_bundle(message)
        except RemoteProtocolError as error:
            check_text(error, message)
            expect(error.rule == "W16" == in_pieces, f"{error.rule} of the whole bundle, in pieces {in_pieces}")
            return error.rule
        expect(in_pieces == (rider, bytes(main)), "another bundle in pieces")
        expect(bundle_header(rider) + bytes(main) == message, "what was parsed is packed to other bytes")
        return "bundle"

    seeds = [one for step in _steps()[1] for one in (step.request, step.answer)]
    return Target(
        "bundle", "both parts, packed to the same bytes, or W16", tuple(dict.fromkeys(seeds)), run, _mutate_bundle,
        _LONGEST,
    )  # fmt: skip


def chain_client_target() -> Target:
    """A client's chain in two prepared rounds: whatever comes, an answer or one of two errors; one input a round."""
    job, steps = _steps()
    identity = job.identities[_VICTIM]

    def run(raw: bytes) -> str:
        step = steps[(raw[0] if raw else 0) % len(steps)]
        record, chain = identity.record, _client(step.client)
        assert isinstance(record, MemoryRecord)
        vars(record).update({name: copy.copy(value) for name, value in step.record.items()})
        job.trained.clear()
        outcomes = []
        for request in (raw[1:], step.request, step.request):
            try:
                answer = chain.reply(request, _update(job, step))
            except RemoteProtocolError as error:
                expect(error.peer == SERVER, f"the peer is {error.peer}")
                check_text(error, request)
                outcomes.append(f"{step.stage} {error.rule}")
            except LocalProtocolError as error:
                check_text(error, request)
                expect(error.rule in ("R10", "V9"), f"{error.rule}, local")
                outcomes.append(f"{step.stage} {error.rule}")
            else:
                expect(is_bundle(answer) is is_bundle(request), "an answer of another form than its request")
                empty = is_bundle(answer) and not parse_bundle(answer)[0]
                outcomes.append(f"{step.stage} {'without its rider' if empty else 'answered'}")
            expect(len(chain._sessions) <= 2, "a client keeps more than two sessions")
        given = [claim for claim in record._claimed if claim[0] == "input"]
        expect(len(given) <= len(step.record["_claimed"]) + 1, "two inputs")
        return OUTCOMES.join(outcomes)

    seeds = [bytes([at]) + other.request for at in range(len(steps)) for other in steps]
    return Target(
        "chain-client", "an answer, RemoteProtocolError of the server, or R10 where the record holds it",
        tuple(dict.fromkeys(seeds)), run, _behind_a_selector, _LONGEST,
    )  # fmt: skip


def _update(job: Job, step: _Step) -> Any:
    job.number = step.server.spec.round
    return job.update(_VICTIM)


def _behind_a_selector(raw: bytes, rng: Random, havoc: Havoc) -> bytes:
    if rng.randrange(16) == 0:
        return bytes([rng.randrange(256)]) + raw[1:]
    return raw[:1] + _mutate_bundle(raw[1:], rng, havoc)


def chain_server_target() -> Target:
    """A server's chain in two prepared rounds: an answer is taken, or refused with its sender as peer; in pieces the
    same; and the others' round goes on to its sum."""
    _, steps = _steps()

    def receive(step: _Step, message: bytes, size: int) -> tuple[str, ServerChain]:
        server = _server(step.server)
        try:
            if size:
                pieces = [message[at : at + size] for at in range(0, len(message), size)]
                server.receive_in_pieces(_VICTIM, pieces)
            else:
                server.receive(_VICTIM, message)
        except RemoteProtocolError as error:
            expect(error.peer == _VICTIM, f"the peer is {error.peer}")
            check_text(error, message)
            expect(same(server._next[1], step.server._next[1]), "a refused answer has changed the next round")
            return error.rule, server
        ridden = not same(server._next[1], step.server._next[1])
        return "taken with its rider" if ridden else "taken", server

    def run(raw: bytes) -> str:
        step, message = steps[(raw[0] if raw else 0) % len(steps)], raw[1:]
        outcome, server = receive(step, message, 0)
        in_pieces, other = receive(step, message, len(message) % 50 + 1)
        expect(outcome == in_pieces, f"an answer is {outcome}, in pieces {in_pieces}")
        expect(server.snapshot() == other.snapshot(), "an answer in pieces leaves another state")
        again, third = receive(replace(step, server=server), step.answer, 0)
        expect(
            again == ("R3" if outcome.startswith("taken") else "R5"), f"{again} of an answer after one was {outcome}"
        )
        for client, reply in step.replies.items():
            if client != _VICTIM:
                third.receive(client, reply)
        third.advance()
        return f"{step.stage} {outcome}"

    seeds = [bytes([at]) + other.answer for at in range(len(steps)) for other in steps]
    return Target(
        "chain-server", "taken, or RemoteProtocolError of the sender alone; whole and in pieces the same",
        tuple(dict.fromkeys(seeds)), run, _behind_a_selector, _LONGEST,
    )  # fmt: skip


def chain_snapshot_target(party: Party) -> Target:
    """Snapshots of chains, taken up again."""
    job, steps = _steps()
    identity = job.identities[_VICTIM]

    def read(raw: bytes) -> None:
        if party is Party.CLIENT_CHAIN:
            fresh = replace(identity, record=MemoryRecord())
            ClientChain.resume(job.scheme, fresh, raw).snapshot()
            return
        server = ServerChain.resume(job.scheme, [LAYOUT], raw, identities(job.cohort))
        server.snapshot()
        server.requests()

    chains = [step.client if party is Party.CLIENT_CHAIN else step.server for step in steps]
    seeds = [chain.snapshot() for chain in chains]
    assert any(step.stage == Stage.RELEASE for step in steps)
    name = f"{party.name.lower().split('_')[0]}"
    return reader_target(f"chain-{name}-snapshot", seeds, read, mutate_snapshot(party), with_digest)
