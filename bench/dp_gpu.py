"""The step table on a GPU: GPT-2 small and a Llama of 1.2 billion parameters, bf16 autocast, compiled."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median
from time import perf_counter
from typing import Any, Final

from bench.figures import Figure, Skipped

__all__ = ["figures"]

BATCH: Final = 8
TOKENS: Final = 512
MODELS: Final = ("gpt2_small", "llama_1b")
DEVICE: Final = "cuda"


def figures(*, quick: bool) -> tuple[list[Figure], list[Skipped]]:
    """Private steps over plain ones; skipped where there is no GPU."""
    import torch

    names = [f"gpu_{way}_{model}" for model in MODELS for way in ("layerwise", "flat")]
    if not torch.cuda.is_available():
        return [], [Skipped(name, "needs a GPU that torch.cuda can use") for name in names]
    taken: list[Figure] = []
    skipped: list[Skipped] = []
    for model in MODELS:
        plain = _seconds(model, "plain", quick)
        for way in ("layerwise", "flat"):
            name = f"gpu_{way}_{model}"
            try:
                private = _seconds(model, way, quick)
            except torch.cuda.OutOfMemoryError:
                skipped.append(Skipped(name, "does not fit into this GPU's memory"))
                continue
            note = f"all parameters, {BATCH} samples of {TOKENS} tokens, bf16 autocast, AdamW, σ = 1"
            where = torch.cuda.get_device_name()
            taken.append(
                Figure(name, private / plain, "", "lower", None, f"{note}; {1e3 * plain:.0f} ms without; {where}")
            )
    return taken, skipped


def _model(name: str) -> Any:
    import torch
    import transformers

    torch.manual_seed(1)
    dropout = {"attn_pdrop": 0.0, "embd_pdrop": 0.0, "resid_pdrop": 0.0}
    made: Any
    if name == "gpt2_small":
        made = transformers.GPT2LMHeadModel(transformers.GPT2Config(**dropout))
    else:
        made = transformers.LlamaForCausalLM(
            transformers.LlamaConfig(
                vocab_size=32000, hidden_size=2048, intermediate_size=8192, num_hidden_layers=16,
                num_attention_heads=32, num_key_value_heads=8, max_position_embeddings=TOKENS,
            )
        )  # fmt: skip
    return made.to(DEVICE).train()


def _seconds(name: str, way: str, quick: bool) -> float:
    """Seconds of one step. One model at a time, for two of them may not fit: there is no interleaving here."""
    import torch

    step = _step(name, way)
    for _ in range(3):  # compilation, and whatever is kept from the first use
        step()
    seconds = []
    for _ in range(5 if quick else 20):
        torch.cuda.synchronize()
        start = perf_counter()
        step()
        torch.cuda.synchronize()
        seconds.append(perf_counter() - start)
    del step
    torch.cuda.empty_cache()
    return median(seconds)


def _step(name: str, way: str) -> Callable[[], None]:
    import torch

    from bench.dp_steps import NOISE, sample_losses
    from securefed import dp

    model = _model(name)
    ids = torch.randint(model.config.vocab_size, (BATCH, TOKENS), device=DEVICE)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    engine: Any = None
    if way != "plain":
        sampler = dp.FixedBatches(1024 * BATCH, BATCH)
        clip = dp.Layerwise(total=1.0) if way == "layerwise" else dp.Flat(total=1.0)
        engine = dp.attach(model, clip=clip, noise_multiplier=NOISE, sampler=sampler)
        ledger, draws = dp.Ledger(dp.Unit("sequence"), delta=1e-6), iter(sampler.draws(1024))
    compiled = torch.compile(model)

    def step() -> None:
        if engine is not None:
            engine.begin(next(draws))
        with torch.autocast(DEVICE, torch.bfloat16):
            logits = compiled(input_ids=ids, use_cache=False).logits
        losses = sample_losses(logits.float(), ids)
        if engine is None:
            losses.mean().backward()
            optimizer.step()
            optimizer.zero_grad()
        else:
            engine.sum(losses).backward()
            engine.step(optimizer, ledger)

    return step
