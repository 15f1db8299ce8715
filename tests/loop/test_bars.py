"""Bars of every kind as a user writes them: on parts of the rows, against rivals, surely; told before the start where they mean nothing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from xml.etree import ElementTree

import pytest
from commands import luthier, only_object, refused


@pytest.fixture
def channels(project: Path) -> Path:
    """The tiny project with a column `channel`."""
    lines = (project / "messages.csv").read_text().splitlines()
    rows = [f"{line},{'channel' if i == 0 else ('email', 'phone')[i % 2]}" for i, line in enumerate(lines)]
    (project / "messages.csv").write_text("\n".join(rows) + "\n")
    return project


def accept(**bars: str) -> list[str]:
    return [word for name, bar in bars.items() for word in ("--set", f"accept.{name}={bar}")]


def test_a_run_is_held_against_parts_and_rivals(channels: Path) -> None:
    bars = {"stable[upper]": ">= 0.2", "accuracy{channel=email}": ">= 0.5", "accuracy{channel:gap}": "<= 0.5", "macro_f1": "> majority + 5 % surely"}
    done = luthier("run", "task.yaml", "--json", "--junit", "bars.xml", *accept(**bars), cwd=channels)
    result = only_object(done)
    assert done.returncode == 0, done.stderr
    assert set(bars) - {"macro_f1"} <= set(result["metrics"]["test"])
    folder = channels / result["run"]
    record = json.loads((folder / "report.json").read_text())
    held = {bar["metric"]: bar for bar in record["bars"]}
    assert held["macro_f1"]["rival"] == "majority"
    assert held["macro_f1"]["limit"] == pytest.approx(record["baselines"]["majority"]["macro_f1"] + 0.05)
    assert "channel" in record["slices"]["columns"] and record["slices"]["found"]
    page = (folder / "report.html").read_text()
    assert "channel=email" in page and 'id="slices"' in page and "slips of the keyboard" in page
    suite = ElementTree.parse(channels / "bars.xml").getroot()
    assert (suite.get("tests"), suite.get("failures")) == ("4", "0")
    # The same bars on other rows: rivals are fitted on the run's train rows, which are known again among these.
    columns = ("--column", "text=message", "--column", "label=queue")
    bars_ = ("--accept", "accuracy{channel=phone} >= 0.5", "--accept", "macro_f1 > majority + 5 %", "--accept", "f1[billing] > live")
    again = luthier("evaluate", folder, "messages.csv", *columns, *bars_, "--json", cwd=channels)
    assert again.returncode == 0, again.stderr
    told = only_object(again)
    assert told["metrics"]["test"]["accuracy{channel=phone}"]["value"] > 0.5
    assert 0 < told["baselines"]["majority"]["macro_f1"] < 0.5 < told["baselines"]["tfidf_linear"]["macro_f1"]
    said = " ".join(told["notes"])
    assert f"The bundle learnt from {record['data']['splits']['train']} of these 240 rows: its figures are too good." in said
    assert "macro_f1 >" not in said and "live: needs the earlier bundle" in said and "against" not in told
    # The same rows as the run's test rows give the same rivals; and a bundle that left its run knows none.
    (test,) = folder.glob("prepared/*/test.jsonl")
    rows = [json.loads(line) for line in test.read_text().splitlines()]
    (channels / "later.jsonl").write_text("".join(json.dumps({"message": r["inputs"]["text"], "queue": r["target"]}) + "\n" for r in rows))
    later = only_object(luthier("evaluate", folder, "later.jsonl", "--accept", "macro_f1 > majority", "--json", cwd=channels))
    assert later["baselines"] == {name: record["baselines"][name] for name in ("majority", "tfidf_linear")}
    assert not any("learnt from" in note for note in later["notes"])
    # Heads on the untouched network take a pass over the train rows: where a bar names one, and then as in the run.
    later = only_object(luthier("evaluate", folder, "later.jsonl", "--accept", "accuracy >= nearest_rows", "--json", cwd=channels))
    assert not any("needs the rivals" in note for note in later["notes"])
    assert later["baselines"] == {name: pytest.approx(figures, abs=1e-5) for name, figures in record["baselines"].items()}
    shutil.copytree(folder / "bundle", channels / "elsewhere")
    gone = only_object(luthier("evaluate", "elsewhere", "messages.csv", *columns, *bars_, "--json", cwd=channels))
    assert gone["baselines"] == {} and any("macro_f1 > majority + 0.05: needs the rivals of a run" in note for note in gone["notes"])
    # Beside the bundle that is live, here itself: nothing is better, and nothing is worse.
    for bar, code in (("accuracy >= live", 0), ("accuracy >= live + 2 %", 1)):
        beside = luthier("evaluate", folder, "messages.csv", "--column", "text=message", "--column", "label=queue",
                         "--accept", bar, "--against", folder / "bundle", "--out", "beside", "--json", cwd=channels)  # fmt: skip
        assert beside.returncode == code, beside.stderr
    told = only_object(beside)
    same = told["against"]["metrics"]["accuracy"]
    assert same["first"] == same["second"] == told["metrics"]["test"]["accuracy"]["value"] and same["low"] == same["high"] == 0
    assert told["against"]["bundle_id"] and "Against the earlier model" in Path(channels / told["report"]).read_text()
    alone = luthier("evaluate", folder, "messages.csv", "--column", "text=message", "--column", "label=queue",
                    "--accept", "accuracy >= live", "--json", cwd=channels)  # fmt: skip
    assert any("accuracy >= live: needs the earlier bundle (--against)" in note for note in only_object(alone)["notes"])
    # One of another objective is told before anything is done, by both commands.
    other = channels / "other"
    shutil.copytree(folder / "bundle", other)
    facts = json.loads((other / "bundle.json").read_text())
    (other / "bundle.json").write_text(json.dumps({**facts, "objective": "grade"}))
    words = "it was made to grade and not to classify"
    refused(luthier("evaluate", folder, "messages.csv", "--against", other, cwd=channels), words)
    refused(luthier("check", "task.yaml", "--set", f"evaluate.against={other}", cwd=channels), words)


@pytest.mark.parametrize(
    ("name", "bar", "said"),
    [
        ("accuracy{chanel=email}", ">= 0.5", 'no test row has a column "chanel"'),
        ("accuracy{channel=fax}", ">= 0.5", 'no test row has "fax" in channel'),
        ("accuracy", ">= tfidf_liner", '"tfidf_liner" is no rival of classify'),
        ("accuracy", ">= live", "there is no live model to compare with"),
        ("accuracy{channel:best}", ">= 0.5", '"best" is not known after a column'),
        ("stable[typos]{channel=email}", ">= 0.5", "has no parts and no rivals"),
    ],
)
def test_bars_that_mean_nothing_are_told_before_training(channels: Path, name: str, bar: str, said: str) -> None:
    done = luthier("run", "task.yaml", "--out", "out", *accept(**{name: bar}), cwd=channels)
    refused(done, f"accept.{name}", said)
    assert not (channels / "out/checkpoints").exists()


def test_a_test_set_of_one_label_is_told_before_training(channels: Path) -> None:
    lines = (channels / "messages.csv").read_text().splitlines()
    (channels / "test.csv").write_text("\n".join([lines[0], *[f"{line.split(',')[0]} {i},billing,C1,email" for i, line in enumerate(lines[1:30])]]) + "\n")
    asked = ["--set", "data.test=test.csv", "--set", "data.leaks=allow"]
    told = only_object(luthier("check", "task.yaml", *asked, "--json", cwd=channels))
    assert "test rows have one label" in json.dumps(told)
    done = luthier("run", "task.yaml", "--out", "out", *asked, *accept(roc_auc=">= 0.8", **{"recall[account]": ">= 0.5"}), cwd=channels)
    refused(done, "accept.roc_auc", "one label, or one score", "accept.recall[account]", 'no test row of "account"')
    assert not (channels / "out/checkpoints").exists()


def test_few_rows_cannot_tell(channels: Path) -> None:
    """25 rows, all of them right, would show 0.863 or more: too little for a bar of 0.88, whatever the model does well."""
    done = luthier("run", "task.yaml", "--json", *accept(**{"accuracy{channel=email}": ">= 0.88"}), cwd=channels)
    result = only_object(done)
    assert (result["verdict"], done.returncode) == ("cannot tell", 1), done.stderr
    assert "test rows cannot tell" in result["reasons"][0] and "not shown:" in done.stderr
    assert "Cannot tell" in (channels / result["run"] / "report.html").read_text()


def test_unsure_rows_go_to_a_person(channels: Path) -> None:
    asked = ["--set", "answer.to_person=0.3", "--set", "answer.catch.billing=0.9", "--set", "data.split.valid=0.3"]
    done = luthier("run", "task.yaml", "--json", *asked, *accept(referred="<= 0.6", **{"caught[billing]": ">= 0.6"}), cwd=channels)
    result = only_object(done)
    assert done.returncode == 0, done.stderr
    measured = result["metrics"]["test"]
    assert 0 < measured["referred"]["value"] <= 0.6 and measured["answered_accuracy"]["value"] >= measured["accuracy"]["value"]
    folder = channels / result["run"]
    facts = json.loads((folder / "bundle/bundle.json").read_text())
    assert set(facts["answering"]) == {"catch", "trust", "least"}
    assert "What goes to a person" in (folder / "report.html").read_text()
    assert "validation rows would go to a person" in done.stderr
    answered = luthier("predict", folder, "-", text="zzz qqq unheard of\n", cwd=channels)
    assert "person" in json.loads(answered.stdout.splitlines()[0])


def test_other_rows_are_judged_as_the_runs_were(channels: Path) -> None:
    """Rows of one writer are resampled together by `evaluate` too, with the settings of the run; a part that is not there is told."""
    lines = (channels / "messages.csv").read_text().splitlines()
    (channels / "messages.csv").write_text("\n".join(f"{line},{'writer' if i == 0 else f'w{i % 40}'}" for i, line in enumerate(lines)) + "\n")
    run = only_object(luthier("run", "task.yaml", "--set", "data.split.by=writer", "--set", "evaluate.slices=[channel]", "--set", "evaluate.bootstrap=300",
                              "--set", "evaluate.robust=off", "--json", *accept(accuracy=">= 0"), cwd=channels))["run"]  # fmt: skip
    facts = json.loads((channels / run / "bundle/bundle.json").read_text())
    assert (facts["by"], facts["evaluate"]) == ("writer", {"slices": ["channel"], "bootstrap": 300, "robust": "off"})
    # What four writers said, each sixteen times over, half of it under the wrong label: so much as four rows tell.
    said = [line.split(",")[:2] for line in lines[1:5]]
    with (channels / "later.csv").open("w") as handle:
        handle.write("message,queue,channel,writer\n")
        for i, (text, queue) in enumerate(said):
            handle.writelines(f'"{text} {n}",{queue if i % 2 else "account"},{("email", "phone")[n % 2]},v{i}\n' for n in range(16))
    wide = only_object(luthier("evaluate", run, "later.csv", "--json", cwd=channels))
    rows = (channels / "later.csv").read_text().replace(",writer\n", ",author\n")
    (channels / "alone.csv").write_text(rows)
    narrow = only_object(luthier("evaluate", run, "alone.csv", "--json", cwd=channels))
    together, apart = (found["metrics"]["test"]["accuracy"] for found in (wide, narrow))
    assert together["value"] == apart["value"] and together["high"] - together["low"] > 2 * (apart["high"] - apart["low"]) > 0
    assert not any(name.startswith("stable") for name in wide["metrics"]["test"]), "the run was not asked for changed texts"
    refused(luthier("evaluate", run, "later.csv", "--accept", "accuracy{chanel=email} >= 0.5", cwd=channels), 'no test row has a column "chanel"')


def write_cases(folder: Path, label: str = "billing") -> None:
    lines = ["message,queue,ability", f"the invoice charged me twice,{label},plain", f"INVOICE CHARGED TWICE,{label},capitals",
             f"my invoice was not charged twice it was charged thrice,{label},negation"]  # fmt: skip
    (folder / "cases.csv").write_text("\n".join(lines) + "\n")


def test_functional_tests_have_pass_rates_and_bars(channels: Path) -> None:
    write_cases(channels)
    asked = ["--set", "evaluate.cases.source=cases.csv", "--set", "evaluate.cases.test=ability"]
    done = luthier("run", "task.yaml", "--json", *asked, *accept(cases=">= 0.3", accuracy=">= 0.2", **{"case[plain]": ">= 0.5"}), cwd=channels)
    result = only_object(done)
    # On other rows there are no functional tests: what they measure is not held there, and said so, instead of missed.
    later = luthier("evaluate", result["run"], "messages.csv", "--json", cwd=channels)
    assert later.returncode == 0 and sum("so it was not held here" in note for note in only_object(later)["notes"]) == 2
    record = json.loads((channels / result["run"] / "report.json").read_text())
    assert record["cases"]["tests"] == 3 and {a["ability"] for a in record["cases"]["abilities"]} == {"plain", "capitals", "negation"}
    measured = result["metrics"]["test"]
    assert measured["cases"]["value"] == pytest.approx(sum(measured[f"case[{a}]"]["value"] for a in ("plain", "capitals", "negation")) / 3)
    assert "Functional tests" in (channels / result["run"] / "report.html").read_text()
    refused(luthier("run", "task.yaml", *asked, *accept(**{"case[negations]": ">= 0.5"}), cwd=channels), "Did you mean", "case[negations]")
    write_cases(channels, "biling")
    refused(luthier("run", "task.yaml", *asked, cwd=channels), "labels that the data lacks: biling")
    refused(luthier("run", "task.yaml", *accept(cases=">= 0.3"), cwd=channels), "there are no functional tests in this task")


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("answer.catch.biling=0.9", 'there is no label "biling"'),
        ("accept.referred=<= 0.2", "no row goes to a person in this task"),
    ],
)
def test_rules_that_mean_nothing_are_told(channels: Path, setting: str, said: str) -> None:
    assert refused(luthier("run", "task.yaml", "--set", setting, cwd=channels), said)
    assert not list(channels.glob("runs/*/checkpoints"))
