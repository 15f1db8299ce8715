"""Write ``report.html``: one file that says what came out of a run, to who asked for it and to who built it.

It needs no network and no other file: styles, script and plotly.js lie inside, and its own content policy forbids
all else.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from luthier.base.files import write_text
from luthier.evaluate.report import engineer, owner
from luthier.evaluate.report import training as training_
from luthier.evaluate.report.answers import answers, safety
from luthier.evaluate.report.causes import causes
from luthier.evaluate.report.data import data
from luthier.evaluate.report.html import Html, tag
from luthier.evaluate.report.judged import agreement, chosen
from luthier.evaluate.report.judges import judges
from luthier.evaluate.report.money import money
from luthier.evaluate.report.plots import Figure, plotly_script
from luthier.evaluate.report.preferences import preferences
from luthier.evaluate.report.robust import cases, robust
from luthier.evaluate.report.script import SCRIPT
from luthier.evaluate.report.slices import slices
from luthier.evaluate.report.stages import stages
from luthier.evaluate.report.style import DARK, LIGHT, style_sheet
from luthier.evaluate.report.texts import surprises

Part = Callable[[Mapping[str, Any], dict[str, Figure]], list[Html]]

PARTS: dict[str, tuple[str, Part]] = {
    "metrics": ("Metrics", engineer.metrics),
    "against": ("Against the earlier model", engineer.against),
    "slices": ("Slices", slices),
    "robust": ("Changed texts", robust),
    "cases": ("Functional tests", cases),
    "judge": ("Judge model", judges),
    "errors": ("Confusion", engineer.errors),
    "agreement": ("Given and human scores", agreement),
    "money": ("What mistakes cost", money),
    "mistakes": ("Worst mistakes", engineer.mistakes),
    "causes": ("Why the model was wrong", causes),
    "answers": ("Worst answers", answers),
    "safety": ("Safety of the answers", safety),
    "chosen": ("Chosen sentences", chosen),
    "preferences": ("Preferences", preferences),
    "samples": ("Some answers", engineer.samples),
    "surprises": ("Hardest documents", surprises),
    "curves": ("Curves and calibration", engineer.curves),
    "training": ("Training", training_.training),
    "learning": ("Learning curve", training_.learning_curve),
    "stages": ("Stages and forgetting", stages),
    "data": ("Data", data),
    "settings": ("Model and settings", engineer.settings),
}


def write_report(record: Mapping[str, Any], out: Path) -> Path:
    """Write the page of a run's ``record`` (what report.json holds) and return its path.

    ``out`` is the file, or the folder that ``report.html`` goes into. Every key of the record but ``verdict`` may be
    absent; its section is then left out.
    """
    path = out if out.suffix == ".html" else out / "report.html"
    return write_text(path, page(record))


def write_curve(record: Mapping[str, Any], path: Path) -> Path:
    """Write the page of a learning curve: ``record`` is what curve.json holds."""
    plots: dict[str, Figure] = {}
    task = record.get("task") or {}
    words = " · ".join(str(w) for w in (task.get("name"), str(record.get("created") or "")[:16].replace("T", " ")) if w)
    top = tag("header", tag("p", words, class_="kicker"), tag("h1", "Learning curve"), class_="verdict")
    content = training_.learning_curve({"learning_curve": record}, plots)
    return write_text(
        path, document(f"{task.get('name') or 'task'}: learning curve", [top, tag("section", content)], [], plots)
    )


def page(record: Mapping[str, Any]) -> str:
    """Return the whole page as HTML."""
    plots: dict[str, Figure] = {}
    top = [owner.masthead(record), owner.definition_of_done(record, plots), owner.what_next(record)]
    task, word = (record.get("task") or {}).get("name") or "run", str(record.get("verdict"))
    parts = [(name, title, part(record, plots)) for name, (title, part) in PARTS.items()]
    return document(f"{task}: {word if word in ('accepted', 'cannot tell') else 'not accepted'}", top, parts, plots)


def document(
    title: str, top: list[Html | None], parts: list[tuple[str, str, list[Html]]], plots: dict[str, Figure], *,
    source: str = "Luthier from report.json", holds: str = "", sheet: str = "",
) -> str:  # fmt: skip
    """Return a whole page: ``top`` first, then the ``parts`` (name, title, content) that have content.

    Args:
        source: by whom it was written, and from what.
        holds: what to know before it is passed on.
        sheet: more CSS.
    """
    there = [(name, title, content) for name, title, content in parts if content]
    sections = [
        tag("section", tag("h2", title, id=name), content, aria_labelledby=name) for name, title, content in there
    ]
    links = [tag("li", tag("a", title, href=f"#{name}")) for name, title, _ in there]
    contents = tag("nav", tag("p", "In detail"), tag("ul", links), aria_label="Sections in detail") if links else None
    scripts = [plotly_script() if plots else "", SCRIPT]
    body = tag(
        "body",
        tag("a", "Skip to the details", href=f"#{there[0][0]}", class_="skip") if there else None,
        tag("main", top, contents, sections),
        tag("footer", f"Written by {source}. It opens without a network and can be archived as it is{holds}."),
        tag("noscript", tag("p", "Plots and sorting need JavaScript; every figure stands in the tables.")),
        _json("plots", plots),
        _json("palettes", {"light": LIGHT, "dark": DARK}),
        [_script(text) for text in scripts if text],
    )
    html = Html("<!doctype html>\n") + tag("html", _head(title, scripts, sheet), body, lang="en")
    # A lone surrogate from a broken file cannot be written as UTF-8, and a report must be written all the same.
    return html.encode("utf-8", "replace").decode("utf-8") + "\n"


def _head(title: str, scripts: list[str], sheet: str) -> Html:
    hashes = " ".join(f"'sha256-{_digest(text)}'" for text in scripts if text)
    # Only these very scripts run: even markup that got past the escaping could do nothing. Plotly writes styles.
    policy = f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:"
    return tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=f"{policy}; base-uri 'none'; form-action 'none'"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="referrer", content="no-referrer"),
        tag("title", title),
        tag("link", rel="icon", href="data:,"),
        Html(f"<style>{style_sheet()}{sheet}</style>"),
    )


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _script(text: str) -> Html:
    return Html(f"<script>{text}</script>")


def _json(name: str, value: object) -> Html:
    """Return data for the script; ``<`` is written as an escape, so that no text can end the element."""
    text = json.dumps(_finite(value), ensure_ascii=False, allow_nan=False, default=str).replace("<", "\\u003c")
    return Html(f'<script type="application/json" id="{name}">{text}</script>')


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
