"""The report in a real browser: plots drawn, tables sorted, both themes, narrow windows, nothing fetched, no error."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from report_records import classify_record, comparison_record, generate_record

from luthier.evaluate.report.comparison import write_comparison
from luthier.evaluate.report.page import write_report

playwright = pytest.importorskip("playwright.sync_api", reason="Playwright for Python is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")

EVIL = '<img src=x onerror="window.pwned=1"><b>bold</b>'


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        found = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("reports")
    labels = ("account", "billing", EVIL)
    records = {"classify": classify_record(), "generate": generate_record(), "evil": classify_record(120, labels)}
    pages = {name: write_report(record, folder / f"{name}.html") for name, record in records.items()}
    return pages | {"comparison": write_comparison(comparison_record(), folder / "compare.html")}


class Visit:
    """One opened report, with what the browser complained of and what it asked for."""

    def __init__(self, browser: Any, path: Path, *, width: int = 1200, scheme: str = "light") -> None:
        self.context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        self.page = self.context.new_page()
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(message.text) if message.type != "log" else None)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(path.as_uri())
        self.wait_until("[...document.querySelectorAll('[data-plot]')].every(p => p.querySelector('svg.main-svg'))")

    def wait_until(self, condition: str) -> None:
        """Wait for a condition in JavaScript, asked from outside: the page's own policy forbids it to evaluate."""
        for _ in range(100):
            if self.page.evaluate(condition):
                return
            self.page.wait_for_timeout(50)
        raise AssertionError(f"never came true: {condition}")

    def __enter__(self) -> Visit:
        return self

    def __exit__(self, *error: object) -> None:
        self.context.close()
        if error[0] is None:
            assert self.complaints == []
            assert [url for url in self.requests if not url.startswith(("file:", "data:", "blob:"))] == []


@pytest.mark.parametrize("name", ["classify", "generate", "evil"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_plot_is_drawn_and_no_one_complains(
    browser: Any, reports: dict[str, Path], name: str, scheme: str
) -> None:
    with Visit(browser, reports[name], scheme=scheme) as visit:
        drawn = visit.page.locator("[data-plot] svg.main-svg .trace, [data-plot] svg.main-svg .hm").count()
        assert drawn >= visit.page.locator("[data-plot]").count() >= 3
        assert visit.page.evaluate("window.pwned") is None
        assert visit.page.locator("img").count() == 0


def test_labels_that_look_like_marks_are_shown_as_written(browser: Any, reports: dict[str, Path]) -> None:
    with Visit(browser, reports["evil"]) as visit:
        ticks = visit.page.locator("#plot-confusion .ytick text").all_text_contents()
        assert any(text.startswith("<img src=x") for text in ticks)


@pytest.mark.parametrize("width", [360, 400, 768, 1200])
def test_the_page_never_scrolls_sideways(browser: Any, reports: dict[str, Path], width: int) -> None:
    for name in ("classify", "comparison"):
        with Visit(browser, reports[name], width=width) as visit:
            assert visit.page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_runs_side_by_side_are_drawn_sorted_and_fetch_nothing(browser: Any, reports: dict[str, Path], scheme: str) -> None:
    with Visit(browser, reports["comparison"], scheme=scheme) as visit:
        drawn = visit.page.locator("[data-plot] svg.main-svg .trace").count()
        assert drawn >= visit.page.locator("[data-plot]").count() >= 1
        assert visit.page.evaluate("window.pwned") is None
        table = visit.page.locator("table", has=visit.page.get_by_text("Differences on all rows"))
        before = table.locator("tbody tr").first.inner_text()
        for way in ("ascending", "descending"):
            table.locator("thead button").first.click()
            visit.wait_until(f"document.querySelector('th[aria-sort={way}]') !== null")
        assert table.locator("tbody tr").first.inner_text() != before


def test_headers_sort_by_number_and_back_with_the_keyboard(browser: Any, reports: dict[str, Path]) -> None:
    with Visit(browser, reports["classify"]) as visit:
        table = visit.page.locator("table.sortable", has_text="Each label on the test rows")
        head = table.locator("thead th", has_text="Test rows")
        head.locator("button").focus()
        visit.page.keyboard.press("Enter")
        assert head.get_attribute("aria-sort") == "descending", "numbers fall at first"
        column = head.evaluate("cell => cell.cellIndex")
        values = [
            int(v.replace(",", "")) for v in table.locator(f"tbody tr > :nth-child({column + 1})").all_text_contents()
        ]
        assert values == sorted(values, reverse=True) and len(set(values)) > 2
        visit.page.keyboard.press("Enter")
        assert head.get_attribute("aria-sort") == "ascending"
        again = [
            int(v.replace(",", "")) for v in table.locator(f"tbody tr > :nth-child({column + 1})").all_text_contents()
        ]
        assert again == sorted(values)
        table.locator("thead th").first.locator("button").click()
        names = table.locator("tbody th").all_text_contents()
        assert names == sorted(names) and head.get_attribute("aria-sort") is None


def test_negative_numbers_sort_by_value(browser: Any, reports: dict[str, Path]) -> None:
    with Visit(browser, reports["classify"]) as visit:
        table = visit.page.locator("table.sortable", has_text="Against the earlier bundle")
        head = table.locator("thead th", has_text="Difference")
        head.locator("button").click()
        column = head.evaluate("cell => cell.cellIndex")
        shown = table.locator(f"tbody tr > :nth-child({column + 1})").all_text_contents()
        values = [float(v.replace("−", "-")) for v in shown]
        assert values == sorted(values, reverse=True) and values[0] > 0 > values[-1]


def test_the_plots_follow_a_change_of_theme(browser: Any, reports: dict[str, Path]) -> None:
    colour = "getComputedStyle(document.querySelector('#plot-bars-0 .point')).fill"
    with Visit(browser, reports["classify"]) as visit:
        light = visit.page.evaluate(colour)
        visit.page.emulate_media(color_scheme="dark")
        visit.wait_until(f"{colour} !== '{light}'")
        paper = visit.page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
        assert paper == "rgb(22, 24, 28)"


def test_it_can_be_walked_by_keyboard_and_printed(browser: Any, reports: dict[str, Path], tmp_path: Path) -> None:
    with Visit(browser, reports["classify"], scheme="dark") as visit:
        visit.page.keyboard.press("Tab")
        assert visit.page.evaluate("document.activeElement.className") == "skip"
        outline = visit.page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline == "solid", "focus is to be seen"
        # Colours on paper are the light ones even for a reader of the dark theme.
        visit.page.emulate_media(media="print", color_scheme="dark")
        assert visit.page.evaluate("getComputedStyle(document.documentElement).backgroundColor") == "rgb(253, 252, 250)"
        assert len(visit.page.pdf(path=tmp_path / "report.pdf")) > 20_000
