"""What a verdict on the fit rests on and what to do about it, in sentences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from luthier.evaluate.diagnosis.curve_signs import Estimate, Signs


def evidence(verdict: str, signs: Signs, facts: Mapping[str, Any]) -> list[str]:
    """Return the figures behind a verdict, the weightiest first. ``facts`` are the diagnosis' own figures."""
    told = {
        "underfits": _underfits, "noisy": _noisy, "overfits": _overfits, "data-limited": _limited, "fits": _fits,
        "cannot tell": _blurred,
    }[verdict](signs, facts)  # fmt: skip
    return [sentence for sentence in told if sentence]


def _underfits(signs: Signs, facts: Mapping[str, Any]) -> list[str]:
    told = []
    simple, right = facts.get("simple"), signs.train_right
    if right is not None and simple is not None and right.high < simple:
        told.append(f"It gets {right.value:.0%} of its own train rows right; {facts['simple_name']} gets {simple:.0%} "
                    "right of rows it has not seen.")  # fmt: skip
    learnt = facts.get("learnt")
    if learnt is not None and learnt < 0:
        told.append(f"The train loss rose to {signs.train_loss:.3g}: the steps are too large.")
    elif learnt is not None:
        told.append(f"Training took {learnt:.0%} off the train loss, which ends at {signs.train_loss:.3g}.")
    explained = facts.get("explained")
    if explained is not None and 0 <= explained < 0.3:
        told.append(
            f"Of the loss of one who knows only how frequent each label is, {explained:.0%} is gone on the train rows."
        )
    if signs.falling.low > 0 and signs.falling.value > 0.02:
        told.append(f"The validation loss was still falling: {signs.falling.value:.0%} in the last stretch.")
    return told


def _noisy(signs: Signs, facts: Mapping[str, Any]) -> list[str]:
    told = []
    if signs.sure_wrong is not None:
        told.append(f"Of the quarter of the validation rows that the model is surest of, {_percent(signs.sure_wrong)} carry "
                    "another label: hard rows are not among the sure ones, wrong labels are.")  # fmt: skip
    share, wrong = facts.get("label_error_share"), facts.get("out_of_fold_sure_wrong")
    if share is not None:
        told.append(f"By out-of-fold predictions about {share:.0%} of the train labels are wrong.")
    elif wrong is not None:
        told.append(f"Of the surest out-of-fold predictions on train rows {wrong:.0%} contradict the label.")
    if signs.rise.low > 0:
        told.append(f"From step {signs.turn_step} on it learnt such labels by heart: the validation loss rose from "
                    f"{signs.turn_loss:.3g} to {signs.valid_loss:.3g}.")  # fmt: skip
    return told


def _overfits(signs: Signs, facts: Mapping[str, Any]) -> list[str]:
    del facts
    return [
        f"After step {signs.turn_step} the validation loss rose from {signs.turn_loss:.3g} to {signs.valid_loss:.3g} "
        f"(by {signs.rise.low:.2g} to {signs.rise.high:.2g}, row by row), while the train loss fell to {signs.train_loss:.3g}.",
        _gap(signs),
    ]  # fmt: skip


def _limited(signs: Signs, facts: Mapping[str, Any]) -> list[str]:
    per_label = facts["rows"] / facts["labels"] if facts.get("labels") else None
    told = [
        _gap(signs) or f"The validation loss stays at {signs.valid_loss:.3g}, the train loss is {signs.train_loss:.3g}."
    ]
    told.append(
        f"The validation loss did not turn: {signs.turn_loss:.3g} at its best, {signs.valid_loss:.3g} at the end."
    )
    if per_label is not None:
        told.append(f"There are {facts['rows']:,} train rows for {facts['labels']:,} labels, {per_label:.0f} a label.")
    gain = facts.get("gain")
    if gain:
        told.append(f"Twice the rows would bring {_points(gain['low'])} to {_points(gain['high'])} points.")
    return told


def _fits(signs: Signs, facts: Mapping[str, Any]) -> list[str]:
    del facts
    kept = "did not rise" if signs.rise.value <= 0 else "hardly rose"
    return [
        _gap(signs),
        f"The validation loss fell to {signs.turn_loss:.3g} and {kept} after that ({signs.valid_loss:.3g} at the end).",
    ]


def _blurred(signs: Signs, facts: Mapping[str, Any]) -> list[str]:
    del facts
    told = f"{signs.valid_rows} validation rows are too few"
    if signs.valid_right is not None:
        low, high = max(0.0, signs.valid_right.low), min(1.0, signs.valid_right.high)
        told += f": the share it gets right lies anywhere from {low:.0%} to {high:.0%}"
    return [told + "."]


def _gap(signs: Signs) -> str:
    if signs.train_right is None or signs.valid_right is None:
        return ""
    return f"It gets {signs.train_right.value:.0%} of its train rows right and {_percent(signs.valid_right)} of the validation rows."


def _percent(estimate: Estimate) -> str:
    low, high = max(0.0, estimate.low), min(1.0, estimate.high)
    return f"{estimate.value:.0%} ({low:.0%} to {high:.0%})"


def _points(value: float) -> str:
    return f"{100 * value:.1f}"


def advice(verdict: str, signs: Signs, facts: Mapping[str, Any], *, smooths: bool = True) -> list[str]:
    """Return what to do next, the most useful first; without label smoothing where a task refuses it."""
    smoothing = {mark: f"train.label_smoothing{words}" if smooths else "" for mark, words in (("smoothing", ", "), ("smoothing_and", " and "))}
    told = [line.format(**smoothing) for line in _NEXT[verdict]]
    if verdict == "underfits" and facts.get("learnt", 0) < 0:
        told = [
            "Lower train.rate: the steps are too large to learn anything.",
            "Look at a few rows: is the text what the label is about?",
        ]
    if verdict == "overfits" and signs.turn_step == 0:
        told.insert(0, "The start was the best: a lower train.rate, or a method that trains less, such as lora.")
    return told


_NEXT: dict[str, tuple[str, ...]] = {
    "fits": ("Nothing about the training. To get further, look at the mistakes, or try another base model.",),
    "underfits": (
        "Train more: a higher train.rate, more train.epochs, no train.max_steps.",
        "Let more learn: train.method full, train.head linear-fit.",
        "If that changes little, another base model: this one may not know the language of these texts.",
    ),
    "overfits": (
        "The delivered weights have the best validation score, or one that chance does not tell from it, so the harm is small; the time after it was wasted.",
        "Train less: fewer train.epochs, a lower train.rate, a smaller train.patience.",
        "Hold it back: train.weight_decay, {smoothing}train.dropout, or a method that trains less, such as lora.",
        "More rows help most: see `luthier curve`.",
    ),
    "data-limited": (
        "More rows: `luthier curve` says what twice as many would bring, `luthier label` asks for the most useful first.",
        "Cheaper than labelling: data.augment, or a base model that already knows such texts.",
        "More epochs or other rates will not help.",
    ),
    "noisy": (
        "Look at the labels first: `luthier check TASK --out checked` lists the rows, the worst first.",
        "Have some rows labelled twice: where people disagree, the rule for labelling is what needs work.",
        "Until then {smoothing_and}fewer train.epochs keep wrong labels from being learnt by heart.",
    ),
    "cannot tell": (
        "Give more validation rows: data.split.valid, or a file in data.valid; 200 usually suffice.",
    ),
}  # fmt: skip
