"""Where people's names stand in a text, by a token-classification model of the user's choice."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from luthier.base.errors import ModelError
from luthier.models import catalogue
from luthier.models.load import Base, device, open_base, open_tagger

_KEY = "data.names_model"
# What models call people: CoNLL, OntoNotes, WikiNEuRal, and those trained for personal data.
_PEOPLE = frozenset(
    ("PER", "PERS", "PERSON", "NAME", "PRIVATE_PERSON", "FIRSTNAME", "GIVENNAME", "MIDDLENAME", "LASTNAME", "SURNAME", "FULLNAME")
)  # fmt: skip
_PASS_TOKENS = 4096
_OVERLAP_TOKENS = 32
# What stands between two parts of one name: "Anne-Marie O'Neil", "J. Smith".
_BETWEEN = re.compile(r"[ \t]{0,3}|[-'’]")
_INITIAL = re.compile(r"(?<!\w)\w{1,2}\. ?\Z")
_WORD = re.compile(r"\w+")
Spans = list[tuple[int, int]]


def open_names(base: str, folder: Path | None = None) -> Callable[[Sequence[str]], list[Spans]]:
    """Return a function from texts to the ``(start, end)`` of the names of people in each, in order.

    Args:
        base: a folder (relative ones start from ``folder``) or a hub name of a token-classification model.
    Raises:
        ModelError: no such model, no trained head for tokens, no label for people, or a tokenizer without offsets.
    """
    if base == catalogue.EMBEDDED:
        what = "the embedded model reads sentences and finds no names"
        raise ModelError(what, where=_KEY, mend="Name a token-classification model, or its folder.")
    opened = open_base(catalogue.find(base, folder=folder))
    people = _people(opened)
    if not opened.tokenizer.is_fast:
        raise ModelError(
            f"the tokenizer of {opened.found.name} does not say where in the text a token stands",
            where=_KEY,
            mend="The folder needs a tokenizer.json: a fast tokenizer.",
        )
    network = open_tagger(opened, where=_KEY).to(device()).eval()

    def find(texts: Sequence[str]) -> list[Spans]:
        found: list[Spans] = [[] for _ in texts]
        for text, begins, ends in _people_tokens(opened, network, people, texts):
            found[text].append((begins, ends))
        return [_merged(text, spans) for text, spans in zip(texts, found, strict=True)]

    return find


def _people(base: Base) -> frozenset[int]:
    """Return the ids of labels that mean a person, whatever their B-, I-, E- or S- in front says."""
    labels = {int(i): str(label) for i, label in (base.config.id2label or {}).items()}
    ids = {i for i, label in labels.items() if re.sub(r"^[BIESLU][-_]", "", label).upper().replace(" ", "_") in _PEOPLE}
    if not ids:
        shown = ", ".join(sorted(labels.values())[:20])
        raise ModelError(
            f"{base.found.name} has no label for people",
            where=_KEY,
            mend=f"It needs PER or PERSON; its labels are: {shown}.",
        )
    return frozenset(ids)


@torch.inference_mode()
def _people_tokens(
    base: Base, network: Any, people: Iterable[int], texts: Sequence[str]
) -> Iterator[tuple[int, int, int]]:
    """Yield (index of the text, start, end) of each token that is part of a name; long texts are read in windows."""
    if not texts:
        return
    size = min(base.max_tokens, 512)
    encoded = base.tokenizer(
        list(texts), truncation=True, max_length=size, stride=min(_OVERLAP_TOKENS, size // 4), padding=False,
        return_overflowing_tokens=True, return_offsets_mapping=True,
    )  # fmt: skip
    rows, owners, offsets = encoded["input_ids"], encoded["overflow_to_sample_mapping"], encoded["offset_mapping"]
    chosen = torch.tensor(sorted(people), device=device())
    for block in _blocks([len(row) for row in rows]):
        longest = max(1, max(len(rows[i]) for i in block))
        ids_BT = torch.full((len(block), longest), base.tokenizer.pad_token_id or 0, dtype=torch.long)
        mask_BT = torch.zeros_like(ids_BT)
        for place, i in enumerate(block):
            ids_BT[place, : len(rows[i])] = torch.tensor(rows[i], dtype=torch.long)
            mask_BT[place, : len(rows[i])] = 1
        logits_BTC = network(input_ids=ids_BT.to(device()), attention_mask=mask_BT.to(device())).logits
        is_name_BT = torch.isin(logits_BTC.argmax(-1), chosen).cpu()
        for place, i in enumerate(block):
            for token, (start, end) in enumerate(offsets[i]):
                # Tokens such as [CLS] stand nowhere in the text.
                if start < end and is_name_BT[place, token]:
                    yield int(owners[i]), int(start), int(end)


def _blocks(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Cut rows, ordered by length, into passes of so many tokens."""
    block: list[int] = []
    for i in sorted(range(len(lengths)), key=lambda i: lengths[i]):
        if block and lengths[i] * (len(block) + 1) > _PASS_TOKENS:
            yield block
            block = []
        block.append(i)
    if block:
        yield block


def _merged(text: str, tokens: Spans) -> Spans:
    """Join tokens to whole words and words to names; half of a word is no name."""
    words: Spans = []
    for start, end in sorted(set(tokens)):
        while start < end and text[start].isspace():
            start += 1
        if words and end <= words[-1][1]:
            continue
        whole = [m.span() for m in _WORD.finditer(text, *_around(text, start, end))]
        start, end = min([start, *(a for a, _ in whole)]), max([end, *(b for _, b in whole)])
        if words and (start <= words[-1][1] or _belongs(text, *words[-1], start)):
            words[-1] = (words[-1][0], end)
        else:
            words.append((start, end))
    return [(start, end) for start, end in words if any(c.isalpha() for c in text[start:end])]


def _belongs(text: str, began: int, ended: int, start: int) -> bool:
    """Return whether the word at ``start`` goes on with the name before it; a full stop ends one, but not an initial."""
    return bool(_BETWEEN.fullmatch(text, ended, start) or _INITIAL.search(text[began:start]))


def _around(text: str, start: int, end: int) -> tuple[int, int]:
    """Widen a span to the ends of the words it touches."""
    if start < len(text) and text[start].isalnum():
        while start > 0 and text[start - 1].isalnum():
            start -= 1
    if end > start and text[end - 1].isalnum():
        while end < len(text) and text[end].isalnum():
            end += 1
    return start, end
