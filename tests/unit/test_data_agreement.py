"""Agreement between annotators: against a worked table of the literature, and by its properties."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.base.records import Example, Source
from luthier.data.labels.agreement import agreement, krippendorff_alpha

# Krippendorff 2011, section C: four observers, twelve units, missing values; alpha for nominal data is 0.743.
TABLE = [
    [1, 1, None, 1], [2, 2, 3, 2], [3, 3, 3, 3], [3, 3, 3, 3], [2, 2, 2, 2], [1, 2, 3, 4],
    [4, 4, 4, 4], [1, 1, 2, 1], [2, 2, 2, 2], [None, 5, 5, 5], [None, None, 1, 1], [None, None, 3, None],
]  # fmt: skip
VOTES = st.lists(st.lists(st.sampled_from("abc"), min_size=1, max_size=5), min_size=1, max_size=30)


def example(votes: list[str], *, line: int = 1, annotators: list[str] | None = None) -> Example:
    extra = {"votes": votes, **({"annotators": annotators} if annotators else {})}
    return Example("", {"text": f"text {line}"}, votes[0] if votes else None, Source("v.csv", line), None, extra)


def plain_alpha(rows: list[list[str]]) -> float | None:
    """Alpha by its coincidence matrix, pair by pair."""
    cells: Counter[tuple[str, str]] = Counter()
    for votes in rows:
        for one, other in itertools.permutations(range(len(votes)), 2):
            cells[votes[one], votes[other]] += 1 / (len(votes) - 1)
    margins: Counter[str] = Counter()
    for (one, _), count in cells.items():
        margins[one] += count
    n = sum(margins.values())
    expected = sum(margins[a] * margins[b] for a in margins for b in margins if a != b)
    observed = sum(count for (a, b), count in cells.items() if a != b)
    return None if expected < 1e-9 else 1 - (n - 1) * observed / expected


def test_the_worked_table() -> None:
    rows = [[str(v) for v in row if v is not None] for row in TABLE]
    assert krippendorff_alpha(rows) == pytest.approx(0.743, abs=0.0005)
    found = agreement(example(votes, line=i) for i, votes in enumerate(rows, start=1))
    assert found["alpha"] == krippendorff_alpha(rows)
    assert (found["rows"], found["single"]) == (11, 1)
    assert found["full"] == pytest.approx(8 / 11)
    assert found["pairwise"] == pytest.approx((8 + 0.5 + 0.0 + 0.5) / 11)
    assert [row["line"] for row in found["most_divided"]] == [6, 2, 8]
    assert found["most_divided"][0]["votes"] == ["1", "2", "3", "4"]


@settings(max_examples=100, deadline=None)
@given(VOTES, st.randoms())
def test_alpha_is_that_of_the_coincidence_matrix_in_any_order(rows: list[list[str]], random) -> None:
    expected = plain_alpha(rows)
    shuffled = [random.sample(votes, len(votes)) for votes in random.sample(rows, len(rows))]
    renamed = [[vote + "!" for vote in votes] for votes in rows]
    for found in (krippendorff_alpha(rows), krippendorff_alpha(shuffled), krippendorff_alpha(renamed)):
        assert found == (None if expected is None else pytest.approx(expected))
    if expected is not None:
        assert expected <= 1.0
        assert (expected == pytest.approx(1.0)) == all(len(set(votes)) == 1 for votes in rows if len(votes) > 1)


@settings(max_examples=60, deadline=None)
@given(VOTES)
def test_shares_are_those_of_plain_counting(rows: list[list[str]]) -> None:
    found = agreement([example(votes, line=i) for i, votes in enumerate(rows, start=1)])
    several = [votes for votes in rows if len(votes) > 1]
    assert found["rows"] == len(several)
    assert found["single"] == len(rows) - len(several)
    json.dumps(found, allow_nan=False)
    if several:
        pairs = [[a == b for a, b in itertools.combinations(votes, 2)] for votes in several]
        assert found["pairwise"] == pytest.approx(sum(sum(p) / len(p) for p in pairs) / len(pairs))
        assert found["full"] == pytest.approx(sum(all(p) for p in pairs) / len(pairs))


def test_an_annotator_is_measured_against_the_others() -> None:
    rows = [example(["a", "a", "b"], annotators=["Ann", "Bob", "Cyd"], line=i) for i in range(1, 5)]
    rows.append(example(["b", "b", "b"], annotators=["Ann", "Bob", "Cyd"], line=5))
    found = agreement(rows)["annotators"]
    # Where Ann and Cyd are divided, there is no majority that Bob could agree with: only the last row judges Ann and Bob.
    assert found["Cyd"] == {"votes": 5, "with_majority": pytest.approx(0.2)}
    assert found["Ann"] == found["Bob"] == {"votes": 5, "with_majority": 1.0}


def test_the_most_divided_rows_survive_a_long_stream() -> None:
    rows = [example(["a", "a", "b"], line=i) for i in range(1, 500)]
    rows.insert(400, example(["a", "b", "c"], line=9999))
    found = agreement(iter(rows))["most_divided"]
    assert len(found) == 20
    assert [row["line"] for row in found] == [9999, *range(1, 20)]


def test_nothing_to_compare() -> None:
    found = agreement([example(["a"]), example([])])
    assert (found["rows"], found["single"], found["full"], found["alpha"]) == (0, 2, None, None)
    assert agreement([example(["a", "a"])])["alpha"] is None


def test_three_annotators_of_real_preferences() -> None:
    path = Path(__file__).parents[2].parent / "shared" / "data" / "pandalm_preferences" / "testset-v1.json"
    if not path.is_file():
        pytest.skip("the preferences of PandaLM are not here")
    names = ["annotator1", "annotator2", "annotator3"]
    rows = json.loads(path.read_text(encoding="utf-8"))
    found = agreement(
        example([row[name] for name in names], annotators=names, line=i) for i, row in enumerate(rows, start=1)
    )
    assert found["rows"] == 999
    # The authors report kappas from 0.85 to 0.88 between pairs; alpha of all three must lie there too.
    assert 0.84 < found["alpha"] < 0.89
    assert all(0.8 < one["with_majority"] <= 1.0 for one in found["annotators"].values())
