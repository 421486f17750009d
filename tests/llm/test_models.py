"""Models from configurations and directories, and the pretrained start with its cache."""

from __future__ import annotations

import json
import logging
import socket
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from securefed.errors import ConfigError
from securefed.llm.blocks import pack
from securefed.llm.evaluation import evaluate
from securefed.llm.methods import LoraOptions, attach, save, weights
from securefed.llm.models import (
    check_fit,
    demo_configuration,
    from_configuration,
    load_configuration,
    load_model,
)
from securefed.llm.pretraining import Pretraining, cache_directory, pretrained
from securefed.llm.runtime import quiet, use_threads
from securefed.llm.tokenizer import load_tokenizer, train_tokenizer
from securefed.llm.training import fit

from .architectures import CONFIGURATIONS, VOCABULARY

TEXTS = tuple(f"def function_{i}(x):\n    return x + {i}\n" * 8 for i in range(12))
RECIPE = Pretraining(
    configuration={**CONFIGURATIONS["llama"], "hidden_size": 16}, vocabulary=300, context=16, steps=20, batch=4
)


def same(left: torch.nn.Module, right: torch.nn.Module) -> bool:
    pairs = zip(left.state_dict().items(), right.state_dict().items(), strict=True)
    return all(a == b and torch.equal(x, y) for (a, x), (b, y) in pairs)


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object, **_kwargs: object) -> None:
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_a_configuration_and_a_seed_give_a_model(name: str) -> None:
    first, again, other = (from_configuration(CONFIGURATIONS[name], seed) for seed in (1, 1, 2))
    assert same(first, again)
    assert not same(first, other)
    assert {value.dtype for value in first.state_dict().values()} == {torch.float32}
    assert not first.training


def test_the_demo_model_is_as_large_as_it_says() -> None:
    model = from_configuration(demo_configuration(), 0)
    assert sum(tensor.numel() for tensor in model.parameters()) == 770_944
    assert sum(value.size for value in weights(attach(model, "lora")).values()) == 61_440


@pytest.mark.parametrize(
    ("configuration", "key"),
    [
        ({}, "model.configuration.model_type"),
        ({"model_type": "no-such-thing"}, "model.configuration"),
        ({"model_type": "vit"}, "model.configuration"),
        ({"model_type": "llama", **CONFIGURATIONS["llama"], "num_attention_heads": 0}, "model.configuration"),
    ],
)
def test_impossible_configurations_are_refused(configuration: dict[str, object], key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        from_configuration(configuration, 0)
    assert caught.value.key == key


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_a_saved_model_loads_without_network(name: str, tmp_path: Path) -> None:
    model = from_configuration(CONFIGURATIONS[name], 1)
    save(attach(model, "full"), tmp_path)
    assert same(load_model(tmp_path), model)
    shape = from_configuration(load_configuration(tmp_path), 1)
    assert same(shape, model)


@pytest.mark.usefixtures("no_network")
def test_an_adapter_is_saved_without_network(tmp_path: Path) -> None:
    save(attach(load_model(_model(tmp_path / "model")), "lora"), tmp_path / "adapter")
    assert {path.name for path in (tmp_path / "adapter").iterdir()} >= {
        "adapter_config.json",
        "adapter_model.safetensors",
    }


def _model(folder: Path) -> Path:
    save(attach(from_configuration(CONFIGURATIONS["llama"], 1), "full"), folder)
    return folder


@pytest.mark.usefixtures("no_network")
def test_a_directory_without_a_model_is_refused(tmp_path: Path) -> None:
    for load in (load_model, load_configuration, load_tokenizer):
        with pytest.raises(ConfigError, match=str(tmp_path)) as caught:
            load(tmp_path)
        assert caught.value.key == "model.base"
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ConfigError):
        load_model(tmp_path)


def test_damaged_weights_are_refused(tmp_path: Path) -> None:
    place = _model(tmp_path) / "model.safetensors"
    place.write_bytes(place.read_bytes()[:100])
    with pytest.raises(ConfigError, match="no causal language model"):
        load_model(tmp_path)


def test_a_missing_weight_is_refused_and_not_made_up(tmp_path: Path) -> None:
    place = _model(tmp_path) / "model.safetensors"
    tensors = load_file(place)
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, place, metadata={"format": "pt"})
    with pytest.raises(ConfigError, match=r"'model\.layers\.1\.mlp\.up_proj\.weight'"):
        load_model(tmp_path)


def test_a_pickle_is_never_read(tmp_path: Path) -> None:
    place = _model(tmp_path)
    model = load_model(place)
    (place / "model.safetensors").unlink()
    torch.save(model.state_dict(), place / "pytorch_model.bin")
    with pytest.raises(ConfigError, match="no causal language model"):
        load_model(place)


def test_a_model_that_does_not_fit_is_refused() -> None:
    model, tokenizer = from_configuration(CONFIGURATIONS["llama"], 1), train_tokenizer(TEXTS, 300)
    with pytest.raises(ConfigError, match=f"{len(tokenizer)} tokens and the model {VOCABULARY}"):
        check_fit(model, tokenizer, 16)
    fitting = from_configuration({**CONFIGURATIONS["gpt2"], "vocab_size": 300}, 1)
    check_fit(fitting, tokenizer, 32)
    with pytest.raises(ConfigError, match="33 tokens are more than the model's 32"):
        check_fit(fitting, tokenizer, 33)


def test_the_start_is_trained_once_and_then_found(tmp_path: Path) -> None:
    steps: list[int] = []
    made = pretrained(TEXTS, RECIPE, cache=tmp_path, progress=lambda step, _steps, _loss: steps.append(step))
    assert not made.cached
    assert steps == list(range(1, 21))
    found = pretrained(TEXTS, RECIPE, cache=tmp_path, progress=lambda *_: pytest.fail("trained again"))
    assert found == replace(made, cached=True)
    assert [path.name for path in tmp_path.iterdir()] == [made.directory.name]

    tokenizer, model = load_tokenizer(made.directory), load_model(made.directory)
    check_fit(model, tokenizer, 16)
    assert model.config.eos_token_id == tokenizer.eos_token_id
    untrained = from_configuration({**RECIPE.configuration, "vocab_size": len(tokenizer)}, 0)
    blocks = pack(TEXTS, tokenizer, 16)
    assert evaluate(model, blocks).loss < evaluate(untrained, blocks).loss
    assert isinstance(AutoModelForCausalLM.from_pretrained(made.directory), type(model))


def test_the_start_depends_on_text_and_recipe(tmp_path: Path) -> None:
    made = pretrained(TEXTS, RECIPE, cache=tmp_path)
    others = [
        pretrained(TEXTS[1:], RECIPE, cache=tmp_path),
        pretrained(TEXTS, replace(RECIPE, seed=1), cache=tmp_path),
        pretrained(TEXTS, replace(RECIPE, steps=3), cache=tmp_path),
        pretrained(TEXTS, replace(RECIPE, configuration=CONFIGURATIONS["gpt2"]), cache=tmp_path),
    ]
    assert len({made.key, *(other.key for other in others)}) == 5
    elsewhere = pretrained(TEXTS, RECIPE, cache=tmp_path / "elsewhere")
    assert elsewhere.key == made.key
    assert same(load_model(elsewhere.directory), load_model(made.directory))


@pytest.mark.parametrize("fault", ["weights", "manifest", "figures", "missing", "truncated", "not json"])
def test_a_damaged_start_is_made_anew(fault: str, tmp_path: Path) -> None:
    made = pretrained(TEXTS, RECIPE, cache=tmp_path)
    manifest, model = made.directory / "entry.json", made.directory / "model.safetensors"
    good = model.read_bytes()
    if fault == "weights":
        model.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    elif fault == "missing":
        model.unlink()
    elif fault == "truncated":
        model.write_bytes(good[:-4])
    elif fault == "not json":
        manifest.write_text("[]")
    else:
        whole = json.loads(manifest.read_text())
        if fault == "figures":
            whole["body"]["figures"]["loss"] = 0.0
        else:
            whole["body"]["files"] = {}
        manifest.write_text(json.dumps(whole))
    again = pretrained(TEXTS, RECIPE, cache=tmp_path)
    assert not again.cached
    assert model.read_bytes() == good
    assert pretrained(TEXTS, RECIPE, cache=tmp_path).cached
    assert len(list(tmp_path.iterdir())) == 1


def test_a_training_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def stop(step: int, _steps: int, _loss: float) -> None:
        if step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pretrained(TEXTS, RECIPE, cache=tmp_path, progress=stop)
    assert list(tmp_path.iterdir()) == []


def test_a_cache_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="SECUREFED_CACHE"):
        pretrained(TEXTS, RECIPE, cache=tmp_path / "file")


def test_the_cache_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SECUREFED_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_directory() == tmp_path / ".cache" / "securefed"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "general"))
    assert cache_directory() == tmp_path / "general" / "securefed"
    monkeypatch.setenv("SECUREFED_CACHE", str(tmp_path / "own"))
    assert cache_directory() == tmp_path / "own"


def test_quiet_is_quiet_and_undone(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    logger = logging.getLogger("transformers")
    before = logger.level
    with quiet():
        logger.warning("not to be seen")
    assert logger.level == before
    save(attach(load_model(_model(tmp_path)), "lora"), tmp_path / "adapter")
    base = pretrained(TEXTS, RECIPE, cache=tmp_path / "cache")
    pack((TEXTS[0] * 100,), load_tokenizer(base.directory), 16)
    assert capfd.readouterr() == ("", "")


def test_threads_are_as_asked() -> None:
    assert use_threads(2) == torch.get_num_threads() == 2
    assert use_threads() == torch.get_num_threads() >= 1


def test_stories260k_learns_shakespeare_with_adapters(shared_data: Path) -> None:
    place = shared_data / "models" / "stories260K-hf"
    tokenizer, model = load_tokenizer(place), load_model(place)
    check_fit(model, tokenizer, 64)
    rows = (shared_data / "tinyshakespeare_by_speaker.jsonl").read_text().splitlines()
    lines = json.loads(rows[0])["lines"]
    blocks, held_out = pack(lines[20:], tokenizer, 64), pack(lines[:20], tokenizer, 64)
    assert tokenizer.pad_token_id == tokenizer.eos_token_id
    assert np.count_nonzero(held_out.labels == tokenizer.eos_token_id) == 20
    module = attach(model, "lora", lora=LoraOptions(rank=8), seed=0)
    before = evaluate(module, held_out).loss
    fit(module, blocks, steps=40, batch=8, learning_rate=6e-3, schedule="cosine", seed=0)
    after = evaluate(module, held_out).loss
    assert 4.0 < before < 6.0
    assert after < before - 1.0


def test_stories260k_writes_english(shared_data: Path) -> None:
    place = shared_data / "models" / "stories260K-hf"
    tokenizer, model = load_tokenizer(place), load_model(place)
    start = torch.tensor([[tokenizer.bos_token_id]])
    with quiet():
        ids = model.generate(start, attention_mask=torch.ones_like(start), max_new_tokens=40, do_sample=False)
    assert "Once upon a time" in tokenizer.decode(ids[0], skip_special_tokens=True)
