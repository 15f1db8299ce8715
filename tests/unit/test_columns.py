"""Progressive columns: a new one starts as the base, the earlier ones never change, and all of it is kept on disk."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from making import LABELS, labelled, learner_of, section

from luthier.base.errors import ModelError
from luthier.models.catalogue import find
from luthier.models.columns import Column
from luthier.models.load import open_base, open_encoder
from luthier.train.run import fit

IDS = torch.tensor([[5, 6, 7, 8], [9, 10, 11, 0]])
MASK = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]])


def hidden(network: torch.nn.Module) -> torch.Tensor:
    network.eval()
    with torch.no_grad():
        return network(input_ids=IDS, attention_mask=MASK).last_hidden_state


def trained(folder: Path, network: torch.nn.Module, *, seed: int):
    learner = learner_of(folder, "classify", LABELS, pooling="mean", seed=seed)
    learner.network = network
    fit(learner, labelled(24, seed=seed), section("classify", 24, epochs=2.0, batch=8, rate=1e-2), score=None)
    return learner


@pytest.fixture
def encoder(tiny_bert: Path):
    return lambda: open_encoder(open_base(find(str(tiny_bert))))


def test_a_new_column_starts_as_the_base(encoder) -> None:
    first = Column(encoder(), [])
    second = Column(encoder(), [first])
    third = Column(encoder(), [first, second])
    base = hidden(encoder())
    for column in (first, second, third):
        assert torch.equal(hidden(column), base)


def test_earlier_columns_are_bit_identical_after_later_stages(tiny_bert: Path, encoder) -> None:
    first = Column(encoder(), [])
    one = trained(tiny_bert, first, seed=1)
    after_one = hidden(first)
    second = Column(encoder(), [first])
    two = trained(tiny_bert, second, seed=2)
    after_two = hidden(second)
    third = Column(encoder(), [first, second])
    trained(tiny_bert, third, seed=3)
    assert torch.equal(hidden(one.network), after_one)
    assert torch.equal(hidden(two.network), after_two)
    assert not torch.allclose(after_one, after_two)
    assert not torch.allclose(hidden(third), after_two)


def test_laterals_learn_and_matter(tiny_bert: Path, encoder) -> None:
    first = Column(encoder(), [])
    trained(tiny_bert, first, seed=1)
    second = Column(encoder(), [first])
    trained(tiny_bert, second, seed=2)
    assert all(lateral[0].up.weight.abs().max() > 0 for lateral in second.laterals)
    before = hidden(second)
    with torch.no_grad():
        for lateral in second.laterals:
            lateral[0].up.weight.zero_()
    assert not torch.allclose(hidden(second), before)


def test_earlier_columns_run_without_dropout(tiny_bert: Path, encoder) -> None:
    first = Column(encoder(), [])
    for module in first.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.5
    second = Column(encoder(), [first]).train()
    assert second.training
    assert not first.training


def test_columns_come_back_from_disk(tmp_path: Path, tiny_bert: Path, encoder) -> None:
    first = Column(encoder(), [])
    trained(tiny_bert, first, seed=1)
    second = Column(encoder(), [first])
    trained(tiny_bert, second, seed=2)
    third = Column(encoder(), [first, second])
    trained(tiny_bert, third, seed=3)
    open_base(find(str(tiny_bert))).tokenizer.save_pretrained(tmp_path)
    third.save_pretrained(tmp_path, safe_serialization=True)
    again = open_encoder(open_base(find(str(tmp_path))))
    assert isinstance(again, Column)
    assert torch.equal(hidden(again), hidden(third))
    assert torch.equal(hidden(again.earlier[1]), hidden(second))
    # The frozen embeddings are held once, in memory and on disk.
    assert again.encoder.embeddings.word_embeddings.weight is again.earlier[0].encoder.embeddings.word_embeddings.weight
    (tmp_path / "columns.safetensors").write_bytes(b"cut")
    with pytest.raises(ModelError, match="columns"):
        open_encoder(open_base(find(str(tmp_path))))
