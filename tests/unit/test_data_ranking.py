"""Rows of queries, users and items: what is read of them, how they are divided, what is told of them."""

from __future__ import annotations

import csv
import time
from pathlib import Path

import numpy as np
import pytest

from luthier.base.errors import DataError
from luthier.data import ranking
from luthier.data.prepare import load_prepared, prepare, survey
from luthier.data.shapes.guess import guess
from luthier.data.split import by_owner
from luthier.spec.data import DataSection, Split

BY_USER = {"user": "userId", "item": "movieId", "relevance": "rating", "time": "timestamp"}


def write(path: Path, rows: list[dict]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def films(folder: Path, *, users: int = 30, films: int = 25, items: int = 40) -> DataSection:
    rng = np.random.default_rng(0)
    rows = [
        {"userId": u, "movieId": int(m), "rating": float(rng.integers(1, 11) / 2), "timestamp": 1_000_000_000 + int(t)}
        for u in range(users)
        for m, t in zip(rng.choice(items, films, replace=False), rng.permutation(1000)[:films], strict=True)
    ]
    write(folder / "ratings.csv", rows)
    write(folder / "movies.csv", [{"movieId": m, "title": f"Film {m}", "genres": "Comedy|Drama"} for m in range(items)])
    return DataSection(
        source="ratings.csv",
        columns=BY_USER,
        items={"source": "movies.csv", "id": "movieId", "text": ["title", "genres"]},
        min_relevance=4,
        semantic="off",
    )


def told(data: DataSection, folder: Path) -> list[str]:
    return [str(problem) for problem in survey(data, "rank", base=folder).report.problems]


def test_a_user_is_tested_on_his_newest_rows(tmp_path: Path) -> None:
    data = films(tmp_path)
    found = prepare(data, "rank", base=tmp_path, out=tmp_path / "out")
    latest: dict[str, float] = {}
    for side in (found.train, found.valid, found.test):
        first: dict[str, float] = {}
        for row in side:
            first.setdefault(row.inputs["user"], float(row.extra["time"]))
        assert all(latest.get(user, 0) <= when for user, when in first.items())
        for row in side:
            assert latest.get(row.inputs["user"], 0) <= float(row.extra["time"])  # in the order of time
            latest[row.inputs["user"]] = float(row.extra["time"])
    assert (len(found.train), len(found.valid), len(found.test)) == (30 * 18, 30 * 2, 30 * 5)
    assert found.items["3"] == ("Film 3", "Film 3; Comedy, Drama")
    assert found.labels == tuple(sorted(str(m) for m in range(40)))
    # The same user on both sides is how it should be.
    assert not any(found.report.leaks.values()) and not found.report.stopping
    again = load_prepared(found.folder)
    assert again.items == found.items and list(again.test) == list(found.test)


def test_so_many_of_the_newest_rows_can_be_asked_for() -> None:
    owners = np.array([7, 9, 7, 7, 7, 9, 5], dtype=np.uint64)
    moments = np.array([4.0, 1.0, 3.0, np.nan, 1.0, 2.0, 9.0])
    sides = by_owner(owners, moments, Split(newest=1), has_test=False, has_valid=False)
    # User 7: oldest is the row without a time; user 9 has two rows, so none to validate on; user 5 one, and no test.
    assert sides.tolist() == [2, 0, 1, 0, 0, 2, 0]
    assert by_owner(owners, moments, Split(newest=1), has_test=True, has_valid=False).tolist() == [1, 0, 0, 0, 0, 1, 0]
    tied = by_owner(owners, np.zeros(7), Split(test=0.5, valid=0.0), has_test=False, has_valid=True)
    assert tied.tolist() == [0, 0, 0, 2, 2, 2, 0]  # rows of one time are in the order of the file


def test_questions_know_what_came_before_and_nothing_later(tmp_path: Path) -> None:
    found = ranking.united(survey(films(tmp_path), "rank", base=tmp_path))
    plain = survey(films(tmp_path), "rank", base=tmp_path)
    by_side = {
        side: {user: [row for row in plain.side(side) if row.inputs["user"] == user] for user in ("0", "17")}
        for side in ("train", "valid", "test")
    }
    for question in found.test:
        user = question.inputs["user"]
        if user not in ("0", "17"):
            continue
        before = [*by_side["train"][user], *by_side["valid"][user]]
        assert question.inputs["seen"] == [row.target for row in before]
        assert question.inputs["history"] == [row.target for row in before if row.extra["relevance"] > 0]
        right = [row.target for row in by_side["test"][user] if row.extra["relevance"] > 0]
        assert question.target == dict.fromkeys(right, 1.0) and right
        assert not set(question.target) & set(question.inputs["seen"])
    for question in found.valid:
        if question.inputs["user"] in by_side["train"]:
            assert question.inputs["seen"] == [r.target for r in by_side["train"][question.inputs["user"]]]
    for question in ranking.watched(plain.train):
        assert set(question.target) not in (set(), set(question.inputs["history"]))
        assert not set(question.target) & set(question.inputs["seen"])


def test_the_rows_of_a_query_stay_together(tmp_path: Path) -> None:
    rows = [
        {
            "query": f"{'How' if k % 2 else 'how'} do I  fix number {q}",
            "item": f"Guide {(q + k) % 30}",
            "relevance": k % 3,
        }
        for q in range(60)
        for k in range(4)
    ]
    write(tmp_path / "rows.csv", rows)
    data = DataSection(source="rows.csv", semantic="off")
    found = survey(data, "rank", base=tmp_path)
    side_of = {}
    for side in ("train", "valid", "test"):
        for row in found.side(side):
            assert side_of.setdefault(row.group, side) == side
    assert found.report.leaks["group"] == 0 and not found.report.stopping
    assert found.items["Guide 3"] == ("Guide 3", "Guide 3") and len(found.items) == 30
    questions = ranking.united(found).test
    assert len({q.group for q in questions}) == len(questions)
    # Of relevance 0, 1, 2 the first is no target, and the others keep their gain.
    assert all(set(q.target.values()) <= {1.0, 2.0} and len(q.target) == 2 for q in questions)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"columns": {**BY_USER, "relevance": "stars"}}, ["stars", "rating"]),
        ({"items": {"source": "movies.csv", "id": "film", "text": "title"}}, ['"film"', "data.items.id"]),
        ({"items": {"source": "movies.csv", "id": "movieId", "text": "name"}}, ['"name"', "data.items.text"]),
        ({"items": {"source": "movies.csv", "id": "title", "text": "title"}}, ["no such item in data.items", "ratings.csv:2"]),
        ({"min_relevance": 6}, ["no train row is relevant", "ratings.csv:"]),
        ({"split": {"by": "userId"}}, ["divided by time within each user", "data.split.by"]),
    ],
)  # fmt: skip
def test_what_cannot_be_ranked_is_told_with_its_place(tmp_path: Path, change: dict, words: list[str]) -> None:
    data = DataSection(**{**films(tmp_path).model_dump(), **change})
    with pytest.raises(DataError) as refused:
        survey(data, "rank", base=tmp_path)
    for word in words:
        assert word in str(refused.value)


def test_one_item_for_all_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "rows.csv", [{"query": f"question {n}", "item": "the only guide"} for n in range(40)])
    with pytest.raises(DataError, match="name the same item"):
        survey(DataSection(source="rows.csv"), "rank", base=tmp_path)


def test_rows_that_are_left_out_are_told(tmp_path: Path) -> None:
    data = films(tmp_path)
    path = tmp_path / "ratings.csv"
    extra = ["0,999,5.0,1000000000", "77,3,5.0,1000000000", "0,3,good,1", "1,,4.0,1", ",3,4.0,1", "1,5,4.0,"]
    path.write_text(path.read_text() + "\n".join(extra) + "\n")
    found = survey(data, "rank", base=tmp_path)
    assert found.report.dropped["no such item in data.items"] == 1
    assert found.report.dropped["relevance is not a number"] == 1
    assert found.report.dropped["no item"] == 1
    assert found.report.dropped["empty text"] == 1
    words = " ".join(map(str, found.report.problems))
    assert "1 rows name an item that data.items lacks" in words and "ratings.csv:752" in words
    assert "1 of 31 users have one row only" in words


def test_users_without_a_time_are_divided_in_the_order_of_the_file(tmp_path: Path) -> None:
    data = films(tmp_path)
    columns = {what: name for what, name in BY_USER.items() if what != "time"}
    assert any(
        "order of the file" in problem
        for problem in told(DataSection(**{**data.model_dump(), "columns": columns}), tmp_path)
    )


def test_times_are_dates_or_mere_numbers(tmp_path: Path) -> None:
    rows = [{"user": u, "item": f"i{(u + t) % 9}", "time": 12 - t} for u in range(9) for t in range(6)]
    write(tmp_path / "rows.csv", rows)
    data = DataSection(source="rows.csv", columns={"user": "user", "item": "item", "time": "time"}, semantic="off")
    assert {int(row.extra["time"]) for row in survey(data, "rank", base=tmp_path).test} == {12}
    write(tmp_path / "rows.csv", [{**row, "time": f"2024-05-{row['time']:02d}"} for row in rows])
    assert {row.extra["time"] for row in survey(data, "rank", base=tmp_path).test} == {"2024-05-12"}
    write(tmp_path / "rows.csv", [{**row, "time": "soon"} for row in rows])
    with pytest.raises(DataError, match="no date that can be read"):
        survey(data, "rank", base=tmp_path)


def test_a_hundred_thousand_interactions_are_checked_in_time(tmp_path: Path) -> None:
    data = films(tmp_path, users=200, films=50, items=500)
    began = time.process_time()
    survey(data, "rank", base=tmp_path)
    # 10,000 rows; ten times as many take ten times as long, and a minute is the bar.
    assert time.process_time() - began < 6


def test_init_knows_interactions_and_queries(tmp_path: Path) -> None:
    films(tmp_path)
    found = guess([tmp_path / "ratings.csv"])
    assert (found.objective, found.columns, found.by) == ("rank", {**BY_USER}, None)
    rows = [{"query": f"how to fix part {q} of it", "item": f"Guide {q % 7}", "relevance": q % 2} for q in range(50)]
    found = guess([write(tmp_path / "rows.csv", rows)])
    assert (found.objective, found.columns) == ("rank", {"query": "query", "item": "item", "relevance": "relevance"})
    review = [
        {"user": q % 20, "product": f"p{q % 9}", "rating": q % 5, "review": f"this is what I think of it, {q} times"}
        for q in range(99)
    ]
    assert guess([write(tmp_path / "reviews.csv", review)]).objective != "rank"
