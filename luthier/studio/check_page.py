"""Write ``check.html``: what a look at the data found, as one file that needs no network and no other file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from luthier.base.files import write_text
from luthier.evaluate.report.html import Html, count, tag
from luthier.evaluate.report.page import document
from luthier.studio import check_page_parts as parts
from luthier.studio import check_page_rows as rows
from luthier.studio.check_page_findings import Finding, Found, amount, findings, part, percent
from luthier.studio.check_page_style import SHEET

SECTIONS: dict[str, tuple[str, Callable[[Found], list[Html]]]] = {
    "labels": ("Label balance", parts.label_balance),
    "lengths": ("Lengths", parts.lengths),
    "rows": ("Rows as the model sees them", rows.rows_as_tokens),
    "shared": ("Duplicates and shared rows", rows.doubles),
    "giveaways": ("Labels that give themselves away", rows.giveaways),
    "label-errors": ("Probable label errors", rows.label_errors),
    "agreement": ("Annotators", rows.agreement),
    "cleaning": ("Cleaned and left out", rows.cleaning),
    "odd": ("Odd texts", rows.odd_texts),
    "personal": ("Personal data", rows.personal),
    "languages": ("Languages", parts.languages),
    "dates": ("Dates", parts.dates),
    "columns": ("Other columns", parts.columns),
    "files": ("Files and versions", parts.files),
}
_LEVELS = {"stops": "Stops a run", "grave": "Serious", "look": "Worth a look", "note": "Note"}
_SHOWN = 12
_PLACES = 8


def write_check(found: Found, path: Path) -> Path:
    """Write the page of what `luthier check` found and return its path; every part of ``found`` may be missing."""
    return write_text(path, page(found))


def page(found: Found) -> str:
    """Return the whole page as HTML."""
    told = findings(found)
    title = f"{_task(found).get('name') or 'data'}: {'would not run' if _stopped(told) else 'ready to run'}"
    content = [(name, title_, make(found)) for name, (title_, make) in SECTIONS.items()]
    return document(title, [_masthead(found, told), _findings(told)], content, {}, source="luthier check",
                    holds="; it holds texts of the data", sheet=SHEET)  # fmt: skip


def _task(found: Found) -> dict[str, str]:
    """Return name, objective and goal, whether they stand in ``task`` or beside it."""
    task = found.get("task")
    known = dict(task) if isinstance(task, dict) else {"name": task}
    return {key: str(known.get(key) or found.get(key) or "") for key in ("name", "objective", "goal")}


def _stopped(told: list[Finding]) -> bool:
    return any(finding.level == "stops" for finding in told)


def verdict_line(told: list[Finding]) -> str:
    """Return what stands in the way or is worth a look, in half a sentence."""
    stops, grave, look = (sum(f.level == level for f in told) for level in ("stops", "grave", "look"))
    if stops:
        # The places of a leak come as stops of their own, without a way to mend them one by one.
        things = sum(f.level == "stops" and bool(f.do) for f in told) or stops
        return f"{things} {'thing stops' if things == 1 else 'things stop'} it."
    if grave:
        return f"but {grave} serious {'finding' if grave == 1 else 'findings'} should be dealt with first."
    if look:
        return f"{look} {'thing is' if look == 1 else 'things are'} worth a look."
    return "nothing of weight was found."


def _masthead(found: Found, told: list[Finding]) -> Html:
    task, stopped = _task(found), _stopped(told)
    words = [word for word in (task["name"], task["objective"], "data check") if word]
    mark = tag("span", "✗" if stopped else "✓", class_="mark", aria_hidden="true")
    verdict = tag(
        "h1", mark, tag("span", "Would not run" if stopped else "Ready to run", class_="word"), " ", verdict_line(told)
    )
    return tag(
        "header",
        tag("p", " · ".join(words), class_="kicker"),
        verdict,
        tag("p", task["goal"], class_="goal") if task["goal"] else None,
        _numbered(found),
        class_="verdict missed" if stopped else "verdict accepted",
    )


def _numbered(found: Found) -> Html:
    pairs = [(name, value) for name, value in _numbers(found) if value not in (None, "")]
    return tag("dl", [tag("div", tag("dt", name), tag("dd", value)) for name, value in pairs], class_="numbers")


def _numbers(found: Found) -> list[tuple[str, object]]:
    def shown(value: object) -> object:
        return count(value).shown if isinstance(value, int | float) else None

    splits = part(found, "splits")
    dropped = part(found, "dropped")
    labels = part(found, "labels") or part(found, "profile", "labels").get("by_side") or {}
    leaks = {kind: n for kind, n in part(found, "leaks").items() if n is not None}
    cut = part(found, "preview", "lengths", "cut")
    return [
        ("rows read", shown(found.get("rows"))),
        *((f"{side} rows", shown(n)) for side, n in splits.items()),
        ("labels", shown(len(labels)) if labels else None),
        ("left out", shown(sum(amount(n) for n in dropped.values())) if "dropped" in found else None),
        ("shared rows", shown(sum(amount(n) for n in leaks.values())) if leaks else None),
        ("cut at the limit", percent(amount(cut.get("share"))) if cut else None),
    ]


def _findings(told: list[Finding]) -> Html | None:
    if not told:
        return None
    stops = [f for f in told if f.level == "stops"]
    # A leak names every place; after a few, the list says no more.
    places = [f for f in stops if not f.do and not f.line]
    kept = [f for f in told if f not in places[_PLACES:]]
    items = [_finding(f) for f in kept]
    shown = items if len(items) <= _SHOWN + 3 else items[:_SHOWN]
    rest = items[len(shown) :]
    hidden = len(places) - _PLACES
    return tag(
        "section",
        tag("h2", "What to know and what to do", id="findings"),
        tag("ol", shown, class_="findings"),
        tag("p", f"and {hidden} more places of the same kind; the pairs stand below.") if hidden > 0 else None,
        tag("details", tag("summary", f"{len(rest)} more"), tag("ol", rest, class_="findings")) if rest else None,
        aria_labelledby="findings",
    )


def _finding(finding: Finding) -> Html:
    copy = (
        tag("div", tag("small", "in the task file"), tag("pre", tag("code", finding.line)), class_="copy")
        if finding.line
        else tag("div")
    )
    return tag(
        "li",
        tag(
            "div",
            tag(
                "h3",
                tag("span", _LEVELS[finding.level], class_=f"level {finding.level}"),
                " ",
                finding.what[:1].upper() + finding.what[1:],
            ),
            tag("p", finding.why, class_="why") if finding.why else None,
            tag("p", finding.do) if finding.do else None,
            tag("p", tag("code", finding.where), class_="where") if finding.where else None,
        ),
        copy,
    )
