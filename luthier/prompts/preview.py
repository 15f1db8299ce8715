"""What a row looks like to the model: the ids that training uses, cut into pieces that a person can read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from luthier.base.records import Encoded, Example
from luthier.prompts.encode import (
    Turns,
    TwoTexts,
    document_ids,
    encode_judged,
    encode_text,
    encode_windows,
    graded_text,
)
from luthier.prompts.labels import LabelQuestion
from luthier.prompts.sentences import encode_document
from luthier.prompts.template import Style, style_for

Encode = Callable[[Example], Encoded | None]
WHOLE = 1 << 30
# What reads a longer text in windows, so that nothing of it is cut.
IN_WINDOWS = frozenset(("grade", "extract", "text"))


def encoder(
    objective: str,
    tokenizer: Any,
    *,
    template: str,
    max_tokens: int,
    reads: str = "decoder",
    items: Mapping[str, tuple[str, str]] | None = None,
) -> Encode | None:
    """Return what turns an example into ids for training, the objective's own way; None for one that is not known here.

    ``max_tokens`` of :data:`WHOLE` cuts nothing; ``reads`` is what reads: encoder, decoder or seq2seq; ``items`` are those
    of rank. A test holds that the ids are those of the objective's learner.
    """
    if objective in ("classify", "multilabel"):
        return lambda example: encode_text(tokenizer, str(example.inputs["text"]), max_tokens=max_tokens)
    if objective == "extract":
        return lambda example: encode_document(tokenizer, str(example.inputs["document"]), max_tokens=max_tokens)
    if objective == "grade":
        return lambda example: encode_windows(tokenizer, graded_text(example.inputs), max_tokens=max_tokens)
    if objective == "generate":
        kind = TwoTexts if reads == "seq2seq" else _Turns
        turns = kind(tokenizer, style_for(tokenizer, template), max_tokens)
        return lambda example: turns.encode(
            example.inputs["messages"], str(example.target), tools=example.inputs.get("tools")
        )
    if objective == "prefer":
        judged = _Turns(tokenizer, style_for(tokenizer, template), max_tokens)
        return lambda example: encode_judged(judged, [example])[0]
    if objective == "rank":
        return lambda example: encode_text(tokenizer, _wanted(example, items or {}), max_tokens=max_tokens)
    if objective == "text":
        # Documents are cut into windows, so nothing of them is lost whatever the limit.
        return lambda example: _document(tokenizer, str(example.inputs["text"]), decodes=reads == "decoder")
    return None


def label_encoder(tokenizer: Any, question: str, labels: Sequence[str], *, template: str, max_tokens: int) -> Encode:
    """Return what turns a text into the question that a decoder is asked of it; all labels stand behind it."""
    asked = LabelQuestion.of(Turns(tokenizer, style_for(tokenizer, template), max_tokens), question, labels)
    return lambda example: asked.encode(str(example.inputs["text"]))


def _wanted(example: Example, items: Mapping[str, tuple[str, str]]) -> str:
    """Return what a ranker reads of a row: its query, or of a user's row the item's text."""
    if "query" in example.inputs:
        return str(example.inputs["query"])
    return items.get(str(example.target), ("", str(example.target)))[1]


def _document(tokenizer: Any, text: str, *, decodes: bool) -> Encoded:
    if not decodes:
        return Encoded(tuple(tokenizer(text, add_special_tokens=False)["input_ids"]))
    [ids] = document_ids(tokenizer, [text])
    return Encoded(ids, (False,) + (True,) * (len(ids) - 1))


def joined(encoded: Encoded) -> Encoded:
    """Return a row of several answers as one sequence: its prompt, then all that is learnt."""
    if encoded.ids or not encoded.others:
        return encoded
    first, *more = encoded.others
    ids = [i for other in more for i, learnt in zip(other.ids, other.learn, strict=True) if learnt]
    return Encoded((*first.ids, *ids), (*first.learn, *(True for _ in ids)))


class _Turns(Turns):
    """Turns that look up the end tokens once, not for every row: that renders the template twice each time."""

    __slots__ = ("_ends",)

    def __init__(self, tokenizer: Any, style: Style, max_tokens: int) -> None:
        super().__init__(tokenizer, style, max_tokens)
        object.__setattr__(self, "_ends", super().end_ids)

    @property
    def end_ids(self) -> tuple[int, ...]:
        return self._ends  # type: ignore[attr-defined]


def pieces(tokenizer: Any, encoded: Encoded) -> list[dict[str, Any]]:
    """Return ``{text, id, learnt, special}`` of each token; ``text`` is what it stands for, leading space kept.

    Answers to one prompt stand one after the other behind it; other sequences (windows, a seq2seq's answer) follow.
    """
    encoded = joined(encoded)
    special = set(tokenizer.all_special_ids) | set(tokenizer.get_added_vocab().values())
    return [
        {"text": _shown(tokenizer, i, name, i in special), "id": i, "learnt": learnt, "special": i in special}
        for part in (encoded, *encoded.others)
        for i, name, learnt in zip(
            part.ids,
            tokenizer.convert_ids_to_tokens(list(part.ids)),
            part.learn or (False,) * len(part.ids),
            strict=True,
        )
    ]


def _shown(tokenizer: Any, token: int, name: str | None, special: bool) -> str:
    name = name or f"<{token}>"
    if special or name.startswith("##"):
        return name
    if name.startswith("▁"):  # a lone SentencePiece token loses its space when decoded
        return name.replace("▁", " ")
    text = tokenizer.decode([token])
    # Part of a character's bytes cannot be shown alone, so the token's own name stands for it.
    return text if text and "\ufffd" not in text else name
