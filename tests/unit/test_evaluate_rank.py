"""Metrics of rankings equal a hand-made table and scikit-learn; rivals rank as their formulas say."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.metrics import ndcg_score

from luthier.base.ranks import Popularity, cuts_of, ndcg, novelty_bits
from luthier.base.records import Example, Prediction, Source
from luthier.evaluate import intervals, metrics
from luthier.evaluate.baselines import RIVALS
from luthier.evaluate.baselines.rank import rank_rivals
from luthier.evaluate.mistakes import rankings
from luthier.evaluate.report.owner import in_words
from luthier.lifecycle import learnt
from luthier.spec.bars import parse_bars
from luthier.spec.task import Task

PLACE = Source("rows.csv", 2)


def given(*items: str, bits: float = 0.0, k: int = 10) -> Prediction:
    """Return a list of up to ``k`` items of so many bits each."""
    measured = {"listed": float(k), **{novelty_bits(cut): bits * min(cut, len(items)) for cut in cuts_of(k)}}
    return Prediction(items=tuple((item, 1.0 - n / 100) for n, item in enumerate(items)), measured=measured)


def test_a_table_made_by_hand() -> None:
    targets = [{"a": 1.0, "b": 1.0}, {"c": 1.0}]
    predictions = [given("x", "a", "y", "b", bits=2), given("x", "y", bits=1)]
    found = metrics.measured("rank", targets, predictions, ("a", "b", "c", "x", "y", "z", "u", "v"))
    gain = (1 / math.log2(3) + 1 / math.log2(5)) / (1 + 1 / math.log2(3))
    expected = {
        "ndcg@10": gain / 2, "recall@10": 0.5, "mrr": 0.25, "map@10": (1 / 2 + 2 / 4) / 2 / 2, "precision@10": 0.1,
        "hit@10": 0.5, "coverage@10": 4 / 8, "novelty@10": 10 / 6,
        "ndcg@5": gain / 2, "recall@5": 0.5, "map@5": (1 / 2 + 2 / 4) / 2 / 2, "precision@5": 2 / 5 / 2, "hit@5": 0.5,
        "coverage@5": 4 / 8, "novelty@5": 10 / 6,
        "ndcg@1": 0.0, "recall@1": 0.0, "map@1": 0.0, "precision@1": 0.0, "hit@1": 0.0, "coverage@1": 1 / 8, "novelty@1": 3 / 2,
    }  # fmt: skip
    assert found == pytest.approx(expected)


def test_longer_lists_are_measured_further_down() -> None:
    top = [f"i{n}" for n in range(30)]
    targets = [{"i0": 1.0, "i7": 1.0, "i14": 1.0, "i29": 1.0}, {"i19": 1.0}]
    found = metrics.measured("rank", targets, [given(*top, k=30)] * 2, ())
    assert {name.rpartition("@")[2] for name in found} == {"1", "5", "10", "20", "mrr"}
    assert [found[f"recall@{k}"] for k in (1, 5, 10, 20)] == [1 / 8, 1 / 8, 2 / 8, 7 / 8]
    assert [found[f"hit@{k}"] for k in (1, 5, 10, 20)] == [0.5, 0.5, 0.5, 1.0]
    assert [found[f"precision@{k}"] for k in (1, 5, 10, 20)] == pytest.approx([1 / 2, 1 / 10, 2 / 20, 4 / 40])
    assert [found[f"map@{k}"] for k in (1, 5, 10, 20)] == pytest.approx(
        [1 / 2, 1 / 4 / 2, (1 + 2 / 8) / 4 / 2, ((1 + 2 / 8 + 3 / 15) / 4 + 1 / 20) / 2]
    )
    assert [found[f"coverage@{k}"] for k in (1, 5, 10, 20)] == pytest.approx([1 / 20, 5 / 20, 10 / 20, 20 / 20])
    assert "ndcg@50" in metrics.measured("rank", targets, [given(*top, k=60)] * 2, ()), "a catalogue may be shorter than a list"
    both = metrics.measured("rank", targets, [given(*top, k=60), given(*top[:10])], ())
    assert "ndcg@20" not in both and "ndcg@10" in both, "lists that are not as long cannot be compared there"


def test_ndcg_equals_scikit_learn_with_graded_gains() -> None:
    rng = np.random.default_rng(0)
    for _ in range(30):
        gains, scores = rng.integers(0, 4, 40).astype(float), rng.random(40)
        gains[0] = 2.0
        order = np.argsort(-scores)
        wanted = {str(n): float(g) for n, g in enumerate(gains)}
        found = metrics.measured("rank", [wanted], [given(*(str(n) for n in order), k=50)], ())
        for k in (1, 5, 10, 20, 50):
            assert found[f"ndcg@{k}"] == pytest.approx(ndcg_score(gains[None], scores[None], k=k), abs=1e-12)
        assert ndcg(wanted, [str(n) for n in order[:10]]) == found["ndcg@10"]


def test_recall_and_map_equal_plain_definitions() -> None:
    rng = np.random.default_rng(1)
    targets, predictions = [], []
    recall, average = ({k: [] for k in (1, 5, 10, 20)} for _ in range(2))
    for _ in range(20):
        right = {f"i{n}" for n in rng.choice(50, 13, replace=False)}
        top = [f"i{n}" for n in rng.permutation(50)[:20]]
        hits = [item in right for item in top]
        for k in recall:
            recall[k].append(sum(hits[:k]) / len(right))
            average[k].append(sum(np.mean(hits[: n + 1]) for n in range(k) if hits[n]) / min(k, 13))
        targets.append(dict.fromkeys(right, 1.0))
        predictions.append(given(*top, k=20))
    found = metrics.measured("rank", targets, predictions, ())
    for k in recall:
        assert found[f"recall@{k}"] == pytest.approx(np.mean(recall[k]))
        assert found[f"map@{k}"] == pytest.approx(np.mean(average[k]))


def test_intervals_are_by_query_and_coverage_has_none() -> None:
    targets = [{"a": 1.0}] * 40
    predictions = [given("a", "b")] * 20 + [given("b", "a")] * 20
    found = intervals.evaluate_with_intervals("rank", targets, predictions, ("a", "b", "c"))
    assert found["mrr"]["low"] < found["mrr"]["value"] == 0.75 < found["mrr"]["high"]
    assert found["coverage@10"] == {"value": pytest.approx(2 / 3), "low": None, "high": None}


def test_novelty_counts_an_asker_once() -> None:
    chosen = Popularity.of([("u", "a"), ("u", "a"), ("v", "a"), ("v", "b"), ("w", "b")])
    assert (chosen.counts, chosen.askers) == ({"a": 2, "b": 2}, 3)
    one = -math.log2(3 / 4)
    assert chosen.novelty(["a", "new"], 10) == {"listed": 10.0, "novelty_bits@1": one, "novelty_bits@5": one + 2, "novelty_bits@10": one + 2}
    assert "novelty_bits@20" in chosen.novelty(["a", "new"], 20)


@pytest.mark.parametrize(("k", "told"), [(10, ["ndcg@20", "hit@50", "map@20"]), (25, ["hit@50"]), (50, [])])
def test_a_bar_that_lists_do_not_reach_says_what_to_set(k: int, told: list[str]) -> None:
    accept = {"ndcg@20": ">= 0.1", "recall@5": ">= 0.1", "mrr": ">= 0.1", "hit@50": ">= 0.1"}
    values = {"task": {"objective": "rank"}, "data": {"source": "x.csv"}, "accept": accept, "train": {"rank": {"k": k}, "metric": "map@20"}}
    task = Task.model_validate(values)
    found = metrics.check_lists(parse_bars(dict(task.accept))[0], task, "Set")
    assert [f.what.split()[0] for f in found] == told
    assert all(f"Set train.rank.k: {f.what.split()[0][-2:]}, or more." == f.mend for f in found)
    assert [f.where for f in found if f.what.startswith("map@20")] == (["train.metric"] if k == 10 else [])
    assert metrics.check_bars(parse_bars(dict(task.accept))[0], "rank", ()) == []


def test_what_is_measured_of_first_items_is_said_in_words() -> None:
    assert in_words("recall@20") == "share of the right items that are among the first 20"
    assert in_words("hit@1") == "share of queries or users whose first item is right"
    assert in_words("accuracy@later").endswith(", on the rows of later after the last stage")


def test_rivals_give_lists_as_long_as_asked() -> None:
    train = [liked(str(u), item) for u, item in enumerate("abcdefghijklmno")]
    row = Example("q", {"user": "new", "history": ["c"], "seen": ["c"]}, {"d": 1.0}, PLACE)
    items = {i: (i, i) for i in "abcdefghijklmno"}
    assert {len(rows[0].items) for rows in RIVALS["rank"](train, [row], items).values()} == {10}
    for rows in rank_rivals(train, [row], items, k=12).values():
        assert len(rows[0].items) == 12 and rows[0].measured["listed"] == 12
    asked = Task.model_validate({"task": {"objective": "rank"}, "data": {"source": "x.csv"}, "train": {"rank": {"k": 20}}})
    found = learnt.fitted(asked, SimpleNamespace(train=train, items=items, labels=tuple(items)), [row])
    assert {len(rows[0].items) for rows in found.values()} == {14}, "all but the one that was seen"


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
