"""Write ``compare.html``: several models on the same rows, as a page that needs no network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from luthier.base.files import write_text
from luthier.evaluate.metrics import LOWER_IS_BETTER, split_name
from luthier.evaluate.report.engineer import place
from luthier.evaluate.report.html import (
    DASH,
    Cell,
    Column,
    Html,
    count,
    decimal,
    interval,
    number,
    plain_number,
    plot,
    span_of,
    spanned,
    table,
    tag,
)
from luthier.evaluate.report.owner import in_words
from luthier.evaluate.report.page import document
from luthier.evaluate.report.plots import Figure, axis, layout, short
from luthier.evaluate.several import chance_of

_SHOWN_LABELS = 200
_LANE = 34


def write_comparison(record: Mapping[str, Any], path: Path) -> Path:
    """Write the page of a comparison: ``record`` is what compare.json holds."""
    names = [run["name"] for run in record["runs"]]
    plots: dict[str, Figure] = {}
    parts = [
        ("metrics", "Metrics side by side", _metrics(record, names)),
        ("differences", "Differences", _differences(record)),
        ("labels", "Labels", _labels(record, names)),
        ("slices", "Parts of the rows", _slices(record, names)),
        ("rows", "Rows that one has right and the other wrong", _rows(record)),
        ("settings", "Settings that differ", _settings(record, names)),
        ("cost", "What they cost", _cost(record)),
    ]
    top: list[Html | None] = [_masthead(record, names), _main(record, names, plots)]
    return write_text(path, document(f"{' and '.join(names)} compared", top, parts, plots, source="Luthier from compare.json"))


def _masthead(record: Mapping[str, Any], names: Sequence[str]) -> Html:
    metric = record["main_metric"]
    best = record["best"]
    said = f"{best} is better" if best in names else "These rows cannot tell which is better"
    sure = [(p, p["metrics"].get(metric, {}).get("better")) for p in record["pairs"]] if len(names) > 2 else []
    told = [f"{p[side]} is better than {p['second' if side == 'first' else 'first']}." for p, side in sure if side in ("first", "second")]
    notes = [tag("li", note) for note in [*told, *record["notes"]]]
    source = record["source"] or "test rows that all of them have, and that none learnt from"
    return tag(
        "header",
        tag("p", f"{record['objective']} · {record['rows']:,} rows · {source}", class_="kicker"),
        tag("h1", said, tag("span", f" by {metric}.")),
        tag("p", f"{metric}: {in_words(metric)}", class_="goal") if in_words(metric) else None,
        tag("ul", notes, class_="notes") if notes else None,
        class_="verdict",
    )


def _main(record: Mapping[str, Any], names: Sequence[str], plots: dict[str, Figure]) -> Html:
    """Return the runs with their verdicts, and a plot of the main metric with its intervals."""
    metric = record["main_metric"]
    columns = [Column("Run"), Column("Verdict"), Column(metric, True), Column("95 % interval", True), Column("Base model"), Column("Method"),
               Column("Train rows", True), Column("Missed")]  # fmt: skip
    body: list[list[object]] = []
    for run in record["runs"]:
        value = record["metrics"][run["name"]].get(metric)
        missed = Cell([tag("div", reason) for reason in run["reasons"]] or DASH, class_="long")
        body.append([Cell(tag("span", run["name"], tag("small", run["path"])), run["name"]), run["verdict"] or DASH, number(value), interval(value),
                     run["base"] or DASH, run["method"] or DASH, count(run["train_rows"]), missed])  # fmt: skip
    drawn = _drawn(record, names, plots)
    return tag("section", tag("h2", "The runs", id="runs"), table("Runs", columns, body, sortable=True, hide_caption=True), drawn,
               aria_labelledby="runs")  # fmt: skip


def _drawn(record: Mapping[str, Any], names: Sequence[str], plots: dict[str, Figure]) -> Html | None:
    metric = record["main_metric"]
    there = {name: record["metrics"][name].get(metric) for name in names}
    values = [(name, plain_number(one), span_of(one)) for name, one in there.items() if plain_number(one) is not None]
    if not values:
        return None
    points = {"x": [value for _, value, _ in values], "y": list(range(len(values)))[::-1]}
    reach = {"type": "data", "symmetric": False, "color": "@accent",
             "array": [(span[1] - (value or 0)) if span else 0 for _, value, span in values],
             "arrayminus": [((value or 0) - span[0]) if span else 0 for _, value, span in values]}  # fmt: skip
    trace = {"type": "scatter", "mode": "markers", **points, "error_x": reach, "marker": {"size": 12, "color": "@accent"},
             "hovertemplate": "%{x:.4f}<extra></extra>"}  # fmt: skip
    height = 90 + _LANE * len(values)
    ticks: dict[str, Any] = {"tickvals": points["y"], "ticktext": [short(name) for name, _, _ in values], "range": [-0.6, len(values) - 0.4]}
    plots["main"] = {"data": [trace], "layout": layout(height, xaxis=axis(metric), yaxis=axis(**ticks))}
    told = ", ".join(f"{name} {decimal(value or 0.0)}" for name, value, _ in values)
    better = " Lower is better." if split_name(metric)[0] in LOWER_IS_BETTER else ""
    said = f"Dots are values on the same rows, lines their 95 % intervals: {told}.{better} Intervals may overlap and the difference still be sure: see below."
    return plot("main", said, height=height)


def _metrics(record: Mapping[str, Any], names: Sequence[str]) -> list[Html]:
    columns = [Column("Metric"), *(Column(name, True) for name in names)]
    body: list[list[object]] = []
    for metric in record["metrics"][names[0]]:
        if split_name(metric)[1] is None:
            shown = Cell(tag("span", metric, tag("small", in_words(metric))), metric)
            body.append([shown, *(spanned(record["metrics"][name].get(metric)) for name in names)])
    return [table("Every metric on the same rows, with its 95 % interval", columns, body, sortable=True)]


def _differences(record: Mapping[str, Any]) -> list[Html]:
    said = (
        f"Each pair on the same {record['draws']:,} draws of the rows (paired bootstrap). The p values are corrected for how many comparisons "
        "are looked at together (Holm): all pairs in the main metric; all pairs in all other metrics. Where no draw lies beyond zero, p is the tail of a "
        "normal distribution as wide as the interval. A model is called better at 5 %."
    )
    columns = [Column("Metric"), Column("First"), Column("Second"), Column("First", True), Column("Second", True), Column("Difference", True),
               Column("95 % interval", True), Column("p", True), Column("corrected", True), Column("Better")]  # fmt: skip
    body: list[list[object]] = []
    for pair in record["pairs"]:
        for metric, one in pair["metrics"].items():
            if split_name(metric)[1] is None and one["difference"] is not None:
                body.append([Cell(metric, metric), pair["first"], pair["second"], *_figures(one), _better(one, pair)])
    return [tag("p", said), table("Differences on all rows", columns, body, sortable=True)]


def _figures(one: Mapping[str, Any]) -> list[object]:
    return [number(one["first"]), number(one["second"]), number(one["difference"]), interval(one), number(chance_of(one), 4), number(one["adjusted"], 4)]


def _better(one: Mapping[str, Any], pair: Mapping[str, Any]) -> Cell:
    return Cell(pair[one["better"]], class_="yes") if one["better"] in ("first", "second") else Cell("cannot tell", class_="maybe")


def _labels(record: Mapping[str, Any], names: Sequence[str]) -> list[Html]:
    """Return the metrics of each label, or trait, as differences from the first run, those that are surest first."""
    rows = [(one["adjusted"], pair, metric, one) for pair in record["pairs"] if pair["first"] == names[0]
            for metric, one in pair["metrics"].items() if split_name(metric)[1] is not None and one["difference"] is not None]  # fmt: skip
    if not rows:
        return []
    columns = [Column("Metric"), Column("Beside"), Column(names[0], True), Column("There", True), Column("Difference", True),
               Column("95 % interval", True), Column("p", True), Column("corrected", True), Column("Better")]  # fmt: skip
    surest = sorted(rows, key=lambda row: (row[0], -abs(row[3]["difference"])))
    body = [[Cell(metric, metric), pair["second"], *_figures(one), _better(one, pair)] for _, pair, metric, one in surest[:_SHOWN_LABELS]]
    left = f" The {_SHOWN_LABELS} surest of {len(rows):,} are shown; compare.json has all." if len(rows) > _SHOWN_LABELS else ""
    return [tag("p", f"Corrected together, as labels.{left}"), table("Each label beside the first run", columns, body, sortable=True)]


def _slices(record: Mapping[str, Any], names: Sequence[str]) -> list[Html]:
    if not record["slices"]:
        return []
    columns = [Column("Part"), Column("Rows", True), *(Column(name, True) for name in names)]
    for name in names[1:]:
        columns += [Column(f"{name}: difference", True), Column("95 % interval", True), Column("corrected p", True), Column("Better")]
    body: list[list[object]] = []
    for part in record["slices"]:
        cells: list[object] = [Cell(part["slice"], part["slice"]), count(part["rows"]), *(number(part["values"][name]) for name in names)]
        for name in names[1:]:
            one = part["differences"][name]
            if not one or one["difference"] is None:
                cells += [Cell(DASH)] * 4
                continue
            cells += [number(one["difference"]), interval(one), number(one["adjusted"], 4), _better(one, {"first": names[0], "second": name})]
        body.append(cells)
    return [table(f"{record['main_metric']} on parts of the rows, beside {names[0]}", columns, body, sortable=True)]


def _rows(record: Mapping[str, Any]) -> list[Html]:
    parts: list[Html] = []
    for pair in record["pairs"]:
        found = pair.get("rows")
        if not found:
            continue
        one, two = pair["first"], pair["second"]
        if found["by"] == "right":
            said = f"Of these rows, {found['only_first']:,} only {one} has right and {found['only_second']:,} only {two}; "
            said += f"{found['both_right']:,} both, {found['both_wrong']:,} neither."
        else:
            said = f"{one} has the smaller loss on {found['only_first']:,} rows, {two} on {found['only_second']:,}; {found['alike']:,} are alike."
        parts += [tag("h3", f"{one} and {two}"), tag("p", said)]
        for side, who in (("only_first", one), ("only_second", two)):
            if found["shown"][side]:
                parts.append(_shown(f"Better by {who}: {found[side]:,} rows", found["shown"][side], one, two))
    return parts


def _shown(title: str, rows: Sequence[Mapping[str, Any]], one: str, two: str) -> Html:
    columns = [Column("Text"), Column("True"), Column(one), Column(two), Column("Where")]
    body = [[Cell(r["text"], class_="long"), *(Cell(r[key], class_="long") for key in ("target", "first", "second")),
             Cell(tag("code", place(r)), place(r))] for r in rows]  # fmt: skip
    left = f", of which {len(rows)} are shown" if f"{len(rows):,} rows" not in title else ""
    return tag("details", tag("summary", title + left), table(title, columns, body, sortable=True, hide_caption=True))


def _settings(record: Mapping[str, Any], names: Sequence[str]) -> list[Html]:
    if not record["settings"]:
        return [tag("p", "They were made with the same settings, data, weights and versions, as far as is known.")]
    columns = [Column("Key"), *(Column(name) for name in names)]
    body = [[Cell(tag("code", one["key"]), one["key"]), *(_plain(one["values"][name]) for name in names)] for one in record["settings"]]
    return [table("Keys of the task file, data, weights and versions that differ", columns, body, sortable=True)]


def _plain(value: object) -> str:
    text = DASH if value is None else str(value)
    return text if len(text) <= 120 else text[:119] + "…"


def _cost(record: Mapping[str, Any]) -> list[Html]:
    columns = [Column("Run"), *(Column(t, True) for t in ("Whole run, s", "Training, s", "Steps", "Peak memory, MB", "Parameters", "Trained", "Bundle, MB"))]
    body = [
        [Cell(run["name"], run["name"]), number(run["seconds"]), number(run["train_seconds"]), count(run["steps"]), count(run["peak_memory_mb"]),
         count(run["parameters"]), count(run["trained"]), number(run["bytes"] / 1e6)]
        for run in record["runs"]
    ]  # fmt: skip
    return [table("Time, memory and size", columns, body, sortable=True)]
