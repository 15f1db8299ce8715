"""The short forms of the examples that write: a few rows and steps on the tiny Llama of llama2.c."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.local import gsm8k, tiny_llama, tinystories
from luthier.lifecycle.circle import run
from luthier.spec.load import load_task

EXAMPLES = Path(__file__).parents[2] / "examples"
SHORT = ["data.leaks=allow", "train.max_steps=3", "train.rate=0.001", "train.method=full", "train.batch=4", "train.watched_rows=0",
         "evaluate.generate_rows=3", "evaluate.max_new_tokens=12", "evaluate.bootstrap=100", "model.max_tokens=256"]  # fmt: skip


@pytest.fixture(scope="module")
def base(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not (shared_data.parent / "models" / "llama2c_stories260K").is_dir():
        pytest.skip("notice: the tiny Llama is not beside the project (shared/models); this test reads it")
    folder = tmp_path_factory.mktemp("base") / "tiny_llama"
    tiny_llama.write(shared_data, folder)
    return folder


def head_of(path: Path, count: int) -> Path:
    """Keep the first lines of a file."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join(lines[:count]), encoding="utf-8")
    return path


def figures(example: str, base: Path, folder: Path, *more: str) -> dict:
    done = run(EXAMPLES / example, overrides=[f"model.base={base}", *SHORT, *more], out=folder / "run")
    assert (folder / "run" / "report.html").is_file()
    return done.record


@pytest.mark.parametrize("name", ["story-model", "legal-plain-language", "math-word-problems", "dialogue-summary"])
def test_the_task_files_are_sound(name: str) -> None:
    task = load_task(EXAMPLES / name).task
    assert task.task.name == name
    assert task.accept
    assert (EXAMPLES / name / "README.md").is_file()


@pytest.mark.slow
def test_stories(shared_data: Path, base: Path, tmp_path: Path) -> None:
    train, valid = tinystories.write(shared_data, tmp_path)
    record = figures(
        "story-model", base, tmp_path, f"data.source={head_of(train, 60)}", f"data.test={head_of(valid, 20)}"
    )
    assert record["metrics"]["test"]["bits_per_byte"]["value"] < record["baselines"]["untuned"]["bits_per_byte"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["legal-plain-language", "dialogue-summary"])
def test_rows_of_our_own(name: str, base: Path, tmp_path: Path) -> None:
    record = figures(name, base, tmp_path, "data.semantic=off")
    measured = record["metrics"]["test"]
    assert measured["perplexity"]["value"] < record["baselines"]["untuned"]["perplexity"]
    # Every bar of the task file can be measured on these rows.
    told = {bar["metric"]: bar for bar in record["bars"]}
    assert set(told) == set(load_task(EXAMPLES / name).task.accept)
    assert all(bar["value"] is not None for bar in told.values())


@pytest.mark.slow
def test_word_problems(shared_data: Path, base: Path, tmp_path: Path) -> None:
    train, test = gsm8k.write(shared_data, tmp_path)
    sources = (f"data.source={head_of(train, 60)}", f"data.test={head_of(test, 20)}")
    record = figures("math-word-problems", base, tmp_path, *sources)
    assert record["metrics"]["test"]["perplexity"]["value"] < record["baselines"]["untuned"]["perplexity"]
    assert record["metrics"]["test"]["last_number"]["value"] is not None
