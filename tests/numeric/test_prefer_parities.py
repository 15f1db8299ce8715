"""Preferences in numbers: losses against their formulas, shared prompts against lone ones, micro-batches, resume, reload."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from making import learner_of, marked, pairs, section

from luthier.base.errors import Interrupted
from luthier.base.interrupt import Stopper
from luthier.base.records import Encoded
from luthier.objectives import answers, preferring, scores
from luthier.objectives.answers import can_share
from luthier.objectives.log_probs import LinearLogProbs
from luthier.objectives.preferring import Sums
from luthier.release.bundle import write_bundle
from luthier.release.predictor import Predictor, load_predictor
from luthier.spec.prefer import Prefer
from luthier.train.run import encode_all, fit

LOSSES = ("dpo", "ipo", "orpo", "simpo", "kto")


def silent(*_: Any, **__: Any) -> None:
    return None


def state(learner) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in learner.named_parameters()}


def tensor(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


NOW = Sums(tensor(-10.0, -3.0), tensor(-12.0, -2.0), tensor(5, 3), tensor(8, 2))
BEFORE = Sums(tensor(-11.0, -2.5), tensor(-11.5, -2.5), tensor(5, 3), tensor(8, 2))


def test_losses_by_hand() -> None:
    # Log-ratios: chosen +1 and -0.5, rejected -0.5 and +0.5, so the margins are 1.5 and -1.0.
    plain = [math.log(1 + math.exp(-0.1 * m)) for m in (1.5, -1.0)]
    flipped = [math.log(1 + math.exp(0.1 * m)) for m in (1.5, -1.0)]
    assert preferring.dpo(NOW, BEFORE, beta=0.1).tolist() == pytest.approx(plain)
    smooth = [0.8 * p + 0.2 * f for p, f in zip(plain, flipped, strict=True)]
    assert preferring.dpo(NOW, BEFORE, beta=0.1, smoothing=0.2).tolist() == pytest.approx(smooth)
    means = (1 / 5 + 0.5 / 8, -0.5 / 3 - 0.5 / 2)
    assert preferring.ipo(NOW, BEFORE, beta=0.5).tolist() == pytest.approx([(m - 1) ** 2 for m in means])
    better, worse = (-2.0, -1.0), (-1.5, -1.0)
    margins = [2 * (b - w) - 0.5 for b, w in zip(better, worse, strict=True)]
    found = preferring.simpo(NOW, beta=2.0, gamma=0.5)
    assert found.tolist() == pytest.approx([math.log(1 + math.exp(-m)) for m in margins])

    def odds(mean: float) -> float:
        return math.exp(mean) / (1 - math.exp(mean))

    ratios = [odds(b) / odds(w) for b, w in zip(better, worse, strict=True)]
    wanted = [-b + 0.1 * math.log(1 + 1 / r) for b, r in zip(better, ratios, strict=True)]
    assert preferring.orpo(NOW, beta=0.1).tolist() == pytest.approx(wanted)


def test_kto_by_hand() -> None:
    sums, before, good = tensor(-10.0, -3.0), tensor(-11.0, -2.0), torch.tensor([True, False])
    point = preferring.kto_point(tensor(-5.0, -6.0), tensor(-5.5, -6.1))
    assert float(point) == pytest.approx(0.3)
    assert float(preferring.kto_point(tensor(-6.0), tensor(-5.0))) == 0
    found = preferring.kto(sums, before, good, point, beta=0.1, good_weight=2.0, bad_weight=3.0)
    wanted = [2 * (1 - torch.sigmoid(tensor(0.07))), 3 * (1 - torch.sigmoid(tensor(0.13)))]
    assert found.tolist() == pytest.approx([float(w) for w in wanted])


def test_orpo_stays_finite_where_an_answer_is_certain_or_hopeless() -> None:
    sums = tensor(-1e-12, -400.0).requires_grad_()
    ones = tensor(1, 1)
    loss = preferring.orpo(Sums(sums, sums.flip(0), ones, ones), beta=0.1).sum()
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(sums.grad).all()


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("frozen", [True, False])
@pytest.mark.parametrize("piece", [1, 700, 1 << 24])
def test_log_probs_in_pieces_equal_log_softmax_and_its_gradient(bias, frozen, piece, monkeypatch) -> None:
    monkeypatch.setattr(scores, "PIECE", piece)
    torch.manual_seed(0)
    hidden, targets, weights = torch.randn(23, 16, requires_grad=True), torch.randint(0, 90, (23,)), torch.randn(23)
    layer = torch.nn.Linear(16, 90, bias=bias)
    layer.requires_grad_(not frozen)
    found = LinearLogProbs.apply(hidden, layer.weight, layer.bias, targets)
    (found * weights).sum().backward()
    mine = [hidden.grad, layer.weight.grad, layer.bias.grad if bias else None]
    hidden.grad, layer.weight.grad = None, None
    layer.zero_grad()
    expected = F.log_softmax(layer(hidden), 1).gather(1, targets[:, None]).squeeze(1)
    (expected * weights).sum().backward()
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    for one, two in zip(mine, [hidden.grad, layer.weight.grad, layer.bias.grad if bias else None], strict=True):
        assert (one is None) == (two is None)
        if one is not None:
            torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-5)


def one_by_one(learner, sequence: Encoded) -> float:
    logits = learner.network(input_ids=torch.tensor(sequence.ids)[None]).logits[0].log_softmax(1)
    return sum(float(logits[i - 1, sequence.ids[i]]) for i in range(len(sequence.ids)) if sequence.learn[i])


@pytest.mark.parametrize("model", ["tiny_llama", "tiny_gpt2"])
def test_answers_behind_one_prompt_equal_answers_behind_their_own(model, request) -> None:
    """The rejected answer sees the prompt and itself, whatever the chosen one is; sums are those of lone sequences."""
    learner = learner_of(request.getfixturevalue(model), "prefer").eval()
    assert can_share(learner.network, 1024)
    groups = [learner.encode(e).others for e in pairs(7)]
    with torch.no_grad():
        lone = [one_by_one(learner, s) for group in groups for s in group]
        apart = learner._sums(answers.apart(groups, pad=learner.pad_id))
        together = learner._sums(answers.together(groups, pad=learner.pad_id))
    assert apart.tolist() == pytest.approx(lone, abs=2e-4)
    assert together.tolist() == pytest.approx(lone, abs=2e-4)
    assert answers.saving(groups) > 0.15


def test_gradients_through_shared_prompts_equal_those_of_lone_sequences(tiny_llama: Path) -> None:
    learner = learner_of(tiny_llama, "prefer").train()
    groups = [learner.encode(e).others for e in pairs(5)]
    factors = torch.randn(10, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    found = []
    for layout in (answers.apart(groups, pad=0), answers.together(groups, pad=0)):
        learner.zero_grad()
        (learner._sums(layout) * factors).sum().backward()
        found.append({name: p.grad.clone() for name, p in learner.named_parameters()})
    for name, gradient in found[0].items():
        torch.testing.assert_close(found[1][name], gradient, rtol=2e-3, atol=2e-4, msg=lambda m, n=name: f"{n}: {m}")


def test_models_with_windows_or_without_such_masks_do_not_share(tiny_llama: Path) -> None:
    network = learner_of(tiny_llama, "prefer").network
    network.config.sliding_window = 64
    assert not can_share(network, 256)
    assert can_share(network, 64)
    network.config._attn_implementation = "eager"
    assert not can_share(network, 64)


def test_the_prompt_is_cut_the_same_for_both_answers(tiny_llama: Path) -> None:
    learner = learner_of(tiny_llama, "prefer", max_tokens=40)
    learner.turns = type(learner.turns)(learner.tokenizer, learner.turns.style, 40)
    example = max(pairs(40), key=lambda e: len(str(e.inputs)))
    chosen, rejected = learner.encode(example).others
    start = answers.prompt_length(chosen)
    assert start == answers.prompt_length(rejected)
    assert chosen.ids[:start] == rejected.ids[:start]
    assert max(len(chosen.ids), len(rejected.ids)) == 40
    learner.turns = type(learner.turns)(learner.tokenizer, learner.turns.style, 12)
    assert learner.encode(example) is None


def trained(folder: Path, examples, loss: str, **settings):
    learner = learner_of(folder, "prefer")
    prefer = Prefer(loss=loss, **settings.pop("prefer", {}))
    outcome = fit(learner, examples, section("prefer", len(examples), prefer=prefer, **settings), score=None)
    return learner, outcome


@pytest.mark.parametrize("loss", LOSSES)
def test_micro_batches_equal_one_big_batch(loss, tiny_llama: Path) -> None:
    examples = marked(27) if loss == "kto" else pairs(27)
    common = {"epochs": 2.0, "batch": 8, "rate": 1e-3, "max_grad_norm": 0.5}
    whole, one = trained(tiny_llama, examples, loss, micro_tokens=100_000, **common)
    pieces, two = trained(tiny_llama, examples, loss, micro_tokens=80, **common)
    assert [s["loss"] for s in two.losses] == pytest.approx([s["loss"] for s in one.losses], abs=1e-4)
    for name, value in state(whole).items():
        torch.testing.assert_close(state(pieces)[name], value, rtol=1e-3, atol=5e-5, msg=lambda m, n=name: f"{n}: {m}")


def test_kto_learns_from_pairs_as_from_their_two_answers(tiny_llama: Path) -> None:
    """A pair is one good and one bad answer: the losses of its answers are those of the two alone."""
    learner = learner_of(tiny_llama, "prefer").eval()
    learner.prefer = Prefer(loss="kto", beta=0.3, good_weight=1.0, bad_weight=2.0)
    rows = learner.refer([learner.encode(e) for e in pairs(4)])
    learner.begin_step(rows)
    assert learner._point == pytest.approx(0.0, abs=1e-5)
    singles = [Encoded((), label=1 - i, others=(row.others[i], row.others[2]), values=(row.values[i], row.values[2]))
               for row in rows for i in (0, 1)]  # fmt: skip
    both, count = learner.loss(learner.collate(rows), smoothing=0.0)
    alone, lone_count = learner.loss(learner.collate(singles), smoothing=0.0)
    assert (count, lone_count) == (8, 8)
    assert sum(learner.units(row) for row in rows) == 8
    torch.testing.assert_close(both, alone, rtol=1e-5, atol=1e-5)
    # Untouched, every log-ratio is zero: half of each weight is lost.
    assert float(both.detach()) == pytest.approx(4 * 0.5 + 4 * 1.0, rel=1e-4)


@pytest.mark.parametrize(("loss", "start"), [("dpo", math.log(2)), ("ipo", 25.0)])
@pytest.mark.parametrize("method", ["full", "lora", "prompt", "prefix", "ia3"])
def test_a_run_starts_at_the_reference(loss, start, method, tiny_llama: Path) -> None:
    """Before the first update the network is its own reference, so the loss is known. A learnt prompt is no part of that."""
    _, outcome = trained(tiny_llama, pairs(16), loss, method=method, epochs=3.0, batch=8, rate=1e-2)
    if method in ("full", "lora", "ia3"):
        assert outcome.losses[0]["loss"] == pytest.approx(start, abs=1e-4)
    assert outcome.losses[-1]["loss"] < outcome.losses[0]["loss"]


@pytest.mark.parametrize("loss", ["dpo", "kto"])
@pytest.mark.parametrize("method", ["full", "lora"])
def test_resume_equals_uninterrupted_bit_for_bit(loss, method, tiny_llama: Path, tmp_path: Path) -> None:
    examples = marked(22) if loss == "kto" else pairs(22)
    settings = section(
        "prefer", 22, method=method, rate=1e-3, epochs=3.0, batch=8, evaluations=2, prefer=Prefer(loss=loss)
    )

    def run(where: Path, stopper: Stopper | None = None, emit=silent):
        learner = learner_of(tiny_llama, "prefer")
        scored = lambda: float(sum(p.detach().double().sum() for p in learner.parameters()))  # noqa: E731
        outcome = fit(learner, examples, settings, score=scored, folder=where, identity="x", emit=emit, stopper=stopper)
        return learner, outcome

    whole, reference = run(tmp_path / "whole")
    stopper = Stopper()

    def stop(kind: str, /, **facts: Any) -> None:
        if kind == "step" and facts["step"] == 4:
            stopper.handle(15, None)

    with pytest.raises(Interrupted):
        run(tmp_path / "cut", stopper, stop)
    again, outcome = run(tmp_path / "cut")
    assert outcome.losses == reference.losses
    assert all(torch.equal(value, state(again)[name]) for name, value in state(whole).items())


@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_bundle_weighs_answers_as_the_trained_model_did_and_answers(method, tiny_llama: Path, tmp_path: Path) -> None:
    examples = pairs(24)
    learner, _ = trained(tiny_llama, examples, "dpo", method=method, epochs=2.0, batch=8, rate=5e-3)
    before = Predictor(learner).measure(examples)
    facts = {
        "task": {"name": "t", "objective": "prefer", "goal": ""},
        "name": "t",
        "base": {"name": "tiny", "sha256": "x"},
    }
    _, difference = write_bundle(tmp_path / "bundle", learner, probes=examples[:8], facts=facts)
    assert difference < 1e-4
    opened = load_predictor(tmp_path / "bundle")
    for one, two in zip(before, opened.measure(examples), strict=True):
        assert one.measured == pytest.approx(two.measured, abs=2e-3)
    answer = opened.predict(["where is parcel 7"], max_new_tokens=5)[0]
    assert isinstance(answer.text, str)
    assert opened.writes


def test_neither_batch_nor_layout_changes_what_is_measured(tiny_llama: Path) -> None:
    learner = learner_of(tiny_llama, "prefer").eval()
    rows, _ = encode_all(learner, pairs(9), silent)
    together = learner.measure(rows)
    learner._shares = False
    alone = [learner.measure([row])[0] for row in rows]
    for one, two in zip(together, alone, strict=True):
        assert one.measured == pytest.approx(two.measured, abs=2e-4)
