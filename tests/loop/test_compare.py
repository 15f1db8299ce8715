"""`luthier compare` on real runs: on the rows they share, with what differs, and refused by name where they share too few."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from commands import luthier, only_object, refused

from luthier.base.errors import TaskError
from luthier.lifecycle.circle import run
from luthier.lifecycle.comparing import compare


@pytest.mark.slow
def test_runs_are_compared_on_the_test_rows_they_share(project: Path) -> None:
    task = project / "task.yaml"
    header, *lines = (project / "messages.csv").read_text().splitlines()
    test, learnt = lines[:80], lines[80:]
    # The poor one learnt that everything is billing but for what is: half its labels are wrong.
    wrong = [line.replace(",delivery,", ",billing,") if i % 2 else line.replace(",account,", ",delivery,") for i, line in enumerate(learnt)]
    for name, part in (("test", test), ("train", learnt), ("wrong", wrong)):
        (project / f"{name}.csv").write_text("\n".join([header, *part]) + "\n")
    rest = [f"data.test={project / 'test.csv'}", "data.leaks=allow"]
    good = run(task, out=project / "good", overrides=[*rest, f"data.source={project / 'train.csv'}"])
    run(task, out=project / "poor", overrides=[*rest, f"data.source={project / 'wrong.csv'}", "train.epochs=1", "train.rate=0.001"])
    found = compare([project / "poor", project / "good"], out=project / "compared")
    assert found["rows"] == len((next(project.glob("good/prepared/*")) / "test.jsonl").read_text().splitlines())
    assert found["notes"] == []
    assert found["metrics"]["good"]["macro_f1"]["value"] == pytest.approx(good.record["metrics"]["test"]["macro_f1"]["value"])
    assert {one["key"] for one in found["settings"]} >= {"train.rate", "train.epochs", "data.source", "data fingerprint"}
    assert not {"weights", "luthier", "data.test"} & {one["key"] for one in found["settings"]}
    pair = found["pairs"][0]
    first, second = pair["metrics"]["accuracy"]["first"], pair["metrics"]["accuracy"]["second"]
    told = pair["rows"]
    assert (told["only_second"] - told["only_first"]) / found["rows"] == pytest.approx(second - first)
    assert found["better"] == "second" and found["best"] == "good"
    page = (project / "compared/compare.html").read_text()
    assert "good is better" in page and "train.rate" in page and found["runs"][0]["verdict"] in page
    assert json.loads((project / "compared/compare.json").read_text())["better"] == "second"

    # The command: the first is what stands, so an exit code of 1 says that the second is worse.
    worse = luthier("compare", "good", "poor", "--json", cwd=project)
    brief = only_object(worse)
    assert (worse.returncode, brief["better"], brief["main_metric"]) == (1, "first", "macro_f1")
    assert brief["metrics"]["accuracy"]["difference"] < 0 and (project / "compare/compare.html").is_file()

    # Another division: few test rows are shared, and the figures of either say nothing of the other.
    run(task, out=project / "other", overrides=["data.split.seed=7"])
    refused(luthier("compare", "good", "other", cwd=project), "measured on different test rows", "good", "other", "Name a labelled file last")
    on_file = compare([project / "good", project / "poor", project / "other", project / "messages.csv"])
    assert on_file["source"] and len(on_file["pairs"]) == 3 and sum("learnt from" in note for note in on_file["notes"]) == 3
    with pytest.raises(TaskError, match="one alone"):
        compare([project / "good"])
