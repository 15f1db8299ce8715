"""Sections of the check page with figures: balance, lengths, languages, dates, columns, files."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

from luthier.evaluate.report.html import Cell, Column, Html, count, definitions, table, tag
from luthier.studio.check_page_bars import SIDES, columns_chart, share_bar, split_bar
from luthier.studio.check_page_findings import Found, amount, languages_of, part, percent

_LABELS = 20
_COLUMNS = 60
_MONTHS = 72


def label_balance(found: Found) -> list[Html]:
    """Return each label's rows by side, largest first, and how even they are."""
    table_ = (
        {str(label): counts for label, counts in part(found, "labels").items()}
        or part(found, "profile", "labels").get("by_side")
        or {}
    )
    sizes = {label: sum(amount(counts.get(side)) for side in SIDES) for label, counts in table_.items()}
    if not sizes:
        return []
    order = sorted(sizes, key=lambda label: (-sizes[label], label))
    largest = sizes[order[0]]
    rows = [
        [
            Cell(label, class_="long"),
            split_bar(table_[label], largest),
            *(count(amount(table_[label].get(side))) for side in SIDES),
        ]
        for label in order
    ]
    columns = [Column("Label"), Column("Share of the largest"), *(Column(side, True) for side in SIDES)]
    facts = part(found, "profile", "labels")
    words = [
        f"{len(sizes):,} labels; the largest, “{order[0]}”, has {largest:,.0f} rows, the smallest, “{order[-1]}”, {sizes[order[-1]]:,.0f}."
    ]
    if facts.get("evenness") is not None and len(sizes) > 1:
        words.append(f"Evenness {facts['evenness']:.2f} (1 where all labels have as many rows, 0 where one has all).")
    legend = [tag("span", _swatch(side), side) for side in SIDES]
    shown = tag("div", table("Rows of each label by side", columns, rows[:_LABELS], hide_caption=True), class_="barred")
    more = None
    if len(rows) > _LABELS:
        rest = tag("div", table("The other labels", columns, rows[_LABELS:], hide_caption=True), class_="barred")
        more = tag("details", tag("summary", f"{len(rows) - _LABELS:,} smaller labels"), rest)
    return [tag("p", " ".join(words)), tag("p", legend, class_="legend"), shown, *([more] if more else [])]


def _swatch(side: str) -> Html:
    return tag("svg", tag("rect", width="10", height="10", class_=side), viewBox="0 0 10 10", aria_hidden="true")


def lengths(found: Found) -> list[Html]:
    """Return the spread of lengths: in tokens with the model's limit, or in characters where tokens are unknown."""
    tokens = part(found, "preview", "lengths")
    profile = part(found, "profile")
    parts: list[Html] = []
    if part(tokens, "histogram"):
        parts.append(_histogram(tokens, "tokens", limit=amount(part(found, "preview").get("max_tokens"))))
    elif part(profile, "characters", "histogram"):
        parts.append(_histogram(profile["characters"], "characters", limit=0))
    names = (("Characters of the input", part(profile, "characters")), ("Words of the input", part(profile, "words")),
             ("Tokens, as training counts them", tokens), ("Turns of a conversation", part(profile, "turns")),
             ("Characters of the answer", part(profile, "answers", "characters")), ("Words of the answer", part(profile, "answers", "words")))  # fmt: skip
    rows = [
        [name, count(v.get("median")), count(v.get("p95")), count(v.get("max"))]
        for name, v in names
        if v and v.get("median") is not None
    ]
    if not rows and (plain := part(found, "lengths")):
        rows = [["Characters of the input", *(count(plain.get(f"{name}_chars")) for name in ("median", "p95", "max"))]]
    if rows:
        heads = [Column("Length"), Column("Median", True), Column("95 % have at most", True), Column("Longest", True)]
        parts.append(table("Lengths", heads, rows, hide_caption=True))
    roles = part(profile, "turns").get("roles")
    if roles:
        parts.append(
            tag("p", "Conversations with a turn of: " + ", ".join(f"{role} {n:,}" for role, n in roles.items()) + ".")
        )
    notes = [tag("li", note) for note in profile.get("notes") or []]
    return [*parts, tag("ul", notes, class_="notes")] if notes else parts


def _histogram(spread: Mapping[str, Any], unit: str, *, limit: float) -> Html:
    edges, counts = spread["histogram"]["edges"], list(spread["histogram"]["counts"])
    beyond = amount(spread["histogram"].get("beyond"))
    width = edges[1] - edges[0]
    # The axis grows to show the limit where that keeps the bars wide enough to read.
    if edges[-1] < limit <= 2.5 * edges[-1]:
        counts += [0] * round((limit * 1.06 - edges[-1]) / width + 0.5)
    top = width * len(counts)
    step = _step(top)
    ticks = [(at / top, f"{at:,}") for at in range(0, top + 1, step)]
    words = [
        f"Half of the rows have {spread['median']:,} {unit} or fewer, 95 % have {spread['p95']:,} or fewer, the longest has {spread['max']:,}."
    ]
    mark = None
    if 0 < limit <= top:
        mark = (limit / top, f"the model’s limit, {limit:,.0f}")
    elif limit:
        words.append(f"The model takes {limit:,.0f}: the limit lies far to the right of this picture.")
    if beyond:
        words.append(f"{beyond:,.0f} rows are longer than shown.")
    looked_at, total = amount(spread.get("looked_at")), amount(spread.get("rows") or spread.get("counted"))
    if looked_at < total:
        words.append(f"From an even sample of {looked_at:,.0f} rows.")
    return columns_chart(counts, ticks=ticks, words=" ".join(words), mark=mark)


def _step(top: int) -> int:
    """Return a round distance between ticks, so that there are at most six."""
    power = 1
    while True:
        for step in (power, 2 * power, 5 * power):
            if top <= 6 * step:
                return step
        power *= 10


def languages(found: Found) -> list[Html]:
    counted = languages_of(found)
    total = sum(counted.values())
    if not total:
        return []
    names = {"und": "und (too short to tell)"}
    rows = [
        [names.get(code, code), share_bar(n / total), Cell(percent(n / total), n), count(n)]
        for code, n in list(counted.items())[:12]
    ]
    heads = [Column("Language"), Column("Share of rows"), Column("Share", True), Column("Rows", True)]
    rest = [tag("p", f"and {len(counted) - 12} more.")] if len(counted) > 12 else []
    return [
        tag("div", table("Rows by language (ISO 639 codes)", heads, rows, hide_caption=True), class_="barred"),
        *rest,
    ]


def dates(found: Found) -> list[Html]:
    """Return rows by month for each column of dates."""
    columns = [c for c in part(found, "profile").get("columns") or [] if c.get("months")]
    return [drawn for column in columns[:6] for drawn in _months(column)]


def _months(column: Mapping[str, Any]) -> list[Html]:
    known = column["months"]
    months = _all_months(min(known), max(known))
    by_year = len(months) > _MONTHS
    if by_year:
        years = sorted({m[:4] for m in months})
        counts = [sum(n for m, n in known.items() if m[:4] == year) for year in years]
        names: Sequence[str] = years
    else:
        counts, names = [known.get(m, 0) for m in months], months
    every = max(1, -(-len(names) // 6))
    ticks = [((i + 0.5) / len(names), name) for i, name in enumerate(names) if i % every == 0]
    words = f"Rows by {'year' if by_year else 'month'}, from {column.get('first')} to {column.get('last')}."
    if unreadable := amount(column.get("unreadable")):
        words += f" {unreadable:,.0f} values are no date that can be read in one way."
    return [tag("h3", tag("code", column["name"]), class_="sub"), columns_chart(counts, ticks=ticks, words=words)]


@functools.lru_cache(maxsize=32)
def _all_months(first: str, last: str) -> tuple[str, ...]:
    start, end = (int(m[:4]) * 12 + int(m[5:7]) - 1 for m in (first, last))
    return tuple(f"{i // 12:04}-{i % 12 + 1:02}" for i in range(start, end + 1))


def columns(found: Found) -> list[Html]:
    """Return what every other column holds."""
    known = part(found, "profile").get("columns") or []
    if not known:
        return []
    rows = []
    for column in known[:_COLUMNS]:
        common = "; ".join(f"{v['value']} ({percent(amount(v['share']))})" for v in (column.get("common") or [])[:3])
        if column.get("months"):
            common = f"{column.get('first')} to {column.get('last')}"
        distinct = f"{amount(column.get('distinct')):,.0f}" + ("+" if column.get("more_distinct") else "")
        rows.append([tag("code", column["name"]), column.get("kind"), Cell(percent(amount(column.get("filled"))), amount(column.get("filled"))),
                     Cell(distinct, amount(column.get("distinct"))), Cell(common or "–", class_="long")])  # fmt: skip
    heads = [Column("Column"), Column("Holds"), Column("Filled", True), Column("Values", True), Column("Most often")]
    more = [tag("p", f"and {len(known) - _COLUMNS} more columns.")] if len(known) > _COLUMNS else []
    return [table("The columns the task does not read", heads, rows, sortable=True, hide_caption=True), *more]


def files(found: Found) -> list[Html]:
    """Return what was read, with hashes, and versions."""
    known = [f for f in found.get("files") or [] if isinstance(f, Mapping)]
    parts: list[Html] = []
    if known:
        rows = [
            [f.get("name"), f.get("role") or "", count(f.get("rows")), tag("code", str(f.get("sha256") or "")[:16])]
            for f in known
        ]
        heads = [Column("File"), Column("Read as"), Column("Rows", True), Column("sha256, first 16")]
        parts.append(table("Files read", heads, rows, hide_caption=True))
    versions = part(found, "versions")
    pairs = [(str(name), str(value)) for name, value in versions.items()] if isinstance(versions, Mapping) else []
    return [
        *parts,
        definitions([("recognised as", found.get("recognised_as")), ("fingerprint", found.get("fingerprint")), *pairs]),
    ]
