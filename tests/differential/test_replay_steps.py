"""The vectors of protocols/pairwise_masking of single steps: derivations, signatures, parameters, picks, shares."""

from __future__ import annotations

from typing import Any

import pytest

from securefed.crypto import aead, shamir
from securefed.crypto.hashing import digest, digest_in_domain
from securefed.crypto.kdf import Label, derive
from securefed.crypto.keystream import Reader
from securefed.crypto.signing import SigningKey, verifies
from securefed.crypto.x25519 import PrivateKey
from securefed.secagg.graph import draw, promise
from securefed.secagg.keys import ClientSecrets, PairContext, advertised, commitment, consent_draw_key, self_mask_key
from securefed.secagg.parameters import Parameters
from securefed.wire.from_client import Entry
from tests.differential.reading import adversary_from, load, named
from tests.rules import refused

PROTOCOL = "pairwise_masking"


@pytest.mark.parametrize("vector", load(PROTOCOL, "derivations")["vectors"], ids=lambda vector: vector["function"])
def test_derivations(vector: dict[str, Any]) -> None:
    raw = {
        name: bytes.fromhex(value)
        for name, value in vector.items()
        if isinstance(value, str) and name not in ("function", "label")
    }
    match vector["function"]:
        case "KDF":
            assert derive(raw["secret"], Label(vector["label"]), raw["context"]) == raw["output"]
        case "client keys":
            secrets = ClientSecrets(raw["round_secret"], raw["session"])
            assert secrets.channel.public == raw["channel_public_key"]
            assert secrets.mask.public == raw["mask_public_key"]
            assert secrets.self_mask_seed == raw["self_mask_seed"]
            assert PrivateKey(raw["mask_private_key"]).public == secrets.mask.public
            assert self_mask_key(secrets.self_mask_seed, raw["session"], vector["client"]) == raw["self_mask_key"]
            assert commitment(secrets.self_mask_seed, raw["session"], vector["client"]) == raw["commitment"]
            assert secrets.pick_secret == raw["pick_secret"]
            assert promise(secrets.pick_secret, raw["session"], vector["client"]) == raw["promise"]
            assert secrets.sample_key == raw["sample_key"]
        case "advertisement signature":
            check_signature(advertised(Entry.parse(raw["entry"]), raw["session"], vector["client"]), raw)
        case "attestation":
            check_signature(PairContext(raw["session"], raw["roster_digest"]).attested(raw["shared"]), raw)
        case "consent signature":
            pairs = PairContext(raw["session"], raw["roster_digest"])
            check_signature(pairs.consent(raw["shared"], raw["survived"]), raw)
        case "share coefficients":
            context = raw["session"] + raw["roster_digest"] + bytes([vector["kind"]])
            made = shamir.coefficients(raw["round_secret"], vector["threshold"], context)
            assert [value.to_bytes(33, "big").hex() for value in made] == vector["coefficients"]
        case "channel key" | "pairwise mask key":
            pairs = PairContext(raw["session"], raw["roster_digest"])
            make = pairs.channel_key if vector["function"] == "channel key" else pairs.mask_key
            made = make(PrivateKey(raw["private_key"]), raw["public_key"], vector["sender"], vector["recipient"])
            assert made == raw["output"]
        case "named session":
            assert digest_in_domain("named", raw["session"], raw["model"]) == raw["output"]
        case "seal":
            data = raw["shares_header"] + vector["recipient"].to_bytes(4, "big")
            assert aead.seal(raw["key"], raw["shares"], data) == raw["output"]
            assert aead.open_sealed(raw["key"], raw["output"], data) == raw["shares"]
        case function:
            pytest.fail(f"no replay for {function}")


def check_signature(signed: bytes, raw: dict[str, bytes]) -> None:
    key = SigningKey(raw["identity_key"])
    assert (signed, key.public, key.sign(signed)) == (raw["digest"], raw["identity"], raw["output"])
    assert verifies(raw["identity"], signed, raw["output"])
    assert not verifies(raw["identity"], raw["session"], raw["output"])


@pytest.mark.parametrize("vector", load(PROTOCOL, "parameters")["vectors"], ids=lambda v: f"{v['n']}")
def test_parameters(vector: dict[str, Any]) -> None:
    n, adversary = vector["n"], adversary_from(vector["adversary"])
    assert adversary.corrupt_clients(n) == vector["C"]
    assert adversary.lost_clients(n) == vector["D"]
    assert adversary.least_survivors(n) == vector["L"]
    p = Parameters.of(n, adversary)
    found = (p.complete, p.neighbours, p.threshold, p.masks, p.least_masks, p.signatures, p.least_signatures)
    assert (*found, p.least_inputs) == tuple(vector[name] for name in ("complete", "k", "t", "κ", "τ", "q", "θ", "ℓ"))


@pytest.mark.parametrize(
    "vector", load(PROTOCOL, "picks")["vectors"], ids=lambda v: f"{v['function']} {len(v['cohort'])}"
)
def test_picks(vector: dict[str, Any]) -> None:
    cohort = tuple(vector["cohort"])
    if vector["function"] == "picks":
        own = cohort.index(vector["client"])
        key = derive(
            bytes.fromhex(vector["pick_secret"]),
            Label.PICKS,
            bytes.fromhex(vector["session"]) + vector["client"].to_bytes(4, "big"),
        )
        places = [at + (at >= own) for at in draw(key, len(cohort) - 1, vector["k"])]
        assert [cohort[at] for at in places] == vector["picks"]
        return
    key = consent_draw_key(bytes.fromhex(vector["sample_key"]), bytes.fromhex(vector["agreement_digest"]))
    if vector["q"] < len(cohort):
        assert [cohort[at] for at in draw(key, len(cohort), vector["q"])] == vector["drawn"]
    else:
        assert vector["drawn"] == list(cohort)


@pytest.mark.parametrize("vector", load(PROTOCOL, "streams")["vectors"], ids=lambda v: f"{v['start']}+{v['length']}")
def test_streams(vector: dict[str, Any]) -> None:
    if vector["start"] > 2**30:
        pytest.skip("our stream is read from its front alone, and this piece lies 64 GiB behind it")
    reader = Reader(bytes.fromhex(vector["key"]))
    reader.take(vector["start"])
    data = reader.take(vector["length"]).tobytes()
    if "bytes" in vector:
        assert data.hex() == vector["bytes"]
    else:
        assert (digest(data).hex(), data[-32:].hex()) == (vector["sha256"], vector["last"])


@pytest.mark.parametrize("vector", named(PROTOCOL, "shamir"))
def test_shamir(vector: dict[str, Any]) -> None:
    threshold, indices = vector["threshold"], vector["indices"]
    if vector["operation"] == "share":
        secret = bytes.fromhex(vector["secret"])
        assert secret[0] == 0
        above = [int(value, 16) for value in vector["coefficients"]]
        assert [share.hex() for share in shamir.split(secret[1:], above, indices)] == vector["shares"]
        return
    shares = dict(zip(indices, map(bytes.fromhex, vector["shares"]), strict=True)) if indices else {}

    def combine() -> int:
        for share in shares.values():
            shamir.share_from_bytes(share)
        return shamir.Responders(indices, threshold).combine(shares)

    if "rule" in vector:
        with refused(vector["rule"]):
            combine()
    else:
        assert combine() == int(vector["secret"], 16)
