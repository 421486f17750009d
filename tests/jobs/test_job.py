"""The main job end to end, at a tiny size: what it leaves, what it measures, how it goes on after a kill."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from securefed.errors import ConfigError
from securefed.jobs.configuration import Configuration
from securefed.jobs.configuration_file import load
from securefed.jobs.job import new_folder, run
from securefed.jobs.material import corpus_of, prepare
from securefed.llm.evaluation import evaluate

from .conftest import TINY, Silent, events, job


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Configuration, Silent]:
    """One run with all arms and a client that is lost."""
    folder = tmp_path_factory.mktemp("whole")
    config, display = job(folder, "aggregation.lose_stage=input", "aggregation.lose_round=2")
    return folder, config, display


def test_what_a_run_leaves(whole: tuple[Path, Configuration, Silent]) -> None:
    folder, config, _ = whole
    for name in (
        "adapter/adapter_model.safetensors",
        "adapter/adapter_config.json",
        "base/model.safetensors",
        "base/tokenizer.json",
        "config.toml",
        "metrics.jsonl",
        "report.html",
        "report.md",
    ):
        assert (folder / name).stat().st_size > 0, name
    assert load(folder / "config.toml") == config
    assert len(list((folder / "plots").glob("*.png"))) >= 3
    assert not list(folder.rglob("*.bin.new"))


def test_a_run_says_whom_it_was_protected_from(whole: tuple[Path, Configuration, Silent]) -> None:
    folder, _, _ = whole
    start = events(folder, "start")[0]
    assert (start["scheme"], start["adversary"], start["corrupt"], start["threshold"]) == ("masks", "malicious", 2, 6)
    protected = [e for e in events(folder, "round") if e["arm"] == "masks"]
    stages = ["advertise", "share", "input", "consent", "release"]
    assert all(list(event["stages"]) == stages for event in protected)  # type: ignore[call-overload]
    assert "a malicious server with 25.0% of the clients" in (folder / "adapter" / "README.md").read_text()


def test_the_adapter_loads_and_measures_as_it_was_reported(whole: tuple[Path, Configuration, Silent]) -> None:
    folder, config, _ = whole
    base = AutoModelForCausalLM.from_pretrained(folder / "base")
    model = PeftModel.from_pretrained(base, folder / "adapter").eval()
    AutoTokenizer.from_pretrained(folder / "adapter")
    material = prepare(config, corpus_of(config), str(folder / "base"))
    reported = {e["client"]: e["loss"] for e in events(folder, "evaluation") if e["arm"] == "masks" and e["final"]}
    assert set(reported) == {client.name for client in material.clients}
    for client in material.clients:
        assert evaluate(model, client.held_out).loss == pytest.approx(reported[client.name], rel=1e-5)


def test_every_arm_is_measured_on_every_client(whole: tuple[Path, Configuration, Silent]) -> None:
    folder, _, _ = whole
    final = {(e["arm"], e["client"]): e for e in events(folder, "evaluation") if e["final"]}
    assert len(final) == 5 * 8
    for event in final.values():
        assert event["perplexity"] == pytest.approx(math.exp(event["loss"]))  # type: ignore[arg-type]
    per_round = [e for e in events(folder, "evaluation") if e["arm"] == "masks" and e["round"] is not None]
    assert len(per_round) == 3 * 8


def test_the_lost_client_and_the_costs_of_each_round(whole: tuple[Path, Configuration, Silent]) -> None:
    folder, _, display = whole
    rounds = {(e["arm"], e["round"]): e for e in events(folder, "round")}
    assert len(rounds) == 6
    lost = rounds["masks", 2]
    assert (lost["survivors"], lost["cohort"]) == (7, 8)
    assert [entry["stage"] for entry in lost["lost"]] == ["input"]  # type: ignore[attr-defined]
    assert rounds["plain", 2]["survivors"] == 7
    assert any("was lost before it answered 'input'" in line for line in display.lines)
    values = events(folder, "start")[0]["parameters"]["trained"]  # type: ignore[index]
    for (arm, _), event in rounds.items():
        assert event["clipped_share"] == 0.0
        assert sum(event["stages"].values()) == pytest.approx(event["protection_seconds"], abs=0.01)  # type: ignore[attr-defined]
        for size in event["bytes_up"].values():  # type: ignore[attr-defined]
            if arm == "plain":
                assert size > 8 * values
    full = rounds["masks", 1]["bytes_up"].values()  # type: ignore[attr-defined]
    # 16 bits and 8 clients: lanes of 19 bits, three in a word of 57.
    assert all(19 / 8 * values < size < 19 / 8 * values + 2500 for size in full)
    assert len({e["session"] for e in events(folder, "round")}) == 6


def test_masks_cost_no_quality(whole: tuple[Path, Configuration, Silent]) -> None:
    folder, _, _ = whole
    loss = {
        arm: np.mean([e["loss"] for e in events(folder, "evaluation") if e["arm"] == arm and e["final"]])
        for arm in ("masks", "plain")
    }
    assert loss["masks"] / loss["plain"] == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("stage", ["advertise", "share", "consent", "release"])
def test_a_client_lost_at_any_other_stage(stage: str, tmp_path: Path) -> None:
    job(
        tmp_path,
        f"aggregation.lose_stage={stage}",
        "aggregation.lose_round=1",
        "training.rounds=1",
        "evaluation.arms=[plain]",
    )
    masks, plain = events(tmp_path, "round")
    assert [entry["stage"] for entry in masks["lost"]] == [stage]  # type: ignore[attr-defined]
    assert masks["survivors"] == plain["survivors"] == (8 if stage in ("consent", "release") else 7)


@pytest.mark.parametrize("kind", ["full", "pretrain"])
def test_other_methods_through_the_same_loop(kind: str, tmp_path: Path) -> None:
    job(tmp_path, f"method.kind={kind}", "training.rounds=1", "evaluation.arms=['public']", "aggregation.clip=0.5")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    start = events(tmp_path, "start")[0]["parameters"]
    assert start["trained"] == start["total"] == sum(p.numel() for p in model.parameters())  # type: ignore[index]


def test_plain_scheme_as_the_runs_own(tmp_path: Path) -> None:
    job(tmp_path, "aggregation.scheme=plain", "training.rounds=1", "evaluation.arms=[]")
    assert {e["arm"] for e in events(tmp_path, "round")} == {"plain"}
    assert (tmp_path / "adapter" / "adapter_model.safetensors").exists()


@pytest.mark.parametrize("aggregation", ["ffa", "alternate", "core", "fedit"])
def test_every_aggregation_of_adapters_ends_in_one_that_peft_loads(aggregation: str, tmp_path: Path) -> None:
    ranks = "method.client_ranks=[8, 8, 4, 4, 2, 2, 1, 1]"
    config, display = job(
        tmp_path, f"method.lora_aggregation={aggregation}", ranks, "training.rounds=2", "evaluation.arms=[]"
    )
    model = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(tmp_path / "base"), tmp_path / "adapter"
    ).eval()
    reported = {e["client"]: e["loss"] for e in events(tmp_path, "evaluation") if e["arm"] == "masks" and e["final"]}
    material = prepare(config, corpus_of(config), str(tmp_path / "base"))
    for client in material.clients:
        assert evaluate(model, client.held_out).loss == pytest.approx(reported[client.name], rel=1e-5)
    assert all(event["survivors"] == 8 for event in events(tmp_path, "round"))

    biased = aggregation == "fedit"
    start = events(tmp_path, "start")[0]
    assert start["lora_aggregation"] == aggregation
    pages = [(tmp_path / name).read_text() for name in ("report.html", "report.md", "adapter/README.md")]
    for text in [*pages, "\n".join(display.lines), "".join(start["warnings"])]:  # type: ignore[arg-type]
        assert ("mean(B)·mean(A) is not mean(B·A)" in text) == biased
    assert f"aggregated by {aggregation}" in pages[2]

    # What is said to be sent is what a client sends: 19 bits in masks of 8 clients, three lanes in a word.
    values = start["parameters"]["trained"]  # type: ignore[index]
    up = np.mean([size for event in events(tmp_path, "round") for size in event["bytes_up"].values()])  # type: ignore[attr-defined]
    assert 19 / 8 * values < up < 19 / 8 * values + 2700


def test_ranks_must_be_as_many_as_clients(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="got 3 ranks; allowed is one for each of the 8 clients") as caught:
        job(tmp_path, "method.client_ranks=[8, 4, 4]")
    assert caught.value.key == "method.client_ranks"


def test_kill_at_any_moment_and_resume_ends_at_the_same_model(
    whole: tuple[Path, Configuration, Silent], tmp_path: Path
) -> None:
    undisturbed, config, _ = whole
    (tmp_path / "config.toml").write_text(config.to_toml())
    command = [sys.executable, "-m", "securefed.cli", "run", "--resume", str(tmp_path)]
    metrics = tmp_path / "metrics.jsonl"
    for seen in (b'"round": 1', b'"round": 2'):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and process.poll() is None:
            if metrics.exists() and seen in metrics.read_bytes():
                break
            time.sleep(0.005)
        os.kill(process.pid, signal.SIGKILL)
        _, stderr = process.communicate()
        assert process.returncode == -signal.SIGKILL, stderr.decode()
    run(config, tmp_path, Silent())
    for name in ("adapter/adapter_model.safetensors", "base/model.safetensors"):
        assert (tmp_path / name).read_bytes() == (undisturbed / name).read_bytes(), name
    for arm in ("masks", "plain"):
        lines = (tmp_path / "state" / arm / "sessions.jsonl").read_text().splitlines()
        sessions = [json.loads(line)["session"] for line in lines]
        assert len(sessions) == len(set(sessions)) >= 3
    assert (tmp_path / "report.html").exists()


def test_a_crash_in_mid_copy_leaves_no_half_of_a_base_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(source: Path, target: Path) -> None:
        target.mkdir()
        (target / "config.json").write_bytes((source / "config.json").read_bytes())
        raise KeyboardInterrupt

    settings = ("training.rounds=1", "evaluation.arms=[]")
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copytree", killed)
        with pytest.raises(KeyboardInterrupt):
            job(tmp_path, *settings)
    job(tmp_path, *settings)
    assert (tmp_path / "base" / "model.safetensors").exists()
    assert not (tmp_path / ".base.new").exists()


def test_a_finished_run_is_not_done_again(whole: tuple[Path, Configuration, Silent]) -> None:
    folder, config, _ = whole
    before = (folder / "state" / "masks" / "sessions.jsonl").read_bytes()
    run(config, folder, Silent())
    assert (folder / "state" / "masks" / "sessions.jsonl").read_bytes() == before


def test_a_folder_of_another_configuration_is_refused(whole: tuple[Path, Configuration, Silent]) -> None:
    folder, _, _ = whole
    with pytest.raises(ConfigError, match="another configuration"):
        run(load(None, [*TINY, "seed=1"]), folder, Silent())


def test_no_run_is_overwritten(tmp_path: Path) -> None:
    names = [new_folder(tmp_path, "demo").name for _ in range(3)]
    assert names == ["demo", "demo-2", "demo-3"]
