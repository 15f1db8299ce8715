"""What a user does wrong: exit code 2, what, where and how to mend it, never a traceback, nothing lost."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from commands import luthier, only_object, refused


def rewrite(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("source: messages.csv", "source: mesages.csv", ["mesages.csv", 'Did you mean "messages.csv"?']),
        ("text: message", "text: mesage", ["mesage", 'Did you mean "message"?']),
        ("label: queue", "label: topic", ["topic", "message", "queue"]),
        ("objective: classify", "objective: clasify", ["task.yaml:1", 'Did you mean "classify"?']),
        ("epochs: 2", "epoch: 2", ["task.yaml:9", 'unknown key "train.epoch"', 'Did you mean "epochs"?']),
        ("batch: 16", "batch: sixteen", ["train.batch", "task.yaml:9"]),
        ('">= 0.5"', '"0.5"', ['"0.5" is not a bar', ">= 0.80"]),
        ("macro_f1", "macrof1", ["macrof1", 'Did you mean "macro_f1"?']),
        ('{macro_f1: ">= 0.5"}', '{"recall[bililng]": ">= 0.5"}', ["bililng", "billing"]),
        ("macro_f1", "recall[billing]", ["Inside braces a name with [ ] needs quotes"]),
        ("accept:", "accept: [", ["this is not YAML", "task.yaml:"]),
        ("task:", "task: {}\ntask:", ["given twice"]),
        ("pooling: mean", "max_tokens: 100000", ["at most 64 tokens"]),
        ("rate: 0.002", "rate: 0.002, method: last-layers, layers: 9", ["has 2 layers, 9 are asked for"]),
        ("rate: 0.002", "rate: 0.002, method: lora, lora: {targets: [q_proj]}", ["q_proj", "query"]),
        ("rate: 0.002", "rate: 0.002, metric: rougeL", ["rougeL"]),
    ],
)
def test_a_fault_of_the_task_is_told_with_its_mend(project: Path, old: str, new: str, words: list[str]) -> None:
    rewrite(project / "task.yaml", old, new)
    assert refused(luthier("run", "task.yaml", cwd=project), *words)


def test_a_base_that_is_not_there_is_told_before_the_data_is_read(project: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for base, words in (("/no/such/model", 'no folder "/no/such/model"'), (str(tmp_path / "empty"), "no config.json")):
        assert refused(luthier("run", "task.yaml", "--set", f"model.base={base}", "--out", "out", cwd=project), words)
        assert not (project / "out").exists()


def test_all_faults_come_at_once_and_as_json(project: Path) -> None:
    (project / "task.yaml").write_text("task: {objective: classify, nam: x}\ndata: {sorce: a}\ntrain: {rate: fast}\n")
    done = luthier("run", "task.yaml", "--json", cwd=project)
    faults = only_object(done)["error"]["faults"]
    assert done.returncode == 2
    assert len(faults) == 4
    assert all(set(f) == {"what", "where", "mend"} for f in faults)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", ["messages.csv"]),
        (b"message,queue\n", ["no rows"]),
        (b"message,queue\nhello,a\nworld,a\nthere,a\nagain,a\n", ["every train row has the label", "a"]),
        (b"message,queue\nhello,a\nw\xf6rld,b\n", ["messages.csv:3", "data.encoding: cp1252"]),
        (b'message,queue\nhello,a\n"open,b\nmore,a\n', ["messages.csv:3"]),
        (b"message,queue\nhello,a,b\nworld,b\n", ["messages.csv:2"]),
        (b"message,message,queue\nx,hello,a\n", ["message", "twice"]),
        (b"\x00\x01\x02binary\x00", ["messages.csv"]),
    ],
)
def test_a_fault_of_the_data_is_told_with_its_line(project: Path, content: bytes, words: list[str]) -> None:
    (project / "messages.csv").write_bytes(content)
    assert refused(luthier("run", "task.yaml", cwd=project), *words)
    assert not list((project / "runs").glob("*/bundle"))


def test_a_damaged_gzip_and_broken_json_lines(project: Path) -> None:
    whole = gzip.compress((project / "messages.csv").read_bytes())
    (project / "messages.csv.gz").write_bytes(whole[: len(whole) // 2])
    assert refused(luthier("check", "task.yaml", "--set", "data.source=messages.csv.gz", cwd=project), "messages.csv.gz")
    (project / "rows.jsonl").write_text('{"message": "hi", "queue": "a"}\n{"message": "cut sho\n')
    assert refused(luthier("check", "task.yaml", "--set", "data.source=rows.jsonl", cwd=project), "rows.jsonl:2")


def test_a_label_seen_in_test_only(project: Path) -> None:
    (project / "test.csv").write_text("message,queue\nsomething quite new,drones\nwhere is my own parcel,delivery\n")
    done = luthier("run", "task.yaml", "--set", "data.test=test.csv", cwd=project)
    assert refused(done, "drones", "test.csv:2")


def test_a_leak_stops_unless_it_is_fixed_or_allowed(project: Path) -> None:
    lines = (project / "messages.csv").read_text().splitlines()
    (project / "test.csv").write_text("\n".join([lines[0], *lines[5:25]]) + "\n")
    options = ["--set", "data.test=test.csv"]
    assert refused(
        luthier("run", "task.yaml", *options, cwd=project), "shared between splits", "data.leaks: fix", "messages.csv:6"
    )
    found = luthier("check", "task.yaml", "--json", *options, cwd=project)
    assert (found.returncode, only_object(found)["leaks"]["exact"]) == (2, 20)
    fixed = luthier("run", "task.yaml", *options, "--set", "data.leaks=fix", "--json", cwd=project)
    assert only_object(fixed)["data"]["leaks"] == 0
    allowed = luthier("run", "task.yaml", *options, "--set", "data.leaks=allow", "--json", cwd=project)
    assert only_object(allowed)["data"]["leaks"] == 20


def test_a_hub_name_without_a_network(project: Path, tiny_bert: Path) -> None:
    rewrite(project / "task.yaml", str(tiny_bert), "some-org/some-model")
    assert refused(luthier("run", "task.yaml", cwd=project), "some-org/some-model", "hf download", "embedded")


def test_a_model_folder_that_is_not_fit(project: Path, tiny_bert: Path) -> None:
    folder = project / "model"
    rewrite(project / "task.yaml", str(tiny_bert), "model")
    assert refused(luthier("run", "task.yaml", cwd=project), "model")
    shutil.copytree(tiny_bert, folder)
    weights = folder / "model.safetensors"
    kept = weights.read_bytes()
    weights.write_bytes(kept[: len(kept) // 2])
    assert refused(luthier("run", "task.yaml", "--again", cwd=project), "cannot be loaded")
    weights.rename(folder / "pytorch_model.bin")
    assert refused(luthier("run", "task.yaml", "--again", cwd=project), "only pickled weights")
    (folder / "pytorch_model.bin").rename(weights)
    (folder / "config.json").write_text(
        json.dumps({"model_type": "no-such-thing", "auto_map": {"AutoModel": "evil.Model"}})
    )
    assert refused(luthier("run", "task.yaml", "--again", cwd=project), "no-such-thing")


def test_code_named_in_a_model_folder_is_never_run(project: Path, tiny_bert: Path) -> None:
    folder = project / "model"
    shutil.copytree(tiny_bert, folder)
    (folder / "evil.py").write_text("open('ran', 'w')\n")
    config = json.loads((folder / "config.json").read_text())
    config |= {
        "auto_map": {"AutoConfig": "evil.C", "AutoModel": "evil.M"},
        "_attn_implementation": "someone/kernel",
        "trust_remote_code": True,
    }
    (folder / "config.json").write_text(json.dumps(config))
    tokenizer = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(
        json.dumps({**tokenizer, "auto_map": {"AutoTokenizer": ["evil.T", None]}})
    )
    rewrite(project / "task.yaml", str(tiny_bert), "model")
    done = luthier("run", "task.yaml", "--set", "train.max_steps=1", cwd=project)
    assert not list(project.rglob("ran"))
    assert done.returncode in (0, 1), done.stderr


def test_an_encoder_cannot_generate_and_says_so(project: Path) -> None:
    (project / "chat.jsonl").write_text(
        "".join(json.dumps({"prompt": f"q {i}", "completion": f"a {i}"}) + "\n" for i in range(40))
    )
    (project / "chat.yaml").write_text("task: {objective: generate}\ndata: {source: chat.jsonl}\nmodel: {base: all-MiniLM-L6-v2}\n")
    assert refused(luthier("run", "chat.yaml", cwd=project), "needs a decoder")


def test_wrong_words_on_the_command_line(project: Path) -> None:
    assert refused(luthier("rnu", "task.yaml", cwd=project), "Did you mean 'run'?")
    assert refused(luthier("run", "nothing.yaml", cwd=project), "no such task file", "luthier init")
    assert refused(luthier("run", "task.yaml", "--set", "train.rate", cwd=project), "section.key=value")
    assert refused(luthier("predict", "nowhere", "messages.csv", cwd=project), "no bundle here")
    assert refused(luthier("harvest", "--ledger", "none.sqlite", cwd=project), "no such ledger")
    assert refused(luthier("report", "nowhere", cwd=project), "report.json")
    assert refused(luthier("run", "task.yaml", "--set", "evaluate.against=nowhere", cwd=project), "no bundle here")


def test_init_writes_a_task_that_runs_and_never_overwrites(project: Path) -> None:
    done = luthier("init", "messages.csv", cwd=project)
    assert done.returncode == 0, done.stderr
    assert "text: message" in (project / "luthier.yaml").read_text()
    assert refused(luthier("init", "messages.csv", cwd=project), "there already", "--force")
    assert luthier("check", "luthier.yaml", cwd=project).returncode == 0
    run = luthier("run", "luthier.yaml", "--set", "train.max_steps=1", "--json", cwd=project)
    assert run.returncode in (0, 1), run.stderr
    assert only_object(run)["model"]["base"] == "all-MiniLM-L6-v2"


@pytest.fixture
def small_disk(tmp_path: Path):
    """A file system of 3 MB."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("notice: mounting a small file system needs root; the full-disk test is skipped")
    folder = tmp_path / "small"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)], capture_output=True).returncode:
        pytest.skip("notice: a small file system cannot be mounted here; the full-disk test is skipped")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_ends_cleanly_and_goes_on_when_there_is_room(project: Path, small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * 3_030_000)
    done = luthier("run", "task.yaml", "--out", small_disk / "run", cwd=project)
    assert refused(done, "the disk is full", "--out")
    assert not (small_disk / "run" / "bundle").exists()
    assert not [p for p in (small_disk / "run").iterdir() if p.name.startswith(".bundle")]
    ballast.unlink()
    # The report page alone is larger than this disk: training and packing now fit, the page does not, and that is said.
    second = luthier("train", "task.yaml", "--out", small_disk / "run", cwd=project)
    assert second.returncode == 0, second.stderr
    assert (small_disk / "run" / "bundle" / "bundle.json").exists()
    assert refused(luthier("run", "task.yaml", "--out", small_disk / "run", cwd=project), "the disk is full")


def test_a_folder_that_cannot_be_written(project: Path) -> None:
    (project / "taken").write_text("a file, not a folder")
    assert refused(luthier("run", "task.yaml", "--out", "taken", cwd=project), "taken")
