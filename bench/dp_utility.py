"""What privacy costs in perplexity: LoRA on a real small model, three ways to clip, three ε, several seeds.

`python -m bench dp_utility` measures; `python -m bench.dp_utility FOLDER` also writes the table and all runs to FOLDER.
The model (stories260K, trained on children's stories) is public, the text (Shakespeare) is private; the privacy unit
is one sequence. Learning rates are chosen at ε = 8 with a seed of their own, by text that is neither trained nor
reported on.
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean, stdev
from time import process_time
from typing import Any, Final, Literal

from bench.figures import Figure, Report, Skipped

__all__ = ["Plan", "Run", "run"]

Clip = Literal["none", "flat", "layerwise", "adaptive"]

CLIPS: Final[tuple[Clip, ...]] = ("flat", "layerwise", "adaptive")
TOTAL: Final = 0.1
"""Clip bound of the sum: far below the norms, so that nearly every gradient is clipped; Adam takes the scale away."""
EPSILONS: Final = (2.0, 8.0, math.inf)
TOKENS: Final = 64
RANK: Final = 8
TUNED_AT: Final = 8.0


@dataclass(frozen=True)
class Plan:
    """How long is trained, and how often.

    Attributes:
        batch: expected sequences of a step (Poisson sampling).
        steps: of each run.
        seeds: of the runs that are reported.
        rates: learning rates to choose from.
    """

    batch: int = 128
    steps: int = 40
    seeds: tuple[int, ...] = (1, 2, 3)
    rates: tuple[float, ...] = (3e-3, 1e-2, 3e-2)


QUICK: Final = Plan(batch=32, steps=8, seeds=(1,), rates=(1e-2,))


@dataclass(frozen=True)
class Run:
    """One training.

    Attributes:
        clip, epsilon, seed, rate: what it was; ε is what was asked for.
        spent: what the ledger says at the end, at δ.
        validation, test: perplexities.
        seconds: of CPU time.
    """

    clip: Clip
    epsilon: float
    seed: int
    rate: float
    spent: float
    validation: float
    test: float
    seconds: float


class Material:
    """The model's place and the three parts of the text, as token ids [sequences, TOKENS]."""

    def __init__(self, folder: Path) -> None:
        import torch
        import transformers

        transformers.logging.set_verbosity_error()
        torch.set_num_threads(1)
        self.place = folder / "models" / "stories260K-hf"
        tokenizer = transformers.AutoTokenizer.from_pretrained(self.place)
        ids: list[int] = []
        for row in (folder / "tinyshakespeare_by_speaker.jsonl").read_text().splitlines():
            ids += tokenizer("\n".join(json.loads(row)["lines"]), add_special_tokens=False)["input_ids"]
        sequences = torch.tensor(ids[: len(ids) // TOKENS * TOKENS]).view(-1, TOKENS)
        order = torch.randperm(len(sequences), generator=torch.Generator().manual_seed(5))
        tenth = len(sequences) // 10
        self.test, self.validation, self.train = sequences[order].split([tenth, tenth, len(sequences) - 2 * tenth])
        self.delta = len(self.train) ** -1.1

    def model(self, seed: int) -> Any:
        """The public model with fresh adapters on all linears."""
        import torch
        from peft import LoraConfig, get_peft_model
        from transformers import AutoModelForCausalLM

        torch.manual_seed(seed)
        adapters = LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules="all-linear")
        return get_peft_model(AutoModelForCausalLM.from_pretrained(self.place), adapters)

    def perplexity(self, model: Any, sequences: Any) -> float:
        """Of the tokens after the first of each sequence."""
        import torch

        from bench.dp_steps import sample_losses

        model.eval()
        with torch.no_grad():
            parts = [
                sample_losses(model(input_ids=part, use_cache=False).logits, part) for part in sequences.split(128)
            ]
        model.train()
        return math.exp(float(torch.cat(parts).mean()))


def trained(material: Material, plan: Plan, clip: Clip, epsilon: float, seed: int, rate: float) -> Run:
    """One training, and how good its model is."""
    import torch

    start = process_time()
    model = material.model(seed).train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=rate, weight_decay=0.0)
    decay = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / plan.steps)
    spent = math.inf
    steps = _plain(material, plan, model, optimizer)
    ledger: Any = None
    if clip != "none":
        steps, ledger = _private(material, plan, model, optimizer, clip, epsilon)
    for _ in steps:
        decay.step()
    if ledger is not None:
        spent = ledger.epsilon()
    validation, test = (material.perplexity(model, part) for part in (material.validation, material.test))
    return Run(clip, epsilon, seed, rate, spent, validation, test, process_time() - start)


def _plain(material: Material, plan: Plan, model: Any, optimizer: Any) -> Iterator[None]:
    """Neither clipping nor noise; batches of the expected size."""
    import torch

    from bench.dp_steps import sample_losses

    for _ in range(plan.steps):
        ids = material.train[torch.randperm(len(material.train))[: plan.batch]]
        sample_losses(model(input_ids=ids, use_cache=False).logits, ids).mean().backward()
        optimizer.step()
        optimizer.zero_grad()
        yield


def _private(
    material: Material, plan: Plan, model: Any, optimizer: Any, clip: Clip, epsilon: float
) -> tuple[Iterator[None], Any]:
    """Steps of `securefed.dp` with the noise that this ε takes, and their ledger; without noise where ε is ∞."""
    from securefed import dp

    sampler = dp.Poisson(len(material.train), plan.batch / len(material.train))
    quantile = dp.Quantile(0.5)
    mode: Any = dp.Flat(total=TOTAL)
    if clip != "flat":
        mode = dp.Layerwise(total=TOTAL, adapt=quantile if clip == "adaptive" else None)
    noise, ledger = 0.0, None
    if epsilon < math.inf:
        noise = dp.noise_multiplier(epsilon, material.delta, sampling=sampler, steps=plan.steps)
        if clip == "adaptive":  # the counts cost something too: more noise, for the same ε
            noise /= quantile.effective_noise_multiplier(1.0, 1)
        ledger = dp.Ledger(dp.Unit("sequence"), delta=material.delta)
    engine = dp.attach(model, clip=mode, noise_multiplier=noise, sampler=sampler)

    def steps() -> Iterator[None]:
        for draw in engine.draws(plan.steps):
            if len(draw.indices):
                ids = material.train[draw.indices]
                engine.loss(model(input_ids=ids, use_cache=False).logits, ids).backward()
            engine.step(optimizer, ledger)
            yield

    return steps(), ledger


def chosen_rates(material: Material, plan: Plan, told: Callable[[Run], None]) -> dict[Clip, float]:
    """For each way to clip, the learning rate with the best validation perplexity at ε = 8 and seed 0."""
    rates: dict[Clip, float] = {}
    for clip in ("none", *CLIPS):
        tried = []
        for rate in plan.rates if len(plan.rates) > 1 else ():
            tried.append(trained(material, plan, clip, TUNED_AT if clip != "none" else math.inf, 0, rate))
            told(tried[-1])
        rates[clip] = min(tried, key=lambda one: one.validation).rate if tried else plan.rates[0]
    return rates


def runs(material: Material, plan: Plan, told: Callable[[Run], None]) -> list[Run]:
    """All runs that are reported, seed by seed."""
    rates = chosen_rates(material, plan, told)
    done = []
    for seed in plan.seeds:
        for clip, epsilon in [("none", math.inf), *((clip, epsilon) for epsilon in EPSILONS for clip in CLIPS)]:
            done.append(trained(material, plan, clip, epsilon, seed, rates[clip]))
            told(done[-1])
    return done


def run(*, quick: bool, quiet: bool) -> Report:
    """All figures: perplexity of held-out text, mean over the seeds."""
    folder = Path(os.environ.get("SECUREFED_DATA") or Path(__file__).parents[2] / "shared" / "data")
    try:
        material = _material(folder)
    except (ImportError, FileNotFoundError) as error:
        if quiet:
            print(f"perplexity.* skipped: {error}", file=sys.stderr)
        return Report([], skipped=[Skipped("perplexity.*", str(error))])
    plan = QUICK if quick else Plan()
    done = runs(material, plan, lambda _: None)
    return Report([_public(material), *figures(done, plan, material)])


def _material(folder: Path) -> Material:
    if not (folder / "models" / "stories260K-hf").is_dir():
        raise FileNotFoundError(
            f"no model and text at {folder}: set SECUREFED_DATA to a folder with models/stories260K-hf and "
            "tinyshakespeare_by_speaker.jsonl"
        )
    return Material(folder)


def _public(material: Material) -> Figure:
    value = material.perplexity(material.model(0), material.test)
    return Figure("perplexity.public", value, "", "lower", None, "the public model as it is: ε = 0")


def figures(done: list[Run], plan: Plan, material: Material) -> list[Figure]:
    """The mean over seeds for each ε and way to clip, in the order of the runs."""
    kinds = dict.fromkeys((one.clip, one.epsilon) for one in done)
    taken = []
    for clip, epsilon in kinds:
        mine = [one for one in done if (one.clip, one.epsilon) == (clip, epsilon)]
        values = [one.test for one in mine]
        spread = f" ± {stdev(values):.2g} over {len(values)} seeds" if len(values) > 1 else ""
        name = "perplexity.plain" if clip == "none" else f"perplexity.eps_{_number(epsilon)}.{clip}"
        cost = (
            "" if epsilon == math.inf else f", ε spent {max(one.spent for one in mine):.3g} at δ {material.delta:.2g}"
        )
        note = f"{mean(values):.4g}{spread}, learning rate {mine[0].rate:g}{cost}; {plan.steps} steps of {plan.batch}"
        taken.append(Figure(name, mean(values), "", "lower", None, note))
    return taken


def _number(epsilon: float) -> str:
    return "inf" if epsilon == math.inf else f"{epsilon:g}"


def markdown(done: list[Run], plan: Plan, material: Material) -> str:
    """The table of the page, and how it was made in one paragraph."""

    def cell(clip: Clip, epsilon: float) -> str:
        values = [one.test for one in done if (one.clip, one.epsilon) == (clip, epsilon)]
        if not values:
            return "–"
        return f"{mean(values):.2f}" + (f" ± {stdev(values):.2f}" if len(values) > 1 else "")

    rates = {one.clip: one.rate for one in done}
    public = _public(material).value
    rows = [[_number(epsilon).replace("inf", "∞"), *(cell(clip, epsilon) for clip in CLIPS)] for epsilon in EPSILONS]
    return "\n".join(
        [
            f"LoRA of rank {RANK} on all linears of stories260K → Shakespeare. Unit: a sequence of {TOKENS} tokens, "
            f"{len(material.train):,} of them; δ = {material.delta:.2g}; PLD; Poisson sampling, expected batch "
            f"{plan.batch}, {plan.steps} steps; AdamW with linear decay; C = {TOTAL:g}. Perplexity of held-out text, "
            f"mean ± standard deviation over {len(plan.seeds)} seeds. Learning rates "
            + ", ".join(f"{rates[clip]:g} ({clip})" for clip in rates)
            + ", chosen at ε = 8 with a seed and text of their own.",
            "",
            "| ε | flat | layerwise, fixed | layerwise, adaptive |",
            "|---|---|---|---|",
            *(f"| {' | '.join(row)} |" for row in rows),
            "",
            f"The public model as it is: {public:.2f}. AdamW without clipping and noise: {cell('none', math.inf)}.",
            "",
        ]
    )


def _write(place: Path, data: Path) -> None:
    """Every run into a file as it ends, and the table at the end."""
    place.mkdir(parents=True, exist_ok=True)
    material, plan = _material(data), Plan()
    lines = (place / "dp_utility.jsonl").open("w")

    def told(one: Run) -> None:
        content = {key: value if value != math.inf else "inf" for key, value in asdict(one).items()}
        print(json.dumps(content), file=lines, flush=True)

    done = runs(material, plan, told)
    (place / "dp_utility.md").write_text(markdown(done, plan, material))


if __name__ == "__main__":
    shared = Path(os.environ.get("SECUREFED_DATA") or Path(__file__).parents[2] / "shared" / "data")
    _write(Path(sys.argv[1]), shared)
