"""How alike two texts are: SQuAD's exact match and token F1. ROUGE stands in :mod:`luthier.base.overlap`."""

from __future__ import annotations

import re
import string
from collections import Counter

from luthier.base.overlap import f_measure, longest_common, rouge_l, rouge_n, rouge_tokens

__all__ = ["exact_match", "longest_common", "rouge_l", "rouge_n", "rouge_tokens", "squad_normalise", "token_f1"]

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def squad_normalise(text: str) -> str:
    """Lower the case, drop ASCII punctuation and English articles, collapse white space.

    Source: the official SQuAD script, Rajpurkar et al. 2016, https://arxiv.org/abs/1606.05250.
    """
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact_match(target: str, text: str) -> float:
    """Return 1 where both texts are the same after :func:`squad_normalise`, else 0."""
    return float(squad_normalise(target) == squad_normalise(text))


def token_f1(target: str, text: str) -> float:
    """Return the F1 of the shared words, counted as often as they occur; two empty texts are alike."""
    wanted, given = squad_normalise(target).split(), squad_normalise(text).split()
    if not wanted or not given:
        return float(wanted == given)
    return f_measure(sum((Counter(wanted) & Counter(given)).values()), len(wanted), len(given))
