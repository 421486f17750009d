"""What was found once, as small as it can be: it stays mended."""

from __future__ import annotations

import hashlib
import json

import pytest
import safetensors.numpy

from securefed.dp.accounting import Gaussian, Ledger, Unit
from securefed.secagg.stages import Stage
from securefed.wire.snapshot import Party, pack_snapshot, parse_snapshot
from tests.fuzz.events import Event, Script, What
from tests.fuzz.honest import played
from tests.fuzz.privacy_files import chained
from tests.fuzz.registry import TARGETS

MALICIOUS = played("malicious")
OWNER = MALICIOUS.victim.to_bytes(4, "big")
OFFER = MALICIOUS.requests[Stage.ADVERTISE]
RESUME, GOOD, ADVANCE = Event(What.RESUME), Event(What.GOOD), Event(What.ADVANCE)


def of_client(*sections: bytes) -> bytes:
    """A snapshot with the digest that fits."""
    return pack_snapshot(Party.CLIENT, sections)


def held(name: str, changes: dict[int, bytes]) -> bytes:
    """The victim's snapshot after its input, with other sections."""
    sections = [bytes(one) for one in parse_snapshot(Party.CLIENT, played(name).clients[Stage.CONSENT].snapshot())]
    return of_client(*(changes.get(at, section) for at, section in enumerate(sections)))


def of_server(stage: Stage, changes: dict[int, bytes], *more: bytes) -> bytes:
    """The server's snapshot as the stage opened, with other sections and more of them."""
    sections = [bytes(one) for one in parse_snapshot(Party.SERVER, MALICIOUS.servers[stage].snapshot())]
    return pack_snapshot(Party.SERVER, [*(changes.get(at, one) for at, one in enumerate(sections)), *more])


def counted(party: Party, count: int, behind: bytes = b"") -> bytes:
    """A snapshot that announces sections and does not hold them."""
    body = pack_snapshot(party, [])[:8] + count.to_bytes(4, "big") + behind
    return body + hashlib.sha256(body).digest()


def checkpoint(head: bytes) -> bytes:
    body = len(head).to_bytes(4, "big") + head + safetensors.numpy.save({})
    return b"SFEDCKPT" + hashlib.sha256(body).digest() + body


def record(*entries: tuple[str, object, str]) -> bytes:
    lines = [{"step": step, "round": number, "session": session} for step, number, session in entries]
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


OPENED, NOTED, TOTAL = 2, 3, 4
"""Sections of a server's snapshot: whether there is a sum, wrong shares that were noted, the sum."""
WORDS = 8 * MALICIOUS.spec.words
OPENED_WITHOUT_SURVIVORS = of_server(Stage.ADVERTISE, {OPENED: b"\1", TOTAL: bytes(WORDS)}, bytes(4))


def ledger(**changes: object) -> bytes:
    head = {"budget": None, "delta": 1e-6, "format": "securefed ledger", "records": 1, "unit": "r", "version": 1}
    return chained(json.dumps({"digest": "", **head, **changes}).encode() + b"\n")


def certificate(**changes: object) -> bytes:
    with Ledger(Unit("sequence"), 1e-6) as book:
        book.spend(Gaussian(2.0))
        return json.dumps({**json.loads(book.certificate().to_json()), **changes}).encode()


NESTED = b"[" * 2000

KNOWN = {
    "taken up twice when finished": ("server-malicious", Script(5, (RESUME, RESUME, ADVANCE)).pack()),
    "taken up twice when aborted": ("server-malicious", Script(4, (ADVANCE, RESUME, RESUME, GOOD)).pack()),
    "an empty input in pieces": ("server-sparse", Script(2, (Event(What.MESSAGE, 0x80),)).pack()),
    "no section": ("client-snapshot", of_client()),
    "an owner alone": ("client-snapshot", of_client(OWNER)),
    "no round secret": ("client-snapshot", of_client(OWNER, b"opening")),
    "a short round secret": ("client-snapshot", of_client(OWNER, b"opening", bytes(24), OFFER)),
    "no kind and no reason": ("client-snapshot", of_client(OWNER, b"")),
    "a reason that is not UTF-8": ("client-snapshot", of_client(OWNER, b"closed", b"R4", b"\xff")),
    "more shares than bytes": ("client-snapshot", held("malicious", {7: b"\xff" * 4})),
    "a short set": ("client-snapshot", held("sparse", {5: b"\1"})),
    "more sections than bytes": ("client-snapshot", counted(Party.CLIENT, 1)),
    "a section beyond all bytes": ("client-snapshot", counted(Party.CLIENT, 2, b"\xff" * 8)),
    "no section of a server": ("server-snapshot", pack_snapshot(Party.SERVER, [])),
    "half a word": ("server-snapshot", of_server(Stage.CONSENT, {TOTAL: bytes(7)})),
    "a finished sum without words": ("server-snapshot", of_server(Stage.DONE, {TOTAL: b""})),
    "a finished sum that is none": ("server-snapshot", of_server(Stage.DONE, {TOTAL: WORDS * b"\xff"})),
    "wrong shares that are not UTF-8": ("server-snapshot", of_server(Stage.DONE, {NOTED: b"\xff"})),
    "wrong shares of nobody": ("server-snapshot", of_server(Stage.DONE, {NOTED: b"one"})),
    "an aborted round that is said to have a sum": ("server-snapshot", OPENED_WITHOUT_SURVIVORS),
    "one more end of a stage": ("server-snapshot", of_server(Stage.DONE, {}, bytes(4))),
    "an infinite round": (
        "checkpoint",
        checkpoint(b'{"version": 2, "job": "job", "round": 1e999, "names": [], "ledgers": {}, "release": {}}'),
    ),
    "a ledger's head that is a number": (
        "checkpoint",
        checkpoint(b'{"version": 2, "job": "job", "round": 1, "names": [], "ledgers": {"released": 1}, "release": {}}'),
    ),
    "a nested head": ("checkpoint", checkpoint(NESTED)),
    "a version that is a text": ("checkpoint", checkpoint(b'{"version": "sixteen letters!"}')),
    "a journal that is not UTF-8": ("journal", b"\xff"),
    "a nested journal": ("journal", b'{"round": ' + NESTED),
    "a ledger of a unit that is a number": ("ledger", ledger(unit=1)),
    "a ledger with a text as δ": ("ledger", ledger(delta="")),
    "a ledger without a budget of its own": ("ledger", ledger(budget=0)),
    "a ledger of a version that holds a secret": ("ledger", ledger(version="82" * 16)),
    "a certificate below zero": ("certificate", certificate(epsilon=float("-inf"))),
    "a certificate of no neighbours that we know": ("certificate", certificate(neighbours=float("nan"))),
    "a record that is not UTF-8": ("record", b"\xff"),
    "a nested record": ("record", b'{"step": ' + NESTED),
    "a step twice": ("record", record(*[("consent", 1, "00")] * 2)),
    "rounds that descend": ("record", record(("input", 1, "00"), ("input", 0, "01"))),
    "a round below zero": ("record", record(("input", -1, "00"))),
    "an infinite round of a record": ("record", record(("input", float("inf"), "00"))),
}  # fmt: skip


@pytest.mark.parametrize("name", KNOWN)
def test_known(name: str) -> None:
    target, data = KNOWN[name]
    TARGETS[target]().run(data)
