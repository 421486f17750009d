"""The good vectors of the wire format: every type of message, and specifications at their bounds."""

from dataclasses import asdict, replace
from typing import Any

from protocols.vector_files import Vector, VectorFile
from protocols.wire.bodies import (
    Advertisement,
    Agreement,
    Body,
    Consent,
    Delivery,
    Entry,
    Input,
    NamedDelivery,
    Offer,
    Release,
    Roster,
    Shares,
    Survivors,
)
from protocols.wire.reference import PLAIN_INTEGERS, SHARE_BYTES, Agreed, encode, type_of
from protocols.wire.samples import (
    ADVERTISEMENT,
    AGREEMENT,
    COHORT,
    INPUT,
    NAMED_DELIVERY,
    ROSTER,
    SAMPLES,
    SESSION,
    SHARES,
    SPECIFICATION,
    WIRE_WORDS,
    agreed_on,
)
from protocols.wire.specification import (
    MALICIOUS,
    NAMED_LATER,
    SEMI_HONEST,
    Adversary,
    Specification,
    check_adversary,
    corrupt_clients,
    dropouts,
    encode_specification,
    least_survivors,
    session_of,
)


def agreed_vector(agreed: Agreed) -> Vector:
    """`Agreed` in JSON's types; what is not agreed is null."""
    return asdict(agreed) | {
        "type": agreed.type,
        "session": agreed.session and agreed.session.hex(),
        "ids": None if agreed.ids is None else sorted(agreed.ids),
        "cohort": None if agreed.cohort is None else list(agreed.cohort),
        "members": None if agreed.members is None else sorted(agreed.members),
    }


def specification_vector(s: Specification) -> Vector:
    """The fields of a specification in JSON's types."""
    digests = {"nonce": s.nonce.hex(), "model": s.model.hex(), "layout": s.layout.hex()}
    return asdict(s) | digests | {"cohort": list(s.cohort)}


def entry_vector(entry: Entry) -> Vector:
    """An entry; without a signature it is null."""
    return {
        "channel_key": entry.channel_key.hex(),
        "mask_key": entry.mask_key.hex(),
        "promise": entry.promise.hex(),
        "signature": entry.signature.hex() or None,
    }


def body_vector(body: Body) -> Vector:
    """The fields of a body in JSON's types; lists run in the order of the ids."""
    match body:
        case Offer(specification):
            return {"specification": specification_vector(specification)}
        case Advertisement(entry):
            return entry_vector(entry)
        case Roster(entries):
            return {"ids": list(entries), "entries": [entry_vector(entry) for entry in entries.values()]}
        case Shares(pick_secret, commitment, sealed):
            fields = {"pick_secret": pick_secret.hex(), "commitment": commitment.hex(), "ids": list(sealed)}
            return fields | {"sealed": [both.hex() for both in sealed.values()]}
        case Delivery(shared, senders):
            return {
                "shared": list(shared),
                "ids": list(senders),
                "pick_secrets": [sender.pick_secret.hex() for sender in senders.values()],
                "sealed": [sender.sealed.hex() for sender in senders.values()],
            }
        case NamedDelivery(model, delivery):
            return {"model": model.hex()} | body_vector(delivery)
        case Input(words, attestation):
            return {"attestation": attestation.hex() or None, "words": words}
        case Survivors(survived):
            return {"survived": list(survived)}
        case Consent(signature):
            return {"signature": signature.hex()}
        case Agreement(signatures, attestations):
            both = {"signatures": list(signatures.values()), "attestations": list(attestations)}
            return {"signers": list(signatures)} | {name: [one.hex() for one in ones] for name, ones in both.items()}
        case Release(shares):
            values = [share.to_bytes(SHARE_BYTES, "big").hex() for share in shares.values()]
            return {"ids": list(shares), "shares": values}


def message_vector(name: str, message: bytes, agreed: Agreed, body: Body) -> Vector:
    """A message that decodes to that body and is encoded from it."""
    return {
        "name": name,
        "message": message.hex(),
        "agreed": agreed_vector(agreed),
        "body": body_vector(body),
    }


def messages() -> VectorFile:
    """One message of each type, empty lists and sets, entries without signatures, and another suite."""
    file = VectorFile("wire", "messages", "Messages with what was agreed before, and the fields they decode to.")

    def add(name: str, body: Body, **changes: Any) -> None:
        agreed = replace(agreed_on(body), **changes)
        message = encode(body, agreed.suite, SESSION, SPECIFICATION.round, agreed.sender, agreed.cohort or ())
        file.vectors.append(message_vector(name, message, agreed, body))

    for body in SAMPLES:
        add(type_of(body).name.lower(), body)
    add("advertisement without a signature", Advertisement(unsigned(ADVERTISEMENT.entry)), signed=False)
    add("roster without signatures", Roster({i: unsigned(e) for i, e in ROSTER.entries.items()}), signed=False)
    add("shares for nobody", replace(SHARES, sealed={}), exact_count=0, ids=frozenset())
    add("delivery of nothing", Delivery((), {}))
    add("delivery of a whole cohort of 8", Delivery(COHORT[:8], {}), cohort=COHORT[:8])
    add("survivors: nobody", Survivors(()))
    add("survivors: all", Survivors(COHORT))
    add("survivors: all of a cohort of 16", Survivors(SIXTEEN), cohort=SIXTEEN, exact_count=16)
    add("survivors: the last alone", Survivors(COHORT[-1:]))
    add("agreement of nobody", Agreement({}), attestations=0)
    add("agreement without attestations", replace(AGREEMENT, attestations=()), attestations=0)
    add("agreement of nobody, with attestations", replace(AGREEMENT, signatures={}))
    add("release of nothing", Release({}))
    full = Input([2**64 - 1] * WIRE_WORDS)
    add("input without an attestation", replace(INPUT, attestation=b""), attestations=0)
    add("input of full 64-bit ring words", full, input_bits=64 * WIRE_WORDS, attestations=0)
    add("input of plain integers", replace(INPUT, attestation=b""), suite=PLAIN_INTEGERS, attestations=0)
    add("named_delivery", NAMED_DELIVERY)
    add("named delivery of nothing", replace(NAMED_DELIVERY, delivery=Delivery((), {})))
    whole = Delivery(COHORT[:8], {})
    add("named delivery of a whole cohort of 8", replace(NAMED_DELIVERY, delivery=whole), cohort=COHORT[:8])
    add("named delivery without a name, which a client refuses", replace(NAMED_DELIVERY, model=NAMED_LATER))
    return file


SIXTEEN = tuple(range(3, 19))


def unsigned(entry: Entry) -> Entry:
    """The entry as it is under a semi-honest server."""
    return replace(entry, signature=b"")


def specifications() -> VectorFile:
    """Specifications at the bounds of their fields."""
    file = VectorFile(
        "wire",
        "specifications",
        "Specifications, their bytes, the session that they name, and how many clients are corrupt (C), may drop "
        "out (D) and must survive (L).",
    )
    least = replace(
        SPECIFICATION,
        round=0,
        adversary=Adversary(SEMI_HONEST, 1, 1, 0, 0),
        values=1,
        scalars=1,
        greatest_weight=1,
        bits=2,
        clip=2.0**-512,
        cohort=(1, 2),
    )
    greatest = replace(
        SPECIFICATION,
        round=2**32 - 1,
        adversary=Adversary(MALICIOUS, 128, 64, 499, 0),
        values=2**64 - 1,
        scalars=2**32 - 1,
        greatest_weight=2**32 - 1,
        bits=32,
        clip=2.0**512,
    )
    named = {
        "ordinary": SPECIFICATION,
        "least of every field": least,
        "greatest of every field but the dropouts": greatest,
        "greatest dropouts": of_adversary(Adversary(SEMI_HONEST, 40, 20, 499, 499), 1000),
        "all but the dropouts must survive, semi-honest": of_adversary(Adversary(SEMI_HONEST, 40, 20, 0, 499), 17),
        "all but the dropouts must survive, malicious": of_adversary(Adversary(MALICIOUS, 40, 20, 200, 353), 17),
        "thousandths rounded": of_adversary(Adversary(MALICIOUS, 40, 20, 1, 9), 101),
        "of a prepared round": replace(SPECIFICATION, model=NAMED_LATER),
    }
    for name, specification in named.items():
        n, adversary = len(specification.cohort), specification.adversary
        check_adversary(n, adversary)
        data = encode_specification(specification)
        file.vectors.append(
            {
                "name": name,
                "fields": specification_vector(specification),
                "specification": data.hex(),
                "session": session_of(data).hex(),
                "C": corrupt_clients(n, adversary),
                "D": dropouts(n, adversary),
                "L": least_survivors(n, adversary),
            }
        )
    return file


def of_adversary(adversary: Adversary, n: int) -> Specification:
    """The sample specification with another adversary, and clients 1 … n."""
    return replace(SPECIFICATION, adversary=adversary, cohort=tuple(range(1, n + 1)))
