"""From files to a prepared folder: faults all at once, leaks stopped or fixed, same input, same folder."""

from __future__ import annotations

import csv
import json
import random
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from luthier.base.errors import BundleError, DataError
from luthier.base.files import verify_manifest
from luthier.data.prepare import load_prepared, prepare, read_examples, stops, survey
from luthier.data.report import DataReport, Prepared
from luthier.spec.data import DataSection

NO_LEAKS = {"exact": 0, "group": 0, "time": 0, "item": 0, "held_out": 0, "near": 0, "semantic": None}
WORDS = ["card", "bill", "parcel", "late", "login", "price", "return", "lost", "help", "paid", "twice", "refund", "app"]


def texts(count: int, seed: int = 0) -> list[str]:
    """Make different texts that are not near to each other."""
    rng = random.Random(seed)
    return [f"{' '.join(rng.choices(WORDS, k=5))} {seed}x{i} {rng.random()}" for i in range(count)]


def write(path: Path, rows: Sequence[Sequence[Any]], header: Sequence[str] = ("text", "label")) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def labelled(count: int = 100, seed: int = 0) -> list[list[str]]:
    return [[text, "abc"[i % 3]] for i, text in enumerate(texts(count, seed))]


def section(**values: Any) -> DataSection:
    # Opening the model that embeds takes seconds: the same meaning has tests of its own.
    return DataSection(**({"source": "m.csv", "semantic": "off", "label_errors": "off"} | values))


def faults_of(data: DataSection, base: Path, objective: str = "classify") -> list[str]:
    with pytest.raises(DataError) as caught:
        survey(data, objective, base=base)
    return [str(fault) for fault in caught.value.faults]


def whats(prepared: Prepared) -> str:
    return "\n".join(str(p) for p in prepared.report.problems)


def test_survey_counts_everything(tmp_path: Path) -> None:
    rows = labelled(100)
    rows += [["", "a"], ["x", ""], rows[0], [rows[1][0].upper(), "c"], ["write to jo@example.com now", "a"]]
    write(tmp_path / "m.csv", rows)
    found = survey(section(), "classify", base=tmp_path)
    report = found.report
    assert report.rows == 105 and sum(report.splits.values()) == 101
    assert report.dropped == {"empty text": 1, "no label": 1, "duplicate": 1, "same text, other label": 1}
    assert report.duplicates == {"exact": 1, "conflicting": 1, "near": 0, "semantic": None}
    assert report.leaks == NO_LEAKS
    assert found.labels == ("a", "b", "c")
    assert {label: sum(n.values()) for label, n in report.labels.items()} == {"a": 35, "b": 33, "c": 33}
    assert report.personal == {"email": 1} and "m.csv:106" in whats(found)
    assert report.recognised_as == "text, label"
    assert report.files[0]["name"] == "m.csv" and report.files[0]["rows"] == 105
    sizes = sorted(len(e.inputs["text"]) for side in (found.train, found.valid, found.test) for e in side)
    assert report.lengths["max_chars"] == sizes[-1] and report.lengths["median_chars"] == sizes[50]
    assert [str(d.source) for d in found.dropped] == ["m.csv:102", "m.csv:103", "m.csv:104", "m.csv:105"]
    assert DataReport.from_dict(json.loads(json.dumps(report.as_dict()))) == report
    assert found.folder is None


def test_faults_of_all_files_come_together(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_bytes(b"text,label\na\xff,b\nc\n")
    (tmp_path / "t.csv").write_text("txt,label\na,b\n")
    shown = faults_of(section(test="t.csv", valid="v.csv"), tmp_path)
    assert len(shown) == 4
    assert shown[0].startswith("v.csv: no such file")
    assert shown[1].startswith("m.csv:2: byte 0xFF") and shown[2].startswith("m.csv:3: 1 cells")
    assert shown[3].startswith('t.csv:1: no column "text"') and 'Did you mean "txt"?' in shown[3]


def test_useless_data_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "m.csv", [[t, "a"] for t in texts(60)])
    assert 'every train row has the label "a".' in faults_of(section(), tmp_path)[0]
    write(tmp_path / "m.csv", [["", "a"], ["x", ""], ["y", ""]])
    assert faults_of(section(), tmp_path) == [
        "data.source: no rows are left: 2 dropped for no label (first: m.csv:3), "
        "1 dropped for empty text (first: m.csv:2). Check data.columns."
    ]
    write(tmp_path / "m.csv", labelled(60))
    assert "no test rows are left" in faults_of(section(split={"test": 0.0}), tmp_path)[0]
    assert "leave nothing to train on" in faults_of(section(split={"test": 0.6, "valid": 0.5}), tmp_path)[0]
    write(tmp_path / "m.csv", [[*row, "one"] for row in labelled(60)], ("text", "label", "who"))
    assert any("All rows of one who stay together" in f for f in faults_of(section(split={"by": "who"}), tmp_path))


def test_a_label_never_trained_on_is_a_fault_only_in_official_files(tmp_path: Path) -> None:
    write(tmp_path / "m.csv", [[t, ["billing", "account"][i % 2]] for i, t in enumerate(texts(60))])
    write(tmp_path / "t.csv", [["q1", "billing"], ["q2", "billling"], ["q3", "billling"], ["q4", "zebra"]])
    shown = faults_of(section(test="t.csv"), tmp_path)
    assert shown[0].startswith('t.csv:3: label "billling" (2 rows of data.test) is never in train')
    assert shown[0].endswith('Did you mean "billing"?') and '"zebra"' in shown[1] and len(shown) == 2

    rows = labelled(60)
    for i in range(200):  # a label of one row, wherever the hash puts it
        write(tmp_path / "m.csv", [*rows, [f"a lonely text number {i}", "rare"]])
        found = survey(section(), "classify", base=tmp_path)
        if any(e.target == "rare" for e in found.test):
            break
    assert 'only valid or test rows, of "rare"' in whats(found) and "rare" not in found.labels
    assert found.report.labels["rare"] == {"train": 0, "valid": 0, "test": 1}


def leaking(tmp_path: Path) -> DataSection:
    rows = [[*row, f"c{i}"] for i, row in enumerate(labelled(90))]
    test = [[t, "a", f"t{i}"] for i, t in enumerate(texts(20, 5))]
    test += [[rows[3][0].upper() + "!", "a", "t30"], ["another text of c7", "b", "c7"]]
    test += [[rows[10][0] + " " + "thanks", "b", "t31"]]
    header = ("text", "label", "customer")
    write(tmp_path / "m.csv", rows, header)
    write(tmp_path / "t.csv", test, header)
    return section(test="t.csv", split={"by": "customer", "valid": 0.0})


def test_leaks_stop_with_both_places(tmp_path: Path) -> None:
    data = leaking(tmp_path)
    found = survey(data, "classify", base=tmp_path)
    assert found.report.leaks == NO_LEAKS | {"exact": 1, "near": 2, "group": 1}
    assert found.report.stopping == {"exact": 1, "group": 1}
    faults = stops(found, data)
    assert faults[0].where == "data.leaks" and "1 by their text, 1 by customer" in faults[0].what
    assert "Set data.leaks: fix" in faults[0].mend
    assert [(f.where, f.what.split()[-1]) for f in faults[1:]] == [("m.csv:5", "t.csv:22"), ("m.csv:9", "t.csv:23")]
    with pytest.raises(DataError) as caught:
        prepare(data, "classify", base=tmp_path, out=tmp_path / "out")
    assert list(caught.value.faults) == faults and not (tmp_path / "out").exists()
    assert stops(found, data.model_copy(update={"leaks": "allow"})) == []


def test_fix_leaves_out_the_train_side(tmp_path: Path) -> None:
    data = leaking(tmp_path).model_copy(update={"leaks": "fix"})
    found = prepare(data, "classify", base=tmp_path, out=tmp_path / "out")
    assert len(found.test) == 23 and len(found.train) == 88
    assert found.report.leaks == NO_LEAKS | {"near": 2}
    assert found.report.dropped == {"leak: also in test": 2}
    assert {(str(d.source), d.detail) for d in found.dropped} == {
        ("m.csv:5", "same text as t.csv:22"),
        ("m.csv:9", "same group as t.csv:23"),
    }
    assert "rows one or two words away" in whats(found) and "m.csv:12" in whats(found)


def test_allow_tells_it(tmp_path: Path) -> None:
    data = leaking(tmp_path).model_copy(update={"leaks": "allow"})
    found = prepare(data, "classify", base=tmp_path, out=tmp_path / "out")
    assert len(found.train) == 90 and found.report.leaks["exact"] == 1
    assert whats(found).count("data.leaks: allow") == 2


def test_fix_that_empties_train_is_a_fault(tmp_path: Path) -> None:
    write(tmp_path / "m.csv", labelled(30))
    data = section(test="m.csv", leaks="fix")
    with pytest.raises(DataError, match="no train rows are left: 30 dropped for leak: also in test"):
        prepare(data, "classify", base=tmp_path, out=tmp_path / "out")


def test_prepared_folder_is_whole_and_reused(tmp_path: Path) -> None:
    write(tmp_path / "m.csv", [*labelled(80), ["", "a"]])
    made = prepare(section(), "classify", base=tmp_path, out=tmp_path / "out")
    assert made.folder == tmp_path / "out" / made.report.fingerprint[:16]
    names = {p.name for p in made.folder.iterdir()}
    assert names == {
        "train.jsonl", "valid.jsonl", "test.jsonl", "dropped.jsonl", "data.json", "manifest.json", "README.md",
    }  # fmt: skip
    assert verify_manifest(made.folder)["fingerprint"] == made.report.fingerprint
    assert load_prepared(made.folder) == made
    before = (made.folder / "train.jsonl").stat().st_mtime_ns
    assert prepare(section(), "classify", base=tmp_path, out=tmp_path / "out") == made
    assert (made.folder / "train.jsonl").stat().st_mtime_ns == before

    with (made.folder / "train.jsonl").open("a") as file:
        file.write("{}\n")
    with pytest.raises(BundleError, match="not the one that was written"):
        load_prepared(made.folder)
    assert prepare(section(), "classify", base=tmp_path, out=tmp_path / "out") == made
    assert load_prepared(made.folder) == made
    assert len(list((tmp_path / "out").iterdir())) == 1


def test_fingerprint_knows_content_and_settings_not_places(tmp_path: Path) -> None:
    first, second = tmp_path / "one", tmp_path / "two" / "deep"
    for folder in (first, second):
        folder.mkdir(parents=True)
        write(folder / "m.csv", labelled(60))
        write(folder / "n.csv", labelled(20, seed=4))

    def mark(folder: Path, objective: str = "classify", **values: Any) -> str:
        return survey(section(**values), objective, base=folder).report.fingerprint

    plain = mark(first)
    assert plain == mark(second) == mark(tmp_path, source=str(first / "m.csv"))
    others = [
        mark(first, source=["m.csv", "n.csv"]),
        mark(first, source=["n.csv", "m.csv"]),
        mark(first, split={"seed": 1}),
        mark(first, leaks="allow"),
        mark(first, columns={"text": "label", "label": "text"}, duplicates="keep"),
    ]
    assert len({plain, *others}) == 6
    text = (first / "m.csv").read_text()
    (first / "m.csv").write_text(text.replace("card", "cart", 1))
    assert mark(first) != plain


def test_more_rows_leave_the_old_ones_where_they_were(tmp_path: Path) -> None:
    write(tmp_path / "m.csv", labelled(120))
    write(tmp_path / "n.csv", labelled(80, seed=9))

    def where(data: DataSection) -> dict[str, str]:
        found = survey(data, "classify", base=tmp_path)
        return {e.id: side for side in ("train", "valid", "test") for e in found.side(side)}  # type: ignore[arg-type]

    old, new = where(section()), where(section(source=["m.csv", "n.csv"]))
    assert len(new) == 200 and {k: new[k] for k in old} == old


def test_official_files_are_never_divided_nor_deduplicated(tmp_path: Path) -> None:
    write(tmp_path / "m.csv", labelled(60))
    write(tmp_path / "t.csv", [["same", "a"], ["Same!", "a"], ["other", "b"]])
    write(tmp_path / "v.csv", [["v1", "a"], ["v2", "b"]])
    found = survey(section(source=".", test="t.csv", valid="v.csv"), "classify", base=tmp_path)
    assert [e.source.line for e in found.test] == [2, 3, 4] and len(found.valid) == 2 and len(found.train) == 60
    assert "are left out of data.source" in whats(found) and "the test file holds again: 1" in whats(found)
    assert stops(found, section()) == []


def test_kept_duplicates_stay_on_one_side(tmp_path: Path) -> None:
    rows = labelled(60)
    write(tmp_path / "m.csv", [*rows, *[[t.upper(), label] for t, label in rows]])
    found = survey(section(duplicates="keep"), "classify", base=tmp_path)
    assert sum(found.report.splits.values()) == 120 and found.report.leaks["exact"] == 0


def test_warnings_say_what_and_where(tmp_path: Path) -> None:
    rows = [[t, "common"] for t in texts(300)] + [[t, "rare"] for t in texts(4, 2)]
    rows += [[t, "Rare"] for t in texts(3, 3)]
    write(tmp_path / "m.csv", rows)
    shown = whats(survey(section(), "classify", base=tmp_path))
    assert 'fewer than 10 train rows of "Rare", "rare"' in shown
    assert (
        'm.csv:306: labels that differ only in how they are written: "Rare", "rare". Did you mean to merge them?'
        in shown
    )
    assert "set bars on macro_f1" in shown
    write(tmp_path / "m.csv", [[f"Dear Sir or Madam, we thank you and {i}", "ab"[i % 2]] for i in range(100)])
    assert "all texts start alike" in whats(survey(section(), "classify", base=tmp_path))
    write(tmp_path / "m.csv", [["ab"[i % 2], t] for i, t in enumerate(texts(100))])
    assert "were text and label swapped?" in whats(
        survey(section(duplicates="keep", split={"valid": 0.0}), "classify", base=tmp_path)
    )
    path = tmp_path / "m.csv"
    path.write_text("text;label\n" + "".join(f"{t};{label}\n" for t, label in labelled(40)))
    shown = whats(survey(section(), "classify", base=tmp_path))
    assert "a semicolon is taken as the delimiter" in shown and "the intervals of every score will be wide" in shown


def test_generate_from_chat_files(tmp_path: Path) -> None:
    with (tmp_path / "m.jsonl").open("w") as file:
        for i, text in enumerate(texts(50)):
            turns = [{"role": "user", "content": text}, {"role": "assistant", "content": f"call +49 170 12345{i:02d}"}]
            file.write(json.dumps({"messages": turns}) + "\n")
    made = prepare(section(source="m.jsonl"), "generate", base=tmp_path, out=tmp_path / "out")
    assert made.labels == () and made.report.labels == {} and made.report.recognised_as == "messages"
    assert made.report.personal == {"phone": 50}
    assert load_prepared(made.folder).train == made.train  # type: ignore[arg-type]


def test_read_examples_for_prediction(tmp_path: Path) -> None:
    write(tmp_path / "new.csv", [["a", "1"], ["a", "2"], ["", "3"]], ("body", "id"))
    data = section(columns={"text": "body", "label": "queue"}, split={"by": "customer"})
    mapped = read_examples("new.csv", data=data, objective="classify", base=tmp_path, need_target=False)
    assert [(e.inputs["text"], e.target, e.extra["id"]) for e in mapped.examples] == [
        ("a", None, "1"),
        ("a", None, "2"),
    ]
    assert len(mapped.dropped) == 1
    with pytest.raises(DataError, match='no column "queue"'):
        read_examples("new.csv", data=data, objective="classify", base=tmp_path, need_target=True)
    with pytest.raises(DataError, match="no such file"):
        read_examples("nwe.csv", data=data, objective="classify", base=tmp_path, need_target=False)


def test_a_file_without_the_group_column_is_told(tmp_path: Path) -> None:
    write(tmp_path / "m.csv", [[*row, f"c{i // 2}"] for i, row in enumerate(labelled(80))], ("text", "label", "who"))
    write(tmp_path / "harvest.csv", labelled(10, seed=8))
    found = survey(section(source=["m.csv", "harvest.csv"], split={"by": "who"}), "classify", base=tmp_path)
    assert 'harvest.csv: no values of "who"' in whats(found)
    sides: dict[str | None, set[str]] = {}
    for side in ("train", "valid", "test"):
        for e in found.side(side):  # type: ignore[arg-type]
            sides.setdefault(e.group, set()).add(side)
    assert all(len(s) == 1 for group, s in sides.items() if group is not None)


def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "m.csv", labelled(40))

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("luthier.data.prepare.write_manifest", full)
    with pytest.raises(Exception, match="disk is full"):
        prepare(section(), "classify", base=tmp_path, out=tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []
    shutil.rmtree(tmp_path / "out")
