"""Leaks are found on the right side, named by kind, and only those stop a run that would decide its score."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from luthier.base.records import Example, Source
from luthier.data import leaks
from luthier.data.board import Board, BoardMaker
from luthier.data.leaks import clash_finder, find
from luthier.spec.data import DataSection

SIDES = {"train": 0, "valid": 1, "test": 2, "held": 3}
Rows = list[tuple[str, str | None]]


def board_of(**rows: Rows) -> tuple[Board, np.ndarray]:
    maker = BoardMaker(seed=0)
    sides = []
    for side in ("train", "valid", "test", "held"):
        for line, (text, group) in enumerate(rows.get(side, []), 1):
            role = {"train": "source", "held": "held_out"}.get(side, side)
            maker.add(Example("", {"text": text}, "a", Source(side, line), group), role)
            sides.append(SIDES[side])
    return maker.done({}), np.array(sides, dtype=np.int8)


def plain(*texts: str) -> Rows:
    return [(text, None) for text in texts]


def data(**values: Any) -> DataSection:
    return DataSection(**({"source": "m.csv"} | values))


def places(board: Board, found: tuple[leaks.Leak, ...]) -> list[tuple[str, str]]:
    return [(str(board.place(leak.row)), str(board.place(leak.other))) for leak in found]


def test_exact_and_group_leaks_name_both_places_and_test_outranks() -> None:
    board, sides = board_of(
        train=[("Hello there!", "g1"), ("only here", "g2"), ("seen in both", None), ("only here too", "g3")],
        valid=[("new one", "g2"), ("seen in both.", None)],
        test=[("hello  there", "g9"), ("SEEN in both", None), ("other", "g1")],
    )
    found = find(board, sides, data())
    assert places(board, found.of("exact")) == [("train:1", "test:1"), ("train:3", "test:2"), ("valid:2", "test:2")]
    assert places(board, found.of("group")) == [("train:1", "test:3"), ("train:2", "valid:1")]
    assert not found.of("near") and found.complete and all(leak.stops for leak in found.stopping())
    assert leaks.as_dict(found.of("group")[0], board)["group"] == "g1"
    assert leaks.as_dict(found.of("exact")[0], board)["text"] == "Hello there!"
    assert found.counts()["semantic"] is None
    left = found.without({0})
    assert places(board, left.of("exact")) == [("train:3", "test:2"), ("valid:2", "test:2")]


LONG = "the parcel that i ordered on monday has still not arrived at my new flat in the city"


def test_near_leaks_stop_only_from_the_bound_and_never_for_templates() -> None:
    other = "how can i change the card that pays for it"
    board, sides = board_of(
        train=plain(LONG.replace("monday", "tuesday"), other.replace("card", "account"), "nothing like it at all"),
        test=plain(LONG, other),
    )
    found = find(board, sides, data())
    assert places(board, found.of("near")) == [("train:1", "test:1"), ("train:2", "test:2")]
    assert [leak.stops for leak in found.of("near")] == [True, True]
    assert [leak.stops for leak in find(board, sides, data(near=0.93)).of("near")] == [True, False]
    # Many rows that differ in one word are a template: to leave them out would leave out the data.
    many = [LONG.replace("monday", f"day{i}") for i in range(40)]
    board, sides = board_of(train=plain(*many[:30]), test=plain(*many[30:]))
    found = find(board, sides, data(), families=np.full(40, 40))
    assert len(found.of("near")) == 30 and not found.stopping()


def test_reordered_words_are_near() -> None:
    board, sides = board_of(train=plain("to my card what happened"), test=plain("what happened to my card?"))
    found = find(board, sides, data())
    assert [(leak.similarity, leak.stops) for leak in found.of("near")] == [(1.0, True)]


def test_held_out_files_are_compared_with_what_is_learnt_and_chosen_by() -> None:
    board, sides = board_of(
        train=plain("an exam question of the final paper", LONG), valid=plain("Another exam question of theirs"),
        test=plain("a question that only test has here"),
        held=plain("an exam question of the final paper.", "another exam question of theirs", "a question that only test has here",
                   LONG.replace("monday", "friday")),
    )  # fmt: skip
    found = find(board, sides, data())
    assert places(board, found.of("held_out")) == [("train:1", "held:1"), ("train:2", "held:4"), ("valid:1", "held:2")]
    assert not found.of("exact") and not found.of("near")


def test_rows_as_new_as_the_test_rows_leak_in_time() -> None:
    maker = BoardMaker(seed=0)
    for i, (role, moment) in enumerate(
        [("source", 1.0), ("source", 9.0), ("source", float("nan")), ("test", 8.0), ("test", 12.0)]
    ):
        maker.add(Example("", {"text": f"text number {i} of some"}, "a", Source("f", i)), role, moment=moment)
    board = maker.done({})
    sides = np.array([0, 0, 0, 2, 2], dtype=np.int8)
    assert not find(board, sides, data()).of("time")
    found = find(board, sides, data(split={"time": "day"}))
    assert places(board, found.of("time")) == [("f:1", "f:3")]


def test_the_same_meaning_is_told_and_does_not_stop() -> None:
    board, sides = board_of(
        train=plain("where is my parcel", "cancel it"), test=plain("my package, where has it gone", "buy")
    )

    def embed(texts: Any) -> np.ndarray:
        vectors = {
            "where is my parcel": [1, 0, 0],
            "my package, where has it gone": [0.999, 0.04, 0],
            "cancel it": [0, 1, 0],
        }
        found = np.array([vectors.get(text, [0, 0, 1]) for text in texts], dtype=np.float32)
        return found / np.linalg.norm(found, axis=1, keepdims=True)

    vectors = embed([board.text(i) for i in range(len(board))])
    found = find(board, sides, data(), vectors=vectors)
    assert places(board, found.of("semantic")) == [("train:1", "test:1")]
    assert not found.stopping() and found.counts()["semantic"] == 1


def test_system_prompts_make_no_two_rows_alike_and_other_scripts_are_read() -> None:
    def chat(ask: str, line: int) -> Example:
        told = {"role": "system", "content": "You are a helpful assistant of the big company " * 5}
        return Example("", {"messages": [told, {"role": "user", "content": ask}]}, "x", Source("f", line))

    maker = BoardMaker(seed=0)
    maker.add(chat("where is my parcel", 1), "source")
    maker.add(chat("cancel the contract", 2), "test")
    assert not find(maker.done({}), np.array([0, 2], dtype=np.int8), data()).of("near")
    board, sides = board_of(
        train=plain("这个产品的质量真的非常好我会再次购买它的", "!!!"),
        test=plain("这个产品的质量真的非常好我会再次购买它吗", "???"),
    )
    assert places(board, find(board, sides, data()).of("near")) == [("train:1", "test:1")]


def test_nothing_at_all() -> None:
    board, sides = board_of()
    assert find(board, sides, data()).counts() == dict.fromkeys(leaks.KINDS, 0) | {"semantic": None}


@pytest.mark.parametrize("text", ["Is MY parcel here?", "here my parcel is"])
def test_new_rows_that_equal_a_known_one_clash(text: str) -> None:
    known = Example("", {"text": "is my parcel here"}, "a", Source("t", 1))
    new = [Example("", {"text": t}, "a", Source("m", 1)) for t in (text, "is my parcel there")]
    assert clash_finder([known])(new) == [True, False]
