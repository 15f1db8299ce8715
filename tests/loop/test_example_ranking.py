"""The ranking examples in a short form: they run, and say what their read-me says they say."""

from __future__ import annotations

from pathlib import Path

import pytest
from commands import luthier, only_object

from bench.local import movielens

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.slow
def test_the_help_centre_is_searched(tmp_path: Path) -> None:
    short = ["--set", "train.max_steps=2", "--set", "train.evaluations=1"]
    record = only_object(
        luthier("run", EXAMPLES / "help-search", "--out", tmp_path / "run", *short, "--json", cwd=tmp_path)
    )
    assert record["metrics"]["test"]["ndcg@10"]["value"] > record["baselines"]["bm25"]["ndcg@10"] + 0.2
    line = "the bike was gone when I came out of the shop\n"
    found = luthier("predict", tmp_path / "run" / "bundle", "-", cwd=tmp_path, text=line).stdout
    assert "When a bike is stolen" in found


@pytest.mark.slow
def test_films_are_recommended(tmp_path: Path, shared_data: Path, tiny_bert: Path) -> None:
    ratings, movies = movielens.write(shared_data, tmp_path)
    lines = ratings.read_text("utf-8").splitlines()
    assert len(lines) == 100_837
    # 100 people and a tiny model: the interactions do the work.
    few = [line for line in lines[1:] if int(line.split(",")[0]) <= 100]
    ratings.write_text("\n".join([lines[0], *few]) + "\n", "utf-8")
    settings = [
        f"data.source={ratings}", f"data.items.source={movies}", f"model.base={tiny_bert}", "train.max_steps=3",
        "train.evaluations=1", "train.batch=16", "evaluate.bootstrap=200",
    ]  # fmt: skip
    asked = [part for setting in settings for part in ("--set", setting)]
    task = EXAMPLES / "film-recommendation"
    record = only_object(luthier("run", task, "--out", tmp_path / "run", *asked, "--json", cwd=tmp_path))
    assert record["data"]["test"] > 1000 and record["data"]["leaks"] == 0
    assert {"popularity", "item_knn", "untuned"} == record["baselines"].keys()
    found = record["metrics"]["test"]
    assert all(found["ndcg@10"]["value"] > record["baselines"][rival]["ndcg@10"] for rival in ("untuned", "popularity"))
