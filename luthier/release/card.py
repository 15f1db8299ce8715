"""The model card: a bundle's README in the form that the Hugging Face hub reads, filled from the run.

Its front matter has the hub's own keys (https://huggingface.co/docs/hub/model-cards), with the figures of the test rows as
`model-index`, which the hub shows as evaluation results. What nobody said is left out, the licence is then `unknown`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

_TAGS = {
    "classify": "text-classification",
    "multilabel": "text-classification",
    "grade": "text-classification",
    "extract": "summarization",
    "rank": "sentence-similarity",
    "generate": "text-generation",
    "prefer": "text-generation",
    "text": "text-generation",
}
# A hub name is an owner and a name; a path on this machine is nobody's business.
_HUB_NAME = re.compile(r"^[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*$")
# What the hub calls our metrics; the others keep their names.
_METRICS = {
    "macro_f1": "f1", "micro_f1": "f1", "weighted_f1": "f1", "samples_f1": "f1", "macro_precision": "precision", "micro_precision": "precision",
    "macro_recall": "recall", "micro_recall": "recall", "mcc": "matthews_correlation", "rouge1": "rouge", "rouge2": "rouge",
    "rougeL": "rouge", "rougeLsum": "rouge", "roc_auc": "roc_auc", "pearson": "pearsonr", "spearman": "spearmanr", "brier": "brier_score",
}  # fmt: skip


def model_card(facts: Mapping[str, Any], *, objective: str, bundle_id: str) -> str:
    """Return the card as Markdown with the hub's YAML head."""
    head = yaml.safe_dump(_head(facts, objective), sort_keys=False, allow_unicode=True).strip()
    lines = ["---", head, "---", "", f"# {facts.get('name', 'model')}", ""]
    if facts.get("goal"):
        lines += [str(facts["goal"]), ""]
    base = facts.get("base", {})
    lines += [
        f"- objective: {objective}",
        f"- base model: {_base_name(base)} (weights sha256 {str(base.get('sha256'))[:16]}…)",
        f"- method: {facts.get('method')}",
        f"- training rows: {facts.get('rows')}; data fingerprint {str(facts.get('fingerprint'))[:16]}…",
        f"- bundle: {bundle_id}; Luthier {facts.get('luthier')}",
        "",
    ]
    return "\n".join([*lines, *_verdict(facts), *_diagnosis(facts), *_data(facts.get("data_card")), *_use(facts)])


def _head(facts: Mapping[str, Any], objective: str) -> dict[str, Any]:
    name, card = str(facts.get("base", {}).get("name", "")), facts.get("data_card") or {}
    head: dict[str, Any] = {"library_name": "transformers", "pipeline_tag": _TAGS[objective], "license": facts.get("license") or "unknown"}
    if card.get("languages"):
        head["language"] = list(card["languages"])
    head["tags"] = ["luthier"]
    if _is_hub_name(name):
        head |= {"base_model": name, "base_model_relation": "finetune"}
    measured = [_result(metric, one) for metric, one in (facts.get("metrics") or {}).items() if one.get("value") is not None and "[" not in metric]
    if measured:
        head["metrics"] = list(dict.fromkeys(one["type"] for one in measured))
        head["model-index"] = [{"name": str(facts.get("name", "model")), "results": [{
            "task": {"type": _TAGS[objective]},
            "dataset": {"name": f"{facts.get('name', 'model')}, test rows", "type": _slug(facts.get("name", "data")), "split": "test",
                        "revision": str(facts.get("fingerprint"))[:16]},
            "metrics": measured,
        }]}]  # fmt: skip
    return head


def _result(name: str, measured: Mapping[str, Any]) -> dict[str, Any]:
    """Return one metric as the hub reads it, with its interval in its name: the hub has no field for one."""
    low, high = measured.get("low"), measured.get("high")
    span = "" if low is None or high is None else f" (95 %: {low:.3f} to {high:.3f})"
    return {"type": _METRICS.get(name, name), "value": round(float(measured["value"]), 6), "name": f"{name}{span}"}


def _is_hub_name(name: str) -> bool:
    return bool(_HUB_NAME.match(name)) and not Path(name).exists()


def _base_name(base: Mapping[str, Any]) -> str:
    name = str(base.get("name"))
    return name if _is_hub_name(name) or "/" not in name else Path(name).name


def _slug(name: object) -> str:
    return re.sub(r"[^a-z0-9]+", "-", str(name).lower()).strip("-") or "data"


def _verdict(facts: Mapping[str, Any]) -> list[str]:
    lines = []
    if facts.get("verdict"):
        told: Sequence[str] = [*facts.get("reasons", []), *facts.get("notes", [])]
        lines += [f"**Verdict on the test rows: {facts['verdict']}.**", "", *[f"- {text}" for text in told], ""]
    if facts.get("metrics"):
        lines += ["| metric on the test rows | value | 95 % interval |", "| --- | --- | --- |"]
        lines += [_metric(name, m) for name, m in facts["metrics"].items() if m.get("value") is not None]
        lines += [""]
    return lines


def _metric(name: str, metric: Mapping[str, Any]) -> str:
    low, high = metric.get("low"), metric.get("high")
    interval = f"{low:.3f} to {high:.3f}" if low is not None and high is not None else ""
    return f"| {name} | {metric['value']:.3f} | {interval} |".replace("\n", " ")


def _diagnosis(facts: Mapping[str, Any]) -> list[str]:
    found = facts.get("diagnosis")
    if not found:
        return []
    since = f" from step {found['from_step']}" if found.get("from_step") is not None else ""
    return [f"**Over- and underfitting: {found['verdict']}{since}.**", "", *[f"- {e}" for e in found["evidence"]], ""]


def _data(card: Mapping[str, Any] | None) -> list[str]:
    """Return what the model learnt from and was measured on."""
    if not card:
        return []
    splits = ", ".join(f"{count} {side}" for side, count in card["splits"].items())
    leaks = ", ".join(f"{count} {kind}" for kind, count in card["leaks"].items())
    personal = ", ".join(f"{count} {kind}" for kind, count in card["personal"].items())
    masked = ", ".join(f"{count} {kind}" for kind, count in card["masked"].items())
    agreed = card["agreement"]
    lines = ["## Data", "", f"- rows: {splits}; left out: {card['dropped']}", f"- rows shared between splits: {leaks or 'none found'}",
             f"- personal data in it: {personal or 'none found'}" + (f"; masked: {masked}" if masked else "")]  # fmt: skip
    if card["labels"]:
        lines.insert(3, f"- labels: {card['labels']}")
    if agreed.get("rows"):
        told = "; ".join(f"{words} {agreed[name]:.2f}" for name, words in (("full", "all agree on a share of"), ("alpha", "alpha")) if name in agreed)
        lines.append(f"- annotators: {agreed['rows']} rows with two votes or more; {told}")
    return [*lines, ""]


def _use(facts: Mapping[str, Any]) -> list[str]:
    found = [
        "## Use", "", "```python", "import luthier", 'model = luthier.load("this/folder")', 'model.predict(["..."])', "```", "",
        "`network/` loads with transformers directly; a linear head, where there is one, lies in `head/` as safetensors.", "",
    ]  # fmt: skip
    near = facts.get("training", {}).get("nearest") or {}
    if near.get("share"):
        found += [f"{near['share']:.0%} of each answer is what the nearest of {near['rows']} train rows vote: their vectors, without texts, lie in "
                  "`nearest/` with how they are mixed in. Whoever has them may guess what such rows were about.", ""]  # fmt: skip
    return found
