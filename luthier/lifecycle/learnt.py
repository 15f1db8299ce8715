"""The rows that a bundle learnt from, where its run still lies beside it: what they share with others, and rivals fitted on them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial
from pathlib import Path

from luthier.base.errors import LuthierError
from luthier.base.records import Example, Prediction
from luthier.data.prepare import Prepared, load_prepared
from luthier.data.ranking import united
from luthier.data.scope import without
from luthier.evaluate.baselines import RIVALS, of_rows_alone, of_untuned
from luthier.evaluate.baselines.rank import rank_rivals
from luthier.evaluate.predict import answered_alike
from luthier.lifecycle import frozen_rivals, judging, scoping
from luthier.lifecycle.judges import base_of_run, seed_of_run
from luthier.lifecycle.reference import reference_of, untouched_of
from luthier.release.predictor import Predictor
from luthier.spec.bars import LIVE
from luthier.spec.task import Task

Rivals = dict[str, list[Prediction]]
# Of more train rows than these rivals are fitted only where a bar names one: it would take longer than all the rest.
MANY = 100_000
FROZEN = frozenset((frozen_rivals.LINEAR, frozen_rivals.NEAREST))
UNTUNED = frozenset(of_untuned("prefer", ()))


def prepared_of(run: Path, fingerprint: object) -> Path | None:
    """Return the folder of the prepared data that a run, or one of its stages, learnt from; None where it is gone."""
    mark = str(fingerprint)[:16]
    there = [*run.glob(f"prepared/{mark}/data.json"), *run.glob(f"stages/*/prepared/{mark}/data.json")]
    return there[0].parent if there else None


def data_of(predictor: Predictor) -> tuple[Prepared | None, list[str]]:
    """Return the data that a bundle was made of, and why not where it lies beside it and cannot be read."""
    folder = prepared_of(predictor.folder.absolute().parent, predictor.facts.get("fingerprint"))
    if folder is None:
        return None, []
    try:
        data = load_prepared(folder)
    except LuthierError as error:
        return None, [f"The rows that this bundle learnt from cannot be read ({error.faults[0].what}): no rival was fitted on them."]
    if scope := getattr(predictor.learner, "scope", None):
        data = without(data, scope.name)
    return (united(data) if predictor.objective == "rank" else data), []


def known(name: str, data: Prepared, rows: Sequence[Example]) -> list[str]:
    """Return a note where some of these rows were learnt from."""
    learnt = {row.id for row in data.train}
    shared = sum(row.id in learnt for row in rows)
    return [f"{name} learnt from {shared:,} of these {len(rows):,} rows: its figures are too good."] if shared else []


def fitted(task: Task, data: Prepared, rows: Sequence[Example]) -> Rivals:
    """Return what the simple rivals of an objective, fitted on the train rows, say of other rows; none where it has none."""
    objective = task.task.objective
    make = RIVALS.get(objective)
    if make is None:
        return {}
    universe = data.items or data.labels
    if objective == "rank":
        return rank_rivals(data.train, rows, data.items, k=task.train.rank.k)
    if objective == "generate":
        return answered_alike(lambda some: make(data.train, some, universe), rows, task.evaluate.generate_rows)
    return make(data.train, rows, universe)


def _on_frozen(predictor: Predictor, task: Task, data: Prepared, rows: Sequence[Example]) -> Rivals:
    """Return what heads on the untouched base's vectors say, fitted on the train rows as the run fitted them."""
    run = predictor.folder.absolute().parent
    untouched = untouched_of(predictor, data, also=base_of_run(run))
    answer = partial(judging.predict_rows, Predictor(untouched), rows, task)
    return dict(frozen_rivals.frozen(untouched, data.train, rows, answer, seed=seed_of_run(run)))


def rivals(predictor: Predictor, task: Task, data: Prepared | None, rows: Sequence[Example], asked: Collection[str | None]) -> tuple[Rivals, list[str]]:
    """Return rivals of a bundle on rows that are not its run's, by name, and notes.

    Without the run's data they are those that need no train row. The untuned model answers only where it is asked for
    and writes or weighs texts: that takes as long as the bundle itself. Heads on its vectors are fitted only where one is asked
    for: that takes a pass of the network over the train rows.

    Args:
        asked: the rivals that bars name.
    """
    notes: list[str] = []
    if data is not None and len(data.train) > MANY and not set(asked) - UNTUNED - {None, LIVE}:
        notes.append(f"No rival was fitted on the {len(data.train):,} train rows: it takes long, and no bar names one.")
        data = None
    found = of_rows_alone(predictor.objective, rows) if data is None else fitted(task, data, rows)
    if data is not None and FROZEN & set(asked) and not predictor.learner.writes:
        try:
            found |= _on_frozen(predictor, task, data, rows)
        except LuthierError as error:
            notes.append(f"{error.faults[0].what}.")
    found = scoping.never_declined(found) if getattr(predictor.learner, "scope", None) else found
    if UNTUNED & set(asked) and (predictor.learner.writes or predictor.learner.measures):
        try:
            untuned = reference_of(predictor, also=base_of_run(predictor.folder.absolute().parent))
            found |= of_untuned(predictor.objective, judging.predict_rows(untuned, rows, task))
        except LuthierError as error:
            notes.append(f"{error.faults[0].what}.")
    return found, notes
