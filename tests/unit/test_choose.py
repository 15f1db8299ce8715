"""What `method: auto` chooses, and why."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from making import LABELS, labelled, learner_of, pairs, sums

from luthier.base.errors import ModelError
from luthier.models import memory
from luthier.objectives.generate import Generator
from luthier.spec.train import TrainSection
from luthier.train import choose
from luthier.train.choose import Choice, choose_method


def test_an_encoder_is_tuned_whole_where_it_fits(tiny_bert: Path) -> None:
    choice = choose_method(learner_of(tiny_bert, "classify", LABELS), labelled(300), TrainSection())
    assert choice.method == "full"
    assert "300 rows" in choice.why
    assert choice.facts["needs_bytes"]["lora"] < choice.facts["needs_bytes"]["full"]


def test_a_decoder_gets_low_rank_updates_unless_it_is_small(tiny_llama: Path, monkeypatch) -> None:
    choice = choose_method(learner_of(tiny_llama, "generate"), sums(30), TrainSection())
    assert choice.method == "full" and "small" in choice.why
    monkeypatch.setattr(Generator, "small_below", 1000)
    choice = choose_method(learner_of(tiny_llama, "generate"), sums(30), TrainSection())
    assert choice.method == "lora"
    assert "writes" in choice.why


@pytest.mark.parametrize("objective", ["generate", "prefer"])
def test_a_decoder_is_tuned_whole_from_many_rows_on(objective: str, tiny_llama: Path, monkeypatch) -> None:
    of = {rows: choose.wanted(objective, rows, small=False, headed=False) for rows in (199_999, 200_000)}
    assert (of[199_999][0][0], of[200_000][0][0]) == ("lora", "full")
    assert "so few rows" in of[199_999][1] and "much to learn" in of[200_000][1]
    assert choose.wanted("text", 10, small=False, headed=False)[0][0] == "full"
    learner, made = learner_of(tiny_llama, objective), sums if objective == "generate" else pairs
    learner.small = False
    monkeypatch.setattr(choose, "_MANY_ROWS", 20)
    assert [choose_method(learner, made(rows), TrainSection()).method for rows in (19, 20)] == ["lora", "full"]


def test_what_is_asked_for_is_taken(tiny_bert: Path) -> None:
    learner = learner_of(tiny_bert, "classify", LABELS)
    assert choose_method(learner, labelled(30), TrainSection(method="ia3")) == Choice("ia3", "the task asks for it")


def test_memory_decides_and_the_figures_are_told(tiny_bert: Path, monkeypatch) -> None:
    learner = learner_of(tiny_bert, "classify", LABELS)
    needs = choose_method(learner, labelled(30), TrainSection()).facts["needs_bytes"]
    for method in ("lora", "head"):
        monkeypatch.setattr(memory, "free_bytes", lambda where, m=method: needs[m])
        choice = choose_method(learner, labelled(30), TrainSection())
        assert choice.method == method
        assert "`full` would need about" in choice.why
    monkeypatch.setattr(memory, "free_bytes", lambda where: 1000)
    with pytest.raises(ModelError, match=r"training needs about .* smaller base"):
        choose_method(learner, labelled(30), TrainSection())


def test_a_contest_decides_where_it_has_something_to_say(tiny_bert: Path, monkeypatch) -> None:
    learner = learner_of(tiny_bert, "classify", LABELS)

    def contest(learner, examples, train, seed, found):
        return Choice("head", "won") if len(examples) < 20 else None

    monkeypatch.setitem(choose.CONTESTS, "classify", contest)
    assert choose_method(learner, labelled(10), TrainSection()).method == "head"
    assert choose_method(learner, labelled(30), TrainSection()).method == "full"
    assert choose_method(learner, labelled(10), TrainSection(method="lora")).method == "lora"


def test_free_memory_is_known_here() -> None:
    found = memory.free_bytes(torch.device("cpu"))
    assert found is None or found > 100 << 20
    assert memory.gigabytes(2.5e9) == "2.5 GB"
    assert memory.gigabytes(3e6) == "3 MB"


def test_methods_of_an_encoders_vectors_are_refused_elsewhere(tiny_llama: Path) -> None:
    for method in ("contrastive", "prototypes", "neighbours"):
        with pytest.raises(ModelError, match=r"train\.method: .* an encoder's vectors"):
            choose_method(learner_of(tiny_llama, "generate"), sums(8), TrainSection(method=method))
