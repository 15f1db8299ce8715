"""What training will see, before it starts: token lengths against the model's limit, and the first rows as tokens."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from luthier.base.errors import Fault, LuthierError, ModelError
from luthier.base.inputs import is_labelled
from luthier.base.records import Example
from luthier.data.prepare import Prepared
from luthier.data.profile.counts import Spread, scatter
from luthier.data.report import input_text
from luthier.data.split import SIDES
from luthier.models.tokens import Tokens, open_tokens
from luthier.prompts.preview import IN_WINDOWS, WHOLE, Encode, encoder, joined, label_encoder, pieces
from luthier.spec.load import TaskFile
from luthier.spec.task import Task

MAX_ROWS = 20_000
# A chat template is rendered three times a row: about 0.7 ms each, whatever the length.
MAX_CHATS = 5_000
# Of long texts fewer rows are enough, and a check must stay quick.
MAX_CHARS = 6_000_000
_PROBED = 200
_ANSWERS = frozenset({"generate", "prefer"})


def preview(file: TaskFile, data: Prepared, *, rows: int = 5) -> dict[str, Any]:
    """Return token lengths of an even sample and the first ``rows`` of each side as the model will see them.

    Opens the base model's tokenizer and configuration, never its weights. Where that fails, the result is
    ``{"unknown": {what, where, mend}}``, because a check of the data should not end with it.
    """
    began = time.monotonic()
    task = file.task
    objective = task.task.objective
    try:
        tokens = open_tokens(
            task.base, folder=file.folder, revision=task.model.revision, max_tokens=task.model.max_tokens
        )
        if objective in _ANSWERS and not (tokens.decodes or (objective == "generate" and tokens.reads == "seq2seq")):
            raise ModelError(f"{tokens.name} reads text but does not write it", where="model.base",
                             mend=f"`{objective}` needs a decoder such as Llama, Qwen or GPT-2.")  # fmt: skip
        encode, whole = (_encoder(task, data, tokens, limit) for limit in (tokens.max_tokens, WHOLE))
        if encode is None or whole is None:
            raise ModelError(f"rows of the objective {objective} are not shown as tokens yet")
        found = {
            "base": tokens.name,
            "max_tokens": tokens.max_tokens,
            "model_limit": tokens.limit,
            "lengths": _lengths(
                data, whole, WHOLE if objective in IN_WINDOWS else tokens.max_tokens, apart=tokens.reads == "seq2seq"
            ),
            "sides": {
                side: _first(_side(data, side)[:rows], encode, whole, tokens) for side in SIDES if _side(data, side)
            },
        }
    except LuthierError as problem:
        return {"unknown": problem.faults[0].as_dict()}
    return {**found, "seconds": round(time.monotonic() - began, 2)}


def _encoder(task: Task, data: Prepared, tokens: Tokens, limit: int) -> Encode | None:
    model = task.model
    if model.pooling == "label-scoring":
        return label_encoder(tokens.tokenizer, model.question, data.labels, template=model.template, max_tokens=limit)
    return encoder(
        task.task.objective,
        tokens.tokenizer,
        template=model.template,
        max_tokens=limit,
        reads=tokens.reads,
        items=data.items,
    )


def _side(data: Prepared, side: Any) -> Sequence[Example]:
    return data.side(side)


def _first(rows: Sequence[Example], encode: Encode, whole: Encode, tokens: Tokens) -> list[dict[str, Any]]:
    shown = []
    for example in rows:
        refused = None
        try:
            encoded, full = encode(example), whole(example)
        except LuthierError as problem:
            encoded = full = None
            refused = problem.faults[0].what
        labelled = is_labelled(example)
        shown.append({
            "where": str(example.source),
            "label": str(example.target) if labelled and example.target is not None else None,
            "tokens": [] if encoded is None else pieces(tokens.tokenizer, encoded),
            "length": 0 if full is None else len(joined(full)),
            "cut": 0 if full is None or encoded is None else max(0, len(joined(full)) - len(joined(encoded))),
            "left_out": encoded is None,
            "refused": refused,
        })  # fmt: skip
    return shown


def _lengths(data: Prepared, whole: Encode, limit: int, *, apart: bool) -> dict[str, Any]:
    """Return the spread of token lengths, and how many rows would be cut or, for answers that do not fit, left out.

    ``apart``: prompt and answer are two texts, each with the whole limit to itself.
    """
    total = sum(len(_side(data, side)) for side in SIDES)
    spread, sizes, answers, refused = Spread(), [], [], Fault("")
    unrendered = 0
    for example in _sample(data, total):
        try:
            encoded = whole(example)
        except LuthierError as problem:  # a chat template may refuse a conversation
            unrendered, refused = unrendered + 1, problem.faults[0]
            refused = Fault(refused.what, str(example.source), refused.mend)
            continue
        if encoded is not None:
            sizes.append(encoded.longest)
            answers.append(max(sum(part.learn) for part in (encoded, *encoded.others)))
    spread.add(sizes)
    lengths, answer_lengths = np.asarray(sizes), np.asarray(answers)
    too_long = answer_lengths >= limit + apart if answer_lengths.any() else np.zeros(len(lengths), dtype=bool)
    cut = (lengths > limit) & ~too_long if len(lengths) else too_long
    seen = len(sizes) + unrendered

    def scaled(rows: int) -> dict[str, Any]:
        share = rows / seen if seen else 0.0
        return {"share": round(share, 5), "rows": round(share * total)}

    found = spread.result()
    return {
        **{name: found[name] for name in ("median", "p95", "max", "histogram")},
        "rows": total,
        "looked_at": seen,
        "cut": scaled(int(cut.sum())),
        "left_out": scaled(int(too_long.sum())),
        "refused": scaled(unrendered) | {"fault": refused.as_dict()} if unrendered else None,
    }


def _sample(data: Prepared, total: int) -> Iterator[Example]:
    """Yield evenly spaced rows of all sides: at most 20,000, and fewer where texts are long."""
    if not total:
        return
    probed = [_side(data, side)[i] for side in SIDES for i in _evenly(len(_side(data, side)), _PROBED)]
    mean = sum(len(input_text(e)) + len(str(e.target)) for e in probed) / len(probed)
    most = MAX_CHATS if any("messages" in e.inputs for e in probed) else MAX_ROWS
    share = min(1.0, most / total, MAX_CHARS / (mean + 1) / total)
    for side in SIDES:
        rows = _side(data, side)
        if share == 1.0:
            yield from rows
        else:
            yield from (rows[i] for i in _evenly(len(rows), max(1, int(share * len(rows)))))


def _evenly(length: int, count: int) -> list[int]:
    """Return one position from each of ``count`` equal stretches; which one differs, because files often have a rhythm."""
    count = min(length, count)
    if not count:
        return []
    starts = [i * length // count for i in range(count + 1)]
    return [low + scatter(i) % (high - low) for i, (low, high) in enumerate(pairwise(starts))]
