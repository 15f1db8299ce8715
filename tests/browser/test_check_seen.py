"""The check page in a real browser: nothing fetched, no complaint, narrow windows, both themes, keyboard and paper."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from check_records import EVIL, check_record
from visits import Visit

from luthier.studio.check_page import write_check


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    evil = check_record()
    evil["labels"] = {EVIL: {"train": 5, "valid": 1, "test": 1}, "x" * 300: {"train": 1}}
    evil["leak_examples"][0] |= {"text": EVIL * 9, "other_text": "y" * 400}
    evil["problems"].append({"what": EVIL, "where": "z" * 200, "mend": EVIL})
    evil["profile"]["columns"][0]["name"] = EVIL
    records = {"whole": check_record(), "evil": evil, "empty": {}}
    return {name: write_check(record, folder / f"{name}.html") for name, record in records.items()}


@pytest.mark.parametrize("name", ["whole", "evil", "empty"])
@pytest.mark.parametrize("width", [360, 400, 768, 1200])
def test_the_page_never_scrolls_sideways_and_no_one_complains(
    browser: Any, pages: dict[str, Path], name: str, width: int
) -> None:
    with Visit(browser, pages[name], width=width) as visit:
        visit.page.evaluate("() => { for (const part of document.querySelectorAll('details')) part.open = true; }")
        assert visit.page.evaluate("document.documentElement.scrollWidth") <= width
        assert visit.page.evaluate("window.pwned") is None
        assert visit.page.locator("img").count() == 0


@pytest.mark.parametrize(("scheme", "paper"), [("light", "rgb(253, 252, 250)"), ("dark", "rgb(22, 24, 28)")])
def test_both_themes_draw_the_bars_in_their_colours(
    browser: Any, pages: dict[str, Path], scheme: str, paper: str
) -> None:
    with Visit(browser, pages["whole"], scheme=scheme) as visit:
        assert visit.page.evaluate("getComputedStyle(document.documentElement).backgroundColor") == paper
        fill = visit.page.evaluate("getComputedStyle(document.querySelector('rect.train')).fill")
        assert fill == {"light": "rgb(29, 90, 150)", "dark": "rgb(125, 180, 234)"}[scheme]
        box = visit.page.locator("svg.upright").first.bounding_box()
        assert box["width"] > 600 and 100 < box["height"] < 200


def test_the_limit_is_drawn_in_the_picture(browser: Any, pages: dict[str, Path]) -> None:
    with Visit(browser, pages["whole"]) as visit:
        chart = visit.page.locator(".columns-chart").first
        word = chart.locator(".limit-word")
        assert "64" in word.inner_text()
        line, box = chart.locator("line.limit").bounding_box(), chart.locator("svg").bounding_box()
        assert box["x"] < line["x"] < box["x"] + box["width"]


def test_learnt_tokens_are_underlined(browser: Any, pages: dict[str, Path]) -> None:
    with Visit(browser, pages["whole"]) as visit:
        style = "getComputedStyle(document.querySelector('.tokens .t{}')).textDecorationLine"
        assert visit.page.evaluate(style.format(".learnt")) == "underline"
        assert visit.page.evaluate(style.format(":not(.learnt)")) == "none"


def test_tables_sort_by_keyboard(browser: Any, pages: dict[str, Path]) -> None:
    with Visit(browser, pages["whole"]) as visit:
        table = visit.page.locator("table.sortable", has_text="Signs that nearly decide a label")
        head = table.locator("thead th", has_text="Rows")
        head.locator("button").focus()
        visit.page.keyboard.press("Enter")
        assert head.get_attribute("aria-sort") == "descending"
        assert table.locator("tbody tr > :last-child").all_text_contents() == ["120", "88"]


def test_it_can_be_walked_by_keyboard_and_printed(browser: Any, pages: dict[str, Path], tmp_path: Path) -> None:
    with Visit(browser, pages["whole"], scheme="dark") as visit:
        visit.page.keyboard.press("Tab")
        assert visit.page.evaluate("document.activeElement.className") == "skip"
        assert visit.page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
        visit.page.emulate_media(media="print", color_scheme="dark")
        assert visit.page.evaluate("getComputedStyle(document.documentElement).backgroundColor") == "rgb(253, 252, 250)"
        assert len(visit.page.pdf(path=tmp_path / "check.pdf")) > 20_000
