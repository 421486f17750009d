"""What a model card says about protection is what the run had: no more, and no less."""

from __future__ import annotations

import pytest

from securefed.jobs.configuration_file import load
from securefed.jobs.model_card import model_card


def card(clients: int, *overrides: str) -> str:
    return model_card(load(None, overrides), clients).decode()


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        ((), ("rounds of 8 clients", "a malicious server with 25.0% of the clients", "at least 6")),
        (("aggregation.server=semi-honest",), ("a semi-honest server with 25.0% of the clients", "at least 5")),
        (("aggregation.corrupt=0.1",), ("with 10.0% of the clients", "at least 5")),
        (("training.clients_per_round=4",), ("rounds of 4 clients", "at least 3")),
    ],
)
def test_under_masks(overrides: tuple[str, ...], says: tuple[str, ...]) -> None:
    text = card(8, *overrides)
    assert all(one in text for one in says)
    assert "Poisoning is not covered" in text


@pytest.mark.parametrize(("scheme", "suite"), [("bfv", "0x10"), ("bfv-2048", "0x11"), ("ckks-compact", "0x21")])
@pytest.mark.parametrize("server", ["malicious", "semi-honest"])
def test_encrypted(scheme: str, suite: str, server: str) -> None:
    text = card(8, f"aggregation.scheme={scheme}", "aggregation.corrupt=0", f"aggregation.server={server}")
    for says in (
        f"(`{scheme}`, suite {suite}) in rounds of 8 clients", f"a {server} server that no client works with",
        "the key holder, one of the clients", "could have opened every update", "Poisoning is not covered",
    ):  # fmt: skip
        assert says in text
    assert "% of the clients" not in text


@pytest.mark.parametrize("scheme", ["plain", "float"])
def test_in_the_clear(scheme: str) -> None:
    text = card(8, f"aggregation.scheme={scheme}")
    assert "the server saw each of them" in text
    assert "malicious" not in text
