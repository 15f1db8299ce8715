"""Files are whole or absent, hashes tell of every change, one process holds a run."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luthier.base.errors import BundleError, Fault, LuthierError, StorageError, did_you_mean
from luthier.base.files import locked, new_folder, storage, verify_manifest, write_json, write_manifest, write_text
from luthier.base.seeds import derive_seed, stable_fraction, stable_hash


def test_a_failed_folder_leaves_nothing_and_keeps_the_old(tmp_path: Path) -> None:
    with new_folder(tmp_path / "made") as building:
        (building / "a").write_text("one")
    with pytest.raises(RuntimeError), new_folder(tmp_path / "made") as building:
        (building / "a").write_text("two")
        raise RuntimeError
    assert [p.name for p in tmp_path.iterdir()] == ["made"]
    assert (tmp_path / "made" / "a").read_text() == "one"
    with new_folder(tmp_path / "made") as building:
        (building / "b").write_text("three")
    assert [p.name for p in (tmp_path / "made").iterdir()] == ["b"]
    assert [p.name for p in tmp_path.iterdir()] == ["made"]


def test_a_killed_writer_leaves_the_old_file_whole(tmp_path: Path) -> None:
    target = tmp_path / "x.json"
    write_json(target, {"kept": True})
    code = (
        "import os, sys\nfrom pathlib import Path\nimport luthier.base.files as f\n"
        "f.os.fsync = lambda fd: os.kill(os.getpid(), 9)\nf.write_json(Path(sys.argv[1]), {'kept': False, 'big': 'x' * 100000})"
    )
    done = subprocess.run([sys.executable, "-c", code, str(target)])
    assert done.returncode == -9
    assert json.loads(target.read_text()) == {"kept": True}


def test_nan_is_not_json(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Out of range"):
        write_json(tmp_path / "x.json", {"loss": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_a_manifest_tells_of_every_change(tmp_path: Path) -> None:
    write_text(tmp_path / "a" / "weights", "abc")
    write_manifest(tmp_path, kind="test")
    assert verify_manifest(tmp_path)["kind"] == "test"
    (tmp_path / "a" / "weights").write_text("abd")
    with pytest.raises(BundleError, match="not the one that was written"):
        verify_manifest(tmp_path)
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(BundleError, match="cannot be read"):
        verify_manifest(tmp_path)


@pytest.mark.parametrize(
    ("error", "words"),
    [(OSError(errno.ENOSPC, "x"), "disk is full"), (OSError(errno.EROFS, "x"), "cannot be written"),
     (RuntimeError("Io error: No space left on device (os error 28)"), "disk is full")],
)  # fmt: skip
def test_storage_faults_say_what_to_do(tmp_path: Path, error: Exception, words: str) -> None:
    with pytest.raises(StorageError, match=words) as caught, storage(tmp_path / "not" / "there"):
        raise error
    assert "--out" in caught.value.faults[0].mend


def test_one_process_holds_a_folder(tmp_path: Path) -> None:
    with locked(tmp_path / "run"), pytest.raises(StorageError, match="another process"), locked(tmp_path / "run"):
        pass
    with locked(tmp_path / "run"):
        pass


def test_errors_list_twenty_and_count_the_rest() -> None:
    text = str(LuthierError.of(Fault(f"wrong {i}", f"a.csv:{i}", "Mend it.") for i in range(25)))
    assert text.splitlines()[0] == "a.csv:0: wrong 0. Mend it."
    assert text.splitlines()[-1] == "... and 5 more"
    assert did_you_mean("billling", ["account", "billing"]) == 'Did you mean "billing"?'
    assert did_you_mean("zzz", ["account"]) == ""


@given(st.text(), st.integers(0, 5))
def test_stable_fractions_are_fractions(key: str, seed: int) -> None:
    assert 0 <= stable_fraction(key, seed=seed) < 1
    assert stable_fraction(key, seed=seed) == stable_fraction(key, seed=seed)


def test_hashes_never_change() -> None:
    """Splits and run folders of years hang on these values."""
    known = (
        stable_hash({"b": 1, "a": [None, "ü"]}),
        round(stable_fraction("C1001", seed=0), 12),
        derive_seed(7, "batches", 3),
    )
    assert known == KNOWN


KNOWN = ("86c12bea16c4aa4b99657d37d135d0de", 0.492317512703, 8416762471756170633)


def test_umask_is_respected_enough_to_read(tmp_path: Path) -> None:
    write_text(tmp_path / "x", "y")
    assert os.stat(tmp_path / "x").st_mode & 0o777 == 0o644
