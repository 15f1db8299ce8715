"""The top of the report, for whoever asked for the model: the verdict, the bars, what to do next."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from luthier.evaluate import forgetting, resolution
from luthier.evaluate.cases import WORDS as CASE_WORDS
from luthier.evaluate.judges.named import in_words as judge_words
from luthier.evaluate.metrics import LOWER_IS_BETTER, WORDS, split_name, unbounded
from luthier.evaluate.report.advice import main_metric, measured_on_test, next_steps
from luthier.evaluate.report.html import Cell, Column, Html, interval, number, plain_number, plot, table, tag
from luthier.evaluate.report.plots import Figure, dots
from luthier.evaluate.robust.named import in_words as robust_words
from luthier.evaluate.verdict import figure
from luthier.evaluate.written.extras import OTHER
from luthier.spec.bars import split_slice

MAX_DOTS = 6
_LOOKS = {
    "accepted": ("✓", "Accepted", "accepted"),
    "missed": ("✗", "Not accepted", "missed"),
    "cannot tell": ("?", "Cannot tell", "untold"),
}


def masthead(record: Mapping[str, Any]) -> Html:
    """Return the name of the run, the verdict in one line, its goal, and the reasons."""
    task, (sign, said, look) = record.get("task") or {}, _LOOKS.get(str(record.get("verdict")), _LOOKS["missed"])
    created = str(record.get("created") or "")[:16].replace("T", " ")
    words = [str(w) for w in (task.get("name"), task.get("objective"), created) if w]
    mark = tag("span", sign, class_="mark", aria_hidden="true")
    verdict = tag("h1", mark, tag("span", said, class_="word"), " ", verdict_line(record))
    reasons = [tag("li", reason) for reason in record.get("reasons") or []]
    notes = [tag("li", note) for note in record.get("notes") or []]
    return tag(
        "header",
        tag("p", " · ".join(words), class_="kicker"),
        verdict,
        tag("p", task["goal"], class_="goal") if task.get("goal") else None,
        tag("ul", reasons, class_="reasons") if reasons else None,
        tag("ul", notes, class_="notes") if notes else None,
        class_=f"verdict {look}",
    )


def verdict_line(record: Mapping[str, Any]) -> str:
    """Return what the verdict rests on, in half a sentence."""
    bars = record.get("bars") or []
    untold = sum(bar.get("state") == "cannot tell" for bar in bars)
    missed = sum(not bar.get("holds") for bar in bars) - untold
    if not bars:
        return "no bar was set." if record.get("verdict") == "accepted" else "see the reasons below."
    if missed:
        return (
            f"{missed} of {len(bars)} bars {'is' if missed == 1 else 'are'} missed."
            if len(bars) > 1
            else "its bar is missed."
        )
    if untold:
        return f"these test rows do not show {'its bar' if len(bars) == 1 else f'{untold} of {len(bars)} bars'} to be met."
    return {1: "its bar is met.", 2: "both bars are met."}.get(len(bars), f"all {len(bars)} bars are met.")


def definition_of_done(record: Mapping[str, Any], plots: dict[str, Figure]) -> Html | None:
    """Return the bars as a table beside the baselines, and the plot of both; adds its figures to ``plots``."""
    rows = _shown_metrics(record)
    if not rows:
        return None
    baselines = record.get("baselines") or {}
    columns = [
        Column("Metric"),
        Column("This model", True),
        Column("Bar", True),
        Column("Met?"),
        Column("95 % interval", True),
    ]
    columns += [Column(spoken(name), True) for name in baselines]
    body = []
    for row in rows:
        metric, limit = row["metric"], row.get("limit")
        bar = _bar(row)
        others = [number((values or {}).get(metric), 2) for values in baselines.values()]
        value = Cell(figure(plain_number(row.get("value")), apart_from=limit))
        body.append(
            [tag("span", metric, tag("small", in_words(metric))), value, bar, _met(row), interval(row, 2), *others]
        )
    return tag(
        "section",
        tag("h2", "Does it meet the definition of done?", id="done"),
        table("Bars, this model and baselines on the test rows", columns, body, hide_caption=True),
        tag("p", resolution.in_words(finest)) if (finest := record.get("resolution")) else None,
        _beside(record),
        _dot_plots(record, rows, plots),
        aria_labelledby="done",
    )


def _beside(record: Mapping[str, Any]) -> Html | None:
    """Return each rival with the difference on the same rows, and whether it is sure."""
    found = record.get("beside") or {}
    if not found.get("rivals"):
        return None
    words = {"second": "better than it", "first": "worse than it"}
    body = [
        [spoken(name), Cell(f"{one['difference']:+.3f}", one["difference"]), interval(one, 3), number(one.get("adjusted"), 3), words.get(one["better"], "cannot tell")]
        for name, one in found["rivals"].items()
    ]  # fmt: skip
    columns = [Column("Rival"), Column(f"Difference in {found['metric']}", True), Column("95 % interval", True), Column("p, corrected", True), Column("This model is")]
    return table("This model and each rival on the same rows, corrected for how many rivals there are", columns, body)


def _shown_metrics(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the bars, or without any the objective's own metric as a row without a limit."""
    bars = [dict(bar) for bar in record.get("bars") or []]
    metric = main_metric(record)
    measured = measured_on_test(record).get(metric or "")
    if bars or measured is None:
        return bars
    facts = dict(measured) if isinstance(measured, Mapping) else {"value": measured}
    return [{"metric": metric, "op": "", "limit": None, **facts}]


def _dot_plots(record: Mapping[str, Any], rows: list[dict[str, Any]], plots: dict[str, Figure]) -> list[Html]:
    """Metrics between 0 and 1 share one plot; any other has an axis of its own."""
    limits = {row["metric"]: float(row["limit"]) for row in rows if row.get("limit") is not None}
    shared = [row for row in rows if not unbounded(row["metric"])][:MAX_DOTS]
    alone = [row for row in rows if unbounded(row["metric"])][:3]
    drawn = []
    for i, group in enumerate([shared, *[[row] for row in alone]]):
        there = {row["metric"]: row for row in group if plain_number(row.get("value")) is not None}
        if not there:
            continue
        others = {spoken(n): {m: (v or {}).get(m) for m in there} for n, v in (record.get("baselines") or {}).items()}
        others = {
            name: values for name, values in others.items() if any(plain_number(v) is not None for v in values.values())
        }
        name = f"bars-{i}"
        plots[name] = dots(there, others, limits, unit=i == 0)
        drawn.append(plot(name, _dots_in_words(there, others, limits), height=plots[name]["layout"]["height"]))
    return drawn


def _dots_in_words(
    model: Mapping[str, Any], others: Mapping[str, Mapping[str, Any]], limits: Mapping[str, float]
) -> str:
    metric = next(iter(model))
    parts = [f"{metric}: this model {figure(plain_number(model[metric]))}"]
    parts += [
        f"{name} {figure(v)}" for name, values in others.items() if (v := plain_number(values.get(metric))) is not None
    ]
    parts += [f"bar {figure(limits[metric])}"] if metric in limits else []
    more = f"; and {len(model) - 1} more" if len(model) > 1 else ""
    better = " Lower is better." if metric in LOWER_IS_BETTER else ""
    return f"Dots are values on the test rows, lines are 95 % intervals. {', '.join(parts)}{more}.{better}"


def what_next(record: Mapping[str, Any]) -> Html | None:
    """Return the advice as a list."""
    sentences = next_steps(record)
    if not sentences:
        return None
    return tag(
        "section",
        tag("h2", "What to do next", id="next"),
        tag("ol", [tag("li", s) for s in sentences]),
        aria_labelledby="next",
    )


def in_words(metric: str) -> str:
    """Return what a metric means, for those who do not live with it."""
    metric, part = split_slice(metric)
    # What is measured of the first items of a list has that sign in its own name.
    plain, at, stage = metric.rpartition("@") if "@" in metric and metric not in WORDS else (metric, "", "")
    kind, _ = split_name(plain)
    words = WORDS.get(kind) or OTHER.get(plain) or robust_words(plain) or judge_words(plain)
    words = words or CASE_WORDS.get(plain.partition("[")[0]) or forgetting.WORDS.get(plain.partition("[")[0], "")
    of = f", on the rows of {stage} after the last stage" if at else ""
    if part is not None and part.column:
        of += f", where it is worst by {part.column}" if part.over == "worst" else f": how far its best is from its worst by {part.column}"
    elif part is not None:
        of += ", where " + " and ".join(f"{name} is {value}" for name, value in part.values.items())
    return words + of if words else words


def _met(row: Mapping[str, Any]) -> Cell:
    if row.get("limit") is None:
        return Cell("no bar")
    if row.get("state") == "cannot tell":
        return Cell("? cannot tell", class_="maybe")
    holds, sure = bool(row.get("holds")), row.get("certain", True) or row.get("value") is None
    word = ("✓ yes" if holds else "✗ no") + ("" if sure else ", not for sure")
    return Cell(word, class_="yes" if holds else "no")


def _bar(row: Mapping[str, Any]) -> str:
    """Return a bar as it is read: the sign, the number, whose number that is, and how sure it must be."""
    if row.get("limit") is None:
        return "–"
    margin = f" {row['margin']:+g}" if row.get("margin") else ""
    whose = f" ({spoken(row['rival'])}{margin})" if row.get("rival") else ""
    return f"{_sign(row['op'])} {figure(row['limit'])}{whose}{', surely' if row.get('surely') else ''}"


def _sign(op: str) -> str:
    return {">=": "≥", "<=": "≤"}.get(op, op)


def spoken(name: str) -> str:
    """Return a baseline's name as people say it."""
    return {
        "tfidf_linear": "TF-IDF, linear",
        "tfidf_ridge": "TF-IDF, ridge",
        "mean": "mean score",
        "length": "length alone",
        **{f"lead_{n}": f"first {n}" for n in (1, 2, 3)},
        "longest": "longest ones",
        "centroid": "most typical",
        "untuned": "untuned model",
        "frozen_linear": "untuned model, linear head",
        "nearest_rows": "nearest train rows",
        "live": "earlier model",
        "untuned_sum": "untuned model, whole answers",
        "longer": "the longer answer",
        "shorter": "the shorter answer",
    }.get(name, name)
