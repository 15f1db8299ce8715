"""The same text told twice: found after normalising, dropped with the place of the one kept."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping

from luthier.base.inputs import is_labelled, text_name
from luthier.base.records import Example, Source
from luthier.data.shapes.columns import Dropped
from luthier.prompts.template import spoken as said

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


def one_text(example: Example) -> str:
    """Return what a row is compared by where its inputs are one text.

    A query or a user stands in many rows, each with another item: only both together are the same row.
    """
    name = text_name(example.inputs)
    assert name is not None
    text = str(example.inputs[name])
    return f"{text}\n{example.target}" if name in ("query", "user") else text


def key(example: Example) -> str:
    """Return the normalised input: what makes two examples the same to a model. Roles count."""
    name = text_name(example.inputs)
    if name in ("query", "user"):
        # Each for itself: the mark at a query's end, which an item follows, tells nothing either.
        return f"{normalise(str(example.inputs[name]))}\n{normalise(str(example.target))}"
    if name is not None:
        return normalise(one_text(example))
    return "\x1e".join(f"{turn['role']}\x1f{normalise(said(turn))}" for turn in example.inputs["messages"])


def twin_key(example: Example) -> str:
    """Return what a row told twice shares with its first telling: the input, and of preferences the answers.

    Several pairs of answers to one prompt are several rows; the same two the other way round contradict each other.
    """
    target = example.target
    if not isinstance(target, Mapping) or "messages" not in example.inputs:
        return key(example)
    said_of_it = sorted(normalise(answer) for answer in target.values() if isinstance(answer, str))
    return "\x1e".join([key(example), *said_of_it])


def is_said(example: Example) -> bool:
    """Whether the row was harvested: what a person said of an answer, right or corrected, outweighs an older row."""
    return example.extra.get("kind") in SAID and bool(example.extra.get("prediction_id"))


def corrections(examples: Iterable[Example]) -> dict[str, Example]:
    """Return the harvested rows by key; a later word on the same text replaces an earlier one."""
    return {key(e): e for e in examples if is_said(e)}


def conflict(example: Example, kept_at: Source, kept_target: str, corrected: Mapping[str, Example]) -> Dropped:
    """Say why a row is left out whose input stood before it with another target."""
    by = corrected.get(key(example))
    if by is not None:
        return Dropped(example.source, CORRECTED, f'"{by.target}" by {by.source} holds for this text')
    if is_labelled(example):
        detail = f'"{example.target}" here, "{kept_target}" at {kept_at}, which is kept'
        return Dropped(example.source, OTHER_LABEL, detail)
    return Dropped(example.source, OTHER_ANSWER, f"another answer stands at {kept_at}, which is kept")
