"""A document cut into sentences, each a piece of it word for word; a dialogue is cut into turns."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

from luthier.base.records import Encoded
from luthier.prompts.encode import bare_ids

# A name of a few words and a colon at the start of a line.
_SPEAKER = re.compile(r"^\s*[#\w][\w#.'’ -]{0,30}:(?=\s)")
_DIALOGUE_SHARE = 0.6
# The end of a sentence: its mark, what closes after it, then white space; in scripts without spaces the mark alone.
_END = re.compile(r"[.!?…]+[\"'”’)\]]*(?=\s)|[。！？]+[”’」』）]*")
_NOT_AN_END = re.compile(
    r"(?:^|[\s(\"'“])(?:mr|mrs|ms|dr|prof|st|sr|jr|vs|etc|no|fig|e\.g|i\.e|cf|approx|inc|ltd|co|dept|est|[A-Z]|[A-Z]\.[A-Z])\.$",
    re.IGNORECASE,
)
_NEXT = re.compile(r"\s*[\"'“‘(\[]*[^\sa-z]")


def split_sentences(text: str) -> list[str]:
    """Return the sentences of a text in order; a text without any is one.

    A line break ends a sentence. In a dialogue (most lines start with a speaker's name) a line is a whole turn and is not
    cut further. Elsewhere . ! ? … end one where white space and no small letter follow, but not after a usual
    abbreviation or an initial.
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if is_dialogue(lines):
        return lines
    found = [piece for line in lines for piece in _pieces(line)]
    return found or [text.strip()]


def is_dialogue(lines: Sequence[str]) -> bool:
    """Whether most of several lines start with a speaker's name and a colon."""
    return len(lines) > 1 and sum(bool(_SPEAKER.match(line)) for line in lines) >= _DIALOGUE_SHARE * len(lines)


def _pieces(line: str) -> Iterator[str]:
    start = 0
    for end in _END.finditer(line):
        before = line[start : end.end()]
        spaced = end.group()[0] in ".!?…"
        if spaced and (_NOT_AN_END.search(before) or not _NEXT.match(line, end.end())):
            continue
        if before.strip():
            yield before.strip()
        start = end.end()
    if line[start:].strip():
        yield line[start:].strip()


def encode_document(tokenizer: Any, text: str, *, max_tokens: int) -> Encoded:
    """Encode a document sentence by sentence for an encoder, in windows of whole sentences where it does not fit in one.

    ``places`` of each window are where its sentences start and where the last one ends; ``texts`` are the sentences of all
    windows. A sentence longer than a window is cut.
    """
    sentences = split_sentences(text)
    first, _, last = bare_ids(tokenizer, "a", tokenizer("a", add_special_tokens=True)["input_ids"])
    room = max(1, max_tokens - len(first) - len(last))
    ids = [tokenizer(s, add_special_tokens=False)["input_ids"][:room] for s in sentences]
    # A sentence of characters that the tokenizer drops still needs a position to be read at.
    ids = [found or [int(tokenizer.unk_token_id or 0)] for found in ids]
    windows = []
    for part in _in_windows([len(found) for found in ids], room):
        starts = [len(first)]
        for k in part:
            starts.append(starts[-1] + len(ids[k]))
        windows.append(Encoded((*first, *(i for k in part for i in ids[k]), *last), places=tuple(starts)))
    return Encoded(windows[0].ids, places=windows[0].places, others=tuple(windows[1:]), texts=tuple(sentences))


def _in_windows(sizes: Sequence[int], room: int) -> list[range]:
    """Return the numbers of the sentences of each window: as few windows as fit, of like size."""
    target = sum(sizes) / max(1, -(-sum(sizes) // room))
    starts, held = [0], 0
    for k, size in enumerate(sizes):
        if held and (held + size > room or held + size / 2 > target):
            starts.append(k)
            held = 0
        held += size
    return [range(a, b) for a, b in pairwise([*starts, len(sizes)])]
