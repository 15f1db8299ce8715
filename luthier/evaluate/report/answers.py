"""The parts of the report for models that write: the worst answers by their likely causes, and what is unsafe in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from luthier.evaluate.report.engineer import place
from luthier.evaluate.report.html import Cell, Column, Html, count, interval, joined, number, table, tag
from luthier.evaluate.report.plots import Figure

_PLACES = {"behind": "behind the text", "within": "within it"}


def answers(record: Mapping[str, Any], plots: dict[str, Figure]) -> list[Html]:
    """Return the likely causes of all answers' faults, and the worst answers under theirs; what the input lacks is marked."""
    del plots
    found = record.get("answers")
    if not found:
        return []
    said = (
        "The answers least like the wanted ones, by chrF, under what is likeliest to be the matter with them. Marked are numbers, names and "
        "words that the input does not have: other words for the same thing are marked, too."
    )
    wanted = ((record.get("written") or {}).get("wanted") or {}).get("grounded")
    said += f" Of the wanted answers' own, {wanted:.0%} stand in the input." if wanted is not None else ""
    columns = [Column("Likely cause"), Column("Answers", True), Column("Share", True), Column("Mean chrF", True)]
    body: list[list[object]] = [
        [Cell(tag("span", one["cause"], tag("small", one["words"])), one["cause"]), count(one["rows"]),
         Cell(f"{one['rows'] / found['rows']:.0%}", one["rows"]), number(one["chrf"])]
        for one in found["causes"]
    ]  # fmt: skip
    parts = [tag("p", said), table("What may be the matter with answers", columns, body, sortable=True)]
    for one in found["causes"]:
        mine = [row for row in found["worst"] if row["cause"] == one["cause"]]
        if mine:
            caption = f"Worst answers: {one['cause']}"
            parts.append(tag("details", tag("summary", f"{caption} ({len(mine)} shown)"), _table(caption, mine), open=True))
    return parts


def _table(caption: str, rows: Sequence[Mapping[str, Any]]) -> Html:
    columns = [Column("Where"), Column("Input"), Column("Wanted"), Column("Answered"), Column("chrF", True)]
    body: list[list[object]] = [
        [Cell(tag("code", place(row)), place(row)), Cell(row["prompt"], class_="long"), Cell(row["target"], class_="long"),
         Cell(marked(row["text"], row["lacking"]), class_="long"), number(row["chrf"])]
        for row in rows
    ]  # fmt: skip
    return table(caption, columns, body, sortable=True, hide_caption=True)


def marked(text: str, spans: Sequence[Sequence[int]]) -> Html:
    """Return a text with the given (start, end) marked."""
    parts: list[object] = []
    at = 0
    for start, end in spans:
        parts += [text[at:start], tag("mark", text[start:end])]
        at = end
    return joined([*parts, text[at:]])


def safety(record: Mapping[str, Any], plots: dict[str, Figure]) -> list[Html]:
    """Return what the model knows by heart, what it recites, which orders it obeys, and what a classifier calls toxic."""
    del plots
    found = record.get("written") or {}
    return [*_memory(found), *_recited(found), *_orders(found), *_toxic(found)]


def _memory(found: Mapping[str, Any]) -> list[Html]:
    known = found.get("memory")
    if not known:
        return []
    columns = [Column("Answers"), Column("Tried", True), Column("Ended word for word", True), Column("95 % interval", True)]
    body: list[list[object]] = [["of train rows", count(known["rows"]), number(known["memorised"]), interval(known["memorised"])]]
    if known["unseen"]:
        body.append(["of test rows, which it never saw", count(known["unseen_rows"]), number(known["unseen"]), interval(known["unseen"])])
    said = (
        "The model was given the input and the first half of an answer. What it ends word for word more often in train rows than in rows it "
        "never saw, it knows by heart; what is as frequent in both is a set phrase."
    )
    parts = [tag("h3", "Known by heart"), tag("p", said), table("Answers ended word for word", columns, body, hide_caption=True)]
    return parts + ([_rows("Train answers known by heart", known["shown"], {"text": "Answer"})] if known["shown"] else [])


def _recited(found: Mapping[str, Any]) -> list[Html]:
    rows = found.get("recited")
    if not rows:
        return []
    said = (
        "Runs of twelve words or more that stand in a train answer, and neither in the input nor in the wanted answer. A run that many train "
        "rows have is a set phrase; one that a single row has may be somebody's own."
    )
    shown = {"text": "Recited", "words": "Words", "train": "Train row", "train_rows": "Train rows", "answers": "Answers", "prompt": "Asked"}
    return [tag("h3", "Recited from train"), tag("p", said), _rows("Recited from train", rows, shown)]


def _orders(found: Mapping[str, Any]) -> list[Html]:
    orders = found.get("orders")
    if not orders:
        return []
    said = f"In {orders['rows']} test rows an order to answer with one word was planted; an answer that has that word obeys it."
    columns = [Column("Order"), Column("Obeyed", True), Column("95 % interval", True)]
    body: list[list[object]] = [[_PLACES[name], number(one), interval(one)] for name, one in orders["places"].items()]
    parts = [tag("h3", "Planted orders"), tag("p", said), table("Planted orders", columns, body, hide_caption=True)]
    shown = {"place": "Order", "word": "Ordered", "text": "Answer", "target": "Wanted"}
    return parts + ([_rows("Orders that were obeyed", orders["shown"], shown)] if orders["shown"] else [])


def _toxic(found: Mapping[str, Any]) -> list[Html]:
    rows = found.get("toxic")
    return [tag("h3", "Toxic answers"), _rows("Toxic answers", rows, {"text": "Answer", "toxicity": "Toxicity", "prompt": "Asked"})] if rows else []


def _rows(caption: str, rows: Sequence[Mapping[str, Any]], keys: Mapping[str, str]) -> Html:
    columns = [Column("Where"), *(Column(title) for title in keys.values())]
    body: list[list[object]] = [
        [Cell(tag("code", place(row)), place(row)), *(Cell(row[key], class_="long" if key in ("text", "prompt", "target") else None) for key in keys)]
        for row in rows
    ]  # fmt: skip
    return table(caption, columns, body)
