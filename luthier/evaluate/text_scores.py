"""How alike two texts are: SQuAD's exact match and token F1. ROUGE stands in :mod:`luthier.base.overlap`."""

from __future__ import annotations

import re
import string
from collections import Counter

from luthier.base.overlap import f_measure, longest_common, rouge_l, rouge_n, rouge_tokens, shared

__all__ = [
    "exact_match",
    "last_number",
    "longest_common",
    "rouge_l",
    "rouge_n",
    "rouge_tokens",
    "squad_normalise",
    "token_f1",
]

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_NUMBER = re.compile(r"[-−]?\d[\d,]*(?:\.\d+)?")
_AT_THE_END = re.compile(rf"({_NUMBER.pattern})\W*\Z")
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
    return f_measure(shared(Counter(wanted), Counter(given)), len(wanted), len(given))


def last_number(target: str, text: str) -> float | None:
    """Return 1 where the last number of ``text`` is the one that ``target`` ends with, else 0; None where it ends otherwise.

    So are word problems judged, whose worked answers end in the result (GSM8K, Cobbe et al. 2021,
    https://arxiv.org/abs/2110.14168). 1,000 is 1000 and 7.0 is 7; a unit after the number is no end.
    """
    wanted = _AT_THE_END.search(target)
    if wanted is None:
        return None
    given = _NUMBER.findall(text)
    return float(bool(given) and _value(given[-1]) == _value(wanted[1]))


def _value(number: str) -> float:
    return float(number.replace(",", "").replace("−", "-"))
