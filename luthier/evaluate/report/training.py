"""The report's part on training: how it went in words, its curves, the learning curve, where the time went."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from luthier.evaluate.report import plots_training as plots_
from luthier.evaluate.report.html import (
    Cell,
    Column,
    Html,
    count,
    decimal,
    definitions,
    interval,
    number,
    plain_number,
    plot,
    table,
    tag,
)
from luthier.evaluate.report.plots import Figure

Plots = dict[str, Figure]


def training(record: Mapping[str, Any], plots: Plots) -> list[Html]:
    """Return the verdict on the fit, the training curves and where the time went."""
    curve = record.get("curve") or {}
    steps, evaluations = curve.get("steps") or [], curve.get("evaluations") or []
    seconds = record.get("seconds") or {}
    memory = plain_number(record.get("peak_memory_mb"))
    method, why = (record.get("model") or {}).get("method"), (record.get("training") or {}).get("why")
    facts = [("method", f"{method}: {why}")] if method and why else []
    facts += [
        (f"{name} time", duration(s)) for name, value in seconds.items() if (s := plain_number(value)) is not None
    ]
    facts += [*_borne(record.get("training") or {}), *_afterwards(record.get("training") or {})]
    facts += [("most memory", f"{memory:,.0f} MB")] if memory is not None else []
    # The estimate that was made before training, and by how much it was off.
    facts += [("estimate", str(sentence)) for sentence in (record.get("plan") or {}).get("words") or []]
    parts = [*_fit(record), *_contest(record)]
    if steps:
        score = str(curve.get("metric") or (record.get("training") or {}).get("metric") or "validation score")
        plots["training"] = plots_.training(steps, evaluations, score, turn=_turn(record))
        parts.append(plot("training", _told(steps, evaluations, score), height=plots["training"]["layout"]["height"]))
    return [*parts, definitions(facts)] if parts or facts else []


def _borne(training: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what training met and bore: steps left out, rates lowered, micro-batches made smaller."""
    found = []
    for key, name in (("skipped", "skipped steps"), ("lowered", "rates halved")):
        steps = training.get(key) or []
        told = "; ".join(f"step {one['step']}: {one['what']} ({one['rows']})" for one in steps[:5])
        found += [(name, f"{len(steps)}: {told}" + ("; ..." if len(steps) > 5 else ""))] if steps else []
    if training.get("micro_tokens"):
        found.append(("tokens at a time", f"{training['micro_tokens']:,}: more did not fit in memory"))
    return found


def _afterwards(training: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what validation rows chose once training was over: the neighbours' say, and the factor of the scores."""
    found = []
    for key, name, factor in (("nearest", "nearest train rows", "share"), ("calibrated", "honest probabilities", "scale")):
        one = training.get(key) or {}
        wanted = ("log_loss_before", "log_loss_after", factor, "rows")
        figures = [plain_number(one.get(name_)) for name_ in wanted]
        if None in figures:
            continue
        before, after, much, rows = figures
        what = f"have {much:.0%} of the say in each answer ({rows:,.0f} rows)" if key == "nearest" else f"scores times {much:.2f}"
        found.append((name, f"{what}; log loss on validation rows {before:.3f} before, {after:.3f} after"))
    return found


def _fit(record: Mapping[str, Any]) -> list[Html]:
    """Return the verdict on over- and underfitting with its evidence and what to do next."""
    found = record.get("diagnosis") or {}
    if not found.get("verdict"):
        return []
    since = f" from step {found['from_step']}" if found.get("from_step") is not None else ""
    also = ", ".join(found.get("also") or [])
    head = tag(
        "p",
        "Over- and underfitting: ",
        tag("strong", f"{found['verdict']}{since}"),
        f" (also: {also})." if also else ".",
    )
    evidence = [tag("li", sentence) for sentence in found.get("evidence") or []]
    advice = [tag("li", sentence) for sentence in found.get("next") or []]
    return [
        head,
        tag("ul", evidence) if evidence else Html(""),
        tag("details", tag("summary", "What to do"), tag("ul", advice)) if advice else Html(""),
    ]


def _contest(record: Mapping[str, Any]) -> list[Html]:
    """Return the figures of all that competed for few labels, if there was a contest."""
    held = (record.get("training") or {}).get("contest") or {}
    if not held.get("contenders"):
        return []
    columns = [
        Column("method"),
        Column("held-out accuracy", True),
        Column("log loss", True),
        Column("rows", True),
        Column("seconds", True),
    ]
    rows = [
        [entry["method"] + (" (chosen)" if entry["method"] == held["winner"] else ""), number(entry.get("accuracy")),
         number(entry.get("log_loss")), count(entry["rows"]), number(entry.get("seconds"), 1)]
        for entry in held["contenders"]
    ]  # fmt: skip
    return [table("What competed, on train rows held out of each fit", columns, rows)]


def _turn(record: Mapping[str, Any]) -> int | None:
    return (record.get("diagnosis") or {}).get("from_step")


def _told(steps: list[Mapping[str, Any]], evaluations: list[Mapping[str, Any]], score: str) -> str:
    losses = [v for s in steps if (v := plain_number(s.get("loss"))) is not None]
    told = f"Training loss over {len(steps)} steps"
    told += f", from {decimal(losses[0])} to {decimal(losses[-1])}" if losses else ""
    known = [e for e in evaluations if plain_number(e.get("valid_loss")) is not None]
    if known:
        told += f"; on the validation rows from {decimal(known[0]['valid_loss'])} to {decimal(known[-1]['valid_loss'])}"
    return told + (f"; below, {score} at {len(evaluations)} evaluations." if evaluations else ".")


def learning_curve(record: Mapping[str, Any], plots: Plots) -> list[Html]:
    """Return what parts of the train rows reach, and what more rows would bring."""
    found = record.get("learning_curve") or {}
    points = found.get("points") or []
    if not points:
        return []
    metric, ahead = str(found.get("metric") or "score"), found.get("extrapolated") or {}
    plots["learning"] = plots_.learning(points, ahead, metric)
    rows = [
        [Cell(f"{point['share']:.0%}", point["share"]), count(point["rows"]), number(point), interval(point), count(len(point["scores"]))]
        for point in points
    ]  # fmt: skip
    if ahead:
        share = ahead["rows"] / points[-1]["rows"]
        rows.append(
            [Cell(f"{share:.0%}, extrapolated", share), count(ahead["rows"]), number(ahead), interval(ahead), Cell("")]
        )
    columns = [
        Column("Share of the train rows"),
        *(Column(t, True) for t in ("Rows", metric, "95 % interval", "Seeds")),
    ]
    said = f"{metric} on the validation rows by the number of train rows; the band is where the curve lies with 95 %."
    return [
        tag("p", str(found.get("words") or "")),
        plot("learning", said, height=plots["learning"]["layout"]["height"]),
        table("Learning curve", columns, rows, hide_caption=True),
    ]


def duration(seconds: float) -> str:
    """Return a time as people say it."""
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 100 else f"{minutes / 60:.1f} h"
