"""The bars of the examples that bring their rows along: each can be shown by as many rows as there are."""

from __future__ import annotations

from pathlib import Path

import pytest

from luthier.base.records import Example
from luthier.data.prepare import Prepared, survey
from luthier.evaluate import cases as functional
from luthier.evaluate.intervals import unit_codes
from luthier.evaluate.metrics import split_name
from luthier.evaluate.slices.bars import rows_of
from luthier.evaluate.slices.columns import Columns
from luthier.evaluate.verdict import enough
from luthier.evaluate.written import demands, memory
from luthier.lifecycle import staged
from luthier.lifecycle.casing import read_cases
from luthier.spec.bars import Bar, parse_bars
from luthier.spec.load import TaskFile, load_task

EXAMPLES = Path(__file__).parents[2] / "examples"
OWN = ("dialogue-summary", "help-search", "legal-plain-language", "polite-tone", "queue-then-urgency", "support-chat", "support-chat/stages.yaml",
       "support-triage", "support-triage/urgency.yaml", "ticket-tags")  # fmt: skip


def units(rows: list[Example]) -> int:
    return len(set(unit_codes([row.group for row in rows], len(rows)).tolist()))


def at_most(bar: Bar, file: TaskFile, data: Prepared) -> int:
    """Return of how many independent rows a bar's figure can be made at most."""
    ability, test = functional.ability_of(bar.plain), list(data.test)
    if bar.plain == functional.ALL or bar.plain in functional.REFUSALS or ability is not None:
        asked = read_cases(file, data.labels) or []
        columns, wanted = file.task.evaluate.cases.columns, functional.REFUSALS.get(bar.plain)
        return units([one for one in asked if (ability is None or one.extra["test"] == ability)
                      and (wanted is None or demands.demand_of(one, columns).expect == wanted)])  # fmt: skip
    if bar.plain == "memorised":
        return units(memory.some(data.train, memory.tries([bar])))
    rows = [test[i] for i in rows_of(bar, Columns(test))]
    label = split_name(bar.plain)[1]
    return units([row for row in rows if label is None or split_name(bar.plain)[0] == "precision" or row.target == label])


@pytest.mark.parametrize("name", OWN)
def test_the_bars_of_an_example_can_be_shown_by_its_rows(name: str) -> None:
    file = load_task(EXAMPLES / name)
    files = staged.stage_files(file) if file.task.stages else [file]
    looked = 0
    for one in files:
        objective = one.task.task.objective
        data = survey(one.task.data.model_copy(update={"semantic": "off"}), objective, base=one.folder)
        for bar in parse_bars(one.task.accept)[0]:
            needed = enough(bar)
            looked += 1
            assert needed is None or at_most(bar, one, data) >= needed, f"{bar}: {at_most(bar, one, data)} rows of {needed}"
    assert looked >= len(files)
