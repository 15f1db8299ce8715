"""Cleaning steps by name: what changes a text, here and at the service alike, and what leaves a row out."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from itertools import takewhile
from typing import Any

from luthier.base.inputs import text_name
from luthier.base.records import Example
from luthier.base.seeds import stable_hash
from luthier.data.cleaning.boilerplate import BoilerplateFinder, strip_boilerplate
from luthier.data.cleaning.html_tags import may_hold_html, strip_html
from luthier.data.cleaning.languages import check_codes, other_language
from luthier.data.personal import mask
from luthier.data.shapes.columns import Dropped
from luthier.spec.data import Clean

__all__ = ["BoilerplateFinder", "Cleaner", "hints"]

TOO_SHORT = "too short"
TOO_LONG = "too long"
OTHER_LANGUAGE = "other language"
EMPTY = "empty after cleaning"
# In the order they are done: html may bring white space, and both may bring out a shared line.
STEPS = ("encoding", "html", "whitespace", "boilerplate")

_ROUNDS = 10
_SHOWN = 3
_SHOWN_CHARS = 120
_SHOWN_BEFORE_CHANGE = 40

# The encodings that text is read in by mistake; UTF-8 read so shows as the character of a lead byte and that of a
# continuation byte.
_MISTAKEN = ("latin-1", "cp1252", "cp1251", "cp1250", "cp1253", "cp1254", "cp1257", "iso8859-2", "mac-roman", "cp437")


def _characters(first: int, last: int) -> str:
    """Return a character class of what the bytes ``first`` to ``last`` are in any of these encodings."""
    made = {bytes([byte]).decode(name, "ignore") for name in _MISTAKEN for byte in range(first, last + 1)}
    return "[" + "".join(re.escape(char) for char in sorted(made) if char > "\x7f") + "]"


# Looking for such a pair first (or a control character of Latin-1, or an Ã whose no-break space became a space) makes
# the usual text cost nothing.
_SUSPICIOUS = re.compile(f"{_characters(0xC0, 0xF4)}{_characters(0x80, 0xBF)}|[\x80-\x9f]|Ã ")

# Joiners are part of the word in scripts that join or stack letters, and of emoji.
_JOINED = "\u0590-\u08ff\u0900-\u0dff\u0f00-\u109f\u1780-\u18af\ufb1d-\ufdff\ufe0f\ufe70-\ufeff\u20e3\u2190-\u2bff\U0001f000-\U0001faff"
_LINE_END = re.compile("\r\n?|[\v\f\x1c-\x1e\x85\u2028\u2029]")
_SPACE = re.compile(r"[^\S\n\t ]")
# A zero-width space parts words in Thai, Lao, Burmese and Khmer.
_INVISIBLE = re.compile("[\u2060\ufeff\u00ad]|(?<![\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff])\u200b")
_STRAY_JOINER = re.compile(f"(?<![{_JOINED}])[\u200c\u200d]")
_TRAILING = re.compile(r"(?<![ \t])[ \t]++(?=\n|\Z)")
_INNER = re.compile(r"(?<=\S)(?:\t[ \t]*+| [ \t]++)(?=\S)")
_BLANK_LINES = re.compile(r"\n{3,}")
# The first character that the step would change; read from one character on, so that a text without any is passed
# over fast.
_UNTIDY = re.compile(
    "[\\s\u200b-\u200d\u2060\ufeff\u00ad](?:(?<![\n\t ])|(?<=\\S\t)|(?<=\\S )(?=[ \t])|(?<=[ \t])(?=\n|\\Z)|(?<=\n)(?=\n\n|\\Z))"
)

# Scripts written without spaces between words: there each letter counts as a word.
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)
_WORDS = re.compile(rf"[{_UNSPACED}]|[^\s{_UNSPACED}]+")


def fix_encoding(text: str) -> str:
    """Return ``text`` with wrongly decoded lines decoded rightly; quotes, widths and accents are left as they are."""
    if text.isascii() or not _SUSPICIOUS.search(text):
        return text
    fix = _fixer()
    # Line by line, because two lines can come from two files with two histories.
    return "\n".join(line if line.isascii() or not _SUSPICIOUS.search(line) else fix(line) for line in text.split("\n"))


@cache
def _fixer() -> Callable[[str], str]:
    import ftfy

    # What was lost when a decoder wrote ? cannot be got back, and a � in its place is no better.
    return partial(ftfy.fix_encoding, config=ftfy.TextFixerConfig(replace_lossy_sequences=False, explain=False))


def tidy_whitespace(text: str) -> str:
    """Return ``text`` with one kind of space and line end, without runs of them and without invisible characters.

    Indentation at the start of a line stays, and so do joiners where a script or an emoji needs them.
    """
    if not _is_untidy(text):
        return text
    text = _LINE_END.sub("\n", text)
    text = _SPACE.sub(" ", text)
    if not text.isascii():
        text = _STRAY_JOINER.sub("", _INVISIBLE.sub("", text))
    text = _TRAILING.sub("", text)
    return _BLANK_LINES.sub("\n\n", _INNER.sub(" ", text)).strip()


def _is_untidy(text: str) -> bool:
    # Spaces but " ", controls and invisible characters are all not printable; this settles most texts in one pass.
    if "  " not in text and " \n" not in text and "\n\n\n" not in text and text.replace("\n", "").isprintable():
        return text[:1].isspace() or text[-1:].isspace()
    return text[:1].isspace() or _UNTIDY.search(text) is not None


def count_words(text: str) -> int:
    """Count words; in scripts without spaces (Chinese, Japanese, Thai and others) each letter is one."""
    return len(text.split()) if text.isascii() else len(_WORDS.findall(text))


def hints(text: str) -> list[str]:
    """Return which of html, whitespace and boilerplate would change ``text``; the shared lines are not looked for."""
    found = []
    if may_hold_html(text) and strip_html(text) != text:
        found.append("html")
    # Joiners may be in their place: then only the step itself can tell.
    if _is_untidy(text) and (text.isascii() or tidy_whitespace(text) != text):
        found.append("whitespace")
    if strip_boilerplate(text) is not text:
        found.append("boilerplate")
    return found


class Cleaner:
    """The steps of ``data.clean``, with a count and the first examples of what each changed or left out.

    ``counts`` are rows by step: encoding, html, whitespace, boilerplate, language, min_words, max_words. ``examples``
    are up to three by step, personal data masked, cut to 120 characters around the change.
    """

    def __init__(self, settings: Clean, *, boilerplate: frozenset[str] = frozenset()) -> None:
        """Make ready.

        Args:
            boilerplate: lines that many rows share, as :meth:`BoilerplateFinder.lines` gives them.
        Raises:
            TaskError: ``settings.language`` names no language.
            DataError: a language is asked for and the library that tells languages is missing.
        """
        self.settings = settings
        self.boilerplate = boilerplate
        self.counts: Counter[str] = Counter()
        self.examples: dict[str, list[dict[str, Any]]] = {}
        wanted = settings.language
        self._languages = check_codes([wanted] if isinstance(wanted, str) else wanted) if wanted else frozenset()
        does: dict[str, Callable[[str], str]] = {
            "encoding": fix_encoding,
            "html": lambda text: strip_html(text) if may_hold_html(text) else text,
            "whitespace": tidy_whitespace,
            "boilerplate": lambda text: strip_boilerplate(text, boilerplate),
        }
        self._steps = tuple((name, does[name]) for name in STEPS if getattr(settings, name))
        # A system prompt is shared by all rows on purpose.
        self._system_steps = tuple(step for step in self._steps if step[0] != "boilerplate")
        self._plain_ascii = all(name == "encoding" for name, _ in self._steps)

    def text(self, text: str) -> str:
        """Return ``text`` after all steps that change text; doing it twice changes nothing more."""
        if self._plain_ascii and text.isascii():
            return text
        return _run(text, self._steps, None)

    def inputs(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Return an example's or a request's inputs with every text cleaned, as :meth:`example` does."""
        return self._inputs(inputs, None)

    def example(self, example: Example) -> Example | Dropped:
        """Return the example with its texts cleaned (never a label), or why it is left out."""
        changed: dict[str, tuple[str, str]] = {}
        inputs = self._inputs(example.inputs, changed)
        target = example.target
        if "messages" in inputs and isinstance(target, str):
            target = self._one(target, self._steps, changed)
        for name, (before, after) in changed.items():
            self._note(name, example, before, after)
        if changed:
            if _is_emptied(example.inputs, inputs) or (target == "" and example.target):
                return Dropped(example.source, EMPTY, ", ".join(changed))
            example = replace(example, id=stable_hash([inputs, target]), inputs=inputs, target=target)
        return self._left_out(example) or example

    def as_dict(self) -> dict[str, Any]:
        """Return what a JSON file keeps of it: the settings and the shared lines, no counts."""
        return {"settings": self.settings.model_dump(mode="json"), "boilerplate": sorted(self.boilerplate)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Cleaner:
        return cls(Clean.model_validate(values["settings"]), boilerplate=frozenset(values["boilerplate"]))

    def _inputs(self, inputs: Mapping[str, Any], changed: dict[str, tuple[str, str]] | None) -> dict[str, Any]:
        made = dict(inputs)
        name = text_name(made)
        if name is not None and isinstance(made[name], str):
            made[name] = self._one(made[name], self._steps, changed)
        if "messages" in made:
            made["messages"] = [
                {**turn, "content": self._one(turn["content"], self._steps_of(turn), changed)}
                if isinstance(turn.get("content"), str)
                else turn
                for turn in made["messages"]
            ]
        return made

    def _steps_of(self, turn: Mapping[str, Any]) -> Sequence[tuple[str, Callable[[str], str]]]:
        return self._system_steps if turn.get("role") == "system" else self._steps

    def _one(
        self, text: str, steps: Sequence[tuple[str, Callable[[str], str]]], changed: dict[str, tuple[str, str]] | None
    ) -> str:
        return text if self._plain_ascii and text.isascii() else _run(text, steps, changed)

    def _left_out(self, example: Example) -> Dropped | None:
        settings = self.settings
        if not (self._languages or settings.min_words or settings.max_words):
            return None
        text = _said(example)
        if settings.min_words or settings.max_words:
            words = count_words(text)
            if settings.min_words and words < settings.min_words:
                return self._drop("min_words", TOO_SHORT, f"{words} words", example, text)
            if settings.max_words and words > settings.max_words:
                return self._drop("max_words", TOO_LONG, f"{words} words", example, text)
        if self._languages and (other := other_language(text, self._languages)):
            return self._drop("language", OTHER_LANGUAGE, f"{other[0]}, {other[1]:.2f}", example, text)
        return None

    def _drop(self, step: str, reason: str, detail: str, example: Example, text: str) -> Dropped:
        self._note(step, example, text, "")
        return Dropped(example.source, reason, detail)

    def _note(self, step: str, example: Example, before: str, after: str) -> None:
        self.counts[step] += 1
        shown = self.examples.setdefault(step, [])
        if len(shown) < _SHOWN:
            cut = _first_difference(before, after) - _SHOWN_BEFORE_CHANGE if after else 0
            place = {"file": example.source.file, "line": example.source.line}
            shown.append(place | {"before": _shown(before, cut), "after": _shown(after, cut)})


def _run(
    text: str, steps: Iterable[tuple[str, Callable[[str], str]]], changed: dict[str, tuple[str, str]] | None
) -> str:
    """Do the steps until none changes anything; a text that comes to no rest in ten rounds stays as it was."""
    began = text
    told: dict[str, tuple[str, str]] = {}
    for _ in range(_ROUNDS):
        before = text
        for name, step in steps:
            made = step(text)
            if made != text:
                made = made.strip()
                if made != text:
                    told.setdefault(name, (text, made))
                    text = made
        if text == before:
            if changed is not None:
                for name, pair in told.items():
                    changed.setdefault(name, pair)
            return text
    return began


def _is_emptied(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    """Return whether a text was there and is no longer."""
    if "messages" not in after:
        name = text_name(after)
        return name is not None and bool(before.get(name)) and not after[name]
    turns = zip(before["messages"], after["messages"], strict=True)
    return any(was.get("content") and not turn["content"] for was, turn in turns)


def _said(example: Example) -> str:
    """Return the text that steps leaving rows out look at: what was asked, without the system prompt."""
    if "messages" not in example.inputs:
        return str(example.inputs.get(text_name(example.inputs) or "", ""))
    return "\n".join(turn["content"] for turn in example.inputs["messages"] if turn["role"] != "system")


def _first_difference(before: str, after: str) -> int:
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(before, after, strict=False)))


def _shown(text: str, start: int) -> str:
    # Masked before it is cut: half an address is still an address, and no pattern finds it.
    start = max(0, start)
    window = mask(text[max(0, start - 200) : start + _SHOWN_CHARS + 200])[0]
    window = window if start == 0 else "…" + window[min(start, 200) :]
    return window if len(window) <= _SHOWN_CHARS else window[: _SHOWN_CHARS - 1] + "…"
