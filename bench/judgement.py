"""What the judgement costs on 100,000 test rows, and how often its intervals and tests are right.

``cost``: rows, answers and columns are made up; everything is computed that a run computes of its test rows once they are
answered: metrics with 1,000 resamples, parts of the rows by six columns, calibration, curves, the worst mistakes. Each
objective has a process of its own (of sentences and written answers a tenth of the rows); its memory is what grows beyond the rows and answers themselves.

``coverage``: a made-up process whose truth is known (a sample of 400,000 rows of it) is asked again and again for a test
set, and the share of 95 % intervals that hold the truth is counted. ``groups`` are rows that belong together five at a
time: with the groups told, and by row as if they did not. ``alarms``: two models that are equally good, on the same rows;
the share of comparisons that call one of them better. 1.96 standard errors of these shares are beside them.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from bench.common import (
    Goal,
    Part,
    answer_part,
    arguments,
    conclude,
    figure,
    machine,
    markdown,
    peak_memory_mb,
    run_part,
    threads_for,
    workshop,
)

ROWS, QUICK_ROWS = 100_000, 2_000
OBJECTIVES = {"classify, 10 labels": ("classify", 10), "classify, 77 labels": ("classify", 77), "multilabel, 20 labels": ("multilabel", 20),
              "grade, 2 traits": ("grade", 2), "rank, lists of 20 of 2,000 items": ("rank", 2000),
              "extract, 3 sentences of 18 words": ("extract", 3), "generate, 25 words": ("generate", 25)}  # fmt: skip
# Texts are compared word by word: a tenth of the rows, which is fifty times what a run lets be written by default.
TEXTS, TEXT_SHARE = ("extract", "generate"), 0.1
SECONDS = 20.0
LOW, HIGH, ALARMS = 0.93, 0.97, 0.05
TEST_ROWS, TRUTH_ROWS, RESAMPLES = 300, 400_000, 300
# Metrics whose expected value on a small test set is that of the process, or nearly; ECE, for one, is larger on few rows.
WATCHED = {
    "classify": ("accuracy", "macro_f1", "mcc", "log_loss", "brier", "roc_auc"),
    "multilabel": ("micro_f1", "macro_f1", "hamming_loss"),
    "grade": ("qwk", "rmse", "spearman"),
    "generate": ("perplexity",),
}
Made = tuple[list[Any], list[Any], tuple[str, ...]]
_WORDS = ["order", "parcel", "bank", "card", "limit", "refund", "app", "login", "late", "price", "screen", "battery", "contract", "invoice", "help", "again", "never"]


def made(objective: str, many: int, rows: int, rng: np.random.Generator) -> Made:
    """Return targets, predictions and labels of a process that is right more often than not."""
    from luthier.base.records import Prediction
    from luthier.base.shares import shares as of_labels

    labels = tuple(f"label {i}" for i in range(many))
    if objective == "classify":
        codes = np.minimum(rng.geometric(2 / (many + 1), rows) - 1, many - 1)
        return [labels[i] for i in codes], guesses(codes, labels, rng), labels
    if objective == "multilabel":
        truth = rng.random((rows, many)) < 0.15
        shares = 1 / (1 + np.exp(2.0 - 3.5 * truth - rng.normal(size=truth.shape)))
        sets = [[label for label, there in zip(labels, row, strict=True) if there] for row in truth]
        given = [tuple(label for label, s in zip(labels, row, strict=True) if s >= 0.5) for row in shares]
        return sets, [Prediction(labels=some, scores=row) for some, row in zip(given, of_labels(labels, shares), strict=True)], labels
    if objective == "grade":
        traits = tuple(f"trait {i}" for i in range(many))
        truth = np.clip(np.round(rng.normal(3, 1, (rows, many))), 1, 5)
        given = np.clip(truth + rng.normal(0, 0.8, truth.shape), 1, 5)
        return ([dict(zip(traits, row, strict=True)) for row in truth.tolist()],
                [Prediction(grades=dict(zip(traits, row, strict=True))) for row in given.tolist()], traits)  # fmt: skip
    if objective == "rank":
        return lists(many, rows, rng)
    if objective == "extract":
        said = iter(sentences(rows * (many + 2), 18, rng))
        each = [[next(said) for _ in range(many + 2)] for _ in range(rows)]
        return [[" ".join(one[2:])] for one in each], [Prediction(sentences=tuple(one[:many]), scores={}) for one in each], ()
    tokens = rng.integers(5, 40, rows)
    nats = tokens * rng.gamma(4, 0.5, rows)
    wanted = sentences(rows, many, rng) if many else ["x"] * rows
    written = sentences(rows, many, rng) if many else [None] * rows
    return (wanted, [Prediction(text=text, finish="stop", measured={"nll_sum": s, "token_count": float(t)})
                     for text, s, t in zip(written, nats, tokens, strict=True)], ())  # fmt: skip


def sentences(count: int, words: int, rng: np.random.Generator) -> list[str]:
    """Return so many made-up sentences."""
    picked = rng.integers(0, len(_WORDS), (count, words))
    return [" ".join(_WORDS[i] for i in row) + "." for row in picked.tolist()]


def lists(many: int, rows: int, rng: np.random.Generator) -> Made:
    """Return what users took, what they were offered and the items."""
    from luthier.base.records import Prediction
    from luthier.evaluate.tables.rank import LISTED

    items = tuple(f"item {i}" for i in range(many))
    offered = rng.integers(0, many, (rows, 20))
    offered = (offered[:, :1] + np.cumsum(1 + offered % (many // 25), axis=1)) % many  # no item twice
    taken = np.where(rng.random((rows, 2)) < 0.3, offered[:, [0, 7]], rng.integers(0, many, (rows, 2)))
    return ([{items[i]: 1.0 for i in row} for row in taken.tolist()],
            [Prediction(items=tuple((items[i], 1.0 / (n + 1)) for n, i in enumerate(row)), measured={LISTED: 20.0}) for row in offered.tolist()],
            items)  # fmt: skip


def guesses(codes: np.ndarray, labels: Sequence[str], rng: np.random.Generator) -> list[Any]:
    """Return what a model that is right more often than not says of rows with these labels, by their numbers."""
    from luthier.base.records import Prediction
    from luthier.base.shares import shares as of_labels

    logits = rng.normal(size=(len(codes), len(labels))) + 2.0 * (codes[:, None] == np.arange(len(labels)))
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return [Prediction(label=labels[i], scores=row) for i, row in zip(shares.argmax(1), of_labels(labels, shares), strict=True)]


def answered_rows(objective: str, many: int, rows: int) -> Any:
    """Return rows with texts and four columns more, and what a model says of them."""
    from luthier.base.records import Example, Source
    from luthier.evaluate.answered import Answered

    rng = np.random.default_rng(0)
    targets, answers, labels = made(objective, many, rows, rng)
    lengths = np.clip(rng.lognormal(2.5, 0.5, rows).astype(int), 3, 200)
    words = [_WORDS[i] for i in rng.integers(0, len(_WORDS), int(lengths.sum()))]
    ends = np.cumsum(lengths)
    examples = [
        Example(str(i), _asked(objective, " ".join(words[end - length : end])), target, Source("made.csv", i + 2), None,
                {"channel": ("mail", "chat", "phone")[i % 3], "country": f"c{i * 7 % 23}", "level": i * 13 % 5,
                 "day": f"2025-{i % 12 + 1:02}-{i % 28 + 1:02}"})
        for i, (target, end, length) in enumerate(zip(targets, ends.tolist(), lengths.tolist(), strict=True))
    ]  # fmt: skip
    return Answered(objective, examples, answers, labels)


def _asked(objective: str, text: str) -> dict[str, Any]:
    if objective == "generate":
        return {"messages": [{"role": "user", "content": text}]}
    return {{"extract": "document", "rank": "query"}.get(objective, "text"): text}


def cost_part(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Judge the rows of one objective."""
    from luthier.lifecycle.judging import assess
    from luthier.spec.task import Task

    objective, many = settings["objective"], settings["many"]
    task = Task.model_validate({"task": {"name": "made", "objective": objective}, "data": {"source": "made.csv"}, "accept": {}})
    answered = answered_rows(objective, many, settings["rows"])
    before, began, computed = peak_memory_mb(), time.perf_counter(), time.process_time()
    found = assess(task, answered, [], rivals={})
    return {
        "seconds": time.perf_counter() - began, "cpu_s": time.process_time() - computed, "rows_mb": before, "more_mb": peak_memory_mb() - before,
        "parts": found.get("slices", {}).get("tested", 0), "metrics": len(found["metrics"]["test"]),
    }  # fmt: skip


def coverage_part(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Count how often intervals hold the truth, and how often equal models are told apart."""
    from luthier.evaluate.intervals import evaluate_with_intervals
    from luthier.evaluate.metrics import measured

    trials, found = settings["trials"], {}
    for number, (objective, many) in enumerate({"classify": 4, "multilabel": 5, "grade": 1, "generate": 0}.items()):
        rng = np.random.default_rng(number)
        targets, answers, labels = made(objective, many, settings["truth_rows"], rng)
        # The intervals of a test set with one trait name its metrics as those of a file with several do.
        truth = measured(objective, targets, answers, labels)
        names = [name for name in WATCHED[objective] if truth.get(name) is not None]
        hits = dict.fromkeys(names, 0)
        for trial in range(trials):
            sample = made(objective, many, TEST_ROWS, rng)
            rows = evaluate_with_intervals(objective, *sample, resamples=RESAMPLES, seed=trial)
            for name in names:
                low, high = rows[name]["low"], rows[name]["high"]
                hits[name] += low is not None and high is not None and low <= truth[name] <= high
        found |= {f"{objective}: {name}": hit / trials for name, hit in hits.items()}
    return {"coverage": found, "groups": _groups(trials), "alarms": _alarms(trials)}


def _groups(trials: int) -> dict[str, float]:
    """Return the coverage of accuracy where five rows of a customer are right or wrong alike, with and without the customers told."""
    from luthier.base.records import Prediction
    from luthier.evaluate.intervals import evaluate_with_intervals

    rng, hits = np.random.default_rng(10), {"groups told": 0, "by row": 0}
    right, wrong = Prediction(label="a"), Prediction(label="b")
    for trial in range(trials):
        chance = np.repeat(rng.beta(1.4, 0.6, TEST_ROWS // 5), 5)  # 0.7 on average
        answers = [right if r else wrong for r in rng.random(len(chance)) < chance]
        customers = [str(i // 5) for i in range(len(chance))]
        for name, groups in (("groups told", customers), ("by row", None)):
            row = evaluate_with_intervals("classify", ["a"] * len(chance), answers, ("a", "b"), groups=groups, resamples=RESAMPLES,
                                          seed=trial)["accuracy"]  # fmt: skip
            hits[name] += bool(row["low"] is not None and row["high"] is not None and row["low"] <= 0.7 <= row["high"])
    return {name: hit / trials for name, hit in hits.items()}


def _alarms(trials: int) -> dict[str, float]:
    """Return how often one of two equally good models is called better."""
    from luthier.evaluate.compare import CANNOT_TELL, paired

    rng = np.random.default_rng(11)
    rows = {"accuracy": 0, "macro_f1": 0, "log_loss": 0}
    for trial in range(trials):
        targets, first, labels = made("classify", 4, TEST_ROWS, rng)
        second = guesses(np.array([labels.index(t) for t in targets]), labels, rng)
        found = paired("classify", targets, first, second, labels, resamples=RESAMPLES, seed=trial)
        for metric in rows:
            rows[metric] += found[metric]["better"] != CANNOT_TELL
    return {name: count / trials for name, count in rows.items()}


PARTS: dict[str, Part] = {"cost": cost_part, "coverage": coverage_part}


def table(record: Mapping[str, Any]) -> str:
    """Return both halves as Markdown."""
    text = ""
    if costs := record.get("cost"):
        rows = [[name if OBJECTIVES[name][0] not in TEXTS else f"{name}; a tenth of the rows", figure(c["seconds"]), figure(c["cpu_s"]), f"{c['more_mb']:,.0f}", f"{c['rows_mb']:,.0f}", c["parts"]] for name, c in costs.items()]
        text += markdown(("100,000 test rows", "seconds", "of computing", "MB more", "MB of rows and answers", "parts looked at"), rows)
    if seen := record.get("seen"):
        error = 1.96 * math.sqrt(0.95 * 0.05 / record["trials"])
        rows = [[name, f"{share:.1%} ± {error:.1%}"] for part in ("coverage", "groups", "alarms") for name, share in
                ((f"{part}, {n}", s) for n, s in seen[part].items())]  # fmt: skip
        text += ("\n\n" if text else "") + markdown((f"{TEST_ROWS} rows, {record['trials']} test sets", "share"), rows)
    return text


def goals(record: Mapping[str, Any]) -> list[Goal]:
    """Return the bars: seconds, coverage from 93 to 97 %, alarms at most 5 % but for chance."""
    found = []
    if costs := record.get("cost"):
        name, worst = max(((n, c["seconds"]) for n, c in costs.items() if OBJECTIVES[n][0] not in TEXTS), key=lambda pair: pair[1])
        found.append(Goal(f"rows judged a second, of the slowest objective ({name}: {figure(worst)} s)", ROWS / SECONDS, ROWS / worst))
    if seen := record.get("seen"):
        held: Callable[[float], bool] = lambda share: LOW <= share <= HIGH  # noqa: E731
        shares = [*seen["coverage"].values(), seen["groups"]["groups told"]]
        found.append(Goal(f"intervals that hold the truth {LOW:.0%} to {HIGH:.0%} of the time", 1.0, sum(map(held, shares)) / len(shares)))
        chance = 1.96 * math.sqrt(ALARMS * (1 - ALARMS) / record["trials"])
        quiet = [share <= ALARMS + chance for share in seen["alarms"].values()]
        found.append(Goal("paired tests that keep their false alarms", 1.0, sum(quiet) / len(quiet)))
    return found


def main() -> None:
    """Run the bench, or one half of it."""
    parser = arguments("judgement", __doc__ or "")
    parser.add_argument("--only", choices=("cost", "coverage"), help="one half")
    parser.add_argument("--trials", type=int, help="test sets of each process (default: 1000; quick: 20)")
    chosen = parser.parse_args()
    if chosen.part:
        return answer_part(PARTS, chosen.part, chosen.settings)
    threads = threads_for(chosen)
    rows, trials = (QUICK_ROWS, chosen.trials or 20) if chosen.quick else (ROWS, chosen.trials or 1000)
    record: dict[str, Any] = {"machine": machine(threads), "rows": rows, "trials": trials}
    with workshop() as work:
        def measure(part: str, called: str, **settings: Any) -> dict[str, Any]:
            return run_part("bench.judgement", part, settings, threads=threads, work=work, called=called)

        if chosen.only != "coverage":
            record["cost"] = {
                name: measure("cost", name, objective=objective, many=many, rows=int(rows * TEXT_SHARE) if objective in TEXTS else rows)
                for name, (objective, many) in OBJECTIVES.items()
            }  # fmt: skip
        if chosen.only != "cost":
            record["seen"] = measure("coverage", "coverage", trials=trials, truth_rows=20_000 if chosen.quick else TRUTH_ROWS)
    conclude("judgement", record, table(record), goals(record), quick=chosen.quick, out=chosen.out)
    return None


if __name__ == "__main__":
    sys.exit(main())
