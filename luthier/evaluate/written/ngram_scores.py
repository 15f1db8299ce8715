"""BLEU and chrF of a whole test set from counts of each row, so that a thousand resamples are a few matrix products.

Both are made of sums over rows: rows drawn twice count twice. Equal to sacrebleu's ``corpus_bleu`` and ``corpus_chrf`` with their
defaults, but for the scale: 0 to 1, as every share here.
"""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
from numpy.typing import NDArray

from luthier.base.overlap import ngrams, shared

Floats = NDArray[np.float64]

BLEU_ORDER, CHRF_ORDER = 4, 6
# Columns of a row: words given and wanted, then for 1 to 4 words the shared and the given runs; for 1 to 6 characters given, wanted, shared.
BLEU_SIZE, CHRF_SIZE = 2 + 2 * BLEU_ORDER, 3 * CHRF_ORDER
_BETA_2 = 4.0  # chrF2: recall weighs twice

# The tokens of mteval-v13a, as WMT counts them: all ASCII marks stand alone but apostrophes, hyphens, and stops and commas in numbers.
_MARK = re.compile(r"([ !\"#$%&()*+/:;<=>?@\[\\\]^_`{|}~])")
_AFTER_NO_DIGIT, _BEFORE_NO_DIGIT = re.compile(r"([^0-9])([.,])"), re.compile(r"([.,])([^0-9])")
_AFTER_DIGIT = re.compile(r"([0-9])(-)")
_ENTITIES = (("&quot;", '"'), ("&amp;", "&"), ("&lt;", "<"), ("&gt;", ">"))


def bleu_tokens(text: str) -> list[str]:
    """Cut a text into the tokens that BLEU counts (mteval-v13a)."""
    text = text.rstrip().replace("<skipped>", "").replace("-\n", "").replace("\n", " ")
    for entity, mark in _ENTITIES:
        text = text.replace(entity, mark)
    text = _MARK.sub(r" \1 ", f" {text} ")
    text = _BEFORE_NO_DIGIT.sub(r" \1 \2", _AFTER_NO_DIGIT.sub(r"\1 \2 ", text))
    return _AFTER_DIGIT.sub(r"\1 \2 ", text).split()


def bleu_counts(target: str, text: str) -> list[float]:
    """Return a row's :data:`BLEU_SIZE` counts."""
    wanted, given = bleu_tokens(target), bleu_tokens(text)
    common, made = [], []
    for n in range(1, BLEU_ORDER + 1):
        runs = ngrams(given, n)
        common.append(float(shared(runs, ngrams(wanted, n))))
        made.append(float(runs.total()))
    return [float(len(given)), float(len(wanted)), *common, *made]


def bleu(totals: Floats) -> Floats:
    """Return BLEU [r] of summed counts [r, BLEU_SIZE]: 4-grams, NIST's smoothing of orders without a hit.

    Papineni et al. 2002, https://aclanthology.org/P02-1040; the settings are sacrebleu's (Post 2018, https://aclanthology.org/W18-6319).
    """
    given, wanted = totals[:, 0], totals[:, 1]
    shared, made = totals[:, 2 : 2 + BLEU_ORDER], totals[:, 2 + BLEU_ORDER :]
    with np.errstate(divide="ignore", invalid="ignore"):
        misses = np.cumsum((shared == 0) & (made > 0), axis=1)
        precision = np.where(shared > 0, shared / made, 1 / (2.0**misses * made))
        short = np.where(given < wanted, np.exp(1 - wanted / given), 1.0)
        found: Floats = short * np.exp(np.log(precision).mean(1))
    # No run of four words anywhere, or no shared word at all: nothing.
    found[(made[:, -1] == 0) | (shared.sum(1) == 0)] = 0.0
    return found


def chrf_counts(target: str, text: str) -> list[float]:
    """Return a row's :data:`CHRF_SIZE` counts; spaces count for nothing."""
    wanted, given = "".join(target.split()), "".join(text.split())
    found: list[float] = []
    for n in range(1, CHRF_ORDER + 1):
        theirs, mine = _runs(wanted, n), _runs(given, n)
        found += [float(mine.total()) if theirs else 0.0, float(theirs.total()), float(shared(mine, theirs))]
    return found


def _runs(text: str, n: int) -> Counter[str]:
    return Counter([text[i : i + n] for i in range(len(text) - n + 1)])


def chrf(totals: Floats) -> Floats:
    """Return chrF2 [r] of summed counts [r, CHRF_SIZE]: F of the mean precision and recall of 1 to 6 characters.

    Popović 2015, https://aclanthology.org/W15-3049.
    """
    given, wanted, shared = (totals[:, k::3] for k in range(3))
    there = (given > 0) & (wanted > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        precision = np.where(there, shared / given, 0.0).sum(1) / there.sum(1)
        recall = np.where(there, shared / wanted, 0.0).sum(1) / there.sum(1)
        found: Floats = (1 + _BETA_2) * precision * recall / (_BETA_2 * precision + recall)
    found[~np.isfinite(found)] = 0.0
    return found
