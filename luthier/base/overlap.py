"""ROUGE: how many words, pairs of words and common orders two texts share; and the sentences that share most with a summary."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

_NOT_ROUGE = re.compile(r"[^a-z0-9]+")


def rouge_tokens(text: str) -> list[str]:
    """Cut a text as ROUGE does: lower case, runs of a-z and 0-9; other scripts therefore count for nothing."""
    return [word for word in _NOT_ROUGE.split(text.lower()) if word]


def rouge_n(target: Sequence[str], text: Sequence[str], n: int) -> float:
    """Return ROUGE-N's F-measure of two token lists (Lin 2004, https://aclanthology.org/W04-1013)."""
    wanted, given = ngrams(target, n), ngrams(text, n)
    return f_measure(shared(wanted, given), wanted.total(), given.total())


def rouge_l(target: Sequence[str], text: Sequence[str]) -> float:
    """Return ROUGE-L's F-measure: by the longest common subsequence of two token lists (Lin 2004)."""
    return f_measure(longest_common(target, text), len(target), len(text))


def longest_common(first: Sequence[str], second: Sequence[str]) -> int:
    """Return the length of the longest common subsequence."""
    return len(second) - _lengths(first, second)[-1].bit_count()


def _lengths(first: Sequence[str], second: Sequence[str]) -> list[int]:
    """Return the textbook's table of the longest common subsequence, of no token of ``first``, of one and so on, an integer a row.

    A bit is 0 where the next token of ``second`` makes the subsequence longer, so that an entry is a count of bits (Hyyrö 2004): some
    hundred times faster than the table itself.
    """
    places: dict[str, int] = {}
    for position, token in enumerate(second):
        places[token] = places.get(token, 0) | (1 << position)
    full = (1 << len(second)) - 1
    rows = [full]
    for token in first:
        hits = rows[-1] & places.get(token, 0)
        rows.append(((rows[-1] + hits) | (rows[-1] - hits)) & full)
    return rows


def ngrams(tokens: Sequence[str], n: int) -> Counter[tuple[str, ...]]:
    """Count the runs of ``n`` tokens."""
    return Counter(zip(*(tokens[i:] for i in range(n)), strict=False))


def shared(first: Counter[Any], second: Counter[Any]) -> int:
    """Return how much two counts have in common: the total of ``first & second``, without making it."""
    return sum(min(first[one], second[one]) for one in first.keys() & second.keys())


def f_measure(common: int, wanted: int, given: int) -> float:
    """Return the harmonic mean of ``common / wanted`` and ``common / given``."""
    return 2 * common / (wanted + given) if common else 0.0


def rouge_l_sum(target: Sequence[Sequence[str]], text: Sequence[Sequence[str]]) -> float:
    """Return summary-level ROUGE-L's F-measure of token lists by sentence (Lin 2004, section 3.2).

    Each wanted sentence counts the tokens that its longest common subsequence with any given sentence covers, each token
    of the given text at most as often as it is there. Equal to the rouge-score package's rougeLsum.
    """
    left = Counter(token for sentence in text for token in sentence)
    wanted_left = Counter(token for sentence in target for token in sentence)
    sizes = wanted_left.total(), left.total()
    common = 0
    for sentence in target:
        covered = sorted(set().union(*(_common_places(sentence, other) for other in text)))
        for place in covered:
            token = sentence[place]
            if left[token] > 0 and wanted_left[token] > 0:
                left[token] -= 1
                wanted_left[token] -= 1
                common += 1
    return f_measure(common, *sizes)


def _common_places(first: Sequence[str], second: Sequence[str]) -> set[int]:
    """Return the places in ``first`` of one longest common subsequence; of several the one that a walk from the ends finds."""
    rows = _lengths(first, second)
    found: set[int] = set()
    i, j, here = len(first), len(second), len(second) - rows[-1].bit_count()
    while i and j and here:
        above = j - (rows[i - 1] & ((1 << j) - 1)).bit_count()
        before = here - 1 + (rows[i] >> (j - 1) & 1)
        if first[i - 1] == second[j - 1]:
            found.add(i - 1)
            i, j, here = i - 1, j - 1, here - 1
        elif before > above:
            j, here = j - 1, before
        else:
            i, here = i - 1, above
    return found


ROUGES = ("rouge1", "rouge2", "rougeL", "rougeLsum")


def mean_rouge(sentences: Sequence[str], summaries: Sequence[str]) -> float:
    """Return the mean of ROUGE-1, 2 and L against the summary that is best for each: by what numbers of sentences are chosen."""
    return sum(rouge_of(sentences, summaries, by_line=False)[:3]) / 3


def rouge_of(sentences: Sequence[str], summaries: Sequence[str], *, by_line: bool = True) -> tuple[float, ...]:
    """Return :data:`ROUGES` of some sentences against the summary that is best for each, as rouge-score's ``score_multi``.

    For rougeLsum a summary's sentences are its lines; without ``by_line`` it is left out (0), for it costs most of the time.
    """
    pieces = [rouge_tokens(sentence) for sentence in sentences]
    given = [token for piece in pieces for token in piece]
    found = []
    for summary in summaries:
        wanted = rouge_tokens(summary)
        lines = [tokens for line in summary.splitlines() if (tokens := rouge_tokens(line))]
        last = rouge_l_sum(lines, pieces) if by_line else 0.0
        found.append((rouge_n(wanted, given, 1), rouge_n(wanted, given, 2), rouge_l(wanted, given), last))
    return tuple(max(values) for values in zip(*found, strict=True)) if found else (0.0,) * len(ROUGES)


def rouge_1_of(sentences: Sequence[str], summaries: Sequence[str]) -> float:
    """Return ROUGE-1 of :func:`rouge_of` alone."""
    given = [token for sentence in sentences for token in rouge_tokens(sentence)]
    return max((rouge_n(rouge_tokens(summary), given, 1) for summary in summaries), default=0.0)


def best_sentences(sentences: Sequence[str], summaries: Sequence[str], *, most: int | None = None) -> list[int]:
    """Return the numbers of the sentences that together share most with the summaries, taken one after the other.

    Greedy by the sum of ROUGE-1 and ROUGE-2, on average over the summaries, until no sentence adds to it: the training
    target of extractive summarisers (Nallapati et al. 2017, https://arxiv.org/abs/1611.04230). Pairs of words over the
    border of two sentences do not count.
    """
    pieces = [[ngrams(rouge_tokens(sentence), n) for n in (1, 2)] for sentence in sentences]
    wanted = [[ngrams(rouge_tokens(summary), n) for n in (1, 2)] for summary in summaries]
    taken: list[int] = []
    together: list[Counter[tuple[str, ...]]] = [Counter(), Counter()]
    best = 0.0
    while len(taken) < (len(sentences) if most is None else most):
        gains = [(_alike(wanted, [t + p for t, p in zip(together, pieces[k], strict=True)]), -k)
                 for k in range(len(sentences)) if k not in taken]  # fmt: skip
        value, k = max(gains, default=(0.0, 0))
        if value <= best:
            break
        best = value
        taken.append(-k)
        together = [t + p for t, p in zip(together, pieces[-k], strict=True)]
    return sorted(taken)


def _alike(wanted: Sequence[Sequence[Counter[tuple[str, ...]]]], given: Sequence[Counter[tuple[str, ...]]]) -> float:
    shares = [
        f_measure((one & two).total(), one.total(), two.total())
        for summary in wanted
        for one, two in zip(summary, given, strict=True)
    ]
    return sum(shares) / max(1, len(wanted))
