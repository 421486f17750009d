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


@pytest.mark.parametrize("scheme", ["plain"])
def test_in_the_clear(scheme: str) -> None:
    text = card(8, f"aggregation.scheme={scheme}")
    assert "the server saw each of them" in text
    assert "malicious" not in text
