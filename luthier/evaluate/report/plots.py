"""The plots of the report as plotly figures in plain dicts; colours are roles (``@accent``) that the page fills in.

The page repaints them when the reader changes between light and dark; so no colour is fixed here.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

from luthier.evaluate.report.html import decimal, plain_number, span_of

Figure = dict[str, Any]

MAX_CURVES = 6
_LANE = 22
_MAX_TICK = 22
_CELL_TEXT_UP_TO = 12
_SYMBOLS = ("diamond-open", "square-open", "triangle-up-open", "cross-open")


def plotly_script() -> str:
    """Return plotly.js as text, from the installed package: nothing is fetched when the page opens."""
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs())


def layout(height: int, **more: Any) -> dict[str, Any]:
    """Return the layout that all plots share, ``height`` in pixels."""
    return {
        "height": height,
        "margin": {"l": 10, "r": 16, "t": 12, "b": 40, "pad": 4},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": "system-ui, sans-serif", "size": 13, "color": "@ink"},
        "hoverlabel": {"bgcolor": "@paper", "bordercolor": "@rule", "font": {"color": "@ink"}},
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "font": {"size": 12}},
        "dragmode": False,
        "showlegend": False,
        **more,
    }


def axis(title: str = "", **more: Any) -> dict[str, Any]:
    """Return an axis as all plots draw it."""
    base = {"gridcolor": "@grid", "linecolor": "@rule", "zeroline": False, "automargin": True, "fixedrange": False}
    return {**base, **({"title": {"text": title, "font": {"size": 12}, "standoff": 14}} if title else {}), **more}


def short(name: str) -> str:
    """Return a name that fits beside an axis."""
    return literal(name if len(name) <= _MAX_TICK else name[: _MAX_TICK - 1] + "…")


def literal(text: str) -> str:
    """Return a text that plotly shows as it is: it would read ``<b>`` and ``<br>`` as marks."""
    return html.escape(text, quote=False)


def dots(
    model: Mapping[str, Any], others: Mapping[str, Mapping[str, Any]], limits: Mapping[str, float], *, unit: bool
) -> Figure:
    """Draw each metric of ``model`` as a dot with its interval, ``others`` beside it and the bar as an upright tick.

    ``unit``: all values lie in 0..1 and share that axis.
    """
    metrics = list(model)
    lanes = len(others) + 1
    band = _LANE * lanes + 22  # pixels from one metric to the next: a lane for each model and some air
    lane = [((lanes - 1) / 2 - i) * _LANE / band for i in range(lanes)]
    place = {metric: len(metrics) - 1 - i for i, metric in enumerate(metrics)}
    traces = [_dot_trace("this model", model, {m: place[m] + lane[0] for m in metrics}, "@accent", "circle", 12)]
    traces += [
        _dot_trace(name, values, {m: place[m] + lane[i] for m in metrics}, "@muted", _SYMBOLS[i % len(_SYMBOLS)], 9)
        for i, (name, values) in enumerate(others.items(), 1)
    ]
    barred = [m for m in metrics if m in limits]
    if barred:
        # A line in the plot's own measure, so that it spans its metric's lanes however small the window is.
        xs = [x for m in barred for x in (limits[m], limits[m], None)]
        ys = [y for m in barred for y in (place[m] - 0.42, place[m] + 0.42, None)]
        line = {"width": 3, "color": "@mark"}
        mark = {"type": "scatter", "mode": "lines", "name": "bar", "x": xs, "y": ys, "line": line}
        traces.append({**mark, "hovertemplate": "bar %{x}<extra></extra>"})
    height = 100 + band * len(metrics)
    xaxis = axis(range=[-0.02, 1.02]) if unit else axis(rangemode="tozero")
    ticks: dict[str, Any] = {
        "tickvals": [place[m] for m in metrics],
        "ticktext": [short(m) for m in metrics],
        "range": [-0.55, len(metrics) - 0.45],
    }
    return {
        "data": traces,
        "layout": layout(height, showlegend=True, xaxis=xaxis, yaxis=axis(**ticks, showgrid=False)),
    }


def _dot_trace(
    name: str, values: Mapping[str, Any], place: Mapping[str, float], color: str, symbol: str, size: int
) -> dict[str, Any]:
    there = [m for m in place if plain_number(values.get(m)) is not None]
    xs = [plain_number(values[m]) or 0.0 for m in there]
    spans = [span_of(values[m]) or (x, x) for m, x in zip(there, xs, strict=True)]
    bars = {
        "type": "data",
        "symmetric": False,
        "array": [max(0.0, high - x) for (_, high), x in zip(spans, xs, strict=True)],
        "arrayminus": [max(0.0, x - low) for (low, _), x in zip(spans, xs, strict=True)],
        "color": color,
        "thickness": 2,
        "width": 0,
    }
    words = [
        literal(f"{m}: {decimal(x)} ({decimal(low)} to {decimal(high)})")
        for m, x, (low, high) in zip(there, xs, spans, strict=True)
    ]
    return {
        "type": "scatter",
        "mode": "markers",
        "name": literal(name),
        "x": xs,
        "y": [place[m] for m in there],
        "error_x": bars,
        "marker": {"color": color, "symbol": symbol, "size": size, "line": {"width": 2, "color": color}},
        "text": words,
        "hovertemplate": "%{text}<extra>" + "%{fullData.name}</extra>",
    }


def confusion(labels: Sequence[str], matrix: Sequence[Sequence[int]]) -> Figure:
    """Draw who is taken for whom: colour is by the share of the true label's rows, text is their number."""
    size = len(labels)
    # The square root lets a mistake of one row in twenty be seen beside a diagonal of nineteen.
    shades = [[(cell / max(1, sum(row))) ** 0.5 for cell in row] for row in matrix]
    hover = [
        [literal(f"{true} taken for {taken}: {cell} of {sum(row)}") for taken, cell in zip(labels, row, strict=True)]
        for true, row in zip(labels, matrix, strict=True)
    ]
    trace: dict[str, Any] = {
        "type": "heatmap",
        "z": shades,
        "hovertext": hover,
        "hovertemplate": "%{hovertext}<extra></extra>",
        "colorscale": [[0, "@low"], [1, "@accent"]],
        "zmin": 0,
        "zmax": 1,
        "xgap": 1 if size <= 40 else 0,
        "ygap": 1 if size <= 40 else 0,
        "showscale": False,
    }
    if size <= _CELL_TEXT_UP_TO:
        trace |= {"text": [[str(c) if c else "" for c in row] for row in matrix], "texttemplate": "%{text}"}
    font = {"size": 12 if size <= 20 else 9}
    ticks = {
        "tickvals": list(range(size)),
        "ticktext": [short(label) for label in labels],
        "tickfont": font,
        "showgrid": False,
    }
    yaxis = axis("true label", **ticks, autorange="reversed")
    xaxis = axis("taken for", **ticks, tickangle=0 if size <= 4 else -45 if size <= 20 else -90)
    return {"data": [trace], "layout": layout(confusion_size(size)["height"], xaxis=xaxis, yaxis=yaxis)}


def confusion_size(size: int) -> dict[str, int]:
    """Return height and most width, in pixels, at which every label of the matrix can be read."""
    return {
        "height": max(320, min(1300, 140 + 36 * size if size <= 20 else 160 + 13 * size)),
        "width": 260 + 110 * size,
    }


def roc(curves: Mapping[str, Mapping[str, Any]]) -> Figure:
    """Draw ROC curves: all in grey where they are many, and the labels with the least area in colour."""
    traces = _by_label(curves, "fpr", "tpr", "auc", "found %{y:.3f}, falsely %{x:.3f}")
    chance = {"color": "@muted", "width": 1, "dash": "dot"}
    line = {"type": "scatter", "mode": "lines", "x": [0, 1], "y": [0, 1], "line": chance, "hoverinfo": "skip", "showlegend": False}
    xaxis = axis("share of other rows falsely taken", range=[-0.01, 1.01])
    yaxis = axis("share of its rows found", range=[-0.01, 1.01])
    return {"data": [*traces, line], "layout": layout(420, xaxis=xaxis, yaxis=yaxis, showlegend=True)}


def precision_recall(curves: Mapping[str, Mapping[str, Any]]) -> Figure:
    """Draw precision against recall, the labels with the least area in colour."""
    traces = _by_label(curves, "recall", "precision", "area", "found %{x:.3f}, of those given right %{y:.3f}")
    xaxis = axis("share of its rows found", range=[-0.01, 1.01])
    yaxis = axis("share of the rows given it that are right", range=[-0.01, 1.03])
    return {"data": traces, "layout": layout(420, xaxis=xaxis, yaxis=yaxis, showlegend=True)}


def _by_label(curves: Mapping[str, Mapping[str, Any]], x: str, y: str, size: str, hover: str) -> list[dict[str, Any]]:
    ranked = sorted(curves, key=lambda label: plain_number(curves[label].get(size)) or 0.0)
    shown = set(ranked[:MAX_CURVES])
    traces: list[dict[str, Any]] = []
    for label in sorted(curves, key=lambda name: name in shown):
        curve, lit = curves[label], label in shown
        area = plain_number(curve.get(size))
        name = f"{short(label)} ({decimal(area)})" if area is not None else short(label)
        color = f"@series{ranked.index(label)}" if lit else "@grid"
        traces.append({
            "type": "scatter", "mode": "lines", "name": name, "x": list(curve.get(x, [])), "y": list(curve.get(y, [])),
            "line": {"color": color, "width": 2 if lit else 1}, "showlegend": lit, "hovertemplate": hover,
        })  # fmt: skip
    return traces


def reliability(bins: Sequence[Mapping[str, Any]]) -> Figure:
    """Draw how often a confidence is right, against the diagonal of an honest model; dots grow with their rows."""
    kept = [
        b for b in bins if plain_number(b.get("accuracy")) is not None and plain_number(b.get("confidence")) is not None
    ]
    most = max((int(b["count"]) for b in kept), default=1)
    xs, ys = [b["confidence"] for b in kept], [b["accuracy"] for b in kept]
    sizes = [7 + 15 * (int(b["count"]) / most) ** 0.5 for b in kept]
    marker = {"size": sizes, "color": "@accent", "line": {"width": 1, "color": "@paper"}}
    words = [f"{b['count']} rows: confidence {b['confidence']:.2f}, right {b['accuracy']:.2f}" for b in kept]
    honest = {"color": "@muted", "width": 1, "dash": "dot"}
    traces = [
        {"type": "scatter", "mode": "lines", "x": [0, 1], "y": [0, 1], "line": honest, "hoverinfo": "skip"},
        {
            "type": "scatter",
            "mode": "lines+markers",
            "x": xs,
            "y": ys,
            "marker": marker,
            "line": {"color": "@accent", "width": 1},
            "text": words,
            "hovertemplate": "%{text}<extra></extra>",
        },
    ]
    xaxis = axis("confidence", range=[-0.03, 1.03])
    yaxis = axis("share that is right", range=[-0.05, 1.06])
    return {"data": traces, "layout": layout(420, xaxis=xaxis, yaxis=yaxis)}


def coverage(found: Mapping[str, Sequence[float]]) -> Figure:
    """Draw the share that is wrong against the share of rows that is answered, the surest first."""
    words = [
        f"answer {c:.0%} of the rows, those of confidence {sure:.2f} or more: {r:.1%} are wrong"
        for c, r, sure in zip(found["coverage"], found["risk"], found["confidence"], strict=True)
    ]
    trace = {
        "type": "scatter", "mode": "lines", "x": list(found["coverage"]), "y": list(found["risk"]),
        "line": {"color": "@accent", "width": 2, "shape": "hv"}, "text": words, "hovertemplate": "%{text}<extra></extra>",
    }  # fmt: skip
    xaxis = axis("share of rows answered, the surest first", range=[-0.03, 1.03], tickformat=".0%")
    yaxis = axis("share of those that is wrong", rangemode="tozero", tickformat=".0%")
    return {"data": [trace], "layout": layout(420, xaxis=xaxis, yaxis=yaxis)}
