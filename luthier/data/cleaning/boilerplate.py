"""Boilerplate in letters and posts: signatures, quoted replies, and lines that many rows share."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

_MIN_ROWS = 20
_MIN_SHARE = 0.05
_MIN_WORDS = 4
_MIN_CHARS_UNSPACED = 12
_MAX_LINE_CHARS = 500
_TRACKED_LINES = 20_000
_SIGNATURE_LINES = 8
_SIGNATURE_LINE_CHARS = 80

_SENT_FROM = re.compile(
    r"(?:sent from my [\w’' +-]{1,40}|sent from (?:(?:yahoo|proton) ?mail|mail for|outlook for)\b[^\n]{0,60}|get outlook for [^\n]{1,60}"
    r"|sent (?:via|with|using) (?:my |the )?\w+ ?(?:mail|mobile|app|phone|device)\b[^\n]{0,40}"
    r"|(?:diese nachricht wurde )?von meinem \S+(?: \S+){0,3} gesendet|gesendet (?:mit der|von meinem|von outlook|von mail)\b[^\n]{0,60}"
    r"|envoyé (?:de|depuis|à partir de) mon [^\n]{1,40}|enviado (?:desde mi|do meu|a partir do meu) [^\n]{1,40}"
    r"|inviato da(?:l mio| (?:iphone|ipad|outlook|mail|samsung|yahoo))\b[^\n]{0,40}|verzonden vanaf mijn [^\n]{1,40}"
    r"|skickat från min [^\n]{1,40}|wysłan[eo] z (?:mojego|iphone|telefonu|aplikacji)\b[^\n]{0,40}"
    r"|отправлено с (?:iphone|ipad|моего|samsung|android)[^\n]{0,40})\.?$",
    re.IGNORECASE,
)
# How mail programs introduce what they quote; they always say when it was written.
_WROTE = re.compile(
    r"(?=[^\n]{0,200}\d)>* ?(?:on [^\n]{4,200} wrote|am [^\n]{4,200} schrieb[^\n]{0,120}|le [^\n]{4,200} a écrit|el [^\n]{4,200} escribió"
    r"|il [^\n]{4,200} ha scritto|op [^\n]{4,200} schreef[^\n]{0,120}|em [^\n]{4,200} escreveu|den [^\n]{4,200} skrev[^\n]{0,120})\s?:$",
    re.IGNORECASE,
)
_WROTE_START = re.compile(r">* ?(?:on|am|le|el|il|op|em|den) [^\n]{0,160}\d", re.IGNORECASE)
_ORIGINAL = re.compile(
    r"[-_]{3,20} ?(?:original (?:message|mail|appointment)|ursprüngliche (?:nachricht|e-?mail)|message d'origine|mensaje original"
    r"|messaggio originale|oorspronkelijk bericht|mensagem original) ?[-_]{3,20}$",
    re.IGNORECASE,
)
_FROM = re.compile(r"\*?(?:from|von|de|da|van):\*? \S", re.IGNORECASE)
_SENT = re.compile(r"\*?(?:sent|date|gesendet|datum|envoyé|enviado|inviato|verzonden|data|fecha):\*? \S", re.IGNORECASE)
_CODE_LINE = re.compile(r"\s*(?:--|//|#|/\*)|.*[;{}]\s*$")
_MANY_BLANK = re.compile(r"\n(?:[ \t]*+\n){2,}")
# One of these stands in any text that a rule could change.
_SIGN = re.compile(
    r"^--|[-_]{3}|:$|^\*?(?:from|von|de|da|van):|^(?:sent|get|gesendet|envoyé|enviado|inviato|verzonden|skickat|wysłan[eo]|отправлено) "
    r"|gesendet\.?$",
    re.IGNORECASE | re.MULTILINE,
)


def normal_line(line: str) -> str:
    """Return the form in which lines are compared: no case, single spaces; empty where it is too short or too long."""
    line = " ".join(line.split())
    if not line or len(line) > _MAX_LINE_CHARS:
        return ""
    words = line.count(" ") + 1
    if words < _MIN_WORDS and (line.isascii() or words > 1 or len(line) < _MIN_CHARS_UNSPACED):
        return ""
    return line.casefold()


def strip_boilerplate(text: str, shared: frozenset[str] = frozenset()) -> str:
    """Return ``text`` without signatures, quoted replies and ``shared`` lines (as :func:`normal_line` writes them).

    A text that would be empty, or without any letter or digit, stays as it was.
    """
    if "\n" not in text:
        return text
    ruled = _SIGN.search(text) is not None
    if not ruled and not shared:
        return text
    lines = text.split("\n")
    kept = lines
    if ruled:
        kept = _unsigned(_unquoted(kept))
    if shared:
        kept = [line for line in kept if len(line) > _MAX_LINE_CHARS * 2 or normal_line(line) not in shared]
    if len(kept) == len(lines):
        return text
    left = _MANY_BLANK.sub("\n\n", "\n".join(kept)).strip()
    return left if any(c.isalnum() for c in left) else text


def _unquoted(lines: list[str]) -> list[str]:
    """Drop what a mail program quoted: with ``>`` the quoted lines only, else all that follows its header."""
    kept: list[str] = []
    at = 0
    while at < len(lines):
        size = _header_lines(lines, at, lines[at].strip())
        if not size:
            kept.append(lines[at])
            at += 1
            continue
        at = _next_said(lines, at + size)
        if at < len(lines) and not lines[at].lstrip().startswith(">"):
            break
        while at < len(lines) and lines[at].lstrip().startswith(">"):
            at = _next_said(lines, at + 1)
    return kept


def _next_said(lines: list[str], at: int) -> int:
    while at < len(lines) and not lines[at].strip():
        at += 1
    return at


def _header_lines(lines: list[str], at: int, line: str) -> int:
    """Return how many lines a quoted message's header takes from ``at``; 0 where there is none."""
    if not line or len(line) > _MAX_LINE_CHARS:
        return 0
    if _ORIGINAL.match(line) or (line[-1] == ":" and _WROTE.match(line)):
        return 1
    following = lines[at + 1].strip()[:_MAX_LINE_CHARS] if at + 1 < len(lines) else ""
    if following.endswith(":") and _WROTE_START.match(line) and _WROTE.match(f"{line} {following}"):
        return 2
    if _FROM.match(line) and _SENT.match(following):
        return 2
    return 0


def _unsigned(lines: list[str]) -> list[str]:
    for i in range(max(0, len(lines) - _SIGNATURE_LINES - 1), len(lines)):
        # RFC 3676, 4.3: two dashes and a space stand alone before a signature; trimming takes the space.
        if lines[i] in ("-- ", "--") and all(
            len(line) <= _SIGNATURE_LINE_CHARS and not _CODE_LINE.match(line) for line in lines[i + 1 :]
        ):
            lines = lines[:i]
            break
    return [line for line in lines if len(line) > _MAX_LINE_CHARS or not _SENT_FROM.match(line.strip())]


class BoilerplateFinder:
    """Find lines that stand in many rows, in one pass and bounded memory.

    Rows are counted by line with the summary of Misra and Gries (1982), pruned in batches as in Agarwal et al.,
    "Mergeable summaries" (2012): a count is never too high, and too low by at most :attr:`missed` rows.
    """

    def __init__(self, *, tracked: int = _TRACKED_LINES) -> None:
        self.rows = 0
        self.missed = 0
        self._tracked = tracked
        # Normal line -> [rows that hold it, rows in which nothing else stands].
        self._counts: dict[str, list[int]] = {}

    def add(self, text: str) -> None:
        """Count one row's lines, each once."""
        self.rows += 1
        if "\n" not in text:
            line = normal_line(text)
            if line:
                self._count(line, True)
            return
        whole = [line for line in text.split("\n") if line and not line.isspace()]
        for line in set(_normal_lines(whole)):
            self._count(line, len(whole) == 1)

    def _count(self, line: str, alone: bool) -> None:
        entry = self._counts.get(line)
        if entry is None:
            if len(self._counts) >= 2 * self._tracked:
                self._prune()
            entry = self._counts[line] = [0, 0]
        entry[0] += 1
        entry[1] += alone

    def _prune(self) -> None:
        cut = sorted((entry[0] for entry in self._counts.values()), reverse=True)[self._tracked]
        self.missed += cut
        for entry in self._counts.values():
            entry[0] -= cut
        self._counts = {line: entry for line, entry in self._counts.items() if entry[0] > 0}

    @property
    def least(self) -> int:
        """Rows that a line must stand in: 5 % of them, at least 20."""
        return max(_MIN_ROWS, math.ceil(_MIN_SHARE * self.rows))

    def lines(self) -> frozenset[str]:
        """Return the lines for :func:`strip_boilerplate`: in enough rows, and most of these hold other text too."""
        return frozenset(
            line for line, (rows, alone) in self._counts.items() if rows >= self.least and 2 * alone < rows
        )


def _normal_lines(lines: list[str]) -> Iterator[str]:
    for line in lines:
        if len(line) <= 2 * _MAX_LINE_CHARS and (normal := normal_line(line)):
            yield normal
