"""A bundle that learnt preferences as a judge: of two answers it prefers the one that its training raised more.

Its implicit reward is beta times the log-ratio of an answer to the model that it was tuned from (Rafailov et al. 2023,
https://arxiv.org/abs/2305.18290, section 4), or what its loss weighs where that has no reference. It knows what its pairs taught it and nothing
else, so it counts where people agree with it, as any judge does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from luthier.base.endpoint import Unanswered
from luthier.base.records import Example, Prediction, Source
from luthier.evaluate.judges.ask import FIRST, SECOND, TIE, Choice, Item, Opinion
from luthier.evaluate.rewards import REJECTED, reward
from luthier.spec.judge import Judge

TOO_LONG = "an answer longer than the bundle reads"
# Rewards, which are nats, closer than this are those of one answer written twice: sums of float32 differ by more.
_EQUAL = 1e-4

Weigh = Callable[[Sequence[Example]], list[Prediction]]


class Rewarder:
    """Judges pairs by a bundle; on this machine, so nothing is sent. It has no order to be swayed by: both answers are weighed alone."""

    def __init__(self, settings: Judge, weigh: Weigh) -> None:
        """``weigh`` measures pairs, with what the untuned model says of them where the rewards need it."""
        self.settings, self._weigh = settings, weigh
        self.malformed: list[str] = []
        self.counts: Counter[str] = Counter()

    def opinions(self, items: Sequence[Item]) -> dict[str, list[Opinion | Unanswered]]:
        """Return under the one criterion which of two answers is better, or why that is not known.

        Raises:
            TaskError: the rewards cannot be known, since the model that the bundle was tuned from is not there.
        """
        found: list[Opinion | Unanswered] = [Choice(TIE, TIE, "the two are the same") if _same(item) else Unanswered(TOO_LONG) for item in items]
        asked = [i for i, item in enumerate(items) if not _same(item)]
        for i, weighed in zip(asked, self._weigh([_pair(items[i]) for i in asked]) if asked else [], strict=True):
            found[i] = _choice(weighed)
        return {name: list(found) for name in self.settings.named()}


def _same(item: Item) -> bool:
    return item.answer.strip() == (item.other or "").strip()


def _pair(item: Item) -> Example:
    # As people are shown it: the whole prompt as one text, so that what agreement is measured on is what is judged.
    inputs = {"messages": [{"role": "user", "content": item.prompt}]}
    return Example(item.prompt, inputs, {"chosen": item.answer, "rejected": item.other or ""}, Source("judged", 1))


def _choice(weighed: Prediction) -> Opinion | Unanswered:
    one, two = reward(weighed), reward(weighed, REJECTED)
    if one is None or two is None:
        return Unanswered(TOO_LONG)
    better = TIE if abs(one - two) < _EQUAL else FIRST if one > two else SECOND
    return Choice(better, better, f"reward {one:+.2f} beside {two:+.2f}")
