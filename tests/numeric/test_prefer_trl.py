"""Losses of preferences equal TRL's on the same rows and weights. TRL comes with the ``bench`` extra."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from making import learner_of, marked, pairs

from luthier.objectives import preferring
from luthier.objectives.answers import prompt_length
from luthier.objectives.preferring import Sums
from luthier.spec.prefer import Prefer

trl = pytest.importorskip(
    "trl", reason="notice: TRL is not installed (pip install luthier[bench]); parity is not tested"
)


def moved(folder: Path, prefer: Prefer, examples) -> tuple[Any, list[Any]]:
    """Return a learner some steps away from its reference, and rows that hold what the reference says of them."""
    learner = learner_of(folder, "prefer").eval()
    learner.prefer = prefer
    rows = learner.refer([learner.encode(e) for e in examples])
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in learner.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return learner, rows


def ids(sequence) -> tuple[list[int], list[int]]:
    start = prompt_length(sequence)
    return list(sequence.ids[:start]), list(sequence.ids[start:])


def trainer(kind: str, learner, folder: Path, work: Path, columns: dict[str, list[Any]], **settings: Any) -> Any:
    from datasets import Dataset

    reference = learner_of(folder, "prefer").network
    common = {
        "output_dir": str(work), "use_cpu": True, "report_to": [], "bf16": False, "gradient_checkpointing": False,
        "per_device_train_batch_size": 6, "disable_tqdm": True, "max_length": None,
    }  # fmt: skip
    args = getattr(trl, f"{kind}Config")(**common, **settings)
    return getattr(trl, f"{kind}Trainer")(
        model=learner.network, ref_model=reference, args=args, train_dataset=Dataset.from_dict(columns),
        processing_class=learner.tokenizer,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("loss", "name"), [("dpo", "sigmoid"), ("ipo", "ipo")])
def test_pairs_weigh_as_in_the_dpo_trainer(loss, name, tiny_llama: Path, tmp_path: Path) -> None:
    learner, rows = moved(tiny_llama, Prefer(loss=loss, beta=0.3), pairs(6))
    found, count = learner.loss(learner.collate(rows), smoothing=0.0)
    columns = {"prompt": ["a"] * 6, "chosen": ["b"] * 6, "rejected": ["c"] * 6}
    theirs = trainer("DPO", learner, tiny_llama, tmp_path, columns, beta=0.3, loss_type=[name])
    batch = theirs.data_collator([
        {"prompt_ids": ids(c)[0], "chosen_ids": ids(c)[1], "rejected_ids": ids(r)[1]}
        for c, r in (row.others for row in rows)
    ])  # fmt: skip
    theirs.model.eval()
    assert float(found.detach()) / count == pytest.approx(float(theirs.compute_loss(theirs.model, batch)), rel=1e-4)


@pytest.mark.slow
def test_marked_answers_weigh_as_in_the_kto_trainer(tiny_llama: Path, tmp_path: Path) -> None:
    asked = Prefer(loss="kto", beta=0.3, good_weight=1.5, bad_weight=0.5)
    learner, rows = moved(tiny_llama, asked, marked(6))
    learner.begin_step(rows)
    assert learner._point > 0
    found, count = learner.loss(learner.collate(rows), smoothing=0.0)
    columns = {"prompt": ["a"] * 6, "completion": ["b"] * 6, "label": [True, False] * 3}
    weights = {"desirable_weight": 1.5, "undesirable_weight": 0.5}
    theirs = trainer("KTO", learner, tiny_llama, tmp_path, columns, beta=0.3, **weights)
    batch = theirs.data_collator([
        {"prompt_ids": ids(a)[0], "completion_ids": ids(a)[1], "KL_completion_ids": ids(s)[1], "label": bool(row.label)}
        for row in rows for a, s in [row.others]
    ])  # fmt: skip
    theirs.model.eval()
    mean = float(theirs.compute_loss(theirs.model, batch))
    # TRL sums good and bad answers apart and takes the mean of all.
    assert float(found.detach()) / count == pytest.approx(mean, rel=1e-4)


def sums() -> Sums:
    generator = torch.Generator().manual_seed(0)
    made = [-torch.rand(9, generator=generator, dtype=torch.float64) * 20 - 0.5 for _ in range(2)]
    tokens = [torch.randint(2, 12, (9,), generator=generator) for _ in range(2)]
    return Sums(made[0], made[1], tokens[0], tokens[1])


ACCELERATOR = SimpleNamespace(device="cpu")


def test_odds_ratios_equal_the_orpo_trainers() -> None:
    from trl.experimental.orpo import ORPOTrainer

    now = sums()
    means = now.chosen / now.chosen_tokens, now.rejected / now.rejected_tokens
    theirs = ORPOTrainer.odds_ratio_loss(SimpleNamespace(beta=0.25, accelerator=ACCELERATOR), *means)[0]
    # Its likelihood term runs over prompt and answer, ours over the answer, as the paper writes it.
    mine = preferring.orpo(now, beta=0.25) + means[0]
    torch.testing.assert_close(mine, -theirs.double(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_simpo_equals_the_cpo_trainers(smoothing) -> None:
    from trl.experimental.cpo import CPOTrainer

    now = sums()
    means = now.chosen / now.chosen_tokens, now.rejected / now.rejected_tokens
    stand_in = SimpleNamespace(
        alpha=0.0, beta=2.0, loss_type="simpo", simpo_gamma=0.7, label_smoothing=smoothing, accelerator=ACCELERATOR
    )
    theirs = CPOTrainer.cpo_loss(stand_in, *means)[0]
    torch.testing.assert_close(preferring.simpo(now, beta=2.0, gamma=0.7, smoothing=smoothing), theirs)
