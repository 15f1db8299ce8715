"""Labels that give themselves away, planted and found; ordinary keywords, chances and row numbers stay quiet."""

from __future__ import annotations

import random

import numpy as np
import pytest

from luthier.data.likeness.giveaway import ColumnTally, TokenTally, wilson_low
from luthier.data.likeness.near import words_of

LABELS = ["refund", "delivery", "account"]


def texts(count: int, seed: int = 0) -> list[tuple[str, int]]:
    rng = random.Random(seed)
    return [(" ".join(rng.choices([f"w{i}" for i in range(200)], k=12)), rng.randrange(3)) for _ in range(count)]


def tokens_of(rows: list[tuple[str, int]], labels: list[str] = LABELS, **options: int) -> list[tuple[str, str]]:
    tally = TokenTally(**options)
    for text, label in rows:
        tally.add(words_of(text), label)
    return [(g.label, g.token) for g in tally.tokens(labels)]


def test_a_token_of_one_label_is_named_with_what_it_tells() -> None:
    rows = [(text + (" ref77" if label == 1 else ""), label) for text, label in texts(600)]
    tally = TokenTally()
    for text, label in rows:
        tally.add(words_of(text), label)
    (found,) = tally.tokens(LABELS)
    delivery = sum(label == 1 for _, label in rows)
    assert (found.label, found.token, found.precision, found.recall, found.rows) == (
        "delivery",
        "ref77",
        1.0,
        1.0,
        delivery,
    )
    fault = found.fault("data")
    assert '"ref77" stands in 100% of its texts' in fault.what
    assert fault.where == "data"
    assert fault.mend


def test_a_labels_own_name_in_the_text_is_said_to_be_its_name() -> None:
    labels = ["card_refund", "late_delivery", "account"]
    rows = [(f"{labels[label].replace('_', ' ')} {text}", label) for text, label in texts(600)]
    tally = TokenTally()
    for text, label in rows:
        tally.add(words_of(text), label)
    named = [g for g in tally.tokens(labels) if g.named]
    assert [(g.label, g.token) for g in named] == [("card_refund", "card refund"), ("late_delivery", "late delivery"), ("account", "account")]  # fmt: skip
    assert "its own name" in named[0].fault().what


@pytest.mark.parametrize(
    ("in_label", "elsewhere", "found"),
    [(1.0, 0.0, True), (0.95, 0.0, True), (0.8, 0.0, False), (1.0, 0.05, False), (0.95, 0.002, True)],
)
def test_how_sure_a_token_must_be(in_label: float, elsewhere: float, found: bool) -> None:
    rng = random.Random(1)
    rows = [
        (t + (" tell" if rng.random() < (in_label if label == 0 else elsewhere) else ""), label)
        for t, label in texts(3000)
    ]
    assert (("refund", "tell") in tokens_of(rows)) is found


def test_few_rows_prove_nothing() -> None:
    rows = texts(600)
    rare = [(f"tell {text}", 3) for text, _ in texts(30, seed=5)]
    assert tokens_of(rows + rare[:19], [*LABELS, "rare"]) == []
    assert tokens_of(rows + rare * 2, [*LABELS, "rare"]) == [("rare", "tell")]


def test_a_word_that_all_rows_have_tells_nothing_of_a_frequent_label() -> None:
    rows = [(f"the {text}", 0 if k % 100 else 1) for k, (text, _) in enumerate(texts(3000))]
    assert tokens_of(rows) == []


def test_a_sample_of_a_sorted_stream_still_sees_the_last_label() -> None:
    rows = sorted(texts(3000), key=lambda row: row[1])
    rows = [(text + (" tell" if label == 2 else ""), label) for text, label in rows]
    assert tokens_of(rows, sample=500) == [("account", "tell")]
    assert tokens_of(rows, sample=500) == tokens_of(rows, sample=500)


def columns_of(extras: list[dict[str, object]], labels: list[int], **more: list) -> list[tuple[str, str, str, str]]:
    tally = ColumnTally()
    for k, (extra, label) in enumerate(zip(extras, labels, strict=True)):
        tally.add(extra, label, **{name: values[k] for name, values in more.items()})
    found = tally.columns(LABELS)
    assert all(f.fault("data").what for f in found)
    return [(f.kind, f.column, f.label, f.value) for f in found]


@pytest.fixture
def labels() -> list[int]:
    rng = random.Random(2)
    return [rng.randrange(3) for _ in range(900)]


def test_a_column_that_decides_the_label(labels: list[int]) -> None:
    rng = random.Random(3)
    extras = [{"queue": f"q{2 * k + rng.randrange(2)}", "agent": f"a{rng.randrange(40)}"} for k in labels]
    assert columns_of(extras, labels) == [("column", "queue", "", "")]


def test_row_numbers_and_noise_decide_nothing(labels: list[int]) -> None:
    rng = random.Random(4)
    extras = [
        {"id": k, "twos": k // 2, "threes": rng.randrange(300), "coin": rng.random() < 0.5, "same": "x"}
        for k in range(len(labels))
    ]
    assert columns_of(extras, labels) == []


def test_a_column_filled_for_one_label_only(labels: list[int]) -> None:
    extras = [{"refunded_at": f"2024-01-{k % 28 + 1}" if label == 0 else None} for k, label in enumerate(labels)]
    assert columns_of(extras, labels) == [("filled", "refunded_at", "refund", "")]


def test_one_value_of_a_column_that_goes_with_one_label(labels: list[int]) -> None:
    rng = random.Random(5)
    extras = [{"team": "money" if label == 0 else f"t{rng.randrange(5)}"} for label in labels]
    assert columns_of(extras, labels) == [("value", "team", "refund", "money")]


def test_files_and_lengths_are_told_softly(labels: list[int]) -> None:
    rng = random.Random(6)
    found = columns_of(
        [{}] * len(labels),
        labels,
        file=[f"{LABELS[k]}.csv" for k in labels],
        length=[100 * k + rng.randrange(60) for k in labels],
    )
    assert [kind for kind, *_ in found] == ["file", "length"]
    assert columns_of([{}] * len(labels), labels, file=["all.csv"] * len(labels), length=[rng.randrange(300) for _ in labels]) == []  # fmt: skip


@pytest.mark.parametrize(("hits", "of", "low"), [(20, 20, 0.8389), (95, 100, 0.8882), (0, 10, 0.0)])
def test_wilsons_interval_against_published_figures(hits: int, of: int, low: float) -> None:
    assert wilson_low(np.array([hits]), np.array([of]))[0] == pytest.approx(low, abs=2e-4)
