"""The report's part on a sequence of tasks: the matrix of scores, what was forgotten, the curve of blending, the probe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from luthier.evaluate.forgetting import columns_of
from luthier.evaluate.report.html import Cell, Column, Html, count, definitions, number, plain_number, plot, table, tag
from luthier.evaluate.report.plots import Figure, axis, layout, literal
from luthier.evaluate.report.training import duration

Plots = dict[str, Figure]
_COLORS = ("@accent", "@series1", "@muted", "@mark")


def stages(record: Mapping[str, Any], plots: Plots) -> list[Html]:
    """Return what the stages scored after each of them, what each forgot, and general ability before and after."""
    found = record.get("sequence") or {}
    parts = _stages(found, record.get("stages") or [], plots) if found.get("stages") else []
    return [*parts, *_probe(record)]


def _stages(found: Mapping[str, Any], facts: Sequence[Mapping[str, Any]], plots: Plots) -> list[Html]:
    names, metrics = list(found["stages"]), list(found.get("metrics") or [""] * len(found["stages"]))
    on_test = bool(found.get("test"))
    matrix = found["test"] if on_test else found.get("valid") or []
    side = "test" if on_test else "validation"
    columns = [Column("After"), *(Column(f"{n} ({m})", True) for n, m in zip(names, metrics, strict=True))]
    rows = [
        [Cell(name), *(number(score) for score in [*scores, *[None] * (len(names) - len(scores))])]
        for name, scores in zip(names, matrix, strict=False)
    ]
    said = f"One row for the model as it stood after each stage, one column for each stage's {side} rows."
    parts = [tag("p", said), table(f"Scores on the {side} rows", columns, rows, hide_caption=True), *_beside(found, names, metrics), *_lost(found)]
    if len(names) > 1 and matrix:
        plots["stages"] = _lines(names, matrix)
        parts.append(plot("stages", _in_words(names, matrix), height=plots["stages"]["layout"]["height"]))
    return [*parts, *_facts(facts), *_blends(found.get("blends") or {}, plots)]


def _beside(found: Mapping[str, Any], names: Sequence[str], metrics: Sequence[str]) -> list[Html]:
    """Return the same of further metrics: of written answers how like the wanted ones they are, and what bars ask for."""
    columns, places = [Column("After")], []
    for metric, one in (found.get("beside") or {}).items():
        for j in columns_of(one["test"], metrics, metric):
            columns.append(Column(f"{names[j]} ({metric})", True))
            places.append((one["test"], j))
    if not places:
        return []
    rows = [[Cell(name), *(number(matrix[i][j]) for matrix, j in places)] for i, name in enumerate(names)]
    return [table("By further metrics", columns, rows)]


def _lost(found: Mapping[str, Any]) -> list[Html]:
    if not found.get("by_stage"):
        return []
    own = dict(zip(found["stages"], found.get("metrics") or [], strict=False))
    rows = []
    for metric, one in {"": found, **(found.get("beside") or {})}.items():
        for name, value in one["by_stage"].items():
            span = (one.get("intervals") or {}).get(name)
            told = f"{span[0]:.3f} to {span[1]:.3f}" if span else ""
            rows.append([Cell(name), Cell(metric or own.get(name, "")), number(value), Cell(told)])
    columns = [Column("Stage"), Column("Metric"), Column("Forgotten", True), Column("95 % interval", True)]
    transfer = plain_number(found.get("backward_transfer"))
    return [
        table("What each earlier stage lost from its best score to the end", columns, rows),
        definitions([("backward transfer", f"{transfer:+.3f}" if transfer is not None else None)]),
    ]


def _facts(facts: Sequence[Mapping[str, Any]]) -> list[Html]:
    if not facts:
        return []
    heads = ("Train rows", "Rehearsed rows", "Trained parameters", "Steps")
    columns = [
        Column("Stage"),
        Column("Objective"),
        Column("Method"),
        *(Column(t, True) for t in heads),
        Column("Time", True),
    ]
    rows = [
        [
            Cell(one["name"]), Cell(one["objective"]), Cell(one["method"]), count((one.get("splits") or {}).get("train")),
            count(sum((one.get("rehearsed") or {}).values())), count(one.get("trained")), count(one.get("steps")),
            Cell(duration(float(one.get("seconds") or 0)), one.get("seconds")),
        ]
        for one in facts
    ]  # fmt: skip
    return [table("Each stage", columns, rows)]


def _blends(blends: Mapping[str, Any], plots: Plots) -> list[Html]:
    """Return the trade-off curve of every stage that was blended, with the point that was taken."""
    parts = []
    for place, (name, one) in enumerate(blends.items()):
        curve, taken = one.get("curve") or [], one.get("share")
        if not curve:
            continue
        scored = list(curve[0]["scores"])
        key = f"blend-{place}"
        plots[key] = _curve(curve, scored, taken)
        said = f"Weights after {name} blended with those before it, on the validation rows of each stage so far; "
        said += f"{taken:.0%} of the weights before was taken." if taken is not None else "none was taken."
        columns = [Column("Share of the weights before", True), *(Column(s, True) for s in scored)]
        rows = [[Cell(f"{p['share']:.0%}", p["share"]), *(number(p["scores"].get(s)) for s in scored)] for p in curve]
        folded = tag(
            "details", tag("summary", "The whole curve as a table"), table(f"Blend after {name}", columns, rows)
        )
        parts += [plot(key, said, height=plots[key]["layout"]["height"]), folded]
    return parts


def _probe(record: Mapping[str, Any]) -> list[Html]:
    found = record.get("probe") or {}
    if plain_number(found.get("before")) is None or plain_number(found.get("after")) is None:
        return []
    columns = [Column("General ability"), *(Column(t, True) for t in ("Before", "After", "Change"))]
    cells = [
        Cell(str(found.get("words") or found.get("kind"))),
        *(number(found[k]) for k in ("before", "after", "change")),
    ]
    return [table("General ability before and after tuning", columns, [cells], hide_caption=True)]


def _lines(names: Sequence[str], matrix: Sequence[Sequence[float | None]]) -> Figure:
    """Draw each stage's score from its own stage to the last."""
    traces = []
    for j, name in enumerate(names):
        known = [(names[i], scores[j]) for i, scores in enumerate(matrix) if j < len(scores) and scores[j] is not None]
        traces.append(_trace(name, [f"after {literal(n)}" for n, _ in known], [v for _, v in known], j))
    return {"data": traces, "layout": layout(300, xaxis=axis(), yaxis=axis("score"), showlegend=True)}


def _curve(curve: Sequence[Mapping[str, Any]], scored: Sequence[str], taken: float | None) -> Figure:
    xs = [point["share"] for point in curve]
    traces = [_trace(name, xs, [p["scores"].get(name) for p in curve], j) for j, name in enumerate(scored)]
    mark = {"color": "@mark", "width": 2, "dash": "dot"}
    line = {"type": "line", "x0": taken, "x1": taken, "yref": "paper", "y0": 0, "y1": 1, "line": mark}
    form = layout(320, xaxis=axis("share of the weights before"), yaxis=axis("score"), showlegend=True)
    return {"data": traces, "layout": {**form, "shapes": [line] if taken is not None else []}}


def _trace(name: str, xs: Sequence[Any], ys: Sequence[Any], place: int) -> dict[str, Any]:
    color = _COLORS[place % len(_COLORS)]
    return {
        "type": "scatter", "mode": "lines+markers", "name": literal(name), "x": list(xs), "y": list(ys),
        "line": {"color": color, "width": 2}, "marker": {"color": color, "size": 8},
        "hovertemplate": "%{x}: %{y:.4f}<extra>" + "%{fullData.name}</extra>",
    }  # fmt: skip


def _in_words(names: Sequence[str], matrix: Sequence[Sequence[float | None]]) -> str:
    told = []
    for j, name in enumerate(names[:-1]):
        own, end = (matrix[i][j] if j < len(matrix[i]) else None for i in (j, len(matrix) - 1))
        if own is not None and end is not None:
            told.append(f"{name} from {own:.3f} to {end:.3f}")
    return f"Each stage's score from its own stage to the last: {'; '.join(told)}."
