"""Look at rows and say what they could teach: objective and columns, by name first and then by shape."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from luthier.base.errors import DataError, Fault
from luthier.base.records import Row
from luthier.data.shapes.guess_columns import LABEL, TEXT, Found, Shape, best_of, shapes_of
from luthier.data.shapes.guess_judged import judged
from luthier.data.shapes.guess_ranked import ranked
from luthier.data.sources import kind_of, read_rows
from luthier.data.sources.origins import Origin

ROWS = 2_000
_MOST_ROWS = 100_000
_FILES = 8

# In the order of trust: of two columns that fit, the one whose name stands first is taken.
_PROMPT = (
    "prompt", "instruction", "question", "query", "input", "dialogue", "dialog", "source", "document", "article",
    "original", "text", "context", "request",
)  # fmt: skip
_COMPLETION = (
    "completion", "response", "answer", "output", "reply", "summary", "translation", "target", "solution", "chosen",
)  # fmt: skip
_BY = (
    "customer", "user", "patient", "client", "group", "account", "author", "session", "conversation", "thread",
    "speaker", "subject", "person", "member", "household", "student", "device", "company",
)  # fmt: skip
# Beside a column named like a question, these hold answers even where few and short ones repeat.
_ASKED = ("prompt", "instruction", "question", "query", "request")
_ANSWERS = ("completion", "response", "answer", "output", "reply")
_PLAIN = ("text", "content")
_CHATS = ("messages", "conversations", "conversation", "dialogue", "turns")


@dataclass(frozen=True, slots=True)
class Guess:
    """What the rows look like; ``columns`` and ``by`` go into a task file as they stand, ``reasons`` say why."""

    objective: str
    columns: dict[str, str | list[str]]
    by: str | None
    label_counts: dict[str, int]
    reasons: list[str]
    rows_looked_at: int
    problems: list[Fault] = field(default_factory=list)


def guess(sources: Sequence[Path | Origin]) -> Guess:
    """Say objective and columns after a look at up to 2,000 rows spread over the files or other origins.

    Raises:
        DataError: no row could be read, or nothing in them looks like a task; the columns are listed.
    """
    faults: list[Fault] = []
    rows = _sample(sources, faults)
    names = [str(source.shown if isinstance(source, Origin) else source) for source in sources]
    if not rows:
        raise DataError.of(faults or [Fault("there are no rows to look at", ", ".join(names))])
    shapes = {shape.name: shape for shape in shapes_of(rows)}
    plain = all(kind_of(Path(name)) in (".txt", ".md") for name in names)
    found = (
        None if plain else ranked(shapes) or _talk(shapes) or judged(rows, shapes) or _named(shapes) or _shaped(shapes)
    )
    found = found or _plain(shapes, plain=plain)
    if found is None:
        listed = ", ".join(list(shapes)[:20])
        raise DataError(
            f"nothing here looks like a text with a label, or a prompt with an answer. Columns: {listed}.",
            where=names[0],
            mend="Write the task file by hand: data.columns says which column is what.",
        )
    objective, columns, reasons = found
    label = columns.get("label")
    counts = _count(rows, label) if objective == "classify" and isinstance(label, str) else {}
    used = {name for told in columns.values() for name in ([told] if isinstance(told, str) else told)}
    # A query's rows stay together anyway, and a user's are divided by time.
    by = None if objective == "rank" else _group(shapes, used)
    if by:
        reasons.append(f'"{by}" repeats: its rows stay on one side of the split')
    return Guess(objective, columns, by, counts, reasons, len(rows), faults)


def _sample(sources: Sequence[Path | Origin], faults: list[Fault]) -> list[Row]:
    """Take rows evenly from the whole of each file: files sorted by label would show only one at their top."""
    taken: list[Row] = []
    sources = sources[:_FILES]
    share = ROWS // max(1, len(sources))
    for source in sources:
        rows = source.rows(faults=faults) if isinstance(source, Origin) else read_rows(source, faults=faults)
        kept: list[Row] = []
        step = 1
        for number, row in enumerate(islice(rows, _MOST_ROWS)):
            if number % step == 0:
                kept.append(row)
            if len(kept) > 2 * share:
                kept, step = kept[::2], step * 2
        taken += [kept[int(i * len(kept) / share)] for i in range(share)] if len(kept) > share else kept
    return taken


def _talk(shapes: dict[str, Shape]) -> Found | None:
    """Recognise the formats of conversations: pairs, answers marked good or bad, chats, Alpaca."""
    chats = [s for s in shapes.values() if s.chats and s.name not in ("chosen", "rejected")]
    chat = best_of(chats, _CHATS) or (chats[0] if chats else None)
    asked = {"messages": chat.name} if chat else _alpaca(shapes)
    reason = (
        f'"{chat.name}" holds conversations, turn by turn' if chat else "instruction is a column of the Alpaca format"
    )
    if {"chosen", "rejected"} <= shapes.keys() and shapes["rejected"].filled > shapes["rejected"].rows / 2:
        prompt = next((s.name for s in shapes.values() if s.name in _ASKED), None)
        if not asked and prompt:
            asked = {"prompt": prompt}
        columns: dict[str, str | list[str]] = {**(asked or {}), "chosen": "chosen", "rejected": "rejected"}
        return "prefer", columns, ["chosen and rejected hold a better and a worse answer"]
    answer = {} if chat else _answer_column(shapes)
    if asked is None and answer and "prompt" in shapes:
        asked = {"prompt": "prompt"}
    flag = next((name for name in ("kto_tag", "label") if name in shapes and shapes[name].flags), None)
    if flag and asked and (chat or answer):
        return "prefer", {**asked, **answer, "label": flag}, [f'"{flag}" says which answers are good']
    if asked and (chat or answer.get("completion") == "output"):
        return "generate", {**asked, **answer}, [reason]
    return None


def _alpaca(shapes: dict[str, Shape]) -> dict[str, str] | None:
    if "instruction" not in shapes or not shapes["instruction"].filled:
        return None
    more: dict[str, str] = {what: what for what in ("input", "system", "history") if what in shapes}
    return {"prompt": "instruction", **more}


def _answer_column(shapes: dict[str, Shape]) -> dict[str, str]:
    name = next((n for n in ("output", "completion") if n in shapes and shapes[n].filled), None)
    return {"completion": name} if name else {}


def _plain(shapes: dict[str, Shape], *, plain: bool) -> Found | None:
    """Take text alone as text to go on learning a language from."""
    texts = [s for s in shapes.values() if s.name.lower() in _PLAIN and (plain or s.is_text)]
    if not texts:
        return None
    return "text", {"text": texts[0].name}, [f'"{texts[0].name}" holds text, and nothing here is a label or an answer']


def _named(shapes: dict[str, Shape]) -> Found | None:
    """Decide by names, where the shapes agree with them; a label is looked for before an answer."""
    texts = [s for s in shapes.values() if s.is_text and not s.is_label]
    labels = [s for s in shapes.values() if s.is_label]
    label = best_of(labels, LABEL)
    text = best_of((s for s in texts if s is not label), TEXT)
    asks = any(s.name.strip().lower() in _ASKED for s in texts)
    short = [s for s in shapes.values() if asks and s.name.strip().lower() in _ANSWERS and s.filled > s.rows / 2]
    answer = best_of(texts + [s for s in short if s not in texts], _COMPLETION)
    asked = best_of((s for s in texts if s is not answer), _PROMPT)
    pair = answer is not None and asked is not None
    # "question, answer, type" is a pair with a remark, "text, label, answer" a labelled text: the text's name decides.
    text_like = text is not None and (not pair or text.name != asked.name)  # type: ignore[union-attr]
    if label is not None and text is not None and (not pair or text_like):
        return _labelled(text, label, f'"{label.name}" is named like a label and has {label.distinct} values')
    if pair:
        return _answered(asked, answer, "named like a prompt and its answer")  # type: ignore[arg-type]
    if label is not None and texts:
        longest = max((s for s in texts if s is not label), key=lambda s: s.chars)
        return _labelled(longest, label, f'"{label.name}" is named like a label and has {label.distinct} values')
    return None


def _shaped(shapes: dict[str, Shape]) -> Found | None:
    """Decide by shape: few different short values are a label, the longest varied column is the text."""
    texts = sorted((s for s in shapes.values() if s.is_text and not s.is_label), key=lambda s: -s.chars)
    if not texts:
        return None
    text = best_of(texts, TEXT) or texts[0]
    labels = sorted(
        (s for s in shapes.values() if s.is_label and s is not text), key=lambda s: (s.numbers > 0.5, s.distinct)
    )
    if labels:
        return _labelled(text, labels[0], f'"{labels[0].name}" has only {labels[0].distinct} short values')
    long = [s for s in shapes.values() if s in texts and s.words >= 3]
    if len(long) == 2:
        return _answered(long[0], long[1], "the two columns of text, in the order of the file")
    return None


def _labelled(text: Shape, label: Shape, why: str) -> Found:
    reasons = [why, f'"{text.name}" holds varied text, {text.words:.0f} words on average']
    return "classify", {"text": text.name, "label": label.name}, reasons


def _answered(asked: Shape, answer: Shape, why: str) -> Found:
    columns: dict[str, str | list[str]] = {"prompt": asked.name, "completion": answer.name}
    reasons = [f'"{asked.name}" and "{answer.name}" are {why}']
    if "summary" in answer.name.lower():
        reasons.append(
            f"objective: extract would choose sentences instead: columns: {{text: {asked.name}, summary: {answer.name}}}"
        )
    return "generate", columns, reasons


def _group(shapes: dict[str, Shape], used: set[str]) -> str | None:
    groups = [s for s in shapes.values() if s.name not in used and s.is_group and s.words < 4 and not s.chats]
    best = best_of(groups, _BY)
    return best.name if best else None


def _count(rows: Sequence[Row], name: str) -> dict[str, int]:
    labels = (str(row.values.get(name)).strip() for row in rows if row.values.get(name) is not None)
    return dict(Counter(label for label in labels if label).most_common())
