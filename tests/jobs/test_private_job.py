"""The main job with differential privacy: what it states, what it refuses, and that a resume cannot forget spending."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from securefed.dp.accounting import Certificate, Ledger
from securefed.dp.accounting.ledger_file import read
from securefed.errors import ConfigError, PersistenceError
from securefed.jobs.configuration_file import load
from securefed.jobs.job import run

from .conftest import Silent, events, job

pytest.importorskip("dp_accounting")

FEW = ("evaluation.arms=[]", "evaluation.every_round=false", "training.rounds=2")


def statement(folder: Path) -> dict[str, object]:
    (found,) = events(folder, "privacy")
    return found


def facts(folder: Path) -> dict[str, str]:
    return dict(statement(folder)["facts"])  # type: ignore[call-overload]


def test_sequences_are_private_against_everybody_else(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    config, display = job(folder, *FEW, "privacy.kind=example", "privacy.epsilon=4")
    said = statement(folder)
    assert said["unit"] == "sequence of 32 tokens"
    assert 3.9 < float(said["epsilon"]) <= 4.0  # type: ignore[arg-type]
    # One ledger a client, a step an entry; the figure is the worst client's.
    books = sorted((folder / "state" / "masks" / "ledgers").iterdir())
    assert len(books) == 8
    entries = [sum(entry.times for entry in read(book).entries) for book in books]  # type: ignore[union-attr]
    assert entries == [config.training.rounds * config.training.local_steps] * 8
    worst = []
    for book in books:
        with Ledger.load(book) as opened:
            worst.append(opened.epsilon())
    assert max(worst) == said["epsilon"]
    assert all(event["training_loss"] is None for event in events(folder, "round"))
    assert any("ε = " in line and "sequence" in line for line in display.lines)
    card = (folder / "adapter" / "README.md").read_text()
    for words in ("(ε, δ) = (", "Neighbours", "Poisson", "Accountant", "Clipping", "Dropouts", "Not covered by it"):
        assert words in card
    assert "No differential privacy" not in card
    page = (folder / "report.html").read_text()
    assert "Differential privacy</h2>" in page
    assert "there is no differential privacy" not in page


@pytest.mark.parametrize(
    ("overrides", "scheme"),
    [
        (("aggregation.scheme=bfv", "aggregation.corrupt=0", "method.lora_aggregation=core"), "encrypted"),
        (
            ("method.lora_aggregation=alternate", "privacy.mechanism=discrete-gaussian", "privacy.clip=layerwise"),
            "masks",
        ),
        (("method.kind=full", "aggregation.scheme=plain"), "plain"),
    ],
)
def test_clients_are_private_against_the_server_too(tmp_path: Path, overrides: tuple[str, ...], scheme: str) -> None:
    folder = tmp_path / "run"
    job(folder, *FEW, "privacy.kind=distributed", "privacy.epsilon=8", *overrides)
    said = statement(folder)
    assert (said["arm"], said["unit"]) == (scheme, "client")
    # The noise of all eight was there, and fewer were planned with.
    assert float(said["epsilon"]) < float(said["planned"]) <= 8.0  # type: ignore[arg-type]
    assert "drowns what the clients learnt" in facts(folder)["Noise"]
    assert ("Not the server" if scheme == "plain" else "The server together with") in facts(folder)["Against"]


def test_a_trusted_server_may_correlate_the_noise(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    job(folder, *FEW, "privacy.kind=client", "privacy.mechanism=matrix")
    assert 7.9 < float(statement(folder)["epsilon"]) <= 8.0  # type: ignore[arg-type]
    assert (folder / "state" / "masks" / "noise.key").stat().st_mode & 0o077 == 0


@pytest.fixture(scope="module")
def of_clients(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with noise of the server in every round."""
    folder = tmp_path_factory.mktemp("client")
    job(folder, *FEW, "privacy.kind=client", "privacy.clip=adaptive")
    return folder


@pytest.mark.rule("D11")
def test_a_run_is_not_taken_up_beside_a_ledger_that_forgot(of_clients: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(of_clients, folder)
    file = folder / "state" / "masks" / "ledgers" / "released.jsonl"
    file.write_bytes(b"".join(file.read_bytes().splitlines(keepends=True)[:-1]))
    with pytest.raises(PersistenceError, match="D11"):
        run(load(folder / "config.toml"), folder, Silent())


@pytest.mark.parametrize(
    ("overrides", "key", "says"),
    [
        (("privacy.kind=client", "privacy.mechanism=skellam"), "privacy.mechanism", "gaussian or matrix"),
        (("privacy.kind=distributed", "privacy.clip=adaptive"), "privacy.clip", "layerwise or flat"),
        (("privacy.kind=client", "training.weighting=examples"), "training.weighting", "private too"),
        (("privacy.kind=example", "method.client_ranks=[4, 8]"), "method.client_ranks", "no noise covers"),
        (("privacy.epsilon=4",), "privacy.kind", "say of whom"),
        (("privacy.kind=secret",), "privacy.kind", '"distributed"'),
        (("privacy.epsilon=0",), "privacy.epsilon", "> 0"),
        (("privacy.delta=1",), "privacy.delta", "< 1"),
        (("privacy.bound=-1",), "privacy.bound", "> 0"),
    ],
)
@pytest.mark.rule("D10")
def test_what_does_not_go_together_is_refused_by_key(overrides: tuple[str, ...], key: str, says: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load(None, list(overrides))
    assert refused.value.key == key
    assert says in refused.value.detail


def test_correlated_noise_needs_the_same_tensors_in_every_round(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="alternate"):
        job(
            tmp_path / "run", *FEW, "privacy.kind=client", "privacy.mechanism=matrix",
            "method.lora_aggregation=alternate",
        )  # fmt: skip


def test_a_budget_that_is_spent_ends_the_run_with_what_was_trained(tmp_path: Path) -> None:
    """A first attempt that fails after the updates left costs as much as a round: the last round is not affordable."""
    folder = tmp_path / "run"
    job(
        folder, *FEW, "privacy.kind=distributed", "aggregation.scheme=bfv", "aggregation.corrupt=0",
        "aggregation.lose_stage=open", "aggregation.lose_round=1",
    )  # fmt: skip
    ended = [event for event in events(folder, "aborted") if event["stage"] == "budget"]
    assert [event["round"] for event in ended] == [2]
    assert (folder / "adapter" / "adapter_model.safetensors").exists()
    assert "ended there" in (folder / "report.md").read_text()


def test_certificates_of_a_run_can_be_checked_by_anyone(of_clients: Path) -> None:
    folder = of_clients
    assert 7.9 < float(statement(folder)["epsilon"]) <= 8.0  # type: ignore[arg-type]
    assert "Not against the server" in facts(folder)["Against"]
    place = folder / "adapter" / "privacy"
    (certificate,) = sorted(place.iterdir())
    claimed = Certificate.from_json(certificate.read_text())
    claimed.check(folder / "state" / "masks" / "ledgers" / "released.jsonl")
    assert json.loads(certificate.read_text())["unit"] == "client"
