"""The lower part of the report, for whoever builds the model: every figure, the errors, the data, the settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from luthier.evaluate.metrics import split_name
from luthier.evaluate.report import plots as report_plots
from luthier.evaluate.report.advice import measured_on_test, weakest_label
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
from luthier.evaluate.report.owner import in_words, spoken
from luthier.evaluate.report.plots import Figure

Plots = dict[str, Figure]
MAX_CONFUSIONS = 10
# Metrics of a label whose names are no words to stand above a column.
_KINDS = {"roc_auc": "ROC-AUC", "average_precision": "average precision"}


def metrics(record: Mapping[str, Any], plots: Plots) -> list[Html]:
    """Return the table of overall metrics and, for a classifier, that of its labels."""
    del plots
    measured = measured_on_test(record)
    if not measured:
        return []
    validation = (record.get("metrics") or {}).get("valid") or {}
    baselines = record.get("baselines") or {}
    columns = [Column("Metric"), Column("Test", True), Column("95 % interval", True)]
    columns += [Column("Validation", True)] if validation else []
    columns += [Column(spoken(name), True) for name in baselines]
    rows = []
    for name, value in measured.items():
        # What has its parts in brackets and is no label's (changed texts, functional tests, judges) has a section of its own.
        if split_name(name)[1] is None and "[" not in name:
            valid = [number(validation.get(name))] if validation else []
            others = [number((values or {}).get(name)) for values in baselines.values()]
            shown = Cell(tag("span", name, tag("small", in_words(name))), name)
            rows.append([shown, number(value), interval(value), *valid, *others])
    return [table("Every metric on the test rows", columns, rows, sortable=True), *_labels(record, measured)]


def _labels(record: Mapping[str, Any], measured: Mapping[str, Any]) -> list[Html]:
    """Return the table of each label, or of each trait of a grade."""
    named = [split_name(name) for name in measured]
    labels = list(dict.fromkeys(str(label) for _, label in named if label is not None))
    if not labels:
        return []
    kinds = list(reversed(dict.fromkeys(kind for kind, label in named if label is not None)))
    split = (record.get("data") or {}).get("labels") or {}
    what = "Trait" if (record.get("task") or {}).get("objective") == "grade" else "Label"
    columns = [Column(what), Column("Train rows", True), Column("Test rows", True)]
    for kind in kinds:
        said = _KINDS.get(kind, kind)
        columns += [Column(said[:1].upper() + said[1:], True), Column(f"{said} 95 %", True)]
    rows = []
    for label in labels:
        counts = split.get(label) if isinstance(split.get(label), Mapping) else {}
        cells = [Cell(label, label), count((counts or {}).get("train")), count((counts or {}).get("test"))]
        for kind in kinds:
            value = measured.get(f"{kind}[{label}]")
            cells += [number(value), interval(value)]
        rows.append(cells)
    return [table(f"Each {what.lower()} on the test rows", columns, rows, sortable=True)]


def against(record: Mapping[str, Any], plots: Plots) -> list[Html]:
    """Return the paired comparison with an earlier bundle."""
    del plots
    found = record.get("against") or {}
    inner = found.get("metrics") if isinstance(found.get("metrics"), Mapping) else found
    rows = []
    for name, row in (inner or {}).items():
        if isinstance(row, Mapping) and "difference" in row and split_name(name)[1] is None:
            better = {"first": "the earlier one", "second": "this model"}.get(str(row.get("better")), "cannot tell")
            cells = [
                Cell(name, name),
                number(row.get("first")),
                number(row.get("second")),
                number(row.get("difference")),
            ]
            rows.append([*cells, interval(row), number(row.get("p")), better])
    if not rows:
        return []
    columns = [
        Column("Metric"),
        *(Column(t, True) for t in ("Earlier", "This model", "Difference", "95 % interval", "p")),
        Column("Better"),
    ]
    said = tag("p", "Both models on the same test rows, by a paired bootstrap.")
    return [
        said,
        definitions([("Earlier bundle", found.get("bundle"))]),
        table("Against the earlier bundle", columns, rows, sortable=True, hide_caption=True),
    ]


def errors(record: Mapping[str, Any], plots: Plots) -> list[Html]:
    """Return the confusion matrix."""
    found = record.get("confusion") or {}
    labels, matrix = found.get("labels") or [], found.get("matrix") or []
    if not labels or not any(map(any, matrix)):
        return []
    plots["confusion"] = report_plots.confusion([str(label) for label in labels], matrix)
    said = "Rows are true labels, columns are what they were taken for; "
    said += "the stronger the colour, the larger the share of its row."
    weak = weakest_label(record)
    if weak is not None and weak[3]:
        said += f" The weakest, “{weak[0]}”, is found in {weak[2]} of {weak[1]} rows"
        said += f" and taken for “{weak[3]}” in {weak[4]}."
    return [plot("confusion", said, **report_plots.confusion_size(len(labels))), *_commonest(labels, matrix)]


def _commonest(labels: Sequence[str], matrix: Sequence[Sequence[int]]) -> list[Html]:
    """Return the commonest mistakes as a table: a large matrix shows that there are some, and not which."""
    pairs = [(n, i, j) for i, row in enumerate(matrix) for j, n in enumerate(row) if i != j and n]
    if len(pairs) < 2:
        return []
    rows = []
    for n, i, j in sorted(pairs, key=lambda pair: (-pair[0], pair[1:]))[:MAX_CONFUSIONS]:
        of = sum(matrix[i])
        rows.append([labels[i], labels[j], count(n), Cell(f"{n / of:.0%}", n / of)])
    columns = [Column("True label"), Column("Taken for"), Column("Rows", True), Column("Share of the label", True)]
    return [table("The commonest mistakes", columns, rows, sortable=True)]


def curves(record: Mapping[str, Any], plots: Plots) -> list[Html]:
    """Return ROC curves and the reliability diagram, side by side where there is room."""
    drawn = []
    roc = record.get("roc") or {}
    if roc:
        plots["roc"] = report_plots.roc(roc)
        areas = {label: plain_number(curve.get("auc")) or 0.0 for label, curve in roc.items()}
        least = min(areas, key=lambda label: areas[label])
        more = (
            f" The {report_plots.MAX_CURVES} with the least area are in colour."
            if len(roc) > report_plots.MAX_CURVES
            else ""
        )
        drawn.append(
            plot("roc", f"ROC curves; the least area is {decimal(areas[least])}, of “{least}”.{more}", height=420)
        )
    if pr := record.get("pr") or {}:
        plots["pr"] = report_plots.precision_recall(pr)
        areas = {label: plain_number(curve.get("area")) or 0.0 for label, curve in pr.items()}
        least = min(areas, key=lambda label: areas[label])
        said = f"Precision and recall; the least average precision is {decimal(areas[least])}, of “{least}”, {decimal(pr[least]['share'])} by chance."
        drawn.append(plot("pr", said, height=420))
    bins = (record.get("reliability") or {}).get("bins") or []
    if any(plain_number(b.get("accuracy")) is not None for b in bins):
        plots["reliability"] = report_plots.reliability(bins)
        error = plain_number(measured_on_test(record).get("ece"))
        told = f" On average it is {decimal(error)} away." if error is not None else ""
        drawn.append(
            plot(
                "reliability", f"Reliability: dots on the dotted line are honest, below it too sure.{told}", height=420
            )
        )
    found = record.get("coverage") or {}
    if found.get("coverage"):
        plots["coverage"] = report_plots.coverage(found)
        said = f"Answering only the surest: {_at_coverages(found)}."
        drawn.append(plot("coverage", said, height=420))
    return [tag("div", drawn, class_="pair"), *_to_a_person(record)] if drawn else []


def _at_coverages(found: Mapping[str, Sequence[float]]) -> str:
    """Return the error at a few shares of rows answered, in words."""
    said = []
    for share in (1.0, 0.9, 0.8, 0.5):
        places = [i for i, c in enumerate(found["coverage"]) if c <= share + 1e-9]
        if places:
            at = places[-1]
            said.append(f"{found['coverage'][at]:.0%} of the rows, {found['risk'][at]:.1%} wrong (confidence {found['confidence'][at]:.2f} on)")
    return "; ".join(said)


def _to_a_person(record: Mapping[str, Any]) -> list[Html]:
    """Return the rule by which rows go to a person, with what it does on the test rows."""
    rule = record.get("answering")
    if not rule:
        return []
    measured = measured_on_test(record)
    sent, right = (plain_number(measured.get(name)) for name in ("referred", "answered_accuracy"))
    cuts = [f"a score of {cut:.3f} or more for “{label}”" for label, cut in rule["catch"].items() if cut <= 1]
    cuts += [f"“{label}” given with less than {cut:.3f}" for label, cut in rule["trust"].items()]
    cuts += [f"a confidence below {rule['least']:.3f}"] if rule["least"] > 0 else []
    said = f"To a person go rows with {', or '.join(cuts)}." if cuts else "No row goes to a person by this rule."
    if sent is not None:
        said += f" Of the test rows that is {sent:.1%}" + (f"; of the others {right:.1%} get the right label." if right is not None else ".")
    caught = {name: measured[name] for name in measured if name.startswith("caught[") and name[7:-1] in rule["catch"]}
    told = [f"{name}: {plain_number(v):.3f}" for name, v in caught.items() if plain_number(v) is not None]
    return [tag("h3", "What goes to a person"), tag("p", said), tag("p", "; ".join(told)) if told else Html("")]


def mistakes(record: Mapping[str, Any], plots: Plots) -> list[Html]:
    """Return the worst mistakes with the line each came from."""
    del plots
    rows = record.get("mistakes") or []
    if not rows:
        return []
    columns = [Column("Text"), Column("True"), Column("Predicted"), Column("Confidence", True), Column("Where")]
    body = [
        [
            Cell(m.get("text", ""), class_="long"),
            m.get("target"),
            m.get("predicted"),
            number(m.get("confidence"), 2),
            Cell(tag("code", place(m)), place(m)),
        ]
        for m in rows
    ]
    said = tag("p", "Worst first. A confident mistake is often a wrong label in the file: look there first.")
    return [said, table("Worst mistakes on the test rows", columns, body, sortable=True, hide_caption=True)]


def samples(record: Mapping[str, Any], plots: Plots) -> list[Html]:
    """Return some answers beside the wanted ones."""
    del plots
    rows = record.get("samples") or []
    if not rows:
        return []
    columns = [Column("Prompt"), Column("Wanted"), Column("Answered"), Column("Where")]
    long = [[Cell(s.get(key, ""), class_="long") for key in ("prompt", "target", "text")] for s in rows]
    return [
        table(
            "Answers",
            columns,
            [[*cells, tag("code", place(s))] for cells, s in zip(long, rows, strict=True)],
            hide_caption=True,
        )
    ]


def place(row: Mapping[str, Any]) -> str:
    """Return ``file:line`` of a row, or nothing where it has none."""
    return f"{row['file']}:{row.get('line', '')}".rstrip(":") if row.get("file") else ""


def settings(record: Mapping[str, Any], plots: Plots) -> list[Html]:
    """Return the model, the settings in force and the machine."""
    del plots
    shown = [
        *_flat(record.get("model") or {}),
        ("fingerprint", record.get("fingerprint")),
        *_packed(record.get("parity") or {}),
    ]
    parts = [definitions([(name, _plainly(value)) for name, value in shown])]
    if record.get("resolved"):
        parts.append(
            tag("details", tag("summary", "Settings in force"), tag("pre", str(record["resolved"]), tabindex="0"))
        )
    environment = definitions([(name, _plainly(value)) for name, value in _flat(record.get("environment") or {})])
    if environment != definitions([]):
        parts.append(tag("details", tag("summary", "Environment"), environment))
    return [part for part in parts if part != definitions([])]


def _packed(parity: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Return the bundle's id, and how near its answers are to those of the model before it was packed."""
    found: list[tuple[str, Any]] = [("bundle", parity.get("bundle"))]
    difference = plain_number(parity.get("difference"))
    if difference is not None and parity.get("rows"):
        said = "not at all" if not difference else f"by {difference:.1g} at most"
        found.append(("packed", f"read again from disk, its answers to {parity['rows']} rows differ {said} from the trained model's ({parity['allowed']:g} is allowed)"))
    return found


def _flat(values: Mapping[str, Any], prefix: str = "") -> Sequence[tuple[str, Any]]:
    pairs: list[tuple[str, Any]] = []
    for name, value in values.items():
        pairs += _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else [(f"{prefix}{name}", value)]
    return pairs


def _plainly(value: object) -> object:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: None}[value]
    if isinstance(value, int):
        return f"{value:,}"
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else value
