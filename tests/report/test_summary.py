"""The arithmetic against numbers worked out by hand, and the sentences that say it."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from securefed.errors import PersistenceError
from securefed.report.outcome import EFFECTS, aborted_text, dropout_text, headline, remarks, state_text
from securefed.report.page import html
from securefed.report.plots import draw
from securefed.report.protection import protection
from securefed.report.summary import ARMS, STAGES, Summary, read_summary
from securefed.report.table import markdown, summary_table
from securefed.report.themes import DARK, LIGHT
from securefed.report.units import byte_text, change_text, perplexity_text, second_text, share_text
from securefed.schemes import PROTECTED, SCHEMES

START = {
    "event": "start",
    "name": "hand",
    "time": "2026-01-31T12:00:00",
    "seed": 0,
    "clients": [
        {"id": at, "name": name, "train_tokens": 10, "held_out_tokens": 5} for at, name in ((1, "a"), (2, "b"))
    ],
    "parameters": {"total": 100, "trained": 10},
    "method": "lora",
    "scheme": "masks",
    "threshold": 2,
}
HAND = {"public": (40.0, 80.0), "local": (30.0, 70.0), "plain": (25.0, 65.0), "masks": (35.0, 55.0)}


def evaluated(arm: str, perplexities: tuple[float, float], **extra: Any) -> list[dict[str, Any]]:
    line = {"event": "evaluation", "arm": arm, "round": None, "final": True} | extra
    return [line | {"client": name, "loss": math.log(ppl)} for name, ppl in zip("ab", perplexities, strict=True)]


def round_(number: int, **extra: Any) -> dict[str, Any]:
    return {
        "event": "round", "arm": "masks", "round": number, "seconds": 10.0 * number, "training_seconds": 8.0,
        "protection_seconds": 0.5 * number, "stages": {"input": 0.3 * number, "share": 0.2 * number},
        "survivors": 2, "cohort": 2, "lost": [], "bytes_up": {"a": 100 * number, "b": 300},
        "bytes_down": {"a": 10, "b": 20},
    } | extra  # fmt: skip


@pytest.fixture
def summed(write: Callable[..., Path]) -> Callable[..., Summary]:
    def read(*lines: dict[str, Any], **means: tuple[float, float]) -> Summary:
        arms = [line for arm, perplexities in means.items() for line in evaluated(arm, perplexities)]
        return read_summary(write([START, *arms, *lines]))

    return read


def test_perplexity_mean_worst_and_ratios(summed: Callable[..., Summary]) -> None:
    arms = summed(**HAND).arms
    assert list(arms) == ["public", "local", "plain", "masks"]
    assert arms["public"].mean == pytest.approx(60.0)
    masks = arms["masks"]
    assert masks.mean == pytest.approx(45.0)
    assert (masks.worst, masks.worst_client) == (pytest.approx(55.0), "b")
    assert masks.over_public == pytest.approx(0.75)
    assert masks.over_local == pytest.approx(0.9)
    assert (masks.better_than_local, masks.compared) == (1, 2)
    assert masks.after_round is None


def test_costs_of_the_rounds(summed: Callable[..., Summary]) -> None:
    cost = summed(round_(1), round_(2)).costs["masks"]
    assert (cost.rounds, cost.seconds, cost.training_seconds, cost.protection_seconds) == (2, 30.0, 16.0, 1.5)
    assert cost.protection_share == pytest.approx(0.05)
    assert cost.stages == {"share": pytest.approx(0.6), "input": pytest.approx(0.9)}
    assert list(cost.stages) == ["share", "input"]
    assert cost.bytes_up == {"a": 150.0, "b": 300.0}
    assert cost.mean_up == pytest.approx((100 + 300 + 200 + 300) / 4)
    assert cost.mean_down == pytest.approx(15.0)


def test_bytes_of_a_lost_client_count_in_the_rounds_that_it_was_in(summed: Callable[..., Summary]) -> None:
    cost = summed(round_(1), round_(2, bytes_up={"a": 200})).costs["masks"]
    assert cost.bytes_up == {"a": 150.0, "b": 300.0}
    assert cost.mean_up == pytest.approx(200.0)


def test_dropouts_are_told_with_what_they_did(summed: Callable[..., Summary]) -> None:
    lost = {"lost": [{"client": "b", "stage": "release"}], "survivors": 2}
    summary = summed(round_(1), round_(2, **lost))
    assert [(one.round, one.client, one.stage) for one in summary.dropouts] == [(2, "b", "release")]
    assert "which counts; the others' shares" in dropout_text(summary.dropouts[0])


ABORTED = {
    "event": "aborted", "arm": "encrypted", "round": 2, "stage": "open", "again": True, "seconds": 0.25,
    "detail": "client 1 holds the key", "lost": [{"client": "a", "stage": "open"}],
}  # fmt: skip


def test_a_round_that_was_aborted_is_told_and_costs_nothing(summed: Callable[..., Summary]) -> None:
    again = ABORTED | {"refused": [{"client": "b", "error": "[W4] no such message"}]}
    summary = summed(ABORTED, again, round_(2, arm="encrypted"))  # the first was of a process that was killed
    (told,) = map(aborted_text, summary.events.aborted)
    assert "Round 2 was aborted: a, which held the round's key, was lost before it had opened the sum" in told
    assert "run again under new keys" in told
    assert summary.costs["encrypted"].rounds == 1
    assert not summary.dropouts
    for text in (markdown(summary), html(summary, draw(summary))):
        assert "Round 2 was aborted" in text
        assert "a message of b was refused" in text


def test_a_round_that_ended_the_run_says_so(summed: Callable[..., Summary]) -> None:
    last = ABORTED | {"stage": "input", "again": False, "detail": "1 of 2 clients answered, 2 are needed"}
    told = aborted_text(summed(last).events.aborted[0])
    assert "1 of 2 clients answered, 2 are needed (stage input); lost: a. The run ended there" in told


@pytest.mark.parametrize(
    ("stage", "counts"), [("share", False), ("keys", False), ("input", False), ("consent", True), ("release", True)]
)
def test_in_every_stage_a_loss_has_words_of_its_own(summed: Callable[..., Summary], stage: str, counts: bool) -> None:
    lost = {"lost": [{"client": "b", "stage": stage}], "survivors": 2 if counts else 1}
    (told,) = (dropout_text(one) for one in summed(round_(1, **lost)).dropouts)
    assert f"in stage {stage}" not in told
    assert ("which counts" in told) == counts


def test_stages_are_shown_in_their_order(summed: Callable[..., Summary]) -> None:
    mixed = {"release": 0.1, "consent": 0.2, "share": 0.3, "advertise": 0.4, "input": 0.5}
    found = summed(round_(1, stages=mixed)).costs["masks"].stages
    assert list(found) == ["advertise", "share", "input", "consent", "release"]
    encrypted = round_(1, arm="encrypted", stages={"open": 0.1, "input": 0.2, "keys": 0.3, "advertise": 0.4})
    assert list(summed(encrypted).costs["encrypted"].stages) == ["advertise", "keys", "input", "open"]


def test_every_scheme_has_its_stages_its_arm_and_its_sentences(write: Callable[..., Path]) -> None:
    for name, entry in SCHEMES.items():
        assert set(entry.stages) <= set(STAGES)
        assert entry.protection in ARMS
        assert all(entry.protection in theme.arms for theme in (LIGHT, DARK))
        against = protection(read_summary(write([START | {"scheme": name, "corrupt": 1}]))).against
        assert against.startswith("Nobody") == (entry.protection not in PROTECTED)
    assert set(EFFECTS) == set(PROTECTED)


def test_every_stage_has_a_colour_of_its_own() -> None:
    for theme in (LIGHT, DARK):
        assert list(theme.stages) == list(STAGES)
        assert len({*theme.stages.values(), theme.training}) == len(STAGES) + 1


def test_a_refused_message_is_told(summed: Callable[..., Summary]) -> None:
    summary = summed(round_(1, refused=[{"client": "b", "error": "[W4] message type 9 does not exist"}]))
    assert "Round 1: a message of b was refused: \\[W4\\]" in markdown(summary)


def test_stages_of_another_scheme(summed: Callable[..., Summary]) -> None:
    cost = summed(round_(1, arm="plain", stages={"update": 0.5})).costs["plain"]
    assert cost.stages == {"update": 0.5}


def test_an_unfinished_run_shows_its_last_round_and_says_so(summed: Callable[..., Summary]) -> None:
    lines = [*evaluated("masks", (50, 50), round=1, final=False), *evaluated("masks", (40, 60), round=2, final=False)]
    summary = summed(*lines, round_(1), round_(2), {"event": "resume", "round": 2, "time": ""})
    assert summary.arms["masks"].after_round == 2
    assert summary.arms["masks"].worst == pytest.approx(60)
    assert summary.losses("masks") == {1: pytest.approx(math.log(50)), 2: pytest.approx(math.log(2400) / 2)}
    assert "not finished: 2 of 8 rounds" in state_text(summary)
    assert "taken up again after round 2" in state_text(summary)
    assert "after round 2" in markdown(summary)


@pytest.mark.parametrize(
    ("masks", "local", "says"),
    [
        (
            (45.0, 45.0),
            (50.0, 50.0),
            "beats training alone: held-out perplexity 45.0 against 50.0 (−10.0\N{NO-BREAK SPACE}%)",
        ),
        ((50.02, 50.02), (50.0, 50.0), "is no better than training alone"),
        ((55.0, 55.0), (50.0, 50.0), "does not beat training alone: held-out perplexity 55.0 against 50.0 (+10.0"),
        ((math.inf, 55.0), (50.0, 50.0), "diverged"),
    ],
)
def test_the_headline_is_honest(
    summed: Callable[..., Summary], masks: tuple[float, float], local: tuple[float, float], says: str
) -> None:
    assert says in headline(summed(masks=masks, local=local, public=(60.0, 60.0)))


def test_headline_with_little_to_go_by(summed: Callable[..., Summary]) -> None:
    assert headline(summed()) == "No federated model has been evaluated."
    assert headline(summed(masks=(50.0, 50.0))).endswith("reaches a held-out perplexity of 50.0.")
    assert "in the clear reaches" in headline(summed(plain=(50.0, 50.0), public=(60.0, 60.0)))


def test_remarks_name_losers_and_doubts(summed: Callable[..., Summary]) -> None:
    said = " ".join(remarks(summed(**(HAND | {"public": (30.0, 50.0)}))))
    assert "Better than alone for 1 of 2 clients." in said
    assert "no better than the public model" in said
    assert "one seed" in said


def test_protection_follows_scheme_and_adversary(write: Callable[..., Path]) -> None:
    follows = protection(read_summary(write([START | {"adversary": "semi-honest", "corrupt": 1}])))
    assert "A semi-honest server (it follows the protocol" in follows.against
    assert "together with 1 of a round's clients" in follows.against
    assert any("A malicious server" in one for one in follows.not_covered)
    lies = protection(read_summary(write([START | {"adversary": "malicious", "corrupt": 2}])))
    assert "A malicious server (it sends, drops, invents and lies as it likes)" in lies.against
    assert "together with 2 of a round's clients" in lies.against
    assert not any("malicious server" in one for one in lies.not_covered)
    for masks in (follows, lies):
        assert masks.hidden
        assert any("differential privacy" in one for one in masks.not_covered)
    plain = protection(read_summary(write([START | {"scheme": "plain"}])))
    assert "Nobody" in plain.against
    assert not plain.hidden


def test_an_encrypted_run_claims_no_colluding_client(write: Callable[..., Path]) -> None:
    """Whatever number of corrupt clients was written down: they share the key."""
    lies = protection(read_summary(write([START | {"scheme": "bfv", "adversary": "malicious", "corrupt": 1}])))
    assert "A malicious server" in lies.against
    assert "alone: none of a round's clients works with it" in lies.against
    assert "together" not in lies.against
    assert any("key holder" in one for one in lies.seen)
    assert "opens every update" in lies.not_covered[0]
    assert not any(one.startswith("A malicious server") for one in lies.not_covered)
    follows = protection(read_summary(write([START | {"scheme": "ckks", "adversary": "semi-honest"}])))
    assert any(one.startswith("A malicious server: ") for one in follows.not_covered)
    assert "opens every update" in follows.not_covered[0]


@pytest.mark.parametrize(("arm", "effect"), [("masks", "Masking"), ("encrypted", "Encryption")])
def test_what_protection_changed_is_named(summed: Callable[..., Summary], arm: str, effect: str) -> None:
    summary = summed(round_(1, arm=arm), **{arm: (40.0, 60.0), "plain": (40.0, 60.0)})
    assert summary.federated is summary.arms[arm]
    said = " ".join(remarks(summary))
    assert f"{effect} changed perplexity by" in said
    assert "Protection took 5.0" in said
    page = html(summary, draw(summary))
    assert f"perplexity by {effect.lower()}" in page
    assert ("key holder&#39;s" in page) == (arm == "encrypted")


def test_a_run_of_an_older_version_says_no_more_than_it_wrote(write: Callable[..., Path]) -> None:
    """It named no adversary: the weaker one is shown, and no number of corrupt clients."""
    older = protection(read_summary(write([START])))
    assert "A semi-honest server" in older.against
    assert "the stated number" in older.against


def test_tables_show_names_as_they_are(summed: Callable[..., Summary], write: Callable[..., Path]) -> None:
    lines = [START, *evaluated("masks", (50.0, 60.0))]
    lines[-1] = lines[-1] | {"client": "[red]|*x*\n<b>"}
    summary = read_summary(write(lines))
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(summary_table(summary))
    assert "[red]|*x*" in console.export_text()
    assert "\\[red\\]\\|\\*x\\*" in markdown(summary)
    assert "\\<b\\>" in markdown(summary)


def test_a_configuration_that_is_missing_or_damaged(write: Callable[..., Path]) -> None:
    with pytest.raises(PersistenceError, match=r"config\.toml is damaged"):
        read_summary(write([START], "a = = 3"))
    run_dir = write([START])
    (run_dir / "config.toml").unlink()
    with pytest.raises(PersistenceError, match=r"config\.toml cannot be read"):
        read_summary(run_dir)


def test_units() -> None:
    assert [perplexity_text(one) for one in (4.831, 55.52, 1234.5, math.inf, math.nan, None)] == [
        "4.83", "55.5", "1,234", "∞", "–", "–",
    ]  # fmt: skip
    shown = [change_text(0.945), change_text(1.0), change_text(1.0003), change_text(None)]
    assert [one.replace("\N{NO-BREAK SPACE}", " ") for one in shown] == ["−5.5 %", "±0.00 %", "+0.03 %", "–"]
    shown = [second_text(one) for one in (0.0032, 0.039, 1.25, 59.99, 125, 3720)]
    assert [one.replace("\N{NO-BREAK SPACE}", " ") for one in shown] == [
        "3.2 ms", "39 ms", "1.25 s", "1 min 0 s", "2 min 5 s", "1 h 2 min",
    ]  # fmt: skip
    shown = [byte_text(512), byte_text(1023.9), byte_text(62_000), byte_text(3 << 20), share_text(0.0002)]
    assert [one.replace("\N{NO-BREAK SPACE}", " ") for one in shown] == [
        "512 B",
        "1.0 KiB",
        "60.5 KiB",
        "3.0 MiB",
        "0.02 %",
    ]
