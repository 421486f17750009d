"""client.toml: what is in it, and an error with file and key for whatever is wrong with it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from securefed.aggregation import Adversary, Policy
from securefed.deployment import ClientFile, Participant, both
from securefed.deployment.identities import make_identity, make_roster, read_key, read_roster
from securefed.errors import ConfigError, PersistenceError


def clients(folder: Path, *ids: int) -> dict[int, Path]:
    """Client files with one identity roster."""
    files = {client: make_identity(folder / f"client-{client}", client) for client in ids}
    make_roster(folder / "roster.json", (file.parent / "identity.pub.json" for file in files.values()))
    for file in files.values():
        (file.parent / "identities.json").write_bytes((folder / "roster.json").read_bytes())
    return files


def edited(file: Path, old: str, new: str) -> Path:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))
    return file


def test_what_identity_and_roster_write_is_read(tmp_path: Path) -> None:
    files = clients(tmp_path, 1, 2, 7)
    loaded = {client: ClientFile.load(file) for client, file in files.items()}
    publics = {client: file.credentials.key.public for client, file in loaded.items() if file.credentials}
    for client, file in loaded.items():
        assert file.credentials is not None
        assert file.credentials.identities == publics
        assert (file.id, file.policy, file.deadline) == (client, Policy(), 86400)
        assert file.state.folder == files[client].parent / "state"
        assert file.state.folder.stat().st_mode & 0o777 == 0o700
        assert "PRIVATE" not in repr(file)
        assert (files[client].parent / "identity.key").stat().st_mode & 0o777 == 0o600
    assert len(set(publics.values())) == 3


def test_every_key_counts(tmp_path: Path) -> None:
    path = tmp_path / "client.toml"
    path.write_text(
        'id = 9\nstate = "elsewhere"\ndeadline = 60\n[policy]\nschemes = ["bfv", "masks"]\nserver = "semi-honest"\n'
        "corrupt = 0.2\nsecurity = 50\nleast_cohort = 7\nleast_sum = 6\ngreatest_clip = 2\nleast_bits = 9\n"
    )
    file = ClientFile.load(str(path))
    adversary = Adversary("semi-honest", 0.2, security=50)
    assert file.policy == Policy(frozenset({"bfv", "masks"}), adversary, 7, 6, 2.0, 9)
    assert (file.id, file.credentials, file.deadline) == (9, None, 60.0)
    assert file.state.folder == tmp_path / "elsewhere"


def test_the_policies_of_file_and_code_both_hold(tmp_path: Path) -> None:
    path = tmp_path / "client.toml"
    path.write_text("id = 9\n")
    assert ClientFile.load(path).policy is None
    code = Policy(frozenset({"bfv"}))
    assert policy_of(Participant.of(ClientFile.load(path))) == Policy()
    assert policy_of(Participant.of(ClientFile.load(path), code)) == code
    path.write_text('id = 9\n[policy]\nschemes = ["masks", "bfv"]\n')
    file = ClientFile.load(path)
    assert file.policy is not None
    assert policy_of(Participant.of(file)) == file.policy
    assert policy_of(Participant.of(file, code)) == both(file.policy, code)
    with pytest.raises(ConfigError, match="no scheme is allowed"):
        Participant.of(file, Policy(frozenset({"plain"})))


def policy_of(participant: Participant) -> object:
    return participant._policy.policy


@pytest.mark.parametrize(
    ("text", "key", "problem"),
    [
        ("id = ", "", "is not TOML"),
        ("", "id", "a client id in 1"),
        ("id = 0", "id", "a client id in 1"),
        ("id = true", "id", "a client id in 1"),
        ("id = 3\nkeys = 1", "keys", "is no key of a client file; there are id, key"),
        ("id = 3\npolicy = 1", "policy", "a table is wanted"),
        ("id = 3\nstate = 5", "state", "a string that is not empty"),
        ("id = 3\ndeadline = 0", "deadline", "no time to answer in"),
        ("id = 3\ndeadline = inf", "deadline", "no time to answer in"),
        ("id = 3\ndeadline = nan", "deadline", "no time to answer in"),
        ("id = 3\ndeadline = '1'", "deadline", "a number is wanted"),
        ("id = 3\nkey = 'identity.key'", "identities", "key is of no use without it"),
        ("id = 3\nidentities = 'identities.json'", "key", "identities is of no use without it"),
        ("id = 3\nkey = 'none'\nidentities = 'none'", "key", "none: cannot be read"),
        ("id = 3\n[policy]\nleast_sums = 3", "policy.least_sums", "is no key of a client file; there are schemes"),
        ("id = 3\n[policy]\nschemes = []", "policy.schemes", "a list of some of masks, bfv"),
        ("id = 3\n[policy]\nschemes = ['mask']", "policy.schemes", "a list of some of masks, bfv"),
        ("id = 3\n[policy]\nschemes = 'masks'", "policy.schemes", "a list of some of masks, bfv"),
        ("id = 3\n[policy]\nserver = 'honest'", "policy.server", "neither 'malicious' nor"),
        ("id = 3\n[policy]\nserver = 2", "policy.server", "a string"),
        ("id = 3\n[policy]\ncorrupt = 0.7", "policy.corrupt", "not a share in"),
        ("id = 3\n[policy]\nsecurity = 0", "policy.security", "a whole number from 1"),
        ("id = 3\n[policy]\nsecurity = 999", "policy.security", "999 bits are not in"),
        ("id = 3\n[policy]\nleast_cohort = 2.5", "policy.least_cohort", "a whole number from 1"),
        ("id = 3\n[policy]\nleast_sum = true", "policy.least_sum", "a whole number from 1"),
        ("id = 3\n[policy]\ngreatest_clip = -1", "policy.greatest_clip", "no clip bound"),
        ("id = 3\n[policy]\ngreatest_clip = nan", "policy.greatest_clip", "no clip bound"),
        ("id = 3\n[policy]\nleast_bits = 1", "policy.least_bits", "a whole number from 2"),
    ],
)
def test_what_is_wrong_is_named_with_file_and_key(text: str, key: str, problem: str, tmp_path: Path) -> None:
    path = tmp_path / "client.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        ClientFile.load(path)
    assert caught.value.key == (f"{path}: {key}" if key else str(path))
    assert problem in caught.value.detail


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"client.toml: cannot be read \(No such file"):
        ClientFile.load(tmp_path / "client.toml")


def test_key_and_roster_must_be_this_clients(tmp_path: Path) -> None:
    files = clients(tmp_path, 1, 2)
    folder = files[1].parent
    edited(files[1], "id = 1", "id = 2")
    with pytest.raises(ConfigError, match=r"key: .*identity.key is of client 1, and this file of client 2"):
        ClientFile.load(files[1])
    edited(files[1], "id = 2", "id = 1")
    other = clients(tmp_path / "other", 1, 2)
    (folder / "identities.json").write_bytes((other[1].parent / "identities.json").read_bytes())
    with pytest.raises(ConfigError, match=r"identities: .*does not hold this client's key"):
        ClientFile.load(files[1])
    (folder / "identities.json").unlink()
    with pytest.raises(ConfigError, match=r"client.toml: identities: .*identities.json: cannot be read"):
        ClientFile.load(files[1])


def test_a_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    files = clients(tmp_path, 1)
    key = files[1].parent / "identity.key"
    key.chmod(0o640)
    with pytest.raises(ConfigError, match=f"others may read this secret key: chmod 600 {key}"):
        ClientFile.load(files[1])


def test_a_damaged_state_is_named(tmp_path: Path) -> None:
    files = clients(tmp_path, 1)
    ClientFile.load(files[1])
    (files[1].parent / "state" / "record.jsonl").write_text('{"step": 1}\n')
    with pytest.raises(PersistenceError, match=r"record.jsonl"):
        ClientFile.load(files[1])


def test_an_identity_is_never_written_over(tmp_path: Path) -> None:
    file = make_identity(tmp_path / "client", 1)
    before = {path.name: path.read_bytes() for path in file.parent.iterdir()}
    with pytest.raises(ConfigError, match=r"identity.key: is there already, and is not overwritten"):
        make_identity(tmp_path / "client", 1)
    assert {path.name: path.read_bytes() for path in file.parent.iterdir()} == before
    with pytest.raises(ConfigError, match="id: 0 is not in 1"):
        make_identity(tmp_path / "another", 0)


def test_a_roster_of_two_with_one_id_or_one_key_is_refused(tmp_path: Path) -> None:
    one, other = (make_identity(tmp_path / name, 1).parent / "identity.pub.json" for name in ("a", "b"))
    out = tmp_path / "roster.json"
    with pytest.raises(ConfigError, match=r"b/identity.pub.json: has the same client id as .*a/identity.pub.json"):
        make_roster(out, [one, other])
    copied = json.loads(one.read_text()) | {"id": 2}
    other.write_text(json.dumps(copied))
    with pytest.raises(ConfigError, match=r"has the same key as .*a/identity.pub.json"):
        make_roster(out, [one, other])
    with pytest.raises(ConfigError, match="roster of nobody"):
        make_roster(out, [])
    assert not out.exists()


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"kind": "another"}, "is no securefed identity roster"),
        ({"version": 2}, "of another version"),
        ({"more": 1}, "with other keys than clients"),
        ({"clients": []}, "client ids with their public keys are wanted"),
        ({"clients": {"x": "00" * 32}}, "a client id is not in"),
        ({"clients": {"0": "00" * 32}}, "a client id is not in"),
        ({"clients": {"1": "00" * 31}}, "32 bytes in hex"),
        ({"clients": {"1": "zz" * 32}}, "32 bytes in hex"),
        ({"clients": {"1": 5}}, "32 bytes in hex"),
        ({"clients": {"1": "00" * 32, "2": "00" * 32}}, "one key, or one id, for two"),
        ({"clients": {"1": "00" * 32, "01": "11" * 32}}, "one key, or one id, for two"),
    ],
)
def test_what_is_wrong_with_a_roster_is_named(changes: dict[str, object], problem: str, tmp_path: Path) -> None:
    path = tmp_path / "roster.json"
    path.write_text(
        json.dumps({"kind": "securefed identity roster", "version": 1, "clients": {"1": "00" * 32}} | changes)
    )
    with pytest.raises(ConfigError, match=str(path)) as caught:
        read_roster(path)
    assert problem in caught.value.detail


def test_a_public_identity_is_no_key(tmp_path: Path) -> None:
    file = make_identity(tmp_path / "client", 1)
    with pytest.raises(ConfigError, match="is no securefed identity key"):
        read_key(file.parent / "identity.pub.json")
    (file.parent / "identity.key").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="is no securefed identity key"):
        read_key(file.parent / "identity.key")
