"""More train rows made of the ones there are: what each way gives, what of it is left out, and where each came from."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray

from luthier.base.errors import Fault
from luthier.base.inputs import text_name, with_text
from luthier.base.records import Example
from luthier.base.seeds import derive_seed, stable_hash
from luthier.data.augment import ask as augment_ask
from luthier.data.augment import words as augment_words
from luthier.data.augment.ask import Endpoint, Unanswered
from luthier.data.cleaning.languages import detect
from luthier.data.dedupe import key, normalise
from luthier.spec.augment import Augment, Way

if TYPE_CHECKING:
    from luthier.models.masked import MaskedModel

Clashes = Callable[[Sequence[Example]], Sequence[bool]]

ASKED: tuple[Way, ...] = ("paraphrase", "back-translation")
NOTHING_TO_CHANGE = "no word to change"
EQUAL = "equal to its original"
TOO_LONG = "far longer than its original"
KNOWN = "equal to another train row"
CLASHES = "equal to a valid or test row"

_CHUNK = 256
# An answer of three times the words is an essay about the text; short texts may well double.
_LONGER, _LONGER_CHARS = 3.0, 80
_LANGUAGE_ROWS = 10
_SURE = 0.8
# What models are asked to translate back into; any other language by its code, which they know too.
_NAMES = {
    "en": "English", "de": "German", "fr": "French", "es": "Spanish", "it": "Italian", "pt": "Portuguese", "nl": "Dutch",
    "pl": "Polish", "sv": "Swedish", "da": "Danish", "no": "Norwegian", "fi": "Finnish", "cs": "Czech", "tr": "Turkish",
    "ru": "Russian", "uk": "Ukrainian", "ar": "Arabic", "hi": "Hindi", "zh": "Chinese", "ja": "Japanese", "ko": "Korean",
}  # fmt: skip


def faults(settings: Augment, objective: str) -> list[Fault]:
    """Return what keeps ``data.augment`` from being done."""
    if settings.when == "off":
        return []
    found = []
    if not settings.ways:
        found.append(Fault("no way is named", "data.augment.ways", "Write [words]."))
    if objective != "classify":
        if others := [way for way in settings.ways if way != "paraphrase"]:
            what = f"{' and '.join(others)} would change what an answer must fit"
            found.append(Fault(what, "data.augment.ways", f"For {objective} write [paraphrase]."))
        if settings.when == "auto":
            what = f"`auto` is measured for classify, and {objective} has no quick honest measure"
            found.append(Fault(what, "data.augment.when", "Write on or off."))
    if "masked" in settings.ways and not settings.masked_model:
        mend = "Name a masked language model such as bert-base-multilingual-cased, or its folder."
        found.append(Fault("`masked` needs a masked language model", "data.augment.masked_model", mend))
    if any(way in ASKED for way in settings.ways):
        found += augment_ask.faults(settings)
    return found


class Chained(Sequence[Example]):
    """Several sequences of rows read as one; none is copied."""

    def __init__(self, *parts: Sequence[Example]) -> None:
        self._parts = parts
        self._ends = list(itertools.accumulate(map(len, parts)))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Example]: ...
    def __getitem__(self, index: int | slice) -> Example | Sequence[Example]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        at = index + len(self) if index < 0 else index
        if not 0 <= at < len(self):
            raise IndexError(index)
        for part, end in zip(self._parts, self._ends, strict=True):
            if at < end:
                return part[at - end + len(part)]
        raise AssertionError("ends are sorted")

    def __iter__(self) -> Iterator[Example]:
        return itertools.chain.from_iterable(self._parts)


@dataclass
class Counts:
    """What became of the variations that were asked for: new rows by way, those left out by reason, hashes of all made."""

    made: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    seen: set[int] = field(default_factory=set)


class Varier:
    """Makes new rows of train rows; what it needs for a way is opened when that way comes first."""

    def __init__(
        self, settings: Augment, *, folder: Path, base_folder: Path | None = None, endpoint: Endpoint | None = None
    ) -> None:
        """``folder`` keeps the endpoint's answers; a relative ``masked_model`` starts from ``base_folder``."""
        self.settings = settings
        self._folder, self._base_folder = folder, base_folder
        self._endpoint = endpoint
        self._masked_model: MaskedModel | None = None
        self._language: str | None = None

    def usage(self) -> dict[str, int]:
        """Return requests, tokens and answers taken from disk, where an endpoint was asked."""
        return dict(self._endpoint.counts) if self._endpoint else {}

    def rows(
        self, examples: Iterable[Example], way: Way, *, known: NDArray[np.uint64], clashes: Clashes, counts: Counts
    ) -> Iterator[Example]:
        """Yield the new rows of one way, in the order of their originals; the same rows always give the same.

        Left out and counted: what equals its original, another train row (``known``: sorted hashes of their keys), a new
        row before it, or a valid or test row (``clashes``); what is empty, far too long, or was not answered.
        """
        read = iter(examples)
        while chunk := list(itertools.islice(read, _CHUNK)):
            found = self._texts(chunk, way)
            new = [
                made
                for example, texts in zip(chunk, found, strict=True)
                for copy, text in enumerate(texts)
                if (made := self._row(example, text, way, copy, known, counts)) is not None
            ]
            for example, clash in zip(new, clashes(new) if new else (), strict=True):
                if clash:
                    counts.left_out[CLASHES] += 1
                else:
                    counts.made[way] += 1
                    yield example

    def _row(
        self, example: Example, text: str | Unanswered, way: Way, copy: int, known: NDArray[np.uint64], counts: Counts
    ) -> Example | None:
        made = None if isinstance(text, Unanswered) else new_row(example, text, way, copy)
        reason = str(text) if made is None else _reason(example, str(text))
        if made is not None and not reason:
            number = hash_of(made)
            at = int(np.searchsorted(known, np.uint64(number)))
            if number in counts.seen or (at < len(known) and int(known[at]) == number):
                reason = KNOWN
            counts.seen.add(number)
        if reason:
            counts.left_out[reason] += 1
            return None
        return made

    def _texts(self, chunk: Sequence[Example], way: Way) -> list[list[str | Unanswered]]:
        """Return, for each row, one text a copy or why there is none."""
        if way == "words":
            found: Sequence[str | Unanswered | None] = [self._by_words(e, copy) for e, copy in self._each(chunk)]
        elif way == "masked":
            found = self._by_model(chunk)
        else:
            found = self._by_endpoint(chunk, way)
        every = [Unanswered(NOTHING_TO_CHANGE) if text is None else text for text in found]
        copies = self.settings.copies
        return [every[i : i + copies] for i in range(0, len(every), copies)]

    def _each(self, chunk: Sequence[Example]) -> Iterator[tuple[Example, int]]:
        return ((example, copy) for example in chunk for copy in range(self.settings.copies))

    def _by_words(self, example: Example, copy: int) -> str | None:
        return augment_words.vary(
            text_of(example), key=example.id, copy=copy, seed=self.settings.seed, share=self.settings.share,
            label=str(example.target),
        )  # fmt: skip

    def _by_model(self, chunk: Sequence[Example]) -> Sequence[str | None]:
        settings = self.settings
        pairs = list(self._each(chunk))
        texts = [text_of(example) for example, _ in pairs]
        spans = [
            augment_words.choose(
                text, key=e.id, copy=copy, seed=settings.seed, share=settings.share, label=str(e.target)
            )
            for text, (e, copy) in zip(texts, pairs, strict=True)
        ]
        seeds = [derive_seed(settings.seed, "fill", e.id, copy) for e, copy in pairs]
        return self._masked().fill(texts, spans, seeds=seeds)

    def _masked(self) -> MaskedModel:
        if self._masked_model is None:
            from luthier.models.masked import MaskedModel

            self._masked_model = MaskedModel(str(self.settings.masked_model), folder=self._base_folder)
        return self._masked_model

    def _by_endpoint(self, chunk: Sequence[Example], way: Way) -> Sequence[str | Unanswered]:
        if self._endpoint is None:
            self._endpoint = Endpoint(self.settings, self._folder)
        asked, endpoint = list(self._each(chunk)), self._endpoint
        if way == "paraphrase":
            return endpoint.ask([partial(endpoint.paraphrase, text_of(e), key=e.id, copy=c) for e, c in asked])
        if self._language is None:
            usual = language_of([text_of(e) for e in chunk[:_LANGUAGE_ROWS]])
            self._language = usual or "the language of its first version"
        language = self._language
        return endpoint.ask(
            [
                partial(
                    endpoint.back_translation,
                    text_of(e),
                    key=e.id,
                    copy=c,
                    language=language_of([text_of(e)]) or language,
                )
                for e, c in asked
            ]
        )


def new_row(example: Example, text: str, way: Way, copy: int) -> Example:
    """Return the example with another text; it keeps label, source and unit, so it can never be on another side."""
    if text_name(example.inputs) is not None:
        inputs = with_text(example.inputs, text)
    else:
        turns = [dict(turn) for turn in example.inputs["messages"]]
        turns[_last_user(turns)]["content"] = text
        inputs = {**example.inputs, "messages": turns}
    return Example(
        stable_hash([inputs, example.target, way, copy, example.id]),
        inputs,
        example.target,
        example.source,
        example.group if example.group is not None else key(example),
        {**example.extra, "augmented": way, "of": example.id},
    )


def text_of(example: Example) -> str:
    """Return what is varied: the text, or the last turn of the user."""
    name = text_name(example.inputs)
    if name is not None:
        return str(example.inputs[name])
    turns = example.inputs["messages"]
    return str(turns[_last_user(turns)]["content"])


def _last_user(turns: Sequence[Mapping[str, Any]]) -> int:
    users = [i for i, turn in enumerate(turns) if turn["role"] == "user"]
    return users[-1] if users else len(turns) - 1


def hash_of(example: Example) -> int:
    """Return 64 bits that stand for the normalised input."""
    return int(stable_hash(key(example), size=8), 16)


def language_of(texts: Sequence[str]) -> str | None:
    """Return the name of the language that the texts are in, None where it is not sure."""
    code, score = detect(" ".join(" ".join(texts).split()))
    if code == "und" or score < _SURE:
        return None
    return _NAMES.get(code, f'the language with the code "{code}"')


def _reason(example: Example, text: str) -> str:
    original = text_of(example)
    if not text.strip():
        return augment_ask.EMPTY
    if len(text) > _LONGER * len(original) + _LONGER_CHARS:
        return TOO_LONG
    return EQUAL if normalise(text) == normalise(original) else ""
