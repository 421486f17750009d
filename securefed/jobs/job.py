"""The main job: from a configuration to a folder with the adapter, its measurements and the report."""

from __future__ import annotations

import shutil
from pathlib import Path
from time import perf_counter

from securefed.encoding.quantize import Numbers
from securefed.errors import ConfigError
from securefed.federated.files import replace
from securefed.federated.training import FloatArray
from securefed.jobs.arms import Arms
from securefed.jobs.configuration import Configuration, digest
from securefed.jobs.configuration_file import load
from securefed.jobs.derived import adversary_of, clip_of, cohort_of, main_arm
from securefed.jobs.material import Material, corpus_of, prepare, public_start
from securefed.jobs.model_card import model_card, warnings_of
from securefed.jobs.privacy import file_name
from securefed.jobs.privacy_statement import Statement
from securefed.jobs.recorder import Recorder, machine, now, versions
from securefed.jobs.watching import Display
from securefed.llm import methods
from securefed.llm.runtime import use_threads
from securefed.report import write_report
from securefed.schemes import SCHEMES

__all__ = ["discard_unstarted", "new_folder", "run"]

METRICS = "metrics.jsonl"


def new_folder(runs: Path, name: str) -> Path:
    """A folder for a new run: `runs/NAME`, or `NAME-2`, `NAME-3` … where that is taken: no run is overwritten."""
    candidate, number = runs / name, 1
    while candidate.exists():
        number += 1
        candidate = runs / f"{name}-{number}"
    candidate.mkdir(parents=True)
    return candidate


def discard_unstarted(folder: Path) -> None:
    """Remove the folder of a run that ended before it had measured anything; any other is left as it is."""
    if not (folder / METRICS).exists():
        shutil.rmtree(folder, ignore_errors=True)


def run(config: Configuration, folder: Path, display: Display) -> Path:
    """Do a run, or what is left of it, in its folder; gives the path of the report.

    The folder afterwards: `adapter/` or `model/`, `base/` (model and tokenizer, where they were made here),
    `config.toml`, `metrics.jsonl`, `plots/`, `report.html`, `report.md`; and `state/`, by which an interrupted run
    goes on.

    Raises:
        ConfigError: the configuration is not possible, or the folder belongs to another one.
        RoundAborted: too few clients were left in a round.
    """
    begin = perf_counter()
    use_threads()
    stored = folder / "config.toml"
    if stored.exists():
        if digest(load(stored)) != digest(config):
            raise ConfigError("", f"{folder} holds a run with another configuration: resume it without changes")
    else:
        replace(stored, config.to_toml().encode())
    recorder = Recorder(folder / METRICS)
    for warning in warnings_of(config):
        display.line(f"warning: {warning}")
    material = _material(config, folder, recorder, display)
    _record_start(config, material, recorder)
    arms = Arms(config, material, recorder, display, folder)
    done = recorder.finished_phases()
    main = main_arm(config)
    # The run's own result comes first: what follows only compares.
    for arm in ("public", main, *(arm for arm in ("plain", "local", "central") if arm != main)):
        if arm != main and (arm not in config.evaluation.arms or arm in done):
            continue
        start = perf_counter()
        if arm in (main, "plain"):
            weights = arms.federated(arm)
            if arm == main:
                _keep_result(config, material, weights, folder, arms.statement)
        else:
            getattr(arms, arm)()
        recorder.write("phase", phase=arm, seconds=perf_counter() - start, cached=False)
    recorder.write("finish", seconds=perf_counter() - begin, time=now())
    return write_report(folder)


def _material(config: Configuration, folder: Path, recorder: Recorder, display: Display) -> Material:
    corpus = corpus_of(config)
    cohort = cohort_of(config, len(corpus.silos))
    problem = adversary_of(config).infeasible(cohort)
    if problem:
        raise ConfigError("aggregation", problem)
    SCHEMES[config.aggregation.scheme].check_here(Numbers(cohort, config.aggregation.bits, clip_of(config)))
    start = perf_counter()
    if config.model.base:
        base = config.model.base
    else:
        shown = False

        def progress(_step: int, steps: int, loss: float) -> None:
            nonlocal shown
            if not shown:
                display.begin("pretraining", steps, "steps")
                shown = True
            display.step(f"loss {loss:.3f}")

        made = public_start(config, corpus, progress)
        if made.cached:
            display.line(f"public model: taken from {made.directory} (made in {made.seconds:.0f} s)")
        recorder.write("phase", phase="pretraining", seconds=perf_counter() - start, cached=made.cached)
        base = str(_keep_base(made.directory, folder))
    return prepare(config, corpus, base)


def _keep_base(made: Path, folder: Path) -> Path:
    """Copy the base model into the run's folder, in one step: a crash in mid-copy leaves none, not half of one."""
    kept, copying = folder / "base", folder / ".base.new"
    if not kept.exists():
        shutil.rmtree(copying, ignore_errors=True)
        shutil.copytree(made, copying)
        copying.rename(kept)
    return kept


def _record_start(config: Configuration, material: Material, recorder: Recorder) -> None:
    cohort, adversary = cohort_of(config, len(material.clients)), adversary_of(config)
    libraries = SCHEMES[config.aggregation.scheme].libraries
    recorder.write(
        "start", name=config.name, time=now(), seed=config.seed, versions=versions(libraries), machine=machine(),
        clients=[
            {
                "id": number,
                "name": client.name,
                "train_tokens": client.train.targets,
                "held_out_tokens": client.held_out.targets,
            }
            for number, client in enumerate(material.clients, start=1)
        ],
        parameters={"total": material.parameters, "trained": material.trained_parameters},
        method=config.method.kind, scheme=config.aggregation.scheme, warnings=warnings_of(config),
        lora_aggregation=config.method.lora_aggregation if config.method.kind == "lora" else "",
        threshold=adversary.least_survivors(cohort), bits=config.aggregation.bits, clip=clip_of(config),
        adversary=config.aggregation.server, corrupt=adversary.corrupt_clients(cohort), corpus=material.corpus.digest,
    )  # fmt: skip


def _keep_result(
    config: Configuration,
    material: Material,
    weights: dict[str, FloatArray],
    folder: Path,
    statement: Statement | None,
) -> None:
    methods.assign(material.module, weights)
    place = folder / ("adapter" if config.method.kind == "lora" else "model")
    methods.save(material.module, place, base=config.model.base or "base")
    material.tokenizer.save_pretrained(str(place))
    if statement is not None:
        certificates = place / "privacy"
        certificates.mkdir(exist_ok=True)
        for name, certificate in statement.certificates.items():
            replace(certificates / f"{file_name(name)}.json", certificate.to_json().encode())
    replace(place / "README.md", model_card(config, len(material.clients), statement))
