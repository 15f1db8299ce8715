"""Rare labels that count more: the numbers of weights, of draws, and of the training that uses them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from making import LABELS, labelled, learner_of, section, sums

from luthier.base.errors import Interrupted, TrainError
from luthier.base.interrupt import Stopper
from luthier.data.augment.balance import MAX_WEIGHT, Balance, balanced
from luthier.objectives.linear import fit_head
from luthier.train.batches import drawn, epoch_batches
from luthier.train.run import encode_all, fit

# A busy machine is no fault of the code.
UNHURRIED = settings(deadline=None, max_examples=60)
COUNTS = st.dictionaries(st.text("abcdef", min_size=1, max_size=3), st.integers(1, 400), min_size=1, max_size=8)
WEIGHTS = Balance("weights", {"account": 3.0, "billing": 0.25, "delivery": 1.5})


def quiet(*args, **facts) -> None:
    pass


@UNHURRIED
@given(COUNTS)
def test_weights_are_scikit_learns_up_to_the_limit(counts: dict[str, int]) -> None:
    from sklearn.utils.class_weight import compute_class_weight

    labels = [label for label, n in counts.items() for _ in range(n)]
    names = np.array(sorted(counts))
    expected = np.minimum(compute_class_weight("balanced", classes=names, y=np.array(labels)), MAX_WEIGHT)
    found = balanced("weights", {**counts, "without rows": 0})
    assert found.of(names) == pytest.approx(expected.tolist())
    assert found.of(["without rows"]) == [1.0]


@UNHURRIED
@given(COUNTS)
def test_draws_keep_the_epoch_and_lift_the_rare_by_the_square_root(counts: dict[str, int]) -> None:
    found = balanced("resample", counts).by_label
    assert sum(n * found[label] for label, n in counts.items()) == pytest.approx(sum(counts.values()))
    parts = {label: n * found[label] for label, n in counts.items()}
    first = next(iter(counts))
    for label, n in counts.items():
        assert parts[label] / parts[first] == pytest.approx((n / counts[first]) ** 0.5)


@UNHURRIED
@given(st.lists(st.sampled_from("aabbbbbbcccccccccccccc"), min_size=1, max_size=200), st.integers(0, 5))
def test_an_epoch_draws_each_row_its_times_rounded_down_or_up(labels: list[str], epoch: int) -> None:
    rates = balanced("resample", Counter(labels)).of(labels)
    lengths = [1 + i % 7 for i in range(len(labels))]
    batches = epoch_batches(lengths, batch=8, seed=1, epoch=epoch, draws=rates)
    assert batches == epoch_batches(lengths, batch=8, seed=1, epoch=epoch, draws=rates)
    assert len(batches) == len(epoch_batches(lengths, batch=8, seed=1, epoch=epoch))
    times = Counter(row for batch in batches for row in batch)
    assert times.total() == len(labels)
    for row, rate in enumerate(rates):
        assert np.floor(rate - 1e-9) <= times[row] <= np.ceil(rate + 1e-9)
    # Labels of as many rows have one rate, and share what they are drawn.
    for rate in set(rates):
        there = [row for row in range(len(labels)) if rates[row] == rate]
        assert abs(sum(times[row] for row in there) - rate * len(there)) <= 1


def test_over_epochs_rows_of_a_label_are_drawn_alike() -> None:
    labels = ["rare"] * 4 + ["common"] * 96
    rates = np.array(balanced("resample", Counter(labels)).of(labels))
    rng = np.random.default_rng(0)
    times = sum(np.bincount(drawn(rates, rng.permutation(100), rng), minlength=100) for _ in range(600)) / 600
    assert times == pytest.approx(rates, abs=0.12)


def test_without_draws_every_row_comes_once() -> None:
    rows = [row for batch in epoch_batches([3, 1, 2] * 9, batch=4, seed=0, epoch=0) for row in batch]
    assert sorted(rows) == list(range(27))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_weighted_loss_is_torchs_own(tiny_bert: Path, smoothing: float) -> None:
    learner = learner_of(tiny_bert, "classify", LABELS, pooling="mean").eval()
    weight = torch.tensor(WEIGHTS.of(LABELS))
    learner.weigh(WEIGHTS.of(LABELS))
    rows, _ = encode_all(learner, labelled(17), quiet)
    batch = learner.collate(rows)
    loss, count = learner.loss(batch, smoothing=smoothing)
    logits = learner.logits(batch)
    expected = F.cross_entropy(logits, batch.labels_B, weight=weight, reduction="mean", label_smoothing=smoothing)
    torch.testing.assert_close(loss / count, expected)
    assert count == pytest.approx(sum(learner.units(row) for row in rows))
    learner.weigh(None)
    plain, count = learner.loss(batch, smoothing=smoothing)
    torch.testing.assert_close(plain / count, F.cross_entropy(logits, batch.labels_B, label_smoothing=smoothing))
    with pytest.raises(ValueError, match="2 weights for 3 labels"):
        learner.weigh([1.0, 2.0])


@pytest.mark.parametrize("balance", [WEIGHTS, Balance("resample", {"account": 2.0, "billing": 0.4, "delivery": 1.2})])
def test_micro_batches_equal_one_big_batch(tiny_bert: Path, balance: Balance) -> None:
    found = []
    for micro_tokens in (100_000, 16):
        learner = learner_of(tiny_bert, "classify", LABELS, pooling="mean")
        settings = section("classify", 27, micro_tokens=micro_tokens, epochs=2.0, batch=8, rate=1e-3, head="random")
        outcome = fit(learner, labelled(27), settings, score=None, balance=balance)
        found.append(
            ({n: p.detach().clone() for n, p in learner.named_parameters()}, [s["loss"] for s in outcome.losses])
        )
    for name, value in found[0][0].items():
        torch.testing.assert_close(found[1][0][name], value, rtol=2e-4, atol=2e-5)
    assert found[1][1] == pytest.approx(found[0][1], rel=1e-4)


def test_the_head_is_fitted_with_the_weights() -> None:
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(0)
    y = np.array([0] * 60 + [1] * 12)
    X = (rng.normal(size=(72, 4)) + y[:, None]).astype(np.float32)
    weights = balanced("weights", {"0": 60, "1": 12}).of(map(str, y))
    found = fit_head(torch.from_numpy(X), y.tolist(), 2, seed=0, weights_N=weights)
    own = LogisticRegression(C=found.strength, class_weight="balanced", max_iter=200, tol=1e-3).fit(X, y)
    np.testing.assert_allclose((found.weight_CD[1] - found.weight_CD[0]).numpy(), own.coef_[0], rtol=1e-2, atol=1e-3)
    plain = fit_head(torch.from_numpy(X), y.tolist(), 2, seed=0)

    def recall(fit) -> float:
        scores = X @ fit.weight_CD.numpy().T + fit.bias_C.numpy()
        return float((scores.argmax(1) == 1)[y == 1].mean())

    assert recall(found) > recall(plain)


@pytest.mark.parametrize("balance", [WEIGHTS, Balance("resample", {"account": 2.0, "billing": 0.4, "delivery": 1.2})])
def test_resume_equals_uninterrupted_bit_for_bit(tiny_bert: Path, tmp_path: Path, balance: Balance) -> None:
    settings = section("classify", 22, rate=1e-3, epochs=3.0, batch=8)

    def run(folder: Path, stop_at: int | None = None):
        stopper = Stopper()

        def emit(kind: str, /, **facts) -> None:
            if kind == "step" and facts["step"] == stop_at:
                stopper.handle(15, None)

        learner = learner_of(tiny_bert, "classify", LABELS)
        outcome = fit(
            learner, labelled(22), settings, score=None, folder=folder, emit=emit, stopper=stopper, balance=balance
        )
        return learner, outcome

    whole, reference = run(tmp_path / "whole")
    with pytest.raises(Interrupted):
        run(tmp_path / "cut", 4)
    resumed, outcome = run(tmp_path / "cut")
    assert outcome.losses == reference.losses
    for (name, value), (_, other) in zip(whole.named_parameters(), resumed.named_parameters(), strict=True):
        assert torch.equal(value, other), name
    with pytest.raises(TrainError, match="another task, data or version"):
        fit(learner_of(tiny_bert, "classify", LABELS), labelled(22), settings, score=None, folder=tmp_path / "cut")


def test_an_objective_without_labels_is_refused(tiny_llama: Path) -> None:
    with pytest.raises(TrainError, match="generate has no labels to balance"):
        fit(learner_of(tiny_llama, "generate"), sums(4), section("generate", 4), score=None, balance=WEIGHTS)
