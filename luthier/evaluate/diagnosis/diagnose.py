"""The verdict on over- and underfitting, in words, from the curves of a run and what the data room found.

Each of the tests below answers yes, no or cannot tell, by an interval and not by a value: a sign that the choice of the
validation rows could have made by chance is no sign. docs/guides/overfitting.md says what each verdict means.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from luthier.evaluate.diagnosis import words
from luthier.evaluate.diagnosis.curve_signs import Estimate, Signs, read

Verdict = Literal["fits", "overfits", "underfits", "data-limited", "noisy", "cannot tell"]

# A validation loss that grew by less than this share of itself costs nothing that anyone would notice.
RISE = 0.1
# A train loss that training took less than this share away from was hardly touched.
UNTOUCHED = 0.03
# Of the loss of one who knows only how frequent each label is, so much is gone on its own train rows: next to nothing, little.
NOTHING, LITTLE = 0.05, 0.2
# The last stretch between two evaluations still took so much of the validation loss away.
FALLING = 0.1
# Among the quarter of rows that the model is surest of, a clean file has hardly any that it gets wrong.
SURE_WRONG = 0.08
# Wrong labels strike sure and unsure rows alike, hard rows are the unsure ones. At least half of the mistakes are of the first
# kind where the sure rows are wrong at least half as often as all.
FLAT = 0.5
# With 64 rows a label few-shot tuning comes near to what all rows reach (Tunstall et al. 2022, https://arxiv.org/abs/2209.11055);
# with fewer, a sure mistake on new rows may be want of data as well as a wrong label.
ENOUGH = 50
# Right on so many train rows, and so many points fewer validation rows: known by heart, and not enough to go by.
BY_HEART = 0.95
GAP = 0.1
# The half width of the validation score's interval beyond which "fits" would be a guess.
BLUR = 0.1
_FEWEST = 20


@dataclass(frozen=True, slots=True)
class Context:
    """What is known beside the curves.

    Args:
        rows: train rows. labels: how many there are to tell apart; 0 where nothing is labelled.
        simple: share that a simple model gets right on rows it has not learnt from, or the share of the commonest label;
            ``simple_name`` says which.
        null_loss: nats of one who knows only how frequent each label is.
        label_errors: what the data room found by out-of-fold predictions (``findings.label_errors``).
        gain: what twice the rows would bring, as ``{"value", "low", "high"}``, where a learning curve was measured.
        smooths: whether ``train.label_smoothing`` can be set in this task.
    """

    rows: int
    labels: int = 0
    simple: float | None = None
    simple_name: str = "a simple model"
    null_loss: float | None = None
    label_errors: Mapping[str, Any] = field(default_factory=dict)
    gain: Mapping[str, float] | None = None
    smooths: bool = True


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """The verdict, since which step, on what evidence, and what to do next.

    ``also`` names what else holds; ``figures`` are the numbers behind the sentences.
    """

    verdict: Verdict
    from_step: int | None = None
    evidence: tuple[str, ...] = ()
    next: tuple[str, ...] = ()
    also: tuple[Verdict, ...] = ()
    figures: Mapping[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        return {
            "verdict": self.verdict, "from_step": self.from_step, "evidence": list(self.evidence), "next": list(self.next),
            "also": list(self.also), "figures": _finite(dict(self.figures)),
        }  # fmt: skip

    @property
    def words(self) -> str:
        """The verdict as people say it."""
        return f"{self.verdict} from step {self.from_step}" if self.from_step is not None else self.verdict


def _finite(value: Any) -> Any:
    """Return figures as JSON can hold them: of one measured row, an interval has no ends."""
    if isinstance(value, Mapping):
        return {name: _finite(inner) for name, inner in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def diagnose(evaluations: Sequence[Mapping[str, Any]], context: Context) -> Diagnosis:
    """Judge a run by its evaluations: figures, and under ``rows`` what each row said (see :mod:`.rowwise`).

    Causes come before what follows from them: a model that has learnt nothing cannot tell wrong labels, and one that
    learnt wrong labels by heart overfits because of them.
    """
    signs = read(evaluations)
    if signs is None:
        return _unmeasured(evaluations)
    figures = _figures(signs, context)
    found = list(dict.fromkeys(verdict for verdict, test in _TESTS if test(signs, context)))
    if not found:
        blurred = signs.valid_right is not None and 1.96 * signs.valid_right.error > BLUR
        found = ["cannot tell"] if blurred or signs.valid_rows < _FEWEST else ["fits"]
    verdict = found[0]
    since = signs.turn_step if verdict == "overfits" else None
    told = (words.evidence(verdict, signs, figures), words.advice(verdict, signs, figures, smooths=context.smooths))
    return Diagnosis(verdict, since, tuple(told[0]), tuple(told[1]), tuple(found[1:]), figures)


def _unmeasured(evaluations: Sequence[Mapping[str, Any]]) -> Diagnosis:
    if evaluations:
        why, mend = "The train rows were not measured beside the validation rows.", "Set train.watched_rows to 300."
    else:
        why, mend = "There are no validation rows.", "Give them a share in data.split.valid, or a file in data.valid."
    return Diagnosis("cannot tell", evidence=(why,), next=(mend,))


def _figures(signs: Signs, context: Context) -> dict[str, Any]:
    """Return the numbers behind the sentences, rounded."""
    found: dict[str, Any] = {
        "best_loss_step": signs.turn_step, "best_loss": signs.turn_loss, "valid_loss": signs.valid_loss,
        "train_loss": signs.train_loss, "learnt": signs.learnt, "rows": context.rows, "labels": context.labels,
        "valid_rows": signs.valid_rows, "train_rows": signs.train_rows, "simple": context.simple,
        "simple_name": context.simple_name, "explained": _explained(signs, context), "label_error_share": context.label_errors.get("estimated_share"),
        "out_of_fold_sure_wrong": context.label_errors.get("sure_wrong"),
    }  # fmt: skip
    found |= {n: e.value for n in ("valid_right", "train_right", "sure_wrong") if (e := getattr(signs, n)) is not None}
    found |= {"flat": signs.flat} if signs.flat is not None else {}
    found |= {"rise": _span(signs.rise), "gap": _span(_gap(signs) or signs.gap), "falling": _span(signs.falling)}
    found |= {"gain": dict(context.gain)} if context.gain else {}
    return {n: round(v, 5) if isinstance(v, float) else v for n, v in found.items() if v is not None}


def _span(estimate: Estimate) -> dict[str, float]:
    return {"value": round(estimate.value, 5), "low": round(estimate.low, 5), "high": round(estimate.high, 5)}


def _learnt_nothing(signs: Signs, context: Context) -> bool:
    """Whether it knows next to nothing of its own train rows, or less than a simple model knows of new ones."""
    explained = _explained(signs, context)
    below = signs.train_right is not None and context.simple is not None and signs.train_right.high < context.simple
    return below or (explained is not None and explained < NOTHING)


def _stopped_short(signs: Signs, context: Context) -> bool:
    """Whether it learnt little, training hardly touched the train loss, or ended while the validation loss still fell fast."""
    explained = _explained(signs, context)
    little = explained is not None and explained < LITTLE
    untouched = signs.learnt is not None and signs.learnt < UNTOUCHED and not _by_heart(signs.train_right)
    return little or untouched or (signs.falling.value > FALLING and signs.falling.low > FALLING / 3)


def _explained(signs: Signs, context: Context) -> float | None:
    return None if not context.null_loss else 1 - signs.train_loss / context.null_loss


def _noisy(signs: Signs, context: Context) -> bool:
    """Whether even the rows the model is surest of are often wrong: hard rows are not among those, wrong labels are.

    A weak model is sure of wrong things too, but less often than of others. The data room's models must say the same of the
    train rows; and either there are rows enough of each label, or the train rows were not known by heart at the time.
    """
    if signs.sure_wrong is None or signs.flat is None:
        return False
    seen = signs.sure_wrong.value >= SURE_WRONG and signs.sure_wrong.low > 0 and signs.flat >= FLAT
    elsewhere = context.label_errors.get("sure_wrong")
    enough = context.rows >= ENOUGH * max(context.labels, 1)
    return seen and (elsewhere is None or elsewhere >= SURE_WRONG) and (enough or not _by_heart(signs.sure_train))


def _overfits(signs: Signs, context: Context) -> bool:
    """Whether the validation loss rose, row by row and by more than chance, while the train loss fell."""
    del context
    return signs.rise.low > 0 and signs.rise.value > RISE * signs.turn_loss and signs.fell.value > 0


def _limited(signs: Signs, context: Context) -> bool:
    """Whether the train rows are known by heart and the validation rows are far from it."""
    if context.gain is not None and context.gain["high"] < GAP / 10:
        return False
    gap = _gap(signs)
    if gap is None:
        return signs.gap.low > 0 and signs.valid_loss > 2 * max(signs.train_loss, 1e-9)
    return _by_heart(signs.train_right) and gap.value > GAP and gap.low > GAP / 2


def _by_heart(right: Estimate | None) -> bool:
    return right is not None and right.value >= BY_HEART


def _gap(signs: Signs) -> Estimate | None:
    if signs.train_right is None or signs.valid_right is None:
        return None
    error = (signs.train_right.error**2 + signs.valid_right.error**2) ** 0.5
    return Estimate(signs.train_right.value - signs.valid_right.value, error)


_TESTS: tuple[tuple[Verdict, Callable[[Signs, Context], bool]], ...] = (
    ("underfits", _learnt_nothing),
    ("noisy", _noisy),
    # Where labels are wrong, a fitted head already knows all that can be known, and training can take nothing more away.
    ("underfits", _stopped_short),
    ("overfits", _overfits),
    ("data-limited", _limited),
)
