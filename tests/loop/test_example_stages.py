"""The example with stages, in short form: its own task file on a tiny model."""

from __future__ import annotations

from pathlib import Path

from commands import luthier, only_object

EXAMPLE = Path(__file__).parents[2] / "examples" / "queue-then-urgency"


def test_the_example_runs_in_short_form(tmp_path: Path, tiny_bert: Path) -> None:
    short = (
        f"model.base={tiny_bert}",
        "model.pooling=mean",
        "train.max_steps=2",
        "data.label_errors=off",
        "data.semantic=off",
    )
    options = [word for one in short for word in ("--set", one)]
    done = luthier("run", EXAMPLE, "--out", "out", "--json", *options, cwd=tmp_path)
    result = only_object(done)
    assert done.returncode in (0, 1), done.stderr
    assert [stage["name"] for stage in result["stages"]] == ["queue", "urgency"]
    assert result["sequence"]["crossed"] == {}
    assert result["stages"][1]["rehearsed"]["queue"] == round(0.05 * result["stages"][0]["splits"]["train"])
    assert {"macro_f1@queue", "forgetting[queue]", "recall[urgent]"} <= set(result["metrics"]["test"])
