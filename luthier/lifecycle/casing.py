"""Functional tests of a task: read before anything is trained, answered once the test rows are open."""

from __future__ import annotations

from collections.abc import Sequence

from luthier.base.errors import Fault, TaskError
from luthier.base.records import Example
from luthier.data.prepare import read_examples
from luthier.evaluate import cases as cases_
from luthier.evaluate.written import demands
from luthier.spec.load import TaskFile


def read_cases(file: TaskFile, labels: Sequence[str]) -> list[Example] | None:
    """Return the functional tests of a task, or None where it has none.

    Raises:
        TaskError: the objective has no right answers to test, the column of abilities is missing, or a label is not known.
        DataError: the file cannot be read.
    """
    asked, objective = file.task.evaluate.cases, file.task.task.objective
    if asked.source is None:
        return None
    where = f"{file.path}: evaluate.cases"
    if objective not in cases_.OBJECTIVES:
        raise TaskError(f"`{objective}` has no answers that are right or wrong", where=where, mend="Take the section away.")
    # What a test demands of a written answer stands in columns that rows to learn from do not have.
    columns = {**file.task.data.columns, **{what: name for what, name in asked.columns.items() if what not in demands.COLUMNS}}
    written = objective == "generate"
    # Tests that belong together (made of one template, say) are resampled together where they name the same column as the rows.
    data = file.task.data.model_copy(update={"columns": columns})
    mapped = read_examples(asked.source, data=data, objective=objective, base=file.folder, need_target=not written)
    rows = list(mapped.examples)
    # A test that nobody runs would be taken for one that is passed.
    faults = [Fault(f"this functional test cannot be used: {one.reason}", str(one.source), one.detail) for one in mapped.dropped]
    faults += demands.faults(rows, asked.columns) if written else []
    if rows and not any(asked.test in row.extra for row in rows):
        faults.append(Fault(f'no test has a column "{asked.test}"', f"{where}.test", f"Columns: {', '.join(rows[0].extra) or 'none'}."))
    unknown = set() if written else {label for row in rows for label in ([row.target] if isinstance(row.target, str) else row.target or ()) if label not in labels}
    if unknown:
        faults.append(Fault(f"functional tests have labels that the data lacks: {', '.join(sorted(unknown)[:8])}", where,
                            f"Labels: {', '.join(labels[:12])}."))  # fmt: skip
    if faults:
        raise TaskError.of(faults)
    return rows


def expected(file: TaskFile, cases: Sequence[Example] | None) -> list[str]:
    """Return what the tests of a writing model expect: to be refused, to be answered."""
    asked = file.task.evaluate.cases
    if file.task.task.objective != "generate":
        return []
    return sorted({demands.demand_of(case, asked.columns).expect for case in cases or ()})


def abilities(file: TaskFile, cases: Sequence[Example] | None) -> list[str] | None:
    """Return the abilities that are tested; None where nothing is."""
    asked = file.task.evaluate.cases
    return None if cases is None else sorted({str(case.extra.get(asked.test)) for case in cases})
