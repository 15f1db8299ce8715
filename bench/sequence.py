"""CLINC150, then BANKING77, by one body: what later tasks take from the first, and what each kind of care keeps of it.

The first stage learns the 150 intents of CLINC150, the last the 77 of BANKING77; with ``--domains N`` the ten domains of
CLINC150 are N stages instead of one, in the order of its own list. A head for each stage: which task a question belongs
to is known. One head that grows: it must tell all 227 labels apart, and the first is forgotten. The first stage is
trained once and taken over by every contender whose settings do not touch it, by the files a run leaves.
Everything goes through ``luthier run``; choices are made on validation rows, and the figures are those of the official
test rows, which no stage and no rehearsal ever sees. Contenders that were measured before with the same settings stay in
the record, so that they can be run one by one.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import itertools
import json
import shutil
import statistics
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.common import (
    RESULTS,
    Goal,
    Part,
    answer_part,
    arguments,
    conclude,
    machine,
    markdown,
    need_files,
    refuse,
    run_part,
    threads_for,
    workshop,
)

_REHEARSE: dict[str, dict[str, Any]] = {
    f"rehearse 5 %, {choose}": {"rehearse": {"share": 0.05, "choose": choose}} for choose in ("balanced", "reservoir", "diverse")
}
_OTHER: dict[str, dict[str, Any]] = {
    "no care": {"rehearse": {"share": 0.0}},
    **_REHEARSE,
    "l2-sp": {"penalty": {"kind": "l2-sp"}},
    "ewc": {"penalty": {"kind": "ewc"}},
    "blend": {"blend": "auto"},
}
COLUMNS = "progressive columns"
CARE: dict[str, dict[str, Any]] = {
    **_OTHER,
    COLUMNS: {"columns": "progressive"},
    **{f"one head, {name}": {"head": "shared", **keep} for name, keep in _OTHER.items()},
}
# With a head for each stage next to nothing is forgotten (docs/results.md), so several domains are learnt under one head.
OF_DOMAINS = [name for name in CARE if name.startswith("one head")] + [COLUMNS]
FIRST, LAST = "clinc150", "banking77"
QUICK_LABELS, QUICK_ROWS = 6, 12
# What a run tells beyond the scores takes as long as a stage here, and is not asked.
EVALUATE = {"robust": "off", "slices": "off", "explain": 0, "bootstrap": 200}
Rows = Sequence[Sequence[str]]


def run_care(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Run one kind of care and return what its report says; a first stage that lies ready is taken over."""
    from luthier.lifecycle import run

    out = Path(settings["work"]) / settings["slug"]
    names = settings["stages"]
    ready = settings.get("ready")
    if ready:
        shutil.copytree(ready, out / "stages" / names[0] / "trained")
    seconds: Counter[str] = Counter()
    identical = None
    if settings["columns"]:
        # Judging ends with the files that say where all stood after each stage.
        seconds.update(run(settings["task"], out=out, judge=False).record["seconds"])
        identical = kept_bits([out / "stages" / name / "trained" / "state.safetensors" for name in names])
    record = run(settings["task"], out=out, judge=settings["judge"]).record
    seconds.update(record["seconds"])
    kept = {"seconds": dict(seconds), "stages": record["stages"], "probe": record.get("probe")}
    # Stages of other settings are trained anew without a word, and that must be seen.
    taken = bool(ready) and json.loads((Path(ready) / "state.json").read_text("utf-8"))["facts"]["stage_seconds"] == record["stages"][0]["seconds"]
    return {**kept, "sequence": record["sequence"], "identical": identical, "taken_over": taken}


def kept_bits(states: Sequence[Path]) -> bool:
    """Whether all that was there after each stage, columns and heads, is there after the last one, to the last bit."""
    from safetensors.numpy import load_file

    last = load_file(states[-1])
    for path in states[:-1]:
        earlier = load_file(path)
        if not earlier or any(name not in last or value.tobytes() != last[name].tobytes() for name, value in earlier.items()):
            return False
    return True


PARTS: dict[str, Part] = {"care": run_care}


def grouped(domains: Sequence[str], count: int) -> dict[str, list[str]]:
    """Return the stages of CLINC150 in order, each with its domains: ``count`` neighbouring groups, sizes at most one apart.

    Raises:
        ValueError: there are not as many domains.
    """
    if not 1 <= count <= len(domains):
        raise ValueError(f"{len(domains)} domains cannot be put into {count} groups")
    edges = [round(k * len(domains) / count) for k in range(count + 1)]
    groups = [list(domains[low:high]) for low, high in itertools.pairwise(edges)]
    return {FIRST if count == 1 else f"{FIRST}-{number}": group for number, group in enumerate(groups, 1)}


def write_data(
    data: Path, work: Path, *, domains: int = 1, each: int | None, tested: int | None, labels: int | None
) -> dict[str, list[str]]:
    """Write all stages as CSV with their official splits: of the first ``labels`` labels of each (None: all) so many rows each.

    Args:
        domains: how many stages CLINC150 is cut into. each: training rows of a label. tested: validation and test rows of a label.
    Returns:
        The stages in order, with the domains of each; the last is BANKING77, which has none.
    """
    intents: dict[str, list[str]] = json.loads((data / "clinc150" / "domains.json").read_text(encoding="utf-8"))
    clinc = json.loads(gzip.decompress((data / "clinc150" / "data_full.json.gz").read_bytes()))
    stages = grouped(list(intents), domains)
    sides: dict[str, dict[str, Rows]] = {}
    for name, group in stages.items():
        own = {intent for domain in group for intent in intents[domain]}
        sides[name] = {
            side: [row for row in clinc[key] if row[1] in own] for side, key in (("train", "train"), ("valid", "val"), ("test", "test"))
        }
    sides[LAST] = {
        side: [(row["text"], f"banking: {row['category']}") for row in _rows(data / "banking77" / f"{side}.csv")]
        for side in ("train", "test")
    }
    for name, found in sides.items():
        known = sorted({label for _, label in found["train"]})[:labels]
        for side, rows in found.items():
            _write(work / f"{name}-{side}.csv", rows, known, each if side == "train" else tested)
    return {**stages, LAST: []}


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


def _write(path: Path, rows: Rows, known: Sequence[str], most: int | None) -> None:
    counts = dict.fromkeys(known, 0)
    with path.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["text", "label"])
        for text, label in rows:
            if label in counts and (most is None or counts[label] < most):
                counts[label] += 1
                writer.writerow([text, label])


def task_of(stages: Sequence[str], keep: Mapping[str, Any], train: Mapping[str, Any]) -> dict[str, Any]:
    """Return the task of one kind of care; BANKING77 has no validation file and takes a part of its train rows."""
    return {
        "task": {"name": "sequence", "objective": "classify"},
        "data": {"columns": {"text": "text", "label": "label"}, "leaks": "fix", "semantic": "off", "label_errors": "off"},
        "train": {"method": "full", "metric": "accuracy", **train},
        "stages": [
            {"name": name, "data": {"source": f"{name}-train.csv", "test": f"{name}-test.csv",
                                    **({} if name == LAST else {"valid": f"{name}-valid.csv"})}}
            for name in stages
        ],
        "keep": dict(keep),
        "evaluate": dict(EVALUATE),
    }  # fmt: skip


def summary(run: Mapping[str, Any]) -> dict[str, float]:
    """Return what a matrix of test scores comes to, in points of accuracy but for ``kept``, a share.

    ``own`` and ``end`` are the first stage's after itself and after the last, ``lost`` their difference and ``kept`` their
    ratio; ``backward`` the mean change of all earlier stages since their own (Lopez-Paz & Ranzato 2017), ``last`` the
    last stage's score, and ``mean`` that of all stages at the end.
    """
    matrix = run["sequence"]["test"]
    own, end = matrix[0][0], matrix[-1][0]
    changes = [matrix[-1][j] - matrix[j][j] for j in range(len(matrix) - 1)]
    return {
        "own": 100 * own, "end": 100 * end, "lost": 100 * (own - end), "kept": end / own, "backward": 100 * statistics.fmean(changes),
        "last": 100 * matrix[-1][-1], "mean": 100 * statistics.fmean(matrix[-1]),
    }  # fmt: skip


def table(record: Mapping[str, Any]) -> str:
    """Return the result as Markdown: all kinds of care in one table, then the matrix of each and the curves of its blends."""
    rows = []
    for name, run in record["runs"].items():
        probe = run["probe"] or {"before": float("nan"), "after": float("nan")}
        found = summary(run)
        rows.append([name, f"{found['own']:.1f}", f"{found['end']:.1f}", f"{found['lost']:.1f}", f"{found['kept']:.1%}",
                     f"{found['backward']:+.1f}", f"{found['last']:.1f}", f"{found['mean']:.1f}",
                     f"{probe['before']:.3f} -> {probe['after']:.3f}",
                     round(sum(stage["seconds"] for stage in run["stages"][1:]))])  # fmt: skip
    head = ("care", "first stage after itself, %", "after the last", "points lost", "kept", "backward transfer, points",
            "last stage, %", "all at the end", "general probe", "s, later stages")  # fmt: skip
    parts = [markdown(head, rows)]
    for name, run in record["runs"].items():
        parts.append(f"{name}: test accuracy, %\n\n{matrix_table(run['sequence'])}")
        parts += [f"{name}, after {after}: {curve}" for after, curve in _curves(run["sequence"])]
    return "\n\n".join(parts)


def matrix_table(sequence: Mapping[str, Any]) -> str:
    """Return a line for the time after each stage, with the test scores of all stages that were learnt by then."""
    names = sequence["stages"]
    cells = [["" if score is None else f"{100 * score:.1f}" for score in scores] for scores in sequence["test"]]
    return markdown(("after", *names), [[name, *scores] for name, scores in zip(names, cells, strict=True)])


def _curves(sequence: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return for each blended stage the scores of validation rows by share of the weights before, as a table with the share chosen."""
    found = []
    for after, one in (sequence.get("blends") or {}).items():
        names = list(one["curve"][0]["scores"])
        points = [[f"{p['share']:.1f}", *(f"{100 * p['scores'][name]:.1f}" for name in names)] for p in one["curve"]]
        rows = markdown(("share of the weights before", *(f"{name}, validation, %" for name in names)), points)
        found.append((after, f"{one['share']:.1f} chosen by validation rows\n\n{rows}"))
    return found


def goals(runs: Mapping[str, Any]) -> list[Goal]:
    """Return the bars of the kinds of care that were run; tens of points are at least ten."""
    found = []
    for name, run in runs.items():
        figures = summary(run)
        if name.endswith("no care"):
            found.append(Goal(f"points of the first stage lost with {name}", 10, figures["lost"]))
        elif "rehearse" in name:
            found.append(Goal(f"share of the first stage's score kept with {name}", 0.95, figures["kept"]))
        elif name == COLUMNS:
            share = figures["kept"] if run["identical"] else 0.0
            found.append(Goal(f"share kept with {name}, bit for bit", 1.0, share))
    return found


def main() -> None:
    """Run the bench, or some of its contenders."""
    parser = arguments("sequence", __doc__ or "")
    parser.add_argument("--domains", type=int, default=1, metavar="N", help="stages of CLINC150's ten domains, 1 to 10 (default: %(default)s)")
    parser.add_argument(
        "--only", action="append", choices=list(CARE),
        help="one kind of care; repeatable (default: all; with several domains those with one head, and columns)",
    )  # fmt: skip
    parser.add_argument("--each", type=int, help="training rows of each label (default: all)")
    parser.add_argument("--test-each", type=int, help="validation and test rows of each label (default: all)")
    parser.add_argument("--epochs", type=float, help="passes over the rows of each stage (default: what `auto` says)")
    parser.add_argument("--strength", type=float, help="of l2-sp and ewc (default: what `auto` says)")
    chosen = parser.parse_args()
    if chosen.part:
        return answer_part(PARTS, chosen.part, chosen.settings)
    if not 1 <= chosen.domains <= 10:
        refuse(f"--domains {chosen.domains}: CLINC150 has ten domains. Say a number from 1 to 10.")
    need_files(
        chosen.data / "clinc150", ["data_full.json.gz", "domains.json"],
        "Get data/{data_full,domains}.json from github.com/clinc/oos-eval, gzip the first",
    )  # fmt: skip
    need_files(chosen.data / "banking77", ["train.csv", "test.csv"], "Get them from github.com/PolyAI-LDN/task-specific-datasets")
    name = "sequence" if chosen.domains == 1 else f"sequence_domains_{chosen.domains}"
    record = _measured(chosen, None if chosen.quick else chosen.out or RESULTS / f"{name}.json")
    conclude(name, record, table(record), goals(record["runs"]), quick=chosen.quick, out=chosen.out)
    return None


def _measured(chosen: argparse.Namespace, kept: Path | None) -> dict[str, Any]:
    """Run the contenders one by one and return the record of all, which is written after each: they take hours."""
    threads = threads_for(chosen)
    train = {"epochs": chosen.epochs} if chosen.epochs else {}
    train |= {"max_steps": 4} if chosen.quick else {}
    few = {"each": QUICK_ROWS, "tested": QUICK_ROWS, "labels": QUICK_LABELS}
    some = few if chosen.quick else {"each": chosen.each, "tested": chosen.test_each, "labels": None}
    told = {"domains": chosen.domains, **some, "train": train, "strength": chosen.strength}
    runs = earlier(kept, told)
    ready = ""
    with workshop() as work:
        stages = write_data(chosen.data.absolute(), work, domains=chosen.domains, **some)
        for number, name in enumerate(chosen.only or (OF_DOMAINS if chosen.domains > 1 else list(CARE))):
            keep = json.loads(json.dumps(CARE[name]))
            if chosen.strength and "penalty" in keep:
                keep["penalty"]["strength"] = chosen.strength
            columns = name == COLUMNS
            if not columns and not ready:
                ready = _first_stage(work, list(stages), train, threads)
            task = work / f"care-{number}.yaml"
            task.write_text(json.dumps(task_of(list(stages), keep, train), indent=2), encoding="utf-8")  # JSON is YAML
            given = {"task": str(task), "slug": task.stem, "judge": True, "stages": list(stages), "columns": columns,
                     "ready": "" if columns else ready}  # fmt: skip
            run = run_part("bench.sequence", "care", given, threads=threads, work=work, called=name)
            runs[name] = {**run, "summary": summary(run), "machine": machine(threads)}
            shutil.rmtree(work / task.stem, ignore_errors=True)
            record = {"settings": told, "stages": stages, "runs": {name: runs[name] for name in CARE if name in runs}}
            if kept is not None:
                kept.write_text(json.dumps({"bench": "sequence", **record}, indent=2) + "\n", encoding="utf-8")
    return record


def earlier(kept: Path | None, told: Mapping[str, Any]) -> dict[str, Any]:
    """Return the runs of a record with the same settings; none where there is no such record."""
    if kept is None or not kept.is_file():
        return {}
    found = json.loads(kept.read_text(encoding="utf-8"))
    return dict(found["runs"]) if found.get("settings") == told else {}


def _first_stage(work: Path, stages: Sequence[str], train: Mapping[str, Any], threads: int) -> str:
    """Train the first stage alone (the second for one step), and return where it stood after it."""
    task = task_of(stages[:2], {"rehearse": {"share": 0.0}}, train)
    task["stages"][1]["train"] = {"max_steps": 1, "head": "random"}
    (work / "first.yaml").write_text(json.dumps(task), encoding="utf-8")
    given = {"task": str(work / "first.yaml"), "slug": "first", "judge": False, "columns": False, "stages": list(stages[:2])}
    run_part("bench.sequence", "care", given, threads=threads, work=work, called="the first stage")
    return str(work / "first" / "stages" / stages[0] / "trained")


if __name__ == "__main__":
    sys.exit(main())
