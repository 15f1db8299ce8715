"""Copies of public data are written from the authors' files, plain as they give them or gzipped as the project keeps them."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path

import pytest

from bench.local import clinc150, gsm8k, movielens, sst2

QUERIES = {
    "train": [["what is on my card", "balance"], ["quote \"this\",\nplease", "translate"]], "val": [["send 5 €", "transfer"]],
    "test": [["how much is left", "balance"]], "oos_train": [["why is the sky blue", "oos"]], "oos_val": [], "oos_test": [["sing", "oos"]],
}  # fmt: skip
RATINGS = "userId,movieId,rating,timestamp\r\n1,7,4.0,964982703\r\n2,9,0.5,964982704\r\n"
FILMS = 'movieId,title,genres\r\n7,"Nameless, The (1999)",Drama\r\n9,Elsewhere (2001),Comedy|Drama\r\n'
SUMS = json.dumps({"question": "2 + 2?", "answer": "It is 4.\n#### 4"}) + "\n"
PHRASES = "sentence\tlabel\na fine film\t1\na dull film\t0\n"
# The maker, its folder, the files that may be either, and those beside them.
MAKERS = {
    "clinc150": (clinc150, "clinc150", {"data_full.json": json.dumps(QUERIES)}, {}),
    "movielens": (movielens, "movielens_latest_small", {"ratings.csv": RATINGS}, {"movies.csv": FILMS}),
    "gsm8k": (gsm8k, "gsm8k", {"train.jsonl": SUMS * 3, "test.jsonl": SUMS}, {}),
    "sst2": (sst2, "sst2", {"train.tsv": PHRASES}, {"dev.tsv": PHRASES, "test.tsv": PHRASES}),
}


def laid(data: Path, name: str, *, packed: bool) -> None:
    _, folder, either, beside = MAKERS[name]
    (data / folder).mkdir(parents=True)
    for file, text in either.items():
        if packed:
            (data / folder / f"{file}.gz").write_bytes(gzip.compress(text.encode()))
        else:
            (data / folder / file).write_bytes(text.encode())
    for file, text in beside.items():
        (data / folder / file).write_bytes(text.encode())


def written(data: Path, out: Path, name: str) -> dict[str, bytes]:
    out.mkdir()
    return {path.name: path.read_bytes() for path in MAKERS[name][0].write(data, out)}


@pytest.mark.parametrize("name", MAKERS)
def test_plain_files_and_gzipped_ones_give_the_same(name: str, tmp_path: Path) -> None:
    laid(tmp_path / "plain", name, packed=False)
    laid(tmp_path / "packed", name, packed=True)
    plain, packed = (written(tmp_path / kind, tmp_path / f"{kind}-out", name) for kind in ("plain", "packed"))
    assert plain == packed and all(plain.values())


def test_what_is_written_is_what_the_authors_say(tmp_path: Path) -> None:
    for name in MAKERS:
        laid(tmp_path / "data", name, packed=False)
    written(tmp_path / "data", tmp_path / "clinc150", "clinc150")
    read = {path.stem: list(csv.DictReader(path.open(encoding="utf-8", newline=""))) for path in (tmp_path / "clinc150").iterdir()}
    assert read == {
        side: [{"text": text, "intent": intent} for text, intent in (*QUERIES[key], *QUERIES[f"oos_{key}"])]
        for side, key in (("train", "train"), ("valid", "val"), ("test", "test"))
    }
    assert written(tmp_path / "data", tmp_path / "films", "movielens") == {"ratings.csv": RATINGS.encode(), "movies.csv": FILMS.encode()}
    sums = written(tmp_path / "data", tmp_path / "sums", "gsm8k")
    assert sums == {"train.jsonl": (SUMS * 3).encode(), "test.jsonl": SUMS.encode()}
    assert written(tmp_path / "data", tmp_path / "films2", "sst2")["test.csv"].splitlines()[1] == b"a fine film,positive"


@pytest.mark.parametrize("name", MAKERS)
def test_a_file_that_is_not_there_is_named_both_ways_and_where_to_get_it(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    maker, _, either, _ = MAKERS[name]
    with pytest.raises(SystemExit) as ended:
        maker.write(tmp_path, tmp_path)
    file = next(iter(either))
    said = capsys.readouterr().err
    assert ended.value.code == 2 and f"neither {file} nor {file}.gz" in said and maker.ORIGIN in said
