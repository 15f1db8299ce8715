"""The gate: it keeps what helps, refuses what harms or cannot be told, and says so either way."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from luthier.base.errors import TaskError
from luthier.base.records import Example, Source
from luthier.data.augment import new_row
from luthier.data.augment.balance import balanced
from luthier.data.dedupe import key
from luthier.lifecycle.augment_gate import Added, Proxy, decide
from luthier.lifecycle.augmenting import extend
from luthier.spec.task import Task

WORDS = {
    "a": "parcel late lost truck door",
    "b": "refund charged twice money card",
    "c": "password login mail reset code",
}
COMMON = ["please", "my", "the", "i", "today", "again", "help", "me", "now", "with"]


def texts(count: int, *, seed: int = 0, labels: str = "abc", shares: tuple[float, ...] | None = None) -> list[Example]:
    rng = np.random.default_rng(seed)
    found = []
    for i in range(count):
        label = str(rng.choice(list(labels), p=shares))
        words = [*rng.choice(WORDS[label].split(), 1), *rng.choice(COMMON, 5)]
        rng.shuffle(words)
        found.append(Example(f"e{i}", {"text": " ".join(words) + f" {i}"}, label, Source("t.csv", i + 2)))
    return found


def bag(sentences) -> np.ndarray:
    """Return unit vectors of word counts over a fixed vocabulary."""
    vocabulary = sorted({w for words in WORDS.values() for w in words.split()} | set(COMMON))
    vectors = np.array([[s.split().count(w) for w in vocabulary] for s in sentences], dtype=np.float32) + 1e-6
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def task(objective: str = "classify", metric: str = "auto", **data: Any) -> Task:
    return Task.model_validate(
        {"task": {"objective": objective}, "data": {"source": "x.csv", **data}, "train": {"metric": metric}}
    )


def run(examples, folder: Path, *, clashes=None, embed=bag, metric: str = "auto", **data: Any):
    events: list[tuple[str, dict[str, Any]]] = []
    result = extend(
        examples, task=task(metric=metric, **data), clashes=clashes or (lambda es: [False] * len(es)), folder=folder,
        emit=lambda kind, /, **facts: events.append((kind, facts)), base_folder=folder, embed=embed,
    )  # fmt: skip
    return *result, events


def noisy(count: int, dim: int, spread: float, *, seed: int) -> tuple[list[Example], np.ndarray, np.ndarray]:
    """Return rows, their vectors around one centre a label, and (5, N, D) other true vectors of the same labels."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, count)
    centres = rng.normal(size=(3, dim))
    first = centres[labels] + spread * rng.normal(size=(count, dim))
    others = centres[labels] + spread * rng.normal(size=(5, count, dim))
    rows = [Example(f"n{i}", {"text": f"text {i}"}, f"l{y}", Source("n.csv", i)) for i, y in enumerate(labels)]
    return rows, first.astype(np.float32), others.astype(np.float32)


def test_rows_that_tell_more_are_kept_and_rows_that_lie_are_refused() -> None:
    rows, vectors, more = noisy(120, 40, 2.5, seed=1)
    proxy = Proxy(rows, embed=lambda t: vectors)
    of, rng = np.arange(len(rows)), np.random.default_rng(0)
    # More true vectors of each label help; vectors of other labels under this one's name harm.
    true = Added(more.reshape(-1, 40), np.tile(of, 5))
    lies = Added(np.concatenate([vectors[rng.permutation(120)] for _ in range(3)]), np.tile(of, 3))
    before = proxy.predict()
    good = decide("auto", proxy, before, {"true": proxy.predict(added=true)})
    assert good.kept and good.chosen == ("true",)
    assert good.low is not None and good.low > 0 and good.after > good.before
    assert "better by" in good.why and good.why.endswith(", kept")
    bad = decide("auto", proxy, before, {"lies": proxy.predict(added=lies)})
    assert not bad.kept and bad.chosen == ()
    assert "not kept" in bad.why
    both = decide("auto", proxy, before, {"lies": proxy.predict(added=lies), "true": proxy.predict(added=true)})
    assert both.chosen == ("true",)
    assert both.level == 0.975
    assert set(both.tried) == {"lies", "true"}
    assert json.loads(json.dumps(both.as_dict()))["kept"] is True


def test_copies_of_the_rows_change_nothing() -> None:
    rows, vectors, _ = noisy(90, 20, 2.0, seed=3)
    proxy = Proxy(rows, embed=lambda t: vectors)
    copies = Added(np.concatenate([vectors] * 3), np.tile(np.arange(90), 3))
    before, after = proxy.predict(), proxy.predict(added=copies)
    # The penalty grows with the rows, so the fit is the same up to the solver's tolerance.
    np.testing.assert_allclose(after, before, atol=5e-3)
    found = decide("auto", proxy, before, {"words": after})
    assert not found.kept
    assert "may be chance" in found.why


def test_a_row_is_never_predicted_by_what_was_made_of_it() -> None:
    rng = np.random.default_rng(0)
    rows = [Example(f"r{i}", {"text": f"t{i}"}, str(rng.integers(2)), Source("r.csv", i)) for i in range(100)]
    # Each row is alone in its own direction: only its own variation could tell its random label.
    vectors = np.eye(100, dtype=np.float32)
    proxy = Proxy(rows, embed=lambda t: vectors)
    after = proxy.predict(added=Added(np.concatenate([vectors] * 4), np.tile(np.arange(100), 4)))
    right = (after.argmax(1) == [int(r.target) for r in rows]).mean()
    assert right < 0.65


def test_what_is_made_of_rows_finds_its_original() -> None:
    rows = texts(60)
    proxy = Proxy(rows, embed=bag)
    new = [new_row(rows[i], f"other {i}", "words", 0) for i in (5, 0, 59)]
    assert proxy.add(new).of_M.tolist() == [5, 0, 59]


def test_pure_chance_is_seldom_kept() -> None:
    kept = 0
    for seed in range(8):
        rows, vectors, _ = noisy(80, 30, 3.0, seed=seed)
        proxy = Proxy(rows, embed=lambda t, v=vectors: v)
        jitter = vectors + np.random.default_rng(seed).normal(0, 0.05, vectors.shape).astype(np.float32)
        kept += decide(
            "auto", proxy, proxy.predict(), {"words": proxy.predict(added=Added(jitter, np.arange(80)))}, resamples=400
        ).kept
    assert kept <= 1


def test_the_interval_is_that_of_the_metric_by_hand() -> None:
    rows, vectors, _ = noisy(90, 20, 3.0, seed=5)
    proxy = Proxy(rows, embed=lambda t: vectors, metric="accuracy", seed=4)
    before, after = proxy.predict(), proxy.predict(balance="weights")
    truth = np.array([int(r.target[1:]) for r in rows])
    gain = (after.argmax(1) == truth).astype(float) - (before.argmax(1) == truth)
    found = proxy.compare(before, np.eye(3)[truth], resamples=4000)
    perfect = 1.0 - (before.argmax(1) == truth)
    assert found["difference"] == pytest.approx(perfect.mean())
    drawn = np.random.default_rng(0).choice(perfect, (20_000, 90)).mean(1)
    assert (found["low"], found["high"]) == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=0.02)
    assert proxy.compare(before, after)["difference"] == pytest.approx(gain.mean())


@pytest.mark.parametrize("metric", ["accuracy", "mcc", "log_loss", "recall[b]", "roc_auc"])
def test_every_metric_of_a_task_can_be_judged(metric: str, tmp_path: Path) -> None:
    *_, record, _ = run(texts(90), tmp_path, metric=metric, augment={"when": "auto"})
    assert record["augment"]["metric"] == metric
    assert record["augment"]["low"] <= record["augment"]["difference"] <= record["augment"]["high"]


def test_off_changes_nothing(tmp_path: Path) -> None:
    examples = texts(50)
    train, balance, record, events = run(examples, tmp_path)
    assert train is examples and balance is None and record == {} and events == []
    assert list(tmp_path.iterdir()) == []


def test_on_adds_rows_that_clash_with_nothing(tmp_path: Path) -> None:
    examples = texts(60)
    held = set()

    def clashes(new) -> list[bool]:
        held.update(e.id for e in new[:2])
        return [e.id in held for e in new]

    train, balance, record, events = run(
        examples, tmp_path, clashes=clashes, augment={"when": "on", "copies": 2}, balance="weights"
    )
    found = record["augment"]
    assert list(train[:60]) == examples
    assert len(train) == 60 + found["rows_added"] == 60 + found["by_way"]["words"]
    assert not {e.id for e in train} & held
    assert found["left_out"]["equal to a valid or test row"] == 2
    assert found["difference"] is None and "nothing was measured" in found["why"]
    assert len({key(e) for e in train}) == len(train)
    assert balance == balanced("weights", Counter(e.target for e in train))
    assert [kind for kind, _ in events] == ["augment", "balance"]
    # The same again, from disk: nothing is made or judged.
    again = run(
        examples,
        tmp_path,
        clashes=lambda es: 1 / 0,
        embed=lambda t: 1 / 0,
        augment={"when": "on", "copies": 2},
        balance="weights",
    )
    assert list(again[0]) == list(train) and again[1] == balance and again[2] == record
    # Other settings, and damage, are made anew.
    other = run(examples, tmp_path, augment={"when": "on", "seed": 1})
    assert other[2]["fingerprint"] != record["fingerprint"]
    before = list(other[0])
    (tmp_path / "augmented" / "rows.jsonl").write_text("")
    assert list(run(examples, tmp_path, augment={"when": "on", "seed": 1})[0]) == before


def test_auto_says_what_it_measured_and_adds_nothing_it_does_not_keep(tmp_path: Path) -> None:
    examples = texts(90)
    train, _, record, _ = run(examples, tmp_path, augment={"when": "auto"})
    found = record["augment"]
    assert {"asked", "kept", "before", "after", "difference", "low", "high", "rows_added", "by_way", "why"} <= set(
        found
    )
    assert found["rows_judged"] == 90
    assert found["kept"] == (found["low"] > 0)
    assert len(train) == 90 + found["rows_added"] and (found["rows_added"] > 0) == found["kept"]


def test_too_few_rows_are_not_judged(tmp_path: Path) -> None:
    examples = texts(20)
    train, balance, record, _ = run(examples, tmp_path, embed=lambda t: 1 / 0, augment={"when": "auto"}, balance="auto")
    assert train is examples and balance is None
    assert "20 train rows are too few" in record["augment"]["why"]
    assert not record["balance"]["kept"]


def test_balance_is_kept_where_rare_labels_gain(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    labels = np.array([0] * 600 + [1] * 60 + [2] * 60)
    vectors = (1.8 * np.eye(3)[labels] + rng.normal(size=(720, 3))).astype(np.float32)
    examples = [Example(f"i{i}", {"text": f"row {i}"}, f"l{y}", Source("i.csv", i)) for i, y in enumerate(labels)]
    by_text = {f"row {i}": vectors[i] for i in range(720)}

    def judged(metric: str):
        embed = lambda ts: np.array([by_text[t] for t in ts])  # noqa: E731
        return run(examples, tmp_path, embed=embed, metric=metric, balance="auto")

    train, balance, record, _ = judged("macro_recall")
    found = record["balance"]
    assert train is examples
    assert found["kept"] and balance is not None and balance.kind == found["chosen"][0]
    assert balance.by_label["l1"] > 1 > balance.by_label["l0"]
    assert set(found["tried"]) == {"weights", "resample"}
    assert found["by_label"] == balance.as_dict()["by_label"]
    # On the same rows accuracy falls by it, and then it is refused.
    _, balance, record, _ = judged("accuracy")
    assert balance is None
    assert record["balance"]["tried"]["weights"]["difference"] < 0


def test_equal_labels_need_no_balance(tmp_path: Path) -> None:
    examples = [replace(e, target="abc"[i % 3]) for i, e in enumerate(texts(60))]
    assert "equally many" in run(examples, tmp_path, embed=lambda t: 1 / 0, balance="auto")[2]["balance"]["why"]


def test_all_that_cannot_be_done_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(TaskError) as refused:
        extend([], task=task("generate", balance="weights", augment={"when": "auto"}), clashes=lambda e: [], folder=tmp_path,
               emit=lambda *a, **k: None, base_folder=tmp_path)  # fmt: skip
    assert [f.where for f in refused.value.faults] == ["data.augment.ways", "data.augment.when", "data.balance"]


def test_personal_data_on_its_way_out_is_warned_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    examples = [*texts(3), Example("p", {"text": "write to ann@example.org"}, "a", Source("t.csv", 99))]
    asked = {"when": "on", "ways": ["paraphrase"], "endpoint": "http://127.0.0.1:9/v1", "endpoint_model": "m"}
    monkeypatch.setattr("luthier.data.augment.Endpoint.ask", lambda self, requests: ["other words"] * len(requests))
    for personal, warned in (("report", 1), ("mask", 0)):
        *_, events = run(examples, tmp_path / personal, personal=personal, augment=asked)
        said = [facts["text"] for kind, facts in events if kind == "warning"]
        assert len(said) == warned
        assert all("t.csv:99" in text and "http://127.0.0.1:9/v1" in text for text in said)
