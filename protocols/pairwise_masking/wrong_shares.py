"""Rounds in which clients release wrong shares: the server finds out which (S7), and the sum is right."""

from protocols.pairwise_masking.at_server import ADVANCE, AtServer
from protocols.pairwise_masking.scenario import Scenario
from protocols.pairwise_masking.server import Server
from protocols.pairwise_masking.server_refusals_signed import AT as SPARSE
from protocols.vector_files import Vector, VectorFile

COMPLETE = AtServer(Scenario("nine clients, some of which lie", (1, 2, 3, 5, 8, 13, 21, 34, 55)), {13: 3})
"""t = 5 of 8 responders: two may be wrong."""


def wrong_shares() -> VectorFile:
    """In a complete graph."""
    file = VectorFile(
        "pairwise_masking",
        "wrong_shares",
        "Events of a round at the server, in the form of server_refuses. The round ends with the right `sum`; `wrong` "
        "are the clients whose shares were found wrong. The server is semi-honest, the graph complete: t = 5.",
        context=COMPLETE.context(),
    )
    file.vectors += complete()
    return file


def wrong_shares_signed() -> VectorFile:
    """In a sparse graph."""
    file = VectorFile(
        "pairwise_masking",
        "wrong_shares_signed",
        "Events of a round at the server, in the form of server_refuses. The round ends with the right `sum`; `wrong` "
        "are the clients whose shares were found wrong. Clients sign, and the graph is sparse: t = 3.",
        context=SPARSE.context(),
    )
    file.vectors += sparse()
    return file


def vector(at: AtServer, name: str, lies: dict[int, tuple[int, ...]], silent: tuple[int, ...] = ()) -> Vector:
    """A round in which clients release wrong shares of others, and some release nothing."""
    events = at.stages(4) + [
        at.wrong(i, *lies[i]) if i in lies else at.good(5, i)[0] for i in at.answers[5] if i not in silent
    ]
    server = replay(at, events)
    expected = at.scenario.run(at.dropouts).sum
    assert server.sum == expected, name
    rule = {"rule": "S7"} if server.wrong else {}
    wrong = {"wrong": sorted(server.wrong), "sum": server.sum}
    return {"name": name, **rule, "events": [*events, ADVANCE], **wrong}


def too_many() -> Vector:
    """Three wrong shares of eight: five are right, but nobody says which."""
    at, lies = COMPLETE, (1, 5, 34)
    answers = [at.wrong(i, 8) if i in lies else at.good(5, i)[0] for i in at.answers[5]]
    refused = at.vector("S5", "three of eight", [*at.stages(4), *answers, ADVANCE | {"seed_of": 8}])
    return refused | {"wrong": [], "sum": None}


def replay(at: AtServer, events: list[Vector]) -> Server:
    """The server after these events and the end of the last stage."""
    server = Server(at.specification, at.scenario.identities)
    for event in events:
        if "client" not in event:
            server.advance()
            continue
        good = "good" in event
        server.receive(
            event["client"],
            at.answers[event["good"]][event["client"]] if good else bytes.fromhex(event["message"]),
        )
    server.advance()
    return server


def complete() -> list[Vector]:
    """Of eight shares two may be wrong, of seven or six one: five are needed."""
    at = COMPLETE
    return [
        vector(at, "a wrong share of a survivor's seed", {1: (3,)}),
        vector(at, "a wrong share of a dropout's mask key", {3: (13,)}),
        vector(at, "a wrong share of the own seed", {2: (2,)}),
        vector(at, "wrong shares of everyone", {2: (1, 2, 3, 5, 8, 13, 21, 34, 55)}),
        vector(at, "two clients, each wrong on another", {1: (3,), 5: (13,)}),
        vector(at, "two of eight", {1: (8,), 2: (8,)}),
        too_many(),
        vector(at, "one among those needed and one behind", {5: (2,), 34: (2,)}),
        vector(at, "one of seven", {3: (5,)}, silent=(21,)),
        vector(at, "one of six", {8: (5,)}, silent=(21, 55)),
        vector(at, "the first needed ones are right: nobody looks further", {21: (1,), 55: (13,)}),
        vector(at, "one that was found out, and two behind it", {1: (2, 3), 34: (3,), 55: (3,)}),
        vector(at, "two that were found out, and one behind them", {1: (1, 3), 2: (1, 3), 55: (3,)}),
        vector(at, "one that was found out is needed, and right", {1: (1,), 21: (2,), 34: (2,), 55: (2,)}),
    ]


def sparse() -> list[Vector]:
    """Of the seeds of 34 and 55 there are four shares: one more than needed."""
    at = SPARSE
    both = next(i for i in at.responders(34) if i in at.responders(55))
    return [
        vector(at, "a wrong share of the first that answers", {at.responders(34)[0]: (34,)}),
        vector(at, "a wrong share of the last that is needed", {at.responders(55)[2]: (55,)}),
        vector(at, "a wrong share of the one that is not needed", {at.responders(55)[3]: (55,)}),
        vector(at, "wrong shares of two clients", {both: (34, 55)}),
    ]
