"""Dataset and model cards: read by the hub's own parsers, filled from what was found, and silent on what nobody said."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from luthier.data.hub_card import TASKS, facts_for_model
from luthier.data.prepare import prepare
from luthier.release.card import model_card
from luthier.spec.data import DataSection

WORDS = ("parcel", "invoice", "password", "refund", "address", "order", "login", "delivery", "account", "charge")


def prepared(folder: Path, **options: Any) -> Any:
    lines = ["message,ann,bob"]
    for i in range(80):
        label = "ab"[i % 2]
        other = label if i % 8 else "ba"[i % 2]
        lines.append(f"please look at my {WORDS[i % 10]} and the {WORDS[(i * 3 + 1) % 10]} of number {i * i} from last week,{label},{other if i % 16 else label}")
    lines.append("write to someone@example.org about the parcel that never came,a,a")
    (folder / "m.csv").write_text("\n".join(lines) + "\n")
    data = DataSection(source="m.csv", columns={"text": "message", "label": ["ann", "bob"]}, semantic="off", label_errors="off", **options)
    return prepare(data, "classify", base=folder, out=folder / "out")


def test_a_dataset_card_is_read_by_the_hub(tmp_path: Path) -> None:
    from huggingface_hub import DatasetCard

    found = prepared(tmp_path, license="cc-by-4.0")
    card = DatasetCard.load(found.folder / "README.md")
    head = card.data.to_dict()
    assert (head["license"], head["language"], head["size_categories"]) == ("cc-by-4.0", ["en"], ["n<1K"])
    assert (head["task_categories"], head["task_ids"]) == (["text-classification"], ["multi-class-classification"])
    files = {one["split"]: one["path"] for one in head["configs"][0]["data_files"]}
    assert all((found.folder / path).is_file() for path in files.values()) and set(files) == {"train", "validation", "test"}
    text = card.text
    assert "## Annotators" in text and "Krippendorff's alpha" in text and "- ann: " in text
    assert "personal data left in it: 1 email" in text
    assert f"| train | {len(found.train)} |" in text and "annotators disagree" in text


def test_a_licence_changes_no_data(tmp_path: Path) -> None:
    one, two = (tmp_path / name for name in "ab")
    one.mkdir(), two.mkdir()
    plain, licensed = prepared(one), prepared(two, license="mit")
    assert plain.report.fingerprint == licensed.report.fingerprint
    assert "license: unknown" in (plain.folder / "README.md").read_text()


def facts(**more: Any) -> dict[str, Any]:
    metrics = {"macro_f1": {"value": 0.91, "low": 0.88, "high": 0.94}, "roc_auc": {"value": None, "low": None, "high": None},
               "ece": {"value": 0.05, "low": None, "high": None}, "recall[urgent]": {"value": 0.8, "low": 0.7, "high": 0.9}}  # fmt: skip
    return {"name": "triage", "goal": "Sort: messages #1.", "base": {"name": "acme/encoder-small", "sha256": "ab" * 32}, "method": "lora", "rows": 800,
            "fingerprint": "f" * 64, "luthier": "0", "verdict": "missed", "reasons": ["recall is low"], "notes": ["few rows"], "metrics": metrics,
            **more}  # fmt: skip


def test_a_model_card_is_read_by_the_hub_with_its_results(tmp_path: Path) -> None:
    from huggingface_hub import ModelCard

    path = tmp_path / "README.md"
    report = prepared(tmp_path).report.as_dict()
    path.write_text(model_card(facts(license="apache-2.0", data_card=facts_for_model(report)), objective="classify", bundle_id="abc"))
    card = ModelCard.load(path)
    assert (card.data.license, card.data.base_model, card.data.language) == ("apache-2.0", "acme/encoder-small", ["en"])
    results = {one.metric_name.split(" ")[0]: one for one in card.data.eval_results or ()}
    assert set(results) == {"macro_f1", "ece"}, "neither what is undefined nor what is of one label"
    assert results["macro_f1"].metric_type == "f1" and results["macro_f1"].metric_value == 0.91
    assert results["macro_f1"].dataset_split == "test" and results["macro_f1"].task_type == "text-classification"
    assert "0.880 to 0.940" in results["macro_f1"].metric_name
    assert "| recall[urgent] | 0.800 | 0.700 to 0.900 |" in card.text and "few rows" in card.text
    assert "- annotators: " in card.text and "personal data in it: 1 email" in card.text
    # The hub writes the same front matter again.
    assert ModelCard(str(card)).data.to_dict() == card.data.to_dict()


@pytest.mark.parametrize("objective", sorted(TASKS))
def test_every_objective_has_a_card_and_names_no_path_of_this_machine(objective: str, tmp_path: Path) -> None:
    from huggingface_hub import ModelCard

    local = tmp_path / "base"
    local.mkdir()
    text = model_card(facts(base={"name": str(local), "sha256": "00"}, metrics={}), objective=objective, bundle_id="x")
    card = ModelCard(text)
    assert card.data.base_model is None and card.data.license == "unknown"
    assert str(tmp_path) not in text and "base model: base (" in text


def test_labels_cannot_break_a_card(tmp_path: Path) -> None:
    from huggingface_hub import DatasetCard

    from luthier.data.hub_card import data_card

    found = prepared(tmp_path)
    odd = {"a|b\n---\nlicense: mit": {"train": 1, "valid": 0, "test": 0}}
    report = replace(found.report, labels=odd)
    card = DatasetCard(data_card(replace(found, report=report), DataSection(source="m.csv"), "classify", None))
    assert card.data.license == "unknown" and "| a\\|b --- license: mit | 1 | 0 | 0 |" in card.text


def test_a_folder_beside_the_task_is_no_hub_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "models" / "base").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    text = model_card(facts(base={"name": "models/base", "sha256": "00"}), objective="classify", bundle_id="x")
    assert "base_model" not in text and "base model: base (" in text
