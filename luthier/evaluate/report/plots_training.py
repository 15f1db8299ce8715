"""The plots of training: losses and scores by step, and the learning curve; colours are roles as in the other plots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from luthier.evaluate.report.html import plain_number
from luthier.evaluate.report.plots import Figure, axis, layout, literal

_MANY = 30


def training(
    steps: Sequence[Mapping[str, Any]], evaluations: Sequence[Mapping[str, Any]], score: str, *, turn: int | None = None
) -> Figure:
    """Draw the loss of each step with its running mean and that of validation and train rows, and below it the scores.

    ``turn`` is the step from which it overfits: an upright line through the losses.
    """
    traces = [*_step_losses(steps), *_row_losses(evaluations), *_scores(evaluations, score)]
    shapes = [_upright(turn)] if turn is not None else []
    if not any(t.get("yaxis") == "y2" for t in traces):
        form = layout(300, xaxis=axis("step"), yaxis=axis("loss", rangemode="tozero"), shapes=shapes)
        return {"data": traces, "layout": {**form, "showlegend": len(traces) > 2}}
    form = layout(
        480, showlegend=True, shapes=shapes, xaxis=axis("step", anchor="y2"),
        yaxis=axis("loss", rangemode="tozero", domain=[0.46, 1]), yaxis2=axis(score, domain=[0, 0.36]),
    )  # fmt: skip
    return {"data": traces, "layout": form}


def _upright(step: int) -> dict[str, Any]:
    line = {"color": "@mark", "width": 2, "dash": "dot"}
    return {"type": "line", "x0": step, "x1": step, "yref": "y domain", "y0": 0, "y1": 1, "line": line}


def _step_losses(steps: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    known = [s for s in steps if plain_number(s.get("loss")) is not None]
    xs, losses = [s["step"] for s in known], [float(s["loss"]) for s in known]
    rates = [f"rate {s['rate']:.3g}" if plain_number(s.get("rate")) is not None else "" for s in known]
    many = len(known) > _MANY
    line = {"color": "@rule" if many else "@muted", "width": 1}
    traces = [_lines("loss of a step", xs, losses, line, text=rates, hover="step %{x}: loss %{y:.4f} %{text}")]
    if many:
        mean = {"color": "@muted", "width": 2}
        traces.append(_lines("running mean", xs, _running_mean(losses), mean, hoverinfo="skip"))
    return traces


def _row_losses(evaluations: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    traces = []
    for key, name, color in (("train_loss", "train rows", "@accent"), ("valid_loss", "validation rows", "@series1")):
        known = [e for e in evaluations if plain_number(e.get(key)) is not None]
        if known:
            xs, ys = [e["step"] for e in known], [e[key] for e in known]
            traces.append(_dotted(name, xs, ys, color, hover=f"step %{{x}}: loss %{{y:.4f}} on {name}"))
    return traces


def _scores(evaluations: Sequence[Mapping[str, Any]], score: str) -> list[dict[str, Any]]:
    traces = []
    for key, name, color in (("train_score", f"{score}, train rows", "@accent"), ("score", score, "@series1")):
        known = [e for e in evaluations if plain_number(e.get(key)) is not None]
        if known:
            xs, ys = [e["step"] for e in known], [e[key] for e in known]
            more = {"xaxis": "x", "yaxis": "y2", "showlegend": False}
            traces.append(_dotted(name, xs, ys, color, hover="step %{x}: %{y:.4f}", **more))
    return traces


def learning(points: Sequence[Mapping[str, Any]], ahead: Mapping[str, Any], metric: str) -> Figure:
    """Draw the score of each part with its interval, and the band of curves that go through them and on."""
    traces: list[dict[str, Any]] = []
    band = ahead.get("band") or []
    if band:
        xs = [b["rows"] for b in band]
        outline = {
            "x": [*xs, *reversed(xs)], "y": [*(b["high"] for b in band), *(b["low"] for b in reversed(band))],
            "type": "scatter", "mode": "lines", "fill": "toself", "fillcolor": "@low", "line": {"width": 0},
            "hoverinfo": "skip", "name": "95 % band",
        }  # fmt: skip
        hover = "%{x:,} rows: %{y:.4f}"
        traces += [
            outline,
            _lines("curve", xs, [b["value"] for b in band], {"color": "@accent", "width": 1}, hover=hover),
        ]
    bars = {
        "type": "data", "symmetric": False, "array": [p["high"] - p["value"] for p in points],
        "arrayminus": [p["value"] - p["low"] for p in points], "color": "@series1", "thickness": 2, "width": 0,
    }  # fmt: skip
    xs, ys = [p["rows"] for p in points], [p["value"] for p in points]
    measured = _dotted("measured", xs, ys, "@series1", hover="%{x:,} rows: %{y:.4f}", error_y=bars)
    traces.append({**measured, "mode": "markers"})
    form = layout(380, xaxis=axis("train rows", type="log"), yaxis=axis(metric), showlegend=True)
    return {"data": traces, "layout": form}


def _lines(
    name: str, xs: Sequence[Any], ys: Sequence[Any], line: Mapping[str, Any], *, hover: str | None = None, **more: Any
) -> dict[str, Any]:
    told = {"hovertemplate": f"{hover}<extra></extra>"} if hover else {}
    return {
        "type": "scatter",
        "mode": "lines",
        "name": literal(name),
        "x": xs,
        "y": ys,
        "line": dict(line),
        **told,
        **more,
    }


def _dotted(name: str, xs: Sequence[Any], ys: Sequence[Any], color: str, *, hover: str, **more: Any) -> dict[str, Any]:
    drawn = _lines(name, xs, ys, {"color": color, "width": 2}, hover=hover, **more)
    return {**drawn, "mode": "lines+markers", "marker": {"size": 8, "color": color}}


def _running_mean(values: Sequence[float], share: float = 0.9) -> list[float]:
    """Exponential mean, corrected for its start (as in Adam), so that the first values are not drawn to zero."""
    mean, means = 0.0, []
    for i, value in enumerate(values, 1):
        mean = share * mean + (1 - share) * value
        means.append(mean / (1 - share**i))
    return means
