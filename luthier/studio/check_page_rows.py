"""Sections of the check page with rows: what was cleaned, shared rows side by side, label errors, rows as tokens."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from luthier.evaluate.report.html import Cell, Column, Html, count, number, table, tag
from luthier.studio.check_page_findings import Found, amount, part, percent

_PAIRS, _SUSPECTS, _TOKENS = 20, 20, 300
_PIECES = re.compile(r"\s+|[^\W_]+|.", re.DOTALL)
_STEPS = {
    "encoding": "encoding repaired", "html": "HTML taken out", "whitespace": "white space evened", "boilerplate": "shared lines taken out",
    "language": "left out: another language", "min_words": "left out: too few words", "max_words": "left out: too many words",
}  # fmt: skip
_KINDS = {
    "exact": "The same text", "near": "Nearly the same text", "semantic": "The same meaning", "group": "The same group",
    "time": "As new as the test", "item": "The same passage", "held_out": "In a held-out file",
}  # fmt: skip
_DOUBLES = {
    "exact": "the same text and the same answer: left out",
    "conflicting": "the same text and another answer: left out",
    "near": "almost the same words as an earlier row: kept, on its side",
    "semantic": "the same meaning as an earlier train row: kept",
}


def cleaning(found: Found) -> list[Html]:
    """Return what each cleaning step did and why rows were left out, with the first examples."""
    tallies: list[Html] = []
    counts = {step: n for step, n in part(found, "cleaning", "counts").items() if n}
    for caption, head, numbers in (
        ("Cleaning steps", "Step", counts),
        ("Rows left out, by reason", "Reason", part(found, "dropped")),
    ):
        if numbers:
            rows = [[_STEPS.get(name, name), count(n)] for name, n in numbers.items()]
            tallies.append(table(caption, [Column(head), Column("Rows", True)], rows))
    parts: list[Html] = [tag("div", tallies, class_="pair")] if tallies else []
    for step, examples in part(found, "cleaning", "examples").items():
        shown = [_change(example) for example in examples[:3]]
        if shown:
            parts.append(tag("details", tag("summary", f"{_STEPS.get(step, step)}: first rows"), shown))
    for reason, examples in part(found, "dropped_examples").items():
        lines = [tag("li", tag("code", _where(e)), " ", str(e.get("detail") or "")) for e in examples[:5]]
        parts.append(tag("details", tag("summary", f"{reason}: first rows"), tag("ul", lines)))
    hints = [
        f"{h.get('step')} would change about {amount(h.get('rows')):,.0f} rows" for h in part(found, "hints") or []
    ]
    if hints:
        parts.append(tag("p", "Steps that are switched off: " + "; ".join(hints) + "."))
    return parts


def _change(example: Mapping[str, Any]) -> Html:
    before, after = str(example.get("before") or ""), str(example.get("after") or "")
    if not after:
        return tag(
            "div",
            tag("p", tag("small", _where(example), class_="place")),
            tag("p", before, class_="words"),
            class_="twin",
        )
    return _side_by_side(("before", _where(example), before), ("after", "", after))


def _where(values: Mapping[str, Any]) -> str:
    return str(values.get("where") or f"{values.get('file', '')}:{values.get('line', '')}")


def doubles(found: Found) -> list[Html]:
    """Return duplicates and shared rows: their numbers, and the pairs themselves."""
    tallies: list[Html] = []
    rows = [[f"{_DOUBLES.get(kind, kind)}", count(n)] for kind, n in part(found, "duplicates").items() if n is not None]
    if rows:
        tallies.append(table("Rows told twice", [Column("Kind"), Column("Rows", True)], rows))
    leaks = part(found, "leaks")
    if leaks:
        rows = [
            [_KINDS.get(kind, kind), Cell("not looked for") if n is None else count(n)] for kind, n in leaks.items()
        ]
        tallies.append(table("Rows shared between splits", [Column("What is shared"), Column("Rows", True)], rows))
    parts: list[Html] = [tag("div", tallies, class_="pair")] if tallies else []
    pairs = [p for p in found.get("leak_examples") or [] if isinstance(p, Mapping)]
    shown = [_pair(p) for p in pairs[:_PAIRS]]
    if shown:
        parts.append(
            tag("h3", f"The first {len(shown)} shared rows" if len(shown) > 1 else "The shared row", class_="sub")
        )
        parts.append(tag("p", "Words that differ are bold and underlined."))
    first, rest = shown[:5], shown[5:]
    parts += first
    return [*parts, tag("details", tag("summary", f"{len(rest)} more"), rest)] if rest else parts


def _pair(pair: Mapping[str, Any]) -> Html:
    kind, alike = str(pair.get("kind")), amount(pair.get("similarity"))
    says = _KINDS.get(kind, kind)
    if kind in ("near", "semantic") and alike:
        says += f", {percent(alike)} alike"
    if pair.get("group") is not None:
        says += f" “{pair['group']}”"
    one = (str(pair.get("side") or ""), str(pair.get("where") or ""), str(pair.get("text") or ""))
    other = (
        str(pair.get("other_side") or "").replace("_", " "),
        str(pair.get("other_where") or ""),
        str(pair.get("other_text") or ""),
    )
    return _side_by_side(one, other, head=tag("p", tag("span", says, class_="kind")), mark=kind != "semantic")


def _side_by_side(
    one: tuple[str, str, str], other: tuple[str, str, str], *, head: Html | None = None, mark: bool = True
) -> Html:
    left, right = _marked(one[2], other[2]) if mark and one[2] and other[2] else ([one[2]], [other[2]])
    halves = [
        tag(
            "div",
            tag("small", name, " ", tag("code", where) if where else None),
            tag("p", words or tag("em", "(text not kept)"), class_="words"),
        )
        for (name, where, _), words in ((one, left), (other, right))
    ]
    return tag("div", head, tag("div", halves, class_="side-by-side"), class_="twin")


def _marked(one: str, other: str) -> tuple[list[object], list[object]]:
    """Return both texts with the words that only one of them has in ``mark``."""
    a, b = _PIECES.findall(one[:2_000]), _PIECES.findall(other[:2_000])
    left: list[object] = []
    right: list[object] = []
    for action, i, j, k, m in difflib.SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
        same = action == "equal"
        for parts, words in ((left, "".join(a[i:j])), (right, "".join(b[k:m]))):
            if words:
                parts.append(words if same else tag("mark", words))
    return left, right


def giveaways(found: Found) -> list[Html]:
    signs = [s for s in part(found, "giveaways") or [] if isinstance(s, Mapping)]
    if not signs:
        return []
    rows = [
        [tag("code", s.get("column") or s.get("token") or ""), "column" if s.get("column") else "word", Cell(s.get("label"), class_="long"),
         number(s.get("precision", s.get("accuracy")), 2), number(s.get("recall"), 2), count(s.get("rows"))]
        for s in signs[:40]
    ]  # fmt: skip
    heads = [
        Column("Sign"),
        Column("Kind"),
        Column("Label"),
        Column("Precision", True),
        Column("Recall", True),
        Column("Rows", True),
    ]
    words = "Precision is the share of rows with the sign that have the label; recall is the share of the label's rows that have the sign."
    return [tag("p", words), table("Signs that nearly decide a label", heads, rows, sortable=True, hide_caption=True)]


def personal(found: Found) -> list[Html]:
    """Return how much personal data was found, by kind, and none of it."""
    kinds, masked = part(found, "personal"), part(found, "masked")
    rows = [[kind, count(kinds.get(kind)), count(masked.get(kind))] for kind in dict.fromkeys([*kinds, *masked])]
    if not rows:
        return []
    heads = [Column("Kind"), Column("Found in the texts", True), Column("Replaced", True)]
    return [
        tag("p", "Counts only: what was found is not shown here."),
        table("Personal data by kind", heads, rows, hide_caption=True),
    ]


def label_errors(found: Found) -> list[Html]:
    """Return the most suspicious labels with the one suggested."""
    errors = part(found, "label_errors")
    if errors and errors.get("count") is None and errors.get("skipped"):
        return [tag("p", f"Not looked for: {errors['skipped']}.")]
    rows = [r for r in errors.get("rows") or [] if isinstance(r, Mapping)] if errors else []
    words = []
    if errors and errors.get("count") is not None:
        words.append(f"{amount(errors['count']):,.0f} rows are suspicious.")
        if errors.get("estimated_share") is not None:
            words.append(f"By estimate {percent(amount(errors['estimated_share']))} of all labels are wrong.")
    if rows:
        words.append(
            f"The {min(len(rows), _SUSPECTS)} most suspicious, by a model that had not seen the row; a person decides."
        )
    body = [
        [Cell(r.get("text"), class_="long"), r.get("label"), number(r.get("probability_of_label"), 2), r.get("suggested"),
         number(r.get("probability_of_suggested"), 2), tag("code", _where(r))]
        for r in rows[:_SUSPECTS]
    ]  # fmt: skip
    heads = [
        Column("Text"),
        Column("Its label"),
        Column("Probable by", True),
        Column("Suggested"),
        Column("Probable by", True),
        Column("Where"),
    ]
    parts = [tag("p", " ".join(words))] if words else []
    return [*parts, table("Probable label errors", heads, body, sortable=True, hide_caption=True)] if body else parts


def agreement(found: Found) -> list[Html]:
    """Return how far annotators agree: its figures, and its tables as they are."""
    known = part(found, "agreement")
    if not isinstance(known, Mapping) or not known:
        return []
    plain = [[str(k).replace("_", " "), number(v) if isinstance(v, int | float) else str(v)]
             for k, v in known.items() if isinstance(v, int | float | str)]  # fmt: skip
    parts = (
        [table("Agreement between annotators", [Column("Figure"), Column("Value", True)], plain, hide_caption=True)]
        if plain
        else []
    )
    for name, rows in known.items():
        if isinstance(rows, Sequence) and rows and isinstance(rows[0], Mapping):
            keys = list(rows[0])
            body = [
                [Cell(str(row.get(key, "")), class_="long" if key == "text" else None) for key in keys]
                for row in rows[:_SUSPECTS]
            ]
            heads = [Column(key.replace("_", " ").capitalize()) for key in keys]
            parts.append(table(str(name).replace("_", " ").capitalize(), heads, body))
    return parts


def odd_texts(found: Found) -> list[Html]:
    rows = []
    for item in part(found, "profile").get("odd") or []:
        examples = [
            tag("div", tag("code", e.get("where")), " ", e.get("text") or "(empty)")
            for e in (item.get("examples") or [])[:3]
        ]
        rows.append(
            [
                item.get("what"),
                count(item.get("rows")),
                Cell(percent(amount(item.get("share"))), item.get("share")),
                Cell(examples, class_="long"),
            ]
        )
    heads = [Column("What is odd"), Column("Rows", True), Column("Share", True), Column("The first ones")]
    marks = part(found, "profile", "marks")
    names = {"html": "HTML", "links": "a link", "digits": "a digit"}
    words = [
        f"{percent(amount(marks[k].get('share')))} of the texts hold {name}"
        for k, name in names.items()
        if marks.get(k)
    ]
    parts = [table("Odd texts", heads, rows, hide_caption=True)] if rows else []
    return [*parts, tag("p", "; ".join(words) + ".")] if words else parts


def rows_as_tokens(found: Found) -> list[Html]:
    """Return the first rows of each side as the model will see them."""
    sides = part(found, "preview", "sides")
    if not sides:
        return []
    learns = any(t.get("learnt") for rows in sides.values() for row in rows for t in row.get("tokens") or [])
    legend = [tag("span", tag("span", "word", class_="t"), " a token: a word or part of one")]
    legend += [tag("span", tag("span", "[SEP]", class_="t special"), " a mark of the model's own")]
    legend += [tag("span", tag("span", "learnt", class_="t learnt"), " what training teaches")] if learns else []
    words = "The ids are those that training reads. " + (
        "Only the underlined tokens are learnt; the others are the question."
        if learns
        else "What is learnt is the label, shown beside each row."
    )
    parts = [tag("p", words), tag("p", legend, class_="legend")]
    for side, rows in sides.items():
        body = [_row(row) for row in rows]
        parts.append(tag("details", tag("summary", f"First {len(rows)} rows of {side}"), body, open=side == "train"))
    return parts


def _row(row: Mapping[str, Any]) -> Html:
    tokens = row.get("tokens") or []
    facts: list[object] = [tag("code", row.get("where") or "", class_="place")]
    if row.get("label") is not None:
        facts += [" → ", tag("strong", row["label"])]
    facts.append(f" · {len(tokens):,} tokens" if tokens else "")
    if row.get("cut"):
        facts.append(f", {row['cut']:,} more are cut")
    if row.get("refused"):
        facts.append(f"refused: {row['refused']}")
    elif row.get("left_out"):
        facts.append("left out of training: the answer does not fit")
    if not tokens:
        return tag("div", tag("p", facts), class_="row-shown")
    ids = tag("details", tag("summary", "Token ids"), tag("p", tag("code", " ".join(str(t.get("id")) for t in tokens))))
    return tag("div", tag("p", facts), tag("p", _spans(tokens), class_="tokens"), ids, class_="row-shown")


def _spans(tokens: Sequence[Mapping[str, Any]]) -> list[Html]:
    half = _TOKENS // 2
    if len(tokens) <= _TOKENS:
        return [_span(t) for t in tokens]
    gap = tag("span", f" … {len(tokens) - _TOKENS:,} tokens … ", class_="gap")
    return [*map(_span, tokens[:half]), gap, *map(_span, tokens[-half:])]


def _span(token: Mapping[str, Any]) -> Html:
    classes = " ".join(["t", *(name for name in ("learnt", "special") if token.get(name))])
    # A line end is shown by a sign, because it is a token too.
    text = str(token.get("text") or "").replace("\n", "↵\n").replace("\t", "⇥")
    return tag("span", text, class_=classes, title=f"id {token.get('id')}")
