"""The data room by its commands: what a person types, what lies on disk afterwards, and what a run makes of it."""

from __future__ import annotations

import csv
import json
import random
import sqlite3
import tarfile
from pathlib import Path

import pytest
from commands import luthier, only_object, refused

from luthier.base.files import read_json
from luthier.data.likeness.near import similarity
from luthier.data.prepare import survey
from luthier.spec.data import DataSection

SHARED = Path(__file__).parents[2].parent / "shared" / "data"
WORDS = {
    "billing": "invoice charged twice refund payment fee amount paid bank card statement price".split(),  # noqa: SIM905
    "delivery": "parcel courier arrived late tracking address box doorstep shipped van order missing".split(),  # noqa: SIM905
}


def texts(count: int, *, seed: int = 0) -> list[tuple[str, str]]:
    rng = random.Random(seed)
    return [
        (" ".join([*rng.sample(WORDS[label], 5), f"ref{seed}x{i}", rng.choice(["please", "now", "help"])]), label)
        for i in range(count)
        for label in [rng.choice(list(WORDS))]
    ]


def write(path: Path, rows: list[tuple[str, ...]], head: tuple[str, ...] = ("text", "label")) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([head, *rows])


def task(folder: Path, data: str, *, more: str = "", objective: str = "classify") -> None:
    (folder / "task.yaml").write_text(f"task: {{name: room, objective: {objective}}}\ndata: {{{data}}}\n{more}")


WRONG = (7, 31, 64, 93, 120, 177, 203, 240, 262, 281)


def with_errors(rows: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(text, OTHER[label] if i in WRONG else label) for i, (text, label) in enumerate(rows)]


OTHER = {"billing": "delivery", "delivery": "billing"}
QUICK = "semantic: off, label_errors: off"


def test_check_writes_a_page_a_record_and_a_table_only_where_asked(tmp_path: Path) -> None:
    rows = with_errors(texts(300))
    write(tmp_path / "m.csv", rows)
    task(tmp_path, "source: m.csv, semantic: off")
    plain = luthier("check", "task.yaml", cwd=tmp_path)
    assert plain.returncode == 0 and plain.stdout.strip().endswith("ready to run")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.csv", "task.yaml"]
    done = luthier("check", "task.yaml", "--out", "out", "--json", cwd=tmp_path)
    found = only_object(done)
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"check.html", "check.json", "label-errors.csv"}
    with (tmp_path / "out" / "label-errors.csv").open(encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    assert {int(row["line"]) for row in table} <= {i + 2 for i in WRONG} and len(table) >= 4
    assert all(row["suggested"] == OTHER[row["label"]] for row in table)
    page = (tmp_path / "out" / "check.html").read_text("utf-8")
    assert "http://" not in page.replace("http://www.w3.org", "") and table[0]["text"] in page
    assert found["label_errors"]["count"] == len(table) and found["preview"]["lengths"]["rows"] == 300


def test_decisions_about_label_errors_are_read_back(tmp_path: Path) -> None:
    rows = with_errors(texts(300))
    write(tmp_path / "m.csv", rows)
    task(tmp_path, "source: m.csv, semantic: off")
    luthier("check", "task.yaml", "--out", "out", "--quiet", cwd=tmp_path)
    path = tmp_path / "out" / "label-errors.csv"
    with path.open(encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    table[0]["decision"] = table[0]["suggested"]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(table[0]))
        writer.writeheader()
        writer.writerows(table)
    before, after = (
        survey(
            DataSection(source="m.csv", semantic="off", label_errors="off", corrections=c), "classify", base=tmp_path
        )
        for c in (None, "out/label-errors.csv")
    )
    changed = {e.source.line for side in ("train", "valid", "test") for e in after.side(side)} - set()  # type: ignore[arg-type]
    assert changed == {e.source.line for side in ("train", "valid", "test") for e in before.side(side)}  # type: ignore[arg-type]
    told = {e.source.line: e.target for e in before.train}
    new = {e.source.line: e.target for e in after.train}
    assert {line for line in told if told[line] != new.get(line, told[line])} == {int(table[0]["line"])}
    assert before.report.fingerprint != after.report.fingerprint
    write(tmp_path / "m.csv", [("another text altogether", "billing"), *rows])
    refused(
        luthier("check", "task.yaml", "--set", "data.corrections=out/label-errors.csv", cwd=tmp_path),
        "label-errors.csv:2",
    )


def test_prepare_keeps_versions_and_says_what_changed(tmp_path: Path) -> None:
    write(tmp_path / "m.csv", texts(120))  # type: ignore[arg-type]
    task(tmp_path, f"source: m.csv, {QUICK}")
    first = only_object(luthier("prepare", "task.yaml", "--json", cwd=tmp_path))
    assert only_object(luthier("prepare", "task.yaml", "--json", cwd=tmp_path))["folder"] == first["folder"]
    write(tmp_path / "m.csv", [*texts(120), ("a new row of text", "billing")])  # type: ignore[arg-type]
    second = only_object(luthier("prepare", "task.yaml", "--json", cwd=tmp_path))
    changes = read_json(tmp_path / second["changes"])
    assert changes["since"] == Path(first["folder"]).name
    assert (changes["added"], changes["removed"], changes["moved"]) == (1, 0, 0)
    assert len(list((tmp_path / "prepared").iterdir())) == 2


def test_near_copies_in_a_test_file_stop_a_run_and_fix_takes_the_train_side_out(tmp_path: Path) -> None:
    long = "my parcel number {} that i ordered last week on monday has still not arrived at the new address of my sister in {}"
    train = [
        *texts(100),
        *((long.format(f"p{i}", f"town{i}") + f" {w}", "delivery") for i, w in enumerate(WORDS["billing"][:4])),
    ]
    write(tmp_path / "m.csv", train)  # type: ignore[arg-type]
    test = [*texts(40, seed=3), (train[100][0].replace("monday", "tuesday"), "delivery")]
    write(tmp_path / "t.csv", test)  # type: ignore[arg-type]
    task(tmp_path, f"source: m.csv, test: t.csv, near: 0.95, {QUICK}")
    said = refused(
        luthier("check", "task.yaml", cwd=tmp_path), "1 by all words but a few", "m.csv:102", "t.csv:42", "data.leaks"
    )
    assert "tuesday" in said or "almost the same" in said
    fixed = only_object(luthier("check", "task.yaml", "--set", "data.leaks=fix", "--json", cwd=tmp_path))
    assert fixed["stops"] == []


def test_held_out_files_of_any_shape_are_compared(tmp_path: Path) -> None:
    rows = texts(100)
    write(tmp_path / "m.csv", rows)  # type: ignore[arg-type]
    sides = survey(DataSection(source="m.csv", semantic="off", label_errors="off"), "classify", base=tmp_path)
    taken = sides.train[3].inputs["text"]
    (tmp_path / "exam.jsonl").write_text(
        json.dumps({"id": 1, "item": {"question": taken.upper(), "choices": ["yes", "no"]}}) + "\n"
    )
    task(tmp_path, f"source: m.csv, held_out: exam.jsonl, {QUICK}")
    refused(luthier("check", "task.yaml", cwd=tmp_path), "with data.held_out", "exam.jsonl:1")


def test_masked_rows_keep_their_sides_and_hold_nothing_personal(tmp_path: Path) -> None:
    rows = [(f"{text} write to person{i % 9}@example.org", label) for i, (text, label) in enumerate(texts(120))]
    write(tmp_path / "m.csv", rows)  # type: ignore[arg-type]

    def sides(personal: str, source: str = "m.csv") -> dict[int, str]:
        data = DataSection(source=source, semantic="off", label_errors="off", personal=personal)  # type: ignore[arg-type]
        found = survey(data, "classify", base=tmp_path)
        if personal == "mask":
            assert (
                all("@" not in e.inputs["text"] for e in found.train)
                and found.report.findings["masked"]["email"] == 120
            )
            assert len({w for e in found.train for w in e.inputs["text"].split() if w.startswith("[email")}) == 9
        return {e.source.line: side for side in ("train", "valid", "test") for e in found.side(side)}  # type: ignore[arg-type]

    assert sides("report") == sides("mask")


def test_long_masked_texts_are_compared_as_they_are_kept(tmp_path: Path) -> None:
    rng = random.Random(5)
    rows = []
    for i in range(60):
        words = " ".join(rng.choice(WORDS["billing"] + WORDS["delivery"]) + str(rng.randint(0, 99)) for _ in range(20))
        rows.append((f"{words} mail person{i}@example.org or +49 170 12345{i:02d} today", rng.choice(list(WORDS))))
    write(tmp_path / "m.csv", rows)  # type: ignore[arg-type]
    write(tmp_path / "t.csv", [(text.replace("today", "now"), label) for text, label in rows[:10]])  # type: ignore[arg-type]
    data = DataSection(source="m.csv", test="t.csv", semantic="off", label_errors="off", personal="mask")
    found = survey(data, "classify", base=tmp_path)
    for leak in found.report.leak_examples:
        assert leak["similarity"] == pytest.approx(similarity(leak["text"], leak["other_text"]), abs=0.001)
    assert found.report.leaks["near"] == 10 and "@" not in json.dumps(found.report.as_dict())


def test_a_page_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    write(tmp_path / "m.csv", texts(100))  # type: ignore[arg-type]
    (tmp_path / "out").write_text("a file")
    task(tmp_path, f"source: m.csv, {QUICK}")
    refused(luthier("check", "task.yaml", "--out", "out", cwd=tmp_path), "a file stands where a folder is needed")


def test_a_database_is_read_like_a_file(tmp_path: Path) -> None:
    pytest.importorskip("sqlalchemy", reason="the extra `sql` is not installed")
    with sqlite3.connect(tmp_path / "tickets.db") as database:
        database.execute("create table t (body text, queue text)")
        database.executemany("insert into t values (?, ?)", texts(120))
    task(tmp_path, f'source: "sqlite:///tickets.db", query: "select body as text, queue as label from t", {QUICK}')
    assert only_object(luthier("check", "task.yaml", "--json", cwd=tmp_path))["rows"] == 120


def test_preference_data_is_checked_and_wants_a_decoder(tmp_path: Path) -> None:
    with (tmp_path / "p.jsonl").open("w") as file:
        for i, (text, _) in enumerate(texts(80)):
            file.write(json.dumps({"prompt": text, "chosen": f"Certainly, {i}.", "rejected": "No."}) + "\n")
    done = luthier("init", "p.jsonl", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = only_object(luthier("check", "luthier.yaml", "--json", "--set", "data.semantic=off", cwd=tmp_path))
    assert found["rows"] == 80 and "dpo" in found["recognised_as"].lower()
    refused(luthier("run", "luthier.yaml", "--set", "model.base=all-MiniLM-L6-v2", cwd=tmp_path), "does not write", "needs a decoder")


def test_what_is_cleaned_in_training_is_cleaned_at_the_service(project: Path) -> None:
    from luthier.release.predictor import load_predictor

    text = (project / "task.yaml").read_text().replace("columns:", "clean: {html: true, whitespace: true}\n  columns:")
    (project / "task.yaml").write_text(text)
    done = luthier(
        "run", "task.yaml", "--set", "train.max_steps=2", "--set", "data.semantic=off", "--json", cwd=project
    )
    assert done.returncode in (0, 1), done.stderr
    predictor = load_predictor(project / only_object(done)["bundle"])
    plain, dressed = predictor.predict(["the parcel has not arrived", "<p>the   parcel <b>has not</b> arrived</p>"])
    assert plain.scores == pytest.approx(dressed.scores, abs=1e-6)
    assert predictor.predict(["<br>"])[0].label in predictor.labels


@pytest.mark.slow
def test_templates_that_reuse_an_item_are_found_and_named_in_t0(tmp_path: Path) -> None:
    archive = SHARED / "t0_train_50k" / "t0_train_50k_per_template.tar.gz"
    if not archive.is_file():
        pytest.skip("notice: the T0 rows are not beside this checkout")
    with tarfile.open(archive) as opened:
        opened.extractall(tmp_path / "t0", filter="data")
    for path in (tmp_path / "t0").rglob("*.jsonl"):
        if not path.name.startswith(("ag_news", "imdb", "rotten", "cnn", "samsum")) or not path.stat().st_size:
            path.unlink()
    (tmp_path / "t0" / "data_per_template").rename(tmp_path / "rows")
    task(tmp_path, f"source: rows, {QUICK}", objective="generate")
    done = luthier("check", "task.yaml", "--json", "--set", "model.base=embedded", cwd=tmp_path)
    found = only_object(done)
    assert done.returncode == 2 and found["leaks"]["item"] > 500
    item = next(leak for leak in found["leak_examples"] if leak["kind"] == "item")
    assert item["passage"] and item["where"].split(":")[0] != item["other_where"].split(":")[0]
    fixed = only_object(luthier("prepare", "task.yaml", "--json", "--set", "data.leaks=fix", cwd=tmp_path))
    assert fixed["leaks"]["item"] == 0
    # Items go to one side whole: little has to be left out.
    assert fixed["splits"]["test"] > 0.1 * found["rows"] and sum(fixed["splits"].values()) > 0.9 * sum(
        found["splits"].values()
    )
