"""Client files as their owners would make them, with the project's own commands."""

from __future__ import annotations

import contextlib
import io
import shutil
from collections.abc import Mapping
from pathlib import Path

from securefed.deployment.__main__ import main as deployment


def make_clients(folder: Path, count: int, policy: Mapping[str, str] | None = None) -> Path:
    """Make `client-0/client.toml` … for clients with ids 1 …, and the identity roster, of which each has a copy.

    Args:
        folder: for all of them.
        count: how many.
        policy: what is written instead of a client file's own values, as TOML, by key of its policy.

    Returns:
        The identity roster.
    """
    with contextlib.redirect_stdout(io.StringIO()):
        return _make_clients(folder, count, policy or {})


def _make_clients(folder: Path, count: int, policy: Mapping[str, str]) -> Path:
    roster = folder / "identities.json"
    homes = [folder / f"client-{partition}" for partition in range(count)]
    for partition, home in enumerate(homes):
        assert deployment(["identity", str(home), "--id", str(partition + 1)]) == 0
        lines = (home / "client.toml").read_text().splitlines()
        for key, value in policy.items():
            (at,) = (number for number, line in enumerate(lines) if line.startswith(f"{key} ="))
            lines[at] = f"{key} = {value}"
        (home / "client.toml").write_text("\n".join(lines) + "\n")
    assert deployment(["roster", str(roster), *(str(home / "identity.pub.json") for home in homes)]) == 0
    for home in homes:
        shutil.copy(roster, home / "identities.json")
    return roster
