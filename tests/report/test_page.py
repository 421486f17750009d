"""The page opens offline, escapes what it shows, and has words for every picture."""

from __future__ import annotations

import base64
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from securefed.report.page import write_report

Lines = list[dict[str, Any]]
SCRIPT = "<script>alert(1)</script>"
VOID = {"meta", "img", "source", "br", "link", "input", "hr"}


class Page(HTMLParser):
    """Elements with their attributes, the text, and whether tags are closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def read(path: Path) -> Page:
    page = Page(path.read_text(encoding="utf-8"))
    assert page.open == []
    return page


@pytest.fixture
def page(events: Lines, write: Callable[..., Path]) -> Page:
    return read(write_report(write(events)))


def test_nothing_is_loaded_from_elsewhere(page: Page) -> None:
    for tag, attributes in page.elements:
        for name in ("src", "srcset", "href", "data", "action", "poster"):
            value = attributes.get(name)
            assert value is None or value.startswith("data:image/svg+xml;base64,"), (tag, name)
    assert not {tag for tag, _ in page.elements} & {"script", "link", "iframe", "object", "embed", "base"}
    assert "url(" not in page.text
    assert "@import" not in page.text
    policy = next(one for one in page.all("meta") if one.get("http-equiv") == "Content-Security-Policy")
    assert policy["content"] == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def test_every_picture_has_words_and_a_dark_twin(page: Page) -> None:
    images, dark = page.all("img"), page.all("source")
    assert len(images) == len(dark) == len(page.all("figcaption")) == 4
    assert all(len(one["alt"] or "") > 40 for one in images)
    assert all("prefers-color-scheme: dark" in (one["media"] or "") for one in dark)
    for uri in [one["src"] for one in images] + [one["srcset"] for one in dark]:
        assert uri is not None
        root = ElementTree.fromstring(base64.b64decode(uri.partition(",")[2]))
        assert root.tag.endswith("svg")


def test_the_sections_are_there_in_order(page: Page) -> None:
    titles = [
        "beats training alone", "Held-out loss after each round", "What was protected, against whom",
        "What was not protected", "What it cost", "Clients lost on the way", "How to repeat it",
        "The configuration of a run, complete.",
    ]  # fmt: skip
    places = [page.text.index(title) for title in titles]
    assert places == sorted(places)
    assert "email was lost before its update arrived" in page.text


def test_plots_and_markdown_lie_beside_the_page(events: Lines, write: Callable[..., Path]) -> None:
    run_dir = write_report(write(events)).parent
    names = ["loss.png", "perplexity.png", "time.png", "traffic.png"]
    assert sorted(path.name for path in (run_dir / "plots").iterdir()) == names
    assert all((run_dir / "plots" / name).read_bytes().startswith(b"\x89PNG") for name in names)
    markdown = (run_dir / "report.md").read_text(encoding="utf-8")
    assert "| **Federated, under masks** |" in markdown
    assert "\N{REPLACEMENT CHARACTER}" not in markdown


@pytest.mark.parametrize("name", [SCRIPT, "$x_1$", "a\x00\x1b[1mb", "名前", '" onload="x', "{{ 7*7 }}", "x" * 300])
def test_a_client_may_be_called_anything(
    make_events: Callable[..., Lines], write: Callable[..., Path], name: str
) -> None:
    lines = make_events(("plain", name, "third"), rounds=3)
    path = write_report(write(lines, f'name = "demo"\n# {SCRIPT}\n'))
    page = read(path)
    assert "<script" not in path.read_text(encoding="utf-8")
    assert not page.all("script")
    assert SCRIPT in page.text  # as text, in the configuration as run
    assert not any("onload" in attributes for _, attributes in page.elements)
    for image in page.all("img"):
        root = ElementTree.fromstring(base64.b64decode((image["src"] or "").partition(",")[2]))
        assert not any(element.tag.endswith("script") for element in root.iter())


def test_a_run_that_has_only_begun_has_a_page(events: Lines, write: Callable[..., Path]) -> None:
    page = read(write_report(write(events[:1])))
    assert "No federated model has been evaluated." in page.text
    assert "This run has not finished" in page.text
    assert page.all("img") == []


def test_a_run_that_diverged_has_a_page(make_events: Callable[..., Lines], write: Callable[..., Path]) -> None:
    lines = make_events(rounds=2)
    for line in lines:
        if line["event"] == "evaluation" and line["arm"] == "masks":
            line["loss"] = float("nan") if line["client"] == "xml" else 1e6
    page = read(write_report(write(lines)))
    assert "diverged" in page.text


def test_the_threshold_is_of_those_who_are_asked(make_events: Callable[..., Lines], write: Callable[..., Path]) -> None:
    lines = make_events(rounds=2)
    assert "threshold 6 of 8" in read(write_report(write(lines))).text
    for line in lines:
        if line["event"] == "round":
            line["cohort"] = 7
    assert "threshold 6 of 7" in read(write_report(write(lines))).text
    assert "threshold 6 of 8" in read(write_report(write(lines[:1]))).text


def test_many_clients_and_the_clear_alone(make_events: Callable[..., Lines], write: Callable[..., Path]) -> None:
    names = tuple(f"speaker {at}" for at in range(45))
    lines = make_events(names, rounds=2, factors={"public": 1.0, "plain": 0.9})
    lines[0] |= {"scheme": "plain", "threshold": None, "clip": None}
    page = read(write_report(write(lines)))
    assert "The 30 hardest of 45 clients are shown." in page.text
    assert "Nobody: this run was made in the clear." in page.text


def test_the_same_run_gives_the_same_page(events: Lines, write: Callable[..., Path]) -> None:
    run_dir = write(events)
    assert write_report(run_dir).read_bytes() == write_report(run_dir).read_bytes()
