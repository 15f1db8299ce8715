"""Records of runs that never were, as report.json would hold them: made with the real metrics on drawn predictions."""

from __future__ import annotations

from typing import Any

import numpy as np

from luthier.base.records import Example, Prediction, Source
from luthier.evaluate import baselines, curves, mistakes, several
from luthier.evaluate.compare import paired
from luthier.evaluate.intervals import evaluate_with_intervals
from luthier.evaluate.verdict import judge
from luthier.spec.bars import Bar

LABELS = ("account", "billing", "delivery", "technical", "urgent")
TEXTS = {
    "account": "I cannot sign in any more since I changed my phone, the code never arrives",
    "billing": "you took the money twice in october and nobody answers, please send one of them back",
    "delivery": "The parcel says delivered, but my neighbour has not seen it and neither have I",
    "technical": "App crashes when I open the second picture (Android 14), reinstalling did not help",
    "urgent": "STOP the order now please!! it goes to my old address",
}


def drawn(rng: np.random.Generator, targets: list[str], labels: tuple[str, ...], skill: float) -> list[Prediction]:
    predictions = []
    for target in targets:
        lean = skill * (0.45 if target == labels[-1] else 1.0)
        logits = rng.normal(size=len(labels)) + lean * np.array([label == target for label in labels])
        shares = np.exp(1.6 * logits) / np.exp(1.6 * logits).sum()
        scores = dict(zip(labels, shares.tolist(), strict=True))
        predictions.append(Prediction(label=labels[int(shares.argmax())], scores=scores))
    return predictions


def classify_record(
    rows: int = 180,
    labels: tuple[str, ...] = LABELS,
    skill: float = 4.5,
    *,
    bars: list[Bar] | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Return the record of a classifier."""
    rng = np.random.default_rng(seed)
    weights = np.linspace(3, 1, len(labels))
    targets = rng.choice(labels, rows, p=weights / weights.sum()).tolist()
    tested = [
        Example(f"t{i}", {"text": TEXTS.get(t, f"a message about {t}")}, t, Source("messages.csv", 2 + 7 * i))
        for i, t in enumerate(targets)
    ]
    predictions = drawn(rng, targets, labels, skill)
    linear = drawn(rng, targets, labels, skill * 0.62)
    commonest = baselines.majority(tested, tested)
    found = evaluate_with_intervals("classify", targets, predictions, labels, resamples=300)
    compared = {"majority": commonest, "tfidf_linear": linear}
    against = {n: evaluate_with_intervals("classify", targets, p, labels, resamples=300) for n, p in compared.items()}
    asked = [Bar("macro_f1", ">=", 0.8), Bar(f"recall[{labels[-1]}]", ">=", 0.9)] if bars is None else bars
    counts = {label: {"train": 4 * n, "valid": n // 2, "test": n} for label in labels for n in [targets.count(label)]}
    return {
        **judge(asked, found).as_dict(),
        "task": {"name": "support-triage", "objective": "classify", "goal": "Each message to its queue."},
        "created": "2025-11-22T23:50:01+00:00",
        "bundle": "runs/support-triage/bundle",
        "model": {"base": "embedded", "method": "full", "parameters": 22713216, "trained": 10995200, "kind": "encoder"},
        "data": data_record(rows, counts),
        "metrics": {"test": found, "valid": {k: v["value"] for k, v in found.items()}},
        "baselines": against,
        "against": {
            "bundle": "runs/older/bundle",
            "metrics": paired("classify", targets, linear, predictions, labels, resamples=200),
        },
        "confusion": mistakes.confusion(targets, predictions, labels),
        "roc": curves.roc_curves(targets, predictions, labels),
        "reliability": curves.reliability(targets, predictions),
        "curve": curve_record(rng),
        "diagnosis": fit_record(),
        "mistakes": mistakes.worst(tested, predictions, 12),
        "seconds": {"prepare": 1.24, "train": 61.7, "evaluate": 2.2},
        "peak_memory_mb": 912.4,
        "environment": {"python": "3.11.7", "torch": "2.13.0", "processor": "x86-64, 2 cores", "memory_gb": 24},
        "resolved": "task:\n  name: support-triage\ntrain:\n  method: full\n  rate: 0.00003\n  epochs: 4\n",
        "fingerprint": "5d2f0e8c7a",
    }


def data_record(rows: int, counts: dict[str, Any]) -> dict[str, Any]:
    return {
        "rows": rows * 6,
        "splits": {"train": rows * 4, "valid": rows // 2, "test": rows},
        "labels": counts,
        "dropped": {"empty text": 3, "no label": 2},
        "duplicates": {"exact": 9, "conflicting": 1},
        "leaks": {"exact": 0, "near": 1, "semantic": None, "group": 0},
        "leak_examples": [
            {"kind": "near", "first": "messages.csv:17", "second": "messages.csv:402", "text": "where is my parcel"}
        ],
        "problems": [
            {"what": '"Billing" and "billing" differ by case only', "where": "messages.csv:88", "mend": "Merge them."},
            {"what": "personal data was found in 4 rows", "where": "messages.csv:31", "mend": "Mask it first."},
        ],
        "personal": {"email": 3, "phone": 1},
        "recognised_as": "text and label",
        "lengths": {"median_chars": 84, "p95_chars": 310, "max_chars": 1204},
        "fingerprint": "5d2f0e8c7a",
        "files": [{"name": "messages.csv", "rows": rows * 6, "sha256": "ab" * 32}],
    }


def curve_record(rng: np.random.Generator) -> dict[str, Any]:
    losses = 1.4 * np.exp(-np.arange(1, 181) / 50) + 0.15 + 0.06 * rng.random(180)
    steps = [{"step": i + 1, "loss": float(loss), "rate": 3e-5 * (1 - i / 180)} for i, loss in enumerate(losses)]
    scores, valid, train = (0.71, 0.83, 0.86, 0.855), (0.9, 0.52, 0.44, 0.49), (0.88, 0.4, 0.2, 0.11)
    return {
        "steps": steps,
        "evaluations": [
            {"step": 45 * (i + 1), "score": s, "valid_loss": v, "train_loss": t, "train_score": min(1.0, s + 0.03 * i)}
            for i, (s, v, t) in enumerate(zip(scores, valid, train, strict=True))
        ],
    }


def fit_record() -> dict[str, Any]:
    """Return the verdict of a run that overfits."""
    return {
        "verdict": "overfits",
        "from_step": 135,
        "evidence": ["After step 135 the validation loss rose from 0.44 to 0.49, while the train loss fell to 0.11."],
        "next": ["Train less: fewer train.epochs, a lower train.rate.", "More rows help most."],
        "also": ["data-limited"],
        "figures": {"valid_rows": 90},
    }


def generate_record(*, seed: int = 0) -> dict[str, Any]:
    """Return the record of a generator that was accepted."""
    rng = np.random.default_rng(seed)
    words = ["the", "parcel", "is", "on", "its", "way", "and", "comes", "monday", "or", "tuesday"]
    targets = [" ".join(rng.choice(words, 12)) for _ in range(60)]
    tested = [
        Example(f"g{i}", {"messages": [{"role": "user", "content": f"Where is {i}?"}]}, t, Source("chats.jsonl", i + 1))
        for i, t in enumerate(targets)
    ]

    def answered(share: float, surprise: float) -> list[Prediction]:
        return [
            Prediction(
                text=" ".join(w if rng.random() < share else "um" for w in t.split()),
                finish="stop" if rng.random() < 0.97 else "length",
                measured={"nll_sum": float(rng.gamma(4, surprise / 4) * 14), "token_count": 14.0},
            )
            for t in targets
        ]

    tuned, untuned = answered(0.8, 1.1), answered(0.3, 2.0)
    found = evaluate_with_intervals("generate", targets, tuned, (), resamples=300)
    return {
        **judge([Bar("perplexity", "<=", 6.0), Bar("rougeL", ">=", 0.5)], found).as_dict(),
        "task": {"name": "order-answers", "objective": "generate", "goal": "Draft an answer to where an order is."},
        "created": "2025-11-22T23:50:01+00:00",
        "model": {"base": "some/small-llama", "method": "lora", "parameters": 134515008, "trained": 921600},
        "data": {"rows": 900, "splits": {"train": 700, "valid": 70, "test": 60}},
        "metrics": {"test": found},
        "baselines": {"untuned": evaluate_with_intervals("generate", targets, untuned, (), resamples=300)},
        "curve": curve_record(rng),
        "mistakes": mistakes.worst(tested, tuned, 5),
        "samples": mistakes.samples(tested, tuned, 4),
        "seconds": {"train": 340.0},
    }


def comparison_record(rows: int = 120) -> dict[str, Any]:
    """Return what `luthier compare` writes of two runs, the second of which is worse."""
    rng = np.random.default_rng(0)
    labels = ("account", "billing", "delivery")
    targets = rng.choice(labels, rows).tolist()
    test = [Example(str(i), {"text": f"text {i}"}, target, Source("test.csv", i + 2), None, {"channel": ("mail", "phone")[i % 2]})
            for i, target in enumerate(targets)]  # fmt: skip

    def answers(right: float) -> list[Prediction]:
        found = []
        for target in targets:
            shares = rng.dirichlet(np.where(np.array(labels) == (target if rng.random() < right else rng.choice(labels)), 8.0, 1.0))
            found.append(Prediction(label=labels[int(shares.argmax())], scores=dict(zip(labels, shares.tolist(), strict=True))))
        return found

    given = {"<b>first</b>": answers(0.9), "second": answers(0.5)}
    run: dict[str, Any] = dict.fromkeys(
        ("base", "method", "created", "luthier", "fingerprint", "train_rows", "parameters", "trained", "steps", "seconds", "train_seconds",
         "peak_memory_mb", "verdict"))  # fmt: skip
    return {
        "objective": "classify", "rows": rows, "source": None, "notes": [],
        **several.compare("classify", test, given, labels, main="accuracy"),
        "runs": [{**run, "name": name, "path": name, "bundle": name, "reasons": [], "bytes": 10} for name in given],
        "settings": several.settings_apart({"<b>first</b>": {"train": {"rate": 0.1}}, "second": {}}),
    }  # fmt: skip
