"""Likely causes of mistakes: each planted one is found, nearness equals a plain search, and the report says what to do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from luthier.base.records import Example, Prediction, Source
from luthier.evaluate.mistakes import causes, ranked
from luthier.evaluate.mistakes.candidates import candidates
from luthier.evaluate.mistakes.causes import Bounds, Near, Seen
from luthier.evaluate.mistakes.near import Vectors
from luthier.evaluate.mistakes.ways import OfLabels, OfScores, way_of
from luthier.evaluate.report.causes import causes as page

BOUNDS = Bounds(far=0.3, usual=0.75, close=0.9, rare=10)


def near(sides: str, *, cosine: float = 0.95, odd: bool = False, meant: bool = True) -> list[Near]:
    """``m``: a neighbour with the model's label, ``l``: with the row's, ``o``: with another."""
    kinds = {"m": "model", "l": "label", "o": None}
    return [Near(i, cosine, kinds[side], odd and i == 0, odd and meant and i == 0) for i, side in enumerate(sides)]


def seen(sides: str, *, confidence: float = 0.9, rows: int = 100, wanted: str = "a", given: str = "b", cosine: float = 0.95,
         odd: bool = False, meant: bool = True, **more: Any) -> Seen:  # fmt: skip
    return Seen(wanted, given, confidence, near(sides, cosine=cosine, odd=odd, meant=meant), rows, **more)


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        (seen("mllll", odd=True), "train label"),
        (seen("mllll", odd=True, meant=False, cosine=0.8), "other"),
        (seen("mmmmm"), "test label"),
        (seen("mmmmm", confidence=0.5, cosine=0.8), "other"),
        (seen("mmmmm", cosine=0.6), "outvoted"),
        (seen("mmmml"), "near"),
        (seen("mllll"), "near"),
        (seen("lllll", cosine=0.2), "far"),
        (seen("mmmmm", cosine=0.2), "far"),
        (seen("lllmm", rows=4), "rare"),
        (seen("lllmm", cut=True), "cut"),
        (seen("lllmm", slices=("language=de",)), "slice"),
        (seen("lllmm"), "other"),
        (seen("mmmmm", outside=True, rows=0), "out of scope"),
        (seen("lllll", declined=True), "declined"),
        (seen(""), "other"),
    ],
)
def test_a_planted_cause_is_found(one: Seen, expected: str) -> None:
    assert causes.causes([one], BOUNDS)[0][0] == expected


def test_a_pair_is_often_confused_whichever_way_round() -> None:
    several = [seen("llmmo", wanted="a", given="b"), seen("llmmo", wanted="b", given="a"), seen("llmmo"), seen("llmmo", given="c")]
    assert [names[0] for names in causes.causes(several, BOUNDS)] == ["pair", "pair", "pair", "other"]
    assert causes.causes([seen("llmmo", cut=True)] * 3, BOUNDS)[0] == ["pair", "cut"], "what else holds stands beside it"


def test_a_label_looks_wrong_to_its_neighbours() -> None:
    assert causes.odd("a", ["b"] * 6 + ["a"] * 2) == "b" and not causes.odd("a", ["b"] * 5 + ["a"] * 3)
    assert not causes.odd("a", ["b", "c", "d", "e", "f", "g", "h", "i"]), "neighbours that agree on nothing speak against nothing"
    assert not causes.odd("a", ["b"] * 3) and causes.odd(("x",), [("x", "y")] * 8)


def test_what_is_rare_depends_on_the_others() -> None:
    assert causes.rare_bound({"a": 1000, "b": 900, "c": 20}) == 180
    assert causes.rare_bound({"a": 12, "b": 9}) == 10 and causes.rare_bound({}) == 0


@pytest.mark.parametrize("block", [7, 1000])
def test_the_nearest_rows_equal_a_plain_search(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr("luthier.evaluate.mistakes.near.BLOCK", block)
    rng = np.random.default_rng(0)
    rows, asked = rng.normal(size=(200, 12)).astype(np.float32), rng.normal(size=(9, 12)).astype(np.float32)
    store = Vectors(rows[i : i + 33] for i in range(0, 200, 33))
    places, cosines = store.nearest(asked, 5)
    plain = (asked / np.linalg.norm(asked, axis=1, keepdims=True)) @ (rows / np.linalg.norm(rows, axis=1, keepdims=True)).T
    assert len(store) == 200 and cosines == pytest.approx(np.sort(plain, 1)[:, ::-1][:, :5], abs=2e-3)
    assert (places[:, 0] == plain.argmax(1)).all()
    own = np.arange(9)
    places, _ = store.nearest(rows[:9], 3, without=own)
    assert not (places == own[:, None]).any() and (store.nearest(rows[:9], 1)[0][:, 0] == own).all()
    assert store.of(np.array([3])).shape == (1, 12)
    few = Vectors([rows[:2]])
    assert few.nearest(asked, 5)[0].shape == (9, 2) and few.nearest(rows[:1], 5, without=np.array([0]))[0].tolist() == [[1]]


def test_mistakes_out_of_scope_are_ranked_by_how_sure_the_model_was() -> None:
    def row(target: str, line: int) -> Example:
        return Example(str(line), {"text": f"text {line}"}, target, Source("t.csv", line))

    rows = [row("oos", 1), row("oos", 2), row("a", 3), row("a", 4), row("oos", 5)]
    found = [
        Prediction(label="a", scores={"a": 0.6, "b": 0.4}, unlike=0.1), Prediction(label="b", scores={"a": 0.01, "b": 0.99}, unlike=0.1),
        Prediction(label="oos", scores={"a": 0.9, "b": 0.1}, unlike=2.0, nearest="a"), Prediction(label="a", scores={"a": 1.0, "b": 0.0}, unlike=0.1),
        Prediction(label="oos", scores={"a": 0.9, "b": 0.1}, unlike=2.0, nearest="a"),
    ]  # fmt: skip
    worst = ranked(rows, found)
    assert [i for i, _ in worst] == [1, 0, 2] and worst[2][1]["predicted"] == "oos" and worst[2][1]["confidence"] == 0.9


def test_the_report_says_why_and_what_to_do() -> None:
    mistake = {"text": "a <b>text", "target": "a", "predicted": "b", "confidence": 0.93, "loss": 2.0, "file": "t.csv", "line": 7,
               "cause": "train label", "also": [], "near": [{"text": "near & dear", "label": "b", "cosine": 0.97, "looks_wrong": True, "file": "x.csv", "line": 3}]}  # fmt: skip
    groups = causes.grouped([mistake, {**mistake, "cause": "other"}, {**mistake, "cause": "other"}], 1)
    assert [(g["cause"], g["rows"], len(g["mistakes"])) for g in groups] == [("train label", 1, 1), ("other", 2, 1)], "what stands out comes first"
    shown = "".join(map(str, page({"causes": {"looked_at": 3, "train_rows": 12_000, "file": "mistakes.jsonl", "groups": groups}}, {})))
    for words in ("A train row almost like it has a label that looks wrong (1)", "correct its label in the data", "x.csv:3", "label looks wrong", "12,000",
                  "t.csv:7", "near &amp; dear", "a &lt;b&gt;text", "mistakes.jsonl", "The worst 1 of 2."):  # fmt: skip
        assert words in shown, words
    assert page({}, {}) == []


def _texts(count: int) -> list[str]:
    rng = np.random.default_rng(0)
    words = [f"{a}{b}" for a in ("ka", "lo", "mi", "ru", "te", "vo") for b in ("ban", "dor", "fel", "gus", "hin", "jot", "lap")]
    return [" ".join(rng.choice(words, 8)) + f" {i}" for i in range(count)]


def test_of_many_train_rows_a_spread_is_read_and_what_says_the_same_words() -> None:
    train = _texts(20_000)
    asked = [train[7].replace("7", "seven"), train[12_345].upper(), train[-1] + "?"]
    found = candidates(asked, train, text=str, most=1000, alike=3)
    assert {7, 12_345, 19_999} <= set(found.tolist())
    assert 500 <= len(found) <= 500 + 3 * 3
    assert np.all(np.diff(found) > 0), "ascending, each once"
    assert np.diff(found).max() <= 41, "no part of the train rows is passed over"
    assert {0, 19_999} <= set(candidates(["nothing like it"], train, text=str, most=1000, alike=3).tolist())


def test_few_train_rows_are_all_read() -> None:
    train = _texts(300)
    assert candidates(["anything"], train, text=str, most=300).tolist() == list(range(300))


def test_the_nearest_by_words_are_those_of_a_plain_search() -> None:
    from sklearn.feature_extraction.text import TfidfVectorizer

    # Numbers that only one text has would be known to neither in the same way.
    train, asked = ([text.rsplit(" ", 1)[0] for text in part] for part in (_texts(9_040)[:9_000], _texts(9_040)[9_000:]))
    spread = set(np.linspace(0, 8_999, 500).round().astype(int).tolist())
    found = set(candidates(asked, train, text=str, most=1000, alike=5).tolist())
    terms = TfidfVectorizer(sublinear_tf=True).fit([train[i] for i in sorted(spread)])
    plain = np.argsort(-(terms.transform(asked) @ terms.transform(train).T).toarray(), axis=1)[:, :5]
    assert len({int(i) for i in plain.ravel()} & found) >= 0.9 * len({int(i) for i in plain.ravel()})


def test_the_page_says_how_many_train_rows_were_read() -> None:
    group = causes.grouped([{"cause": "far", "near": [], "text": "x", "target": "a", "predicted": "b", "confidence": 0.5, "file": "f", "line": 1}], 1)
    record = {"causes": {"looked_at": 1, "train_rows": 57_556, "train_rows_read": 12_000, "file": "mistakes.jsonl", "groups": group}}
    assert "12,000 of the 57,556 train rows" in str(page(record, {})[0])
    record["causes"]["train_rows_read"] = 57_556
    assert "beside the 57,556 train rows as" in str(page(record, {})[0])


def essay(number: int, **scores: float | None) -> Example:
    return Example(str(number), {"text": f"essay {number}"}, scores, Source("essays.csv", number + 2))


def test_mistakes_of_scores_are_told_by_the_trait_that_is_furthest_off() -> None:
    train = [essay(i, style=float(i % 5), length=10.0 * (i % 3)) for i in range(60)]
    way = way_of("grade", train)
    assert isinstance(way, OfScores) and isinstance(way_of("classify", train), OfLabels) and way_of("rank", train) is None
    wanted, prediction = {"style": 4.0, "length": 10.0}, Prediction(grades={"style": 1.0, "length": 13.0})
    assert [way.side(target, wanted, prediction) for target in ({"style": 1.0}, {"style": 3.5, "length": 13.0}, {"style": 2.5}, {"length": 10.0})] == [
        "model", "label", None, None]  # fmt: skip
    assert way.rows_like(wanted, prediction) == 12 == way.counts["style 4"] and way.counts["length 10"] == 20
    assert OfScores([essay(0, style=4.0, length=None)]).counts == {"style 4": 1}
    assert way.confidence(wanted, prediction, [{"style": 1.0}] * 5) == 1.0 and way.confidence(wanted, prediction, []) == 0.0
    apart = [{"style": 0.0}, {"style": 4.0}, {"style": 0.0}, {"style": 4.0}]
    assert way.confidence(wanted, prediction, apart) == pytest.approx(1 - 2 / 3)
    assert way.right(wanted, Prediction(grades={"style": 3.5, "length": 12.0})) and not way.right(wanted, prediction)
    assert (way.said(wanted), way.given(prediction)) == ("style 4, length 10", "style 1, length 13")


def test_a_train_score_looks_wrong_beside_neighbours_that_agree() -> None:
    way = OfScores([essay(i, style=float(i % 5)) for i in range(60)])
    alike = [{"style": 4.0}, {"style": 3.5}, {"style": 4.0}, {"style": 4.5}, {}]
    assert way.odd({"style": 0.5}, alike) == {"style": 4.0}
    assert way.odd({"style": 3.0}, alike) is None, "near enough"
    assert way.odd({"style": 0.0}, [{"style": 4.0}, {"style": 0.0}, {"style": 4.0}, {"style": 1.0}]) is None, "they do not agree either"
    assert way.odd({"style": 0.0}, alike[:3]) is None, "too few"
    assert way.close(0.9, [0.95, 0.96, 0.97, 0.98, 0.99]) == pytest.approx(0.986) and OfLabels([]).close(0.9, [0.99]) == 0.9


def test_the_words_for_scores_speak_of_scores() -> None:
    rows = [{"cause": name} for name in causes.CAUSES]
    told = {group["cause"]: group for group in causes.grouped(rows, 1, OfScores.words)}
    assert "score" in told["test label"]["what"] and "label" not in told["train label"]["what"] + told["near"]["what"]
    assert told["far"]["what"] == causes.CAUSES["far"][0]

