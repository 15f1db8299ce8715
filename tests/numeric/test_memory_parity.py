"""What is taken for known by heart is what greedy writing gives, token for token."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from luthier.base.records import Encoded, Example, Source
from luthier.models import catalogue
from luthier.models.load import open_base
from luthier.objectives.writer import Writer
from luthier.spec.model import ModelSection


def opened(folder: Path):
    base = open_base(catalogue.find(str(folder), folder=Path.cwd()), max_tokens=120)
    return Writer.create(base, labels=(), model=ModelSection()).eval()


ROW = Example("1", {"messages": [{"role": "user", "content": "where is my parcel"}]}, "the parcel has not arrived and nobody answers", Source("a", 1))


@torch.inference_mode()
def test_a_decoder_that_would_write_the_rest_knows_it(tiny_llama: Path) -> None:
    from luthier.models.generate import generate

    learner = opened(tiny_llama)
    known = learner.encode(ROW)
    start, end = known.learn.index(True), known.ids[-1]
    half = known.ids[: start + 8]
    made = generate(learner.network, [half], ends=[], pad=learner.pad_id, max_new_tokens=8)[0]
    ids = (*half, *made, end)
    row = Encoded(ids, (False,) * start + (True,) * (len(ids) - start))
    assert learner.finish([row])[0].measured == {"half_right": 8.0, "half_count": 8.0}
    other = list(ids)
    other[-3] = (other[-3] + 1) % 300
    changed = learner.finish([replace(row, ids=tuple(other)), row])
    assert changed[0].measured["half_right"] < 8 and changed[1].measured["half_right"] == 8.0
    assert learner.finish([known])[0].measured["half_count"] == len(known.ids[start:]) - 1 - len(known.ids[start:]) // 2


@torch.inference_mode()
@pytest.mark.parametrize("model", ["tiny_t5", "tiny_bart"])
def test_an_encoder_decoder_too(model: str, request: pytest.FixtureRequest) -> None:
    learner = opened(request.getfixturevalue(model))
    known = learner.encode(ROW)
    network, answer = learner.network, list(known.others[0].ids)
    half = answer[: len(answer) // 2]
    begun = torch.tensor([[network.config.decoder_start_token_id, *half]])
    while begun.shape[1] - 1 < 2 * len(half):
        logits = network(input_ids=torch.tensor([known.ids]), decoder_input_ids=begun).logits[0, -1]
        begun = torch.cat([begun, logits.argmax()[None, None]], dim=1)
    ids = (*begun[0, 1:].tolist(), answer[-1])
    row = replace(known, others=(replace(known.others[0], ids=ids, learn=(True,) * len(ids)),))
    found = learner.finish([row])[0].measured
    assert found == {"half_right": float(len(half)), "half_count": float(len(half))}
    other = list(ids)
    other[len(half)] = (other[len(half)] + 1) % 200
    changed = replace(known, others=(replace(known.others[0], ids=tuple(other), learn=(True,) * len(ids)),))
    assert learner.finish([changed])[0].measured["half_right"] < len(half)
