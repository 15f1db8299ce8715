"""Several models on the same rows: corrected for how often one looks, and told row by row."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest

from luthier.base.records import Example, Prediction, Source
from luthier.evaluate import several
from luthier.evaluate.answered import Answered
from luthier.evaluate.report.comparison import write_comparison

LABELS = ("a", "b", "c")


def rows(count: int, *, seed: int = 0) -> list[Example]:
    rng = np.random.default_rng(seed)
    return [
        Example(f"id{i}", {"text": f"text <b>{i}</b>"}, LABELS[rng.integers(3)], Source("test.csv", i + 2), None, {"channel": "email" if i % 2 else "phone"})
        for i in range(count)
    ]  # fmt: skip


def answers(targets: list[Example], share: float, *, seed: int) -> list[Prediction]:
    """Return labels of which a share is right, each with a score."""
    rng = np.random.default_rng(seed)
    found = []
    for row in targets:
        label = row.target if rng.random() < share else LABELS[(LABELS.index(row.target) + 1) % 3]
        found.append(Prediction(label=label, scores={name: 0.8 if name == label else 0.1 for name in LABELS}))
    return found


@pytest.mark.parametrize("chances", [[0.01, 0.04, 0.03, 0.005], [0.5], [], [0.2, 0.2, 0.2], [1.0, 0.0]])
def test_holm_is_the_step_down_procedure(chances: list[float]) -> None:
    found = several.holm(chances)
    for level in (0.01, 0.05, 0.1, 0.5):
        # Reject the smallest while p <= level / (number left), and stop at the first that is not.
        rejected, order = set(), sorted(range(len(chances)), key=lambda i: chances[i])
        for left, i in zip(range(len(order), 0, -1), order, strict=True):
            if chances[i] * left > level:
                break
            rejected.add(i)
        assert {i for i, p in enumerate(found) if p <= level} == rejected


def test_beyond_the_draws_the_tail_is_that_of_a_normal_distribution() -> None:
    one = {"difference": 0.3, "low": 0.2, "high": 0.4, "p": 2 / 1001}
    assert several.chance_of(one) == pytest.approx(2 * (1 - NormalDist().cdf(0.3 / (0.1 / 1.959964))), rel=1e-6)
    assert several.chance_of({**one, "difference": 0.05, "low": -0.05, "high": 0.15, "p": 0.3}) == 0.3
    # A spread that would give more than the draws do changes nothing.
    assert several.chance_of({**one, "difference": 0.201, "low": 0.0001, "high": 0.402}) <= 2 / 1001


def test_what_is_undefined_is_not_counted() -> None:
    assert several.holm([0.02, None, 0.03]) == [0.04, None, 0.04]


def test_better_models_are_found_and_equal_ones_are_not() -> None:
    test = rows(400)
    given = {"good": answers(test, 0.9, seed=1), "poor": answers(test, 0.6, seed=2), "good too": answers(test, 0.9, seed=3)}
    found = several.compare("classify", test, given, LABELS, main="accuracy")
    told = {(p["first"], p["second"]): p["metrics"]["accuracy"]["better"] for p in found["pairs"]}
    assert told == {("good", "poor"): "first", ("good", "good too"): "cannot tell", ("poor", "good too"): "second"}
    assert found["best"] == "cannot tell", "two that are alike and better than the third: neither is the best"
    two = several.compare("classify", test, {name: given[name] for name in ("poor", "good")}, LABELS, main="accuracy")
    assert two["best"] == "good"
    assert all(one["adjusted"] >= several.chance_of(one) for p in found["pairs"] for one in p["metrics"].values())


@pytest.mark.slow
def test_chance_seldom_looks_like_a_difference() -> None:
    """Of 40 comparisons of four equal models, hardly any finds one better in anything at all; uncorrected, many would."""
    alarms = uncorrected = 0
    for seed in range(40):
        test = rows(120, seed=seed)
        given = {f"m{i}": answers(test, 0.8, seed=1000 * seed + i) for i in range(4)}
        found = several.compare("classify", test, given, LABELS, main="accuracy", slices="off", seed=seed)
        main = [p["metrics"]["accuracy"] for p in found["pairs"]]
        alarms += any(one["better"] != "cannot tell" for one in main)
        uncorrected += any(one["p"] <= 0.05 for one in main)
    assert alarms <= 6 and alarms < uncorrected, (alarms, uncorrected)


def test_rows_that_one_has_right_alone_are_told_both_ways() -> None:
    test = rows(6)
    right = [Prediction(label=r.target, scores={r.target: 1.0}) for r in test]
    wrong = [Prediction(label="z", scores={"z": 1.0}) for r in test]
    one, two = [*right[:2], *wrong[2:5], right[5]], [right[0], wrong[1], *right[2:4], wrong[4], right[5]]
    found = several.differing_rows(test, one, two)["rows"]
    assert (found["both_right"], found["both_wrong"], found["only_first"], found["only_second"]) == (2, 1, 1, 2)
    assert [(r["line"], r["first"], r["second"]) for r in found["shown"]["only_first"]] == [(3, test[1].target, "z")]
    assert [r["line"] for r in found["shown"]["only_second"]] == [4, 5]


def test_answers_that_are_neither_right_nor_wrong_are_told_by_their_loss() -> None:
    test = [Example(f"i{i}", {"messages": [{"role": "user", "content": "q"}]}, "wanted", Source("a", i)) for i in range(3)]
    one, two = ([Prediction(text="x", measured={"nll_sum": n, "token_count": 1}) for n in sums] for sums in ((1, 5, 2), (2, 1, 2)))
    found = several.differing_rows(test, one, two)["rows"]
    assert (found["by"], found["only_first"], found["only_second"], found["alike"]) == ("loss", 1, 1, 1)


def test_a_part_where_one_is_better_is_found() -> None:
    test = rows(400)
    one = answers(test, 0.9, seed=1)
    poor = answers(test, 0.4, seed=2)
    two = [poor[i] if row.extra["channel"] == "phone" else one[i] for i, row in enumerate(test)]
    found = several.compare("classify", test, {"one": one, "two": two}, LABELS, main="accuracy")["slices"]
    by_name = {part["slice"]: part for part in found}
    assert by_name["channel=phone"]["differences"]["two"]["better"] == "first"
    assert by_name["channel=email"]["differences"]["two"]["better"] == "cannot tell"
    assert by_name["channel=email"]["values"]["one"] == by_name["channel=email"]["values"]["two"]


def test_settings_apart_are_dotted_and_what_is_alike_is_left_out() -> None:
    found = several.settings_apart({"a": {"train": {"rate": 0.1, "batch": 8}, "x": 1}, "b": {"train": {"rate": 0.2, "batch": 8}}})
    assert found == [{"key": "train.rate", "values": {"a": 0.1, "b": 0.2}}, {"key": "x", "values": {"a": 1, "b": None}}]


def test_the_page_needs_no_network_and_shows_texts_as_they_are(tmp_path: Path) -> None:
    test = rows(120)
    given = {"a<i>": answers(test, 0.9, seed=1), "b": answers(test, 0.6, seed=2)}
    found = several.compare("classify", test, given, LABELS, main="accuracy")
    run: dict[str, Any] = dict.fromkeys(
        ("base", "method", "created", "luthier", "fingerprint", "train_rows", "parameters", "trained", "steps", "seconds", "train_seconds",
         "peak_memory_mb", "verdict"))  # fmt: skip
    record = {"objective": "classify", "rows": 120, "source": None, "notes": ["A note."], **found,
              "runs": [{**run, "name": name, "path": name, "bundle": name, "reasons": ["too low"], "bytes": 10} for name in given],
              "settings": several.settings_apart({"a<i>": {"train": {"rate": 0.1}}, "b": {}})}  # fmt: skip
    page = write_comparison(record, tmp_path / "compare.html").read_text("utf-8")
    assert "a&lt;i&gt; is better" in page and "text &lt;b&gt;" in page and "<b>" not in page.split("<main")[1].split("<script")[0]
    assert not re.search(r"""(src|href)=["']https?:""", page.split("<script")[0])
    assert "default-src" in page and "compare.json" in page
    for title in ("Metrics side by side", "Labels", "Parts of the rows", "Settings that differ", "What they cost"):
        assert title in page


def test_a_model_is_held_beside_each_rival_on_the_same_rows() -> None:
    test = rows(300)
    mine = answers(test, 0.9, seed=1)
    rivals = {"poor": answers(test, 0.6, seed=2), "same": mine}
    mine_again = [replace(p) for p in mine]
    found = several.beside(Answered("classify", test, mine_again, LABELS), rivals, metric="accuracy")
    poor, same = found["rivals"]["poor"], found["rivals"]["same"]
    assert poor["better"] == "second" and 0.2 < poor["low"] < poor["difference"] < poor["high"] < 0.4
    assert same["better"] == "cannot tell" and same["difference"] == 0
    assert several.not_shown(found) == [
        f"The model is not shown to be better than same on these rows: accuracy {same['second']:.3f} and {same['first']:.3f}, difference +0.000 "
        "[+0.000, +0.000]."
    ]
    back = several.beside(Answered("classify", test, rivals["poor"], LABELS), {"good": mine}, metric="accuracy")
    assert "surely worse than good" in several.not_shown(back)[0]
    assert several.beside(Answered("classify", test, mine, LABELS), {"poor": rivals["poor"]}, metric="ndcg@10")["rivals"] == {}


def test_of_many_rows_fewer_draws_bear_a_correction_for_many_rivals(monkeypatch: pytest.MonkeyPatch) -> None:
    """The least p that 200 draws can give is 1 in 100: times twelve rivals nothing would be sure, however large the difference."""
    monkeypatch.setattr(several, "_MANY", 100)
    test = rows(300)
    mine = answers(test, 0.95, seed=1)
    found = several.beside(Answered("classify", test, mine, LABELS), {f"r{i}": answers(test, 0.6, seed=10 + i) for i in range(12)}, metric="accuracy")
    assert all(one["better"] == "second" and one["adjusted"] < 1e-6 for one in found["rivals"].values())


def test_what_is_asked_of_one_metric_is_not_drawn_by_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    from luthier.evaluate.tables.classify import ClassifyTable

    asked = []
    whole = ClassifyTable.measure
    monkeypatch.setattr(ClassifyTable, "measure", lambda self, weights, *, ranks=True: asked.append(ranks) or whole(self, weights, ranks=ranks))
    test = rows(60)
    for metric, ranks in (("accuracy", False), ("roc_auc", True)):
        asked.clear()
        several.beside(Answered("classify", test, answers(test, 0.9, seed=1), LABELS), {"r": answers(test, 0.5, seed=2)}, metric=metric)
        assert any(asked) is ranks


def test_more_rivals_ask_for_more_evidence() -> None:
    """A difference that is sure beside one rival is not where it was looked for beside twenty."""
    test = rows(400, seed=4)
    mine = answers(test, 0.80, seed=5)
    weak = answers(test, 0.77, seed=6)
    alone = several.beside(Answered("classify", test, mine, LABELS), {"one": weak}, metric="accuracy")["rivals"]["one"]
    many = {"one": weak, **{f"r{i}": answers(test, 0.80, seed=20 + i) for i in range(20)}}
    among = several.beside(Answered("classify", test, mine, LABELS), many, metric="accuracy")["rivals"]["one"]
    assert alone["p"] == among["p"] and among["adjusted"] > alone["adjusted"]
    assert (alone["better"], among["better"]) == ("second", "cannot tell")
