"""The part of the report on changed texts: what a change that should not matter did to the answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from luthier.evaluate.report.engineer import place
from luthier.evaluate.report.html import DASH, Cell, Column, Html, count, interval, joined, number, table, tag
from luthier.evaluate.report.plots import Figure
from luthier.evaluate.robust.named import what


def robust(record: Mapping[str, Any], plots: dict[str, Figure]) -> list[Html]:
    """Return a table of changes and one of swapped identities, each with rows whose answer changed to unfold."""
    del plots
    found = record.get("robust")
    if not found or not (found["changes"] or found["swaps"]):
        return []
    said = f"{found['rows']} test rows, picked by chance, each changed in every way that applies to it."
    if not any("stable" in one for one in found["changes"].values()):  # of written answers
        return [tag("p", f"{said} The answers are held against the wanted ones as before."), *_prompts(found)]
    return [tag("p", said), *_changes(found), *_negation(found), *_swaps(found)]


def _prompts(found: Mapping[str, Any]) -> list[Html]:
    """Return what became of written answers where the prompt was changed."""
    columns = [Column("Change"), Column("Rows", True), Column("Applies to", True), Column(f"{found['metric']} unchanged", True),
               Column("changed", True), Column("95 % interval", True)]  # fmt: skip
    body: list[list[object]] = [
        [Cell(tag("span", name, tag("small", what(name))), name), count(one["rows"]), _share(one.get("applies")), number(one["unchanged"]),
         number(one["robust"]), interval(one["robust"])]
        for name, one in found["changes"].items()
    ]  # fmt: skip
    parts: list[Html] = [table("Prompts changed in ways that should not matter", columns, body, sortable=True)]
    return parts + [_shown(name, one["shown"], title="answers that lost most") for name, one in found["changes"].items() if one["shown"]]


def _changes(found: Mapping[str, Any]) -> list[Html]:
    columns = [Column("Change"), Column("Rows", True), Column("Applies to", True), Column("Answered alike", True), Column("95 % interval", True),
               Column(f"{found['metric']} unchanged", True), Column("changed", True)]  # fmt: skip
    body: list[list[object]] = [
        [Cell(tag("span", name, tag("small", what(name))), name), count(one["rows"]), _share(one.get("applies")), number(one["stable"]), interval(one["stable"]),
         number(one["unchanged"]), number(one["robust"])]
        for name, one in found["changes"].items()
    ]  # fmt: skip
    parts: list[Html] = [table("Changes that should not matter", columns, body, sortable=True)] if body else []
    by = found.get("paraphrased") or {}
    if by.get("failed"):
        parts.append(tag("p", tag("strong", f"Nothing was said in other words: {by['failed']}.")))
    elif by and "paraphrase" in found["changes"]:
        parts.append(tag("p", f"Paraphrases are by {by['by']}."))
    return parts + [_shown(name, one["shown"]) for name, one in found["changes"].items() if one["shown"]]


def _share(value: float | None) -> Cell:
    return Cell(DASH) if value is None else Cell(f"{value:.0%}", value)


def _negation(found: Mapping[str, Any]) -> list[Html]:
    """Return how many answers turn with a text that is turned round, and texts of both kinds."""
    one = found.get("negation")
    if not one:
        return []
    columns = [Column("A “not” was"), Column("Rows", True), Column("Answered otherwise", True), Column("95 % interval", True)]
    body: list[list[object]] = [[Cell(kind, kind), count(v["rows"]), number(v["flipped"]), interval(v["flipped"])] for kind, v in one["kinds"].items()]
    body.append([Cell("either", "either"), count(one["rows"]), number(one["flipped"]), interval(one["flipped"])])
    said = (
        f"Of {one['of']} texts {one['rows']} could be turned round by rule, by putting a “not” in or taking one out. What such a text is about may stay "
        "the same, as in a queue for messages; what it says does not, as in a review. Which is right is for you to say."
    )
    parts = [tag("p", said), table("Texts turned round", columns, body, sortable=True)]
    return parts + [_turned(name, rows) for name, rows in one["shown"].items() if rows]


def _turned(name: str, rows: list[Mapping[str, Any]]) -> Html:
    columns = [Column("Text"), Column("Turned round"), Column("Answer before"), Column("and after"), Column("True"), Column("Where")]
    body = [[Cell(r["text"], class_="long"), Cell(r["turned"], class_="long"), r["before"], r["after"], r["target"],
             Cell(tag("code", f"{r['file']}:{r['line']}"))] for r in rows]  # fmt: skip
    title = {"flipped": "Answers that turned with the text", "stayed": "Answers that stayed"}[name]
    return tag("details", tag("summary", title), table(title, columns, body, hide_caption=True))


def _swaps(found: Mapping[str, Any]) -> list[Html]:
    if not found["swaps"]:
        return [tag("p", "No test row names a person's gender, origin, religion or the like, so swaps of them could not be tried.")]
    columns = [Column("Swapped"), Column("Rows", True), Column("Swaps", True), Column("Answered alike", True),
               Column("95 % interval", True), Column("Most changed by")]  # fmt: skip
    body: list[list[object]] = []
    for family, one in found["swaps"].items():
        most = max(one["by_word"], key=lambda w: w["changed"] / w["swaps"])
        word = f"{most['word']} ({most['changed']} of {most['swaps']})" if most["changed"] else "–"
        body.append([Cell(family, family), count(one["rows"]), count(one["swaps"]), number(one["stable"]), interval(one["stable"]), Cell(word)])
    said = "Few words stand for each family: a dependence that is found is real, one that is not found may still be there."
    parts = [table("Identities swapped for each other", columns, body, sortable=True), tag("p", said)]
    return parts + [_shown(family, one["shown"]) for family, one in found["swaps"].items() if one["shown"]]


def _shown(name: str, rows: list[Mapping[str, Any]], *, title: str = "answers that changed") -> Html:
    columns = [Column("Changed text"), Column("Answer before"), Column("and after"), Column("True"), Column("Where")]
    body = [[Cell(r["text"], class_="long"), r["before"], r["after"], r["target"], Cell(tag("code", f"{r['file']}:{r['line']}"))] for r in rows]
    return tag("details", tag("summary", f"{title.capitalize()}: {name}"), table(f"{name}: {title}", columns, body, hide_caption=True))


def cases(record: Mapping[str, Any], plots: dict[str, Figure]) -> list[Html]:
    """Return the functional tests by ability, the weakest first, with tests that failed."""
    del plots
    found = record.get("cases")
    if not found:
        return []
    said = f"{found['tests']} functional tests, of which {found['value']:.1%} are answered right."
    columns = [Column("Ability"), Column("Tests", True), Column("Right", True), Column("95 % interval", True), Column("A test that failed")]
    body: list[list[object]] = []
    for one in found["abilities"]:
        failed = one["failed"][0] if one["failed"] else None
        shown = Cell("–")
        if failed:
            where = tag("code", place(failed)) if failed.get("file") else ""
            shown = Cell(joined([f"{failed['text']} → {failed['given']}, not {failed['target']} ", where]), class_="long")
        body.append([Cell(one["ability"], one["ability"]), count(one["tests"]), number(one), interval(one), shown])
    return [tag("p", said), table("Abilities, the weakest first", columns, body, sortable=True)]
