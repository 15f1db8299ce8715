"""The arithmetic of the benches of a step: needed products against those that torch counts, parts that add up, kinds."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest
import torch
from making import LABELS, labelled, learner_of, section, sums

sys.path.insert(0, str(Path(__file__).parents[2]))

from bench import overhead, profile


def counted(learner, batch) -> int:
    """Return the FLOPs of matrix products in a pass, forwards and backwards, as dispatched; attention's own left out."""
    from torch.utils._python_dispatch import TorchDispatchMode

    found = [0]

    class Count(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            name = func.overloadpacket.__name__
            if name in ("mm", "addmm", "addmm_"):
                left, right = args[-2:] if name == "mm" else args[1:3]
                found[0] += 2 * left.shape[0] * left.shape[1] * right.shape[1]
            return func(*args, **(kwargs or {}))

    with Count():
        loss, _ = learner.loss(batch, smoothing=0.0)
        loss.backward()
    return found[0]


@pytest.mark.parametrize("method", ["full", "lora"])
@pytest.mark.parametrize("embeddings", ["freeze", "train"])
def test_the_products_of_an_encoder_are_those_that_torch_does(tiny_bert: Path, method: str, embeddings: str) -> None:
    learner = learner_of(tiny_bert, "classify", LABELS, pooling="mean")
    learner.prepare_training(section("classify", 40, method=method, embeddings=embeddings))
    rows = [learner.encode(e) for e in labelled(40)]
    same = [r for r in rows if len(r) == len(rows[0])][:6]
    needed = profile.products(learner, sum(map(len, same)), len(same))
    flops = sum(2 * a * b * c * times for (a, b, c), times in needed.items())
    assert flops == counted(learner, learner.collate(same))


def test_the_products_of_a_decoder_are_those_that_torch_does(tiny_llama: Path) -> None:
    learner = learner_of(tiny_llama, "generate")
    learner.prepare_training(section("generate", 3, method="lora"))
    row = learner.encode(sums(3)[0])
    needed = profile.products(learner, len(row), round(learner.units(row)))
    flops = sum(2 * a * b * c * times for (a, b, c), times in needed.items())
    assert flops == counted(learner, learner.collate([row]))


def test_a_part_is_not_charged_for_the_parts_it_calls() -> None:
    parts = overhead.Parts()
    inner = parts.timed("inner", lambda: time.sleep(0.03))
    outer = parts.timed("outer", lambda: (time.sleep(0.01), inner(), inner()))
    outer()
    assert parts.wall["inner"] == pytest.approx(0.06, rel=0.5)
    assert 0.01 <= parts.wall["outer"] < 0.05
    with pytest.raises(ZeroDivisionError):
        parts.timed("inner", lambda: 1 / 0)()
    parts.start_anew()
    assert not parts.wall


def test_overhead_leaves_checkpoints_apart() -> None:
    seconds = {"forward and loss": 5.0, "backward": 3.0, "optimiser": 1.0, "clip": 0.5, "the rest": 0.5, "checkpoints": 90.0}
    assert overhead.shares(seconds, "wall") == {"overhead_wall": 10.0, "total_wall_s": 10.0}


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("aten::addmm", "matrices"), ("aten::mm", "matrices"), ("aten::mul", "elementwise"), ("aten::add_", "elementwise"),
        ("aten::native_layer_norm_backward", "norm"), ("aten::gelu_backward", "activation"), ("aten::copy_", "copies"),
        ("aten::_fused_adamw_", "optimiser"), ("aten::_foreach_norm", "optimiser"), ("aten::native_dropout", "dropout"),
        ("aten::_scaled_dot_product_flash_attention_for_cpu_backward", "attention"), ("aten::embedding", "embedding"),
        ("aten::_log_softmax", "loss"), ("aten::view", profile.OTHER),
    ],
)  # fmt: skip
def test_operations_have_their_kind(name: str, kind: str) -> None:
    assert profile.kind_of(name) == kind


def test_traffic_counts_what_is_read_and_written_and_no_views() -> None:
    a, b = torch.ones(100), torch.ones(100)
    found = profile.traffic(lambda: (a.view(10, 10).t(), a * b))
    assert found == {"elementwise": 1200}
