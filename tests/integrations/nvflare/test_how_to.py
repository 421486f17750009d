"""The page about NVFlare: its files run, and give the output that it shows."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from nvflare.collab.api.context import Context, get_call_context, set_call_context

from tests.integrations.nvflare.calls import Site

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "how-to" / "nvflare.md").read_text()
FILES = dict(re.findall(r"```python (\S+)\n(.*?)```", PAGE, re.DOTALL))
OUTPUT, FEDAVG_OUTPUT = re.findall(r"```text\n(.*?)```", PAGE, re.DOTALL)
SITES = ("site-1", "site-2", "site-3", "site-4")


@contextmanager
def on_the_server(job: ModuleType) -> Iterator[None]:
    """The context of a `@collab.main` function."""
    proxies = [Site(name, {"train": job.train}) for name in SITES]
    before = get_call_context()
    set_call_context(Context(SimpleNamespace(name="server", client_proxies=proxies), "server", "server", None))
    try:
        yield
    finally:
        set_call_context(before)


def written(folder: Path, code: str) -> ModuleType:
    path = folder / "job.py"
    path.write_text(code)
    spec = importlib.util.spec_from_file_location("job_of_the_page", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_job_gives_the_output(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    job = written(tmp_path, FILES["job.py"])
    with on_the_server(job):
        job.run()
    assert capsys.readouterr().out == OUTPUT


def test_the_strict_job_gives_the_same_output(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from securefed.deployment.identities import make_identity, make_roster

    folders = [tmp_path / "owners" / site for site in SITES]
    for number, folder in enumerate(folders, 1):
        make_identity(folder, number)
    make_roster(tmp_path / "identities.json", [folder / "identity.pub.json" for folder in folders])
    for folder in folders:
        (folder / "identities.json").write_bytes((tmp_path / "identities.json").read_bytes())
    monkeypatch.setenv("SECUREFED_CLIENT_FILE", str(tmp_path / "owners" / "{site}" / "client.toml"))
    monkeypatch.setenv("IDENTITIES", str(tmp_path / "identities.json"))
    code, changed = re.subn(r"    rounds = SecureRounds\(.*?\)\n", lambda _: FILES["rounds"], FILES["job.py"], count=1)
    assert changed == 1
    job = written(tmp_path, "import os\n\nfrom securefed.aggregation import Adversary\n" + code)
    with on_the_server(job):
        job.run()
    assert capsys.readouterr().out == OUTPUT


@pytest.mark.parametrize("name", ["client.py", "fedavg.py"])
def test_the_files_of_the_workflow_can_be_read(name: str) -> None:
    compile(FILES[name], name, "exec")
