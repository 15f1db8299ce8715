"""A prepared folder's card in the form that the Hugging Face hub reads: README.md with its front matter.

Keys and values are the hub's own (https://huggingface.co/docs/hub/datasets-cards); what nobody said is left out or `unknown`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from luthier.data.cleaning.languages import UNKNOWN
from luthier.data.report import DataReport, Prepared
from luthier.data.split import SIDES
from luthier.spec.data import DataSection

_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"), (10_000_000, "1M<n<10M"))
_HUB_SPLITS = {"train": "train", "valid": "validation", "test": "test"}
# What the hub calls the task, and which kind of it.
TASKS: dict[str, tuple[str, str | None]] = {
    "classify": ("text-classification", "multi-class-classification"),
    "multilabel": ("text-classification", "multi-label-classification"),
    "grade": ("text-classification", "text-scoring"),
    "extract": ("summarization", None),
    "rank": ("text-retrieval", "document-retrieval"),
    "generate": ("text-generation", None),
    "prefer": ("text-generation", None),
    "text": ("text-generation", "language-modeling"),
}
_COMMON = 0.1  # a language of fewer rows is as likely a wrong guess
_SHOWN_LABELS = 300


def data_card(prepared: Prepared, data: DataSection, objective: str, changes: Mapping[str, Any] | None) -> str:
    """Return the card as Markdown: what the data is, its splits and labels, what was done to it, what is known of it."""
    report = prepared.report
    lines = [
        "---", yaml.safe_dump(_head(report, data, objective), sort_keys=False, allow_unicode=True).strip(), "---", "",
        f"# Prepared data {report.fingerprint[:16]}", "",
        f"Rows for the objective `{objective}`, read as {report.recognised_as or 'given'}, cleaned, without duplicates, divided and "
        "checked. Every line keeps the `file` and `line` it came from; what was left out is in `dropped.jsonl` with its reason.", "",
        "| split | rows |", "| --- | --- |",
        *[f"| {side} | {report.splits[side]} |" for side in SIDES], "",
        "## Sources", "",
        *[f"- `{f['name']}` ({f['role']}): {f['rows']} rows, sha256 `{f['sha256'][:16]}`" for f in report.files],
    ]  # fmt: skip
    if report.labels:
        lines += ["", "## Labels", "", "| label | train | valid | test |", "| --- | --- | --- | --- |"]
        shown = list(report.labels.items())
        lines += [f"| {cell(name)} | {n['train']} | {n['valid']} | {n['test']} |" for name, n in shown[:_SHOWN_LABELS]]
        lines += [f"| and {len(shown) - _SHOWN_LABELS} more | | | |"] if len(shown) > _SHOWN_LABELS else []
    lines += ["", "## What was done", "", *_done(report), "", "## What is known", "", *_known(report)]
    lines += ["", "## Annotators", "", *_annotators(report.findings["agreement"])] if report.findings.get("agreement") else []
    if changes:
        lines += ["", f"## Since {changes['since']}", ""]
        lines += [f"- {kind}: {changes[kind]}" for kind in ("added", "removed", "relabelled", "moved")]
    return "\n".join(lines) + "\n"


def _head(report: DataReport, data: DataSection, objective: str) -> dict[str, Any]:
    task, kind = TASKS[objective]
    languages = languages_of(report.findings)
    size = sum(report.splits.values())
    return {
        "pretty_name": f"Prepared data {report.fingerprint[:16]}",
        "license": data.license,
        **({"language": languages} if languages else {}),
        "task_categories": [task],
        **({"task_ids": [kind]} if kind else {}),
        "size_categories": [next((name for bound, name in _SIZES if size < bound), "n>10M")],
        "tags": ["luthier", *(["preference"] if objective == "prefer" else [])],
        "configs": [{"config_name": "default", "data_files": [
            {"split": name, "path": f"{side}.jsonl"} for side, name in _HUB_SPLITS.items() if report.splits[side]
        ]}],
    }  # fmt: skip


def languages_of(findings: Mapping[str, Any]) -> list[str]:
    """Return the languages that a tenth of the rows or more are in, by their codes, the commonest first."""
    counted = (findings.get("profile") or {}).get("languages") or {}
    rows = {code: n for code, n in counted.items() if code != UNKNOWN}
    return [code for code, n in sorted(rows.items(), key=lambda pair: -pair[1]) if n >= _COMMON * sum(rows.values())]


def _done(report: DataReport) -> list[str]:
    lines = [f"- left out: {count} ({reason})" for reason, count in report.dropped.items()] or ["- nothing was left out"]
    lines += [f"- changed by the step {step}: {count} rows" for step, count in report.findings["cleaning"]["counts"].items()]
    return lines + [f"- masked: {count} {kind}" for kind, count in (report.findings.get("masked") or {}).items()]


def _known(report: DataReport) -> list[str]:
    """Return leaks, likeness, personal data and probable label errors, and every warning."""
    leaks = ", ".join(f"{count} {kind}" for kind, count in report.leaks.items() if count)
    alike = ", ".join(f"{count} {kind}" for kind, count in report.duplicates.items() if count)
    personal = ", ".join(f"{count} {kind}" for kind, count in report.personal.items() if count)
    lines = [f"- rows shared between splits: {leaks or 'none found'}", f"- rows like an earlier one: {alike or 'none found'}",
             f"- personal data left in it: {personal or 'none found'}"]  # fmt: skip
    errors = report.findings.get("label_errors") or {}
    if errors.get("rows"):
        lines.append(f"- probable label errors: {len(errors['rows'])} rows")
    if report.lengths.get("max_chars"):
        lines.append("- characters of the input: median {median_chars}, 95th percentile {p95_chars}, longest {max_chars}".format(**report.lengths))
    return lines + [f"- {cell(str(problem))}" for problem in report.problems]


def _annotators(found: Mapping[str, Any]) -> list[str]:
    return [
        f"- rows with two or more votes: {found['rows']}; with one: {found['single']}",
        *[f"- {words}: {found[name]:.3f}" for name, words in _AGREEMENT.items() if found.get(name) is not None],
        *[f"- {cell(name)}: {one['votes']} votes" + (f", {one['with_majority']:.1%} as most others" if one["with_majority"] is not None else "")
          for name, one in found["annotators"].items()],
    ]  # fmt: skip


_AGREEMENT = {"full": "rows on which all agree, as a share", "pairwise": "pairs of votes that agree", "alpha": "Krippendorff's alpha"}


def cell(text: str) -> str:
    """Return a text that stays in its cell or line of Markdown."""
    return text.replace("|", "\\|").replace("\n", " ")


def facts_for_model(report: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a model's card says of its data, from a data report as a run's record holds it."""
    agreed = report.get("agreement") or {}
    labels: Sequence[str] = list(report.get("labels") or ())
    return {
        "splits": dict(report["splits"]), "labels": len(labels), "dropped": sum(report["dropped"].values()),
        "leaks": {kind: n for kind, n in report["leaks"].items() if n}, "personal": {kind: n for kind, n in report["personal"].items() if n},
        "masked": dict(report.get("masked") or {}), "languages": languages_of(report),
        "agreement": {name: agreed[name] for name in ("rows", "full", "alpha") if agreed.get(name) is not None},
    }  # fmt: skip
