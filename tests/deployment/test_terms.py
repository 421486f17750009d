"""The terms beside a request: what is written is read, and nothing else."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from securefed.deployment import JobTerms, terms
from securefed.encoding.layout import Layout, TensorSpec
from securefed.errors import RemoteProtocolError
from securefed.schemes import SCHEMES
from tests.rounds import LAYOUT

NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
TENSORS = st.builds(
    TensorSpec,
    NAMES,
    st.lists(st.integers(1, 2**20), max_size=4).map(tuple),
    st.sampled_from(["float16", "float32", "float64", "bfloat16"]),
)
LAYOUTS = st.builds(
    Layout,
    st.lists(TENSORS, min_size=1, max_size=5, unique_by=lambda tensor: tensor.name).map(tuple),
    st.lists(NAMES.filter(lambda name: name != "weight"), max_size=3, unique=True).map(tuple),
)


@given(st.sampled_from(list(SCHEMES)), LAYOUTS, st.integers(1, 2**32 - 1))
def test_terms_come_back(scheme: str, layout: Layout, client: int) -> None:
    written = JobTerms(scheme, layout, client)
    read = JobTerms.from_json(written.to_json())
    assert read == written
    assert read.layout.digest == layout.digest


def parts(**changes: Any) -> str:
    return json.dumps(json.loads(JobTerms("masks", LAYOUT, 3).to_json()) | changes)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "not the JSON object"),
        ("[]", "an object with the keys version, scheme, client, tensors, metrics"),
        ("[" * 100_000, "not the JSON object"),
        ('{"version": 1, "version": 1}', "not the JSON object"),
        (parts(more=1), "an object with the keys"),
        (parts(version=2), "another version than 1"),
        (parts(version=True), "another version than 1"),
        (parts(scheme="mask"), "the scheme is none of masks"),
        (parts(scheme=["masks"]), "the scheme is none of masks"),
        (parts(client=0), "no id in 1"),
        (parts(client=2**32), "no id in 1"),
        (parts(client=True), "no id in 1"),
        (parts(client=3.0), "no id in 1"),
        (parts(tensors={}), "are not lists"),
        (parts(metrics=None), "are not lists"),
        (parts(tensors=[["w", [2]]]), "tensor 0 is not [name, shape, dtype]"),
        (parts(tensors=[[1, [2], "float32"]]), "tensor 0 has no name"),
        (parts(tensors=[["w" * 2**16, [2], "float32"]]), "tensor 0 has no name of at most 65535 bytes"),
        (parts(tensors=[["\ud800", [2], "float32"]]), "tensor 0 has no name"),
        (parts(tensors=[["w", 2, "float32"]]), "the shape of tensor 'w' is not a list"),
        (parts(tensors=[["w", [1] * 256, "float32"]]), "at most 255 extents"),
        (parts(tensors=[["w", [-1], "float32"]]), "no whole number from 0 on"),
        (parts(tensors=[["w", [2.0], "float32"]]), "no whole number from 0 on"),
        (parts(tensors=[["w", [True], "float32"]]), "no whole number from 0 on"),
        (parts(tensors=[["w", [2**63], "float32"]]), "no whole number from 0 on"),
        (parts(tensors=[["w", [2], 4]]), "the dtype of tensor 'w' is no name"),
        (parts(tensors=[["w", [2], "int8"]]), "tensor 'w' is int8"),
        (parts(tensors=[["w", [2], "float32"]] * 2), "two tensors have one name"),
        (parts(metrics=["loss", "loss"]), "two metrics have one name"),
        (parts(metrics=["weight"]), "scalar 'weight' occurs twice"),
        (parts(metrics=[7]), "metric 0 has no name"),
        (parts(tensors=[]), "no parameters"),
        (parts(tensors=[["w", [0], "float32"]]), "no parameters"),
    ],
)
def test_what_is_wrong_is_named(text: str, problem: str) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        JobTerms.from_json(text)
    assert (caught.value.rule, caught.value.peer) == ("O2", 0)
    assert problem in caught.value.detail


def test_a_text_without_bound_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    text = JobTerms("masks", LAYOUT, 3).to_json()
    monkeypatch.setattr(terms, "GREATEST_TERMS", len(text))
    assert JobTerms.from_json(text).client == 3
    with pytest.raises(RemoteProtocolError, match="characters, at most"):
        JobTerms.from_json(text + " ")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


@given(JSON, st.sampled_from(["version", "scheme", "client", "tensors", "metrics"]))
def test_any_json_is_read_or_refused(value: Any, key: str) -> None:
    for text in (json.dumps(value), parts(**{key: value}), parts(tensors=[["w", [2], "float32"], value])):
        with suppress(RemoteProtocolError):
            JobTerms.from_json(text)
