"""The bench of sequences: CLINC150's domains in stages, points that are points, and bits that are compared as bits."""

from __future__ import annotations

import csv
import gzip
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

pytest.importorskip("bench.sequence")

from bench.common import ROOT
from bench.sequence import (
    CARE,
    COLUMNS,
    OF_DOMAINS,
    earlier,
    goals,
    grouped,
    kept_bits,
    summary,
    table,
    task_of,
    write_data,
)
from luthier.lifecycle import staged
from luthier.spec.load import load_task

DOMAINS = ["banking", "credit_cards", "kitchen", "home", "auto", "travel", "utility", "work", "small_talk", "meta"]
WORDS = {"train": 8, "val": 4, "test": 4}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder as the public one: ten domains of two intents, and BANKING77 with three labels."""
    folder = tmp_path / "data"
    (folder / "clinc150").mkdir(parents=True)
    (folder / "banking77").mkdir()
    intents = {domain: [f"{domain}_{kind}" for kind in ("ask", "change")] for domain in DOMAINS}
    (folder / "clinc150" / "domains.json").write_text(json.dumps(intents))
    known = [intent for own in intents.values() for intent in own]
    rows = {side: [[f"{side} {i}: {intent.replace('_', ' ')} please", intent] for intent in known for i in range(count)] for side, count in WORDS.items()}
    rows["oos_train"] = [["what is the sense of life", "oos"]]
    (folder / "clinc150" / "data_full.json.gz").write_bytes(gzip.compress(json.dumps(rows).encode()))
    for side, count in (("train", 16), ("test", 4)):
        with (folder / "banking77" / f"{side}.csv").open("w", encoding="utf-8", newline="") as handle:
            writer = csv.writer(handle)
            writer.writerow(["text", "category"])
            writer.writerows([f"{side} {i}: my {label} is wrong", label] for label in ("card", "top up", "rate") for i in range(count))
    return folder


def labels_of(path: Path) -> Counter[str]:
    with path.open(encoding="utf-8", newline="") as handle:
        return Counter(row["label"] for row in csv.DictReader(handle))


def test_ten_domains_are_put_into_neighbouring_groups_of_about_one_size() -> None:
    assert grouped(DOMAINS, 1) == {"clinc150": DOMAINS}
    assert {name: len(own) for name, own in grouped(DOMAINS, 3).items()} == {"clinc150-1": 3, "clinc150-2": 4, "clinc150-3": 3}
    for count in range(1, 11):
        groups = list(grouped(DOMAINS, count).values())
        assert [domain for own in groups for domain in own] == DOMAINS and len(groups) == count
        assert max(map(len, groups)) - min(map(len, groups)) <= 1
    for count in (0, 11):
        with pytest.raises(ValueError, match="10 domains"):
            grouped(DOMAINS, count)


def test_every_stage_has_the_rows_of_its_own_domains(data: Path, tmp_path: Path) -> None:
    stages = write_data(data, tmp_path, domains=3, each=5, tested=2, labels=None)
    assert list(stages) == ["clinc150-1", "clinc150-2", "clinc150-3", "banking77"]
    seen: set[str] = set()
    for name, own in stages.items():
        wanted = {f"{domain}_{kind}" for domain in own for kind in ("ask", "change")} or {f"banking: {x}" for x in ("card", "top up", "rate")}
        assert labels_of(tmp_path / f"{name}-train.csv") == dict.fromkeys(wanted, 5)
        assert labels_of(tmp_path / f"{name}-test.csv") == dict.fromkeys(wanted, 2)
        assert not seen & wanted
        seen |= wanted
    assert labels_of(tmp_path / "clinc150-3-valid.csv") == dict.fromkeys(labels_of(tmp_path / "clinc150-3-test.csv"), 2)
    assert not (tmp_path / "banking77-valid.csv").exists() and "oos" not in seen
    assert list(write_data(data, tmp_path, each=None, tested=None, labels=3)) == ["clinc150", "banking77"]
    assert labels_of(tmp_path / "clinc150-train.csv") == {"auto_ask": 8, "auto_change": 8, "banking_ask": 8}


def test_every_kind_of_care_is_a_task_that_can_be_run(data: Path, tmp_path: Path) -> None:
    stages = write_data(data, tmp_path, domains=3, each=5, tested=2, labels=None)
    for keep in CARE.values():
        (tmp_path / "task.yaml").write_text(json.dumps(task_of(list(stages), keep, {"max_steps": 4})))
        file = load_task(tmp_path / "task.yaml")
        assert staged.faults(file.task, staged.stage_files(file)) == []
    assert {"one head, l2-sp", "one head, ewc", "one head, blend", "one head, rehearse 5 %, diverse", COLUMNS} <= set(OF_DOMAINS)
    assert all(CARE[name].get("head") == "shared" for name in OF_DOMAINS if name != COLUMNS)


def run(*test: list[float | None], identical: bool | None = None, blends: dict | None = None) -> dict:
    names = [f"clinc150-{i}" for i in range(1, len(test))] + ["banking77"]
    return {"sequence": {"stages": names, "test": list(test), "blends": blends or {}}, "probe": {"before": 0.9, "after": 0.8},
            "stages": [{"seconds": 100.0}] * len(test), "identical": identical}  # fmt: skip


def test_points_are_points_and_shares_are_shares() -> None:
    lost = run([0.8, None, None], [0.6, 0.9, None], [0.5, 0.7, 0.95])
    found = summary(lost)
    assert found == pytest.approx({"own": 80, "end": 50, "lost": 30, "kept": 0.625, "backward": -25, "last": 95, "mean": 215 / 3})
    held = run([0.8, None, None], [0.8, 0.9, None], [0.8, 0.9, 0.95], identical=True)
    runs = {"one head, no care": lost, "one head, rehearse 5 %, diverse": run([0.8, None], [0.76, 0.9]), "one head, ewc": lost, COLUMNS: held}
    bars = {goal.what: (round(goal.measured, 6), goal.met) for goal in goals(runs)}
    assert bars == {
        "points of the first stage lost with one head, no care": (30, True),
        "share of the first stage's score kept with one head, rehearse 5 %, diverse": (0.95, True),
        "share kept with progressive columns, bit for bit": (1.0, True),
    }
    # Nine points of sixty are fifteen per cent, and no ten points.
    (goal,) = goals({"no care": run([0.6, None], [0.51, 0.9])})
    assert goal.measured == pytest.approx(9) and not goal.met
    (goal,) = goals({COLUMNS: {**held, "identical": False}})
    assert not goal.met


def test_the_table_has_the_whole_matrix_and_the_curve() -> None:
    curve = [{"share": share, "scores": {"clinc150-1": 0.5 + share / 10, "banking77": 0.9}} for share in (0.0, 1.0)]
    runs = {"one head, blend": run([0.8, None, None], [0.6, 0.9, None], [0.5, 0.7, 0.95], blends={"banking77": {"share": 0.5, "curve": curve}})}
    page = table({"runs": runs})
    assert "| one head, blend | 80.0 | 50.0 | 30.0 | 62.5% | -25.0 | 95.0 | 71.7 | 0.900 -> 0.800 | 200 |" in page
    for line in ("| after | clinc150-1 | clinc150-2 | banking77 |", "| clinc150-1 | 80.0 |  |  |", "| banking77 | 50.0 | 70.0 | 95.0 |"):
        assert line in page
    assert "after banking77: 0.5 chosen" in page and "| 1.0 | 60.0 | 90.0 |" in page


def test_kept_means_every_bit_of_every_earlier_stage(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    one, two, three = (rng.normal(size=(3, 4)).astype(np.float32) for _ in range(3))
    states = [tmp_path / f"{i}.safetensors" for i in range(3)]
    for path, tensors in zip(states, ({"0/w": one}, {"0/w": one, "1/w": two}, {"0/w": one, "1/w": two, "2/w": three}), strict=True):
        save_file(tensors, path)
    assert kept_bits(states)
    moved = two.copy()
    moved[0, 0] = np.nextafter(moved[0, 0], np.float32(9))
    save_file({"0/w": one, "1/w": moved, "2/w": three}, states[-1])
    assert not kept_bits(states)
    save_file({"1/w": two, "2/w": three}, states[-1])
    assert not kept_bits(states)


def test_only_runs_of_the_same_settings_are_kept(tmp_path: Path) -> None:
    told = {"domains": 3, "each": 40, "tested": 20, "labels": None, "train": {}, "strength": None}
    path = tmp_path / "sequence.json"
    assert earlier(path, told) == earlier(None, told) == {}
    path.write_text(json.dumps({"settings": told, "runs": {"ewc": {}}}))
    assert earlier(path, told) == {"ewc": {}}
    assert earlier(path, {**told, "each": 20}) == {}


@pytest.mark.slow
def test_the_bench_runs_several_domains_from_end_to_end(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    names = ("one head, blend", COLUMNS)
    command = [sys.executable, "-m", "bench.sequence", "--quick", "--domains", "2", "--data", str(data), "--out", str(out)]
    done = subprocess.run([*command, *(word for name in names for word in ("--only", name))], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    record = json.loads(out.read_text())
    assert record["stages"] == {"clinc150-1": DOMAINS[:5], "clinc150-2": DOMAINS[5:], "banking77": []}
    assert set(record["runs"]) == set(names) and [goal["met"] for goal in record["goals"]] == [True]
    columns = record["runs"][COLUMNS]
    matrix = columns["sequence"]["test"]
    assert columns["identical"] is True and columns["summary"]["kept"] == 1.0
    assert [row[0] for row in matrix] == [matrix[0][0]] * 3 and matrix[0][1] is None
    shared = record["runs"]["one head, blend"]
    assert shared["identical"] is None and shared["taken_over"] is True and shared["sequence"]["keep"]["head"] == "shared"
    assert "first stage after itself" in done.stdout and set(shared["sequence"]["blends"]) == {"clinc150-2", "banking77"}
    with pytest.raises(subprocess.CalledProcessError) as refused:
        subprocess.run([*command, "--domains", "11"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert refused.value.returncode == 2 and "ten domains" in refused.value.stderr
