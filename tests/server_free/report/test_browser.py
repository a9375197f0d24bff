"""The page in a real browser: it renders at phone and desktop width, in light and dark."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from browser import CHROMIUM, Browser
from flwr_gossip.server_free.report import read_all, write_report
from report_pages import write_fedavg, write_hostile
from run_samples import sample_config, write_sample, write_simulated

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="needs a chromium on PATH (Debian: apt-get install chromium)"
)

SPILLED = """[...document.querySelectorAll('.plot svg')].flatMap(svg => {
  const frame = svg.getBoundingClientRect();
  return [...svg.querySelectorAll('text')].filter(text => {
    const box = text.getBoundingClientRect();
    return box.left < frame.left - 1 || box.right > frame.right + 1
        || box.top < frame.top - 1 || box.bottom > frame.bottom + 1;
  }).map(text => text.textContent);
})"""
SMALLEST = """Math.min(...[...document.querySelectorAll('.plot svg')].map(svg =>
  13 * svg.getBoundingClientRect().width / svg.viewBox.baseVal.width))"""
BRIGHTNESS = """['backgroundColor', 'color'].map(name => getComputedStyle(document.body)[name])
  .map(color => color.match(/[0-9]+/g).slice(0, 3).reduce((sum, part) => sum + +part / 765, 0))"""
BLANK = """[...document.querySelectorAll('.plot svg')].filter(svg =>
  [...svg.querySelectorAll('path,circle')].every(e => !e.getBBox().width)).length"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("profile")) as started:
        yield started


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("reports")
    gossip = write_sample(root / "gossip", sample_config(nodes=40, rounds=200, active=None))
    fedavg = write_fedavg(root / "fedavg.jsonl", 0.8)
    runs = {
        "one": [write_sample(root / "one")],
        "several": [gossip, write_simulated(root / "simulated"), fedavg],
        "hostile": [write_hostile(root / "hostile")],
    }
    for name, folders in runs.items():
        write_report(read_all(folders), root / f"{name}.html")
    return {name: root / f"{name}.html" for name in runs}


@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("name", ["one", "several", "hostile"])
def test_a_report_is_readable_at_this_width(
    browser: Browser, reports: dict[str, Path], name: str, width: int
) -> None:
    with browser.page(reports[name], width) as page:
        assert page.complaints() == []
        assert page.value("document.documentElement.scrollWidth") <= width
        assert page.value("document.querySelectorAll('figure').length") >= 8
        assert page.value(BLANK) == 0
        assert page.value(SPILLED) == []
        assert page.value(SMALLEST) > 10.0


@pytest.mark.parametrize("dark", [False, True])
def test_it_follows_the_colour_scheme_of_the_reader(
    browser: Browser, reports: dict[str, Path], dark: bool
) -> None:
    with browser.page(reports["one"], 1280, dark) as page:
        paper, ink = page.value(BRIGHTNESS)
        assert (paper < 0.15 and ink > 0.85) if dark else (paper > 0.85 and ink < 0.15)


def test_print_is_dark_on_white_whatever_the_screen(
    browser: Browser, reports: dict[str, Path]
) -> None:
    with browser.page(reports["one"], 800, dark=True, media="print") as page:
        paper, ink = page.value(BRIGHTNESS)
        assert paper > 0.85 and ink < 0.15


def test_the_numbers_open_by_keyboard(browser: Browser, reports: dict[str, Path]) -> None:
    with browser.page(reports["one"], 1280) as page:
        page.press("Tab", 9)
        assert page.value("document.activeElement.className") == "skip"
        page.value("document.querySelector('summary').focus()")
        page.press("Enter", 13)
        assert page.value("document.querySelector('details').open")
        page.press("Tab", 9)  # the table can be scrolled with the arrow keys
        assert page.value("document.activeElement.getAttribute('role')") == "region"
