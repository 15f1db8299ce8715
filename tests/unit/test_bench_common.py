"""The arithmetic of the benches: ratios by round, fair samples of an epoch, clocks, processes, what they refuse."""

from __future__ import annotations

import json
import os
import statistics
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[2]))

from bench import banking77, common


def test_ratios_are_taken_within_a_round() -> None:
    # The machine was half as fast in the second round; each side's own median would hide that they kept pace.
    runs = {"mine": [{"x": 20.0}, {"x": 10.0}, {"x": 27.0}], "theirs": [{"x": 10.0}, {"x": 5.0}, {"x": 9.0}]}
    found = common.ratios(runs, "x", of="mine", over="theirs")
    assert (found.median, found.low, found.high) == (2.0, 2.0, 3.0)


def test_ratios_want_as_many_rounds_of_both() -> None:
    with pytest.raises(ValueError, match="zip"):
        common.ratios({"a": [{"x": 1.0}], "b": [{"x": 1.0}, {"x": 2.0}]}, "x", of="a", over="b")


def test_spread_of_an_even_number_lies_between_the_middle_two() -> None:
    found = common.spread([4.0, 1.0, 2.0, 10.0])
    assert (found.median, found.low, found.high) == (3.0, 1.0, 10.0)
    assert str(found) == "3.00 (1.00-10.0)"


@pytest.mark.parametrize(
    ("value", "said"),
    [(0.0, "0"), (0.5496, "0.550"), (1.8449, "1.84"), (64.27, "64.3"), (294.4, "294"), (12345.6, "12,346")],
)
def test_figures_have_three_digits_and_no_exponent(value: float, said: str) -> None:
    assert common.figure(value) == said


@given(st.data(), st.integers(1, 12), st.integers(1, 8))
def test_picked_steps_cost_on_average_what_all_cost(data: st.DataObject, count: int, each: int) -> None:
    costs = data.draw(st.lists(st.integers(1, 5000), min_size=count * each, max_size=count * each))
    picked = common.representative(costs, count)
    assert len(set(picked)) == count
    assert picked == sorted(picked)
    # Each pick lies within its stratum, and the strata's ranges add up to at most the whole range.
    limit = (max(costs) - min(costs)) / count
    assert abs(statistics.fmean(costs[i] for i in picked) - statistics.fmean(costs)) <= limit + 1e-9


def test_picking_from_a_sorted_epoch_takes_its_whole_breadth() -> None:
    costs = list(range(1000, 0, -1))
    picked = common.representative(costs, 10)
    assert statistics.fmean(costs[i] for i in picked) == pytest.approx(500.5, rel=0.01)
    assert min(picked) < 100 <= 900 < max(picked)


@pytest.mark.parametrize("count", [0, 4])
def test_more_steps_than_there_are_cannot_be_picked(count: int) -> None:
    with pytest.raises(ValueError, match=f"{count} of 3"):
        common.representative([1, 2, 3], count)


def test_a_markdown_cell_cannot_break_its_table() -> None:
    assert common.markdown(("a", "b"), [["x|y", 1]]) == "| a | b |\n| --- | --- |\n| x\\|y | 1 |"
    with pytest.raises(ValueError, match="as many cells"):
        common.markdown(("a", "b"), [["x"]])


def test_a_stopped_watch_does_not_count() -> None:
    times = iter([10.0, 13.0, 100.0, 102.0])
    watch = common.Watch(lambda: next(times))
    watch.start()
    watch.start()  # goes on, does not begin again
    assert watch.stop() == 3.0
    assert watch.stop() == 3.0
    watch.start()
    assert watch.stop() == 5.0


def test_a_bar_just_missed_is_missed_and_reads_so() -> None:
    goal = common.Goal("accuracy", 0.935, 0.93493)
    assert not goal.met
    assert str(goal) == "MISSED: accuracy: 0.9349, wanted at least 0.935"
    assert common.Goal("accuracy", 0.935, 0.935).met


def test_absent_data_ends_with_2_and_says_where_to_get_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "test.csv").touch()
    with pytest.raises(SystemExit) as ended:
        common.need_files(tmp_path, ["train.csv", "test.csv"], banking77.ORIGIN)
    said = capsys.readouterr().err
    assert ended.value.code == 2
    assert "train.csv not found" in said and "PolyAI-LDN" in said and "--data" in said


def test_an_absent_peer_ends_with_2_and_says_how_to_install(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        common.need_packages("json", "no_such_peer")
    assert ended.value.code == 2
    assert "not installed: no_such_peer" in (said := capsys.readouterr().err) and "[bench]" in said


PART = """
import json, os, sys
from pathlib import Path
from bench.common import peak_memory_mb
given = json.loads(Path(sys.argv[4]).read_text())
if given.get("fail"):
    sys.exit("the disk of the part is on fire")
found = {"threads": os.environ["OMP_NUM_THREADS"], "part": sys.argv[2], "given": given["x"], "pid": os.getpid()}
found["peak"] = peak_memory_mb()
Path(given["result"]).write_text(json.dumps(found))
"""


@pytest.fixture
def part_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "lone_part.py").write_text(PART)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return "lone_part"


def test_rounds_alternate_in_processes_of_their_own(part_module: str, tmp_path: Path) -> None:
    ballast = bytearray(b"x" * (200 << 20))
    contenders = {"a": ("first", {"x": 1}), "b": ("second", {"x": 2})}
    runs = common.alternate(part_module, contenders, rounds=2, threads=3, work=tmp_path)
    assert {name: [m["given"] for m in measured] for name, measured in runs.items()} == {"a": [1, 1], "b": [2, 2]}
    assert [m["part"] for m in runs["b"]] == ["second", "second"]
    everything = runs["a"] + runs["b"]
    assert {m["threads"] for m in everything} == {"3"}
    assert len({m["pid"] for m in everything} | {os.getpid()}) == 5
    # A part's memory is its own, not what its parent held when it was born.
    assert common.peak_memory_mb() > len(ballast) >> 20 > max(m["peak"] for m in everything)
    order = sorted(path.name.split(".")[0] for path in tmp_path.glob("*.settings.json"))
    assert order == ["000-first", "001-second", "002-first", "003-second"]


def test_a_part_that_fails_ends_the_bench_with_its_last_words(
    part_module: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="first ended with code 1"):
        common.run_part(part_module, "first", {"x": 1, "fail": True}, threads=1, work=tmp_path)
    assert "on fire" in capsys.readouterr().err


def test_a_quick_run_leaves_the_kept_result_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(common, "RESULTS", tmp_path)
    goals = [common.Goal("speed", 2, 3.0)]
    common.conclude("x", {"runs": 1}, "TABLE", goals, quick=True, out=None)
    assert list(tmp_path.iterdir()) == []
    assert "met" not in capsys.readouterr().out
    common.conclude("x", {"runs": 1}, "TABLE", goals, quick=False, out=None)
    kept = json.loads((tmp_path / "x.json").read_text())
    assert (kept["quick"], kept["runs"], kept["goals"][0]["met"]) == (False, 1, True)
    assert "met: speed: 3" in capsys.readouterr().out


def measured(*seconds: float, reached: bool = True) -> list[dict[str, object]]:
    return [{"reached": reached, "seconds": s} for s in seconds]


@pytest.mark.parametrize("reached", [True, False])
def test_a_peer_that_never_gets_there_gives_a_lower_bound(reached: bool) -> None:
    record = {"reach": {"runs": measured(40.0, 30.0, 50.0)}, "setfit": measured(900.0, reached=reached)}
    assert banking77.time_ratio(record, "setfit") == (22.5, not reached)


def test_a_peer_is_taken_at_its_best_run_that_got_there() -> None:
    runs = [*measured(500.0, reached=False), *measured(900.0, 600.0)]
    assert banking77.time_ratio({"reach": {"runs": measured(40.0)}, "trainer": runs}, "trainer") == (15.0, False)


def test_there_is_no_ratio_where_a_side_is_missing_or_luthier_never_gets_there() -> None:
    assert banking77.time_ratio({"reach": {"runs": measured(40.0)}}, "trainer") is None
    record = {"reach": {"runs": measured(40.0, reached=False)}, "trainer": measured(900.0)}
    assert banking77.time_ratio(record, "trainer") is None
