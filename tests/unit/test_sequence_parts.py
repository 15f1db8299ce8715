"""The parts of a sequence of tasks: what is remembered, pulled back, blended, joined, and how forgetting is counted."""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from making import LABELS, labelled, learner_of, section, sums

from luthier.base.records import Encoded, Remembered, Tagged
from luthier.evaluate import forgetting
from luthier.lifecycle import scoping
from luthier.lifecycle.staged import stage_files
from luthier.models.body import own_heads, share
from luthier.objectives.joined import Joined
from luthier.objectives.probe import change, probe
from luthier.release.predictor import Predictor
from luthier.spec.bars import parse_bars
from luthier.spec.load import load_task
from luthier.spec.stages import Keep
from luthier.train import blend, stages
from luthier.train.penalty import Pull, fisher
from luthier.train.rehearse import balanced, k_center, remember, reservoir
from luthier.train.run import encode_all, fit
from luthier.train.stages import Trail


def quiet(*args, **kwargs) -> None:
    return None


# What is remembered


def test_a_reservoir_keeps_every_row_equally_often() -> None:
    counts = Counter(place for seed in range(3000) for place in reservoir(range(20), 5, seed=seed))
    assert set(counts) == set(range(20))
    # 750 expected; five standard deviations of a binomial with 3,000 draws and chance 1/4.
    assert max(abs(n - 750) for n in counts.values()) < 5 * (3000 * 0.25 * 0.75) ** 0.5


def test_balanced_shares_out_evenly_and_keeps_rare_labels_whole() -> None:
    labels = ["a"] * 100 + ["b"] * 30 + ["c"] * 2
    kept = balanced(labels, 20, seed=1)
    assert len(set(kept)) == 20
    assert Counter(labels[i] for i in kept) == {"a": 9, "b": 9, "c": 2}
    assert len(balanced(labels, 500, seed=1)) == len(labels)


def test_k_center_covers_at_most_twice_as_badly_as_the_best_choice() -> None:
    points = np.random.default_rng(0).normal(size=(12, 2)).astype(np.float32)
    apart = np.linalg.norm(points[:, None] - points[None], axis=-1)
    kept = k_center(points, 3)
    best = min(apart[:, list(c)].min(1).max() for c in itertools.combinations(range(12), 3))
    assert len(set(kept)) == 3
    assert apart[:, kept].min(1).max() <= 2 * best + 1e-6


def test_remembered_rows_carry_their_stage_and_never_come_twice() -> None:
    rows = labelled(40)
    for choose in ("reservoir", "balanced", "diverse"):
        kept = remember(rows, share=0.2, choose=choose, stage=1, seed=0,
                        vectors=lambda r: np.eye(len(r), dtype=np.float32))  # fmt: skip
        assert len({e.id for e in kept}) == 8
        assert {e.stage for e in kept} == {1}
    assert len(remember(rows, share=0.001, choose="reservoir", stage=0, seed=0)) == 1
    assert remember([], share=0.5, choose="reservoir", stage=0, seed=0) == []


# Joined losses


def joined(tiny_bert: Path) -> tuple[Joined, list, list]:
    one = learner_of(tiny_bert, "classify", LABELS, pooling="mean")
    two = learner_of(tiny_bert, "classify", ("no", "yes"), pooling="mean", seed=1)
    two.network = share(two.network, one.network)
    rows = [type(e)(e.id, e.inputs, "yes" if i % 2 else "no", e.source) for i, e in enumerate(labelled(12, seed=1))]
    old = [Remembered.of(e, 0) for e in labelled(5)]
    return Joined.over(two, {0: one}, rows, old), rows, old


def test_a_joined_loss_is_the_sum_over_its_learners(tiny_bert: Path) -> None:
    learner, rows, old = joined(tiny_bert)
    learner.eval()
    encoded, _ = encode_all(learner, [*rows, *old], quiet)
    assert [type(e) for e in encoded] == [Encoded] * 12 + [Tagged] * 5
    loss, count = learner.loss(learner.collate(encoded), smoothing=0.0)
    parts = [
        one.loss(one.collate([one.encode(e) for e in part]), smoothing=0.0)[0]
        for one, part in ((learner.current, rows), (learner.earlier["0"], old))
    ]
    assert count == 17
    torch.testing.assert_close(loss, sum(parts))


def test_joined_micro_batches_equal_one_big_batch(tiny_bert: Path) -> None:
    states = []
    for micro in (100_000, 16):
        learner, rows, old = joined(tiny_bert)
        settings = section("classify", 17, epochs=2.0, batch=8, rate=1e-3, head="random", micro_tokens=micro)
        fit(learner, [*rows, *old], settings, score=None)
        states.append({name: p.detach().clone() for name, p in learner.named_parameters()})
    assert any(name.startswith("earlier") for name in states[0])
    for name in states[0]:
        torch.testing.assert_close(states[1][name], states[0][name], rtol=2e-4, atol=2e-5)


def test_rows_count_the_same_whatever_their_objective(tiny_llama: Path) -> None:
    one = learner_of(tiny_llama, "generate")
    two = learner_of(tiny_llama, "classify", LABELS, pooling="own")
    two.network = share(two.network, one.network, own=own_heads(two.network))
    assert two.network.model is one.network.model
    rows, old = labelled(6), [Remembered.of(e, 0) for e in sums(6)]
    learner = Joined.over(two, {0: one}, rows, old)
    encoded, _ = encode_all(learner, [*rows, *old], quiet)
    # Six rows of each kind: each kind's units add up to six, though an answer has many tokens.
    assert sum(learner.units(e) for e in encoded[:6]) == pytest.approx(6)
    assert sum(learner.units(e) for e in encoded[6:]) == pytest.approx(6)
    learner.loss(learner.collate(encoded), smoothing=0.0)[0].backward()
    assert one.network.model.layers[0].self_attn.q_proj.weight.grad.abs().sum() > 0


# Pulls


def test_the_pull_is_the_gradient_of_its_term() -> None:
    torch.manual_seed(0)
    weight = torch.nn.Parameter(torch.randn(4, 3))
    importance = torch.rand(4, 3)
    pull = Pull({"w": weight}, strength=0.7, importance={"w": importance})
    anchor = weight.detach().clone()
    with torch.no_grad():
        weight.add_(torch.randn(4, 3))
    term = 0.35 * (importance * (weight - anchor) ** 2).sum()
    (wanted,) = torch.autograd.grad(term, weight)
    weight.grad = torch.ones_like(weight)
    assert float(pull.add()) == pytest.approx(term.item(), rel=1e-5)
    torch.testing.assert_close(weight.grad, 1 + wanted)


def test_the_fisher_is_that_of_logistic_regression(tiny_bert: Path) -> None:
    """On the head's bias it is known in closed form: the mean of p_c (1 - p_c) over rows."""
    learner = learner_of(tiny_bert, "classify", LABELS, pooling="mean")
    with torch.no_grad():
        learner.head.weight.mul_(4)
    rows = [learner.encode(e) for e in labelled(30)] * 20
    found = fisher({"bias": learner.head.bias}, [(learner, rows)], seed=3)["bias"]
    with torch.no_grad():
        chances = learner.logits(learner.collate(rows[:30])).softmax(-1)
    torch.testing.assert_close(found, (chances * (1 - chances)).mean(0), rtol=0.1, atol=0.0)


@pytest.mark.parametrize("kind", ["l2-sp", "ewc"])
def test_a_strong_pull_holds_the_body(tiny_bert: Path, kind: str) -> None:
    assert moved(tiny_bert, kind, 1e4) < 0.5 * moved(tiny_bert, kind, 0.0)


def moved(folder: Path, kind: str, strength: float) -> float:
    learner = learner_of(folder, "classify", LABELS, pooling="mean")
    body = dict(learner.network.encoder.named_parameters())
    before = {name: p.detach().clone() for name, p in body.items()}
    importance = None if kind == "l2-sp" else {name: torch.full_like(p, 0.5) for name, p in body.items()}
    settings = section("classify", 32, epochs=3.0, batch=8, rate=1e-3, weight_decay=0.0)
    fit(learner, labelled(32), settings, score=None, pull=lambda: Pull(body, strength=strength, importance=importance))
    return sum(float((p.detach() - before[name]).abs().sum()) for name, p in body.items())


def test_a_pull_leaves_micro_batches_exact(tiny_bert: Path) -> None:
    states = []
    for micro in (100_000, 16):
        learner = learner_of(tiny_bert, "classify", LABELS, pooling="mean")
        body = dict(learner.network.encoder.named_parameters())
        settings = section("classify", 27, epochs=2.0, batch=8, rate=1e-3, head="random", micro_tokens=micro)
        fit(learner, labelled(27), settings, score=None, pull=lambda body=body: Pull(body, strength=1.0))
        states.append({name: p.detach().clone() for name, p in learner.named_parameters()})
    for name in states[0]:
        if not name.endswith("key.bias"):  # attention does not feel it: its gradient is rounding, which AdamW magnifies
            torch.testing.assert_close(states[1][name], states[0][name], rtol=2e-4, atol=2e-5)


# Blending


def test_a_blend_is_the_line_between_two_weights_and_ends_where_it_was_told() -> None:
    weight = torch.nn.Parameter(torch.tensor([4.0, 8.0]))
    before = {"w": torch.tensor([0.0, 0.0])}
    found = blend.blend(
        {"w": weight}, before, score=lambda: {"a": weight[0].item(), "b": -weight[1].item()}, asked=0.25
    )
    assert [p["share"] for p in found.curve] == sorted({*blend.GRID, 0.25})
    for point in found.curve:
        assert point["scores"]["a"] == pytest.approx(4 * (1 - point["share"]), abs=1e-5)
    torch.testing.assert_close(weight.detach(), torch.tensor([3.0, 6.0]))


def test_auto_takes_the_best_mean_and_turns_scores_of_which_less_is_better() -> None:
    curve = [{"share": 0.0, "scores": {"old": 0.5, "new": 0.9}}, {"share": 0.5, "scores": {"old": 0.85, "new": 0.88}},
             {"share": 1.0, "scores": {"old": 0.9, "new": 0.3}}]  # fmt: skip
    assert blend.best(curve) == 0.5
    curve = [{"share": 0.0, "scores": {"old": 0.5, "new": 3.0}}, {"share": 1.0, "scores": {"old": 0.5, "new": 4.0}}]
    assert blend.best(curve, lower=["new"]) == 0.0
    assert blend.best([{"share": s, "scores": {"a": 1.0}} for s in (0.0, 0.5)]) == 0.0


# Forgetting

TASKS = [forgetting.Task(name, "accuracy", "classify") for name in ("a", "b", "c")]
MATRIX = [[0.9, None, None], [0.95, 0.8, None], [0.7, 0.85, 0.6]]


def test_forgetting_and_transfer_against_hand_made_figures() -> None:
    found = forgetting.figures(MATRIX, TASKS)
    # a: best 0.95, end 0.7; b: best is the end itself. Transfer: (0.7 - 0.9) and (0.85 - 0.8).
    assert found["by_stage"] == {"a": pytest.approx(0.25), "b": pytest.approx(0.0)}
    assert found["forgetting"] == pytest.approx(0.25)
    assert found["mean_forgetting"] == pytest.approx(0.125)
    assert found["backward_transfer"] == pytest.approx((-0.2 + 0.05) / 2)
    assert forgetting.best_stage(MATRIX, TASKS, 0) == 1
    less = [forgetting.Task(t.name, "perplexity", "generate") for t in TASKS]
    assert forgetting.figures(MATRIX, less)["by_stage"] == {"a": pytest.approx(0.0), "b": pytest.approx(0.05)}
    assert forgetting.figures([[0.5]], TASKS[:1])["forgetting"] is None


@pytest.mark.parametrize(
    ("bar", "words"),
    [
        ("forgetting[d]", ["no stage", "Stages: a, b, c"]),
        ("forgetting[c]", ["nothing to forget"]),
        ("accuracy@bb", ["no stage", 'Did you mean "b"?']),
        ("accurcy@b", ["accurcy", 'Did you mean "accuracy"?']),
        ("perplexity", ["generate", "classify"]),
    ],
)
def test_a_bar_that_means_nothing_is_told(bar: str, words: list[str]) -> None:
    (fault,) = forgetting.check(parse_bars({bar: ">= 0.5"})[0], TASKS)
    assert all(word in str(fault) for word in words), fault


def test_bars_that_mean_something_are_let_through() -> None:
    names = (
        "forgetting",
        "mean_forgetting",
        "forgetting[a]",
        "backward_transfer",
        "accuracy",
        "accuracy@a",
        "recall[x]@b",
    )
    bars, _ = parse_bars(dict.fromkeys(names, ">= 0.5"))
    assert forgetting.check(bars, TASKS) == []
    assert len(forgetting.check(bars[:2], TASKS[:1])) == 2


# The trail and the probe


def test_learners_of_a_trail_share_one_body_and_its_state_comes_back(tiny_bert: Path, tmp_path: Path) -> None:

    trail = Trail(Keep())
    for seed, labels in enumerate((LABELS, ("no", "yes"))):
        trail.join(learner_of(tiny_bert, "classify", labels, pooling="mean", seed=seed))
        if not seed:
            stages.save(tmp_path / "one", trail, {"x": 1}, settings="s")
    one, two = trail.learners
    assert one.network is two.network
    assert set(trail.body()) == {name for name, _ in one.network.named_parameters()}
    kept = {name: p.detach().clone() for name, p in trail.named().items()}
    with torch.no_grad():
        for p in trail.named().values():
            p.add_(1.0)
    stages.load(tmp_path / "one", trail)
    for name, p in trail.named().items():
        assert torch.equal(p, kept[name]) == (not name.startswith("1/")), name
    assert stages.facts_of(tmp_path / "one", settings="s") == {"x": 1}
    assert stages.facts_of(tmp_path / "one", settings="other") is None
    (tmp_path / "one/state.safetensors").write_bytes(b"cut")
    assert stages.facts_of(tmp_path / "one", settings="s") is None


def test_one_head_grows_and_keeps_what_it_knew(tiny_bert: Path) -> None:
    trail = Trail(Keep(head="shared"))
    trail.join(learner_of(tiny_bert, "classify", LABELS, pooling="mean"))
    trail.join(learner_of(tiny_bert, "classify", (*LABELS, "new"), pooling="mean", seed=1))
    old, new = trail.learners
    assert torch.equal(new.head.weight[:3], old.head.weight)
    assert trail.answering(0) is new
    own = [type(e)(e.id, e.inputs, "new" if i % 2 else "billing", e.source) for i, e in enumerate(labelled(20))]
    both = Joined.over(new, {}, own, [], kept_labels=3)
    fit(both, own, section("classify", 20, max_steps=1, rate=1e-9), score=None)
    torch.testing.assert_close(new.head.weight[:3], old.head.weight)


def test_what_is_rare_among_the_rehearsed_rows_only_is_not_answered_as_rare(tiny_bert: Path) -> None:
    """Of 40 rows of an old label two are rehearsed beside 40 of a new one, the same texts: both are as likely as each other."""
    texts = labelled(40)
    row = lambda kind, label: [kind(f"{label}{i}", e.inputs, label, e.source) for i, e in enumerate(texts)]  # noqa: E731
    rows = row(type(texts[0]), "new")
    old = [Remembered.of(e, 0) for e in row(type(texts[0]), "billing")[:2]]
    found = {}
    for shares in (None, (2 / 40, 1.0)):
        learner = learner_of(tiny_bert, "classify", ("billing", "new"), pooling="mean")
        both = Joined.over(learner, {0: learner}, rows, old, kept_labels=1, shares=shares)
        for p in learner.parameters():
            p.requires_grad_(False)
        learner.head.weight.zero_()
        learner.head.bias.zero_().requires_grad_(True)
        encoded, _ = encode_all(both, [*rows, *old], quiet)
        optimizer = torch.optim.LBFGS([learner.head.bias], max_iter=50, line_search_fn="strong_wolfe")

        def loss(both: Joined = both, encoded: list = encoded, optimizer: torch.optim.LBFGS = optimizer) -> torch.Tensor:
            optimizer.zero_grad()
            total, count = both.loss(both.collate(encoded), smoothing=0.0)
            (total / count).backward()
            return total / count

        optimizer.step(loss)
        found[shares] = Predictor(learner).predict([texts[0].inputs])[0].scores["billing"]
        assert learner.shares_C is None, "the shift is the joined loss's alone"
    assert found[None] == pytest.approx(2 / 42, abs=1e-3)
    assert found[2 / 40, 1.0] == pytest.approx(0.5, abs=1e-3)


def test_what_one_head_knew_after_a_stage_is_measured_with_the_labels_of_that_stage(tiny_bert: Path, tmp_path: Path) -> None:
    """The state after the first stage, put back at the end, answers as it did then: labels that came later have no part in it."""
    trail = Trail(Keep(head="shared"))
    trail.join(learner_of(tiny_bert, "classify", LABELS, pooling="mean"))
    fit(trail.learners[0], labelled(60), section("classify", 60, epochs=2.0, batch=16), score=None)
    stages.save(tmp_path / "first", trail, {}, settings="s")
    rows = [e.inputs for e in labelled(40, seed=3)]
    then = Predictor(trail.answering(0)).predict(rows)
    trail.join(learner_of(tiny_bert, "classify", (*LABELS, "new"), pooling="mean", seed=1))
    with torch.no_grad():
        trail.learners[1].head.bias[3] += 50.0  # the later stage has learnt to say its own label only
    stages.load(tmp_path / "first", trail)
    again = Predictor(trail.answering(0, after=0)).predict(rows)
    assert [p.label for p in again] == [p.label for p in then] and set(again[0].scores or {}) == set(LABELS)
    assert {p.label for p in Predictor(trail.answering(0)).predict(rows)} == {"new"}


def test_the_probe_sees_a_body_that_was_spoilt(tiny_bert: Path, tiny_llama: Path) -> None:
    # A network whose vectors are all alike finds nothing.
    for folder, objective, kind in ((tiny_bert, "classify", "paraphrases"), (tiny_llama, "generate", "bits_per_byte")):
        learner = learner_of(folder, objective, LABELS if objective == "classify" else (), pooling="mean")
        before = probe(learner)
        assert before is not None and before["kind"] == kind
        assert probe(learner) == before
        with torch.no_grad():
            for p in learner.network.parameters():
                p.zero_() if objective == "classify" else p.mul_(10.0)
        after = probe(learner)
        found = change(before, after)["probe"]
        assert found["change"] < 0 if objective == "classify" else found["change"] > 0
    assert change(None, before) == {}


def test_rank_as_a_stage_is_refused_before_its_rows_are_read(tmp_path: Path) -> None:
    from luthier.lifecycle.staged import faults, stage_files
    from luthier.spec.load import load_task

    (tmp_path / "task.yaml").write_text(
        "task: {name: two, objective: classify}\n"
        "stages:\n"
        "- {name: one, data: {source: a.csv}}\n"
        "- {name: two, objective: rank, data: {source: b.csv}}\n"
    )
    file = load_task(tmp_path)
    found = faults(file.task, stage_files(file))
    assert [(f.where, "cannot be a stage" in f.what) for f in found] == [("stages.1.objective", True)]


def test_written_answers_are_followed_by_what_people_read() -> None:
    tasks = [forgetting.Task("text", "perplexity", "text"), forgetting.Task("a", "perplexity", "generate"), forgetting.Task("b", "rougeL", "generate")]
    bars = parse_bars({"forgetting[token_f1@a]": "<= 0.1", "forgetting[a]": "<= 2", "rougeL@a": ">= 0.1"})[0]
    assert forgetting.check(bars, tasks) == []
    assert forgetting.beside(bars, tasks) == ["rougeL", "chrf", "token_f1"]
    assert forgetting.beside([], TASKS) == []
    matrix = [[None] * 3, [None, 0.5, None], [None, 0.3, 0.4]]
    found = {"stages": ["text", "a", "b"], "metrics": [t.metric for t in tasks], "test": matrix,
             "beside": {"rougeL": {"test": matrix, "by_stage": {"a": 0.2}, "intervals": {"a": [0.1, 0.3]}}}}  # fmt: skip
    # A stage's own metric stands in the first matrix already, and the text stage has none of this.
    assert forgetting.beside_in_words(found) == (["by further metrics", "a (rougeL)"], [["after text", ""], ["after a", "0.500"], ["after b", "0.300"]])
    assert forgetting.measured_beside(found["beside"]) == {"forgetting[rougeL@a]": {"value": 0.2, "low": 0.1, "high": 0.3}}
    assert forgetting.beside_in_words({**found, "beside": {}}) is None


@pytest.mark.parametrize(
    ("bar", "words"),
    [
        ("forgetting[rougeL@b]", ["nothing to forget"]),
        ("forgetting[rougeL@d]", ["no stage", "Stages: a, b"]),
        ("forgetting[rougel@a]", ["rougel", 'Did you mean "rougeL"?']),
        ("forgetting[accuracy@a]", ["classify", "generate"]),
        ("forgetting[grounded@a]", ["at the end", '"grounded@a"']),
        ("forgetting[refusal_rate@a]", ["at the end"]),
    ],
)
def test_a_metric_that_cannot_be_followed_is_told(bar: str, words: list[str]) -> None:
    tasks = [forgetting.Task(name, "perplexity", "generate") for name in ("a", "b")]
    (fault,) = forgetting.check(parse_bars({bar: "<= 0.5"})[0], tasks)
    assert all(word in str(fault) for word in words), fault


def test_the_stages_that_have_rows_out_of_scope_may_decline_and_else_the_last(tmp_path: Path) -> None:
    text = (
        "task: {name: two, objective: classify}\ndata: {columns: {text: t, label: l}}\nanswer: {out_of_scope: {keep: 0.9}}\n"
        "stages:\n  - {name: a, data: {source: a.csv%s}}\n  - {name: b, data: {source: b.csv%s}}\n"
    )

    def declines(first: str, second: str) -> list[bool]:
        (tmp_path / "task.yaml").write_text(text % (first, second))
        return [scoping.asked(one.task) is not None for one in stage_files(load_task(tmp_path / "task.yaml"))]

    rows = ", out_of_scope: {label: none}"
    assert declines("", "") == [False, True]
    assert declines(rows, "") == [True, False]
    assert declines(rows, rows) == [True, True]
