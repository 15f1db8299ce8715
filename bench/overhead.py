"""What the loop costs beside the network: every part of a real run's steps, timed by itself inside that run.

``fit`` runs as in a run: it cuts batches, collates, checks, clips, reports, appends to events.jsonl and draws progress.
Each part is timed where it is called; what a part calls is not counted twice, and what has no name is "the rest". Model,
loss and optimiser are the work; all else but checkpoints and evaluations is overhead. The bar is 2 % of a step.

Wall seconds suffer from other work on the machine wherever it falls; processor seconds do not, and with one thread they
are the same thing on a quiet machine. Both are given.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from bench.common import (
    SEED,
    Goal,
    Part,
    Runs,
    alternate,
    answer_part,
    arguments,
    conclude,
    figure,
    machine,
    markdown,
    need_files,
    run_part,
    spread,
    threads_for,
    workshop,
)
from bench.lora import MODEL, ORIGIN, QUICK_MODEL, TOKENIZER_ORIGIN, read_rows
from bench.throughput import ORIGIN as BANKING_ORIGIN
from bench.throughput import read_rows as read_messages

MOST = 2.0
WORK = ("forward and loss", "backward", "optimiser")
APART = ("checkpoints", "evaluations")
ROWS = 2000
# Each contender: who learns, and the settings of its training section; the last shows what does not shrink with the network.
CONTENDERS: dict[str, tuple[str, dict[str, Any]]] = {
    "MiniLM on BANKING77, full": ("classify", {"method": "full", "batch": 32}),
    "MiniLM on BANKING77, lora": ("classify", {"method": "lora", "batch": 32}),
    "Llama of 51 M on gsm8k, lora": ("generate", {"method": "lora", "batch": 8}),
    "Llama of 3 M on gsm8k, lora": ("small", {"method": "lora", "batch": 8}),
}
SMALL = tuple(CONTENDERS)[-1]


class Parts:
    """Seconds by part, wall and processor; a part's own are without those of the parts it calls."""

    def __init__(self) -> None:
        self.wall: Counter[str] = Counter()
        self.cpu: Counter[str] = Counter()
        self._open: list[list[Any]] = []

    def start_anew(self) -> None:
        """Forget what was counted; open parts count from here."""
        self.wall.clear()
        self.cpu.clear()
        for part in self._open:
            part[1:] = [time.perf_counter(), time.process_time()]

    def timed(self, name: str, act: Callable[..., Any]) -> Callable[..., Any]:
        """Return ``act``, timed under ``name``."""

        def run(*args: Any, **kwargs: Any) -> Any:
            self._stop()
            self._open.append([name, time.perf_counter(), time.process_time()])
            try:
                return act(*args, **kwargs)
            finally:
                self._stop()
                self._open.pop()

        return run

    def _stop(self) -> None:
        """Charge the innermost open part up to now, and let its caller count from here."""
        if not self._open:
            return
        wall, cpu = time.perf_counter(), time.process_time()
        part = self._open[-1]
        self.wall[part[0]] += wall - part[1]
        self.cpu[part[0]] += cpu - part[2]
        for one in self._open[-2:]:
            one[1:] = [wall, cpu]


def watch(parts: Parts, learner: Any) -> None:
    """Time the parts of the real loop where it calls them."""
    import torch

    from luthier.train import loop, run

    def put(owner: Any, attribute: str, name: str) -> None:
        setattr(owner, attribute, parts.timed(name, getattr(owner, attribute)))

    for owner, attribute, name in (
        (loop, "epoch_batches", "batches"), (loop, "micro_batches", "batches"), (loop, "rate_at", "rate"),
        (loop, "set_rate", "rate"), (loop, "clip", "clip"), (torch.Tensor, "backward", "backward"),
        (run._Run, "loop", "the rest"), (run._Run, "_note", "report"), (run._Run, "_save", "checkpoints"),
        (run._Run, "_evaluate", "evaluations"), (learner, "collate", "collate"), (learner, "loss", "forward and loss"),
        (learner, "train", "train mode"), (learner, "begin_step", "forward and loss"),
    ):  # fmt: skip
        put(owner, attribute, name)
    make = run.make_optimizer

    def watched(*args: Any, **kwargs: Any) -> Any:
        optimizer = make(*args, **kwargs)
        put(optimizer, "step", "optimiser")
        put(optimizer, "zero_grad", "zero_grad")
        return optimizer

    run.make_optimizer = watched


def model_part(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Write the two Llamas once."""
    import torch
    from transformers import GPT2Tokenizer, LlamaConfig, LlamaForCausalLM

    tokenizer = GPT2Tokenizer.from_pretrained(settings["tokenizer"])
    tokenizer.pad_token = tokenizer.eos_token
    end = tokenizer.eos_token_id
    for name, sizes in (("generate", settings["model"]), ("small", QUICK_MODEL)):
        torch.manual_seed(SEED)
        config = LlamaConfig(
            vocab_size=len(tokenizer), max_position_embeddings=1024, tie_word_embeddings=True, bos_token_id=end,
            eos_token_id=end, pad_token_id=end, **sizes,
        )  # fmt: skip
        LlamaForCausalLM(config).save_pretrained(Path(settings["folder"]) / name)
        tokenizer.save_pretrained(Path(settings["folder"]) / name)
    return {}


def learner_and_rows(settings: Mapping[str, Any]) -> tuple[Any, list[Any]]:
    """Return the learner of a contender and its rows."""
    from luthier.base.records import Example, Source
    from luthier.models import catalogue
    from luthier.models.load import open_base
    from luthier.objectives.classify import Classifier
    from luthier.objectives.generate import Generator
    from luthier.spec.model import ModelSection

    if settings["kind"] == "classify":
        texts, names = read_messages(Path(settings["messages"]))
        labels = tuple(sorted(set(names)))
        learner: Any = Classifier.create(
            open_base(catalogue.find("embedded")), labels=labels, model=ModelSection()
        )
        stride = max(1, len(texts) // ROWS)  # the file is sorted by label
        places = range(0, len(texts), stride)
        return learner, [Example(str(i), {"text": texts[i]}, names[i], Source("train.csv", i + 2)) for i in places]
    folder = catalogue.GENERATOR if settings["kind"] == "embedded" else str(Path(settings["folder"]) / settings["kind"])
    learner = Generator.create(open_base(catalogue.find(folder)), labels=(), model=ModelSection(base=folder, template="plain"))
    questions, answers = read_rows(Path(settings["sums"]))
    return learner, [
        Example(str(i), {"messages": [{"role": "user", "content": q}]}, a, Source("train.jsonl.gz", i + 1))
        for i, (q, a) in enumerate(zip(questions[:ROWS], answers[:ROWS], strict=True))
    ]


def fit_part(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Train for some steps with events and progress as in a run; return seconds by part."""
    import torch

    from luthier.base.events import EventLog
    from luthier.show import Progress
    from luthier.spec.train import TrainSection
    from luthier.train import defaults
    from luthier.train.run import fit

    learner, rows = learner_and_rows(settings)
    warm, steps = settings["warm"], settings["steps"]
    section = TrainSection(
        seed=SEED, max_steps=warm + steps, epochs=100.0, head="random", threads=torch.get_num_threads(), **settings["section"]
    )
    objective = "classify" if settings["kind"] == "classify" else "generate"
    section = defaults.resolve(section, objective=objective, rows=len(rows))
    parts = Parts()
    watch(parts, learner)
    log = EventLog(Path(settings["result"]).with_suffix(".events"), parts.timed("progress", Progress()))
    written = parts.timed("events.jsonl", log)

    def emit(kind: str, /, **facts: Any) -> None:
        written(kind, **facts)
        if kind == "step" and facts["step"] == warm:
            parts.start_anew()

    fit(learner, rows, section, score=None, folder=Path(settings["result"]).with_suffix(".kept"), emit=emit)
    return {"wall_s": dict(parts.wall), "cpu_s": dict(parts.cpu), "steps": steps, **shares(parts.wall, "wall"),
            **shares(parts.cpu, "cpu")}  # fmt: skip


def shares(seconds: Mapping[str, float], name: str) -> dict[str, float]:
    """Return the overhead in % of a step (checkpoints and evaluations apart), and a step's seconds in total."""
    whole = sum(s for part, s in seconds.items() if part not in APART)
    work = sum(seconds.get(part, 0.0) for part in WORK)
    return {f"overhead_{name}": 100 * (whole - work) / whole, f"total_{name}_s": whole}


PARTS: dict[str, Part] = {"model": model_part, "fit": fit_part}


def table(runs: Runs) -> str:
    """Return milliseconds a step by part, medians over rounds, in processor time; and the shares."""
    names = sorted({part for measured in runs.values() for m in measured for part in m["cpu_s"]},
                   key=lambda part: (part in APART, part not in WORK, WORK.index(part) if part in WORK else 0, part))  # fmt: skip
    rows = []
    for part in names:
        cells = [
            figure(spread([1000 * m["cpu_s"].get(part, 0.0) / m["steps"] for m in measured]).median)
            for measured in runs.values()
        ]
        rows.append([part, *cells])
    for clock, words in (("cpu", "overhead, % of processor time"), ("wall", "overhead, % of wall time")):
        rows.append([f"**{words}**", *(str(spread([m[f"overhead_{clock}"] for m in measured])) for measured in runs.values())])
    return markdown(("ms a step", *runs), rows)


def shared_options(parser: argparse.ArgumentParser) -> None:
    """Add what benches of an encoder and a decoder ask for."""
    parser.add_argument("--tokenizer", type=Path, help="folder of GPT-2's vocab.json and merges.txt")
    parser.add_argument("--only", help="only contenders whose name has this in it")


def sources_of(chosen: argparse.Namespace) -> dict[str, Any]:
    """Return where the rows and the tokenizer of both lie, and the decoder's shape; ends the bench where one is missing."""
    (messages,) = need_files(chosen.data / "banking77", ["train.csv"], BANKING_ORIGIN)
    (sums,) = need_files(chosen.data / "gsm8k", ["train.jsonl.gz"], ORIGIN)
    tokenizer = chosen.tokenizer or chosen.data.parent / "models" / "tokenizers" / "gpt2"
    need_files(tokenizer, ["vocab.json", "merges.txt"], TOKENIZER_ORIGIN, option="--tokenizer")
    return {"messages": str(messages.absolute()), "sums": str(sums.absolute()), "tokenizer": str(tokenizer.absolute()),
            "model": QUICK_MODEL if chosen.quick else MODEL}  # fmt: skip


def main() -> None:
    """Run the bench, or one of its parts."""
    parser = arguments("overhead", __doc__ or "")
    parser.add_argument("--steps", type=int, help="timed optimiser steps of each run (default: 40)")
    parser.add_argument("--warm", type=int, help="steps before the clock starts (default: 5)")
    shared_options(parser)
    chosen = parser.parse_args()
    if chosen.part:
        return answer_part(PARTS, chosen.part, chosen.settings)
    sources = sources_of(chosen)
    usual = (3, 1, 1) if chosen.quick else (40, 5, 3)
    steps, warm, rounds = chosen.steps or usual[0], chosen.warm or usual[1], chosen.rounds or usual[2]
    threads = threads_for(chosen)
    record: dict[str, Any] = {"machine": machine(threads), "steps": steps, "warm": warm, "rounds": rounds}
    with workshop() as work:
        given = {**sources, "folder": str(work / "models"), "steps": steps, "warm": warm}
        run_part("bench.overhead", "model", given, threads=threads, work=work)
        contenders = {
            name: ("fit", {**given, "kind": kind, "section": section})
            for name, (kind, section) in CONTENDERS.items()
            if chosen.only is None or chosen.only in name
        }
        runs = alternate("bench.overhead", contenders, rounds=rounds, threads=threads, work=work)
    record["runs"] = runs
    clock = "cpu" if threads == 1 else "wall"
    goals = [
        # Turned round, because a goal is a least value.
        Goal(f"% of a step that is model, loss and optimiser, {name} ({clock})", 100 - MOST,
             100 - spread([m[f"overhead_{clock}"] for m in measured]).median)
        for name, measured in runs.items() if name != SMALL
    ]  # fmt: skip
    conclude("overhead", record, table(runs), goals, quick=chosen.quick, out=chosen.out)
    return None


if __name__ == "__main__":
    sys.exit(main())
