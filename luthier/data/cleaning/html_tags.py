"""Text out of HTML: known elements go, block elements end a line, entities become characters. Everything else stays."""

from __future__ import annotations

import html
import re
from html.entities import html5

# Element names of the HTML standard and its obsolete ones; any other name in angle brackets is text, as in List<int>.
_INLINE_NAMES = (
    "a abbr acronym audio b base basefont bdi bdo big button canvas cite code col colgroup data datalist del dfn em embed font i iframe"
    " img input ins kbd label link map mark meta meter noscript object optgroup option output param picture progress q rp rt ruby s"
    " samp select slot small source span strike strong sub sup svg template textarea time track tt u var video wbr"
)
_BLOCK_NAMES = (
    "address article aside blockquote body br caption center dd details dialog dir div dl dt fieldset figcaption figure footer form frame"
    " frameset h1 h2 h3 h4 h5 h6 head header hgroup hr html legend li main menu nav ol p pre search section summary table tbody tfoot"
    " thead title tr ul"
)
_INLINE, _BLOCK = frozenset(_INLINE_NAMES.split()), frozenset(_BLOCK_NAMES.split())
_CELLS = frozenset(("td", "th"))
_UNREAD = frozenset(("script", "style"))
KNOWN = _INLINE | _BLOCK | _CELLS | _UNREAD
# Attributes that stand without a value.
_BARE_NAMES = (
    "allowfullscreen async autofocus autoplay checked compact controls default defer disabled formnovalidate hidden inert ismap loop"
    " multiple muted nomodule noshade novalidate nowrap open readonly required reversed selected"
)
_BARE = frozenset(_BARE_NAMES.split())

# No part reads past the next "<", so the time is linear in the text, whatever stands in it.
_TAG = re.compile(
    r"""<(?:(?P<close>/?)(?P<name>[A-Za-z][A-Za-z0-9]*+)(?P<rest>(?:[\s/](?:[^<>"']|"[^"<]*+"|'[^'<]*+')*+)?)>"""
    r"""|(?P<close2>/?)(?P<name2>[A-Za-z][A-Za-z0-9]*+)(?P<rest2>[\s/][^<>]*+)>"""
    r"""|!(?i:doctype)\b[^<>]*+>|\?(?i:xml)\b[^<>]*+>|(?P<comment>!--))"""
)
_VALUED = re.compile(r"(?:^|[\s\"'/])[A-Za-z_@:*#][\w.:@-]*+\s*+=")
_CLOSE = {name: re.compile(rf"</{name}\s*+>", re.IGNORECASE) for name in _UNREAD}
# Named entities end with a semicolon here: "AT&T" and "?a=1&copy=2" are no entities.
_ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9A-Fa-f]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
_NESTED_AMPERSANDS = re.compile(r"&(?:(?:amp|#38|#[xX]26);)+")
_MANY_BLANK = re.compile(r"\n(?:[ \t]*+\n){2,}")


def may_hold_html(text: str) -> bool:
    """Return whether it is worth looking closer; costs next to nothing."""
    return "<" in text or "&" in text


def strip_html(text: str) -> str:
    """Return ``text`` without HTML; the very same object where there is none."""
    if "<" in text:
        text = _strip_tags(text)
    return unescape(text) if "&" in text else text


def unescape(text: str) -> str:
    """Turn entities into characters; what was escaped twice is so unescaped at once."""
    return _ENTITY.sub(_character, _NESTED_AMPERSANDS.sub("&", text) if "&" in text else text)


def _character(match: re.Match[str]) -> str:
    word = match[0]
    if word[1] != "#" and word[1:] not in html5:
        return word
    made = html.unescape(word)
    # html.unescape() gives U+FFFD or nothing for what is no character: then the entity says more.
    return made if made and made != "\ufffd" and not "\ud800" <= made <= "\udfff" else word


def _strip_tags(text: str) -> str:
    out = _Lines()
    at = start = 0
    no_end: set[str] = set()
    while match := _TAG.search(text, at):
        at = match.end()
        if match["comment"]:
            end = -1 if "--" in no_end else text.find("-->", at)
            if end < 0:
                no_end.add("--")
                continue
            out.add(text[start : match.start()])
            at = start = end + 3
            continue
        name = _element(match, text)
        if name is None:
            continue
        out.add(text[start : match.start()])
        start = at
        closing = bool(match["close"] or match["close2"])
        if name in _UNREAD and not closing and name not in no_end:
            closed = _CLOSE[name].search(text, at)
            if closed:
                at = start = closed.end()
            else:
                no_end.add(name)
        out.tag(name, closing)
    if not start:
        return text
    out.add(text[start:])
    return out.text()


def _element(match: re.Match[str], text: str) -> str | None:
    """Return the element's name in lower case ("" for a declaration), or None where this is text in angle brackets."""
    written = match["name"] or match["name2"]
    if not written:
        return ""
    name = written.lower()
    if name not in KNOWN:
        return None
    # A type parameter, as in Optional<Button> or List<List<b>>, is written in another case than a tag, or inside of
    # another.
    inside = written not in (name, written.upper()) or text[match.end() : match.end() + 1] in (">", ",")
    if inside and match.start() and text[match.start() - 1].isalnum():
        return None
    rest = (match["rest"] or match["rest2"] or "").strip(" \t\r\n/")
    if rest and not _VALUED.search(rest) and not all(word.lower() in _BARE for word in rest.split()):
        return None
    return name


class _Lines:
    """Text put together again, with line ends where blocks begin and end."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._fresh = True
        self._pre = 0

    def add(self, piece: str) -> None:
        if self._fresh:
            # White space after a block's end is layout of the source; inside <pre> it is the text.
            piece = piece.lstrip("\n") if self._pre else piece.lstrip()
        if piece:
            self._parts.append(piece)
            self._fresh = False

    def tag(self, name: str, closing: bool) -> None:
        if name in _CELLS:
            if not self._fresh and not closing:
                self._parts.append(" ")
        elif name == "br" or (name in _BLOCK and not self._fresh):
            self._end_line()
        if name == "pre":
            self._pre = max(0, self._pre + (-1 if closing else 1))

    def _end_line(self) -> None:
        while self._parts:
            self._parts[-1] = self._parts[-1].rstrip(" \t")
            if self._parts[-1]:
                break
            self._parts.pop()
        self._parts.append("\n")
        self._fresh = True

    def text(self) -> str:
        return _MANY_BLANK.sub("\n\n", "".join(self._parts)).strip()
