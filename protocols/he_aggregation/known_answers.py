"""The good vectors of single steps: parameters, everything with a label, packing, tags, encryption."""

from protocols.encoding.reference import digit_count
from protocols.he_aggregation import keys, packing, tags
from protocols.he_aggregation.bfv import Randomness, encrypt, errors, payload_bytes, sum_bytes, uniform_numbers
from protocols.he_aggregation.parameters import (
    GREATEST_MODULUS_BITS,
    RINGS,
    TAGS,
    Packing,
    Ring,
    binding_of,
    check_ring,
    greatest_plain_bits,
    packing_of,
)
from protocols.notation import H, RuleBroken
from protocols.pairwise_masking import signatures
from protocols.vector_files import Vector, VectorFile, seed, seeded_integer
from protocols.wire.bodies import Type
from protocols.wire.reference import header

NAME = "he_aggregation"
S = seed("he/session")
GREATEST_COHORT = 2**20


def parameters() -> VectorFile:
    """What follows from suite, n, b and m; greatest cohorts, and one client more; rings."""
    file = VectorFile(
        NAME,
        "parameters",
        "What follows from a suite, n clients, b bits and m lanes (those of the tags included), or the rule by which "
        "nothing does; and rings (degree, bits of the modulus) that are or are not used.",
    )
    for suite in RINGS:
        for n in (2, 3, 8, 100, 1000, 30_000, GREATEST_COHORT):
            for bits in (2, 8, 16, 20, 32):
                file.vectors.append(parameters_vector(suite, n, bits, 10_000 if bits > 8 else 300_000))
        for bits in (2, 8, 12, 16, 20, 24, 28, 32):
            greatest = greatest_cohort(suite, bits)
            file.vectors.append(parameters_vector(suite, greatest, bits, 1))
            if greatest < GREATEST_COHORT:
                file.vectors.append(parameters_vector(suite, greatest + 1, bits, 1))
    rings = [*RINGS.values(), *(Ring(N, bits) for N, bits in GREATEST_MODULUS_BITS.items() if N != 2048)]
    rings += [Ring(N, bits + 1) for N, bits in GREATEST_MODULUS_BITS.items()]
    rings += [Ring(512, 2), Ring(4095, 50), Ring(2**16, 50)]
    file.vectors += [ring_vector(ring) for ring in rings]
    return file


def greatest_cohort(suite: int, bits: int) -> int:
    """The greatest n with a packing, at most 2^20."""
    least, most = 1, GREATEST_COHORT + 1  # with one client there is one
    while most - least > 1:
        middle = (least + most) // 2
        try:
            packing_of(RINGS[suite], middle, bits, 1)
            least = middle
        except RuleBroken:
            most = middle
    return least


def parameters_vector(suite: int, n: int, bits: int, lanes: int) -> Vector:
    """One choice of all that matters."""
    asked = {"name": f"{suite:#x} n={n} b={bits} m={lanes}", "suite": suite, "n": n, "bits": bits, "lanes": lanes}
    try:
        p = packing_of(RINGS[suite], n, bits, lanes)
    except RuleBroken as broken:
        return asked | {"rule": broken.rule}
    return asked | {
        "w": p.lane_bits,
        "greatest_p": greatest_plain_bits(p.ring, n),
        "k": p.lanes,
        "p": p.plain_bits,
        "r": p.dropped,
        "coefficients": p.coefficients,
        "polynomials": p.polynomials,
        "payload_bytes": payload_bytes(p),
        "sum_bytes": sum_bytes(p),
    }


def ring_vector(ring: Ring) -> Vector:
    """A ring, and whether it is safe."""
    asked: Vector = {"name": f"ring {ring.degree} {ring.bits}", "degree": ring.degree, "modulus_bits": ring.bits}
    try:
        check_ring(ring)
    except RuleBroken as broken:
        return asked | {"rule": broken.rule}
    return asked


def derivations() -> VectorFile:
    """Everything with a label, for both suites."""
    file = VectorFile(
        NAME,
        "derivations",
        "What is derived from a session and a round secret: `function` says what, the rest is in and out.",
    )
    holder, recipient = 200, 3
    for suite in RINGS:
        p = packing_of(RINGS[suite], 5, 16, 37)
        B, secrets = binding_of(S, suite, p), {i: seed(f"he/round secret/{i}") for i in (holder, recipient)}
        key = keys.round_key(secrets[holder], B)
        file.vectors.append(as_vector("binding", session=S, suite=suite, n=5, bits=16, lanes=37, output=B))
        file.vectors += [exchange_key_vector(i, secret) for i, secret in secrets.items()]
        file.vectors.append(
            as_vector("round key", round_secret=secrets[holder], binding=B, output=key, id=keys.key_id(B, key))
        )
        file.vectors.append(secret_polynomial_vector(key, B, p))
        file.vectors += sealing_vectors(secrets, B, suite, key, holder, recipient)
        for j in range(TAGS):
            drawn = tags.coefficients(key, B, j, 9)
            file.vectors.append(as_vector("tag coefficients", round_key=key, binding=B, tag=j, output=drawn))
        for client in (holder, recipient, 2**32 - 1):
            pads = tags.pads(key, B, client)
            file.vectors.append(as_vector("tag pads", round_key=key, binding=B, client=client, output=pads))
    return file


def as_vector(function: str, **values: bytes | str | int | list[int]) -> Vector:
    """Bytes in hex, the rest as it is."""
    shown = {name: value.hex() if isinstance(value, bytes) else value for name, value in values.items()}
    return {"function": function, **shown}


def exchange_key_vector(client: int, round_secret: bytes) -> Vector:
    """The exchange key of one client, and its signature."""
    private, identity_key = keys.exchange_private_key(round_secret, S), seed(f"he/identity key/{client}")
    public = keys.public_key(private)
    digest = keys.entry_digest(S, client, public)
    return as_vector(
        "exchange key",
        client=client,
        round_secret=round_secret,
        session=S,
        private_key=private,
        public_key=public,
        identity_key=identity_key,
        digest=digest,
        signature=signatures.sign(identity_key, digest),
    )


def secret_polynomial_vector(key: bytes, B: bytes, p: Packing) -> Vector:
    """The first coefficients, and a hash of all of them: a byte 0, 1 or 2 for each 0, 1 or −1."""
    s = keys.secret_polynomial(key, B, p.ring)
    hashed = H(bytes(x % 3 for x in s))
    name = "secret polynomial"
    return as_vector(name, round_key=key, binding=B, degree=p.ring.degree, first=s[:64], sha256=hashed)


def sealing_vectors(
    secrets: dict[int, bytes], B: bytes, suite: int, round_key: bytes, holder: int, recipient: int
) -> list[Vector]:
    """The key between two clients, from either side, and the round key sealed under it."""
    private = {i: keys.exchange_private_key(secret, S) for i, secret in secrets.items()}
    publics = {i: keys.public_key(key) for i, key in private.items()}
    sealing = keys.sealing_key(private[holder], publics[recipient], B, holder, recipient, 4)
    front = header(Type.SEALED_KEYS, suite, S, 7, holder, 4)
    who: dict[str, bytes | str | int | list[int]] = {"binding": B, "holder": holder, "recipient": recipient}
    return [
        as_vector(
            "sealing key", **who, recipients=4, private_key=private[mine], public_key=publics[theirs], output=sealing
        )
        for mine, theirs in ((holder, recipient), (recipient, holder))
    ] + [
        as_vector(
            "seal",
            key=sealing,
            header=front,
            recipient=recipient,
            round_key=round_key,
            output=keys.seal(sealing, round_key, front, recipient),
        )
    ]


def lanes_and_bits() -> VectorFile:
    """Lanes in coefficients, and coefficients without their lowest bits."""
    file = VectorFile(
        NAME,
        "packing",
        "Lanes to coefficients (`lanes`), coefficients to what is `sent` of them, `packed`.",
    )
    for suite, n, bits, count in (
        (0x10, 3, 16, 37),
        (0x10, 2, 2, 40),
        (0x11, 5, 16, 12),
        (0x11, 100, 32, 5),
        (0x11, 23, 6, 9),
    ):
        p = packing_of(RINGS[suite], n, bits, count)
        name, greatest = f"{suite:#x} n={n} b={bits}", 2**p.lane_bits - 1
        lanes = [seeded_integer(f"he/lanes/{name}/{i}", greatest + 1) for i in range(count)]
        for kind, values in {"any": lanes, "zeros": [0] * count, "all greatest": [greatest] * count}.items():
            (polynomial,) = packing.to_polynomials(values, p)
            used = polynomial[: p.coefficients]
            file.vectors.append(shape(f"{name}, {kind}", suite, n, bits) | {"lanes": values, "plain": used})
        cuts = [0, 1, p.ring.modulus - 1, p.ring.modulus // 2, 2**p.dropped, 2**p.dropped - 1]
        cuts += [seeded_integer(f"he/cut/{name}/{i}", p.ring.modulus) for i in range(6)]
        sent = [packing.drop(x, p) for x in cuts]
        drops = {"coefficients": cuts, "sent": sent, "packed": packing.pack_bits(sent, p.sent_bits).hex()}
        file.vectors.append(shape(f"{name}, sent", suite, n, bits) | drops)
    return file


def encryption() -> VectorFile:
    """What seeds and error keys stand for, and lanes to payloads."""
    file = VectorFile(
        NAME,
        "encryption",
        "Seeds to c1 and error keys to e (`first` and the SHA-256 of all of two polynomials, each number 8 bytes, "
        "little-endian, in two's complement); `lanes` to the payload that a client sends, under a round key.",
    )
    for suite, ring in RINGS.items():
        drawn = Randomness(seed(f"he/seed/{suite}"), seed(f"he/error key/{suite}"))
        known = {"seed": drawn.seed, "error_key": drawn.error_key}
        numbers = {
            "seed": list(uniform_numbers(drawn.seed, 2 * ring.degree, ring.bits)),
            "error_key": errors(drawn.error_key, 2 * ring.degree),
        }
        for name, values in numbers.items():
            hashed = H(b"".join((x % 2**64).to_bytes(8, "little") for x in values)).hex()
            vector = {"name": f"{suite:#x}, {name}", "suite": suite, name: known[name].hex()}
            file.vectors.append(vector | {"first": values[:8], "sha256": hashed})
    for suite, n, bits, count in ((0x10, 3, 16, 37), (0x10, 100, 2, 300), (0x11, 5, 16, 50), (0x11, 256, 32, 20)):
        p, name = packing_of(RINGS[suite], n, bits, count), f"{suite:#x} n={n} b={bits}"
        B, key = binding_of(S, suite, p), seed(f"he/encryption/{name}")
        drawn = Randomness(seed(f"he/seed/{name}"), seed(f"he/error key/{name}"))
        lanes = [seeded_integer(f"he/encrypted/{name}/{i}", 2**bits - 1) for i in range(count)]
        payload = encrypt(lanes, keys.secret_polynomial(key, B, p.ring), p, drawn)
        secrets = {"round_key": key.hex(), "binding": B.hex(), "seed": drawn.seed.hex()}
        secrets |= {"error_key": drawn.error_key.hex()}
        file.vectors.append(shape(name, suite, n, bits) | secrets | {"lanes": lanes, "payload": payload.hex()})
    return file


def shape(name: str, suite: int, n: int, bits: int) -> Vector:
    """What a packing follows from, but for the number of lanes."""
    return {"name": name, "suite": suite, "n": n, "bits": bits}


def tagged() -> VectorFile:
    """Tags of vectors; sums that pass, and sums that do not (H5)."""
    file = VectorFile(
        NAME,
        "tags",
        "One client's `lanes` to their `tags` and `digits`; or `sums` over `clients`, with the tags' digits behind the "
        "values: those that pass, and those that are not the sum over exactly these clients.",
    )
    bits, clients = 16, (3, 90, 2**32 - 1)
    B = binding_of(S, 0x10, packing_of(RINGS[0x10], 3, bits, 12 + TAGS * digit_count(bits)))
    key = seed("he/tags/round key")
    common = {"round_key": key.hex(), "binding": B.hex(), "bits": bits}
    vectors = {i: [seeded_integer(f"he/tags/{i}/{j}", 2**16 - 1) for j in range(12)] for i in clients}
    vectors |= {1: [0] * 12, 2: [2**16 - 2] * 12}
    for client, lanes in vectors.items():
        found, whole = tags.tags(key, B, client, lanes), tags.with_tags(key, B, client, lanes, bits)
        known = {"client": client, "lanes": lanes, "tags": found, "digits": whole[12:]}
        file.vectors.append({"name": f"of client {client}", **common, **known})
    every = {i: tags.with_tags(key, B, i, lanes, bits) for i, lanes in vectors.items()}

    def sums(*of: int) -> list[int]:
        return [sum(column) for column in zip(*(every[i] for i in of), strict=True)]

    def at(index: int, by: int) -> list[int]:
        return [x + by * (j == index) for j, x in enumerate(sums(*clients))]

    good = {"three": (clients, sums(*clients)), "one": ((90,), sums(90)), "zeros": ((1,), sums(1))}
    exchanged = sums(*clients)
    exchanged[0], exchanged[1] = exchanged[1], exchanged[0]
    bad = {
        "one of two values more": (clients, at(0, 1)),
        "the last value less": (clients, at(11, -1)),
        "a tag's digit more": (clients, at(12, 1)),
        "the last tag's last digit more": (clients, at(31, 1)),
        "two values exchanged": (clients, exchanged),
        "a client less than is said": (clients, sums(3, 90)),
        "a client more than is said": ((3, 90), sums(*clients)),
        "another client": ((3, 90, 1), sums(*clients)),
        "one client twice": (clients, sums(3, 90, 90)),
        "nobody's": (clients, [0] * 32),
    }
    for name, (of, total) in good.items():
        values = tags.check_sum(key, B, of, total, bits)
        file.vectors.append({"name": name, **common, "clients": list(of), "sums": total, "values": values})
    for name, (of, total) in bad.items():
        file.vectors.append({"name": name, "rule": "H5", **common, "clients": list(of), "sums": total})
    return file
