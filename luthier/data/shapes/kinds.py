"""What each objective reads of a file: its columns, and the scheme that maps a row by them. One entry an objective."""

from __future__ import annotations

from collections.abc import Callable

from luthier.data.shapes.documents import extract_scheme
from luthier.data.shapes.label_sets import multilabel_scheme
from luthier.data.shapes.labelled_rows import classify_scheme, text_scheme
from luthier.data.shapes.layout import Layout, Scheme
from luthier.data.shapes.pairs import answer_scheme, prefer_scheme
from luthier.data.shapes.ranked_rows import rank_scheme
from luthier.data.shapes.scores import grade_scheme

_TALK = ("prompt", "completion", "messages", "input", "system", "history", "tools", "chosen", "rejected", "label")
COLUMNS: dict[str, tuple[str, ...]] = {
    "classify": ("text", "label", "annotator"),
    "multilabel": ("text", "label"),
    "grade": ("text", "score", "rubric"),
    "extract": ("text", "summary"),
    "rank": ("query", "user", "item", "relevance", "time"),
    "generate": _TALK,
    "prefer": _TALK,
    "text": ("text",),
}
SCHEMES: dict[str, Callable[[Layout], Scheme | None]] = {
    "classify": classify_scheme,
    "multilabel": multilabel_scheme,
    "grade": grade_scheme,
    "extract": extract_scheme,
    "rank": rank_scheme,
    "generate": answer_scheme,
    "prefer": prefer_scheme,
    "text": text_scheme,
}
# What may stand in several columns: one for each annotator, for each label, for each trait, for each summary.
SEVERAL = {("classify", "label"), ("multilabel", "label"), ("grade", "score"), ("extract", "summary")}
