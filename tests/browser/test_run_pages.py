"""The pages that real runs wrote, one of each objective, in a real browser: no error, nothing fetched, plots and tables there."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import test_heads
import test_language_models
import test_preferences
import test_rank_circle
from making import labelled
from visits import Visit

import luthier
from luthier.evaluate.report import page

FEW = ("evaluate.bootstrap=100",)
STAGES = """\
task: {{name: two, objective: classify}}
data: {{columns: {{text: text, label: label}}, semantic: off, label_errors: off, leaks: allow, duplicates: keep}}
model: {{base: {base}, pooling: mean}}
train: {{method: full, max_steps: 4, batch: 16, rate: 0.002}}
stages:
  - {{name: general, data: {{source: general.jsonl}}}}
  - {{name: technical, data: {{source: technical.jsonl}}}}
accept: {{macro_f1: ">= 0.0", forgetting: "<= 1.0"}}
"""


def head(objective: str, folder: Path, base: Path) -> Path:
    """Lay out a small task for sets of labels, scores or sentences."""
    kind = test_heads.KINDS[objective]
    test_heads.write_rows(objective, folder / f"rows.{kind.ending}")
    task = test_heads.TASK.format(objective=objective, ending=kind.ending, columns=kind.columns, base=base, bar=kind.bar)
    (folder / "task.yaml").write_text(task)
    return folder / "task.yaml"


def two_stages(folder: Path, base: Path) -> Path:
    for name, seed in (("general", 0), ("technical", 1)):
        rows = [{"text": e.inputs["text"], "label": e.target if seed == 0 else f"team {e.target[0]}"} for e in labelled(120, seed=seed)]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "task.yaml").write_text(STAGES.format(base=base))
    return folder / "task.yaml"


def stories(folder: Path, base: Path) -> Path:
    test_language_models.write_rows(folder / "rows.jsonl", test_language_models.stories())
    return test_language_models.task(folder, test_language_models.TEXT, base=base, model=", max_tokens: 48")


def ranked(folder: Path, base: Path) -> Path:
    return test_rank_circle.project(folder, base, users=True) / "task.yaml"


def preferred(folder: Path, base: Path) -> Path:
    return test_preferences.task(folder, base, test_preferences.as_pairs(60), max_steps=3, batch=8)


# What lays out the task, on which tiny model, and what its page alone has: parts and the captions of tables.
KINDS: dict[str, tuple[Callable[[Path, Path], Path], str, set[str], set[str]]] = {
    "multilabel": (partial(head, "multilabel"), "tiny_bert", {"mistakes", "robust", "curves"}, {"Each label on the test rows"}),
    "grade": (partial(head, "grade"), "tiny_bert", {"agreement", "robust", "mistakes"}, {"Each trait on the test rows"}),
    "extract": (partial(head, "extract"), "tiny_bert", {"chosen"}, set()),
    "rank": (ranked, "tiny_bert", {"samples"}, {"Answers"}),
    "prefer": (preferred, "tiny_llama", {"preferences", "samples"}, {"Pairs ordered worst"}),
    "text": (stories, "tiny_llama", {"surprises"}, {"Hardest documents"}),
    "stages": (two_stages, "tiny_bert", {"stages", "errors", "slices"}, {"Scores on the test rows", "Each stage"}),
}
EVERY = {"Bars, this model and baselines on the test rows", "Every metric on the test rows", "Files read"}
# The costliest: three pages, and the page with most plots.
LONG = ("stages", "multilabel")


@pytest.fixture(scope="module", params=[pytest.param(name, marks=[pytest.mark.slow] * (name in LONG)) for name in KINDS])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, browser: Any) -> SimpleNamespace:
    """A finished run of one objective: its name, its pages (those of its stages too), and what they must have."""
    make, base, parts, captions = KINDS[request.param]
    folder = tmp_path_factory.mktemp(request.param)
    run = luthier.run(make(folder, request.getfixturevalue(base)), overrides=FEW, out=folder / "run")
    pages = [run.report, *sorted(run.folder.glob("stages/*/report.html"))]
    return SimpleNamespace(name=request.param, pages=pages, parts=parts, captions=captions)


UNDRAWN = """[...document.querySelectorAll("[data-plot]")].filter(
    place => !place.querySelector(".main-svg .trace, .main-svg .hm")).map(place => place.dataset.plot)"""
PLOTS = """[Object.keys(JSON.parse(document.getElementById("plots").textContent)),
    [...document.querySelectorAll("[data-plot]")].map(place => place.dataset.plot)]"""
OPEN = "document.querySelectorAll('details').forEach(part => { part.open = true; })"
PRESS = """[...document.querySelectorAll("table.sortable thead button")].map(button => {
    button.click();
    return button.closest("th").getAttribute("aria-sort"); })"""


def test_its_plots_are_drawn_its_tables_stand_there_and_no_one_complains(browser: Any, made: SimpleNamespace) -> None:
    assert len(made.pages) == (3 if made.name == "stages" else 1)
    for number, path in enumerate(made.pages):
        captions, parts = (made.captions, made.parts) if number == 0 else (set(), set())
        # Opened once, as on a telephone in the dark: a page has five megabytes, and wide windows are looked at elsewhere.
        with Visit(browser, path, width=400, scheme="dark") as visit:
            there, placed = visit.page.evaluate(PLOTS)
            assert sorted(placed) == sorted(there) and len(placed) >= 2, path
            assert visit.page.evaluate(UNDRAWN) == [], path
            visit.page.evaluate(OPEN)
            assert visit.page.evaluate("document.documentElement.scrollWidth") <= 400, path
            for caption in EVERY | captions:
                table = visit.page.locator("table", has=visit.page.locator("caption", has_text=caption)).first
                assert table.is_visible() and table.locator("tbody tr").count() > 0, (path, caption)
            for part in parts:
                assert visit.page.locator(f"section[aria-labelledby={part}]").count() == 1, (path, part)
            assert set(visit.page.evaluate(PRESS)) <= {"ascending", "descending"}


@pytest.mark.parametrize(
    ("script", "said"),
    [("throw new Error('planted');", "planted"), ("new Image().src = 'https://example.org/x.png';", "example.org"), ("console.error('told')", "told")],
)
def test_a_planted_fault_of_the_script_is_seen(
    browser: Any, script: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page is written with a script that fails or fetches, its policy lets that script run, and the visit must say so."""
    monkeypatch.setattr(page, "SCRIPT", f"{page.SCRIPT}\n{script}")
    written = page.write_report({"verdict": "accepted"}, tmp_path / "report.html")
    with pytest.raises(AssertionError, match=said), Visit(browser, written) as visit:
        visit.page.wait_for_timeout(200)
