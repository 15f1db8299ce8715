"""A task with stages as a user runs it: files, figures, bars, serving by stage, resume, and what is refused."""

from __future__ import annotations

import csv
import json
import signal
import time
from pathlib import Path

import pytest
from commands import luthier, only_object, refused, start
from conftest import write_messages

TASK = """\
task: {{name: two, objective: classify, goal: Learn one queue after the other.}}
data:
  columns: {{text: message, label: queue}}
  semantic: off
  label_errors: off
  leaks: allow
model: {{base: {base}, pooling: mean}}
train: {{epochs: 2, batch: 16, rate: 0.002}}
stages:
  - name: general
    data: {{source: messages.csv}}
  - name: technical
    data: {{source: technical.csv, columns: {{text: words, label: team}}}}
    train: {{epochs: 1}}
keep: {{rehearse: {{share: 0.1}}}}
accept:
  macro_f1: ">= 0.3"
  macro_f1@general: ">= 0.3"
  forgetting: "<= 0.6"
"""
TEAMS = {"delivery": "van", "billing": "desk", "account": "desk"}


@pytest.fixture
def staged(tmp_path: Path, tiny_bert: Path) -> Path:
    write_messages(tmp_path / "messages.csv", 160)
    write_messages(tmp_path / "other.csv", 160, seed=7)
    with (
        (tmp_path / "other.csv").open(newline="") as read,
        (tmp_path / "technical.csv").open("w", newline="") as written,
    ):
        writer = csv.writer(written)
        writer.writerow(["words", "team"])
        writer.writerows([row["message"], TEAMS[row["queue"]]] for row in csv.DictReader(read))
    (tmp_path / "task.yaml").write_text(TASK.format(base=tiny_bert))
    return tmp_path


def bundle_id(folder: Path) -> str:
    return json.loads((folder / "manifest.json").read_text())["bundle_id"]


def test_stages_run_to_one_verdict_and_a_bundle_each(staged: Path) -> None:
    done = luthier("run", "task.yaml", "--json", "--out", "out", cwd=staged)
    result = only_object(done)
    assert done.returncode == 0, done.stderr
    assert [stage["name"] for stage in result["stages"]] == ["general", "technical"]
    found = result["sequence"]
    (first, none), (after, own) = found["test"]
    assert none is None
    assert found["by_stage"]["general"] == pytest.approx(max(first, after) - after)
    assert result["metrics"]["test"]["macro_f1"]["value"] == pytest.approx(own)
    assert result["metrics"]["test"]["macro_f1@general"]["value"] == pytest.approx(after)
    low, high = (result["metrics"]["test"]["forgetting"][end] for end in ("low", "high"))
    assert low <= found["forgetting"] <= high
    # Every bar knows its rows, those on an earlier stage too; what was forgotten is a difference and has none.
    tested = {stage["name"]: stage["splits"]["test"] for stage in result["stages"]}
    bars = {bar["metric"]: bar.get("units") for bar in json.loads((staged / "out/report.json").read_text())["bars"]}
    assert bars == {"macro_f1": tested["technical"], "macro_f1@general": tested["general"], "forgetting": None}
    assert set(result["probe"]) == {"kind", "before", "after", "change", "words"}
    # A tenth of the earlier train rows is rehearsed, as many of each label as there are.
    train = sum(1 for _ in next((staged / "out/stages/general/prepared").glob("*/train.jsonl")).open())
    assert result["stages"][1]["rehearsed"] == {"general": max(1, round(0.1 * train))}
    assert bundle_id(staged / "out/bundle") == bundle_id(staged / "out/stages/technical/bundle")
    assert not list((staged / "out/stages").glob("*/trained"))
    assert {p.name for p in (staged / "out/stages/general").iterdir()} >= {
        "bundle",
        "prepared",
        "report.json",
        "report.html",
    }
    again = luthier("run", "task.yaml", "--json", "--out", "out", cwd=staged)
    assert "nothing changed" in again.stderr


@pytest.mark.slow
def test_every_stage_answers_by_its_name(staged: Path) -> None:
    assert luthier("train", "task.yaml", "--out", "out", cwd=staged).returncode == 0
    text = "where is my parcel\n"
    for options, labels in (([], {"van", "desk"}), (["--stage", "general"], {"delivery", "billing", "account"}),
                            (["--stage", "technical"], {"van", "desk"})):  # fmt: skip
        answer = luthier("predict", "out", "-", *options, cwd=staged, text=text)
        assert set(json.loads(answer.stdout)["scores"]) == labels, answer.stderr
    refused(luthier("predict", "out", "-", "--stage", "tecnical", cwd=staged, text=text), 'Did you mean "technical"?')
    # Judged later, from the states that training left.
    judged = only_object(luthier("run", "task.yaml", "--out", "out", "--json", cwd=staged))
    assert judged["sequence"]["test"][1][0] is not None


@pytest.mark.parametrize("keep", ["progressive", "ewc"])
def test_columns_keep_every_earlier_answer_bit_for_bit(staged: Path, keep: str) -> None:
    care = {"progressive": ["keep.columns=progressive", "keep.rehearse.share=auto"],
            "ewc": ["keep.penalty.kind=ewc", "keep.rehearse.share=0", "keep.blend=auto"]}[keep]  # fmt: skip
    options = [word for one in care for word in ("--set", one)]
    result = only_object(luthier("run", "task.yaml", "--json", "--out", "out", *options, cwd=staged))
    found = result["sequence"]
    if keep == "ewc":
        curve = found["blends"]["technical"]["curve"]
        assert [point["share"] for point in curve][:2] == [0.0, 0.1]
        assert set(curve[0]["scores"]) == {"general", "technical"}
        # The whole of the weights before is what the first stage had.
        assert curve[-1]["scores"]["general"] == pytest.approx(found["valid"][0][0])
        return
    assert found["test"][0][0] == found["test"][1][0]
    assert found["forgetting"] == 0.0
    alone = ["--set", "keep.rehearse.share=auto", "--set", "keep.columns=progressive"]
    short = staged / "short.yaml"
    lines = (
        (staged / "task.yaml").read_text().replace("    data: {source: technical.csv", "    data: {source: third.csv")
    )
    (staged / "third.csv").write_bytes((staged / "technical.csv").read_bytes())
    short.write_text(lines.replace("train: {epochs: 1}", "train: {epochs: 2, rate: 0.01}"))
    other = luthier("run", "short.yaml", "--out", "other", *alone, cwd=staged)
    assert other.returncode in (0, 1), other.stderr
    # Whatever the second stage learnt, the first answers the same to the last bit.
    answers = [luthier("predict", f, "messages.csv", "--stage", "general", cwd=staged).stdout for f in ("out", "other")]
    assert answers[0] == answers[1]


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_a_run_stopped_in_its_second_stage_goes_on_there(staged: Path, number: signal.Signals, code: int) -> None:
    options = [
        "--set",
        "stages.technical.train.epochs=25",
        "--set",
        "train.checkpoint_s=0",
        "--set",
        "train.patience=99",
    ]
    whole = only_object(luthier("run", "task.yaml", "--out", "whole", "--json", *options, cwd=staged))
    running = start("run", "task.yaml", "--out", "cut", *options, cwd=staged)
    events = staged / "cut" / "events.jsonl"

    def steps() -> int:
        lines = events.read_text().splitlines() if events.exists() else []
        return sum('"kind": "step"' in line and '"stage": "technical"' in line for line in lines)

    deadline = time.monotonic() + 120
    while steps() < 6:
        assert running.poll() is None, running.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.005)
    running.send_signal(number)
    _, words = running.communicate(timeout=60)
    assert running.returncode == code, words
    done = luthier("run", "task.yaml", "--out", "cut", "--json", *options, cwd=staged)
    # The first stage is not done again, and the second goes on from a step of its own.
    said = [json.loads(line) for line in events.read_text().splitlines()]
    last = max(i for i, e in enumerate(said) if e["kind"] == "start")
    assert not [e for e in said[last:] if e["kind"] == "step" and e["stage"] == "general"]
    resumed = [e for e in said[last:] if e["kind"] == "resumed"]
    assert resumed[-1]["checkpoint"].startswith("step-"), done.stderr
    assert only_object(done)["metrics"] == whole["metrics"]
    for stage in ("general", "technical"):
        assert bundle_id(staged / "cut/stages" / stage / "bundle") == bundle_id(
            staged / "whole/stages" / stage / "bundle"
        )


@pytest.mark.parametrize(
    ("sets", "words"),
    [
        (["keep.columns=progressive", "keep.blend=auto"], ["bit for bit", "keep.blend", "keep.rehearse.share"]),
        (["keep.columns=progressive", "keep.rehearse.share=0", "train.method=lora"], ["stages.1.train.method", "full"]),
        (["keep.penalty.kind=ewc", "train.method=lora"], ["does not move them", "full or last-layers"]),
        (["stages.technical.name=general"], ['two stages are called "general"']),
        (["accept.accuracy@genral=>= 0.5"], ["genral", 'Did you mean "general"?']),
        (["accept.forgetting[technical]=<= 0.1"], ["nothing to forget"]),
        (["stages.general.train.epoch=3"], ['Did you mean "epochs"?']),
        (["stages.tecnical.train.epochs=3"], ['Did you mean "technical"?']),
        (["keep.blend=1.5"], ["keep.blend"]),
        (["stages.technical.data.columns.label=queue"], ["queue", "words"]),
    ],
)  # fmt: skip
def test_what_cannot_be_is_told_before_the_first_step(staged: Path, sets: list[str], words: list[str]) -> None:
    options = [word for one in sets for word in ("--set", one)]
    refused(luthier("run", "task.yaml", "--out", "out", *options, cwd=staged), *words)
    events = staged / "out/events.jsonl"
    assert not events.exists() or '"kind": "step"' not in events.read_text()


def test_test_rows_of_one_stage_stay_out_of_the_training_of_another(staged: Path) -> None:
    rows = (staged / "messages.csv").read_text().splitlines()[1:]
    words = [row.rsplit(",", 2)[0] for row in rows]
    extra = "".join(f"{text},{'van' if i % 2 else 'desk'}\n" for i, text in enumerate(words))
    with (staged / "technical.csv").open("a") as file:
        file.write(extra)
    policy = ["--set", "data.split.seed=3"]  # another division of the second stage: some rows change sides
    stop = luthier("run", "task.yaml", "--out", "a", *policy, "--set", "data.leaks=allow",
                   "--set", "stages.technical.data.leaks=stop", "--set", "stages.technical.data.near=1.0", cwd=staged)  # fmt: skip
    refused(stop, "for training and of another for testing", "data.leaks: fix")
    fixed = only_object(luthier("train", "task.yaml", "--out", "b", "--json", "--set", "data.leaks=fix", cwd=staged))
    assert fixed["sequence"]["crossed"] == {}
    folders = [next((staged / "b/stages" / name / "prepared").iterdir()) for name in ("general", "technical")]
    tested = {json.loads(line)["inputs"]["text"] for line in (folders[0] / "test.jsonl").open()}
    trained = {json.loads(line)["inputs"]["text"] for line in (folders[1] / "train.jsonl").open()}
    assert tested & trained, "the rows of this test must overlap"
    told = only_object(luthier("run", "task.yaml", "--out", "c", "--json", cwd=staged))
    assert told["sequence"]["crossed"]["technical"] >= len(tested & trained)
    assert any("that test another stage" in note for note in told["notes"])


def test_nothing_to_keep_and_labels_that_clash_are_told(staged: Path) -> None:
    text = (staged / "task.yaml").read_text()
    alone = text[: text.index("  - name: technical")] + text[text.index("keep:") :]
    (staged / "alone.yaml").write_text(alone)
    refused(
        luthier("run", "alone.yaml", cwd=staged), "no earlier stage", "keep.rehearse.share", "forgetting", "has one"
    )
    plain = alone.replace("stages:\n  - name: general\n    data: {source: messages.csv}\n", "")
    (staged / "plain.yaml").write_text(plain.replace("data:\n", "data:\n  source: messages.csv\n", 1))
    refused(luthier("run", "plain.yaml", cwd=staged), "no earlier stage", "keep.rehearse.share")
    rows = (staged / "technical.csv").read_text().replace(",desk", ",billing")
    (staged / "technical.csv").write_text(rows)
    done = luthier("run", "task.yaml", "--out", "out", "--set", "keep.head=shared", cwd=staged)
    refused(done, "general and technical both have", '"billing"', "keep.head: own")
    assert luthier("train", "task.yaml", "--out", "own", cwd=staged).returncode == 0


def test_a_learning_curve_is_one_tasks_and_that_is_told_before_the_data_is_read(staged: Path) -> None:
    for name in ("messages.csv", "technical.csv"):
        (staged / name).unlink()
    words = ("this task has stages", "a task file of its own")
    refused(luthier("curve", "task.yaml", "--out", "curve", cwd=staged), "task.yaml: stages", *words)
    asked = ("--set", "evaluate.learning_curve=true")
    for verb in ("run", "plan"):
        refused(luthier(verb, "task.yaml", *asked, cwd=staged), "task.yaml: evaluate.learning_curve", *words)
    assert not (staged / "curve").exists() and not (staged / "runs").exists()


@pytest.mark.slow
@pytest.mark.parametrize("care", ["rehearse", "ewc"])
def test_a_decoder_goes_from_text_to_answers(chat_project: Path, care: str) -> None:
    """Stages of different objectives share one decoder; the earlier one is rehearsed with its own loss, or pulled back to."""
    texts = [f"The {a} stands {b} the {c}." for a in ("lamp", "box", "cup", "dog") for b in ("near", "on", "by")
             for c in ("table", "door", "shelf", "wall", "bed")]  # fmt: skip
    (chat_project / "texts.jsonl").write_text("".join(json.dumps({"text": t}) + "\n" for t in texts))
    task = (chat_project / "task.yaml").read_text().replace(
        "data: {source: sums.jsonl, semantic: off}\n",
        "data: {semantic: off, leaks: allow}\nstages:\n"
        "  - {name: prose, objective: text, data: {source: texts.jsonl, columns: {text: text}}, train: {method: full}}\n"
        "  - {name: sums, data: {source: sums.jsonl}, train: {method: full}}\n",
    )  # fmt: skip
    keep = "keep: {rehearse: {share: 0.2}}\n" if care == "rehearse" else "keep: {penalty: {kind: ewc, rows: 8}, blend: 0.5}\n"
    (chat_project / "task.yaml").write_text(task + keep)
    done = luthier("run", "task.yaml", "--json", "--out", "out", "--set", "train.max_steps=6", cwd=chat_project)
    result = only_object(done)
    assert done.returncode in (0, 1), done.stderr
    assert [stage["objective"] for stage in result["stages"]] == ["text", "generate"]
    found = result["sequence"]
    assert found["test"][1][0] is not None and found["test"][1][1] is not None
    assert result["probe"]["kind"] == "bits_per_byte"
    if care == "rehearse":
        assert result["stages"][1]["rehearsed"]["prose"] > 0
    else:
        assert found["blends"]["sums"]["share"] == 0.5
    answer = luthier("predict", "out", "-", cwd=chat_project, text="3 + 4\n")
    assert set(json.loads(answer.stdout)) == {"text", "finish"}


@pytest.mark.slow
def test_a_stage_declines_what_is_of_none_of_its_labels(staged: Path) -> None:
    with (staged / "talk.csv").open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["words"])
        writer.writerows([f"sing a song number {i * 7919} about the {word} moon"] for i in range(40) for word in ("red", "blue"))
    own = "{source: technical.csv, columns: {text: words, label: team}, out_of_scope: {label: none, source: talk.csv}}"
    text = (staged / "task.yaml").read_text().replace("{source: technical.csv, columns: {text: words, label: team}}", own)
    (staged / "task.yaml").write_text(text + '  oos_auroc: ">= 0.0"\n  in_scope_kept@technical: ">= 0.2"\nanswer: {out_of_scope: {keep: 0.8}}\n')
    # Trained and judged apart: what is fitted at the end is fitted again where a run goes on from what it kept.
    assert luthier("train", "task.yaml", "--out", "out", cwd=staged).returncode == 0
    done = luthier("run", "task.yaml", "--json", "--out", "out", cwd=staged)
    result = only_object(done)
    assert done.returncode == 0, done.stderr
    figures = result["metrics"]["test"]
    assert figures["oos_recall"]["value"] is not None and figures["in_scope_kept@technical"]["value"] >= 0.2
    assert "oos_auroc@general" not in figures, "no row of that stage is out of scope"
    # What was forgotten is of rows that have a label.
    assert all(value is None or 0 <= value <= 1 for row in result["sequence"]["test"] for value in row)
    record = json.loads((staged / "out/report.json").read_text())
    assert record["training"]["scope"]["name"] == "none" and record["confusion"]["labels"][-1] == "none"
    text = "".join(f"sing a song number {i} about the green moon\n" for i in range(20))
    answers = [json.loads(line) for line in luthier("predict", "out", "-", cwd=staged, text=text).stdout.splitlines()]
    assert all("out_of_scope" in answer for answer in answers)
    general = [json.loads(line) for line in luthier("predict", "out", "-", "--stage", "general", cwd=staged, text=text).stdout.splitlines()]
    assert not any("out_of_scope" in answer for answer in general)
    again = ["--set", "keep.head=shared", "--set", "accept.oos_auroc=", "--set", "accept.in_scope_kept@technical="]
    refused(luthier("run", "task.yaml", "--out", "other", *again, cwd=staged), "one head for all stages", "keep.head: own")
