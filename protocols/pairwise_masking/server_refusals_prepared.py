"""What the server refuses in a prepared round: answers that belong to another model, and its own calls in wrong order.

The round is that of client_refusals_prepared: 9 clients, U1 = U2 the cohort, U3 = U4 without 21.
"""

from dataclasses import replace

from protocols.notation import H
from protocols.pairwise_masking import agreed, keys, signatures
from protocols.pairwise_masking.at_server import ADVANCE, AtServer, name_model
from protocols.pairwise_masking.client_refusals_prepared import COHORT, DROPOUTS, OTHER, ROSTER, ROUND, U3, set_of
from protocols.vector_files import Vector, VectorFile
from protocols.wire.bodies import Consent, Input
from protocols.wire.reference import decode
from protocols.wire.specification import NAMED_LATER

AT = AtServer(ROUND, DROPOUTS)
S = agreed.session(AT.specification)
SESSIONS = {
    "of another model": keys.named_session(S, OTHER),
    "of the session alone": S,
    "of no model": keys.named_session(S, NAMED_LATER),
}
"""What is not S*."""


def server_refuses_prepared() -> VectorFile:
    """All of them."""
    file = VectorFile(
        "pairwise_masking",
        "server_refuses_prepared",
        "Events of a prepared round at the server, in the form of server_refuses. `name_model`: the server's own call, "
        "an error of its own where it breaks R12. The server is one against which clients sign, the graph sparse.",
        context=AT.context(),
    )
    file.vectors += models() + inputs() + consents()
    return file


def models() -> list[Vector]:
    """R12, and R6 for an input that nobody asked for yet."""
    shared, good = AT.stages(2), AT.named()
    return [
        AT.vector("R12", "a model before the seeds are shared", [*AT.stages(1), *good]),
        AT.vector("R12", "a model in the first stage", good),
        AT.vector("R12", "zeros for a model", [*shared, name_model(NAMED_LATER)]),
        AT.vector("R12", "a byte less than a model", [*shared, name_model(ROUND.model[:-1])]),
        AT.vector("R12", "a byte more than a model", [*shared, name_model(ROUND.model + bytes(1))]),
        AT.vector("R12", "the model twice", [*shared, *good, *good]),
        AT.vector("R12", "another model", [*shared, *good, name_model(OTHER)]),
        AT.vector("R12", "another model after some inputs", [*shared, *good, *AT.good(3, 8), name_model(OTHER)]),
        AT.vector("R12", "a model after the inputs", [*AT.stages(3), *good]),
        AT.vector("R12", "the end of the inputs before a model", [*shared, ADVANCE]),
        AT.vector("R6", "an input before a model", [*shared, *AT.good(3, 8)]),
        AT.vector("R6", "shares after their stage, before a model", [*shared, *AT.good(2, 8)]),
        AT.vector("R4", "shares after their stage", [*shared, *good, *AT.good(2, 8)]),
    ]


def inputs() -> list[Vector]:
    """G4: attested for what is not S*."""
    body = decode(AT.answers[3][8], agreed.masked_input(AT.specification, 8, attested=True))
    assert isinstance(body, Input)
    before = [*AT.stages(2), *AT.named()]
    bad = {what: replace(body, attestation=attestation(8, S_named)) for what, S_named in SESSIONS.items()}
    return [
        AT.vector("G4", f"an attestation {what}", [*before, AT.answer(8, AT.from_client(other, 8))])
        for what, other in bad.items()
    ]


def attestation(client: int, S_named: bytes) -> bytes:
    """What that client would sign with its input."""
    digest = signatures.input_digest(S_named, H(ROSTER), set_of(COHORT))
    return signatures.sign(ROUND.identity_key(client), digest)


def consents() -> list[Vector]:
    """C1: consents to what is not S*."""
    return [
        AT.vector("C1", f"a consent {what}", [*AT.stages(3), AT.answer(8, AT.from_client(consent(8, S_named), 8))])
        for what, S_named in SESSIONS.items()
    ]


def consent(client: int, S_named: bytes) -> Consent:
    """What that client would sign."""
    digest = signatures.consent_digest(S_named, H(ROSTER), set_of(COHORT), set_of(U3))
    return Consent(signatures.sign(ROUND.identity_key(client), digest))
