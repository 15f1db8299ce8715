"""Answers that do not go in circles: what is forbidden, what is not, and that the bundle remembers."""

from __future__ import annotations

from pathlib import Path

import torch
from making import learner_of
from transformers import LogitsProcessorList

from luthier.models.generate import _NeverTwice, generate
from luthier.release.bundle import write_bundle
from luthier.release.predictor import load_predictor

FACTS = {"task": {"name": "t", "objective": "generate", "goal": ""}, "name": "t", "base": {"name": "tiny", "sha256": "x"}}


def runs(ids: list[int], size: int) -> list[tuple[int, ...]]:
    return [tuple(ids[i : i + size]) for i in range(len(ids) - size + 1)]


def written(folder: Path, size: int, prompts: list[list[int]]) -> list[list[int]]:
    learner = learner_of(folder, "generate", max_tokens=128)
    learner.never_repeat = size
    return generate(learner.network, prompts, ends=(1,), pad=0, max_new_tokens=60, never_repeat=size)


def test_a_random_model_goes_in_circles_and_is_kept_from_it(tiny_llama: Path) -> None:
    prompts = [[5, 6, 7, 8], [9, 10, 11, 12, 13, 14]]
    for free, kept in zip(written(tiny_llama, 0, prompts), written(tiny_llama, 3, prompts), strict=True):
        assert len(set(runs(free, 3))) < len(runs(free, 3))
        assert len(set(runs(kept, 3))) == len(runs(kept, 3))


def test_what_stands_in_the_prompt_may_be_said_again() -> None:
    prompt, answer = [4, 5, 6, 4, 5], [4, 5]
    ids = torch.tensor([prompt + answer])
    scores = _NeverTwice(3, known=len(prompt))(ids, torch.zeros(1, 8))
    assert torch.isfinite(scores).all()
    answer = [4, 5, 6, 4, 5]
    scores = _NeverTwice(3, known=len(prompt))(torch.tensor([prompt + answer]), torch.zeros(1, 8))
    assert torch.isinf(scores[0]).nonzero().ravel().tolist() == [6]


def test_it_forbids_what_transformers_forbids_where_there_is_no_prompt() -> None:
    from transformers import NoRepeatNGramLogitsProcessor

    torch.manual_seed(0)
    for size in (1, 2, 3, 4):
        ids = torch.randint(0, 4, (6, 17))
        mine = LogitsProcessorList([_NeverTwice(size, 0)])(ids, torch.zeros(6, 4))
        theirs = NoRepeatNGramLogitsProcessor(size)(ids, torch.zeros(6, 4))
        assert torch.equal(mine, theirs), size


def test_the_bundle_remembers(tiny_llama: Path, tmp_path: Path) -> None:
    learner = learner_of(tiny_llama, "generate", max_tokens=64, never_repeat=2)
    assert learner.never_repeat == 2
    write_bundle(tmp_path / "bundle", learner, probes=[], facts=FACTS)
    assert load_predictor(tmp_path / "bundle").learner.never_repeat == 2
