"""`client.toml`: who a client is, where it keeps what it must keep, and what it demands.

    id = 3
    key = "identity.key"
    identities = "identities.json"
    state = "state"
    deadline = 86400

    [policy]
    schemes = ["masks"]
    server = "malicious"
    least_sum = 5

It belongs to the owner of the client's machine, not to a job: what is in it holds whatever the job's code says.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from securefed.deployment.folder_state import FolderState
from securefed.deployment.identities import read_key, read_roster
from securefed.errors import ConfigError, LocalProtocolError
from securefed.participation import ClientId, Credentials, Policy, check_identities
from securefed.schemes import SCHEMES
from securefed.wire.adversary import Adversary

__all__ = ["ClientFile"]

_KEYS: Final = ("id", "key", "identities", "state", "deadline", "policy")
_POLICY_KEYS: Final = (
    "schemes", "server", "corrupt", "security", "least_cohort", "least_sum", "greatest_clip", "least_bits",
)  # fmt: skip
_DAY: Final = 24 * 3600.0


@dataclass(frozen=True)
class ClientFile:
    """What a client file says. Paths in it are relative to it.

    Attributes:
        path: of the file.
        id: client id.
        credentials: `key` and `identities` together, or None where the file names neither.
        policy: None where the file has none. A key that it leaves out has the default of `participation.Policy`.
        state: in the folder `state` (default: "state").
        deadline: seconds (`Participant`); a day by default.
    """

    path: Path
    id: ClientId
    credentials: Credentials | None = field(repr=False)
    policy: Policy | None
    state: FolderState
    deadline: float = _DAY

    @classmethod
    def load(cls, path: str | Path) -> ClientFile:
        """Read it, the key and the roster; the state's folder is made.

        Raises:
            ConfigError: names the file and the key that is wrong.
            PersistenceError: the state is damaged.
        """
        path = Path(path)
        try:
            found = tomllib.loads(path.read_bytes().decode())
        except OSError as error:
            raise ConfigError(str(path), f"cannot be read ({error.strerror}): a client file is wanted here") from None
        except ValueError as error:
            raise ConfigError(str(path), f"is not TOML: {error}") from None
        try:
            return cls._of(path, found)
        except ConfigError as error:
            if str(path) in error.key:
                raise
            raise ConfigError(f"{path}: {error.key}", error.detail) from None

    @classmethod
    def _of(cls, path: Path, found: Mapping[str, Any]) -> ClientFile:
        _check_keys("", found, _KEYS)
        client = found.get("id")
        if type(client) is not int or not 1 <= client < 2**32:
            raise ConfigError("id", "a client id in 1 … 2^32 - 1 is wanted")
        policy = found.get("policy")
        if policy is not None and not isinstance(policy, dict):
            raise ConfigError("policy", "a table is wanted")
        deadline = _number("deadline", found.get("deadline", _DAY))
        if not 0 < deadline < float("inf"):
            raise ConfigError("deadline", f"{deadline} seconds are no time to answer in")
        return cls(
            path,
            client,
            _credentials(path.parent, client, found),
            _policy(policy) if policy is not None else None,
            FolderState(path.parent / _text("state", found.get("state", "state"))),
            deadline,
        )


def _credentials(folder: Path, client: ClientId, found: Mapping[str, Any]) -> Credentials | None:
    named = [key for key in ("key", "identities") if key in found]
    if not named:
        return None
    if len(named) == 1:
        missing = "identities" if named == ["key"] else "key"
        raise ConfigError(missing, f"{named[0]} is of no use without it: name both, or neither")
    key_file, roster_file = (folder / _text(key, found[key]) for key in ("key", "identities"))
    try:
        owner, key = read_key(key_file)
        roster = read_roster(roster_file)
    except ConfigError as error:
        raise ConfigError("key" if error.key == str(key_file) else "identities", str(error)) from None
    if owner != client:
        raise ConfigError("key", f"{key_file} is of client {owner}, and this file of client {client}")
    try:
        check_identities(roster)
    except LocalProtocolError as error:
        raise ConfigError("identities", f"{roster_file}: {error.detail}") from None
    if roster.get(client) != key.public:
        raise ConfigError("identities", f"{roster_file} does not hold this client's key: make the roster again")
    return Credentials(key, roster)


def _policy(found: Mapping[str, Any]) -> Policy:
    _check_keys("policy.", found, _POLICY_KEYS)
    default = Policy()
    schemes = found.get("schemes", sorted(default.schemes))
    if not isinstance(schemes, list) or not schemes or any(one not in SCHEMES for one in map(str, schemes)):
        raise ConfigError("policy.schemes", f"a list of some of {', '.join(SCHEMES)} is wanted")
    try:
        adversary = Adversary(
            _text("policy.server", found.get("server", "malicious")),
            _number("policy.corrupt", found.get("corrupt", default.adversary.corrupt)),
            security=_whole("policy.security", found.get("security", default.adversary.security), 1),
        )
    except ConfigError as error:
        raise ConfigError(error.key.replace("adversary.", "policy."), error.detail) from None
    clip = found.get("greatest_clip")
    if clip is not None and not _number("policy.greatest_clip", clip) > 0:
        raise ConfigError("policy.greatest_clip", f"{clip} is no clip bound: it is above 0")
    return Policy(
        frozenset(map(str, schemes)),
        adversary,
        _whole("policy.least_cohort", found.get("least_cohort", default.least_cohort), 1),
        _whole("policy.least_sum", found.get("least_sum", default.least_sum), 1),
        None if clip is None else float(clip),
        _whole("policy.least_bits", found.get("least_bits", default.least_bits), 2),
    )


def _check_keys(prefix: str, found: Mapping[str, Any], known: tuple[str, ...]) -> None:
    for key in found:
        if key not in known:
            raise ConfigError(f"{prefix}{key}", f"is no key of a client file; there are {', '.join(known)}")


def _text(key: str, value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ConfigError(key, "a string that is not empty is wanted")
    return value


def _number(key: str, value: object) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise ConfigError(key, "a number is wanted")
    return float(value)


def _whole(key: str, value: object, least: int) -> int:
    if type(value) is not int or value < least:
        raise ConfigError(key, f"a whole number from {least} on is wanted")
    return value
