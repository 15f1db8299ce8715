"""Rows that are one text with a score, or with a score for each of several traits; a rubric may stand beside it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from luthier.base.scales import told_for
from luthier.data.shapes.cells import EMPTY_TEXT, Unusable, text_of
from luthier.data.shapes.layout import Layout, Scheme, no_column

NOT_A_NUMBER = "score is not a number"
OUTSIDE = "score outside the scale"


def grade_scheme(layout: Layout) -> Scheme | None:
    before = len(layout.faults)
    text = layout.find("text")
    told = layout.columns.get("score", "score")
    traits = (told,) if isinstance(told, str) else tuple(told)
    if layout.need_target:
        missing = [trait for trait in traits if trait not in layout.keys]
        layout.faults.extend(no_column(t, layout.keys, layout.where, "data.columns.score") for t in missing)
    rubric = layout.some("rubric").get("rubric", "")
    if len(layout.faults) > before:
        return None
    there = [trait for trait in traits if trait in layout.keys]
    scales = {trait: told_for(trait, layout.settings.get("scale")) for trait in there}

    def read(values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, float] | None, None]:
        words = text_of(values.get(text))
        if not words:
            raise Unusable(EMPTY_TEXT)
        inputs = {"text": words}
        if rubric and (asked := text_of(values.get(rubric))):
            inputs["rubric"] = asked
        if not layout.need_target:
            return inputs, None, None
        found = {trait: _score(trait, values.get(trait), scales[trait]) for trait in there}
        known = {trait: score for trait, score in found.items() if score is not None}
        return inputs, known or None, None

    name = ", ".join((text, *there, *([f"rubric in {rubric}"] if rubric else [])))
    return Scheme(name, frozenset((text, *there, *([rubric] if rubric else []))), read)


def _score(trait: str, value: Any, scale: list[float] | None) -> float | None:
    """Return a score; None where the cell is empty, as for a trait that nobody judged.

    Raises:
        Unusable: text, infinity, or a score outside the scale that the task names.
    """
    if value is None or (isinstance(value, str) and value.strip().lower() in ("", "nan")):
        return None
    try:
        score = float(value) if not isinstance(value, bool) else math.inf
    except (TypeError, ValueError):
        score = math.inf
    if math.isnan(score):
        return None
    if math.isinf(score):
        raise Unusable(NOT_A_NUMBER, f'"{str(value)[:40]}" in "{trait}"')
    if scale is not None and not scale[0] <= score <= scale[1]:
        raise Unusable(OUTSIDE, f'{score:g} in "{trait}", whose scale is {scale[0]:g} to {scale[1]:g}')
    return score
