"""The task file: types, lines, overrides, every fault at once, the written-out file reading the same."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.base.errors import TaskError
from luthier.spec.bars import Bar, parse_bars
from luthier.spec.load import dump_task, load_task

LEAST = "task: {objective: classify}\ndata: {source: a.csv}\n"


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "task.yaml"
    path.write_text(text)
    return path


def faults(tmp_path: Path, text: str, *overrides: str) -> list[str]:
    with pytest.raises(TaskError) as caught:
        load_task(written(tmp_path, text), overrides)
    return [str(f).replace(str(tmp_path) + "/", "") for f in caught.value.faults]


def test_the_least_file_has_every_default(tmp_path: Path) -> None:
    task = load_task(written(tmp_path, LEAST)).task
    assert (task.model.base, task.train.method, task.data.leaks, task.data.split.test) == (
        "embedded",
        "auto",
        "stop",
        0.2,
    )


def test_what_is_written_out_reads_the_same(tmp_path: Path) -> None:
    first = load_task(written(tmp_path, LEAST + 'accept: {macro_f1: ">= 80 %"}\n')).task
    assert load_task(written(tmp_path, dump_task(first))).task == first


def test_a_rate_may_be_written_as_everybody_writes_it_and_a_word_stays_a_word(tmp_path: Path) -> None:
    path = tmp_path / "task.yaml"
    path.write_text("task: {name: x, objective: classify, goal: '1e5'}\ndata: {source: x.csv}\ntrain: {rate: 2e-4, weight_decay: 1.5E-2}\n")
    file = load_task(path, ["train.lora.alpha=1e1", "data.scale=[1e0, 5, 5e-1]"])
    assert (file.task.train.rate, file.task.train.weight_decay, file.task.train.lora.alpha) == (2e-4, 1.5e-2, 10.0)
    assert file.task.data.scale == (1.0, 5.0, 0.5) or list(file.task.data.scale) == [1.0, 5.0, 0.5]
    path.write_text(dump_task(file.task))
    assert load_task(path).task == file.task and file.task.task.goal == "1e5"


def test_a_folder_means_the_task_in_it(tmp_path: Path) -> None:
    written(tmp_path, LEAST)
    assert load_task(tmp_path).path == tmp_path / "task.yaml"


def test_overrides_are_typed_and_win(tmp_path: Path) -> None:
    path = written(tmp_path, LEAST + "train: {epochs: 5}\n")
    task = load_task(
        path, ["train.epochs=2", "train.lora.rank=4", "accept.recall[a.b]=>= 0.9", "data.columns.text=body"]
    ).task
    assert (task.train.epochs, task.train.lora.rank) == (2, 4)
    assert task.accept == {"recall[a.b]": ">= 0.9"}
    assert task.data.columns == {"text": "body"}
    off = load_task(path, ["evaluate.slices=off", "evaluate.robust=off"]).task.evaluate  # to YAML 1.1 a bare off is false
    assert (off.slices, off.robust) == ("off", "off")
    assert faults(tmp_path, LEAST, "train.epochs=many") == [
        "--set train.epochs: \"train.epochs\" is 'many': it should be a valid number. Passes over the training rows; parts of a pass are allowed."
    ]


def test_paths_in_overrides_start_where_the_user_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "b.csv").write_text("x")
    path = written(tmp_path, LEAST)
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert load_task(path, ["data.source=b.csv"]).task.data.source == str(tmp_path / "elsewhere" / "b.csv")
    assert load_task(path, ["data.source=[a.csv, b.csv]"]).task.data.source == [
        "a.csv",
        str(tmp_path / "elsewhere" / "b.csv"),
    ]


def test_every_fault_has_its_line(tmp_path: Path) -> None:
    found = faults(tmp_path, "task:\n  objective: clasify\ndata:\n  source: a\n  leeks: fix\ntrain:\n  batch: 0\n")
    assert [f.split(" ")[0] for f in found] == ["task.yaml:2:", "task.yaml:5:", "task.yaml:7:"]
    assert 'Did you mean "leaks"?' in found[1]


@pytest.mark.parametrize(
    "text", ["", "- a", "x", "a: [", "a:\n\tb: 1", "? [a]\n: b", "a: &x [*x]", "task: !!python/name:os.system", "\x00"]
)
def test_what_is_no_task_file_is_told(tmp_path: Path, text: str) -> None:
    assert faults(tmp_path, text)


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=200))
def test_any_text_is_a_task_or_a_clear_error(text: str) -> None:
    from luthier.spec.load import parse_yaml

    try:
        values, _, _ = parse_yaml(text, "t.yaml")
    except TaskError as error:
        assert str(error)
    else:
        assert isinstance(values, dict)


def test_bars() -> None:
    bars, wrong = parse_bars({"a": ">= 0.80", "b": "<3", "c": "> 90 %", "d": "0.8", "e": ">= 0.8.1"})
    assert bars == [Bar("a", ">=", 0.8), Bar("b", "<", 3.0), Bar("c", ">", 0.9)]
    assert [f.where for f in wrong] == ["accept.d", "accept.e"]
    assert bars[0].holds(0.8)
    assert not bars[1].holds(3.0)
