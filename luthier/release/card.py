"""The model card: a bundle's README in the hub's format, filled from the run."""

from __future__ import annotations

from collections.abc import Mapping
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


def model_card(facts: Mapping[str, Any], *, objective: str, bundle_id: str) -> str:
    """Return the card as Markdown with the hub's YAML head."""
    base = facts.get("base", {})
    head = {"library_name": "transformers", "pipeline_tag": _TAGS[objective], "tags": ["luthier"]}
    if "/" in str(base.get("name", "")):
        head["base_model"] = base["name"]
    lines = ["---", yaml.safe_dump(head, sort_keys=False).strip(), "---", "", f"# {facts.get('name', 'model')}", ""]
    if facts.get("goal"):
        lines += [str(facts["goal"]), ""]
    lines += [
        f"- objective: {objective}",
        f"- base model: {base.get('name')} (weights sha256 {str(base.get('sha256'))[:16]}…)",
        f"- method: {facts.get('method')}",
        f"- training rows: {facts.get('rows')}; data fingerprint {str(facts.get('fingerprint'))[:16]}…",
        f"- bundle: {bundle_id}; Luthier {facts.get('luthier')}",
        "",
    ]
    if facts.get("verdict"):
        lines += [
            f"**Verdict on the test rows: {facts['verdict']}.**",
            "",
            *[f"- {r}" for r in facts.get("reasons", [])],
            "",
        ]
    if facts.get("metrics"):
        lines += ["| metric on the test rows | value | 95 % interval |", "| --- | --- | --- |"]
        lines += [_metric(name, m) for name, m in facts["metrics"].items() if m.get("value") is not None]
        lines += [""]
    if facts.get("diagnosis"):
        found = facts["diagnosis"]
        since = f" from step {found['from_step']}" if found.get("from_step") is not None else ""
        lines += [
            f"**Over- and underfitting: {found['verdict']}{since}.**",
            "",
            *[f"- {e}" for e in found["evidence"]],
            "",
        ]
    lines += [
        "## Use",
        "",
        "```python",
        "import luthier",
        'model = luthier.load("this/folder")',
        'model.predict(["..."])',
        "```",
        "",
    ]
    lines += [
        "`network/` loads with transformers directly; a linear head, where there is one, lies in `head/` as safetensors.",
        "",
    ]
    return "\n".join(lines)


def _metric(name: str, metric: Mapping[str, Any]) -> str:
    low, high = metric.get("low"), metric.get("high")
    interval = f"{low:.3f} to {high:.3f}" if low is not None and high is not None else ""
    return f"| {name} | {metric['value']:.3f} | {interval} |"
