"""A task of several stages as tasks of one: each with its own file, and what is wrong with the sequence as a whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import luthier.lifecycle.scoping as scoping
from luthier.base.errors import Fault
from luthier.data import dedupe
from luthier.data.prepare import Prepared
from luthier.data.scope import row_faults as scope_row_faults
from luthier.evaluate import forgetting
from luthier.models.catalogue import EMBEDDED, EMBEDDED_NAME
from luthier.spec.bars import Bar, parse_bars
from luthier.spec.evaluate import Paraphrases
from luthier.spec.load import TaskFile
from luthier.spec.objective import WRITING
from luthier.spec.stages import Keep
from luthier.spec.task import Task

# Methods that leave the base's weights alone: there is nothing to be pulled back.
_STILL = frozenset({"head", "lora", "qlora", "ia3", "adapters", "prompt", "prefix"})
# Methods whose parts cannot be folded into the body that the next stage starts from.
_BESIDE = frozenset({"qlora", "adapters", "prompt", "prefix"})
_SHARE = 0.05
NO_CURVE = "a learning curve trains on parts of one task's rows, and this task has stages"
CURVE_MEND = "Give the stage a task file of its own, and measure its curve there."


def stage_files(file: TaskFile) -> list[TaskFile]:
    """Return each stage as a task file of its own, with the bars that are on it."""
    task, files = file.task, []
    # One body learns them all: it is the embedded model that writes only where every stage is about writing.
    objectives = {stage.objective or task.task.objective for stage in task.stages}
    base = task.base if objectives <= WRITING or task.model.base != EMBEDDED else EMBEDDED_NAME
    told = [stage.data.out_of_scope is not None for stage in task.stages]
    for place, stage in enumerate(task.stages):
        last = place == len(task.stages) - 1
        # Neighbours are those of one network, and the next stage changes it.
        train = stage.train.model_copy(update={"nearest": "off"})
        if task.keep.columns != "none" and train.method == "auto":  # a new column learns as a whole
            train = train.model_copy(update={"method": "full"})
        one = task.model_copy(update={
            "task": task.task.model_copy(update={"objective": stage.objective or task.task.objective}),
            "data": stage.data, "train": train, "stages": [],
            "accept": bars_of(task.accept, stage.name, last=last),
            "model": task.model.model_copy(update={"base": base}),
            # Rows out of scope say which stages may decline; without any it is the one that answers in the end.
            "answer": task.answer if (told[place] if any(told) else last) else task.answer.model_copy(update={"out_of_scope": None}),
            "evaluate": task.evaluate if last else task.evaluate.model_copy(update={"against": None, "paraphrases": Paraphrases()}),
        })  # fmt: skip
        files.append(replace(file, task=one))
    return files


def bars_of(accept: dict[str, str], stage: str, *, last: bool) -> dict[str, str]:
    """Return the bars on one stage's metrics by their plain names; those without a stage are on the last."""
    found = {name: text for name, text in accept.items() if last and not forgetting.is_bar(name)}
    ends = f"@{stage}"
    return found | {name.removesuffix(ends): text for name, text in accept.items() if name.endswith(ends)}


def share_of(keep: Keep) -> float:
    """Return the share of earlier rows that is rehearsed."""
    if keep.rehearse.share != "auto":
        return float(keep.rehearse.share)
    other = keep.penalty.kind != "none" or keep.columns != "none" or keep.blend != "none"
    return 0.0 if other else _SHARE


def tasks_of(files: Sequence[TaskFile], names: Sequence[str], data: Sequence[Prepared] = ()) -> list[forgetting.Task]:
    """Return what bars may name of each stage; without data any label is believed."""
    return [
        forgetting.Task(name, "", file.task.task.objective, data[place].labels if data else None)
        for place, (name, file) in enumerate(zip(names, files, strict=True))
    ]


def faults(task: Task, files: Sequence[TaskFile]) -> list[Fault]:
    """Return what is wrong with a sequence before any of its data is read."""
    names = [stage.name for stage in task.stages]
    found = [
        Fault(f'two stages are called "{name}"', f"stages.{place}.name", "Give each stage a name of its own.")
        for place, name in enumerate(names) if name in names[:place]
    ]  # fmt: skip
    if len(task.stages) < 2:
        found += _alone(task.keep)
    if task.stages and task.evaluate.learning_curve:
        found.append(Fault(NO_CURVE, "evaluate.learning_curve", CURVE_MEND))
    if len(task.stages) > 1:
        found += [
            Fault(f"what `{s.train.method}` learns stands beside the body and cannot be folded into it for the next stage",
                  f"stages.{i}.train.method", "Use full, last-layers, gradual, bitfit, lora or ia3.")
            for i, s in enumerate(task.stages) if s.train.method in _BESIDE
        ]  # fmt: skip
    found += [
        Fault("`rank` cannot be a stage yet: its rows are questions with many items", f"stages.{i}.objective",
              "Tune it by a task of its own.")
        for i, file in enumerate(files) if file.task.task.objective == "rank"
    ]  # fmt: skip
    found += _columns(task, files) if task.keep.columns == "progressive" else []
    found += _penalty(task) if task.keep.penalty.kind != "none" else []
    if task.keep.head == "shared":
        found += [
            Fault("one head for all stages is for `classify` only", f"stages.{i}.objective", "Set keep.head: own.")
            for i, file in enumerate(files) if file.task.task.objective != "classify"
        ]  # fmt: skip
    if task.keep.head == "shared" and any(scoping.asked(file.task) is not None for file in files):
        what = "one head for all stages has no rows that are of none of its labels: those of another stage have one"
        found.append(Fault(what, "answer.out_of_scope" if task.answer.out_of_scope else "data.out_of_scope", "Set keep.head: own."))
    if files and not any(f.what.startswith("two stages") for f in found):
        found += forgetting.check(parse_bars(dict(task.accept))[0], tasks_of(files, names))
    return found


def _alone(keep: Keep) -> list[Fault]:
    """Nothing comes before a single stage: what is asked to be kept is not there."""
    asked = {
        "keep.rehearse.share": keep.rehearse.share not in ("auto", 0),
        "keep.penalty.kind": keep.penalty.kind != "none",
        "keep.columns": keep.columns != "none",
        "keep.blend": keep.blend != "none",
        "keep.head": keep.head == "shared",
    }
    what = "there is no earlier stage whose rows or weights could be kept"
    mend = "Write `stages:` with two or more, or take this key away."
    return [Fault(what, where, mend) for where, there in asked.items() if there]


def _columns(task: Task, files: Sequence[TaskFile]) -> list[Fault]:
    keep, found = task.keep, []
    for key, there in {
        "keep.blend": keep.blend != "none",
        "keep.penalty.kind": keep.penalty.kind != "none",
        "keep.rehearse.share": keep.rehearse.share not in ("auto", 0),
        "keep.head": keep.head == "shared",
    }.items():
        if there:
            what = "progressive columns keep earlier stages bit for bit, so there is nothing for this to hold"
            found.append(Fault(what, key, "Take it away, or set keep.columns: none."))
    for place, file in enumerate(files):
        if file.task.train.method != "full":
            what = f"a new column learns as a whole, and this stage's method is {file.task.train.method}"
            found.append(Fault(what, f"stages.{place}.train.method", "Set it to full, or keep.columns: none."))
        if file.task.task.objective in ("generate", "text", "prefer"):
            what = f"progressive columns are made of encoders, and `{file.task.task.objective}` writes with a decoder"
            found.append(Fault(what, f"stages.{place}.objective", "Set keep.columns: none and rehearse instead."))
    return found


def _penalty(task: Task) -> list[Fault]:
    kind = task.keep.penalty.kind
    return [
        Fault(
            f"{kind} pulls the base's weights back, and {stage.train.method} does not move them",
            f"stages.{place}.train.method",
            "Use full or last-layers here, or keep.penalty.kind: none and rehearse instead.",
        )
        for place, stage in enumerate(task.stages)
        if place and stage.train.method in _STILL
    ]


def data_faults(task: Task, files: Sequence[TaskFile], data: Sequence[Prepared]) -> list[Fault]:
    """Return what is wrong once labels are known: clashing label sets under one head, bars on labels that are not there."""
    names = [stage.name for stage in task.stages]
    found = forgetting.check(parse_bars(dict(task.accept))[0], tasks_of(files, names, data))
    if task.keep.head != "shared":
        return found
    for later in range(len(data)):
        for earlier in range(later):
            both = sorted(set(data[earlier].labels) & set(data[later].labels))
            if both and set(data[earlier].labels) != set(data[later].labels):
                shown = ", ".join(f'"{label}"' for label in both[:5]) + (" ..." if len(both) > 5 else "")
                found.append(Fault(
                    f"{names[earlier]} and {names[later]} both have {shown}, and one head would take them for the same label",
                    f"stages.{later}.data",
                    "Rename them in one of the two, set keep.head: own, or give both stages the same set of labels.",
                ))  # fmt: skip
    return found


def scope_faults(files: Sequence[TaskFile], data: Sequence[Prepared]) -> list[Fault]:
    """Return what is wrong with the rows out of scope of each stage, once they are known."""
    found = []
    for place, (file, one) in enumerate(zip(files, data, strict=True)):
        bars, _ = parse_bars(dict(file.task.accept))
        faulty = [*scope_row_faults(one, file.task.data), *scoping.row_faults(file.task, bars, one)]
        found += [Fault(f.what, f"stages.{place}.{f.where}" if f.where.startswith("data.") else f.where, f.mend) for f in faulty]
    return found


def apart(
    names: Sequence[str], files: Sequence[TaskFile], data: Sequence[Prepared]
) -> tuple[list[Prepared], dict[str, int], list[Fault]]:
    """Keep the test rows of every stage out of the training rows of all others, as each one's ``data.leaks`` says.

    Returns the data, with such training rows left out under ``fix``; how many each stage has of them under ``allow``; and a
    fault for each stage that they stop. Two rows are the same where their normalised inputs are.
    """
    tested = {dedupe.key(e): (i, e.source) for i, one in enumerate(data) for e in one.test}
    kept, allowed, found = list(data), {}, []
    for j, one in enumerate(data):
        shared = {
            n: there
            for n, e in enumerate(one.train)
            if (there := tested.get(dedupe.key(e))) is not None and there[0] != j
        }
        if not shared:
            continue
        policy, first = files[j].task.data.leaks, min(shared)
        if policy == "fix":
            kept[j] = replace(one, train=[e for n, e in enumerate(one.train) if n not in shared])
        elif policy == "allow":
            allowed[names[j]] = len(shared)
        else:
            stage, source = shared[first]
            found.append(Fault(
                f"{_rows(len(shared))} of stage {names[j]} for training and of another for testing; the first is {source}, which tests "
                f"{names[stage]}", str(one.train[first].source),
                "Divide both stages by one column and seed, set data.leaks: fix to leave them out, or allow to be told.",
            ))  # fmt: skip
    return kept, allowed, found


def _rows(count: int) -> str:
    return "1 row is" if count == 1 else f"{count} rows are"


def labels_so_far(data: Sequence[Prepared], stage: int) -> tuple[str, ...]:
    """Return the labels of all stages up to one, in the order in which they came."""
    return tuple(dict.fromkeys(label for one in data[: stage + 1] for label in one.labels))


def own_bars(bars: Sequence[Bar]) -> list[Bar]:
    """Return the bars that are on the last stage by their plain names."""
    return [bar for bar in bars if not forgetting.is_bar(bar.metric)]
