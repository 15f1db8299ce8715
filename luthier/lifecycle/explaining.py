"""Look into the worst mistakes: embed them and the train rows by the tuned network, find the nearest, and say a likely cause."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from luthier.base.files import write_jsonl
from luthier.base.records import Example
from luthier.data.prepare import Prepared
from luthier.evaluate.answered import Answered
from luthier.evaluate.mistakes import asked, causes, start_of
from luthier.evaluate.mistakes.candidates import candidates
from luthier.evaluate.mistakes.near import Floats, Vectors
from luthier.evaluate.mistakes.ways import Way, way_of
from luthier.lifecycle import nearest
from luthier.lifecycle.round import Round
from luthier.release.predictor import Predictor

FILE = "mistakes.jsonl"
NEAR = 5
_OF_TRAIN = 8
_PIECE = 512
# So many rows that are right say how near a row usually is; this share of them is as far as `far`.
_USUAL, _FAR_SHARE = 500, 0.02
# As near as this, two texts differ in a few words.
_CLOSE = 0.9
_SHOWN = 5


def explain(round_: Round, data: Prepared, answered: Answered, found: Mapping[str, Any], predictor: Predictor) -> dict[str, Any]:
    """Write ``mistakes.jsonl`` into the run's folder and return ``causes`` for the report; nothing where nobody asked or can.

    One pass of the network over the train rows, of very many over a part of them (:mod:`luthier.evaluate.mistakes.candidates`), and none
    where they have a say in answers, so that their vectors are at hand; the vectors lie on disk.
    """
    most, learner = round_.file.task.evaluate.explain, predictor.learner
    if not most or not hasattr(learner, "head_features") or not len(data.train):
        return {}
    began, way = time.monotonic(), way_of(answered.objective, data.train)
    worst = way.ranked(answered.rows, answered.predictions, answered.labels)[:most] if way is not None else []
    if way is None or not worst:
        return {}
    right = _right(answered, [place for place, _ in worst], way)
    looked_at = [answered.rows[i] for i in (*(place for place, _ in worst), *right)]
    some = candidates([asked(row) for row in looked_at], data.train, text=asked)
    rows = [data.train[int(i)] for i in some]
    known = nearest.kept(predictor.learner, data.train)
    train = Vectors(_vectors(predictor, rows) if known is None else [known[some]])
    places, cosines = train.nearest(np.concatenate(list(_vectors(predictor, looked_at))), NEAR)
    usual = cosines[len(worst) :, 0]
    far, middle = (float(q) for q in np.quantile(usual, [_FAR_SHARE, 0.5])) if len(usual) >= 20 else (-1.0, _CLOSE)
    bounds = causes.Bounds(far, middle, way.close(_CLOSE, usual.tolist()), causes.rare_bound(way.counts))
    suspects = {(r["file"], r["line"]): r["suggested"] for r in (data.report.findings.get("label_errors") or {}).get("rows", ())}
    near = _Near(train, rows, way, suspects, places[: len(worst)])
    slices = [one["slice"] for one in (found.get("slices") or {}).get("worst", ())]
    seen = [_seen(answered, i, near, places[k], cosines[k], predictor, slices) for k, (i, _) in enumerate(worst)]
    found_rows = [
        {**mistake, "cause": names[0], "also": names[1:], "near": [near.shown(n) for n in one.near]}
        for (_, mistake), one, names in zip(worst, seen, causes.causes(seen, bounds), strict=True)
    ]
    write_jsonl(round_.folder / FILE, found_rows)
    round_.timed("explain", began)
    shown = min(_SHOWN, round_.file.task.evaluate.worst)
    return {"causes": {"looked_at": len(found_rows), "train_rows": len(data.train), "train_rows_read": len(rows), "file": FILE,
                       "groups": causes.grouped(found_rows, shown, way.words)}}  # fmt: skip


def _right(answered: Answered, wrong: Sequence[int], way: Way) -> list[int]:
    """Return the places of some rows that are right, evenly spread."""
    gone = set(wrong)
    fine = [i for i, p in enumerate(answered.predictions) if i not in gone and way.right(way.target(answered.rows[i]), p)]
    return fine[:: max(1, -(-len(fine) // _USUAL))]


def _vectors(predictor: Predictor, rows: Sequence[Example]) -> Iterator[Floats]:
    """Yield what the network's head reads of rows, some at a time and in their order."""
    from luthier.objectives.cut import gathered
    from luthier.objectives.encoder import Encoder

    learner: Any = predictor.learner
    learner.eval()
    for start in range(0, len(rows), _PIECE):
        encoded = [learner.encode_input(row.inputs, room=0) for row in rows[start : start + _PIECE]]
        vectors = gathered(encoded, learner.head_features)
        yield (learner.meaning(vectors) if isinstance(learner, Encoder) else vectors).numpy()


class _Near:
    """Train rows by number: their labels, and whether these look wrong beside the labels of their own neighbours."""

    def __init__(
        self, vectors: Vectors, rows: Sequence[Example], way: Way, suspects: Mapping[tuple[str, int], str], places_QK: NDArray[np.int64]
    ) -> None:
        """Take the rows that were read, and the places of those that are near to a mistake."""
        self.rows, self.way, self.targets = rows, way, [way.target(row) for row in rows]
        asked_for = np.unique(places_QK)
        # All at once: each look goes through all vectors.
        around, _ = vectors.nearest(vectors.of(asked_for), _OF_TRAIN, without=asked_for)
        self._odd = {int(p): self._told(int(p), mine, suspects) for p, mine in zip(asked_for, around, strict=True)}

    def odd(self, place: int) -> Any:
        """Return what a label should be where it looks wrong, to the row's neighbours or to predictions by the other rows
        (data/labels); else None."""
        return self._odd[place]

    def _told(self, place: int, around: NDArray[np.int64], suspects: Mapping[tuple[str, int], str]) -> Any:
        source = self.rows[place].source
        told = self.way.odd(self.targets[place], [self.targets[int(i)] for i in around])
        return suspects.get((source.file, source.line)) if told is None else told

    def shown(self, near: causes.Near) -> dict[str, Any]:
        row = self.rows[near.row]
        return {
            "text": start_of(asked(row)), "label": self.way.said(self.targets[near.row]), "cosine": round(near.cosine, 4), "looks_wrong": near.odd,
            "file": row.source.file, "line": row.source.line,
        }  # fmt: skip


def _seen(
    answered: Answered, place: int, near: _Near, places: Sequence[int], cosines: Sequence[float],
    predictor: Predictor, slices: Sequence[str],
) -> causes.Seen:  # fmt: skip
    row, prediction, way = answered.rows[place], answered.predictions[place], near.way
    wanted = way.target(row)
    targets = [near.targets[int(i)] for i in places]
    odd = [near.odd(int(i)) for i in places]
    found = [
        causes.Near(int(i), float(c), way.side(target, wanted, prediction), should is not None,
                    should is not None and way.side(should, wanted, prediction) == "label")
        for i, c, target, should in zip(places, cosines, targets, odd, strict=True)
    ]  # fmt: skip
    learner: Any = predictor.learner
    return causes.Seen(
        way.said(wanted), way.given(prediction), way.confidence(wanted, prediction, targets), found, way.rows_like(wanted, prediction),
        outside=prediction.unlike is not None and wanted not in answered.labels, declined=prediction.nearest is not None,
        cut=not learner.windows and len(learner.encode_input(row.inputs, room=0).ids) >= learner.max_tokens,
        slices=[name for name in slices if _inside(answered, place, name)],
    )  # fmt: skip


def _inside(answered: Answered, place: int, name: str) -> bool:
    parts = [part.partition("=") for part in name.split(", ")]
    return all((column := answered.columns.of(key)) is not None and column[place] == value for key, _, value in parts if key != "label")

