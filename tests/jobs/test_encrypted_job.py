"""The main job under a homomorphic scheme: the same model as in the clear, and everything about it said."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from peft import PeftModel
from transformers import AutoModelForCausalLM

from securefed.errors import ConfigError
from securefed.jobs.material import corpus_of, prepare
from securefed.llm.evaluation import evaluate
from tests.tenseal import needs_tenseal

from .conftest import events, job

ENCRYPTED = ("aggregation.scheme=bfv", "aggregation.corrupt=0")
WEIGHTS = "adapter/adapter_model.safetensors"
SETTINGS = (
    "aggregation.corrupt=0",
    "aggregation.lose_stage=input",
    "aggregation.lose_round=2",
    "training.rounds=2",
)


@pytest.fixture(scope="module")
def in_the_clear(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on the same integers, in the clear, that loses the same client."""
    folder = tmp_path_factory.mktemp("plain")
    job(folder, "aggregation.scheme=plain", *SETTINGS, "evaluation.arms=[]")
    return folder


@pytest.mark.parametrize("scheme", ["bfv", pytest.param("ckks-compact", marks=needs_tenseal)])
def test_an_encrypted_run_ends_at_the_weights_of_the_same_sum_in_the_clear(
    scheme: str, in_the_clear: Path, tmp_path: Path
) -> None:
    """The same integers: adapters that are equal byte for byte, over a round that loses a client."""
    config, _ = job(tmp_path, f"aggregation.scheme={scheme}", *SETTINGS, "evaluation.arms=[plain]")
    assert (tmp_path / WEIGHTS).read_bytes() == (in_the_clear / WEIGHTS).read_bytes()

    base = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    model = PeftModel.from_pretrained(base, tmp_path / "adapter").eval()
    final = {e["client"]: e["loss"] for e in events(tmp_path, "evaluation") if e["arm"] == "encrypted" and e["final"]}
    for client in prepare(config, corpus_of(config), str(tmp_path / "base")).clients:
        assert evaluate(model, client.held_out).loss == pytest.approx(final[client.name], rel=1e-5)

    rounds = {(e["arm"], e["round"]): e for e in events(tmp_path, "round")}
    assert [rounds[arm, 2]["survivors"] for arm in ("encrypted", "plain")] == [7, 7]
    assert list(rounds["encrypted", 1]["stages"]) == ["advertise", "keys", "input", "open"]  # type: ignore[call-overload]
    start = events(tmp_path, "start")[0]
    assert (start["scheme"], start["threshold"]) == (scheme, 5)
    assert ("tenseal" in start["versions"]) == (scheme == "ckks-compact")  # type: ignore[operator]
    assert (tmp_path / "state" / "encrypted" / "checkpoint.bin").exists()
    page, table, card = ((tmp_path / name).read_text() for name in ("report.html", "report.md", "adapter/README.md"))
    assert "opens every update of the round" in page
    assert "| **Federated, encrypted** |" in table
    assert f"(`{scheme}`, suite " in card


@pytest.mark.parametrize(("stage", "survivors"), [("keys", 7), ("open", 8)])
def test_a_lost_key_holder_costs_its_update_or_the_attempt(stage: str, survivors: int, tmp_path: Path) -> None:
    settings = ("aggregation.lose_round=1", "training.rounds=1", f"aggregation.lose_stage={stage}")
    _, display = job(tmp_path, *ENCRYPTED, *settings, "evaluation.arms=[plain]")
    rounds, aborted = events(tmp_path, "round"), events(tmp_path, "aborted")
    assert [e["survivors"] for e in rounds] == [survivors] * 2  # in the clear the same
    assert (aborted or rounds)[0]["lost"] == [{"client": "asyncio", "stage": stage}]
    ended = [("encrypted", "open", True)] if stage == "open" else []
    assert [(e["arm"], e["stage"], e["again"]) for e in aborted] == ended
    told = "Round 1 was aborted: asyncio, which held the round's key" in (tmp_path / "report.md").read_text()
    shown = any("run again under new keys" in line for line in display.lines)
    assert told == shown == (stage == "open")


def test_a_missing_library_is_named_before_anything_is_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("tenseal", "tenseal.sealapi"):
        monkeypatch.setitem(sys.modules, name, None)
    for name, module in list(sys.modules.items()):
        if name.startswith("securefed.he.") and hasattr(module, "CkksContext"):
            monkeypatch.delitem(sys.modules, name)  # as if nobody had imported the library yet
    with pytest.raises(
        ConfigError, match=r"need TenSEAL .*: install the extra, pip install 'securefed\[he\]'"
    ) as caught:
        job(tmp_path, "aggregation.scheme=ckks", "aggregation.corrupt=0")
    assert caught.value.key == "aggregation.scheme"
    assert not (tmp_path / "metrics.jsonl").exists()


def test_a_cohort_that_no_ciphertext_holds_is_named_once_it_is_counted(tmp_path: Path) -> None:
    """Where all clients are asked nobody knows their number when the configuration is read."""
    rows = (f'{{"client": "{n % 700}", "text": "{"a word and another " * 3}{n}"}}' for n in range(1400))
    data = tmp_path / "many.jsonl"
    data.write_text("\n".join(rows))
    settings = ("data.source=jsonl", f"data.file={data}", "data.min_characters=1", "data.max_clients=600")
    with pytest.raises(ConfigError, match=r"\[V8\]") as caught:
        job(tmp_path / "run", *settings, "aggregation.scheme=bfv-2048", "aggregation.corrupt=0", "aggregation.bits=32")
    assert caught.value.key == "aggregation.bits"
    assert not (tmp_path / "run" / "metrics.jsonl").exists()
