"""Ranking: films for people (MovieLens), help articles and paragraphs for questions, beside simple rankings.

Each task is run as its task file says. On the test rows stand then the simple rivals, the base model before it was tuned,
the tuned network by itself, what users with the same items chose by itself (films), and both as they are served; each with
the 95 % interval of a bootstrap by user or query, and as served against the best rival on the same draws.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.common import (
    ROOT,
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

SHOWN = ("ndcg@10", "recall@10", "mrr", "coverage@10", "novelty@10")
TASKS = ("films", "help", "xquad")
FILES = {"films": ("movielens_latest_small", "ratings.csv.gz"), "xquad": ("xquad_en", "xquad.en.json")}
XQUAD = """\
task: {name: xquad, objective: rank}
data:
  source: questions.csv
  columns: {query: question, item: paragraph}
  items: {source: paragraphs.csv, id: id, text: [title, text]}
accept: {}
"""


def task_of(name: str, data: Path, work: Path) -> tuple[Path, list[str]]:
    """Return the task file and the overrides that aim it at local copies."""
    from bench.local import movielens, xquad

    if name == "help":
        return ROOT / "examples" / "help-search" / "task.yaml", []
    made = work / name
    made.mkdir(exist_ok=True)
    if name == "films":
        ratings, movies = movielens.write(data, made)
        example = ROOT / "examples" / "film-recommendation" / "task.yaml"
        return example, [f"data.source={ratings}", f"data.items.source={movies}"]
    xquad.write(data, made)
    (made / "task.yaml").write_text(XQUAD, encoding="utf-8")
    return made / "task.yaml", []


def part_run(given: Mapping[str, Any]) -> dict[str, Any]:
    """Run a task, then measure every contender on its test rows."""
    from luthier.data.prepare import load_prepared
    from luthier.data.ranking import united
    from luthier.evaluate import compare, intervals
    from luthier.evaluate.baselines.rank import rank_rivals
    from luthier.lifecycle.circle import run
    from luthier.models.catalogue import EMBEDDED, find
    from luthier.models.load import open_base
    from luthier.objectives.rank import Ranker
    from luthier.release.predictor import Predictor, load_predictor
    from luthier.spec.model import ModelSection

    work = Path(given["work"])
    task, overrides = task_of(given["name"], Path(given["data"]), work)
    done = run(task, overrides=[*overrides, *given["overrides"]], out=work / f"run-{given['name']}")
    folder = next((done.folder / "prepared").glob("*/manifest.json")).parent
    data = united(load_prepared(folder))
    inputs, targets = [row.inputs for row in data.test], [row.target for row in data.test]
    served = load_predictor(done.bundle)
    base = Ranker.create(open_base(find(EMBEDDED)), labels=data.labels, model=ModelSection(),
                         known={**Ranker.look(data.train), **data.known})  # fmt: skip
    found = {**rank_rivals(data.train, data.test, data.items), "text, untuned": Predictor(base).predict(inputs)}
    both = served.learner.interactions
    found["as served"] = served.predict(inputs)
    if both is not None:
        for name, share in (("text, tuned", None), ("interactions alone", replace(both, share=1.0))):
            served.learner.interactions = share
            found[name] = served.predict(inputs)
    measured = {
        name: intervals.evaluate_with_intervals("rank", targets, predictions, data.labels)
        for name, predictions in found.items()
    }
    rivals = [name for name in found if name in ("popularity", "item_knn", "bm25", "text, untuned")]
    best = max(rivals, key=lambda name: measured[name]["ndcg@10"]["value"])
    pairs = compare.paired("rank", targets, found[best], found["as served"], data.labels)
    return {
        "rows": len(targets), "items": len(data.items), "train_rows": len(data.train), "best_rival": best,
        "metrics": measured, "against_best_rival": pairs, "training": done.record["training"],
        "seconds": done.record["seconds"],
    }  # fmt: skip


PARTS: dict[str, Part] = {"run": part_run}


def cells(name: str, measured: Mapping[str, Any]) -> list[str]:
    """Return one line of the table."""
    line = [name]
    for metric in SHOWN:
        value, low, high = (measured[metric][key] for key in ("value", "low", "high"))
        line.append("" if value is None else f"{value:.3f}" + ("" if low is None else f" [{low:.3f}, {high:.3f}]"))
    return line


def main() -> None:
    """Run the tasks and write the record."""
    parser = arguments("rank", __doc__ or "")
    parser.add_argument("--task", choices=TASKS, action="append", help="only this one; may be given several times")
    asked = parser.parse_args()
    if asked.part:
        answer_part(PARTS, asked.part, asked.settings)
        return
    names = asked.task or (("help",) if asked.quick else TASKS)
    for name in names:
        if name in FILES:
            need_files(asked.data / FILES[name][0], [FILES[name][1]], "See shared/data/README.md")
    threads = threads_for(asked)
    overrides = ["train.max_steps=2", "train.evaluations=1"] if asked.quick else []
    record: dict[str, Any] = {"machine": machine(threads), "tasks": {}}
    goals, tables = [], []
    with workshop() as work:
        for name in names:
            given = {"name": name, "data": str(asked.data), "overrides": overrides}
            found = run_part("bench.rank", "run", given, threads=threads, work=work, called=name)
            record["tasks"][name] = found
            rows = [cells(contender, measured) for contender, measured in found["metrics"].items()]
            said = f"{name}: {found['rows']} test rows, {found['items']} items"
            tables.append(f"{said}\n\n{markdown(('', *SHOWN), rows)}\n")
            difference = found["against_best_rival"]["ndcg@10"]["difference"]
            goals.append(Goal(f"{name}: ndcg@10 above {found['best_rival']}", 0.0, difference))
    conclude("rank", record, "\n".join(tables), goals, quick=asked.quick, out=asked.out)


if __name__ == "__main__":
    sys.exit(main())
