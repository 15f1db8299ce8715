"""The ledger: appends only, survives a killed process, and says what is wrong with a file."""

from __future__ import annotations

import multiprocessing
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.base.errors import LedgerError, StorageError
from luthier.ledger import migrations
from luthier.ledger.entries import IdMaker, NewPrediction, UnknownPrediction, moment
from luthier.ledger.store import Ledger


def row(text: str = "where is my parcel", label: str = "delivery") -> NewPrediction:
    return NewPrediction("classify", "b1", {"text": text}, {"label": label, "scores": {label: 1.0}}, 1.5)


@pytest.fixture
def ledger(tmp_path: Path):
    with Ledger(tmp_path / "ledger.sqlite") as opened:
        yield opened


def test_a_prediction_comes_back_as_it_went_in(ledger: Ledger) -> None:
    written = row("Grüße 👋 \x00 end")
    (name,) = ledger.add_predictions([written])
    kept = ledger.get(name)
    assert (kept.inputs, kept.output, kept.latency_ms) == (written.inputs, written.output, 1.5)
    assert (kept.objective, kept.bundle) == ("classify", "b1")


@settings(max_examples=50, deadline=None)
@given(text=st.text(alphabet=st.characters(codec=None)))
def test_any_text_is_kept_even_half_a_character(text: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    with Ledger(tmp_path_factory.mktemp("any") / "l.sqlite") as ledger:
        (name,) = ledger.add_predictions([row(text)])
        assert ledger.get(name).inputs == {"text": text}


def test_ids_sort_in_the_order_of_writing_even_when_the_clock_goes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([100.0, 100.0, 99.0, 50.0, 101.0])
    monkeypatch.setattr("luthier.ledger.entries.time.time", lambda: next(times))
    make = IdMaker()
    ids = [make() for _ in range(5)]
    assert ids == sorted(ids)
    assert len(set(ids)) == 5
    assert all(len(name) == 32 for name in ids)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE predictions SET output = '{}'",
        "DELETE FROM predictions",
        "INSERT OR REPLACE INTO predictions SELECT * FROM predictions",
        "INSERT OR REPLACE INTO predictions (id, at, objective, bundle, inputs, output, latency_ms) "
        "SELECT id, at, objective, bundle, '{}', '{}', 0 FROM predictions",
        "UPDATE feedback SET label = 'other'",
        "DELETE FROM feedback",
        "INSERT OR REPLACE INTO feedback SELECT * FROM feedback",
    ],
)
def test_nothing_written_can_be_changed_by_any_program(ledger: Ledger, statement: str) -> None:
    (name,) = ledger.add_predictions([row()])
    ledger.add_feedback(name, label="billing", by="ann")
    before = list(ledger.corrections())
    foreign = sqlite3.connect(ledger.path)
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        foreign.execute(statement)
    foreign.close()
    assert list(ledger.corrections()) == before


def test_feedback_needs_a_known_prediction_and_content(ledger: Ledger) -> None:
    with pytest.raises(UnknownPrediction, match="no prediction has the id"):
        ledger.add_feedback("nope", label="billing")
    with pytest.raises(UnknownPrediction):
        ledger.get("nope")
    (name,) = ledger.add_predictions([row()])
    with pytest.raises(LedgerError, match="without content"):
        ledger.add_feedback(name, by="ann")
    assert ledger.counts() == {"predictions": 1, "feedback": 0, "judged": 0}


def test_the_latest_judgement_counts_and_a_comment_takes_nothing_back(ledger: Ledger) -> None:
    first, second, third = ledger.add_predictions([row("a"), row("b"), row("c")])
    ledger.add_feedback(first, label="billing")
    ledger.add_feedback(second, label="account")
    ledger.add_feedback(first, label="account", by="bob")
    ledger.add_feedback(first, comment="I am sure")
    ledger.add_feedback(third, comment="no idea")
    said = [(p.id, f.label, f.by) for p, f in ledger.corrections()]
    assert said == [(second, "account", None), (first, "account", "bob")]
    assert ledger.counts() == {"predictions": 3, "feedback": 5, "judged": 2}


def test_since_leaves_out_what_was_said_before(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    old, both = ledger.add_predictions([row("a"), row("b")])
    monkeypatch.setattr("luthier.ledger.store.now", lambda: "2026-01-01T00:00:00.000Z")
    ledger.add_feedback(old, label="billing")
    ledger.add_feedback(both, label="billing")
    monkeypatch.setattr("luthier.ledger.store.now", lambda: "2026-02-01T10:00:00.000Z")
    ledger.add_feedback(both, rating=-1)
    assert [(p.id, f.rating) for p, f in ledger.corrections("2026-02-01")] == [(both, -1)]
    assert len(list(ledger.corrections("2026-02-01T11:00:00+01:00"))) == 1
    assert len(list(ledger.corrections("2026-02-01T10:00:01"))) == 0
    with pytest.raises(LedgerError, match="not a date"):
        list(ledger.corrections("yesterday"))


def test_a_moment_is_utc_of_one_width() -> None:
    assert moment("2026-01-31") == "2026-01-31T00:00:00.000Z"
    assert moment("2026-01-31T09:00:00.5+01:00") == "2026-01-31T08:00:00.500Z"


def test_many_threads_append_and_nothing_is_lost(ledger: Ledger) -> None:
    ids: list[str] = []

    def work(number: int) -> None:
        for i in range(10):
            added = ledger.add_predictions([row(f"{number}-{i}-a"), row(f"{number}-{i}-b")])
            ledger.add_feedback(added[0], rating=1)
            ids.extend(added)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert ledger.counts() == {"predictions": 160, "feedback": 80, "judged": 80}
    assert len({ledger.get(name).inputs["text"] for name in ids}) == 160


def _append(path: str, times: int) -> None:
    with Ledger(Path(path)) as ledger:
        for i in range(times):
            ledger.add_predictions([row(str(i))])


def test_processes_may_open_and_fill_one_new_ledger_together(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    spawn = multiprocessing.get_context("spawn")
    processes = [spawn.Process(target=_append, args=(str(path), 25)) for _ in range(3)]
    [p.start() for p in processes]
    [p.join(60) for p in processes]
    assert [p.exitcode for p in processes] == [0, 0, 0]
    with Ledger(path) as ledger:
        assert ledger.counts()["predictions"] == 75


def _open_each(folder: str, count: int, together: Any) -> None:
    for i in range(count):
        together.wait(30)
        Ledger(Path(folder) / f"{i}.sqlite").close()


def test_processes_may_open_one_new_ledger_at_the_same_moment(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    together = spawn.Barrier(3)
    processes = [spawn.Process(target=_open_each, args=(str(tmp_path), 80, together)) for _ in range(3)]
    [p.start() for p in processes]
    [p.join(60) for p in processes]
    assert [p.exitcode for p in processes] == [0, 0, 0]


def test_rows_survive_a_killed_process(tmp_path: Path) -> None:
    script = (
        "import os, signal, sys; from pathlib import Path; from luthier.ledger.store import Ledger\n"
        "from luthier.ledger.entries import NewPrediction\n"
        "ledger = Ledger(Path(sys.argv[1]))\n"
        "for i in range(20): ledger.add_predictions([NewPrediction('classify', 'b', {'text': str(i)}, {}, 1.0)])\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    path = tmp_path / "ledger.sqlite"
    done = subprocess.run([sys.executable, "-c", script, str(path)], cwd=Path(__file__).parents[2], timeout=60)
    assert done.returncode == -9
    with Ledger(path) as ledger:
        assert ledger.counts()["predictions"] == 20


def test_a_batch_is_written_whole_or_not_at_all(ledger: Ledger) -> None:
    bad = NewPrediction("classify", "b1", {"text": "x"}, {"label": "x"}, None)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        ledger.add_predictions([row(), bad])
    ledger._connection.execute("PRAGMA max_page_count = 16")
    many = [row("x" * 5000) for _ in range(40)]
    with pytest.raises(StorageError, match="disk is full"):
        ledger.add_predictions(many)
    assert ledger.counts()["predictions"] == 0


def test_a_full_disk_is_told_and_earlier_rows_stay(ledger: Ledger) -> None:
    (name,) = ledger.add_predictions([row()])
    ledger._connection.execute("PRAGMA max_page_count = 1")
    with pytest.raises(StorageError) as caught:
        ledger.add_predictions([row("y" * 100_000)])
    fault = caught.value.faults[0]
    assert "full" in fault.what
    assert fault.where == str(ledger.path)
    assert fault.mend
    assert ledger.get(name).inputs == row().inputs


def test_a_lock_held_by_another_program_is_told(tmp_path: Path) -> None:
    with Ledger(tmp_path / "ledger.sqlite", busy_s=0.1) as ledger:
        holder = sqlite3.connect(ledger.path, isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(LedgerError, match="locked"):
            ledger.add_predictions([row()])
        with pytest.raises(LedgerError, match="locked"):
            ledger.check_writable()
        holder.execute("ROLLBACK")
        holder.close()
        ledger.check_writable()
        assert len(ledger.add_predictions([row()])) == 1


def test_a_file_taken_away_stops_the_writing(ledger: Ledger) -> None:
    ledger.path.rename(ledger.path.with_suffix(".gone"))
    with pytest.raises(LedgerError, match="moved, deleted or replaced"):
        ledger.add_predictions([row()])
    with pytest.raises(LedgerError, match="moved, deleted or replaced"):
        ledger.check_writable()
    ledger.path.write_bytes(b"")
    with pytest.raises(LedgerError, match="moved, deleted or replaced"):
        ledger.add_predictions([row()])


def test_a_read_only_ledger_is_told(ledger: Ledger) -> None:
    ledger._connection.execute("PRAGMA query_only = ON")
    with pytest.raises(StorageError, match="cannot be opened for writing"):
        ledger.add_predictions([row()])


def test_a_nearly_full_disk_is_not_ready(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    import shutil

    usage = shutil.disk_usage(ledger.path.parent)._replace(free=1000)
    monkeypatch.setattr("luthier.ledger.store.shutil.disk_usage", lambda path: usage)
    with pytest.raises(StorageError, match="full"):
        ledger.check_writable()


def test_what_is_not_a_ledger_is_refused_and_left_as_it_was(tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("not a database at all, but long enough to look at" * 50)
    with pytest.raises(LedgerError, match="not a ledger") as caught:
        Ledger(text)
    assert caught.value.faults[0].where == str(text)
    assert caught.value.faults[0].mend

    foreign = tmp_path / "other.sqlite"
    other = sqlite3.connect(foreign)
    other.execute("CREATE TABLE songs (name)")
    other.commit()
    other.close()
    before = foreign.read_bytes()
    with pytest.raises(LedgerError, match="another program's"):
        Ledger(foreign)
    assert foreign.read_bytes() == before

    with pytest.raises(StorageError, match="a folder"):
        Ledger(tmp_path)
    with pytest.raises(StorageError, match="folder is needed"):
        Ledger(text / "ledger.sqlite")


def test_a_damaged_ledger_is_told(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    with Ledger(path) as ledger:
        ledger.add_predictions([row("x" * 500) for _ in range(200)])
    data = bytearray(path.read_bytes())
    data[4096:-4096] = b"\xff" * (len(data) - 8192)
    path.write_bytes(data)
    with pytest.raises(LedgerError, match="damaged"), Ledger(path) as ledger:
        list(ledger.corrections())
        ledger.add_predictions([row()])
        ledger.counts()


def test_a_newer_ledger_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    Ledger(path).close()
    raw = sqlite3.connect(path)
    raw.execute("PRAGMA user_version = 99")
    raw.close()
    with pytest.raises(LedgerError, match="newer Luthier"):
        Ledger(path)


def test_an_older_ledger_is_brought_up_and_keeps_its_rows(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    raw = sqlite3.connect(path, isolation_level=None)
    assert migrations.migrate(raw, "old", migrations.MIGRATIONS[:1]) == 1
    raw.execute(
        "INSERT INTO predictions VALUES (1, 'p1', '2026-01-01T00:00:00.000Z', 'classify', 'b', '{}', '{}', 1.0)"
    )
    raw.close()
    with Ledger(path) as ledger:
        assert ledger.version == len(migrations.MIGRATIONS)
        assert ledger.get("p1").bundle == "b"
        with pytest.raises(LedgerError, match="append-only"), ledger._writing() as connection:
            connection.execute("DELETE FROM predictions")


def test_a_migration_that_fails_leaves_the_version_before_it(tmp_path: Path) -> None:
    raw = sqlite3.connect(tmp_path / "x.sqlite", isolation_level=None)
    broken = (*migrations.MIGRATIONS, ("CREATE TABLE extra (a)", "CREATE TABLE extra (a)"))
    with pytest.raises(sqlite3.OperationalError, match="already exists"):
        migrations.migrate(raw, "x", broken)
    assert raw.execute("PRAGMA user_version").fetchone()[0] == len(migrations.MIGRATIONS)
    assert raw.execute("SELECT count(*) FROM sqlite_master WHERE name = 'extra'").fetchone()[0] == 0
    assert migrations.migrate(raw, "x") == len(migrations.MIGRATIONS)
    raw.close()


def test_reading_does_not_stop_writing(ledger: Ledger) -> None:
    for name in ledger.add_predictions([row(str(i)) for i in range(50)]):
        ledger.add_feedback(name, rating=1)
    seen = 0
    for _ in ledger.corrections():
        ledger.add_predictions([row()])
        seen += 1
    assert seen == 50
    assert ledger.counts()["predictions"] == 100
