"""Numbers that must never drift: batches, losses, adapters, resume."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from making import LABELS, labelled, learner_of, section, sums

from luthier.base.errors import Interrupted, TrainError
from luthier.base.interrupt import Stopper
from luthier.evaluate import metrics
from luthier.models import methods
from luthier.objectives.cut import micro_batches
from luthier.train import checkpoint
from luthier.train.batches import epoch_batches, padding_share
from luthier.train.defaults import make_plan
from luthier.train.loop import train
from luthier.train.measure import batch_losses
from luthier.train.optim import make_optimizer, rate_at
from luthier.train.run import encode_all, fit


def state(learner) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in learner.named_parameters()}


def trained(folder: Path, objective: str, examples, **settings):
    learner = learner_of(folder, objective, LABELS if objective == "classify" else (), pooling="mean")
    fit(learner, examples, section(objective, len(examples), **settings), score=None)
    return learner


@pytest.mark.parametrize(
    ("objective", "model"), [("classify", "tiny_bert"), ("generate", "tiny_llama"), ("generate", "tiny_gpt2")]
)
def test_micro_batches_equal_one_big_batch(objective, model, request) -> None:
    folder = request.getfixturevalue(model)
    # 27 rows in batches of 8: the last window holds 3, and answers differ in length.
    examples = labelled(27) if objective == "classify" else sums(27)
    common = {"epochs": 2.0, "batch": 8, "rate": 1e-3, "head": "random", "max_grad_norm": 0.5}
    whole = state(trained(folder, objective, examples, micro_tokens=100_000, **common))
    pieces = state(trained(folder, objective, examples, micro_tokens=16, **common))
    for name in whole:
        torch.testing.assert_close(pieces[name], whole[name], rtol=2e-4, atol=2e-5, msg=lambda m, n=name: f"{n}: {m}")


def test_the_reported_loss_is_cross_entropy_on_the_flat_batch(tiny_llama: Path) -> None:
    learner = learner_of(tiny_llama, "generate")
    examples = sums(6)
    rows, _ = encode_all(learner, examples, lambda *a, **k: None)
    learner.eval()
    loss_sum, count = learner.loss(learner.collate(rows), smoothing=0.0)
    logits, targets = [], []
    for row in rows:
        ids = torch.tensor(row.ids)[None]
        scores = learner.network(input_ids=ids).logits[0]
        for place in range(1, len(row)):
            if row.learn[place]:
                logits.append(scores[place - 1])
                targets.append(row.ids[place])
    expected = F.cross_entropy(torch.stack(logits), torch.tensor(targets), reduction="sum")
    assert count == len(targets)
    torch.testing.assert_close(loss_sum, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("frozen", [True, False])
@pytest.mark.parametrize("piece", [1, 700, 1 << 24])
def test_scores_in_pieces_give_the_same_loss_and_gradient(smoothing, bias, frozen, piece, monkeypatch) -> None:
    from luthier.objectives import scores

    monkeypatch.setattr(scores, "PIECE", piece)
    torch.manual_seed(0)
    hidden, targets = torch.randn(23, 16, requires_grad=True), torch.randint(0, 90, (23,))
    layer = torch.nn.Linear(16, 90, bias=bias)
    layer.weight.requires_grad_(not frozen)
    loss = scores.LinearCrossEntropy.apply(hidden, layer.weight, layer.bias, targets, smoothing)
    (loss * 0.7).backward()
    mine = [hidden.grad, layer.weight.grad, layer.bias.grad if bias else None]
    hidden.grad, layer.weight.grad = None, None
    layer.zero_grad()
    expected = F.cross_entropy(layer(hidden), targets, reduction="sum", label_smoothing=smoothing)
    (expected * 0.7).backward()
    torch.testing.assert_close(loss, expected)
    for one, two in zip(mine, [hidden.grad, layer.weight.grad, layer.bias.grad if bias else None], strict=True):
        assert (one is None) == (two is None)
        if one is not None:
            torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-6)


def test_classify_loss_is_cross_entropy(tiny_bert: Path) -> None:
    learner = learner_of(tiny_bert, "classify", LABELS, pooling="mean").eval()
    rows, _ = encode_all(learner, labelled(9), lambda *a, **k: None)
    batch = learner.collate(rows)
    loss, count = learner.loss(batch, smoothing=0.05)
    expected = F.cross_entropy(learner.logits(batch), batch.labels_B, reduction="sum", label_smoothing=0.05)
    assert count == 9
    torch.testing.assert_close(loss, expected)


def test_smoothing_reaches_the_loss_of_a_run(tiny_bert: Path) -> None:
    """The first loss that a run tells is that of the untouched weights on all rows: with smoothing it is the smoothed one."""
    examples, first = labelled(24), []
    for smoothing in (0.0, 0.2):
        learner = learner_of(tiny_bert, "classify", LABELS, pooling="mean").eval()
        with torch.no_grad():
            learner.head.weight.mul_(20)  # near even scores smoothing makes no difference
        rows, _ = encode_all(learner, examples, lambda *a, **k: None)
        batch = learner.collate(rows)
        with torch.no_grad():
            expected = F.cross_entropy(learner.logits(batch), batch.labels_B, label_smoothing=smoothing)
        settings = section("classify", 24, head="random", batch=24, max_steps=2, rate=1e-2, label_smoothing=smoothing)
        first.append(fit(learner, examples, settings, score=None).losses[0]["loss"])
        assert first[-1] == pytest.approx(float(expected), abs=1e-5)
    assert abs(first[1] - first[0]) > 0.05


@pytest.mark.parametrize(
    ("objective", "model"), [("classify", "tiny_bert"), ("generate", "tiny_llama"), ("generate", "tiny_gpt2")]
)
def test_a_fresh_adapter_is_the_identity_and_merging_changes_nothing(objective, model, request) -> None:
    folder = request.getfixturevalue(model)
    examples = labelled(12) if objective == "classify" else sums(12)
    learner = learner_of(folder, objective, LABELS if objective == "classify" else (), pooling="mean").eval()
    rows, _ = encode_all(learner, examples, lambda *a, **k: None)
    batch = learner.collate(rows)

    def loss() -> torch.Tensor:
        learner.eval()
        with torch.no_grad():
            return learner.loss(batch, smoothing=0.0)[0]

    before = loss()
    settings = section(objective, len(rows), method="lora", rate=5e-3, epochs=3.0, batch=4)
    learner.prepare_training(settings)
    torch.testing.assert_close(loss(), before, rtol=0, atol=1e-6)
    optimizer = make_optimizer(learner, rate=5e-3, weight_decay=0.0)
    list(train(learner, rows, make_plan(settings, rows=len(rows)), optimizer))
    adapted = loss()
    assert not torch.allclose(adapted, before, rtol=1e-3)
    learner.network = methods.merge(learner.network)
    assert not methods.is_adapted(learner.network)
    torch.testing.assert_close(loss(), adapted, rtol=1e-4, atol=1e-4)


def test_the_one_pass_adapter_equals_pefts_own(tiny_llama: Path) -> None:
    from peft.tuners.lora.layer import Linear

    from luthier.models import low_rank

    learner = learner_of(tiny_llama, "generate").train()
    learner.prepare_training(section("generate", 8, method="lora"))
    torch.manual_seed(1)
    for name, p in learner.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(p, std=0.2)
    rows, _ = encode_all(learner, sums(8), lambda *a, **k: None)
    batch, found = learner.collate(rows), []
    adapters = [m for m in learner.modules() if type(m) is Linear]
    assert adapters
    assert all(m.forward.__func__ is low_rank._forward for m in adapters)
    for own in (False, True):
        if own:
            for m in adapters:
                del m.forward
        learner.zero_grad()
        loss, _ = learner.loss(batch, smoothing=0.0)
        loss.backward()
        found.append((loss.detach(), {n: p.grad.clone() for n, p in learner.named_parameters() if p.requires_grad}))
    torch.testing.assert_close(found[0][0], found[1][0], rtol=1e-5, atol=1e-5)
    for name, gradient in found[0][1].items():
        torch.testing.assert_close(gradient, found[1][1][name], rtol=1e-3, atol=1e-4, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("layer_decay", [1.0, 0.5])
def test_only_matrices_decay(layer_decay: float, tiny_bert: Path) -> None:
    """Without a gradient AdamW moves a weight by its decay alone: the rate of its layer times the decay, times the weight."""
    learner = learner_of(tiny_bert, "classify", LABELS, pooling="mean")
    learner.prepare_training(section("classify", 16, embeddings="train"))
    with torch.no_grad():
        for p in learner.parameters():
            p.normal_()  # biases begin at zero, where nothing shows
            p.grad = torch.zeros_like(p)
    before = {name: p.detach().clone() for name, p in learner.named_parameters()}
    make_optimizer(learner, rate=0.1, weight_decay=0.5, layer_decay=layer_decay).step()
    kept = {"bias": 0, "LayerNorm.weight": 0}
    for name, p in learner.named_parameters():
        if name.endswith(("bias", "LayerNorm.weight")):
            kept[next(end for end in kept if name.endswith(end))] += 1
            assert torch.equal(p, before[name]), name
            continue
        depth = 0 if "embeddings" in name else 1 + int(name.split("layer.")[1][0]) if "layer." in name else 3
        torch.testing.assert_close(p.detach(), before[name] * (1 - 0.1 * 0.5 * layer_decay ** (3 - depth)), rtol=1e-5, atol=1e-7)
    assert kept == {"bias": 18, "LayerNorm.weight": 5}


@pytest.mark.parametrize(
    ("settings", "moves", "stays"),
    [
        ({"method": "full"}, "encoder.layer.0", "embeddings"),
        ({"method": "full", "embeddings": "train"}, "embeddings.word_embeddings", None),
        ({"method": "last-layers", "layers": 1}, "encoder.layer.1", "encoder.layer.0"),
        ({"method": "lora"}, "lora_", "base_layer"),
    ],
)
def test_only_chosen_parameters_move(tiny_bert: Path, settings, moves, stays) -> None:
    learner = learner_of(tiny_bert, "classify", LABELS, pooling="mean")
    chosen = section("classify", 16, rate=1e-2, epochs=2.0, batch=8, head="random", weight_decay=0.1, **settings)
    learner.prepare_training(chosen)
    before = state(learner)
    rows, _ = encode_all(learner, labelled(16), lambda *a, **k: None)
    list(train(learner, rows, make_plan(chosen, rows=16), make_optimizer(learner, rate=1e-2, weight_decay=0.1)))
    moved = {name for name, value in state(learner).items() if not torch.equal(value, before[name])}
    assert any(moves in name for name in moved)
    assert "head.weight" in moved
    if stays:
        assert not any(stays in name for name in moved)


def test_head_of_roberta_learns_with_every_method(tiny_roberta: Path) -> None:
    for method in ("full", "last-layers", "lora"):
        learner = learner_of(tiny_roberta, "classify", LABELS)
        assert learner.pooling == "own"
        learner.prepare_training(section("classify", 8, method=method, layers=1))
        learning = {name for name, p in learner.named_parameters() if p.requires_grad}
        assert any("out_proj" in name for name in learning)


def stop_at(stopper: Stopper, step: int):
    def emit(kind: str, /, **facts) -> None:
        if kind == "step" and facts["step"] == step:
            stopper.handle(15, None)

    return emit


@pytest.mark.parametrize(
    ("objective", "model", "method"),
    [("classify", "tiny_bert", "full"), ("classify", "tiny_bert", "lora"), ("classify", "tiny_roberta", "last-layers"),
     ("generate", "tiny_llama", "full"), ("generate", "tiny_llama", "lora"), ("generate", "tiny_gpt2", "last-layers")],
)  # fmt: skip
@pytest.mark.parametrize("stop", [1, 5])
def test_resume_equals_uninterrupted_bit_for_bit(objective, model, method, stop, request, tmp_path: Path) -> None:
    folder = request.getfixturevalue(model)
    examples = labelled(22) if objective == "classify" else sums(22)
    settings = section(objective, len(examples), method=method, layers=1, rate=1e-3, epochs=3.0, batch=8, evaluations=2)
    labels = LABELS if objective == "classify" else ()

    def run(where: Path, stopper: Stopper, emit=lambda *a, **k: None):
        learner = learner_of(folder, objective, labels)
        # A score that differs from step to step, so that the best state is kept and restored as well.
        counter = iter([3.0, 5.0, 4.0])
        outcome = fit(
            learner,
            examples,
            settings,
            score=lambda: next(counter),
            folder=where,
            identity="x",
            emit=emit,
            stopper=stopper,
        )
        return learner, outcome

    whole, reference = run(tmp_path / "whole", Stopper())
    stopper = Stopper()
    with pytest.raises(Interrupted) as stopped:
        run(tmp_path / "cut", stopper, stop_at(stopper, stop))
    assert stopped.value.exit_code == 143

    learner = learner_of(folder, objective, labels)
    counter = iter([3.0, 5.0, 4.0][1 if stop < reference.evaluations[1]["step"] else 2 :])
    outcome = fit(learner, examples, settings, score=lambda: next(counter), folder=tmp_path / "cut", identity="x")
    assert outcome.losses == reference.losses
    assert outcome.evaluations == reference.evaluations
    for name, value in state(whole).items():
        assert torch.equal(value, state(learner)[name]), name


def test_a_damaged_checkpoint_is_passed_over_and_said(tiny_bert: Path, tmp_path: Path) -> None:
    settings = section("classify", 22, epochs=3.0, batch=8, checkpoint_s=0.0)
    stopper, said = Stopper(), []

    def interrupt(kind: str, /, **facts) -> None:
        stop_at(stopper, 6)(kind, **facts)

    with pytest.raises(Interrupted):
        fit(learner_of(tiny_bert, "classify", LABELS), labelled(22), settings, score=None, folder=tmp_path, emit=interrupt,
            stopper=stopper)  # fmt: skip
    newest = sorted(tmp_path.glob("step-*"))[-1]
    weights = newest / "state.safetensors"
    weights.write_bytes(weights.read_bytes()[:-7])
    fit(learner_of(tiny_bert, "classify", LABELS), labelled(22), settings, score=None, folder=tmp_path,
        emit=lambda kind, /, **facts: said.append((kind, facts)))  # fmt: skip
    assert any(kind == "warning" and "damaged" in facts["text"] for kind, facts in said)
    assert ("resumed", {"step": 5, "checkpoint": "step-00000005"}) in said


def test_a_checkpoint_of_other_data_is_refused(tiny_bert: Path, tmp_path: Path) -> None:
    settings = section("classify", 22, epochs=1.0, batch=8, checkpoint_s=0.0)
    fit(learner_of(tiny_bert, "classify", LABELS), labelled(22), settings, score=None, folder=tmp_path, identity="one")
    with pytest.raises(TrainError, match="another task, data or version"):
        fit(
            learner_of(tiny_bert, "classify", LABELS),
            labelled(22),
            settings,
            score=None,
            folder=tmp_path,
            identity="two",
        )


def test_nan_stops_before_the_update_and_is_never_saved(tiny_bert: Path, tmp_path: Path) -> None:
    learner = learner_of(tiny_bert, "classify", LABELS, pooling="mean")
    settings = section("classify", 24, epochs=2.0, batch=8, checkpoint_s=0.0, head="random")
    learner.prepare_training(settings)
    rows, names = encode_all(learner, labelled(24), lambda *a, **k: None)
    optimizer = make_optimizer(learner, rate=1e-3, weight_decay=0.0)
    steps = train(learner, rows, make_plan(settings, rows=24), optimizer, names=names)
    next(steps)
    before = state(learner)
    hook = learner.network.register_forward_hook(
        lambda m, a, out: setattr(out, "last_hidden_state", out.last_hidden_state * float("nan"))
    )
    with pytest.raises(TrainError, match=r"made\.csv:\d+.*the loss is nan at step 2"):
        next(steps)
    hook.remove()
    assert all(torch.equal(value, before[name]) for name, value in state(learner).items())
    with torch.no_grad():
        learner.head.bias[0] = float("nan")
    with pytest.raises(TrainError, match="not finite, so no checkpoint was written"):
        checkpoint.save(
            tmp_path, learner=learner, optimizer=optimizer, progress=checkpoint.Progress(step=2), best=None, settings=""
        )
    assert list(tmp_path.iterdir()) == []


def test_best_weights_are_delivered(tiny_bert: Path) -> None:
    learner = learner_of(tiny_bert, "classify", LABELS)
    seen = []

    def score() -> float:
        seen.append(state(learner))
        return [1.0, 9.0, 2.0][len(seen) - 1]

    outcome = fit(learner, labelled(24), section("classify", 24, epochs=2.0, batch=8, evaluations=2), score=score)
    assert outcome.best_step == 3
    assert all(torch.equal(value, seen[1][name]) for name, value in state(learner).items())


@pytest.mark.parametrize(("last", "delivered"), [(0.85, 6), (0.7, 3)])
def test_weights_of_the_last_step_are_delivered_where_earlier_ones_are_better_by_luck(tiny_bert: Path, last: float, delivered: int) -> None:
    learner, seen = learner_of(tiny_bert, "classify", LABELS), []

    def score() -> float:
        seen.append(state(learner))
        return [0.5, 0.9, last][len(seen) - 1]

    # Of 24 rows a share of 0.9 has a standard error of 0.061.
    given = section("classify", 24, epochs=2.0, batch=8, evaluations=2)
    outcome = fit(learner, labelled(24), given, score=score, doubt=metrics.doubt("macro_f1", "classify", 24))
    assert (outcome.best_step, outcome.best_score) == (delivered, last if delivered == 6 else 0.9)
    assert all(torch.equal(value, seen[delivered // 3][name]) for name, value in state(learner).items())


def test_only_shares_of_classify_have_a_doubt() -> None:
    assert metrics.doubt("accuracy", "classify", 400)(0.8) == pytest.approx(0.02)  # type: ignore[misc]
    none = [("log_loss", "classify", 400), ("perplexity", "generate", 400), ("qwk", "grade", 400), ("accuracy", "classify", 0)]
    assert [metrics.doubt(*one) for one in none] == [None] * 4


def test_patience_stops_early(tiny_bert: Path) -> None:
    settings = section("classify", 24, epochs=10.0, batch=8, evaluations=10, patience=2)
    scores = iter([0.5, 0.6, 0.4, 0.3, 0.2])
    outcome = fit(learner_of(tiny_bert, "classify", LABELS), labelled(24), settings, score=lambda: next(scores))
    assert outcome.stopped_early
    assert [e["score"] for e in outcome.evaluations] == [0.5, 0.6, 0.4, 0.3]


def test_schedule_at_its_corners() -> None:
    def rates(schedule: str, steps: int = 10, warmup: int = 2) -> list[float]:
        return [rate_at(s, steps=steps, warmup=warmup, schedule=schedule) for s in range(steps)]

    linear = rates("linear")
    assert linear[:3] == [0.5, 1.0, 1.0]
    assert linear[-1] == pytest.approx(1 / 8)
    assert rates("constant")[2:] == [1.0] * 8
    cosine = rates("cosine")
    assert cosine[2] == 1.0
    assert 0 < cosine[-1] < 0.05
    assert rates("linear", steps=1, warmup=0) == [1.0]
    assert all(0 < r <= 1 for schedule in ("linear", "cosine", "constant") for r in rates(schedule, steps=7, warmup=3))


def test_every_row_once_an_epoch_and_little_padding() -> None:
    lengths = [(i * 37) % 61 + 3 for i in range(1003)]
    batches = epoch_batches(lengths, batch=16, seed=1, epoch=0)
    assert sorted(r for rows in batches for r in rows) == list(range(1003))
    assert batches != epoch_batches(lengths, batch=16, seed=1, epoch=1)
    assert batches == epoch_batches(lengths, batch=16, seed=1, epoch=0)
    assert padding_share(batches, lengths) < 0.02
    pieces = micro_batches(batches[0], lengths, max_tokens=100)
    assert sorted(r for p in pieces for r in p) == sorted(batches[0])
    assert all(len(p) == 1 or max(lengths[r] for r in p) * len(p) <= 100 for p in pieces)


def test_small_gains_are_delivered_but_buy_no_patience(tiny_bert: Path) -> None:
    settings = section("classify", 24, epochs=10.0, batch=8, evaluations=10, patience=3, min_delta=0.1)
    scores = iter([0.5, 0.55, 0.58, 0.61, 0.62, 0.5, 0.5])
    outcome = fit(learner_of(tiny_bert, "classify", LABELS), labelled(24), settings, score=lambda: next(scores))
    # 0.61 is the first to exceed 0.5 by more than a tenth: gains add up. Then three in a row are no such gain.
    assert [e["score"] for e in outcome.evaluations] == [0.5, 0.55, 0.58, 0.61, 0.62, 0.5, 0.5]
    assert (outcome.stopped_early, outcome.best_score) == (True, 0.62)


def test_small_gains_count_downwards_too(tiny_bert: Path) -> None:
    settings = section("classify", 24, epochs=10.0, batch=8, evaluations=10, patience=2, min_delta=0.5)
    scores = iter([9.0, 8.0, 7.8, 7.6, 1.0])
    outcome = fit(learner_of(tiny_bert, "classify", LABELS), labelled(24), settings, score=lambda: next(scores),
                  lower_is_better=True)  # fmt: skip
    assert [e["score"] for e in outcome.evaluations] == [9.0, 8.0, 7.8, 7.6]
    assert outcome.best_score == 7.6


@pytest.mark.parametrize(("objective", "model"), [("classify", "tiny_bert"), ("generate", "tiny_llama")])
def test_measuring_losses_disturbs_nothing(objective, model, request) -> None:
    """Training goes on bit for bit as if nothing had been measured, dropout's chance included."""
    folder = request.getfixturevalue(model)
    examples = labelled(22) if objective == "classify" else sums(22)
    settings = section(objective, 22, epochs=2.0, batch=8, evaluations=3, method="lora", lora={"dropout": 0.3})
    states = []
    for measured in (False, True):
        learner = learner_of(folder, objective, LABELS if objective == "classify" else ())
        rows = [e for e in map(learner.encode, examples) if e is not None]

        def score(learner=learner, rows=rows, measured=measured) -> float:
            if measured:
                losses = batch_losses(learner, rows)
                assert losses == batch_losses(learner, rows)
            return 0.0

        fit(learner, examples, settings, score=score)
        states.append(state(learner))
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


def test_batch_losses_are_the_plain_loss(tiny_bert: Path) -> None:
    learner = learner_of(tiny_bert, "classify", LABELS)
    rows = [learner.encode(e) for e in labelled(20)]
    losses = batch_losses(learner, rows)
    with torch.no_grad():
        for start, found in zip((0, 16), losses, strict=True):
            batch = learner.collate(rows[start : start + 16])
            assert found == pytest.approx(float(F.cross_entropy(learner.logits(batch), batch.labels_B)), abs=1e-4)


def test_all_figures_of_an_evaluation_survive_a_resume(tiny_bert: Path, tmp_path: Path) -> None:
    settings = section("classify", 22, epochs=2.0, batch=8, evaluations=2, checkpoint_s=0.0)

    def score() -> dict[str, object]:
        return {"score": 0.5, "valid_loss": 1.25, "rows": {"valid": {"loss": [1.0, 1.5]}}}

    fit(learner_of(tiny_bert, "classify", LABELS), labelled(22), settings, score=score, folder=tmp_path, identity="x")
    again = fit(
        learner_of(tiny_bert, "classify", LABELS), labelled(22), settings, score=score, folder=tmp_path, identity="x"
    )
    assert len(again.evaluations) == 3
    assert all(e["rows"] == {"valid": {"loss": [1.0, 1.5]}} and e["valid_loss"] == 1.25 for e in again.evaluations)


@pytest.mark.parametrize("limit", [1.0, 0.3])
@pytest.mark.parametrize("share", [0.01, 0.9989, 0.9991, 0.999999, 1.0, 1.000001, 3.0, float("inf"), float("nan")])
def test_clipping_is_torchs_to_the_bit(share: float, limit: float) -> None:
    """Gradients below the limit are not touched, which must be what torch's multiplication by 1 gives."""
    from luthier.train.loop import clip

    def parameters() -> list[torch.nn.Parameter]:
        torch.manual_seed(0)
        made = [torch.nn.Parameter(torch.zeros(size)) for size in ((7, 5), (11,), (3,))]
        for p in made[:2]:  # the third has learnt nothing
            p.grad = torch.randn(p.shape)
        whole = torch.nn.utils.get_total_norm([p.grad for p in made[:2]])
        for p in made[:2]:
            p.grad *= share * limit / whole
        return made

    mine, theirs = parameters(), parameters()
    wanted = float(torch.nn.utils.clip_grad_norm_(theirs, limit, foreach=True))
    assert torch.equal(clip(mine, limit), torch.tensor(wanted)) or wanted != wanted
    for a, b in zip(mine[:2], theirs[:2], strict=True):
        assert torch.equal(a.grad.view(torch.int32), b.grad.view(torch.int32))
    assert mine[2].grad is None
