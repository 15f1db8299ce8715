"""What is asked next, what is learnt, how true the estimate is, when to stop, and who gets which row."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from luthier.base.errors import LuthierError
from luthier.base.records import Example, Source
from luthier.labelling.choose import doubtful, margins, middles
from luthier.labelling.desk import LEASE_S, Desk, Outlook
from luthier.labelling.estimate import Accuracy, Round, accuracy, advise, next_round
from luthier.labelling.learner import fit, out_of_fold, probabilities
from luthier.labelling.pool import Pool, gather, row_id
from luthier.labelling.store import Store
from luthier.labelling.vectors import VectorCache, from_words, unit
from luthier.labelling.work import Worker

WORDS = {
    "billing": ["refund", "charged", "invoice", "money", "paid"],
    "delivery": ["parcel", "courier", "arrived", "late", "tracking"],
    "account": ["password", "login", "email", "profile", "reset"],
}


def texts(count: int, *, seed: int = 0) -> list[tuple[str, str]]:
    rng = np.random.default_rng(seed)
    found = {}
    for i in range(count):
        label = str(rng.choice(list(WORDS)))
        found[f"{' '.join(rng.choice(WORDS[label], 3))} please number {i}"] = label
    return list(found.items())


def examples(rows: list[tuple[str, str | None]]) -> Iterator[Example]:
    return (Example("", {"text": t}, label, Source("m.csv", i + 2)) for i, (t, label) in enumerate(rows))


def pool_of(count: int = 60, **options: Any) -> Pool:
    return gather(examples([(t, None) for t, _ in texts(count)]), **options)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "m.labels.jsonl", columns={"text": "text", "label": "label"}, data=[], by="ana") as opened:
        yield opened


def desk_on(store: Store, pool: Pool | None = None, **options: Any) -> Desk:
    return Desk(pool or pool_of(), store, labels=list(WORDS), **options)


# The pool


def test_each_text_is_asked_about_once_and_rows_with_a_label_are_known() -> None:
    rows: list[tuple[str, str | None]] = [("Hello there", None), ("hello there!", None), ("Bye", "x"), ("bye.", None)]
    found = gather(examples(rows))
    assert [i.text for i in found.items] == ["Hello there"]
    assert [(i.text, i.known) for i in found.known] == [("Bye", "x")]
    again = gather(examples(rows), again=True)
    assert {i.text for i in again.items} == {"Hello there", "Bye"} and again.known == ()


def test_a_sample_is_the_same_whatever_the_order_and_changes_little_with_more_rows() -> None:
    rows: list[tuple[str, str | None]] = [(f"text {i}", None) for i in range(500)]
    first = gather(examples(rows), limit=100)
    turned = gather(examples(rows[::-1]), limit=100)
    more = gather(examples([*rows, *((f"new {i}", None) for i in range(50))]), limit=100)
    ids = [i.id for i in first.items]
    assert first.sampled and len(ids) == 100 and ids == [i.id for i in turned.items]
    assert len({i.id for i in more.items} & set(ids)) >= 80
    assert not gather(examples(rows), limit=500).sampled


# What is asked next


def clouds(sizes: list[int], *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    centres = np.eye(16)[: len(sizes)]
    of = np.repeat(np.arange(len(sizes)), sizes)
    return unit(centres[of] + 0.1 * rng.standard_normal((len(of), 16))), of


def test_every_group_is_met_before_any_is_met_twice() -> None:
    vectors, of = clouds([100, 50, 20, 5])
    assert [int(of[row]) for row in middles(vectors, 4)] == [0, 1, 2, 3]


def test_doubtful_rows_are_unlike_each_other_and_unlike_the_labelled_ones() -> None:
    vectors, of = clouds([60, 60, 60, 60])
    # The model is sure of the first group alone, which has labels; of the other three it knows nothing.
    sure = np.where((of == 0)[:, None], [[0.98, 0.02]], [[0.5, 0.5]])
    chosen = doubtful(vectors, sure, np.arange(3, 240), np.arange(3), count=3)
    assert {int(of[row]) for row in chosen} == {1, 2, 3}


def test_chosen_rows_are_free_and_different() -> None:
    vectors, _ = clouds([40, 40])
    free = np.arange(0, 80, 2)
    chosen = doubtful(vectors, np.full((80, 3), 1 / 3), free, np.array([1]), count=30)
    assert len(chosen) == len(set(chosen)) == 30 and set(chosen) <= set(free.tolist())
    assert len(doubtful(vectors, np.full((80, 3), 1 / 3), free, np.array([1]), count=99)) == 40
    assert doubtful(vectors, np.full((80, 3), 1 / 3), np.array([], dtype=int), np.array([1]), count=5) == []


def test_margins_are_the_distance_of_the_two_best() -> None:
    assert margins(np.array([[0.7, 0.2, 0.1], [0.1, 0.45, 0.45]])).tolist() == pytest.approx([0.5, 0.0])


# What is learnt, and how true the estimate is


def test_two_labels_and_more_are_learnt_alike() -> None:
    vectors, of = clouds([30, 30, 30])
    for classes in (2, 3):
        rows = of < classes
        names = [f"label {i}" for i in of[rows]]
        model = fit(vectors[rows], names)
        assert model.predict(vectors[rows]).tolist() == names
        shares = probabilities(model.scores(vectors[rows]))
        assert shares.shape == (30 * classes, classes) and shares.sum(axis=1) == pytest.approx(np.ones(30 * classes))


def test_out_of_fold_predictions_have_not_seen_their_row() -> None:
    rng = np.random.default_rng(0)
    # Labels by chance in more dimensions than rows: a model that has seen a row is always right about it.
    vectors = unit(rng.standard_normal((200, 256)))
    labels = rng.choice(["a", "b"], 200).tolist()
    ids = [row_id(str(i)) for i in range(200)]
    seen = (fit(vectors, labels).predict(vectors) == np.array(labels)).mean()
    found = out_of_fold(vectors, labels, ids)
    assert found is not None and seen > 0.95 and found.right_N.mean() < 0.65
    assert found.temperature > 2, "what is sure and wrong half of the time is cooled down"


def test_a_label_with_one_row_counts_as_wrong() -> None:
    vectors, of = clouds([20, 20, 1])
    found = out_of_fold(vectors, [str(n) for n in of], [row_id(str(i)) for i in range(41)])
    assert found is not None and len(found.right_N) == 41 and not found.right_N[40]


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    for truth in (0.3, 0.8, 0.97):
        held = 0
        for _ in range(400):
            found = accuracy(rng.random(60) < truth)
            assert found is not None
            held += found.low <= truth <= found.high
        assert 0.90 <= held / 400 <= 0.995


def test_no_estimate_from_few_rows_and_a_known_interval() -> None:
    assert accuracy([True] * 9) is None
    found = accuracy([True] * 8 + [False] * 2)
    # Wilson's interval of 8 of 10, as in Newcombe 1998: 0.4902 to 0.9433.
    assert found is not None and (found.low, found.high) == (
        pytest.approx(0.4902, abs=1e-4),
        pytest.approx(0.9433, abs=1e-4),
    )


@given(st.lists(st.booleans(), min_size=10, max_size=60))
def test_an_estimate_is_a_share_within_its_interval(right: list[bool]) -> None:
    found = accuracy(right)
    assert found is not None and 0 <= found.low <= found.value <= found.high <= 1


def course(*changed: float | None, gain: float = 0.0) -> list[Round]:
    return [
        Round(100 + 10 * i, Accuracy(0.8 + gain * i, 0.75 + gain * i, 0.85 + gain * i, 100), c)
        for i, c in enumerate(changed)
    ]


def test_it_stops_only_when_neither_predictions_nor_accuracy_move() -> None:
    assert advise(course(0.2, 0.02, 0.01, 0.02)).stop
    assert not advise(course(0.02, 0.01, 0.02)).stop, "three rounds are compared with the one before them"
    assert not advise(course(0.2, 0.02, 0.05, 0.02)).stop, "one round changed more"
    assert not advise(course(0.2, 0.02, 0.01, None)).stop, "a round that could not be compared"
    assert not advise(course(0.2, 0.02, 0.01, 0.02, gain=0.02)).stop, "accuracy still rises beyond its interval"
    assert not advise([]).stop
    assert [next_round(n) for n in (0, 40, 100, 300)] == [10, 50, 110, 330]


# Vectors


def test_texts_of_the_same_words_are_nearer_than_others() -> None:
    rows = texts(90)
    vectors = from_words([t for t, _ in rows])
    labels = np.array([label for _, label in rows])
    same = labels[:, None] == labels[None, :]
    likeness = vectors @ vectors.T
    np.fill_diagonal(likeness, np.nan)
    assert np.nanmean(likeness[same]) > np.nanmean(likeness[~same]) + 0.1
    assert np.linalg.norm(from_words(["a b", "c d", "e f"]), axis=1) == pytest.approx(np.ones(3))


def test_vectors_are_computed_once_and_a_damaged_cache_is_made_anew(tmp_path: Path) -> None:
    asked: list[str] = []

    def embed(rows: Any) -> np.ndarray:
        asked.extend(rows)
        return np.array([[len(r), 1.0] for r in rows], dtype=np.float32)

    path = tmp_path / "v.safetensors"
    words = ["a", "bbb", "cc"]
    ids = [row_id(w) for w in words]
    seen: list[int] = []

    def watch(done: int) -> bool:
        seen.append(done)
        return True

    first = VectorCache(path, model="m").fill(ids, words, embed, watch=watch)
    again = VectorCache(path, model="m").fill(ids[::-1], words[::-1], embed, watch=watch)
    assert first is not None and again is not None
    assert asked == ["a", "cc", "bbb"] and seen[-1] == 3, "short ones first, so that a batch is of one length"
    assert np.array_equal(first, again[::-1]) and first == pytest.approx(
        unit(np.array([[1, 1], [3, 1], [2, 1]])), abs=1e-3
    )
    VectorCache(path, model="another").fill(ids[:1], words[:1], embed, watch=watch)
    assert asked[3:] == ["a"], "vectors of another model are of no use"
    path.write_bytes(path.read_bytes()[:30])
    assert VectorCache(path, model="m").fill(ids, words, embed, watch=watch) is not None
    assert VectorCache(tmp_path / "w.safetensors", model="m").fill(ids, words, embed, watch=lambda done: False) is None


# The desk


def test_two_people_get_different_rows_and_each_keeps_theirs_until_answered(store: Store) -> None:
    now = [0.0]
    desk = desk_on(store, clock=lambda: now[0])
    first, second = desk.ask("ana", "tab-1"), desk.ask("ben", "tab-2")
    assert first and second and first.item.id != second.item.id
    assert desk.ask("ana", "tab-1").item.id == first.item.id  # type: ignore[union-attr]
    desk.say("ana", "tab-1", first.item.id, "label", label="billing")
    third = desk.ask("ana", "tab-1")
    assert third and third.item.id not in (first.item.id, second.item.id)
    now[0] = LEASE_S + 1
    assert desk.ask("cem", "tab-3").item.id in (second.item.id, third.item.id), "a row left lying goes to another"  # type: ignore[union-attr]


def test_two_answers_on_one_row_are_both_kept(store: Store) -> None:
    desk = desk_on(store)
    row = desk.ask("ana", "tab-1").item.id  # type: ignore[union-attr]
    desk.say("ana", "tab-1", row, "label", label="billing")
    desk.say("ben", "tab-2", row, "label", label="account")
    assert desk.progress("ana")["people"] == {"ana": 1, "ben": 1} and desk.progress("ana")["labelled"] == 1
    assert desk.labelled().rows == (), "a tie teaches nothing"
    desk.say("cem", "tab-3", row, "label", label="account")
    assert [label for _, label in desk.labelled().rows] == ["account"]


def test_each_row_is_asked_as_many_people_as_wanted(store: Store) -> None:
    desk = desk_on(store, pool_of(6), votes=2)
    given: Counter[str] = Counter()
    for by in ("ana", "ben", "cem"):
        while (asked := desk.ask(by, f"tab-{by}")) is not None:
            assert (asked.item.id, by) not in given
            given[asked.item.id, by] += 1  # type: ignore[index]
            desk.say(by, f"tab-{by}", asked.item.id, "label", label="billing")
    assert Counter(row for row, _ in given) == {item.id: 2 for item in desk.items}


def test_what_is_skipped_comes_last_and_what_cannot_be_told_never_again(store: Store) -> None:
    desk = desk_on(store, pool_of(5))
    skipped, unsure = desk.ask("ana", "t-1"), None
    assert skipped
    desk.say("ana", "t-1", skipped.item.id, "skip")
    unsure = desk.ask("ana", "t-1")
    assert unsure
    desk.say("ana", "t-1", unsure.item.id, "unsure", note="two things in one")
    left = []
    while asked := desk.ask("ana", "t-1"):
        left.append(asked.item.id)
        desk.say("ana", "t-1", asked.item.id, "label", label="account")
    assert len(left) == 4 and left[-1] == skipped.item.id and unsure.item.id not in left


def test_rows_skipped_again_take_turns(store: Store) -> None:
    desk = desk_on(store, pool_of(3))
    seen = []
    for _ in range(6):
        seen.append(desk.ask("ana", "t-1").item.id)  # type: ignore[union-attr]
        desk.say("ana", "t-1", seen[-1], "skip")
    assert seen[:3] == seen[3:] and len(set(seen)) == 3


def test_undo_shows_the_row_again_and_works_over_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "m.labels.jsonl"
    names = {"text": "text", "label": "label"}
    with Store(path, columns=names, data=[], by="ana") as store:
        desk = desk_on(store)
        rows = []
        for label in ("billing", "account"):
            rows.append(desk.ask("ana", "tab-1").item.id)  # type: ignore[union-attr]
            desk.say("ana", "tab-1", rows[-1], "label", label=label)
    with Store(path, columns=names, data=[], by="ana") as store:
        desk = desk_on(store)
        assert desk.progress("ana")["labelled"] == 2
        assert desk.take_back("ana", "tab-1").item.id == rows[1]  # type: ignore[union-attr]
        assert desk.ask("ana", "tab-1").item.id == rows[1]  # type: ignore[union-attr]
        assert desk.take_back("ben", "tab-2") is None
        assert desk.take_back("ana", "tab-1").item.id == rows[0]  # type: ignore[union-attr]
        assert desk.take_back("ana", "tab-1") is None and desk.progress("ana")["labelled"] == 0


def test_answers_on_rows_that_are_gone_from_the_data_still_count(tmp_path: Path) -> None:
    path = tmp_path / "m.labels.jsonl"
    names = {"text": "text", "label": "label"}
    with Store(path, columns=names, data=[], by="ana") as store:
        desk = desk_on(store)
        row = desk.ask("ana", "tab-1").item  # type: ignore[union-attr]
        desk.say("ana", "tab-1", row.id, "label", label="billing")
    with Store(path, columns=names, data=[], by="ana") as store:
        desk = Desk(gather(examples([("something new", None)])), store)
        assert desk.labels() == ["billing"], "labels that were used are there to choose"
        assert [(desk.items[n].text, label) for n, label in desk.labelled().rows] == [(row.text, "billing")]


def test_labels_are_checked_and_added(store: Store) -> None:
    desk = desk_on(store)
    row = desk.ask("ana", "tab-1").item.id  # type: ignore[union-attr]
    with pytest.raises(LuthierError, match='no label "biling"') as told:
        desk.say("ana", "tab-1", row, "label", label="biling")
    assert 'Did you mean "billing"?' in str(told.value)
    with pytest.raises(LuthierError, match='there is a label "billing" already'):
        desk.add_label("ana", " Billing ")
    for wrong in ("", " ", "a\nb", "x" * 121):
        with pytest.raises(LuthierError, match="printable"):
            desk.add_label("ana", wrong)
    with pytest.raises(LuthierError, match="no such row"):
        desk.say("ana", "tab-1", "nothing", "skip")
    desk.add_label("ana", "<b>other</b>")
    assert desk.labels() == [*WORDS, "<b>other</b>"]
    assert [e["kind"] for e in store.events] == ["opened", "add"], "what was refused is not in the log"


def test_suggestions_are_shown_unless_blind_and_random_order_asks_no_model(store: Store) -> None:
    pool = pool_of(10)
    shares = np.tile([[0.1, 0.7, 0.2]], (10, 1)).astype(np.float32)
    look = Outlook(tuple(WORDS), shares, queue=(7, 3), chosen="doubt")
    for options, number, guesses in (({}, 7, 3), ({"blind": True}, 7, 0), ({"order": "random"}, 0, 3)):
        desk = desk_on(store, pool, **options)  # type: ignore[arg-type]
        desk.publish(look)
        asked = desk.ask("ana", "tab-1")
        assert asked and asked.item == pool.items[number] and len(asked.guesses) == guesses
        assert not guesses or asked.guesses[0] == ("delivery", pytest.approx(0.7))


def test_every_fifth_row_is_chosen_by_chance_and_it_is_known_which(store: Store) -> None:
    pool = pool_of(60)
    desk = desk_on(store, pool)
    desk.publish(Outlook(tuple(WORDS), None, queue=tuple(range(59, 9, -1)), chosen="doubt"))
    why = []
    for i in range(20):
        asked = desk.ask("ana", "tab-1")
        assert asked and desk.ask("ana", "tab-1") == asked, "the reason stays when the row is shown again"
        why.append(asked.chosen)
        desk.say("ana", "tab-1", asked.item.id, "label", label="billing", chosen=asked.chosen)
        if i == 4:  # taken back and given again, it is still one that chance chose
            back = desk.take_back("ana", "tab-1")
            assert back and back.chosen == "random"
            desk.say("ana", "tab-1", back.item.id, "label", label="account", chosen=back.chosen)
    assert why == ["doubt", "doubt", "doubt", "doubt", "random"] * 4
    assert desk.labelled().by_chance == {0, 1, 2, 3}


def test_the_work_behind_the_page_learns_asks_and_ends_rounds(store: Store) -> None:
    truth = dict(texts(150))
    desk = desk_on(store, pool_of(150))
    worker = Worker(desk, cache=None, open_embedder=None)
    state = worker.begin(from_words([item.text for item in desk.items]), final=True)
    chosen: Counter[str] = Counter()
    right = 0
    for _ in range(110):
        worker.step(state)
        asked = desk.ask("ana", "tab-1")
        assert asked
        chosen[asked.chosen] += 1
        right += bool(asked.guesses) and asked.guesses[0][0] == truth[asked.item.text]
        desk.say("ana", "tab-1", asked.item.id, "label", label=truth[asked.item.text], chosen=asked.chosen)
    worker.step(state)
    assert chosen == {"group": 20, "doubt": 72, "random": 18} and right > 60
    ends = [r.labelled for r in desk.rounds]
    assert len(ends) >= 8 and all(10 <= b - a <= 15 for a, b in pairwise([0, *ends]))
    assert desk.rounds[0].changed is None and all(r.changed is not None for r in desk.rounds[1:])
    found = desk.rounds[-1].accuracy
    assert found is not None and found.rows >= 15 and found.value > 0.6
    # The same log opened again goes on from the last round, compared with the model as it was then.
    again = desk_on(store, pool_of(150))
    assert again.rounds == [
        replace(r, accuracy=r.accuracy and replace(r.accuracy, rows=r.labelled)) for r in desk.rounds
    ]
    assert Worker(again, cache=None, open_embedder=None).begin(state.vectors_ND, final=True).before_N is not None


def test_the_work_runs_beside_the_page_and_ends_with_it(store: Store) -> None:
    truth = dict(texts(40))
    desk = desk_on(store, pool_of(40))
    worker = Worker(desk, cache=None, open_embedder=None)
    worker.start()
    for _ in range(6):
        asked = desk.ask("ana", "tab-1")
        assert asked
        desk.say("ana", "tab-1", asked.item.id, "label", label=truth[asked.item.text])
    for _ in range(1200):
        asked = desk.ask("ana", "tab-1")
        if asked and asked.guesses:
            break
        time.sleep(0.05)
    assert asked and asked.guesses
    desk.close()
    worker.join()
    assert not any(thread.name.startswith("luthier-label") for thread in threading.enumerate())


def test_a_model_that_is_missing_leaves_words_and_says_so(store: Store, tmp_path: Path) -> None:
    def absent() -> Any:
        raise LuthierError("the embedded model is not installed", mend="pip install it")

    desk = desk_on(store)
    worker = Worker(desk, cache=VectorCache(tmp_path / "v.safetensors", model="m"), open_embedder=absent)
    worker.start()
    deadline = time.monotonic() + 30
    while not desk.progress("ana")["reading"]["problem"] and time.monotonic() < deadline:
        time.sleep(0.02)
    assert "not installed" in desk.progress("ana")["reading"]["problem"]
    assert desk.ask("ana", "tab-1") is not None
    desk.close()
    worker.join()
