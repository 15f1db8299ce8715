"""Learning curves: nested parts, known power laws with the coverage of their intervals, and what is refused."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from making import labelled

from luthier.base.records import Example, Prediction, Source
from luthier.data.shares import faults, nested
from luthier.evaluate.diagnosis.extrapolate import extrapolate
from luthier.evaluate.diagnosis.learning import redraw, summarise, words

SHARES = (0.25, 0.5, 1.0)


def test_parts_are_nested_and_keep_the_shares_of_labels() -> None:
    rows = labelled(300)
    parts = nested(rows, SHARES, labelled=True, seed=0)
    whole = Counter(r.target for r in rows)
    for part, share in zip(parts, SHARES, strict=True):
        assert len(part) == len(set(part))
        counts = Counter(rows[i].target for i in part)
        assert all(abs(counts[label] - share * n) <= 1 for label, n in whole.items())
    assert set(parts[0]) < set(parts[1]) < set(parts[2])
    assert parts[2] == list(range(300))
    # Whatever else is asked for, a share's rows are the same: cells of two calls go together.
    assert nested(rows, [0.5], labelled=True, seed=0) == [parts[1]]
    assert nested(rows, [0.5], labelled=True, seed=1) != [parts[1]]


def test_groups_come_in_one_run() -> None:
    rows = [Example(f"e{i}", {"text": str(i)}, "a", Source("f.csv", i), group=f"g{i // 10}") for i in range(100)]
    (part,) = nested(rows, [0.3], labelled=True, seed=3)
    assert {rows[i].group for i in part} and len({rows[i].group for i in part}) == 3


def test_what_cannot_be_cut_is_told() -> None:
    rows = [Example(f"e{i}", {"text": str(i)}, "rare" if i < 3 else "common", Source("f.csv", i)) for i in range(100)]
    (fault,) = faults(rows, SHARES, labelled=True, where="--at")
    assert "would leave none of 1 labels" in fault.what and '"rare" (3)' in fault.what
    assert fault.mend == "Begin at 34 % or more."
    assert faults(rows, (0.34, 1.0), labelled=True, where="--at") == []
    assert faults(rows, SHARES, labelled=False, where="--at") == []
    assert "is no share" in faults(rows, (0.0, 1.0), labelled=True, where="--at")[0].what
    assert "is no share" in faults(rows, (0.5, 1.2), labelled=True, where="--at")[0].what
    assert "one point" in faults(rows, (0.5, 0.5), labelled=True, where="--at")[0].what


def drawn_curve(law, sizes, *, rows, seeds, rng, sd=0.01):
    """Return scores [seeds, sizes] and their covariance over rows: most rows are hard for every size alike."""
    hard = rng.random(rows)
    right = np.zeros((seeds, len(sizes), rows))
    for s in range(seeds):
        for k, n in enumerate(sizes):
            mixed = np.where(rng.random(rows) < 0.7, hard, rng.random(rows))
            right[s, k] = mixed < law(n) + rng.normal(0, sd)
    mean = right.mean(0)
    picks = rng.integers(0, rows, (300, rows))
    return right.mean(2), np.cov(mean[:, picks].mean(2))


@pytest.mark.parametrize(
    ("a", "b", "c", "seeds", "rows"),
    [(0.95, 0.35, 0.3, 3, 600), (0.95, 0.35, 0.5, 3, 600), (0.9, 0.35, 0.8, 3, 600), (0.92, 0.2, 0.5, 1, 300)],
)
def test_the_interval_holds_a_known_law(a, b, c, seeds, rows) -> None:
    """``b`` is the distance from the limit at 100 rows. Of 40 curves at least 34 are held: 95 % less luck."""

    def law(n: float) -> float:
        return a - b * (n / 100) ** -c

    rng = np.random.default_rng(round(1000 * c) + seeds)
    held, gains = 0, 0
    for _ in range(40):
        scores, cov = drawn_curve(law, (100, 200, 400), rows=rows, seeds=seeds, rng=rng)
        found = extrapolate((100, 200, 400), scores, cov, to=800)
        held += found["low"] <= law(800) <= found["high"]
        gains += found["gain"]["low"] <= law(800) - law(400) <= found["gain"]["high"]
        assert found["gain"]["low"] >= 0 and found["high"] <= 1
    assert held >= 34
    assert gains >= 34


def test_without_noise_the_law_itself_is_found() -> None:
    sizes = (50, 100, 200, 400, 800)
    scores = np.array([[0.9 - 2.0 * n**-0.5 for n in sizes]] * 400)
    found = extrapolate(sizes, scores, np.zeros((5, 5)), to=1600)
    assert found["value"] == pytest.approx(0.9 - 2.0 * 1600**-0.5, abs=0.003)
    assert found["exponent"]["low"] < 0.5 < found["exponent"]["high"]


def test_a_flat_and_a_falling_curve_promise_little() -> None:
    flat = extrapolate((100, 200, 400), np.full((3, 3), 0.8), np.eye(3) * 1e-6, to=800)
    assert flat["gain"]["value"] < 0.01
    falling = extrapolate((100, 200, 400), np.array([[0.9, 0.8, 0.7]] * 3), np.eye(3) * 1e-6, to=800)
    assert falling["gain"]["value"] < 0.02
    perfect = extrapolate((100, 200, 400), np.ones((2, 3)), np.zeros((3, 3)), to=800)
    assert perfect["high"] > 0.99 and perfect["gain"]["high"] < 0.02


def test_the_same_draws_for_every_cell() -> None:
    """What is common to two cells cancels: equal predictions differ in no draw."""
    labels = ("a", "b")
    targets = ["a", "b"] * 30
    said = [Prediction(label=t if i % 5 else "a", scores={"a": 0.6, "b": 0.4}) for i, t in enumerate(targets)]
    one, two = (redraw("classify", targets, said, labels, "accuracy", groups=None) for _ in range(2))
    assert one == two
    assert one[0] == pytest.approx(np.mean([t == p.label for t, p in zip(targets, said, strict=True)]))
    assert np.std(one[1]) == pytest.approx(np.sqrt(one[0] * (1 - one[0]) / 60), rel=0.15)


def cells_of(scores: dict[float, list[float]]) -> list[dict]:
    rng = np.random.default_rng(0)
    shared = rng.normal(0, 0.02, 500)
    return [
        {"share": share, "seed": s, "rows": round(400 * share), "score": v, "drawn": (v + shared).tolist()}
        for share, values in scores.items()
        for s, v in enumerate(values)
    ]


def test_words_say_whether_more_rows_pay() -> None:
    steep = summarise(cells_of({0.25: [0.5, 0.51], 0.5: [0.62, 0.61], 1.0: [0.72, 0.73]}), metric="accuracy", best=1.0)
    assert "More rows will help." in steep["words"]
    flat = summarise(cells_of({0.25: [0.8] * 9, 0.5: [0.8] * 9, 1.0: [0.8] * 9}), metric="accuracy", best=1.0)
    assert "will hardly help" in flat["words"]
    assert [p["rows"] for p in steep["points"]] == [100, 200, 400]
    assert steep["points"][0]["low"] < 0.505 < steep["points"][0]["high"]


def test_a_metric_where_less_is_better_is_turned() -> None:
    found = summarise(cells_of({0.25: [9.0], 0.5: [7.0], 1.0: [5.5]}), metric="perplexity", best=1.0)
    ahead = found["extrapolated"]
    assert 1.0 <= ahead["low"] <= ahead["value"] <= ahead["high"] < 5.7
    assert ahead["gain"]["high"] <= 0
    assert "a gain of" in words("perplexity", found["points"], ahead, sign=-1.0)


def test_the_page_shows_the_curve_and_plotly_takes_its_figure() -> None:
    Figure = pytest.importorskip("plotly.graph_objects").Figure

    from luthier.evaluate.report.plots_training import learning, training
    from luthier.evaluate.report.training import learning_curve

    found = summarise(cells_of({0.25: [0.5, 0.51], 0.5: [0.62, 0.61], 1.0: [0.72, 0.73]}), metric="accuracy", best=1.0)
    plots: dict = {}
    text = "".join(learning_curve({"learning_curve": found}, plots))
    assert "200%, extrapolated" in text and found["words"] in text
    assert [trace["name"] for trace in plots["learning"]["data"]] == ["95 % band", "curve", "measured"]
    curve = [{"step": i, "score": 0.5, "valid_loss": 1.0, "train_loss": 0.9, "train_score": 0.6} for i in range(3)]
    steps = [{"step": i, "loss": 1.0, "rate": 1e-4} for i in range(1, 60)]
    for figure in (plots["learning"], training(steps, curve, "accuracy", turn=1), training(steps[:9], [], "accuracy"),
                   learning(found["points"], {}, "accuracy")):  # fmt: skip
        Figure(_coloured(figure))


def _coloured(value):
    """Return a figure with a real colour for every role, as the page paints it."""
    if isinstance(value, str):
        return "#123456" if value.startswith("@") else value
    if isinstance(value, dict):
        return {key: _coloured(item) for key, item in value.items()}
    return [_coloured(item) for item in value] if isinstance(value, list) else value
