"""Turn what people said of predictions into a source file for the next round."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from luthier.base.errors import LuthierError
from luthier.base.files import write_jsonl
from luthier.base.inputs import text_name
from luthier.base.records import Example, Source
from luthier.data import dedupe
from luthier.data.personal import mask
from luthier.ledger.answers import MENDED, given, read, written
from luthier.ledger.entries import Feedback, KeptPrediction
from luthier.ledger.store import Ledger
from luthier.spec.objective import ANSWERING

NO_ANSWER = "nobody said what is right"
OTHER_OBJECTIVE = "of another objective"
PEOPLE_DISAGREE = "people disagree"
SAID_AGAIN = "said again later"
IN_TEST = "equal to a test row"
KNOWN = "in the source already"
NOT_A_PROMPT = "a conversation, where the source has prompts"
NO_COLUMN = "a label that the source has no column for"
NOBODY = "nobody to give the item to: neither a query nor a user"
NO_BETTER = "no better answer than the model's"


@dataclass(frozen=True, slots=True)
class Harvest:
    """What came of it: rows ``written`` to ``path``, rows ``dropped`` by reason, ``personal`` data masked by kind.

    ``kinds`` counts the written rows that are a correction or a confirmation.
    """

    written: int
    dropped: Mapping[str, int]
    path: Path
    personal: Mapping[str, int]
    kinds: Mapping[str, int]

    def as_dict(self) -> dict[str, Any]:
        return {
            "written": self.written,
            "dropped": dict(self.dropped),
            "path": str(self.path),
            "personal": dict(self.personal),
            "kinds": dict(self.kinds),
        }


@dataclass(frozen=True, slots=True)
class _Said:
    """One judged prediction: its inputs in the form of the objective, what the model said, and what a person says.

    ``right`` is None where the person gave no answer; ``refuted`` tells that they called the model's answer wrong. Of a list of
    items each item that is right is one of these, since one does not contradict another.
    """

    inputs: Mapping[str, Any]
    was: str
    right: str | None
    refuted: bool
    prediction: KeptPrediction
    feedback: Feedback

    @property
    def kind(self) -> str:
        return "confirmation" if self.right == self.was else "correction"

    @property
    def key(self) -> str:
        """What the row is told apart by: its input, and of a query or a user the item as well."""
        return dedupe.key(Example("", self.inputs, self.right, Source("", 0)))

    @property
    def asked(self) -> str:
        """What a test row is told by: its input alone."""
        return dedupe.key(Example("", self.inputs, None, Source("", 0)))


def harvest(
    ledger: Ledger,
    out: Path,
    *,
    objective: str,
    since: str | None = None,
    test_keys: AbstractSet[str] = frozenset(),
    known: Mapping[str, str] | None = None,
    columns: Mapping[str, Any] | None = None,
    scales: Mapping[str, Sequence[float]] | None = None,
    of_choice: Callable[[str], Mapping[str, Any]] | None = None,
) -> Harvest:
    """Write corrections, and confirmations of labels, scores and sentences too, as JSONL that the data room reads like any file.

    Only the latest feedback of each prediction counts. Where one text got different answers from different people (or
    from people without a name), none is taken; a named person's later answer replaces the same person's earlier one.
    A text is held against ``test_keys`` and ``known`` both as it was said and as it is written, because a row harvested
    before stands in the source with its personal data masked.

    Args:
        out: the file, written whole or not at all; an older one of that name is replaced.
        since: only what was said then or later (ISO 8601; UTC where no zone is given).
        test_keys: ``dedupe.key`` of the test rows without their targets.
        known: target, as :func:`luthier.ledger.answers.written` has it, by ``dedupe.key`` of the rows that the source has
            already; a correction of one of them is kept.
        columns: the task's ``data.columns``, so that the file fits the source it is added to.
        scales: lowest, highest and step of scores, by trait: what was only confirmed is given as people give it, to the next step.
        of_choice: what the source says beside an item that was chosen (``relevance``, ``time``), from the time of the feedback (ISO 8601, UTC).
    Raises:
        LuthierError: nothing is harvested for ``objective``, ``since`` is no date, the ledger cannot be read.
        StorageError: the file cannot be written.
    """
    if objective not in MENDED:
        mend = f"It is done for {', '.join(MENDED[:-1])} and {MENDED[-1]}."
        raise LuthierError(f'nothing is harvested for "{objective}"', where="task.objective", mend=mend)
    dropped: Counter[str] = Counter()
    personal: Counter[str] = Counter()
    chosen: list[_Said] = []
    for said in _agreed(_judged(ledger, objective, since, columns or {}, scales or {}, dropped), dropped):
        masked, found = _masked(said)
        keys = {said.key, masked.key}
        if {said.asked, masked.asked} & test_keys:
            dropped[IN_TEST] += 1
        elif any((known or {}).get(key) == masked.right for key in keys):
            dropped[KNOWN] += 1
        else:
            chosen.append(masked)
            personal += found
    chosen, rows = _rows(chosen, objective, columns or {}, dropped, of_choice or _nothing)
    write_jsonl(out, rows)
    kinds = Counter(said.kind for said in chosen)
    return Harvest(len(rows), dict(+dropped), out, dict(personal), dict(kinds))


def _judged(
    ledger: Ledger, objective: str, since: str | None, columns: Mapping[str, Any], scales: Mapping[str, Sequence[float]],
    dropped: Counter[str],
) -> list[_Said]:  # fmt: skip
    found = []
    for prediction, feedback in ledger.corrections(since):
        # What answers a prompt is harvested whichever way the model that wrote it was tuned.
        if prediction.objective != objective and not {prediction.objective, objective} <= ANSWERING:
            dropped[OTHER_OBJECTIVE] += 1
            continue
        inputs = _inputs(objective, prediction.inputs, columns)
        if text_name(inputs) is None and "messages" not in inputs:
            dropped[NOBODY] += 1
            continue
        was = given(objective, prediction.output)
        was = _stepped(was, scales) if objective == "grade" else was
        right = feedback.label if objective == "classify" else feedback.text
        # That a text is good says of no other that it is worse, and that a list is good not which of it is meant.
        if right is None and objective not in {*ANSWERING, "rank"} and feedback.rating == 1:
            right = was
        refuted = right is None and feedback.rating == -1
        said = _Said(inputs, was, right and right.strip(), refuted, prediction, feedback)
        found += [said] if objective != "rank" or right is None else [replace(said, right=item) for item in read("rank", right)]
    return found


def _inputs(objective: str, inputs: Mapping[str, Any], columns: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was asked under the name that the data room gives it; a list asked for by a history alone has none."""
    if objective in ANSWERING:
        return {"messages": _turns(inputs)}
    name = {"extract": "document", "rank": "user" if "user" in columns else "query"}.get(objective)
    return {name: inputs["text"]} if name and "text" in inputs else dict(inputs)


def _stepped(grades: str, scales: Mapping[str, Sequence[float]]) -> str:
    """Return a model's scores as a person would give them: to the next step of the scale, where one is told."""
    scores = {}
    for trait, score in read("grade", grades).items():
        low, high, step = scales.get(trait, (score, score, 0.0))
        scores[trait] = min(high, low + round((score - low) / step) * step) if step else score
    return written("grade", scores)


def _turns(inputs: Mapping[str, Any]) -> list[dict[str, str]]:
    turns = inputs.get("messages") or [{"role": "user", "content": inputs.get("text", "")}]
    # The data room leaves empty system turns out, so they may not make two keys of one prompt.
    return [turn for turn in turns if turn["content"].strip() or turn["role"] != "system"]


def _agreed(judged: Sequence[_Said], dropped: Counter[str]) -> Iterator[_Said]:
    """Yield one answer for each text that people agree on: the one said last."""
    by_key: dict[str, list[_Said]] = {}
    for said in judged:
        by_key.setdefault(said.key, []).append(said)
    for group in by_key.values():
        latest: dict[str | int, _Said] = {}
        for place, said in enumerate(group):
            # Without a name nobody can be told to be the same person, so each such answer stands for itself.
            voice = said.feedback.by or place
            latest.pop(voice, None)  # so that the order is that of speaking last
            latest[voice] = said
        voices = list(latest.values())
        dropped[NO_ANSWER] += sum(said.right is None for said in group)
        answered = [said for said in group if said.right is not None]
        rights = {said.right for said in voices if said.right is not None}
        if len(rights) > 1 or any(said.refuted and said.was in rights for said in voices):
            dropped[PEOPLE_DISAGREE] += len(answered)
        elif rights:
            dropped[SAID_AGAIN] += len(answered) - 1
            yield [said for said in voices if said.right is not None][-1]
        else:
            # Who answered took it back later without saying what is right instead.
            dropped[NO_ANSWER] += len(answered)


def _masked(said: _Said) -> tuple[_Said, Counter[str]]:
    """Mask personal data in all that is written; what is counted is the text and the answer."""
    found: Counter[str] = Counter()

    def clean(text: str) -> str:
        masked, kinds = mask(text)
        found.update(kinds)
        return str(masked)

    if "messages" in said.inputs:
        turns = [{**turn, "content": clean(turn["content"])} for turn in said.inputs["messages"]]
        right, was = clean(said.right or ""), mask(said.was)[0]
        return replace(said, inputs={"messages": turns}, right=right, was=was), found
    name = text_name(said.inputs)
    if name is None or name == "user":
        # A user's name must be the one that the source has.
        return said, found
    masked = replace(said, inputs={name: clean(said.inputs[name])})
    if name == "document":
        # Sentences are counted with the document that they stand in.
        masked = replace(masked, right=mask(said.right or "")[0], was=mask(said.was)[0])
    return masked, found


def _rows(
    chosen: Sequence[_Said], objective: str, columns: Mapping[str, Any], dropped: Counter[str], of_choice: Callable[[str], Mapping[str, Any]]
) -> tuple[list[_Said], list[dict[str, Any]]]:
    """Lay answers out in the columns of the source; all rows of a file have one shape, because a column map has one."""
    if objective not in ANSWERING:
        laid = [(said, _cells(objective, said, columns, of_choice)) for said in chosen]
        fit = [(said, cells) for said, cells in laid if cells is not None]
        if len(fit) < len(laid):
            dropped[NO_COLUMN] += len(laid) - len(fit)
        return [said for said, _ in fit], [_row(said, cells) for said, cells in fit]
    if objective == "prefer":
        better = [said for said in chosen if said.kind == "correction"]
        dropped[NO_BETTER] += len(chosen) - len(better)
        chosen = better
    plain = [said for said in chosen if [turn["role"] for turn in said.inputs["messages"]] == ["user"]]
    if "messages" in columns or (not columns and len(plain) < len(chosen)):
        return list(chosen), [_row(said, _talk(objective, said, columns)) for said in chosen]
    if len(plain) < len(chosen):
        dropped[NOT_A_PROMPT] += len(chosen) - len(plain)
    return plain, [
        _row(said, _named(columns, prompt=said.inputs["messages"][0]["content"], **_answers(objective, said))) for said in plain
    ]


def _answers(objective: str, said: _Said) -> dict[str, str | None]:
    """Return the right answer, or the better one and the model's own."""
    return {"chosen": said.right, "rejected": said.was} if objective == "prefer" else {"completion": said.right}


def _talk(objective: str, said: _Said, columns: Mapping[str, Any]) -> dict[str, Any]:
    """Return a conversation: with the right answer as its last turn, or with two answers beside it."""
    turns = said.inputs["messages"]
    if objective == "prefer":
        return _named(columns, messages=turns, **_answers(objective, said))
    return _named(columns, messages=[*turns, {"role": "assistant", "content": said.right}])


def _cells(objective: str, said: _Said, columns: Mapping[str, Any], of_choice: Callable[[str], Mapping[str, Any]]) -> dict[str, Any] | None:
    """Return a row in the source's own columns: of labels one, a list of them or a column of 0 and 1 for each, of scores a column for
    each trait, of sentences all in one summary.

    None where the source has no column for a label.
    """
    name = str(text_name(said.inputs))
    if objective == "rank":
        return _named(columns, **{name: said.inputs[name], "item": said.right}, **of_choice(said.feedback.at))
    asked, answer = _named(columns, text=said.inputs[name]), read(objective, said.right or "")
    if objective == "grade":
        return {**asked, **answer}
    if objective == "extract":
        summary = columns.get("summary", "summary")
        return {**asked, summary if isinstance(summary, str) else summary[0]: answer}
    flags = columns.get("label")
    if objective == "multilabel" and isinstance(flags, list | tuple):
        return {**asked, **{flag: int(flag in answer) for flag in flags}} if set(answer) <= set(flags) else None
    return {**asked, **_named(columns, label=answer)}


def _nothing(at: str) -> dict[str, Any]:
    return {}


def _named(columns: Mapping[str, Any], **content: Any) -> dict[str, Any]:
    """Return cells under the names that the source's columns have, where one column is told for them."""
    return {name if isinstance(name := columns.get(what), str) else what: value for what, value in content.items()}


def _row(said: _Said, content: Mapping[str, Any]) -> dict[str, Any]:
    trace = {
        "kind": said.kind,
        "was": said.was,
        "prediction_id": said.prediction.id,
        "bundle": said.prediction.bundle,
        "said_by": mask(said.feedback.by)[0] if said.feedback.by else None,
        "said_at": said.feedback.at,
    }
    # Where the source has a column called "kind" or "was", the content's name wins.
    return {**content, **{name: value for name, value in trace.items() if name not in content}}
