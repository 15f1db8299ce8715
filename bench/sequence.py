"""CLINC150, then BANKING77, by one body: what the second task takes from the first, and what each kind of care keeps of it.

The first stage learns the 150 intents of CLINC150 (ten domains), the second the 77 of BANKING77. Twice over: with a head for each
stage (which task a question belongs to is known), and with one head that grows (it must tell all 227 labels apart). The
first stage is trained once and taken over by every contender whose settings do not touch it, by the files a run leaves.
Everything goes through ``luthier run``; choices are made on validation rows, and the figures are those of the official
test rows, which no stage and no rehearsal ever sees.
"""

from __future__ import annotations

import csv
import gzip
import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.common import (
    Goal,
    Part,
    answer_part,
    arguments,
    conclude,
    machine,
    markdown,
    need_files,
    run_part,
    threads_for,
    workshop,
)

CARE: dict[str, dict[str, Any]] = {
    "no care": {"rehearse": {"share": 0.0}},
    "rehearse 5 %, balanced": {"rehearse": {"share": 0.05, "choose": "balanced"}},
    "rehearse 5 %, reservoir": {"rehearse": {"share": 0.05, "choose": "reservoir"}},
    "rehearse 5 %, diverse": {"rehearse": {"share": 0.05, "choose": "diverse"}},
    "l2-sp": {"penalty": {"kind": "l2-sp"}},
    "ewc": {"penalty": {"kind": "ewc"}},
    "blend": {"blend": "auto"},
    "progressive columns": {"columns": "progressive"},
    "one head, no care": {"head": "shared", "rehearse": {"share": 0.0}},
    "one head, rehearse 5 %, balanced": {"head": "shared", "rehearse": {"share": 0.05, "choose": "balanced"}},
    "one head, rehearse 5 %, reservoir": {"head": "shared", "rehearse": {"share": 0.05, "choose": "reservoir"}},
    "one head, rehearse 5 %, diverse": {"head": "shared", "rehearse": {"share": 0.05, "choose": "diverse"}},
}
STAGES = ("clinc150", "banking77")
QUICK_LABELS, QUICK_ROWS = 6, 12


def run_care(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Run one kind of care and return what its report says; a first stage that lies ready is taken over."""
    from luthier.lifecycle import run

    out = Path(settings["work"]) / settings["slug"]
    ready = settings.get("ready")
    if ready and Path(ready).is_dir():
        shutil.copytree(ready, out / "stages" / STAGES[0] / "trained")
    finished = run(settings["task"], out=out, judge=settings["judge"])
    record = finished.record
    kept = {"seconds": record["seconds"], "stages": record["stages"], "probe": record.get("probe")}
    columns = settings.get("columns")
    return {**kept, "sequence": record["sequence"], "identical": _identical(out) if columns else None}


def _identical(out: Path) -> bool:
    """Whether the first column in the second stage's bundle is that of the first stage's, to the last bit."""
    from luthier.base.files import sha256_file

    files = [out / "stages" / name / "bundle" / "network" / "model.safetensors" for name in STAGES]
    return sha256_file(files[0]) == sha256_file(files[1])


PARTS: dict[str, Part] = {"care": run_care}


def write_data(data: Path, work: Path, *, each: int | None, tested: int | None, labels: int | None) -> None:
    """Write both tasks as CSV with their official splits: of the first ``labels`` labels (None: all) so many rows each.

    Args:
        each: training rows of a label. tested: validation and test rows of a label.
    """
    clinc = json.loads(gzip.decompress((data / "clinc150" / "data_full.json.gz").read_bytes()))
    sides = {
        "clinc150": {"train": clinc["train"], "valid": clinc["val"], "test": clinc["test"]},
        "banking77": {
            side: [(row["text"], f"banking: {row['category']}") for row in _rows(data / "banking77" / f"{side}.csv")]
            for side in ("train", "test")
        },
    }
    for name, found in sides.items():
        known = sorted({label for _, label in found["train"]})[:labels]
        for side, rows in found.items():
            most = each if side == "train" else tested
            _write(work / f"{name}-{side}.csv", rows, known, most)


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


def _write(path: Path, rows: Sequence[Sequence[str]], known: Sequence[str], most: int | None) -> None:
    counts = dict.fromkeys(known, 0)
    with path.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["text", "label"])
        for text, label in rows:
            if label in counts and (most is None or counts[label] < most):
                counts[label] += 1
                writer.writerow([text, label])


def write_task(work: Path, slug: str, keep: Mapping[str, Any], train: Mapping[str, Any]) -> Path:
    """Write the task file of one kind of care."""
    values = {
        "task": {"name": "sequence", "objective": "classify"},
        "data": {"columns": {"text": "text", "label": "label"}, "leaks": "fix", "semantic": "off", "label_errors": "off"},
        "train": {"method": "full", "metric": "accuracy", **train},
        "stages": [
            {"name": "clinc150", "data": {
                "source": "clinc150-train.csv", "valid": "clinc150-valid.csv", "test": "clinc150-test.csv"}},
            {"name": "banking77", "data": {"source": "banking77-train.csv", "test": "banking77-test.csv"}},
        ],
        "keep": dict(keep),
    }  # fmt: skip
    path = work / f"{slug}.yaml"
    path.write_text(json.dumps(values, indent=2), encoding="utf-8")  # JSON is YAML
    return path


def table(record: Mapping[str, Any]) -> str:
    """Return the result as Markdown: the matrix of each kind of care, and the curve of the blend."""
    rows = []
    for name, run in record["runs"].items():
        (first, _), (after, new) = run["sequence"]["test"]
        probe = run["probe"] or {"before": float("nan"), "after": float("nan")}
        rows.append([name, f"{first:.1%}", f"{after:.1%}", f"{after / first:.1%}", f"{new:.1%}",
                     f"{probe['before']:.3f} -> {probe['after']:.3f}", round(run["stages"][1]["seconds"])])  # fmt: skip
    head = (
        "care",
        "CLINC150 after its own stage",
        "after BANKING77",
        "kept",
        "BANKING77",
        "general probe",
        "s, 2nd stage",
    )
    text = markdown(head, rows)
    blends = record["runs"].get("blend", {}).get("sequence", {}).get("blends", {}).get(STAGES[1])
    if blends:
        points = [[f"{p['share']:.1f}", *(f"{p['scores'][s]:.1%}" for s in STAGES)] for p in blends["curve"]]
        text += "\n\n" + markdown(("share of the weights before", *(f"{s}, validation" for s in STAGES)), points)
        text += f"\n\nChosen by validation rows: {blends['share']:.1f}"
    return text


def goals(runs: Mapping[str, Any]) -> list[Goal]:
    """Return the bars of the kinds of care that were run."""

    def kept(name: str) -> float | None:
        if name not in runs:
            return None
        (first, _), (after, _) = runs[name]["sequence"]["test"]
        return float(after / first)

    found = []
    lost = {name: kept(name) for name in ("no care", "one head, no care")}
    for name, share in lost.items():
        if share is not None:
            found.append(Goal(f"points of the first task lost with {name}", 10, 100 * (1 - share)))
    for name in ("rehearse 5 %, balanced", "one head, rehearse 5 %, balanced"):
        if (share := kept(name)) is not None:
            found.append(Goal(f"share of the first task's score kept with {name}", 0.95, share))
    if (share := kept("progressive columns")) is not None:
        same = runs["progressive columns"]["identical"]
        found.append(Goal("share kept with progressive columns, bit for bit", 1.0, share if same else 0.0))
    return found


def main() -> None:
    """Run the bench, or some of its contenders."""
    parser = arguments("sequence", __doc__ or "")
    parser.add_argument(
        "--only", action="append", choices=list(CARE), help="one kind of care; repeatable (default: all)"
    )
    parser.add_argument("--each", type=int, help="training rows of each label (default: all)")
    parser.add_argument("--test-each", type=int, help="validation and test rows of each label (default: all)")
    parser.add_argument("--epochs", type=float, help="passes over the rows of each stage (default: what `auto` says)")
    parser.add_argument("--strength", type=float, help="of l2-sp and ewc (default: what `auto` says)")
    chosen = parser.parse_args()
    if chosen.part:
        return answer_part(PARTS, chosen.part, chosen.settings)
    need_files(
        chosen.data / "clinc150", ["data_full.json.gz"], "github.com/clinc/oos-eval, data/data_full.json, gzipped"
    )
    need_files(chosen.data / "banking77", ["train.csv", "test.csv"], "github.com/PolyAI-LDN/task-specific-datasets")
    threads = threads_for(chosen)
    names = chosen.only or list(CARE)
    train = {"epochs": chosen.epochs} if chosen.epochs else {}
    train |= {"max_steps": 4} if chosen.quick else {}
    with workshop() as work:
        few = {"each": QUICK_ROWS, "tested": QUICK_ROWS, "labels": QUICK_LABELS}
        some = {"each": chosen.each, "tested": chosen.test_each, "labels": None}
        write_data(chosen.data.absolute(), work, **(few if chosen.quick else some))
        runs: dict[str, Any] = {}
        ready = ""
        for number, name in enumerate(names):
            keep = json.loads(json.dumps(CARE[name]))
            if chosen.strength and "penalty" in keep:
                keep["penalty"]["strength"] = chosen.strength
            slug = f"care-{number}"
            columns = keep.get("columns") == "progressive"
            if not columns and not ready:
                ready = _first_stage(work, keep, train, threads)
            given = {"task": str(write_task(work, slug, keep, train)), "slug": slug, "judge": True,
                     "ready": "" if columns else ready, "columns": columns}  # fmt: skip
            runs[name] = run_part("bench.sequence", "care", given, threads=threads, work=work, called=name)
            shutil.rmtree(work / slug, ignore_errors=True)
        record = {"machine": machine(threads), "each": chosen.each, "train": train, "runs": runs}
    conclude("sequence", record, table(record), goals(runs), quick=chosen.quick, out=chosen.out)
    return None


def _first_stage(work: Path, keep: Mapping[str, Any], train: Mapping[str, Any], threads: int) -> str:
    """Train the first stage alone (the second for one step), and return where it stood after it."""
    task = json.loads(write_task(work, "first", {**keep, "rehearse": {"share": 0.0}}, train).read_text("utf-8"))
    task["stages"][1]["train"] = {"max_steps": 1, "head": "random"}
    (work / "first.yaml").write_text(json.dumps(task), encoding="utf-8")
    given = {"task": str(work / "first.yaml"), "slug": "first", "judge": False}
    run_part("bench.sequence", "care", given, threads=threads, work=work, called="the first stage")
    return str(work / "first" / "stages" / STAGES[0] / "trained")


if __name__ == "__main__":
    sys.exit(main())
