"""Identity keys and identity rosters in files, as people hand them around."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from securefed.crypto.signing import IDENTITY_KEY_BYTES, SigningKey
from securefed.deployment.stored_file import PRIVATE
from securefed.errors import ConfigError
from securefed.federated.files import replace, sync_folder
from securefed.participation import ClientId

__all__ = ["make_identity", "make_roster", "read_key", "read_roster"]

_KEY: Final = "securefed identity key"
_PUBLIC: Final = "securefed public identity"
_ROSTER: Final = "securefed identity roster"
_GREATEST_FILE: Final = 2**28
_GREATEST_ID: Final = 2**32 - 1

_CLIENT_FILE: Final = """\
# Who this client is and what it demands. It belongs to the owner of this machine, not to a job.
id = {client}
key = "identity.key"                # secret: it never leaves this machine
identities = "identities.json"      # the identity roster, from somewhere that is not the server
state = {state}
# deadline = 86400                  # seconds after the last message until secrets of unfinished rounds are destroyed

[policy]                            # a round that offers less is refused
schemes = ["masks"]
server = "malicious"                # the weakest server that rounds must be protected against; or "semi-honest"
corrupt = 0.1                       # share of corrupt clients, at least
security = 40                       # bits of statistical security, at least
least_cohort = 3
least_sum = 3
# greatest_clip = 1.0
least_bits = 2
"""


def make_identity(folder: Path, client: ClientId, state: str = "state") -> Path:
    """Make a client's identity: `identity.key` (secret), `identity.pub.json` (for the roster), `client.toml`.

    Args:
        folder: made where it is not there.
        client: its id, 1 … 2^32 − 1.
        state: where the client keeps its state, relative to the folder.

    Returns:
        The client file.

    Raises:
        ConfigError: no such id, one of the files is there already, or cannot be written.
    """
    if not 1 <= client <= _GREATEST_ID:
        raise ConfigError("id", f"{client} is not in 1 … 2^32 - 1")
    seed = os.urandom(IDENTITY_KEY_BYTES)
    key, public, file = folder / "identity.key", folder / "identity.pub.json", folder / "client.toml"
    try:
        folder.mkdir(0o700, parents=True, exist_ok=True)
        for path in (key, public, file):
            if path.exists():
                raise ConfigError(str(path), "is there already, and is not overwritten: choose another folder")
        handle = os.open(key, os.O_CREAT | os.O_EXCL | os.O_WRONLY, PRIVATE)
        with open(handle, "wb") as out:  # noqa: PTH123
            out.write(_text(_KEY, {"id": client, "seed": seed.hex()}))
            out.flush()
            os.fsync(out.fileno())
        replace(public, _text(_PUBLIC, {"id": client, "public": SigningKey(seed).public.hex()}))
        replace(file, _CLIENT_FILE.format(client=client, state=json.dumps(state, ensure_ascii=False)).encode())
        sync_folder(folder)
    except OSError as error:
        raise ConfigError(str(folder), f"cannot be written ({error.strerror})") from None
    return file


def make_roster(roster: Path, publics: Iterable[Path]) -> dict[ClientId, bytes]:
    """Put public identities together to the identity roster that every client gets.

    Returns:
        Public identity keys of 32 bytes by client id.

    Raises:
        ConfigError: a file that is no public identity, two of one client id or of one key, or none at all.
    """
    clients: dict[ClientId, bytes] = {}
    came_from: dict[ClientId | bytes, Path] = {}
    for path in publics:
        found = _read(path, _PUBLIC, ("id", "public"))
        client, public = _id(path, found["id"]), _key_bytes(path, "public", found["public"])
        for what, of in (("client id", client), ("key", public)):
            if of in came_from:
                raise ConfigError(str(path), f"has the same {what} as {came_from[of]}: each client needs its own")
            came_from[of] = path
        clients[client] = public
    if not clients:
        raise ConfigError(str(roster), "an identity roster of nobody: name the clients' identity.pub.json files")
    try:
        replace(roster, _text(_ROSTER, {"clients": {str(one): clients[one].hex() for one in sorted(clients)}}))
    except OSError as error:
        raise ConfigError(str(roster), f"cannot be written ({error.strerror})") from None
    return clients


def read_key(path: Path) -> tuple[ClientId, SigningKey]:
    """A client's id and identity key.

    Raises:
        ConfigError: with the path: no such file, none of this kind, or others may read it.
    """
    found = _read(path, _KEY, ("id", "seed"))
    if path.stat().st_mode & 0o077:
        raise ConfigError(str(path), f"others may read this secret key: chmod 600 {path}")
    return _id(path, found["id"]), SigningKey(_key_bytes(path, "seed", found["seed"]))


def read_roster(path: Path) -> dict[ClientId, bytes]:
    """Public identity keys of 32 bytes by client id.

    Raises:
        ConfigError: with the path: no such file, none of this kind, or one key for two clients.
    """
    found = _read(path, _ROSTER, ("clients",))["clients"]
    if not isinstance(found, dict) or not found:
        raise ConfigError(str(path), "clients: client ids with their public keys are wanted")
    roster = {_id(path, int(one) if one.isdecimal() else one): _key_bytes(path, one, key) for one, key in found.items()}
    if len(set(roster.values())) < len(found):
        raise ConfigError(str(path), "has one key, or one id, for two clients: make it again with `roster`")
    return roster


def _text(kind: str, content: Mapping[str, Any]) -> bytes:
    return (json.dumps({"kind": kind, "version": 1, **content}, indent=1) + "\n").encode()


def _read(path: Path, kind: str, keys: tuple[str, ...]) -> dict[str, Any]:
    try:
        if path.stat().st_size > _GREATEST_FILE:
            raise ConfigError(str(path), f"is larger than any {kind}")
        found = json.loads(path.read_bytes())
    except OSError as error:
        raise ConfigError(str(path), f"cannot be read ({error.strerror}): a {kind} is wanted here") from None
    except (ValueError, RecursionError):
        raise ConfigError(str(path), f"is no {kind}") from None
    if not isinstance(found, dict) or found.get("kind") != kind:
        raise ConfigError(str(path), f"is no {kind}")
    if found.get("version") != 1 or set(found) != {"kind", "version", *keys}:
        raise ConfigError(str(path), f"is a {kind} of another version, or with other keys than {', '.join(keys)}")
    return found


def _id(path: Path, client: object) -> ClientId:
    if type(client) is not int or not 1 <= client <= _GREATEST_ID:
        raise ConfigError(str(path), "a client id is not in 1 … 2^32 - 1")
    return client


def _key_bytes(path: Path, what: str, text: object) -> bytes:
    try:
        raw = bytes.fromhex(text) if isinstance(text, str) else b""
    except ValueError:
        raw = b""
    if len(raw) != IDENTITY_KEY_BYTES:
        raise ConfigError(str(path), f"{what}: {IDENTITY_KEY_BYTES} bytes in hex are wanted")
    return raw
