"""Sites and server of a job, called as NVFlare calls them, in one process."""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nvflare.collab.api.decorators import get_param_names, is_publish
from nvflare.collab.api.exceptions import RunAborted

from securefed.aggregation import Adversary, Policy
from securefed.deployment.identities import make_identity, make_roster
from securefed.errors import ConfigError, RoundAborted
from securefed.integrations.nvflare import CLIENT_FILE_VARIABLE, SecureRounds, secure_site
from tests.integrations.nvflare.calls import (
    BITS,
    CLIP,
    GREATEST,
    OPEN,
    SEMI_HONEST,
    SITES,
    STEP,
    Site,
    examples,
    moved,
    on_grid,
    weights,
)
from tests.integrations.nvflare.reference import after, sum_of

MALICIOUS = Adversary("malicious", corrupt=0.0, dropouts=0.0)


def trainer(site: str) -> Callable[..., Any]:
    def train(old, config):
        if config.get("fails") == site:
            raise ValueError("the patient's name is Ada")
        return moved(old, site, config["round"]), examples(site), {"loss": 0.5}

    return train


def sites(policy: Policy | None = OPEN, client_file: str | None = None, names: tuple[str, ...] = SITES) -> list[Site]:
    return [Site(name, {"train": secure_site(policy, client_file=client_file)(trainer(name))}) for name in names]


def rounds(scheme: str = "masks", adversary: Adversary = SEMI_HONEST, **more: Any) -> SecureRounds:
    return SecureRounds(
        scheme, adversary=adversary, clip=CLIP, bits=BITS, greatest_weight=GREATEST, **{"metrics": ("loss",)} | more
    )


@pytest.fixture
def owners(tmp_path: Path) -> Path:
    """Folders of the sites' owners, with client file and identity roster."""
    files = [make_identity(tmp_path / site, number) for number, site in enumerate(SITES, 1)]
    make_roster(tmp_path / "identities.json", [file.with_name("identity.pub.json") for file in files])
    for file in files:
        shutil.copy(tmp_path / "identities.json", file.parent)
        file.write_text(file.read_text().replace("corrupt = 0.1", "corrupt = 0.0"))
    return tmp_path


def check(secure: SecureRounds, proxies: list[Site], exchanges: tuple[int, ...]) -> None:
    """Rounds of so many exchanges that must equal the reference."""
    present, count = weights(), len(exchanges)
    for number in range(1, count + 1):
        done = secure.average(present, {"round": number}, sites=proxies)
        aggregate = sum_of(present, SITES, number)
        expected = after(present, aggregate)
        np.testing.assert_array_equal(done.report.aggregate.words, aggregate.words)
        for name, array in done.weights.items():
            np.testing.assert_array_equal(array, expected[name])
            assert array.dtype == expected[name].dtype
        present = on_grid(expected)
        assert (done.sites, dict(done.lost)) == (SITES, {})
        assert done.report.exchanges == exchanges[number - 1]
        assert (done.examples, dict(done.metrics)) == (96, {"loss": 0.5})


@pytest.mark.parametrize(("scheme", "exchanges"), [("plain", (1, 1, 1)), ("masks", (4, 2, 2)), ("bfv", (4, 4, 4))])
def test_rounds_equal_the_reference_bit_for_bit(scheme: str, exchanges: tuple[int, ...]) -> None:
    check(rounds(scheme), sites(), exchanges)


def test_a_last_round_prepares_no_other() -> None:
    secure, proxies = rounds(), sites()
    exchanges = [
        secure.average(weights(), {"round": 1}, sites=proxies, more=more).report.exchanges
        for more in (True, False, True)
    ]
    assert exchanges == [4, 2, 4]


def test_rounds_against_a_malicious_server_take_the_sites_own_files(
    owners: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CLIENT_FILE_VARIABLE, str(owners / "{site}" / "client.toml"))
    secure = rounds(adversary=MALICIOUS, identities=owners / "identities.json", folder=owners / "server")
    proxies = sites(None)
    check(secure, proxies, (5, 3, 3))
    assert (owners / SITES[0] / "state").is_dir()
    last = secure.average(weights(), {"round": 4}, sites=proxies).report.spec.round
    # A server that begins anew and sites that were started again, over the folders that both kept.
    again = rounds(adversary=MALICIOUS, identities=owners / "identities.json", folder=owners / "server")
    done = again.average(weights(), {"round": 1}, sites=sites(None))
    assert done.sites == SITES
    assert done.report.spec.round > last


def test_without_a_client_file_a_site_takes_part_in_no_round_against_a_malicious_server() -> None:
    with pytest.raises(RoundAborted) as raised:
        rounds(adversary=MALICIOUS, identities={n: bytes([n]) * 32 for n in (1, 2, 3)}).average(
            weights(), {"round": 1}, sites=sites(Policy(adversary=MALICIOUS))
        )
    assert "O1" in str(raised.value)


@pytest.mark.parametrize("scheme", ["plain", "bfv"])
def test_a_site_without_policy_takes_part_in_masks_alone(scheme: str) -> None:
    with pytest.raises(RoundAborted, match="O1"):
        rounds(scheme).average(weights(), {"round": 1}, sites=sites(None))


def test_the_policy_of_file_and_code_must_both_hold(owners: Path) -> None:
    """The file wants a malicious server; the job's code would be content with less."""
    with pytest.raises(RoundAborted, match="O1"):
        rounds().average(weights(), {"round": 1}, sites=sites(OPEN, str(owners / "{site}" / "client.toml")))


def test_a_site_whose_training_fails_is_lost_for_one_round() -> None:
    secure, proxies, present = rounds(), sites(), weights()
    for number, fails in ((1, ""), (2, SITES[1]), (3, "")):
        done = secure.average(present, {"round": number, "fails": fails}, sites=proxies)
        left = tuple(name for name in SITES if name != fails)
        aggregate = sum_of(present, left, number)
        np.testing.assert_array_equal(done.report.aggregate.words, aggregate.words)
        assert done.sites == left
        failed = "client 2 refused: training failed; the site's log says why"
        assert dict(done.lost) == ({fails: failed} if fails else {})
        present = on_grid(after(present, aggregate))


def test_what_training_raised_is_in_the_sites_log_alone(caplog: pytest.LogCaptureFixture) -> None:
    done = rounds().average(weights(), {"round": 1, "fails": SITES[0]}, sites=sites())
    assert "Ada" not in repr(done)
    logged = [record for record in caplog.records if record.exc_info and "Ada" in str(record.exc_info[1])]
    assert [record.name for record in logged] == ["securefed.integrations.nvflare.site"]


@pytest.mark.parametrize(
    "result",
    [None, ({}, 1, {"loss": 0.0}), (weights(), 0, {"loss": 0.0}), (weights(), GREATEST + 1, {"loss": 0.0}),
     (weights(), 1, {}), (weights(), 1.5, {"loss": 0.0}), (weights(), 1, {"loss": "low"}),
     ({"w": np.full((4, 3), np.nan), "b": np.zeros(5)}, 1, {"loss": 0.0})],
)  # fmt: skip
def test_a_result_that_cannot_be_summed_is_one_sites_loss(result: Any) -> None:
    proxies = sites()
    proxies[1].functions = {"train": secure_site(OPEN)(lambda _weights, _config: result)}
    done = rounds().average(weights(), {"round": 1}, sites=proxies)
    assert done.sites == (SITES[0], SITES[2])
    assert list(done.lost) == [SITES[1]]


def test_a_site_that_is_gone_stays_in_the_cohort_and_comes_back() -> None:
    secure, proxies = rounds(), sites()
    assert secure.average(weights(), {"round": 1}, sites=proxies).sites == SITES
    proxies[2].fails = True
    for number, exchanges in ((2, 2), (3, 4)):  # what was prepared with all is used; nothing is prepared without one
        lost = secure.average(weights(), {"round": number}, sites=proxies)
        assert lost.report.exchanges == exchanges
        assert (lost.sites, list(lost.lost), lost.report.spec.cohort) == (SITES[:2], [SITES[2]], (1, 2, 3))
    proxies[2].fails = False
    back = secure.average(weights(), {"round": 4}, sites=proxies)
    assert (back.sites, back.report.spec.cohort) == (SITES, (1, 2, 3))


def test_a_site_that_did_not_answer_the_greeting_is_greeted_again() -> None:
    secure, proxies = rounds(), sites(names=(*SITES, "site-4"))
    proxies[3].fails = True
    without = secure.average(weights(), {"round": 1}, sites=proxies)
    assert (without.sites, without.report.spec.cohort) == (SITES, (1, 2, 3))
    assert dict(without.lost) == {"site-4": "no answer: no method 'train'"}
    proxies[3].fails = False
    asked = len(proxies[0].calls)
    assert secure.average(weights(), {"round": 2}, sites=proxies).sites == (*SITES, "site-4")
    assert all(call["request"] for call in proxies[0].calls[asked:]), "who has answered is not greeted again"


def test_ids_follow_the_names_and_stay() -> None:
    secure, proxies = rounds(), sites(names=("c-3", "a-1", "b-2"))
    done = secure.average(weights(), {"round": 1}, sites=proxies)
    assert done.sites == ("a-1", "b-2", "c-3")
    late = sites(names=("aa-4",))
    fourth = secure.average(weights(), {"round": 2}, sites=[*proxies, *late])
    assert fourth.report.spec.cohort == (1, 2, 3, 4)
    assert '"client":4' in late[0].calls[-1]["terms"]
    assert '"client":1' in proxies[1].calls[-1]["terms"]


def test_ids_are_those_of_the_files(owners: Path) -> None:
    shutil.rmtree(owners / SITES[0])
    make_identity(owners / SITES[0], 7)
    for site in SITES:
        lines = (owners / site / "client.toml").read_text().splitlines()
        kept = [line for line in lines if line.startswith(("id =", "state"))]
        (owners / site / "client.toml").write_text("\n".join(kept))
    done = rounds().average(weights(), {"round": 1}, sites=sites(OPEN, str(owners / "{site}" / "client.toml")))
    assert done.report.spec.cohort == (2, 3, 7)


def test_of_two_sites_with_one_client_file_one_is_left_out(owners: Path) -> None:
    for site in SITES:
        lines = (owners / site / "client.toml").read_text().splitlines()
        kept = [line for line in lines if line.startswith(("id =", "state"))]
        (owners / site / "client.toml").write_text("\n".join(kept))
    file = str(owners / "{site}" / "client.toml")
    second = sites(OPEN, file.replace("{site}", SITES[0]), ("twin-1",))
    done = rounds().average(weights(), {"round": 1}, sites=[*sites(OPEN, file), *second])
    assert len(done.sites) == 3
    assert [why.startswith("it is client 1, as ") for why in done.lost.values()] == [True]


@pytest.mark.parametrize(
    ("client", "last"),
    [(-1, 0), (2**32, 0), (True, 0), ("1", 0), (None, 0), (0, None), (0, "1"), (0, 2**32), (9, 2**31 + 10**8)],
)
def test_a_site_that_greets_with_nonsense_is_left_out(client: Any, last: Any) -> None:
    liar = Site("liar-9", {"train": lambda **_: {"client": client, "last_round": last}})
    done = rounds().average(weights(), {"round": 1}, sites=[*sites(), liar])
    assert (done.sites, list(done.lost)) == (SITES, ["liar-9"])
    assert done.report.spec.round < time.time() + 10


def test_a_job_that_follows_at_once_begins_above_the_last_round_of_the_sites(owners: Path) -> None:
    """Rounds here are faster than one a second, which is what numbers begin at."""
    files = str(owners / "{site}" / "client.toml")
    for _ in range(2):
        secure = rounds(adversary=MALICIOUS, identities=owners / "identities.json")
        proxies = sites(None, files)
        for number in range(1, 5):
            assert secure.average(weights(), {"round": number}, sites=proxies).sites == SITES
        assert secure.average(weights(), {"round": 5}, sites=proxies).report.seconds < 60


def test_a_job_that_is_submitted_again_takes_the_round_up(owners: Path) -> None:
    """What one site trained before the job was stopped is not trained again: its answer is the stored one."""
    trained: list[str] = []

    def job() -> tuple[SecureRounds, list[Site]]:
        proxies = []
        for name in SITES:

            def train(old, config, name=name):
                trained.append(name)
                return trainer(name)(old, config)

            function = secure_site(client_file=str(owners / "{site}" / "client.toml"))(train)
            proxies.append(Site(name, {"train": function}))
        roster = owners / "identities.json"
        return rounds(adversary=MALICIOUS, identities=roster, folder=owners / "server"), proxies

    secure, proxies = job()
    honest = proxies[0].functions["train"]

    def stop(**arguments: Any) -> Any:
        proxies[0].aborted = bool(arguments["weights"])
        return honest(**arguments)

    proxies[0].functions = {"train": stop}
    with pytest.raises(RunAborted):
        secure.average(weights(), {"round": 1}, sites=proxies)
    again, restarted = job()
    done = again.average(weights(), {"round": 1}, sites=restarted)
    np.testing.assert_array_equal(done.report.aggregate.words, sum_of(weights(), SITES, 1).words)
    assert sorted(trained) == list(SITES)


def test_a_broken_client_file_is_named_in_the_sites_log_alone(owners: Path, caplog: pytest.LogCaptureFixture) -> None:
    broken = owners / "site-4" / "client.toml"
    make_identity(broken.parent, 4).write_text("id = 0")
    done = rounds().average(weights(), {"round": 1}, sites=[*sites(), *sites(OPEN, str(broken), ("site-4",))])
    assert done.lost == {"site-4": "the site's client file or state cannot be used; its log says why"}
    assert str(broken) in caplog.text


def test_what_goes_wrong_at_a_site_is_told_to_nobody(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise OSError("/home/ada/disk")

    proxies = sites()
    monkeypatch.setattr("securefed.integrations.nvflare.site.Participant.answer", broken)
    with pytest.raises(RoundAborted, match="the site failed; its log says why") as raised:
        rounds().average(weights(), {"round": 1}, sites=proxies)
    assert "ada" not in str(raised.value)
    assert "/home/ada/disk" in caplog.text


def test_only_the_server_may_ask() -> None:
    secure, proxies = rounds(), sites()
    secure.average(weights(), {"round": 1}, sites=proxies)
    proxies[0].caller = SITES[1]
    done = secure.average(weights(), {"round": 2}, sites=proxies)
    assert "only the server may ask" in done.lost[SITES[0]]
    assert done.sites == SITES[1:]


@pytest.mark.parametrize(
    ("argument", "change", "rule"),
    [("config", lambda text: text.replace("1", "2"), "V9"),
     ("config", lambda text: "[]", "O2"), ("config", lambda text: text.replace("7.99", "8.99"), "V9"),
     ("weights", lambda packed: packed[:-1] + bytes([packed[-1] ^ 1]), "V9"),
     ("weights", lambda packed: b"", "O2"),
     ("terms", lambda text: text.replace('"client":1', '"client":2'), "R7"),
     ("terms", lambda text: "{}", "O2")],
)  # fmt: skip
def test_a_site_that_is_told_another_thing_than_the_rest_takes_no_part(
    argument: str, change: Callable[[Any], Any], rule: str
) -> None:
    proxies = sites()
    honest = proxies[0].functions["train"]

    def changed(**arguments: Any) -> Any:
        if arguments["weights"]:
            arguments[argument] = change(arguments[argument])
        return honest(**arguments)

    proxies[0].functions = {"train": changed}
    done = rounds().average(weights(), {"round": 1}, sites=proxies)
    assert done.sites == SITES[1:]
    assert f"[{rule}]" in done.lost[SITES[0]]


@pytest.mark.parametrize("answer", [None, b"", {}, {"answer": "text"}, {"answer": b"no message"}, {"refused": 1}])
def test_a_site_that_answers_anything_is_its_own_loss(answer: Any) -> None:
    proxies = sites()
    honest = proxies[0].functions["train"]
    proxies[0].functions = {"train": lambda **call: answer if call["weights"] else honest(**call)}
    done = rounds().average(weights(), {"round": 1}, sites=proxies)
    assert done.sites == SITES[1:]
    assert list(done.lost) == [SITES[0]]


def test_a_server_without_sites_says_so() -> None:
    proxies = sites()
    for proxy in proxies:
        proxy.functions = {"fit": proxy.functions["train"]}
    with pytest.raises(RoundAborted, match="site-1: no answer: no method 'train'"):
        rounds().average(weights(), sites=proxies)
    assert rounds(function="fit").average(weights(), {"round": 1}, sites=proxies).sites == SITES


def test_weights_travel_once_a_round_and_training_has_its_own_time() -> None:
    proxies = sites()
    rounds(training_seconds=77.0, exchange_seconds=5.0).average(weights(), {"round": 1}, sites=proxies)
    calls = [call for call in proxies[0].calls if call["request"]]
    assert [bool(call["weights"]) for call in calls].count(True) == 1
    assert {bool(call["weights"]): call["timeout"] for call in calls} == {True: 77.0, False: 5.0}
    assert all(bool(call["config"]) == bool(call["weights"]) for call in calls)


def test_training_may_write_to_what_it_is_given() -> None:
    def train(old, config):
        for array in old.values():
            array += STEP
        return old, 32, {"loss": 0.5}

    proxies = sites()
    for proxy in proxies:
        proxy.functions = {"train": secure_site(OPEN)(train)}
    done = rounds().average(weights(), sites=proxies)
    for array in done.weights.values():
        np.testing.assert_array_equal(array, np.full(array.shape, STEP, array.dtype))


class Trainer:
    def __init__(self, site: str) -> None:
        self.site = site

    @secure_site(OPEN)
    def train(self, old, config):
        """Trains."""
        return trainer(self.site)(old, config)


def test_a_method_can_be_published() -> None:
    check(rounds(), [Site(name, {"train": Trainer(name).train}) for name in SITES], (4,))
    assert is_publish(Trainer.train)
    assert get_param_names(Trainer.train) == ["terms", "request", "weights", "config"]
    assert (Trainer.train.__name__, Trainer.train.__doc__) == ("train", "Trains.")


@pytest.mark.parametrize(
    ("arguments", "key"),
    [({"scheme": "sum"}, "scheme"), ({"training_seconds": 0.0}, "training_seconds"),
     ({"exchange_seconds": -1.0}, "exchange_seconds"), ({"metrics": "loss"}, "metrics"),
     ({"metrics": ["clipped_share"]}, "metrics"), ({"identities": "/no/roster.json"}, "/no/roster.json")],
)  # fmt: skip
def test_arguments_out_of_bounds_are_named(arguments: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError) as raised:
        rounds(**arguments)
    assert raised.value.key == key


def test_what_the_clip_bound_cuts_off_is_told(caplog: pytest.LogCaptureFixture) -> None:
    def train(old, config):
        return {"w": old["w"] + 2 * CLIP, "b": old["b"]}, GREATEST, {"loss": 0.5}

    proxies = [Site(name, {"train": secure_site(OPEN)(train)}) for name in SITES]
    done = rounds().average(weights(), sites=proxies)
    assert done.clipped_share == pytest.approx(12 / 17)
    assert "70.6% of the update's values were over the clip bound" in caplog.text
    assert "clipped_share" not in done.metrics


def test_what_is_written_least_takes_part_in_masks() -> None:
    def train(old, config):
        return {name: array + 0.25 for name, array in old.items()}, 100, {}

    proxies = [Site(name, {"train": secure_site()(train)}) for name in (*SITES, "site-4")]
    done = SecureRounds().average(weights(), sites=proxies)
    assert len(done.sites) == 4
    assert str(done.report.spec.adversary).startswith("a semi-honest server with 34")
    for array in done.weights.values():
        np.testing.assert_allclose(array, 0.25, atol=1e-5)


def test_nothing_is_logged_that_a_site_keeps(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    check(rounds(), sites(), (4,))
    assert [record for record in caplog.records if record.name.startswith("securefed")] == []


def test_the_variable_is_read_when_a_site_is_first_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    assert CLIENT_FILE_VARIABLE == "SECUREFED_CLIENT_FILE"
    proxies = sites()
    monkeypatch.setenv(CLIENT_FILE_VARIABLE, os.devnull)
    with pytest.raises(RoundAborted, match="client file"):
        rounds().average(weights(), sites=proxies)
