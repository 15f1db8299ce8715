"""Metrics of rankings equal a hand-made table and scikit-learn; rivals rank as their formulas say."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import ndcg_score

from luthier.base.ranks import Popularity, ndcg
from luthier.base.records import Example, Prediction, Source
from luthier.evaluate import intervals, metrics
from luthier.evaluate.baselines import RIVALS
from luthier.evaluate.mistakes import rankings

PLACE = Source("rows.csv", 2)


def given(*items: str, bits: float = 0.0) -> Prediction:
    measured = {"novelty_bits": bits, "novelty_items": float(len(items))}
    return Prediction(items=tuple((item, 1.0 - n / 100) for n, item in enumerate(items)), measured=measured)


def test_a_table_made_by_hand() -> None:
    targets = [{"a": 1.0, "b": 1.0}, {"c": 1.0}]
    predictions = [given("x", "a", "y", "b", bits=8), given("x", "y", bits=2)]
    found = metrics.measured("rank", targets, predictions, ("a", "b", "c", "x", "y", "z", "u", "v"))
    gain = (1 / math.log2(3) + 1 / math.log2(5)) / (1 + 1 / math.log2(3))
    expected = {
        "ndcg@10": gain / 2, "recall@10": 0.5, "mrr": 0.25, "map@10": (1 / 2 + 2 / 4) / 2 / 2, "precision@10": 0.1,
        "hit@10": 0.5, "coverage@10": 4 / 8, "novelty@10": 10 / 6,
    }  # fmt: skip
    assert found == pytest.approx(expected)


def test_ndcg_equals_scikit_learn_with_graded_gains() -> None:
    rng = np.random.default_rng(0)
    for _ in range(30):
        gains, scores = rng.integers(0, 4, 40).astype(float), rng.random(40)
        gains[0] = 2.0
        order = np.argsort(-scores)
        wanted = {str(n): float(g) for n, g in enumerate(gains)}
        found = ndcg(wanted, [str(n) for n in order[:10]])
        assert found == pytest.approx(ndcg_score(gains[None], scores[None], k=10), abs=1e-12)


def test_recall_and_map_equal_plain_definitions() -> None:
    rng = np.random.default_rng(1)
    targets, predictions, recall, average = [], [], [], []
    for _ in range(20):
        right = {f"i{n}" for n in rng.choice(50, 13, replace=False)}
        top = [f"i{n}" for n in rng.permutation(50)[:10]]
        hits = [item in right for item in top]
        recall.append(sum(hits) / len(right))
        average.append(sum(np.mean(hits[: n + 1]) for n in range(10) if hits[n]) / 10)
        targets.append(dict.fromkeys(right, 1.0))
        predictions.append(given(*top))
    found = metrics.measured("rank", targets, predictions, ())
    assert found["recall@10"] == pytest.approx(np.mean(recall))
    assert found["map@10"] == pytest.approx(np.mean(average))


def test_intervals_are_by_query_and_coverage_has_none() -> None:
    targets = [{"a": 1.0}] * 40
    predictions = [given("a", "b")] * 20 + [given("b", "a")] * 20
    found = intervals.evaluate_with_intervals("rank", targets, predictions, ("a", "b", "c"))
    assert found["mrr"]["low"] < found["mrr"]["value"] == 0.75 < found["mrr"]["high"]
    assert found["coverage@10"] == {"value": pytest.approx(2 / 3), "low": None, "high": None}


def test_novelty_counts_an_asker_once() -> None:
    chosen = Popularity.of([("u", "a"), ("u", "a"), ("v", "a"), ("v", "b"), ("w", "b")])
    assert (chosen.counts, chosen.askers) == ({"a": 2, "b": 2}, 3)
    assert chosen.novelty(["a", "new"]) == {"novelty_bits": -math.log2(3 / 4) + 2.0, "novelty_items": 2.0}


def liked(user: str, item: str, relevance: float = 1.0) -> Example:
    return Example(f"{user}{item}", {"user": user}, item, PLACE, None, {"relevance": relevance})


def test_rivals_of_users_are_popularity_and_neighbours() -> None:
    train = [liked(u, i) for u, items in {"1": "ab", "2": "ab", "3": "cd", "4": "acd", "5": "a"}.items() for i in items]
    train.append(liked("6", "e", 0.0))
    row = Example("q", {"user": "7", "history": ["c"], "seen": ["c", "b"]}, {"d": 1.0}, PLACE)
    found = RIVALS["rank"](train, [row], {i: (i, i) for i in "abcde"})
    assert [i for i, _ in found["popularity"][0].items] == ["a", "d", "e"]
    assert [i for i, _ in found["item_knn"][0].items] == ["d", "a", "e"]
    scores = dict(found["item_knn"][0].items)
    assert scores["d"] == pytest.approx(1.0) and scores["a"] == pytest.approx(1 / math.sqrt(2 * 4))


def test_bm25_is_its_formula() -> None:
    texts = {"x": "red lamp lamp", "y": "red chair", "z": "a table of wood"}
    train = [Example("t", {"query": "chair"}, "y", PLACE, None, {"relevance": 1.0})]
    row = Example("q", {"query": "Lamp red"}, {"x": 1.0}, PLACE)
    found = RIVALS["rank"](train, [row], {i: (t, t) for i, t in texts.items()})["bm25"][0]

    def part(count: int, holding: int, words: int) -> float:
        rarity = math.log(1 + (3 - holding + 0.5) / (holding + 0.5))
        return rarity * count * 2.2 / (count + 1.2 * (0.25 + 0.75 * words / 3))

    expected = {"x": part(2, 1, 3) + part(1, 2, 3), "y": part(1, 2, 2), "z": 0.0}
    assert dict(found.items) == pytest.approx(expected)
    assert [i for i, _ in found.items] == ["x", "y", "z"]


def test_the_report_shows_lists_from_the_worst_to_the_best() -> None:
    rows = [Example(f"q{n}", {"query": f"q{n}"}, {f"i{n}": 1.0}, PLACE) for n in range(4)]
    predictions = [given("i0"), given("x", "i1"), given("x"), given("i3")]
    shown = rankings(rows, predictions, 4)
    assert [s["prompt"] for s in shown] == ["q2", "q1", "q0", "q3"]
    assert shown[1]["text"] == "1. x; 2. i1" and shown[1]["target"] == "i1"
    assert [s["prompt"] for s in rankings(rows, predictions, 2)] == ["q2", "q0"]
