"""The report in a real browser: plots drawn, tables sorted, both themes, narrow windows, nothing fetched, no error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from judge_service import judge_service
from report_records import classify_record, comparison_record, generate_record, looked_into_record
from visits import Visit

from luthier.base.events import silent
from luthier.base.interrupt import Stopper
from luthier.base.records import Example, Prediction, Source
from luthier.evaluate.report.comparison import write_comparison
from luthier.evaluate.report.page import write_report
from luthier.lifecycle import judges
from luthier.lifecycle.round import Round
from luthier.spec.load import load_task

EVIL = '<img src=x onerror="window.pwned=1"><b>bold</b>'


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("reports")
    labels = ("account", "billing", EVIL)
    records = {"classify": classify_record(), "generate": generate_record(), "evil": classify_record(120, labels)}
    pages = {name: write_report(record, folder / f"{name}.html") for name, record in records.items()}
    return pages | {"comparison": write_comparison(comparison_record(), folder / "compare.html")}


@pytest.fixture(scope="module")
def looked_into(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a run with everything that the judgement looks into, marks in every text; its judge was asked over HTTP."""
    folder = tmp_path_factory.mktemp("looked")
    return write_report({**looked_into_record(evil=EVIL), **judged(folder)}, folder / "report.html")


def judged(folder: Path) -> dict[str, Any]:
    """Return what a judge says of ten answers that hold marks, held against forty that people rated."""
    words = [" ".join(["word"] * (1 + i % 5)) for i in range(40)]
    lines = [f'"p{i}","{text}",{1 + i % 5 if i % 9 else 3}' for i, text in enumerate(words)]
    (folder / "rated.csv").write_text("prompt,answer,score\n" + "\n".join(lines) + "\n")
    rows = [Example(str(i), {"messages": [{"role": "user", "content": f"{EVIL} {i}"}]}, "x", Source(f"talk{EVIL}.jsonl", i + 1)) for i in range(10)]
    with pytest.MonkeyPatch.context() as patch, judge_service() as service:
        patch.setenv("no_proxy", "127.0.0.1")
        (folder / "task.yaml").write_text(
            "task: {name: t, objective: generate}\ndata: {source: x.jsonl}\nevaluate:\n  judge:\n    human: rated.csv\n"
            f"    url: {service.url}\n    model: m\n    criteria: 'Is it long? <b>'\n"
        )
        round_ = Round(load_task(folder / "task.yaml"), folder, silent, Stopper(), {})
        return judges.of_rows(round_, rows, [Prediction(text=f"{EVIL} {text}") for text in words[:10]], {})[0]


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


@pytest.mark.parametrize("width", [360, *(pytest.param(wide, marks=pytest.mark.slow) for wide in (400, 768, 1200))])
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


SECTIONS = ("slices", "robust", "cases", "judge", "errors", "money", "causes", "curves")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_that_is_looked_into_is_drawn_and_no_text_acts(browser: Any, looked_into: Path, scheme: str) -> None:
    with Visit(browser, looked_into, scheme=scheme) as visit:
        page = visit.page
        assert [name for name in SECTIONS if page.locator(f"section[aria-labelledby={name}]").count() != 1] == []
        for name in ("pr", "roc", "coverage", "confusion"):
            assert page.locator(f"#plot-{name} svg.main-svg .trace, #plot-{name} svg.main-svg .hm").count() >= 1, name
        # Three labels and their chance: a curve each.
        assert page.locator("#plot-pr svg.main-svg .trace").count() >= 3
        page.evaluate("document.querySelectorAll('details').forEach(part => { part.open = true; })")
        for caption in ("Gaps between groups", "Changes that should not matter", "Texts turned round", "Identities swapped for each other",
                        "What the judge says of the answers", "How far the judge agrees with people", "What costs most", "Why the model was wrong"):  # fmt: skip
            assert page.locator("table", has=page.locator("caption", has_text=caption)).first.is_visible(), caption
        assert page.locator("text=label looks wrong").count() >= 1 and page.locator("summary", has_text="Answers that turned with the text").count() == 1
        assert page.evaluate("window.pwned") is None and page.locator("img").count() == 0
        assert page.locator("section[aria-labelledby=judge] td b").count() == 0, "what a model wrote is text"


def test_every_table_of_the_judgement_is_sorted_by_its_heads(browser: Any, looked_into: Path) -> None:
    """Every head of every sortable table is pressed twice; numbers then stand in order both ways, and what has none at the end."""
    order = """table => [...table.tHead.rows[0].cells].flatMap((head, column) => ["first", "second"].map(() => {
        head.querySelector("button").click();
        const keys = [...table.tBodies[0].rows].map(row => row.cells[column].dataset.sort ?? row.cells[column].textContent.trim());
        const numbers = keys.filter(key => key !== "" && key !== "\u2013");
        const sign = head.getAttribute("aria-sort") === "ascending" ? 1 : -1;
        const all = numbers.every(key => Number.isFinite(Number(key)));
        const sorted = !all || numbers.every((key, i) => !i || sign * (Number(key) - Number(numbers[i - 1])) >= 0);
        const last = keys.findLastIndex(key => key !== "" && key !== "\u2013") === numbers.length - 1;
        return { caption: table.caption.textContent, head: head.textContent, numeric: all && numbers.length > 1, way: sign, sorted, last };
    }))"""
    with Visit(browser, looked_into) as visit:
        tables = visit.page.locator(", ".join(f"section[aria-labelledby={name}] table.sortable" for name in SECTIONS))
        pressed = [one for i in range(tables.count()) for one in tables.nth(i).evaluate(order)]
        assert [one for one in pressed if not (one["sorted"] and one["last"])] == []
        assert {one["way"] for one in pressed} == {1, -1} and sum(one["numeric"] for one in pressed) >= 20
        captions = {one["caption"] for one in pressed}
        for name in ("Gaps between groups", "Changes that should not matter", "Texts turned round", "Every part", "Abilities, the weakest first"):
            assert any(name in caption for caption in captions), name


@pytest.mark.parametrize("width", [360, pytest.param(1200, marks=pytest.mark.slow)])
def test_what_is_looked_into_never_scrolls_sideways(browser: Any, looked_into: Path, width: int) -> None:
    with Visit(browser, looked_into, width=width) as visit:
        visit.page.evaluate("document.querySelectorAll('details').forEach(part => { part.open = true; })")
        assert visit.page.evaluate("document.documentElement.scrollWidth") <= width
