"""The command line: run a federation, rebuild its report, look a configuration key up, audit the protocol."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

try:
    import typer
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table
except ImportError as error:  # the core alone is installed
    sys.exit(f"securefed's command line needs its extra: pip install 'securefed[llm]' ({error.name} is missing)")

from securefed import __version__
from securefed.audit.command import app as audit_app
from securefed.errors import ConfigError, SecurefedError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Federated training of language models under secure aggregation.",
)


class MethodName(StrEnum):
    """What is trained."""

    lora = "lora"
    full = "full"
    pretrain = "pretrain"


class StageName(StrEnum):
    """Where a client is lost on purpose."""

    none = "none"
    advertise = "advertise"
    share = "share"
    keys = "keys"
    input = "input"
    consent = "consent"
    release = "release"
    open = "open"


@app.command()
def run(
    config: Annotated[Path | None, typer.Argument(help="TOML file; without one, the embedded demonstration.")] = None,
    name: Annotated[str | None, typer.Option(help="Of the run, and of its folder.")] = None,
    model: Annotated[str | None, typer.Option(help="Directory or hub id of a causal language model.")] = None,
    data: Annotated[Path | None, typer.Option(help="One JSON object a line.")] = None,
    client_field: Annotated[str | None, typer.Option(help="Field of a line that says whose it is.")] = None,
    method: Annotated[MethodName | None, typer.Option(help="What is trained.")] = None,
    lose: Annotated[StageName | None, typer.Option(help="Stage in which a client is lost on purpose.")] = None,
    privacy: Annotated[
        str | None, typer.Option(help="KIND:EPSILON, KIND example, client or distributed; differential privacy.")
    ] = None,
    rounds: Annotated[int | None, typer.Option(help="Federated rounds.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of everything random but the cryptography.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="KEY=VALUE, any key of `securefed keys`; may be repeated.")
    ] = None,
    resume: Annotated[Path | None, typer.Option(help="Folder of an interrupted run to go on with.")] = None,
    runs: Annotated[Path, typer.Option(help="Folder of all runs.")] = Path("runs"),
) -> None:
    """Improve a language model with the text of many parties, none of whom shows it."""
    from securefed.jobs.configuration_file import load
    from securefed.jobs.job import discard_unstarted, new_folder
    from securefed.jobs.job import run as run_job
    from securefed.jobs.progress import TerminalDisplay
    from securefed.report import terminal_table

    console = Console()
    kind, _, epsilon = (privacy or "").partition(":")
    overrides = [
        *(["data.source=jsonl", f"data.file={data}"] if data else []),
        *(
            f"{key}={value}"
            for key, value in {
                "name": name,
                "model.base": model,
                "data.client_field": client_field,
                "method.kind": method,
                "aggregation.lose_stage": lose,
                "privacy.kind": None if privacy is None else kind,
                "privacy.epsilon": epsilon or None,
                "training.rounds": rounds,
                "seed": seed,
            }.items()
            if value is not None
        ),
        *(settings or []),
    ]
    if resume:
        if overrides or config:
            raise typer.BadParameter("a run goes on as it was configured: give --resume alone", param_hint="--resume")
        configuration, folder = load(resume / "config.toml"), resume
    else:
        configuration = load(config, overrides)
        folder = new_folder(runs, configuration.name)
    console.print(f"run folder: {folder}", highlight=False)
    try:
        with TerminalDisplay(console) as display:
            report = run_job(configuration, folder, display)
    except ConfigError:
        discard_unstarted(folder)
        raise
    console.print(terminal_table(folder))
    console.print(f"report: {report}", highlight=False)


@app.command()
def report(folder: Annotated[Path, typer.Argument(help="Of a run.")]) -> None:
    """Make the report of a run again, and print its table."""
    from securefed.report import terminal_table, write_report

    console = Console()
    path = write_report(folder)
    console.print(terminal_table(folder))
    console.print(f"report: {path}", highlight=False)


@app.command()
def keys(search: Annotated[str, typer.Argument(help="Only keys with this in their name.")] = "") -> None:
    """List every configuration key: default, range and meaning."""
    from securefed.jobs.configuration_file import keys as all_keys

    table = Table("key", "default", "allowed", "meaning", box=None)
    for key in all_keys().values():
        if search in key.name:
            table.add_row(*(escape(str(cell)) for cell in (key.name, key.default, key.allowed, key.description)))
    Console().print(table)


app.add_typer(audit_app, name="audit")


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(__version__)


def main() -> None:
    """The program `securefed`: every error of its own is one line on standard error and exit status 2."""
    try:
        app()
    except SecurefedError as error:
        Console(stderr=True).print(f"[bold red]error:[/] {escape(str(error))}", highlight=False)
        sys.exit(2)


if __name__ == "__main__":
    main()
