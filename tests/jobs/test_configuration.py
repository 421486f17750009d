"""Each way to get a configuration wrong is one ConfigError that names the key, what was found, what is allowed."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from securefed.errors import ConfigError
from securefed.jobs.configuration import Configuration, digest
from securefed.jobs.configuration_file import keys, load
from securefed.schemes import SCHEMES

CHANGED = [
    "name=shakespeare",
    "seed=7",
    "data.source=jsonl",
    "data.file=lines.jsonl",
    'data.clients=["a \\"quoted\\" name", "ü"]',
    "method.targets=[q_proj, v_proj]",
    "method.lora_aggregation=core",
    "method.client_ranks=[8, 4, 4]",
    "aggregation.clip=0.05",
    "aggregation.server=semi-honest",
    "aggregation.corrupt=0.125",
    "aggregation.dropouts=0",
    "evaluation.arms=[masks, plain]",
    "evaluation.every_round=false",
    "training.learning_rate=1",
    "model.pretraining.steps=1",
]


ENCRYPTED = ["aggregation.scheme=bfv", "aggregation.corrupt=0"]


def problem(*overrides: str, path: Path | None = None) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load(path, overrides)
    return caught.value


def test_the_defaults_are_the_measured_demo() -> None:
    config = load()
    assert config == Configuration()
    assert (config.training.rounds, config.training.local_steps, config.method.rank) == (8, 15, 16)
    aggregation = config.aggregation
    assert (aggregation.scheme, aggregation.bits, aggregation.clip) == ("masks", 16, "auto")
    assert config.method.lora_aggregation == "ffa"
    assert (aggregation.server, aggregation.corrupt, aggregation.dropouts) == ("malicious", 0.25, 0.25)


@pytest.mark.parametrize("overrides", [[], CHANGED])
def test_toml_round_trip_is_complete(tmp_path: Path, overrides: list[str]) -> None:
    config = load(None, overrides)
    path = tmp_path / "config.toml"
    path.write_text(config.to_toml(), encoding="utf-8")
    assert load(path) == config
    assert digest(load(path)) == digest(config)
    written = tomllib.loads(config.to_toml())
    for key in keys():
        table = written
        for part in key.split("."):
            table = table[part]


def test_every_section_of_the_toml_has_a_comment() -> None:
    lines = load().to_toml().splitlines()
    titles = [at for at, line in enumerate(lines) if line.startswith("[")]
    assert len(titles) == 8
    assert all(lines[at - 1].startswith("# ") for at in titles)


def test_every_key_has_a_description_and_says_what_is_allowed() -> None:
    assert all(key.description and key.allowed for key in keys().values())
    assert keys()["training.rounds"].allowed == "a whole number ≥ 1 and ≤ 100000"
    assert keys()["aggregation.clip"].allowed == '"auto" or a number > 0'


@pytest.mark.parametrize(
    ("override", "key", "nearest"),
    [
        ("training.round=4", "training.round", "training.rounds"),
        ("rounds=4", "rounds", "training.rounds"),
        ("trainin.rounds=4", "trainin", "training"),
        ("model.pretraining.step=4", "model.pretraining.step", "model.pretraining.steps"),
        ("aggregation.drop_outs=0.1", "aggregation.drop_outs", "aggregation.dropouts"),
        ("aggregation.threshold=4", "aggregation.threshold", "aggregation.bits"),  # of an older version
    ],
)
def test_unknown_key_names_the_nearest(override: str, key: str, nearest: str) -> None:
    error = problem(override)
    assert error.key == key
    assert "got " in error.detail
    assert error.detail.endswith(f"the nearest is {nearest}")


@pytest.mark.parametrize(
    ("override", "found", "allowed"),
    [
        ("training.rounds=eight", '"eight"', "a whole number ≥ 1"),
        ("training.rounds=true", "true", "a whole number"),
        ("training.rounds=2.0", "2.0", "a whole number"),
        ("training.learning_rate=true", "true", "a number > 0"),
        ("evaluation.every_round=1", "1", "true or false"),
        ("evaluation.arms=masks", '"masks"', "a list, without repeats"),
        ("evaluation.arms=[masks, plan]", '["masks", "plan"]', '"masks"'),
        ("evaluation.arms=[masks, masks]", '["masks", "masks"]', "without repeats"),
        ("data.clients=[1]", "[1]", "a list"),
        ("training.schedule=2026-01-31", '"2026-01-31"', '"cosine"'),
        ("training.rounds=0", "0", "≥ 1"),
        ("aggregation.bits=33", "33", "≥ 2 and ≤ 32"),
        ("aggregation.bits=1", "1", "≥ 2 and ≤ 32"),
        ("aggregation.clip=-0.5", "-0.5", '"auto" or a number > 0'),
        ("aggregation.clip=inf", "Infinity", '"auto" or a number > 0'),
        ("training.learning_rate=nan", "NaN", "a number > 0"),
        ("aggregation.server=honest", '"honest"', '"malicious"'),
        ("aggregation.corrupt=0.5", "0.5", "≥ 0 and ≤ 0.499"),
        ("aggregation.corrupt=-0.1", "-0.1", "≥ 0 and ≤ 0.499"),
        ("aggregation.dropouts=1", "1", "≥ 0 and ≤ 0.499"),
        ("aggregation.lose_stage=sharing", '"sharing"', '"share"'),
        ("data.held_out_share=1", "1", "> 0 and < 1"),
        ("method.targets=[]", "[]", '"all-linear" or a list, not empty, without repeats'),
        ("method.lora_aggregation=flora", '"flora"', 'one of "ffa", "alternate", "core", "fedit"'),
        ("method.lora_aggregation=FFA", '"FFA"', '"ffa"'),
        ("method.client_ranks=8", "8", "a list, of: a whole number ≥ 1 and ≤ 4096"),
        ("method.client_ranks=[8, 0]", "[8, 0]", "a whole number ≥ 1"),
        ("method.client_ranks=[8, 17]", "[8, 17]", "at most method.rank (16)"),
        ("seed=-1", "-1", "≥ 0"),
        ("name=a/b", '"a/b"', "letters, digits"),
        ("name=", '""', "letters, digits"),
        ("name=..", '".."', "dots alone"),
        ("training=3", "3", "a table, [training]"),
        ("model.pretraining=3", "3", "a table, [model.pretraining]"),
    ],
)
def test_wrong_value_is_named_with_what_is_allowed(override: str, found: str, allowed: str) -> None:
    error = problem(override)
    assert error.key == override.split("=")[0]
    assert error.detail.startswith(f"got {found}")
    assert allowed in error.detail
    assert str(error).startswith(f"{error.key}: ")


@pytest.mark.parametrize(
    ("overrides", "key"),
    [
        (["data.source=jsonl"], "data.file"),
        (["training.rounds=2", "aggregation.lose_stage=input"], "aggregation.lose_round"),
        (["model.heads=3"], "model.heads"),
        (["aggregation.lose_stage=consent", "aggregation.server=semi-honest"], "aggregation.lose_stage"),
        (["training.clients_per_round=1"], "training.clients_per_round"),
        (["training.clients_per_round=1", "aggregation.scheme=plain"], "training.clients_per_round"),
        (["data.max_clients=1"], "data.max_clients"),
        (["data.max_clients=1", *ENCRYPTED], "data.max_clients"),
        (["aggregation.lose_stage=keys"], "aggregation.lose_stage"),
        (["aggregation.lose_stage=open"], "aggregation.lose_stage"),
        (["aggregation.lose_stage=share", *ENCRYPTED], "aggregation.lose_stage"),
        (["aggregation.lose_stage=advertise", "aggregation.scheme=plain"], "aggregation.lose_stage"),
    ],
)
def test_keys_that_do_not_fit_together(overrides: list[str], key: str) -> None:
    assert problem(*overrides).key == key


@pytest.mark.parametrize(
    ("clients", "server", "corrupt", "dropouts", "needed", "left"),
    [(10, "malicious", 0.25, 0.4, 7, 6), (20, "semi-honest", 0.1, 0.499, 11, 11), (20, "malicious", 0.3, 0.35, 14, 13)],
)
def test_a_cohort_too_small_for_its_adversary(
    clients: int, server: str, corrupt: float, dropouts: float, needed: int, left: int
) -> None:
    """Said when the configuration is read, not once a model has been pretrained: what is wrong, where, what to do."""
    overrides = [
        f"training.clients_per_round={clients}", f"aggregation.server={server}", f"aggregation.corrupt={corrupt}",
        f"aggregation.dropouts={dropouts}",
    ]  # fmt: skip
    if needed <= left:
        assert load(None, overrides).training.clients_per_round == clients
        return
    error = problem(*overrides)
    assert error.key == "training.clients_per_round"
    assert error.detail.startswith(f"got {clients}; against a {server} server")
    for part in (f"needs {needed} survivors, and {left} are left", "fewer dropouts", "aggregation.dropouts"):
        assert part in error.detail


@pytest.mark.parametrize("scheme", [name for name, entry in SCHEMES.items() if entry.shares_a_key])
def test_a_scheme_with_one_key_stands_no_corrupt_client(scheme: str) -> None:
    """Neither the default, which is for masks, nor any other share: the user must say that there is none."""
    for overrides in ([], ["aggregation.corrupt=0.001"]):
        error = problem(f"aggregation.scheme={scheme}", *overrides)
        assert error.key == "aggregation.corrupt"
        assert error.detail.startswith("got 0.001" if overrides else "got 0.25")
        for part in (f'"{scheme}"', "share its key", "opens every update", "set it to 0", "aggregation.scheme masks"):
            assert part in error.detail
    assert load(None, [f"aggregation.scheme={scheme}", "aggregation.corrupt=0"]).aggregation.scheme == scheme


def test_a_stage_that_the_scheme_has_not_is_named_with_those_that_it_has() -> None:
    assert problem("aggregation.lose_stage=release", *ENCRYPTED).detail == (
        'got "release"; the scheme "bfv" has advertise, keys, input, open'
    )


def test_every_scheme_and_every_stage_can_be_asked_for() -> None:
    schemes, stages, arms = (
        keys()[name].allowed for name in ("aggregation.scheme", "aggregation.lose_stage", "evaluation.arms")
    )
    assert all(f'"{name}"' in schemes for name in SCHEMES)
    assert all(f'"{stage}"' in stages for entry in SCHEMES.values() for stage in entry.stages)
    assert all(f'"{entry.protection}"' in arms for entry in SCHEMES.values())


@pytest.mark.parametrize(
    ("scheme", "clients", "bits"), [("bfv", 90_000, 32), ("bfv-2048", 5000, 32), ("ckks", 90_000, 30),
                                    ("ckks-compact", 5000, 32)],
)  # fmt: skip
def test_numbers_that_no_ciphertext_holds_are_refused_when_read(scheme: str, clients: int, bits: int) -> None:
    overrides = [f"aggregation.scheme={scheme}", "aggregation.corrupt=0", f"training.clients_per_round={clients}"]
    error = problem(*overrides, f"aggregation.bits={bits}")
    assert error.key == "aggregation.bits"
    assert "[V8]" in error.detail
    assert "fewer bits" in error.detail
    load(None, [*overrides, "aggregation.bits=16"])


@pytest.mark.parametrize("key", ["corrupt", "dropouts"])
def test_a_share_of_a_cohort_is_in_thousandths(key: str) -> None:
    error = problem(f"aggregation.{key}=0.1234", "training.clients_per_round=10")
    assert error.key == f"aggregation.{key}"
    assert "0.1234 is not a share in 0 … 0.499, in thousandths" in error.detail


@pytest.mark.parametrize(
    "overrides",
    [
        ["training.rounds=2"],  # the round of a loss that is not asked for
        ["model.base=somewhere", "model.heads=3"],  # the small model's shape, where another is taken
        ["method.kind=pretrain", "model.base=somewhere"],
        ["data.max_clients=1", "aggregation.scheme=plain"],
        ["aggregation.dropouts=0.499", "aggregation.corrupt=0.499"],  # of a cohort that nobody has counted yet
        ["aggregation.lose_stage=consent"],
        ["aggregation.lose_stage=keys", *ENCRYPTED],
        ["aggregation.lose_stage=open", *ENCRYPTED, "aggregation.server=semi-honest"],
        ["aggregation.lose_stage=release", "aggregation.server=semi-honest"],
    ],
)
def test_what_is_not_used_need_not_fit(overrides: list[str]) -> None:
    load(None, overrides)


@pytest.mark.parametrize("override", ["", "x", "=3", "a b=3", "training.=3", "training..rounds=3"])
def test_override_that_cannot_be_read(override: str) -> None:
    assert "write section.key=value" in problem(override).detail


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ('method.rank="3', "method.rank"),
        ("training.rounds=", "training.rounds"),
        ("training.rounds=1\nseed=2", "training.rounds"),
        ("training={rounds=3}", "training"),
        ("name.x=3", "name"),
    ],
)
def test_override_with_a_value_that_cannot_be_read(override: str, key: str) -> None:
    assert problem(override).key == key


def test_override_below_something_that_is_no_table() -> None:
    error = problem("training=3", "training.rounds=2")
    assert error.key == "training"
    assert "got 3" in error.detail


def test_override_values_are_toml_and_bare_words_are_strings() -> None:
    config = load(None, ["name=42", "training.rounds=4", "method.targets=[q_proj,'v_proj']", "data.text_field=true"])
    assert (config.name, config.training.rounds) == ("42", 4)
    assert config.method.targets == ("q_proj", "v_proj")
    assert config.data.text_field == "true"
    assert load(None, ['name="quoted"']).name == "quoted"


def test_a_later_override_and_the_file_below_it(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text("seed = 3\n[training]\nrounds = 5\nbatch = 2\n", encoding="utf-8")
    config = load(path, ["training.rounds=6", "training.rounds=7"])
    assert (config.seed, config.training.rounds, config.training.batch) == (3, 7, 2)


def test_one_error_where_there_are_many_and_a_misspelling_goes_first() -> None:
    assert problem("training.rounds=0", "seed=-1", "training.roundz=3").key == "training.roundz"


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    assert "cannot read the configuration" in problem(path=tmp_path / "missing.toml").detail
    for content in (b"a = = 3", b"\xff\xfe"):
        path = tmp_path / "bad.toml"
        path.write_bytes(content)
        assert "is not valid TOML" in problem(path=path).detail


def test_a_configuration_cannot_be_changed_and_is_hashable() -> None:
    config = load()
    with pytest.raises(ValueError, match="frozen"):
        config.training.rounds = 3  # type: ignore[misc]
    assert hash(config) == hash(load())


def test_digest_sees_every_value_and_not_how_it_was_written() -> None:
    assert digest(load()) == digest(load(None, ["training.server_learning_rate=2"]))
    base = load(None, ["data.file=x"])
    seen = {digest(load(None, ["data.file=x", one])) for one in CHANGED}
    assert digest(base) not in seen
    assert len(seen) == len(CHANGED)
    assert len(digest(load())) == 64
