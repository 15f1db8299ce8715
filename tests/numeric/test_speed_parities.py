"""Packing, checkpointing and compiling change time and memory, and nothing of what is learnt."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
import torch
from making import LABELS, labelled, learner_of, section, sums
from test_text_parities import documents

from luthier.base.errors import Interrupted, ModelError, TrainError
from luthier.base.interrupt import Stopper
from luthier.base.records import Encoded
from luthier.models import flat, low_rank, methods, passes
from luthier.objectives import packing, scores
from luthier.objectives.cut import micro_batches
from luthier.release.predictor import Predictor
from luthier.train import loop, speed
from luthier.train.run import encode_all, fit

HERE = torch.device("cpu")
compiles = pytest.mark.skipif(
    passes.missing_compiler(HERE) is not None, reason="notice: no C++ compiler here, so nothing is compiled"
)
DECODERS = ["tiny_llama", "tiny_qwen", "tiny_gpt2"]


def run(folder: Path, objective: str = "generate", where: Path | None = None, stopper=None, emit=lambda *a, **k: None,
        dropout: float | None = None, **settings):  # fmt: skip
    learner = learner_of(folder, objective, LABELS if objective == "classify" else (), max_tokens=64)
    examples = {"generate": sums, "classify": labelled, "text": documents}[objective](22)
    given = section(objective, 22, **{"epochs": 2.0, "batch": 8, "rate": 1e-3, "evaluations": 1, "dropout": dropout, **settings})
    outcome = fit(learner, examples, given, score=None, folder=where, identity="x", stopper=stopper, emit=emit)
    return learner, outcome


def same(one, two, *, rtol=2e-4, atol=2e-5) -> None:
    assert [a["loss"] for a in one[1].losses] == pytest.approx([b["loss"] for b in two[1].losses], rel=1e-4)
    for (name, a), (_, b) in zip(one[0].named_parameters(), two[0].named_parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=rtol, atol=atol, msg=lambda m, n=name: f"{n}: {m}")


def gradients(learner, batches) -> tuple[float, dict[str, torch.Tensor]]:
    learner.zero_grad()
    total = 0.0
    for batch in batches:
        loss, _ = learner.loss(batch, smoothing=0.0)
        loss.backward()
        total += float(loss.detach())
    return total, {n: p.grad.clone() for n, p in learner.named_parameters() if p.grad is not None}


# Packing


@pytest.mark.parametrize("model", [*DECODERS, "tiny_mistral"])
def test_packed_loss_and_gradients_are_those_of_rows_alone(model, request) -> None:
    learner = learner_of(request.getfixturevalue(model), "generate", max_tokens=64).train()
    rows, _ = encode_all(learner, sums(9), lambda *a, **k: None)
    alone, apart = gradients(learner, [learner.collate([row]) for row in rows])
    learner.lay_flat(True)
    batch = learner.collate(rows)
    assert batch.ids_BT.shape == (1, sum(map(len, rows)))
    packed, together = gradients(learner, [batch])
    assert packed == pytest.approx(alone, rel=1e-5)
    assert set(together) == set(apart)
    for name, value in apart.items():
        torch.testing.assert_close(together[name], value, rtol=1e-4, atol=1e-5 * value.abs().max().item() + 1e-6)


@pytest.mark.parametrize("model", DECODERS)
@pytest.mark.parametrize("settings", [{"method": "full"}, {"method": "lora"}, {"micro_tokens": 40}])
def test_a_packed_run_is_the_unpacked_run(model, settings, request) -> None:
    folder = request.getfixturevalue(model)
    packed = run(folder, packing="on", **settings)
    same(packed, run(folder, packing="off", **settings))
    assert not packed[0].flat
    assert methods.plain(packed[0].network).config._attn_implementation == "sdpa"


def test_packed_text_in_one_line_is_text_in_rows(tiny_llama: Path, monkeypatch) -> None:
    # On a GPU packed documents are one line for flash attention; the same line on a CPU.
    by_row = run(tiny_llama, "text")
    real = speed.prepare

    def in_line(learner, train):
        real(learner, train)
        learner.set_flat(True)

    monkeypatch.setattr(speed, "prepare", in_line)
    same(by_row, run(tiny_llama, "text"))
    monkeypatch.undo()
    unpacked = run(tiny_llama, "text", packing="off")[1]
    assert unpacked.steps > by_row[1].steps


def test_answers_between_two_steps_are_those_of_the_plain_network(tiny_llama: Path) -> None:
    learner = learner_of(tiny_llama, "generate", max_tokens=64)
    asked = [e.inputs for e in sums(3)]
    plain, measured = Predictor(learner).predict(asked, max_new_tokens=6), Predictor(learner).measure(sums(3))
    learner.lay_flat(True)
    assert Predictor(learner).predict(asked, max_new_tokens=6) == plain
    assert Predictor(learner).measure(sums(3)) == measured


def test_a_line_is_filled_up_by_what_nobody_learns(tiny_llama: Path) -> None:
    learner = learner_of(tiny_llama, "generate", max_tokens=64).train()
    rows, _ = encode_all(learner, sums(5), lambda *a, **k: None)
    line = packing.in_line(rows, pad=0, multiple=128)
    assert line.ids_BT.shape[1] % 128 == 0
    assert int(line.learn_BT.sum()) == sum(learner.units(r) for r in rows)
    assert line.starts_N.tolist()[:2] == [0, len(rows[0])]
    assert line.starts_N[-1] == line.ids_BT.shape[1]
    assert (line.positions_BT[0, line.starts_N[:-1]] == 0).all()
    # What stands before a row predicts nothing of it, whatever its mask says.
    learns_all = [Encoded(row.ids, (True,) * len(row.ids)) for row in rows]
    line = packing.in_line(learns_all, pad=0)
    assert not line.learn_BT[0, line.starts_N[:-1]].any()
    assert int(line.learn_BT.sum()) == sum(learner.units(r) for r in learns_all)


def test_lines_hold_every_row_once_and_are_of_one_length() -> None:
    lengths = [90, 3, 40, 41, 7, 7, 60, 12, 33]
    pieces = micro_batches(range(9), lengths, max_tokens=100, flat=True)
    assert sorted(r for piece in pieces for r in piece) == list(range(9))
    sizes = [sum(lengths[r] for r in piece) for piece in pieces]
    assert max(sizes) <= 100
    assert max(sizes) - min(sizes) < 30
    assert sorted(micro_batches([0, 1], [300, 5], max_tokens=100, flat=True)) == [[0], [1]]


def test_what_cannot_be_packed_is_refused_in_words(tiny_t5, tiny_gpt2, tiny_llama, tiny_bert, tiny_gemma, monkeypatch) -> None:
    with pytest.raises(ModelError, match="an encoder-decoder reads one text and writes another"):
        run(tiny_t5, packing="on")
    with pytest.raises(ModelError, match="`classify` reads each row by itself"):
        run(tiny_bert, "classify", packing="on")
    with pytest.raises(ModelError, match="a learnt prompt or prefix stands before each row"):
        run(tiny_llama, packing="on", method="prompt")
    with pytest.raises(ModelError, match="drops out attention"):
        run(tiny_gpt2, packing="on", dropout=0.1)
    with pytest.raises(ModelError, match=r"no attention that can be told apart|caps its scores"):
        run(tiny_gemma, packing="on")
    monkeypatch.setattr(flat, "_by_mask", lambda q, k, v, starts, scaling, window: flat.sdpa_attention_forward(
        type("M", (), {"is_causal": True})(), q, flat.repeat_kv(k, 2), flat.repeat_kv(v, 2), None, scaling=scaling)[0])  # fmt: skip
    with pytest.raises(ModelError, match="lets rows in one line see each other"):
        run(tiny_llama, packing="on")


def test_preferences_are_laid_out_already(tiny_llama: Path) -> None:
    with pytest.raises(ModelError, match="behind one copy of it already"):
        learner_of(tiny_llama, "prefer").lay_flat(True)


# Checkpointing


@pytest.mark.parametrize(
    ("objective", "model", "settings"),
    [("generate", "tiny_llama", {"method": "full"}), ("generate", "tiny_llama", {"method": "lora", "packing": "on"}),
     ("generate", "tiny_gpt2", {"method": "last-layers", "layers": 1}), ("generate", "tiny_llama", {"method": "adapters"}),
     ("classify", "tiny_bert", {"method": "full", "dropout": 0.2}), ("generate", "tiny_t5", {"method": "full"})],
)  # fmt: skip
def test_activations_computed_again_change_no_bit(objective, model, settings, request) -> None:
    folder = request.getfixturevalue(model)
    kept, again = (run(folder, objective, checkpointing=word, **settings) for word in ("off", "on"))
    assert kept[1].losses == again[1].losses
    for (name, a), (_, b) in zip(kept[0].named_parameters(), again[0].named_parameters(), strict=True):
        assert torch.equal(a, b), name


def test_blocks_keep_their_inputs_only(tiny_llama: Path) -> None:
    learner = learner_of(tiny_llama, "generate").train()
    rows, _ = encode_all(learner, sums(12), lambda *a, **k: None)
    batch, kept = learner.collate(rows), []

    def bytes_kept() -> int:
        found: dict[int, int] = {}
        with torch.autograd.graph.saved_tensors_hooks(
            lambda t: found.setdefault(t.untyped_storage().data_ptr(), t.untyped_storage().nbytes()) and t, lambda t: t
        ):
            learner.loss(batch, smoothing=0.0)
        return sum(found.values())

    kept.append(bytes_kept())
    passes.keep_inputs_only(learner.network)
    kept.append(bytes_kept())
    passes.undo(learner.network)
    kept.append(bytes_kept())
    assert kept[1] < 0.5 * kept[0]
    assert kept[2] == kept[0]


# Compiling


@compiles
@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "settings"),
    [("tiny_llama", {"method": "lora", "packing": "on", "checkpointing": "on"}), ("tiny_llama", {"method": "full"}),
     ("tiny_qwen", {"method": "full", "packing": "on"})],
)  # fmt: skip
def test_a_compiled_run_is_the_plain_run(model, settings, request) -> None:
    folder = request.getfixturevalue(model)
    torch._dynamo.reset()
    plain = run(folder, compile="off", **settings)
    compiled = run(folder, compile="on", **settings)
    same(plain, compiled, rtol=2e-3, atol=1e-4)


@compiles
@pytest.mark.slow
@pytest.mark.parametrize("method", ["full", "lora"])
def test_new_lengths_are_compiled_once_for_all_blocks(tiny_llama: Path, method: str) -> None:
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    learner = learner_of(tiny_llama, "generate", max_tokens=64)
    settings = section("generate", 22, method=method, packing="on", compile="on", checkpointing="off")
    learner.prepare_training(settings)
    speed.prepare(learner, settings)
    learner.train()
    rows, _ = encode_all(learner, sums(22), lambda *a, **k: None)
    for count in (3, 9, 5, 22, 14, 7, 11):
        loss, _ = learner.loss(learner.collate(rows[:count]), smoothing=0.0)
        loss.backward()
    # The blocks, and what the loss does to the scores; neither for one length only, nor the first block for itself.
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 2
    assert sum(torch._dynamo.utils.counters["graph_break"].values()) == 0
    learner.eval()
    with torch.no_grad():
        learner.row_sums(rows[:4])
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 2


@compiles
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_compiled_loss_of_scores_is_the_plain_one(smoothing) -> None:
    torch.manual_seed(0)
    for count in (5, 9):
        found, targets = torch.randn(count, 90), torch.randint(0, 90, (count,))
        one = scores._loss_and_gradient(found.clone(), targets, smoothing)
        for two in (scores._to_compile(found, targets, smoothing), scores._compiled()(found, targets, smoothing)):
            torch.testing.assert_close(one[0], two[0], rtol=1e-6, atol=1e-5)
            torch.testing.assert_close(one[1], two[1], rtol=1e-5, atol=1e-6)


def test_gradual_unfreezing_is_not_compiled(tiny_llama: Path) -> None:
    with pytest.raises(TrainError, match="changes what the blocks are handed"):
        run(tiny_llama, method="gradual", compile="on")


def test_a_missing_compiler_is_said(tiny_llama: Path, monkeypatch) -> None:
    monkeypatch.setattr(passes.shutil, "which", lambda name: None)
    with pytest.raises(ModelError, match=r"torch.compile needs a C\+\+ compiler"):
        run(tiny_llama, compile="on")


# Resuming, half precision, the loop


@pytest.mark.parametrize("settings", [{"packing": "on", "checkpointing": "on"}, {"packing": "on", "method": "lora"}])
def test_resume_equals_uninterrupted_bit_for_bit(tiny_llama: Path, settings, tmp_path: Path) -> None:
    whole, reference = run(tiny_llama, where=tmp_path / "whole", **settings)
    stopper = Stopper()

    def stop(kind: str, /, **facts) -> None:
        if kind == "step" and facts["step"] == 4:
            stopper.handle(signal.SIGTERM, None)

    with pytest.raises(Interrupted):
        run(tiny_llama, where=tmp_path / "cut", stopper=stopper, emit=stop, **settings)
    # Time and memory may be shared out differently meanwhile.
    resumed, outcome = run(tiny_llama, where=tmp_path / "cut", **{**settings, "checkpointing": "off"})
    assert outcome.losses == reference.losses
    for (name, a), (_, b) in zip(whole.named_parameters(), resumed.named_parameters(), strict=True):
        assert torch.equal(a, b), name


def halved(learner) -> None:
    """Round the linear weights as a model published in bfloat16 has them."""
    with torch.no_grad():
        for module in learner.modules():
            if isinstance(module, torch.nn.Linear):
                module.weight.copy_(module.weight.bfloat16().float())


def test_weights_held_in_half_are_measured_and_delivered_whole(tiny_llama: Path) -> None:
    learner = learner_of(tiny_llama, "generate")
    halved(learner)
    learner.prepare_training(section("generate", 8, method="lora"))
    for name, p in learner.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(p, std=0.2)
    rows, _ = encode_all(learner, sums(8), lambda *a, **k: None)
    learner.eval()
    before = learner.row_sums(rows)
    saved = low_rank.hold_half(learner.network)
    held = [layer.weight for layer in low_rank._ours(learner.network)]
    assert saved == 2 * sum(w.numel() for w in held)
    assert all(w.dtype == torch.bfloat16 for w in held)
    assert learner.row_sums(rows) == before
    learner.network = methods.merge(learner.network)
    assert all(p.dtype == torch.float32 for p in learner.parameters())
    assert [s for s, _ in learner.row_sums(rows)] == pytest.approx([s for s, _ in before], rel=1e-4)


def test_weights_that_would_lose_a_bit_stay_whole(tiny_llama: Path) -> None:
    learner = learner_of(tiny_llama, "generate")
    learner.prepare_training(section("generate", 8, method="lora"))
    assert low_rank.hold_half(learner.network) == 0


@pytest.mark.parametrize("held", [False, True])
@pytest.mark.parametrize("packed", [False, True])
def test_under_autocast_an_adapter_learns_what_it_learns_in_float32(tiny_llama: Path, held: bool, packed: bool) -> None:
    learner = learner_of(tiny_llama, "generate")
    halved(learner)
    learner.prepare_training(section("generate", 8, method="lora"))
    torch.manual_seed(1)
    for name, p in learner.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(p, std=0.2)
    rows, _ = encode_all(learner, sums(8), lambda *a, **k: None)
    learner.train()
    loss, exact = gradients(learner, [learner.collate(rows)])
    if held:
        low_rank.hold_half(learner.network)
    learner.lay_flat(packed)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        batch = learner.collate(rows)
        found, _ = learner.loss(batch, smoothing=0.0)
    learner.zero_grad()
    found.backward()
    assert float(found.detach()) == pytest.approx(loss, rel=1e-2)
    for name, p in learner.named_parameters():
        if p.requires_grad:
            assert p.grad.dtype == torch.float32
            like = torch.nn.functional.cosine_similarity(p.grad.flatten(), exact[name].flatten(), dim=0)
            assert like > 0.99, name


def test_a_batch_made_ahead_is_the_one_that_is_trained_on(tiny_llama: Path, monkeypatch) -> None:
    plain = run(tiny_llama, packing="on")
    used = []

    def make(self, picked):
        self._made = (picked, self._collated(self.pieces(picked)[0]))
        used.append(len(picked))

    monkeypatch.setattr(loop.Ahead, "make", make)
    ahead = run(tiny_llama, packing="on")
    assert len(used) == 4  # three steps an epoch, and none is made ahead over its end
    assert plain[1].losses == ahead[1].losses
    for (name, a), (_, b) in zip(plain[0].named_parameters(), ahead[0].named_parameters(), strict=True):
        assert torch.equal(a, b), name


def test_the_loss_asks_the_device_for_nothing(tiny_llama: Path, monkeypatch) -> None:
    """Reading a number makes the host wait for a GPU: a pass must do without."""
    learner = learner_of(tiny_llama, "generate", max_tokens=64).train()
    learner.lay_flat(True)
    rows, _ = encode_all(learner, sums(9), lambda *a, **k: None)
    batch = learner.collate(rows)
    monkeypatch.setattr(scores, "PIECE", 700)

    def asked(*args, **kwargs):
        raise AssertionError("a number was read from the device")

    for name in ("item", "tolist", "cpu", "__bool__", "__float__", "__int__", "nonzero", "numpy"):
        monkeypatch.setattr(torch.Tensor, name, asked)
    loss, _ = learner.loss(batch, smoothing=0.0)
    loss.backward()
    monkeypatch.undo()
    assert float(loss.detach()) > 0


# What `auto` chooses


def chosen(learner, rows: int = 5000, **settings) -> dict[str, object]:
    from luthier.spec.train import TrainSection

    return {s.key: s.value for s in speed.choose(TrainSection(**settings), rows=rows, learner=learner)}


def test_auto_on_a_cpu(tiny_llama: Path, tiny_bert_mlm: Path, tiny_bert: Path) -> None:
    off = {"packing": "off", "checkpointing": "off", "compile": "off"}
    assert chosen(learner_of(tiny_llama, "generate"), method="lora") == off
    assert chosen(learner_of(tiny_bert, "classify", LABELS), method="full") == off
    assert chosen(learner_of(tiny_llama, "text"), method="full") == {**off, "packing": "on"}
    assert chosen(learner_of(tiny_bert_mlm, "text"), method="full") == off
    assert chosen(learner_of(tiny_llama, "generate"), method="lora", packing="on", compile="on") == {"checkpointing": "off"}


@pytest.fixture
def on_gpu(monkeypatch):
    """Let a learner on the CPU say that it is on a GPU with so many bytes free."""
    from luthier.models import memory
    from luthier.objectives.generate import Generator
    from luthier.objectives.learner import Learner

    def give(room: int) -> None:
        monkeypatch.setattr(Learner, "device", torch.device("cuda"))
        monkeypatch.setattr(memory, "free_bytes", lambda device: room)
        monkeypatch.setattr(flat, "has_kernel", lambda: True)
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
        monkeypatch.setattr(passes, "missing_compiler", lambda device: None)
        monkeypatch.setattr(Generator, "packs_rows", lambda self: None)

    return give


def test_auto_on_a_gpu_follows_memory_and_steps(tiny_llama: Path, on_gpu) -> None:
    learner = learner_of(tiny_llama, "generate")
    on_gpu(80 << 30)
    many = chosen(learner, method="full", batch=16)
    assert many == {"packing": "on", "checkpointing": "off", "compile": "on", "micro_tokens": 16384}
    assert chosen(learner, rows=100, method="full", batch=16)["compile"] == "off"
    assert chosen(learner, method="full", packing="off")["compile"] == "off"
    assert chosen(learner, method="gradual")["compile"] == "off"
    assert chosen(learner, method="full", precision="float32")["packing"] == "off"
    from luthier.models import memory

    size = memory.size_of(learner.network)
    given = {"rank": 16, "layers": 2, "row_tokens": 256, "embeddings": True}
    kept = memory.needed(size, "full", tokens=4096, on_gpu=memory.Pass(flat=True), **given)
    again = memory.needed(size, "full", tokens=4096, on_gpu=memory.Pass(flat=True, again=True), **given)
    assert again < kept
    on_gpu((kept + again) // 2 - 4 * size.parameters)
    tight = chosen(learner, method="full")
    assert tight["checkpointing"] == "on"
    assert tight["micro_tokens"] == 4096


def test_the_words_say_why(tiny_llama: Path, on_gpu) -> None:
    from luthier.spec.train import TrainSection

    on_gpu(80 << 30)
    learner = learner_of(tiny_llama, "generate")
    said = [str(s) for s in speed.choose(TrainSection(method="lora"), rows=5000, learner=learner)]
    assert any(s.startswith("packing on: no padding") for s in said)
    assert any(s.startswith("checkpointing off: activations fit, about") for s in said)
    assert any(s.startswith("compile on: 471 steps") for s in said)


def test_the_untouched_network_is_read_in_the_precision_of_training(tiny_bert: Path) -> None:
    rows, found = labelled(40), {}
    for method, precision in (("full", "float32"), ("full", "bfloat16"), ("head", "bfloat16")):
        learner = learner_of(tiny_bert, "classify", LABELS, max_tokens=64)
        speed.read_frozen(learner, section("classify", 40, method=method, precision=precision))
        learner.eval()
        found[method, precision] = learner.frozen.of([learner.encode(row) for row in rows], learner.head_features)
    exact, half = found["full", "float32"], found["full", "bfloat16"]
    assert not torch.equal(exact, half) and exact.dtype == half.dtype == torch.float32
    assert torch.nn.functional.cosine_similarity(exact, half).min() > 0.999
    # What ends in this head is fitted to every digit.
    assert torch.equal(exact, found["head", "bfloat16"])
