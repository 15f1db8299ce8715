"""The same text told twice: found after normalising, dropped with the place of the one kept."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import replace

from luthier.base.records import Example
from luthier.data.columns import Dropped

DUPLICATE = "duplicate"
OTHER_LABEL = "same text, other label"
OTHER_ANSWER = "same prompt, other answer"
CORRECTED = "same text, corrected"
SAID = ("correction", "confirmation")

# Brackets and colons stay: they end in smileys, and "good :)" is not "good :(".
_OUTER = " .,;!?'\"`*_~¿¡‽。、،؛؟“”„‟‘’‚‛«»‹›-–—"


def normalise(text: str) -> str:
    """Return ``text`` in one width and case, white space collapsed, outer punctuation stripped.

    Text of punctuation alone keeps it, so that "!" and "?" stay two texts. Applying it twice changes nothing.
    """
    if not text.isascii():
        # Case folding can leave the normal form, so the form is taken on both sides of it (Unicode 3.13).
        text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    text = " ".join(text.lower().split())
    return text.strip(_OUTER) or text


def key(example: Example) -> str:
    """Return the normalised input: what makes two examples the same to a model. Roles count."""
    if "text" in example.inputs:
        return normalise(example.inputs["text"])
    return "\x1e".join(f"{turn['role']}\x1f{normalise(turn['content'])}" for turn in example.inputs["messages"])


def is_conflicting(dropped: Dropped) -> bool:
    """Whether a row was dropped because the same input stood before it with another target."""
    return dropped.reason in (OTHER_LABEL, OTHER_ANSWER)


def corrections(examples: Sequence[Example]) -> dict[str, Example]:
    """Return, by key, the harvested rows: what a person said of an answer, right or corrected, outweighs an older row.

    A later word on the same text replaces an earlier one.
    """
    return {key(e): e for e in examples if e.extra.get("kind") in SAID and e.extra.get("prediction_id")}


def correct(example: Example, corrected: Mapping[str, Example]) -> Example:
    """Return the example with its target as corrected, and the correction's source, where there is one."""
    by = corrected.get(key(example))
    return example if by is None or by.target == example.target else replace(by, group=example.group)


def drop_duplicates(examples: Sequence[Example]) -> tuple[list[Example], list[Dropped]]:
    """Keep the first of all examples with one key; the others say which one, and whether the target differs."""
    corrected = corrections(examples)
    first: dict[str, Example] = {}
    kept: list[Example] = []
    dropped: list[Dropped] = []
    for example in examples:
        same = key(example)
        before = first.setdefault(same, example)
        if before is example:
            kept.append(example)
        elif before.target == example.target:
            dropped.append(Dropped(example.source, DUPLICATE, f"of {before.source}"))
        elif same in corrected:
            by = corrected[same]
            dropped.append(Dropped(example.source, CORRECTED, f'"{by.target}" by {by.source} holds for this text'))
        else:
            dropped.append(_conflict(example, before))
    return kept, dropped


def _conflict(example: Example, before: Example) -> Dropped:
    if "text" in example.inputs:
        detail = f'"{example.target}" here, "{before.target}" at {before.source}, which is kept'
        return Dropped(example.source, OTHER_LABEL, detail)
    return Dropped(example.source, OTHER_ANSWER, f"another answer stands at {before.source}, which is kept")
