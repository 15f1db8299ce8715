"""Label errors: planted ones are found, the table that a person fills in is read back, and carried out."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from luthier.base.errors import DataError
from luthier.base.records import Example, Source
from luthier.data.labels.decisions import apply, read_decisions
from luthier.data.labels.out_of_fold import probabilities
from luthier.data.labels.suspects import SHOWN_CHARS, Suspects, as_rows, find, transitions
from luthier.data.shapes.columns import Dropped

SHARED = Path(__file__).parents[2].parent / "shared" / "data"


def example(line: int, text: str, label: str) -> Example:
    return Example(f"id{line}", {"text": text}, label, Source("m.csv", line))


def planted(rate: float, *, classes: int = 4, size: int = 2000, one_way: bool = False, seed: int = 0):
    """True labels, noisy labels and probabilities as of a good model that has learnt from the noisy ones."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, size)
    sure = rng.beta(6, 2, size)
    clean = np.full((size, classes), 0.0) + ((1 - sure) / (classes - 1))[:, None]
    clean[np.arange(size), truth] = sure
    matrix = np.eye(classes) * (1 - rate)
    if one_way:
        matrix = np.eye(classes)
        matrix[0, 0], matrix[0, 1] = 1 - rate, rate
    else:
        matrix += (1 - np.eye(classes)) * rate / (classes - 1)
    noisy = np.array([rng.choice(classes, p=matrix[t]) for t in truth])
    return truth, noisy, clean @ matrix


@pytest.mark.parametrize("rate", [0.05, 0.2, 0.35])
def test_planted_errors_come_first(rate: float) -> None:
    truth, noisy, chances = planted(rate)
    found = find(noisy, chances)
    wrong = truth != noisy
    place = np.empty(len(wrong))
    place[found.order] = -np.arange(len(wrong))
    assert average_precision_score(wrong, place) > 0.93
    assert found.estimated_share == pytest.approx(rate, abs=0.07)
    assert (found.suggested == truth)[wrong].mean() > 0.95
    assert wrong[found.is_issue].mean() > 0.75
    assert found.is_issue[wrong].mean() > 0.85


def test_noise_that_goes_one_way_is_told_from_its_own_echo() -> None:
    # 45 % of class 0 are called 1, so the model gives such rows nearly even odds: the plain probability is lost here.
    truth, noisy, chances = planted(0.45, one_way=True)
    wrong = truth != noisy
    plain = average_precision_score(wrong, 1 - chances[np.arange(len(noisy)), noisy])
    assert average_precision_score(wrong, find(noisy, chances).score) > max(0.95, plain + 0.2)
    rates, one_way = transitions(noisy, chances)
    assert one_way > 0.8
    assert rates[1, 0] == pytest.approx(0.45, abs=0.06)
    assert rates[0, 1] < 0.05
    assert rates.sum(0) == pytest.approx(np.ones(4))


def test_real_errors_are_ranked_better_than_by_any_score_of_cleanlab() -> None:
    path = SHARED / "noisy_ag_news" / "samples10000valMed.csv.gz"
    if not path.is_file():
        pytest.skip("noisy AG News is not here")
    from cleanlab.rank import get_label_quality_scores

    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        rows = [row for i, row in enumerate(csv.DictReader(file)) if i % 3 == 0]
    labels, clean = (np.array([int(row[name]) for row in rows]) for name in ("label", "gt"))
    chances = probabilities([row["text"] for row in rows], labels, 4, folds=np.arange(len(rows)) % 5).astype(float)
    ours = average_precision_score(labels != clean, find(labels, chances).score)
    for method in ("self_confidence", "normalized_margin", "confidence_weighted_entropy"):
        theirs = 1 - get_label_quality_scores(labels, chances, method=method)
        assert ours >= average_precision_score(labels != clean, theirs)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 6), st.integers(0, 40), st.integers(0, 1000))
def test_any_rows_give_a_whole_ranking(classes: int, size: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, size)
    chances = rng.random((size, classes)) ** 8
    found = find(labels, chances)
    assert sorted(found.order.tolist()) == list(range(size))
    assert (np.diff(found.score[found.order]) <= 0).all()
    assert ((found.score >= 0) & (found.score <= 1 + 1e-12)).all()
    assert 0 <= found.estimated_share <= 1
    if classes > 1:
        assert (found.suggested != labels).all()


def test_the_numbering_of_labels_does_not_matter() -> None:
    _, noisy, chances = planted(0.2, size=500)
    turned = np.array([2, 0, 3, 1])
    one, other = find(noisy, chances), find(turned[noisy], chances[:, np.argsort(turned)])
    assert one.score == pytest.approx(other.score)
    assert turned[one.suggested].tolist() == other.suggested.tolist()


@pytest.mark.parametrize(
    ("labels", "chances", "said"),
    [
        ([0, 1], [[0.5, 0.5]], "2 labels"),
        ([2], [[0.5, 0.5]], "labels from 2 to 2"),
        ([0], [[np.nan, 0.5]], "not a finite number"),
        ([0], [[-0.1, 1.1]], "negative"),
    ],
)
def test_wrong_arrays(labels: list[int], chances: list[list[float]], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        find(np.array(labels), np.array(chances))


EXAMPLES = [
    example(2, "Card, lost", "card"),
    example(3, "=refund\nplease", "card"),
    example(4, "x" * (SHOWN_CHARS + 5), "pin"),
    example(5, "ok", "pin"),
]
CHANCES = np.array([[0.1, 0.9], [0.05, 0.95], [0.9, 0.1], [0.2, 0.8]])
FOUND = Suspects(
    np.array([1, 0, 2, 3]), np.array([0.8, 0.9, 0.7, 0.1]), np.array([1, 1, 0, 0]), np.array([True, True, True, False]), 0.7
)  # fmt: skip


def filled(tmp_path: Path, decisions: list[str], **changes: str) -> Path:
    rows = as_rows(FOUND, EXAMPLES, ["card", "pin"], CHANCES)
    path = tmp_path / "label-errors.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows({**row, **changes, "decision": word} for row, word in zip(rows, decisions, strict=True))
    return path


def test_the_table_holds_the_worst_first_and_no_sound_row() -> None:
    rows = as_rows(FOUND, EXAMPLES, ["card", "pin"], CHANCES)
    assert [(row["rank"], row["line"], row["label"], row["suggested"]) for row in rows] == [
        (1, 3, "card", "pin"), (2, 2, "card", "pin"), (3, 4, "pin", "card"),
    ]  # fmt: skip
    assert (rows[0]["probability_of_label"], rows[0]["probability_of_suggested"], rows[0]["decision"]) == (
        0.05,
        0.95,
        "",
    )
    assert len(rows[2]["text"]) == SHOWN_CHARS + 3
    assert len(as_rows(FOUND, EXAMPLES, ["card", "pin"], CHANCES, limit=1)) == 1


def test_decisions_are_read_back_and_carried_out(tmp_path: Path) -> None:
    decisions = read_decisions(filled(tmp_path, ["pin", "Keep", " drop "]), labels=["card", "pin"])
    assert (set(decisions.changes), decisions.kept, decisions.open) == ({("m.csv", 3), ("m.csv", 4)}, {("m.csv", 2)}, 0)
    gone = Dropped(Source("m.csv", 9), "empty text")
    done = list(apply([gone, *EXAMPLES], decisions))
    assert done[0] is gone
    assert done[1] is EXAMPLES[0]
    assert (done[2].target, done[2].source, done[2].inputs) == ("pin", EXAMPLES[1].source, EXAMPLES[1].inputs)
    assert done[2].id != EXAMPLES[1].id
    assert isinstance(done[3], Dropped)
    assert (done[3].source, done[3].reason) == (Source("m.csv", 4), "label error")
    assert done[4] is EXAMPLES[3]
    # Applied again to rows that were mended in the file itself: nothing is left to do.
    assert list(apply([*done[1:3], EXAMPLES[2]], decisions))[1] is done[2]


def test_an_empty_decision_changes_nothing(tmp_path: Path) -> None:
    decisions = read_decisions(filled(tmp_path, ["", "", ""]))
    assert (decisions.changes, decisions.open) == ({}, 3)
    assert list(apply(EXAMPLES, decisions)) == EXAMPLES


def test_a_label_called_drop_can_be_meant(tmp_path: Path) -> None:
    decisions = read_decisions(filled(tmp_path, ["label: drop", "", ""]), labels=["card", "pin", "drop"])
    assert decisions.changes["m.csv", 3].label == "drop"


def test_a_spreadsheet_may_write_semicolons_and_other_line_ends(tmp_path: Path) -> None:
    path = filled(tmp_path, ["pin", "", "drop"])
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        csv.writer(file, delimiter=";", lineterminator="\r\n").writerows(rows)
    assert [e.target for e in apply(EXAMPLES, read_decisions(path)) if isinstance(e, Example)] == ["card", "pin", "pin"]


@pytest.mark.parametrize(
    ("decisions", "changes", "said"),
    [
        (["pim", "", ""], {}, r':2: "pim" is no label. Did you mean "pin"'),
        (["", "PIN", ""], {}, r'"PIN" is no label. Did you mean "pin"'),
        (["", "drop", ""], {"line": "x"}, r'"m.csv" and "x" name no file and line'),
        (["", "drop", ""], {"file": ""}, "name no file and line"),
        (["pin", "drop", ""], {"line": "7"}, r'"drop" is decided here for m.csv:7, and "pin" at .*:2'),
    ],
)
def test_slips_are_told_with_their_line(tmp_path: Path, decisions: list[str], changes: dict, said: str) -> None:
    with pytest.raises(DataError, match=said):
        read_decisions(filled(tmp_path, decisions, **changes), labels=["card", "pin"])


def test_all_faults_come_together(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        read_decisions(filled(tmp_path, ["pim", "crad", ""]), labels=["card", "pin"])
    assert len(caught.value.faults) == 2


def test_without_the_labels_a_near_miss_is_refused_and_a_new_label_taken(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Did you mean"):
        read_decisions(filled(tmp_path, ["Card ", "", ""]))
    assert read_decisions(filled(tmp_path, ["refund", "", ""])).changes["m.csv", 3].label == "refund"


def test_files_that_are_no_table(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        read_decisions(tmp_path / "none.csv")
    (tmp_path / "other.csv").write_text("a,b\n1,2\n", encoding="utf-8")
    with pytest.raises(DataError, match="no column file, line, text, label, decision"):
        read_decisions(tmp_path / "other.csv")


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([EXAMPLES[0]], "there is no row m.csv:3"),
        ([example(3, "other text", "card")], "the text of m.csv:3 is not the one in the table"),
        ([example(3, "=refund please", "loan")], 'the label of m.csv:3 is "loan", and "card" in the table'),
    ],
)
def test_a_file_that_has_changed_since_is_told(tmp_path: Path, rows: list[Example], said: str) -> None:
    decisions = read_decisions(filled(tmp_path, ["pin", "", ""]))
    with pytest.raises(DataError, match=said):
        list(apply(rows, decisions))
