"""The report in a browser: nothing is asked for, charts are drawn, nothing overflows, hovers tell the counts."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from segapp.model.bundle import read_spec
from segapp.reporting import measure
from segapp.reporting.report import report
from tests.browser import Browser, shows
from tests.reporting.conftest import HOSTILE, rewritten

DRAWN = "document.documentElement.classList.contains('drawn')"


@pytest.fixture(scope="module")
def page_file(
    chromium: object, transferred: Path, trained: Path, samples: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A report with every section, its scene cut into nine patches."""
    output = tmp_path_factory.mktemp("pages") / "report.html"
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(measure, "PATCH", 32)
        return report(transferred, samples, compare=trained, output=output, quiet=True)


def opened(browser: Callable[..., Browser], file: Path, width: int, **settings: bool) -> Browser:
    page = browser(width, **settings)
    page.open(file.as_uri())
    page.wait_for(DRAWN)
    return page


def over_cell(page: Browser, row: int, column: int) -> str:
    """What shows when the pointer is over a cell of the confusion matrix."""
    page.hover(page.find("#chart-iou .nsewdrag"), 0.95, 0.95)
    place = """
        const { xaxis, yaxis } = document.getElementById("chart-confusion")._fullLayout;
        return [xaxis.d2p(arguments[1]) / xaxis._length, yaxis.d2p(arguments[0]) / yaxis._length];
    """
    x, y = page.driver.execute_script(place, row, column)
    page.hover(page.find("#chart-confusion .nsewdrag"), x, y)
    page.wait_for("document.querySelector('#chart-confusion .hovertext .nums')")
    words = """
        const walk = document.createTreeWalker(document.querySelector("#chart-confusion .hovertext .nums"), 4);
        const found = [];
        while (walk.nextNode()) found.push(walk.currentNode.data);
        return found.join(" ");
    """
    return " ".join(page.driver.execute_script(words).split())


@pytest.mark.parametrize("width", [1400, 420])
def test_it_is_drawn_whole_and_asks_for_nothing(
    width: int, browser: Callable[..., Browser], page_file: Path, transferred: Path, tmp_path: Path
) -> None:
    page = opened(browser, page_file, width)
    colors = read_spec(transferred).classes.colors
    # A busy machine draws late.
    deadline = time.monotonic() + 60
    picture = page.screenshot(tmp_path / f"report-{width}.png", whole=True)
    while min(shows(picture, color) for color in colors) <= 80 and time.monotonic() < deadline:
        picture = page.screenshot(tmp_path / f"report-{width}.png", whole=True)
    assert page.errors() == []
    assert page.requests_outside(page_file.as_uri()) == []
    assert page.overflow() == []
    assert picture.shape[1] == width and np.median(picture) > 240
    for plot in page.find_all(".plot"):
        marks = plot.find_elements("css selector", "svg .point, svg .js-line, svg .hm image, svg .heatmaplayer image")
        box = plot.find_element("css selector", "svg.main-svg").rect
        assert marks and 0 < box["width"] <= plot.rect["width"] + 1 <= width, plot.get_attribute("id")
    broken = "return [...document.images].filter((image) => !image.complete || !image.naturalWidth).length"
    assert page.find_all(".pictures img") and page.driver.execute_script(broken) == 0
    assert len(page.find_all("article.patch")) == 9
    iou = page.run("return document.getElementById('chart-iou').data[0].x")
    barred = [color for color, value in zip(colors, iou, strict=True) if value and value > 0.05]
    bars = page.screenshot(tmp_path / f"bars-{width}.png", "#chart-iou")
    while min(shows(bars, color) for color in barred) <= 50 and time.monotonic() < deadline:
        bars = page.screenshot(tmp_path / f"bars-{width}.png", "#chart-iou")
    assert all(shows(bars, color) > 50 for color in barred)
    assert all(shows(picture, color) > 80 for color in colors)


def test_the_pointer_over_the_confusion_matrix_tells_count_and_classes(
    browser: Callable[..., Browser], page_file: Path
) -> None:
    page = opened(browser, page_file, 1400)
    scores: dict[str, Any] = page.run("return JSON.parse(document.getElementById('scores-json').textContent)")
    names = [entry["name"] for entry in scores["classes"]]
    present = [r for r, row in enumerate(scores["confusion"]) if sum(row)]
    for row, column in ((present[0], present[0]), (present[0], len(names) - 1), (present[-1], 0)):
        count = scores["confusion"][row][column]
        told = over_cell(page, row, column)
        assert f"{count:,} of {scores['classes'][row]['pixels']:,} pixels of {names[row]}" in told
        assert f"mapped to {names[column]} (" in told and ("correct" if row == column else "wrong") in told


def test_dark_where_the_reader_likes_it_dark(browser: Callable[..., Browser], page_file: Path, tmp_path: Path) -> None:
    page = opened(browser, page_file, 1400, dark=True)
    assert np.median(page.screenshot(tmp_path / "dark.png")) < 40
    ink = "return getComputedStyle(document.querySelector(arguments[0])).fill"
    for text in ("#chart-iou .ytick text", "#chart-reliability .x2title", "#chart-accuracy .legendtext"):
        assert min(map(int, page.driver.execute_script(ink, text)[4:-1].split(","))) > 120, text


def test_on_paper_charts_are_light_and_no_wider_than_the_sheet(
    browser: Callable[..., Browser], page_file: Path, tmp_path: Path
) -> None:
    page = opened(browser, page_file, 1400, dark=True)
    before = page.find("#chart-gains svg.main-svg").rect["width"]
    page.run("dispatchEvent(new Event('beforeprint'))")
    page.command("Emulation.setEmulatedMedia", {"media": "print"})
    charts = "[...document.querySelectorAll('.plot svg.main-svg')]"
    page.wait_for(f"{charts}.every((chart) => chart.getBoundingClientRect().width <= 665)")  # A4 between its margins
    assert all(page.run("return [...document.querySelectorAll('details')].map((element) => element.open)"))
    assert np.median(page.screenshot(tmp_path / "paper.png")) > 240
    page.command("Emulation.setEmulatedMedia", {"media": ""})
    page.run("dispatchEvent(new Event('afterprint'))")
    page.wait_for(f"document.querySelector('#chart-gains svg.main-svg').getBoundingClientRect().width === {before}")
    printed = page.command("Page.printToPDF", {"preferCSSPageSize": True})
    assert len(printed["data"]) > 10_000


def test_a_strangers_text_runs_nothing_and_shows_as_it_is(
    browser: Callable[..., Browser], hostile: Path, tmp_path: Path
) -> None:
    file = report(hostile, compare=hostile, output=tmp_path / "hostile.html")
    page = opened(browser, file, 1400)
    assert page.find("h1").text == HOSTILE
    told = over_cell(page, 0, 0)
    assert HOSTILE in told
    assert page.run("return window.hit || null") is None
    assert page.errors() == [] and page.requests_outside(file.as_uri()) == []
    narrow = opened(browser, file, 420)
    narrow.screenshot(tmp_path / "hostile-420.png", whole=True)
    assert narrow.overflow() == []


def test_many_classes_with_long_names_fit(browser: Callable[..., Browser], trained: Path, tmp_path: Path) -> None:
    names = [f"deciduous woodland on former arable land, kind {i}" for i in range(30)]
    zeros = dict.fromkeys(("accuracy", "iou", "precision", "f1", "boundary_f1"), 0.5)
    counts = np.random.default_rng(0).integers(0, 9000, (30, 30))
    data = json.loads((trained / "model.json").read_text())
    scores = {
        **data["scores"]["test"],
        "classes": [{"id": i + 1, "name": n, "pixels": int(counts[i].sum()), **zeros} for i, n in enumerate(names)],
        "confusion": counts.tolist(),
    }
    classes = {"classes": [{"id": i + 1, "name": name} for i, name in enumerate(names)]}
    folder = rewritten(trained, tmp_path / "many", classes=classes, scores={"test": scores})
    file = report(folder, output=tmp_path / "many.html")
    assert file.stat().st_size < 15e6
    page = opened(browser, file, 420)
    page.screenshot(tmp_path / "many.png", "#confusion")
    assert page.errors() == [] and page.overflow() == []
    assert f"of {names[3]} were" in over_cell(page, 3, 27)
