"""Records of runs that never were, as report.json would hold them: made with the real metrics on drawn predictions."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from luthier.base.records import Example, Prediction, Source
from luthier.evaluate import baselines, costs, curves, mistakes, passes, several, slices
from luthier.evaluate.answered import Answered
from luthier.evaluate.compare import paired
from luthier.evaluate.intervals import evaluate_with_intervals
from luthier.evaluate.mistakes import causes
from luthier.evaluate.robust import look, turned
from luthier.evaluate.slices import gaps
from luthier.evaluate.tables.scoped import own_answer
from luthier.evaluate.verdict import judge
from luthier.spec.bars import Bar
from luthier.spec.evaluate import Cases

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


def looked_into_record(rows: int = 240, *, evil: str = "") -> dict[str, Any]:
    """Return the record of a classifier that may decline, with all that the judgement looks into; ``evil`` stands in texts and names.

    Everything is measured by the code that measures a run, on a model that goes by single words.
    """
    rng, labels, other = np.random.default_rng(3), ("account", "billing", f"delivery{evil}"), f"none{evil}"
    wanted = rng.choice([*labels, other], rows, p=(0.4, 0.25, 0.2, 0.15)).tolist()
    tested = [
        Example(f"s{i}", {"text": f"It is {target}, he says in letter {i} {evil if i % 2 else ''}"}, target, Source(f"talk{evil}.csv", i + 2), None,
                {"channel": f"{('mail', 'phone')[i % 2]}{evil}"})
        for i, target in enumerate(wanted)
    ]  # fmt: skip

    def answer(inputs: list[Mapping[str, Any]]) -> list[Prediction]:
        """Know a label by its word, less so where the text is loud, denied or of a she."""
        found = []
        for one in inputs:
            text = one["text"]
            seen = next((label for label in labels if label.split("<")[0] in text.lower()), None)
            # The same text is always answered alike, and some are answered wrongly.
            chance = np.random.default_rng(zlib.crc32(text.encode()))
            lean = 3.0 if seen and " not " not in text and " she " not in text else 0.3
            shares = np.exp(chance.normal(size=3) + lean * np.array([label == seen for label in labels]))
            scores = dict(zip(labels, (shares / shares.sum()).tolist(), strict=True))
            best, unlike = max(scores, key=scores.__getitem__), float(1 - max(scores.values()))
            declined = unlike > 0.45
            found.append(Prediction(label=other if declined else best, scores=scores, unlike=unlike, nearest=best if declined else None))
        return found

    predictions = answer([e.inputs for e in tested])
    answered = Answered("classify", tested, predictions, labels)
    found = evaluate_with_intervals("classify", wanted, predictions, labels, resamples=200)
    prices = costs.Prices({labels[1]: {labels[0]: 30.0}}, unit=f"EUR{evil}")
    priced = costs.priced(prices, wanted, predictions)
    changed, measured = look.look(answered, answer, metric="accuracy", most=60)
    around, flipped = turned.look(answered, answer, most=60)
    known = [(t, own_answer(p)) for t, p in zip(wanted, predictions, strict=True) if t in labels]
    parts = slices.measure(answered, metric="accuracy", columns=["channel"]) or {}
    passed, cases = passes.judged([Example(e.id, e.inputs, e.target, e.source, None, {"test": f"tells {e.target}"}) for e in tested[:40]],
                                  predictions[:40], Cases())  # fmt: skip
    wrong = [m | {"cause": ("near", "pair", "other")[i % 3], "also": [], "near": [
        {"text": f"like it {evil}", "label": labels[i % 3], "cosine": 0.9, "looks_wrong": i % 2 == 0, "file": f"train{evil}.csv", "line": i}
    ]} for i, m in enumerate(mistakes.worst(tested, predictions, 12))]  # fmt: skip
    return {
        **judge([Bar("accuracy", ">=", 0.8), Bar("flips_on_negation", "<=", 0.9)], {**found, **flipped}).as_dict(),
        "task": {"name": f"scope{evil}", "objective": "classify", "goal": "Each message to its queue, and no other."},
        "metrics": {"test": {**found, **measured, **flipped, **cases}}, "data": data_record(rows, {}),
        "confusion": mistakes.confusion(wanted, predictions, labels), "per_class": mistakes.per_class(wanted, predictions, labels),
        "roc": curves.roc_curves(*zip(*known, strict=True), labels), "pr": curves.pr_curves(*zip(*known, strict=True), labels),
        "coverage": curves.risk_coverage(*zip(*known, strict=True)), "reliability": curves.reliability(*zip(*known, strict=True)),
        "robust": {**changed, "negation": around}, "cases": passed, "money": costs.evidence(prices, wanted, priced, labels),
        "slices": {**parts, "gaps": gaps.measure(answered, metric="accuracy", columns=["channel"])},
        "causes": {"looked_at": len(wrong), "train_rows": 1200, "file": "mistakes.jsonl", "groups": causes.grouped(wrong, 5)},
        "mistakes": mistakes.worst(tested, predictions, 6),
    }  # fmt: skip


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
