"""The verdict's three words: accepted, missed, cannot tell; bars against rivals; JUnit for continuous integration."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from luthier.evaluate import baselines
from luthier.evaluate.junit import write_junit
from luthier.evaluate.verdict import judge
from luthier.spec.bars import Bar, parse_bars


def one(text: str, value: float, low: float, high: float, *, metric: str = "accuracy", **more):
    (bar,), faults = parse_bars({metric: text})
    assert not faults
    return judge([bar], {metric: {"value": value, "low": low, "high": high}}, **more)


@pytest.mark.parametrize(
    ("text", "value", "low", "high", "word"),
    [
        (">= 0.80", 0.85, 0.81, 0.89, "accepted"),
        (">= 0.80", 0.82, 0.75, 0.89, "accepted"),  # with a note
        (">= 0.80 surely", 0.82, 0.75, 0.89, "cannot tell"),
        (">= 0.80 surely", 0.85, 0.81, 0.89, "accepted"),
        (">= 0.80 surely", 0.78, 0.72, 0.84, "missed"),
        ("<= 10 % surely", 0.08, 0.05, 0.12, "cannot tell"),
        ("<= 10 % surely", 0.05, 0.02, 0.09, "accepted"),
    ],
)
def test_a_bar_that_must_be_cleared_surely_asks_for_the_whole_interval(text, value, low, high, word) -> None:
    metric = "ece" if text.startswith("<") else "accuracy"
    found = one(text, value, low, high, metric=metric)
    assert found.word == word
    assert bool(found.reasons) == (word != "accepted")


def test_a_bar_against_a_rival_is_judged_by_the_difference() -> None:
    (bar,), _ = parse_bars({"macro_f1": ">= tfidf_linear + 2 % surely"})
    assert bar == Bar("macro_f1", ">=", 0.0, "tfidf_linear", 0.02, True) and str(bar) == "macro_f1 >= tfidf_linear + 0.02 surely"
    mine = {"macro_f1": {"value": 0.85, "low": 0.78, "high": 0.91}}
    sure = judge([bar], mine, rivals={"macro_f1": {"value": 0.80, "low": 0.03, "high": 0.08}})
    assert sure.accepted and sure.bars[0]["limit"] == pytest.approx(0.82)
    luck = judge([bar], mine, rivals={"macro_f1": {"value": 0.80, "low": -0.01, "high": 0.11}})
    assert luck.word == "cannot tell" and "tfidf_linear" in luck.reasons[0]
    worse = judge([bar], mine, rivals={"macro_f1": {"value": 0.84, "low": -0.01, "high": 0.03}})
    assert worse.word == "missed"
    gone = judge([bar], mine, rivals={})
    assert gone.word == "missed" and "no such figure" in gone.reasons[0]


def test_rivals_that_do_not_exist_are_told() -> None:
    bars, _ = parse_bars({"macro_f1": ">= tfidf_liner", "accuracy": ">= live", "mcc": "> majority"})
    faults = baselines.check_rivals(bars, "classify", live=False)
    assert "Did you mean" in faults[0].mend and "evaluate.against" in faults[1].mend and len(faults) == 2
    assert baselines.check_rivals(bars[1:], "classify", live=True) == []


def test_missed_outweighs_cannot_tell() -> None:
    bars, _ = parse_bars({"accuracy": ">= 0.8 surely", "macro_f1": ">= 0.9"})
    same = {"value": 0.85, "low": 0.7, "high": 0.95}
    found = judge(bars, {"accuracy": same, "macro_f1": same})
    assert found.word == "missed" and len(found.reasons) == 2


def test_junit_can_be_read_by_others(tmp_path: Path) -> None:
    bars, _ = parse_bars({"accuracy": ">= 0.8", "macro_f1": ">= 0.9", "recall[a<b & \x00]": ">= 0.8 surely"})
    found = judge(bars, {"accuracy": {"value": 0.9, "low": 0.85, "high": 0.95}, "macro_f1": {"value": 0.5, "low": 0.4, "high": 0.6},
                         "recall[a<b & \x00]": {"value": 0.82, "low": 0.7, "high": 0.9}})  # fmt: skip
    path = write_junit({**found.as_dict(), "task": {"name": "triage"}}, tmp_path / "deep" / "junit.xml")
    suite = ElementTree.parse(path).getroot()
    assert (suite.tag, suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("testsuite", "3", "1", "1")
    cases = suite.findall("testcase")
    assert cases[0].find("failure") is None and cases[0].find("error") is None
    failure = cases[1].find("failure")
    assert failure is not None and "macro_f1 is 0.50" in (failure.get("message") or "")
    assert cases[2].find("error") is not None
    empty = ElementTree.parse(write_junit({"verdict": "accepted"}, tmp_path / "empty.xml")).getroot()
    assert empty.find("testcase/skipped") is not None
