"""What can be wrong with preferences is told before the first step, with what would work."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from making import marked, pairs

from luthier.base.errors import DataError, TaskError
from luthier.data.prepare import survey
from luthier.lifecycle.checking import check_task
from luthier.objectives.prefer import Preferrer
from luthier.objectives.preferring import settled
from luthier.spec.data import DataSection
from luthier.spec.load import load_task
from luthier.spec.prefer import Prefer


def task(folder: Path, **train: Any) -> Path:
    (folder / "pairs.jsonl").write_text('{"prompt": "a", "chosen": "b", "rejected": "c"}\n', encoding="utf-8")
    values = {
        "task": {"objective": train.pop("objective", "prefer")},
        "data": {"source": "pairs.jsonl"},
        "train": train,
    }
    path = folder / "t.yaml"
    path.write_text(json.dumps(values), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("train", "words"),
    [
        ({"prefer": {"loss": "dpo", "gamma": 0.5}}, "dpo does not read gamma. Leave it out; simpo would read it."),
        ({"prefer": {"loss": "orpo", "sft_weight": 1.0}}, "orpo does not read sft_weight"),
        ({"prefer": {"loss": "kto", "label_smoothing": 0.1}}, "kto does not read label_smoothing"),
        (
            {"prefer": {"loss": "ipo", "good_weight": 2.0}},
            "ipo does not read good_weight. Leave it out; kto would read it.",
        ),
        ({"label_smoothing": 0.1}, "answers that are compared have no labels to smooth"),
        ({"objective": "generate", "prefer": {"beta": 0.3}}, "`generate` has no preferences to weigh"),
    ],
)
def test_a_key_that_would_do_nothing_is_an_error(train, words, tmp_path: Path) -> None:
    with pytest.raises(TaskError) as caught:
        check_task(load_task(task(tmp_path, **train), []))
    assert words in str(caught.value)
    assert "t.yaml: train." in str(caught.value)


@pytest.mark.parametrize(
    "prefer", [{"beta": 0.0}, {"beta": -1.0}, {"label_smoothing": 0.5}, {"gamma": -0.1}, {"loss": "ppo"}]
)
def test_values_out_of_range_are_refused(prefer, tmp_path: Path) -> None:
    with pytest.raises(TaskError, match=rf"train\.prefer\.{next(iter(prefer))}"):
        load_task(task(tmp_path, prefer=prefer), [])


def test_auto_follows_the_data() -> None:
    found = settled(Prefer(), Preferrer.look(pairs(9)))
    assert (found.loss, found.beta, found.gamma) == ("dpo", 0.1, "auto")
    found = settled(Prefer(), Preferrer.look(marked(30)))
    assert (found.loss, found.good_weight, found.bad_weight) == ("kto", 1.0, 2.0)
    assert settled(found, Preferrer.look(marked(30))) == found
    assert settled(Prefer(loss="simpo"), {}).gamma == 1.0
    assert settled(Prefer(loss="kto"), Preferrer.look(pairs(9))).good_weight == 1.0


def test_data_that_a_loss_cannot_learn_from_is_refused() -> None:
    with pytest.raises(DataError, match=r"dpo compares pairs of answers.*Set it to kto"):
        settled(Prefer(loss="dpo"), Preferrer.look(marked(9)))
    good = [e for e in marked(9) if e.target["desirable"]]
    with pytest.raises(DataError, match=r"all 6 are good.*good answers alone are what `generate` learns from"):
        settled(Prefer(), Preferrer.look(good))
    with pytest.raises(TaskError, match="kto does not read sft_weight"):
        settled(Prefer(sft_weight=1.0), Preferrer.look(marked(9)))


def test_several_pairs_of_one_prompt_are_kept_and_stand_on_one_side(tmp_path: Path) -> None:
    rows = [{"prompt": f"q{i}", "chosen": f"good {k}", "rejected": f"bad {k}"} for i in range(40) for k in range(2)]
    rows += [dict(rows[0]), {"prompt": "q1", "chosen": "bad 0", "rejected": "good 0"}]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    found = survey(DataSection(source="pairs.jsonl"), "prefer", base=tmp_path)
    # Told twice, and the other way round: only these two are left out.
    assert len(found.train) + len(found.valid) + len(found.test) == 80
    assert sum(found.report.dropped.values()) == 2
    sides = [{e.inputs["messages"][0]["content"] for e in side} for side in (found.train, found.valid, found.test)]
    assert all(sides)
    assert not sides[0] & sides[1]
    assert not (sides[0] | sides[1]) & sides[2]
