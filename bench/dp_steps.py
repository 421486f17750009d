"""Training steps of language models, plain and private, as the figures of `bench dp` take them.

Each step is a callable object with a model of its own: forward pass, backward pass, clipping, noise, entry in the
ledger and optimizer, for one batch that stays the same. The models of one shape start from the same weights.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from gc import collect
from pathlib import Path
from time import process_time
from typing import Any, Final, Literal

import torch
from torch.nn import functional

__all__ = [
    "SHAPES",
    "NotRun",
    "Plain",
    "Private",
    "Seconds",
    "Shape",
    "batch",
    "cpu_seconds",
    "model",
    "peak_mib",
    "sample_losses",
    "targets",
    "variant",
]

NOISE: Final = 1.0
"""Noise multiplier of every private step."""
WIDTH: Final = 256
LAYERS: Final = 6
VOCABULARY: Final = 8192
RANK: Final = 8

Adapters = Literal["none", "q and v", "all linears"]


@dataclass(frozen=True)
class Shape:
    """What is trained.

    Attributes:
        family: architecture, with an output layer of its own: Opacus refuses a tied one in ghost mode.
        adapters: the linears that get a LoRA of rank 8; with "none", all parameters are trained.
        batch, tokens: samples of a step, and tokens of each.
    """

    family: Literal["Llama", "GPT-2"]
    adapters: Adapters
    batch: int
    tokens: int

    def __str__(self) -> str:
        what = "all parameters" if self.adapters == "none" else f"LoRA on {self.adapters}"
        return f"{self.family}, {what}, {self.batch} samples of {self.tokens} tokens"


SHAPES: Final = {
    "full_t128": Shape("Llama", "none", 16, 128),
    "full_t512": Shape("Llama", "none", 4, 512),
    "lora": Shape("Llama", "q and v", 16, 128),
    "lora_all": Shape("Llama", "all linears", 16, 128),
    "lora_all_t512": Shape("Llama", "all linears", 4, 512),
    "gpt2_full": Shape("GPT-2", "none", 16, 128),
}


class NotRun(Exception):
    """A peer raises an error for this shape; its message is the reason."""


def model(shape: Shape) -> Any:
    """The model in training mode, without dropout; equal weights for equal shapes."""
    import transformers

    transformers.logging.set_verbosity_error()
    torch.manual_seed(1)
    ends = {"bos_token_id": 0, "eos_token_id": 0, "tie_word_embeddings": False}
    built: Any
    if shape.family == "Llama":
        built = transformers.LlamaForCausalLM(
            transformers.LlamaConfig(
                vocab_size=VOCABULARY, hidden_size=WIDTH, intermediate_size=688, num_hidden_layers=LAYERS,
                num_attention_heads=4, num_key_value_heads=4, max_position_embeddings=512, **ends,
            )
        )  # fmt: skip
    else:
        dropout = {"attn_pdrop": 0.0, "embd_pdrop": 0.0, "resid_pdrop": 0.0}
        built = transformers.GPT2LMHeadModel(
            transformers.GPT2Config(
                vocab_size=VOCABULARY, n_embd=WIDTH, n_layer=LAYERS, n_head=4, n_positions=512, **dropout, **ends
            )
        )
    if shape.adapters != "none":
        from peft import LoraConfig, get_peft_model

        targets = ["q_proj", "v_proj"] if shape.adapters == "q and v" else "all-linear"
        built = get_peft_model(built, LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules=targets))
    return built.train()


def batch(shape: Shape) -> Any:
    """Random token ids [samples, tokens], int64."""
    return torch.randint(VOCABULARY, (shape.batch, shape.tokens), generator=torch.Generator().manual_seed(2))


def targets(ids: Any) -> Any:
    """The token after each one, flat; −100, no target, after the last. So logits need not be cut, which is a copy."""
    return functional.pad(ids[:, 1:], (0, 1), value=-100).flatten()


def sample_losses(logits: Any, ids: Any) -> Any:
    """Mean loss over the tokens of each sample but the first, [samples]."""
    losses = functional.cross_entropy(logits.flatten(0, 1), targets(ids), ignore_index=-100, reduction="none")
    return losses.view(len(ids), -1).sum(1) / (ids.shape[1] - 1)


class Plain:
    """A step without privacy: AdamW on the mean loss."""

    def __init__(self, shape: Shape) -> None:
        self.model, self.ids = model(shape), batch(shape)
        trained = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        self.optimizer = torch.optim.AdamW(trained, lr=1e-4)

    def __call__(self) -> None:
        logits = self.model(input_ids=self.ids, use_cache=False).logits
        sample_losses(logits, self.ids).mean().backward()
        self.optimizer.step()
        self.optimizer.zero_grad()


class Private(Plain):
    """A step of `securefed.dp`, with a ledger in memory."""

    def __init__(self, shape: Shape, mode: Literal["layerwise", "adaptive", "flat"]) -> None:
        from securefed import dp

        super().__init__(shape)
        clip: Any = dp.Flat(total=1.0)
        if mode != "flat":
            clip = dp.Layerwise(total=1.0, adapt=dp.Quantile(0.5) if mode == "adaptive" else None)
        sampler = dp.FixedBatches(1024 * shape.batch, shape.batch)
        self.engine = dp.attach(self.model, clip=clip, noise_multiplier=NOISE, sampler=sampler)
        self.ledger = dp.Ledger(dp.Unit("sequence"), delta=1e-6)
        self.draws = iter(sampler.draws(1024))

    def __call__(self) -> None:
        self.engine.begin(next(self.draws))
        logits = self.model(input_ids=self.ids, use_cache=False).logits
        self.engine.sum(sample_losses(logits, self.ids)).backward()
        self.engine.step(self.optimizer, self.ledger)


@dataclass(frozen=True)
class Seconds:
    """CPU seconds of each variant, by turn; a variant need not run in every turn."""

    taken: Mapping[str, Mapping[int, float]]

    def ratios(self, over: str, under: str) -> list[float]:
        """Turn by turn, where both ran: drifts of the machine's speed cancel."""
        return [value / self.taken[under][turn] for turn, value in self.taken[over].items()]

    def median(self, name: str) -> float:
        """Seconds of one step."""
        return statistics.median(self.taken[name].values())


def cpu_seconds(variants: Mapping[str, Callable[[], object]], turns: Mapping[str, int]) -> Seconds:
    """CPU seconds of the process, variants in turn; each has run once before, which is not counted.

    Every second turn goes through them backwards, so that no variant always follows the same other one. A variant
    that has fewer turns than another takes part in the first ones.
    """
    torch.set_num_threads(1)
    taken: dict[str, dict[int, float]] = {name: {} for name in variants}
    for turn in range(max(turns.values())):
        names: Sequence[str] = [name for name in variants if turn < turns[name]]
        for name in reversed(names) if turn % 2 else names:
            collect()
            start = process_time()
            variants[name]()
            taken[name][turn] = process_time() - start
    return Seconds(taken)


def variant(shape: str, name: str) -> Callable[[], object]:
    """The step of that name: "plain", "layerwise", "adaptive", "flat", or Opacus's "hooks", "ghost", "per_layer"."""
    if name == "plain":
        return Plain(SHAPES[shape])
    if name in ("layerwise", "adaptive", "flat"):
        return Private(SHAPES[shape], name)  # type: ignore[arg-type]
    from bench.peers_opacus import Opacus

    return Opacus(SHAPES[shape], name)


def peak_mib(shape: str, name: str, steps: int = 3) -> float:
    """The most memory that steps take in a process of their own, in MiB, beyond what the imported libraries take."""
    command = [sys.executable, "-m", __name__, shape, name, str(steps)]
    # glibc then gives freed arrays back at once: what it keeps by chance differs by more than what a step needs.
    glibc = {"MALLOC_MMAP_THRESHOLD_": "131072"}
    environment = os.environ | glibc | {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return float(done.stdout)


def _resident(field: str) -> float:
    """A line of this process's status in MiB: VmRSS is what is resident now, VmHWM the most since the start."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024


def _probe(shape: str, name: str, steps: int) -> float:
    torch.set_num_threads(1)
    small = Shape(SHAPES[shape].family, SHAPES[shape].adapters, 1, 2)
    SHAPES["small"] = small
    variant("small", name)()  # imports everything, and fills what libraries keep from their first use
    collect()
    before = _resident("VmRSS")
    step = variant(shape, name)
    for _ in range(steps):
        step()
    return _resident("VmHWM") - before


if __name__ == "__main__":
    print(_probe(sys.argv[1], sys.argv[2], int(sys.argv[3])))
