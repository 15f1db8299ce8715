"""By what test rows can be told apart: their own columns, and what can be seen in them (length, language, topic, label, month)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property

import numpy as np

from luthier.base.errors import DataError
from luthier.base.inputs import is_labelled
from luthier.base.records import Example
from luthier.evaluate.baselines.tfidf import text_of

# A value of fewer rows says nothing by itself, and a column of more values is no way to tell rows apart.
FEWEST = 10
_MOST_VALUES = 30
_TOPICS = 8
# Topics of fewer rows than this would be luck; of more, a sample is enough to find them.
_TOPIC_ROWS, _TOPIC_SAMPLE = 120, 20_000
_SAME = 0.95
_DAY = re.compile(r"^(\d{4})-(\d{2})-\d{2}(?:[T ].*)?$")

Column = list[str | None]


class Columns:
    """The columns that some rows can be told apart by, each made once: topics take a second, and many ask for the same."""

    def __init__(self, rows: Sequence[Example]) -> None:
        self.rows = rows
        self._made: dict[str, Column | None] = {}

    @cached_property
    def names(self) -> list[str]:
        """All columns of the rows' own, and what can be seen in them."""
        return [*dict.fromkeys(name for row in self.rows for name in row.extra if not name.startswith("_")), *_SEEN]

    def of(self, name: str) -> Column | None:
        """Return one column: a number of many values as thirds, dates as months; None where there is no such column."""
        if name not in self._made:
            own = any(name in row.extra for row in self.rows)
            made = _own(self.rows, name) if own else _SEEN[name](self.rows) if name in _SEEN and self.rows else None
            self._made[name] = made
        return self._made[name]

    def chosen(self, asked: str | Sequence[str]) -> dict[str, Column]:
        """Return the columns to look at: `auto`, `off` or names; a name that no row has is left out.

        `auto` takes those with a few values that are not almost all one; a column as good as unique tells nothing.
        """
        if asked == "off":
            return {}
        found = {name: self.of(name) for name in (self.names if asked == "auto" else asked)}
        return {name: c for name, c in found.items() if c is not None and (asked != "auto" or self._tells(c))}

    def _tells(self, column: Column) -> bool:
        counts = Counter(value for value in column if value is not None)
        big = sum(count >= FEWEST for count in counts.values())
        return big >= 2 and len(counts) <= _MOST_VALUES and max(counts.values()) <= _SAME * len(self.rows)


def _own(rows: Sequence[Example], name: str) -> Column:
    values = [row.extra.get(name) for row in rows]
    words = [None if v is None or v == "" else str(v) for v in values]
    if (months := _months(words)) is not None:
        return months
    if len(set(words) - {None}) > _MOST_VALUES and (thirds := _thirds(words)) is not None:
        return thirds
    return words


def _months(words: Sequence[str | None]) -> Column | None:
    """Return dates as months, or as years where those are many; None where not all that is there is a date."""
    there = [word for word in words if word is not None]
    found = [_DAY.match(word) for word in there]
    if not there or not all(found):
        return None
    many = len({(m[1], m[2]) for m in found if m}) > 12
    return [None if word is None else word[: 4 if many else 7] for word in words]


def _thirds(words: Sequence[str | None]) -> Column | None:
    """Return numbers as the third of the rows they lie in, named by its ends; None where not all that is there is a number."""
    try:
        numbers = np.array([np.nan if word is None else float(word) for word in words])
    except ValueError:
        return None
    low, high = np.nanquantile(numbers, [1 / 3, 2 / 3])
    if not low < high:
        return None
    names = (f"to {low:g}", f"{low:g} to {high:g}", f"from {high:g}")
    return [None if np.isnan(n) else names[int(n > low) + int(n > high)] for n in numbers]


def _length(rows: Sequence[Example]) -> Column | None:
    words = [len(text_of(row).split()) for row in rows]
    low, high = np.quantile(words, [1 / 3, 2 / 3])
    if not low < high:
        return None
    names = (f"short (to {low:.0f} words)", "middle", f"long (over {high:.0f} words)")
    return [names[int(n > low) + int(n > high)] for n in words]


def _language(rows: Sequence[Example]) -> Column | None:
    from luthier.data.cleaning.languages import UNKNOWN, detect

    try:
        found = [detect(text_of(row)) for row in rows]
    except DataError:
        return None
    # A guess from a few words is often wrong, and wrong guesses would make slices of their own.
    return [code if code != UNKNOWN and score >= 0.7 else None for code, score in found]


def _label(rows: Sequence[Example]) -> Column | None:
    return [str(row.target) for row in rows] if all(is_labelled(r) and isinstance(r.target, str) for r in rows) else None


def _topic(rows: Sequence[Example]) -> Column | None:
    """Return what each text is about: k-means on TF-IDF in a space of few dimensions, each topic named by its words."""
    if len(rows) < _TOPIC_ROWS:
        return None
    from sklearn.cluster import MiniBatchKMeans
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.preprocessing import normalize

    texts = [text_of(row) for row in rows]
    step = max(1, len(texts) // _TOPIC_SAMPLE)
    vectorizer = TfidfVectorizer(stop_words="english", max_features=5000, min_df=2, sublinear_tf=True)
    try:
        seen = vectorizer.fit_transform(texts[::step])
    except ValueError:  # nothing but stop words
        return None
    if seen.shape[1] < 64:
        return None
    reduce = TruncatedSVD(32, random_state=0)
    found = MiniBatchKMeans(_TOPICS, random_state=0, n_init=3).fit(normalize(reduce.fit_transform(seen)))
    codes = found.predict(normalize(reduce.transform(vectorizer.transform(texts))))
    terms = vectorizer.get_feature_names_out()
    heavy = reduce.inverse_transform(found.cluster_centers_).argsort(1)[:, ::-1][:, :3]
    names = [", ".join(terms[i] for i in line) for line in heavy]
    return [names[code] for code in codes]


_SEEN: Mapping[str, Callable[[Sequence[Example]], Column | None]] = {
    "length": _length, "language": _language, "label": _label, "topic": _topic,
}  # fmt: skip
