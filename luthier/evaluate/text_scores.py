"""How alike two texts are: SQuAD's exact match and token F1, and ROUGE."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)
_NOT_ROUGE = re.compile(r"[^a-z0-9]+")


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
    return _f_measure(sum((Counter(wanted) & Counter(given)).values()), len(wanted), len(given))


def rouge_tokens(text: str) -> list[str]:
    """Cut a text as ROUGE does: lower case, runs of a-z and 0-9; other scripts therefore count for nothing."""
    return [word for word in _NOT_ROUGE.split(text.lower()) if word]


def rouge_n(target: Sequence[str], text: Sequence[str], n: int) -> float:
    """Return ROUGE-N's F-measure of two token lists (Lin 2004, https://aclanthology.org/W04-1013)."""
    wanted, given = _ngrams(target, n), _ngrams(text, n)
    return _f_measure(sum((wanted & given).values()), wanted.total(), given.total())


def rouge_l(target: Sequence[str], text: Sequence[str]) -> float:
    """Return ROUGE-L's F-measure: by the longest common subsequence of two token lists (Lin 2004)."""
    return _f_measure(longest_common(target, text), len(target), len(text))


def longest_common(first: Sequence[str], second: Sequence[str]) -> int:
    """Return the length of the longest common subsequence.

    Bit-parallel over Python's long integers (Hyyrö 2004), some hundred times faster than the table of the textbook.
    """
    places: dict[str, int] = {}
    for position, token in enumerate(first):
        places[token] = places.get(token, 0) | (1 << position)
    full = (1 << len(first)) - 1
    open_places = full
    for token in second:
        hits = open_places & places.get(token, 0)
        open_places = ((open_places + hits) | (open_places - hits)) & full
    return len(first) - open_places.bit_count()


def _ngrams(tokens: Sequence[str], n: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1))


def _f_measure(shared: int, wanted: int, given: int) -> float:
    return 2 * shared / (wanted + given) if shared else 0.0
