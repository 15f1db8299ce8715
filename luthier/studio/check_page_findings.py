"""What a check found, as findings in the order of their weight: what, why it matters, what to do, the line to copy."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

Level = Literal["stops", "grave", "look", "note"]
LEVELS: tuple[Level, ...] = ("stops", "grave", "look", "note")
Found = Mapping[str, Any]

_MANY_DROPPED, _MOST_DROPPED = 0.1, 0.3
_CUT, _CUT_MUCH = 0.01, 0.2
_OTHER_LANGUAGE = 0.02
_HTML = 0.01
_SPAN_DAYS = 60


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to know: ``what``, ``why`` it matters, what to ``do``, the task-file ``line`` to copy, ``where``, its ``topic``."""

    level: Level
    what: str
    why: str = ""
    do: str = ""
    line: str = ""
    where: str = ""
    topic: str = ""


@dataclass(frozen=True, slots=True)
class Topic:
    """What all findings of one kind share; ``says`` is how a warning of the data room is recognised."""

    says: str
    level: Level
    why: str
    line: str = ""


_LEAK = (
    "A model that has read a test row, or its like, knows the answer: the score would promise more than users will get."
)
TOPICS: dict[str, Topic] = {
    "leak of meaning": Topic(r"mean the same as a row of another split", "look", _LEAK),
    "near leak": Topic(r"(one or two words away from|almost the same as) a row of another split", "look", _LEAK, "data:\n  near: 0.8\n  leaks: fix"),
    "leak of a passage": Topic(r"made of a passage", "grave", _LEAK, "data:\n  split: {by: COLUMN}   # the column that names the passage"),
    "leak": Topic(r"(text|group) stands in|as new as the test rows|shared between splits", "grave", _LEAK, "data:\n  leaks: fix"),
    "answers that do not fit": Topic("", "grave", "A row whose answer does not fit is left out of training, and the model never learns to answer it."),
    "conversations refused": Topic("", "grave", "Training would stop at the first such row."),
    "rows cut": Topic("", "look", "What is cut is never read: if the telling words stand there, the label becomes a guess."),
    "token lengths": Topic("", "look", "Rows that are too long for the model would be cut, and nothing here can say how many."),
    "label errors": Topic(r"probable label errors", "grave",
                          "A wrong label teaches the wrong answer, and in the test it counts a right answer as a mistake."),
    "length or file": Topic(
        r"^the (file|length).* decides its label",
        "look",
        "What goes along with the label by chance is learnt in place of what it means.",
    ),
    "giveaway": Topic(r"gives itself away|nearly decides|decides the label|goes with column", "grave",
                      "The model will read this one sign and little else; where it is missing in real use, the model fails."),
    "two answers": Topic(r"told again with another", "grave", "The same input cannot have two right answers: one of them teaches noise."),
    "labels alike": Topic(r"differ only in how they are written", "grave",
                          "One class counted as two: each has fewer rows than it could, and half of the right answers count as wrong."),
    "label never trained": Topic(r"no train rows", "grave", "The model cannot give a label it has never seen."),
    "too many labels": Topic(r"different labels in", "grave", "A column with nearly as many values as rows is no label."),
    "few rows": Topic(r"fewer than \d+ train rows", "look", "From a handful of rows a model learns their wording, not their meaning."),
    "no test rows": Topic(r"no test rows", "look", "Nothing will be known of it afterwards."),
    "few test rows": Topic(r"only \d+ test rows", "look", "The difference between a good and a bad model may be luck."),
    "imbalance": Topic(r"train rows and \".*\" has \d+", "look", "A model that always says the largest label looks good by accuracy.",
                       "data:\n  balance: auto"),
    "no validation": Topic(r"no validation rows", "look", "Training runs to its last step, even where it got worse long before.",
                           "data:\n  split: {valid: 0.1}"),
    "same start": Topic(r"all texts start alike", "look", "Words that every row shares teach nothing and take room from those that do.",
                        "data:\n  clean: {boilerplate: true}"),
    "rows left out": Topic("", "look", "What is left out cannot be learnt, and a whole kind of row may be among it."),
    "personal data": Topic(r"^personal data", "look", "A model can repeat what it read, and its pages and logs travel.",
                           "data:\n  personal: mask"),
    "html": Topic(r"hold HTML", "look", "Tags take tokens and teach the markup of one source.", "data:\n  clean: {html: true}"),
    "encoding": Topic(r"look wrongly decoded", "look", "Characters decoded wrongly are words the model does not know.",
                      "data:\n  clean: {encoding: true}"),
    "boilerplate": Topic(r"hold signatures", "look", "Signatures and quoted mail can tell who wrote, and so give the label away.",
                         "data:\n  clean: {boilerplate: true}"),
    "white space": Topic(r"odd white space", "note", "Rows that differ in white space only are found as duplicates all the same.",
                         "data:\n  clean: {whitespace: true}"),
    "odd texts": Topic("", "look", ""),
    "undecoded": Topic("", "look", "What could not be decoded is lost, and the model reads a mark instead of a letter.",
                       "data:\n  encoding: cp1252   # or what the file was written in"),
    "languages": Topic("", "note", "A model tuned in one language answers worse in the others, and the test may not show it.",
                       "data:\n  clean: {language: LANGUAGE}"),
    "time": Topic("", "note", "Divided by lot, the test asks about days that training has seen; in use, only the future is asked.",
                  "data:\n  split: {time: COLUMN, test_from: DAY}"),
    "empty columns": Topic("", "note", "They cost reading and say nothing."),
}  # fmt: skip


def findings(found: Found) -> list[Finding]:
    """Return everything worth telling, the gravest first; what stops a run stands before all."""
    stops = [_of_fault(fault, "stops") for fault in found.get("stops") or [] if isinstance(fault, Mapping)]
    told = [_of_fault(fault, None) for fault in found.get("problems") or [] if isinstance(fault, Mapping)]
    topics = {finding.topic for finding in (*stops, *told)}
    for look in _LOOKS:
        told += [finding for finding in look(found) if finding.topic not in topics]
    order = {level: number for number, level in enumerate(LEVELS)}
    return [*stops, *sorted(told, key=lambda finding: order[finding.level])]


def _of_fault(fault: Mapping[str, Any], level: Level | None) -> Finding:
    what, where, mend = (str(fault.get(key) or "") for key in ("what", "where", "mend"))
    for name, topic in TOPICS.items():
        if topic.says and re.search(topic.says, what):
            line = "" if "allow" in what else topic.line
            return Finding(level or topic.level, what, topic.why, mend, line, where, name)
    return Finding(level or "look", what, "", mend, "", where)


def _made(topic: str, what: str, *, do: str = "", where: str = "") -> Finding:
    known = TOPICS[topic]
    return Finding(known.level, what, known.why, do, known.line, where, topic)


def part(found: Found, *names: str) -> Any:
    """Return a nested part, or an empty mapping where it or one above it is missing."""
    value: Any = found
    for name in names:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value if value is not None else {}


def amount(value: object) -> float:
    """Return a number, 0 where there is none."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) and value == value else 0.0


def percent(share: float) -> str:
    """Return a share as people read it, and never 0 % of something that is there."""
    size = 100 * share
    if 0 < size < 0.1:
        return "under 0.1\xa0%"
    return f"{size:.1f}\xa0%" if size < 10 and round(size, 1) != round(size) else f"{size:.0f}\xa0%"


def rows_word(rows: float) -> str:
    return f"{rows:,.0f} row{'' if rows == 1 else 's'}"


def _leaks(found: Found) -> Iterator[Finding]:
    words = {
        "exact": ("leak", "with their text in another split too"), "group": ("leak", "with their group in another split too"),
        "time": ("leak", "as new as the test rows"), "held_out": ("leak", "with their text in data.held_out"),
        "item": ("leak of a passage", "made of a passage that another split uses"), "near": ("near leak", "nearly the same as a row of another split"),
        "semantic": ("leak of meaning", "with the meaning of a row of another split"),
    }  # fmt: skip
    for kind, (topic, says) in words.items():
        if count := amount(part(found, "leaks").get(kind)):
            yield _made(
                topic, f"{rows_word(count)} {says}.", do="Look at the pairs, then let Luthier leave one side out."
            )


def _tokens(found: Found) -> Iterator[Finding]:
    seen = part(found, "preview")
    if unknown := part(found, "preview", "unknown"):
        yield _made(
            "token lengths", f"Token lengths are unknown: {unknown.get('what', '')}.", do=str(unknown.get("mend") or "")
        )
        return
    lengths, limit = part(seen, "lengths"), seen.get("max_tokens")
    refused = part(lengths, "refused")
    if refused:
        fault = part(refused, "fault")
        yield _made("conversations refused", f"{rows_word(amount(refused.get('rows')))}: {fault.get('what', '')}.",
                    do=str(fault.get("mend") or ""), where=str(fault.get("where") or ""))  # fmt: skip
    left_out, cut = part(lengths, "left_out"), part(lengths, "cut")
    if rows := amount(left_out.get("rows")):
        what = f"{rows_word(rows)} ({percent(amount(left_out.get('share')))}) with an answer that does not fit in {limit} tokens."
        yield replace(_made("answers that do not fit", what, do=_room(seen)), line=_longer(seen))
    share = amount(cut.get("share"))
    if rows := amount(cut.get("rows")):
        what = f"{rows_word(rows)} ({percent(share)}) longer than {limit} tokens, which would be cut."
        level: Level = "grave" if share >= _CUT_MUCH else "look" if share >= _CUT else "note"
        yield replace(_made("rows cut", what, do=_room(seen)), level=level, line=_longer(seen))


def _room(seen: Mapping[str, Any]) -> str:
    limit, built_for = amount(seen.get("max_tokens")), amount(seen.get("model_limit"))
    if built_for > limit:
        return f"The model was built for up to {built_for:,.0f} tokens: allow more (training then takes more time and memory), or shorten the texts."
    return "This is all the model was built for: shorten the texts, or choose a base with a longer reach."


def _longer(seen: Mapping[str, Any]) -> str:
    longest, limit, built_for = (
        amount(v) for v in (part(seen, "lengths").get("p95"), seen.get("max_tokens"), seen.get("model_limit"))
    )
    if built_for <= limit:
        return ""
    wanted = min(built_for, max(2 * limit, -(-longest // 64) * 64))
    return f"model:\n  max_tokens: {wanted:.0f}"


def _labels(found: Found) -> Iterator[Finding]:
    errors = part(found, "label_errors")
    if count := amount(errors.get("count")):
        share = errors.get("estimated_share")
        about = f" (about {percent(amount(share))} of all labels, by estimate)" if share else ""
        yield _made("label errors", f"{rows_word(count)} with a label that the other rows speak against{about}.",
                    do="Read the list, most suspicious first, and mend the source file.")  # fmt: skip
    for sign in (part(found, "giveaways") or [])[:5]:
        name = f'the column "{sign["column"]}"' if sign.get("column") else f'"{sign.get("token", "")}"'
        precise = amount(sign.get("precision", sign.get("accuracy")))
        if sign.get("what"):
            yield _made("giveaway", str(sign["what"]), do=str(sign.get("mend") or ""))
            continue
        yield _made("giveaway", f'{name} nearly decides the label "{sign.get("label", "")}": right in {percent(precise)} of its rows.',
                    do="Will it be there in real use? If not, take it out of the texts.")  # fmt: skip
    for group in part(found, "profile", "labels").get("alike") or []:
        names = ", ".join(f'"{name}" ({n:,})' for name, n in zip(group["labels"], group["rows"], strict=False))
        yield _made(
            "labels alike",
            f"Labels that differ only in how they are written: {names}.",
            do="Did you mean to merge them? Write them alike.",
        )


def _dropped(found: Found) -> Iterator[Finding]:
    dropped, rows = sum(amount(n) for n in part(found, "dropped").values()), amount(found.get("rows"))
    if rows and dropped / rows >= _MANY_DROPPED:
        made = _made("rows left out", f"{rows_word(dropped)} of {rows:,.0f} ({percent(dropped / rows)}) left out.",
                     do="See the reasons below.")  # fmt: skip
        yield replace(made, level="grave" if dropped / rows >= _MOST_DROPPED else "look")


def _personal(found: Found) -> Iterator[Finding]:
    kinds = {kind: amount(n) for kind, n in part(found, "personal").items() if amount(n)}
    if kinds:
        shown = ", ".join(f"{n:,.0f} {kind}" for kind, n in kinds.items())
        yield _made("personal data", f"Personal data in the texts: {shown}.", do="Replace it before training.")


_NO_WORDS = "A text without words teaches the model to guess."
_ODD_WHY = {
    "empty": _NO_WORDS, "one_character": _NO_WORDS, "no_letters": _NO_WORDS,
    "repeated": "A run of one character takes many tokens and says little.",
    "control": "Control characters come from a broken export; what stood around them may be broken too.",
    "private": "These characters mean something in one font only.",
    "long_word": "Words run together, or data that is no text, become many tokens without meaning.",
    "capitals": "Many models read capital letters as other words.",
}  # fmt: skip


def _texts(found: Found) -> Iterator[Finding]:
    odd = {item.get("kind"): item for item in part(found, "profile").get("odd") or []}
    if item := odd.get("replacement"):
        made = _made("undecoded", f"{rows_word(amount(item.get('rows')))} with the mark U+FFFD in place of a character.",
                     do="Say in which encoding the file was written.", where=_first_place(item))  # fmt: skip
        yield replace(made, level="grave" if amount(item.get("share")) >= _CUT else "look")
    for kind in _ODD_WHY:
        if item := odd.get(kind):
            made = _made(
                "odd texts", f"{rows_word(amount(item.get('rows')))}: {item.get('what')}.", where=_first_place(item)
            )
            few = amount(item.get("share")) < _CUT or kind in ("capitals", "long_word")
            yield replace(
                made,
                level="note" if few else "look",
                why=_ODD_WHY[kind],
                do="Look at the first ones in the table of odd texts.",
            )
    share = amount(part(found, "profile", "marks", "html").get("share"))
    if share >= _HTML:
        yield _made("html", f"{percent(share)} of the texts hold HTML.", do="Take the tags out.")


def _first_place(item: Mapping[str, Any]) -> str:
    examples = item.get("examples") or [{}]
    return str(examples[0].get("where") or "")


def languages_of(found: Found) -> dict[str, float]:
    """Return rows by language, most first, wherever the check put them."""
    counted = found.get("languages") or part(found, "profile").get("languages") or {}
    kept = {str(code): amount(n) for code, n in counted.items() if amount(n)} if isinstance(counted, Mapping) else {}
    return dict(sorted(kept.items(), key=lambda pair: -pair[1]))


def _languages(found: Found) -> Iterator[Finding]:
    counted = {code: n for code, n in languages_of(found).items() if code != "und"}
    total = sum(counted.values())
    others = [code for code, n in list(counted.items())[1:] if n / total >= _OTHER_LANGUAGE]
    if others:
        first = next(iter(counted))
        shown = ", ".join(f"{code} {percent(counted[code] / total)}" for code in (first, *others[:4]))
        made = _made(
            "languages",
            f"The texts are in several languages: {shown}.",
            do="Keep them if users write so too; else keep one.",
        )
        yield replace(made, line=made.line.replace("LANGUAGE", first))


def _columns(found: Found) -> Iterator[Finding]:
    columns = part(found, "profile").get("columns") or []
    idle = [c["name"] for c in columns if c.get("kind") in ("empty", "constant", "nearly constant")]
    if idle:
        shown = ", ".join(f'"{name}"' for name in idle[:6]) + (f" and {len(idle) - 6} more" if len(idle) > 6 else "")
        yield _made(
            "empty columns",
            f"Columns that are empty or hold one value nearly everywhere: {shown}.",
            do="They can be left out of the file.",
        )
    for column in columns:
        if (
            column.get("kind") == "dates"
            and len(column.get("months") or {}) * 30 > _SPAN_DAYS
            and not amount(part(found, "leaks").get("time"))
        ):
            made = _made("time", f'Rows run from {column["first"]} to {column["last"]} (column "{column["name"]}").',
                         do="If the model will meet newer texts than these, test it on the newest.")  # fmt: skip
            months = sorted(column["months"])
            line = made.line.replace("COLUMN", str(column["name"])).replace(
                "DAY", f"{months[-max(1, len(months) // 5)]}-01"
            )
            yield replace(made, line=line)
            return


_LOOKS: tuple[Callable[[Found], Iterator[Finding]], ...] = (
    _leaks, _labels, _tokens, _dropped, _personal, _texts, _languages, _columns,
)  # fmt: skip
