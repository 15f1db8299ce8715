"""The two runs on a GPU that is paid by the minute: everything that needs none is done before.

``python -m recipes.luthier_base.rented prepare BASE ROWS READY --objective text|generate`` turns prepared rows (the train.jsonl
that ``luthier run`` leaves under ``prepared/``) into tokens. ``... learn BASE READY OUT --objective ... --seconds 100`` trains with
Luthier's own loop for about so many seconds: a few steps tell how many fit, and the rate falls to nothing at their end.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

TRIED = 24
HELD = 96
LONGEST = 512


def learner_of(base: Path, objective: str) -> Any:
    from luthier.models.catalogue import find
    from luthier.models.load import device, open_base
    from luthier.objectives import OBJECTIVES
    from luthier.spec.model import ModelSection

    section = ModelSection(max_tokens=LONGEST)
    return OBJECTIVES[objective].create(open_base(find(str(base)), max_tokens=LONGEST), model=section).to(device())


def prepare(asked: argparse.Namespace) -> None:
    """Write token ids, learn-masks and the starts of rows and of the pieces in them."""
    import torch
    from safetensors.torch import save_file

    from luthier.base.records import Example
    from luthier.train.run import encode_all

    learner = learner_of(asked.base, asked.objective)
    with asked.rows.open(encoding="utf-8") as handle:
        examples = [Example.from_dict(json.loads(line)) for line in handle]
    rows, _ = encode_all(learner, examples, lambda kind, /, **facts: print(kind, facts["rows"], facts["tokens"]))
    save_file({
        "ids": torch.tensor([i for row in rows for i in row.ids], dtype=torch.int16),
        "learn": torch.tensor([flag for row in rows for flag in row.learn], dtype=torch.uint8),
        "lengths": torch.tensor([len(row.ids) for row in rows], dtype=torch.int32),
        "places": torch.tensor([place for row in rows for place in row.places], dtype=torch.int16),
        "pieces": torch.tensor([len(row.places) for row in rows], dtype=torch.int32),
    }, asked.ready)  # fmt: skip


def rows_of(ready: Path) -> list[Any]:
    """Read what :func:`prepare` wrote."""
    from safetensors.torch import load_file

    from luthier.base.records import Encoded

    told = {name: value.tolist() for name, value in load_file(ready).items()}
    rows, at, piece = [], 0, 0
    for length, pieces in zip(told["lengths"], told["pieces"], strict=True):
        learn = tuple(map(bool, told["learn"][at : at + length]))
        rows.append(Encoded(tuple(told["ids"][at : at + length]), learn, places=tuple(told["places"][piece : piece + pieces])))
        at, piece = at + length, piece + pieces
    return rows


def section_of(asked: argparse.Namespace, rows: int, steps: int) -> Any:
    from luthier.spec.train import TrainSection
    from luthier.train import defaults

    section = TrainSection(
        method="full", embeddings="train", optimizer="muon", rate=asked.rate, batch=asked.batch, epochs=1000.0, max_steps=steps,
        schedule="cosine", warmup=0.02, micro_tokens=asked.tokens, packing="on", precision="bfloat16", compile="off",
        checkpointing="off", weight_decay=asked.decay, seed=0,
    )  # fmt: skip
    return defaults.resolve(section, objective=asked.objective, rows=rows)


def learn(asked: argparse.Namespace) -> None:
    """Train, and write the network in float16, the curve and what it cost."""
    import torch

    from luthier.train import speed
    from luthier.train.defaults import make_plan
    from luthier.train.loop import train
    from luthier.train.optim import make_optimizer

    began = time.perf_counter()
    learner, rows = learner_of(asked.base, asked.objective), rows_of(asked.ready)
    # Every so many rows, so that what is held comes from everywhere.
    held = rows[:: max(1, len(rows) // HELD)][:HELD]
    kept = {id(row) for row in held}
    rows = [row for row in rows if id(row) not in kept]
    section = section_of(asked, len(rows), TRIED)
    learner.prepare_training(section)
    speed.prepare(learner, section)
    start = {name: value.clone() for name, value in learner.network.state_dict().items()}

    def run(steps: int) -> Any:
        plan = make_plan(section.model_copy(update={"max_steps": steps}), rows=len(rows))
        return train(learner, rows, plan, make_optimizer(learner, rate=asked.rate, weight_decay=asked.decay, kind="muon"))

    def held_nats() -> float:
        learner.eval()
        sums = [one for i in range(0, len(held), 16) for one in learner.row_sums(held[i : i + 16])]
        learner.train()
        return sum(loss for loss, _ in sums) / sum(count for _, count in sums)

    tried = [report.seconds for report in run(TRIED)][TRIED // 3 :]
    learner.network.load_state_dict(start)
    steps = max(TRIED, int(asked.seconds / (sum(tried) / len(tried))))
    print(f"{time.perf_counter() - began:.0f} s: {len(rows)} rows, {steps} steps of {1000 * sum(tried) / len(tried):.1f} ms", flush=True)
    curve, losses, tokens, clock = [(0, round(held_nats(), 4))], [], 0, time.perf_counter()
    for report in run(steps):
        tokens += report.tokens
        losses.append(report.loss)
        if report.step % max(1, steps // 8) == 0 or report.step == steps:
            curve.append((report.step, round(held_nats(), 4)))
            print(f"step {report.step}/{steps}, train {sum(losses) / len(losses):.4f}, held {curve[-1][1]}", flush=True)
            losses.clear()
    if learner.device.type == "cuda":
        torch.cuda.synchronize()
    seconds = time.perf_counter() - clock
    speed.release(learner)
    learner.network.half().save_pretrained(asked.out)
    learner.tokenizer.save_pretrained(asked.out)
    record = {"objective": asked.objective, "steps": steps, "tokens": tokens, "seconds": round(seconds, 1), "rows": len(rows),
              "tokens_per_s": round(tokens / seconds), "held_nats": curve, "rate": asked.rate, "batch": asked.batch,
              "decay": asked.decay, "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"}  # fmt: skip
    (asked.out / "learnt.json").write_text(json.dumps(record, indent=2) + "\n", "utf-8")
    print(json.dumps(record))


def main() -> None:
    """Read the arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(required=True)
    for work, places in ((prepare, ("base", "rows", "ready")), (learn, ("base", "ready", "out"))):
        part = parts.add_parser(work.__name__, help=work.__doc__)
        part.set_defaults(work=work)
        for place in places:
            part.add_argument(place, type=Path)
        part.add_argument("--objective", choices=("text", "generate"), required=True)
    part.add_argument("--seconds", type=float, default=100.0, help="of training, after the steps that are tried")
    part.add_argument("--rate", type=float, default=0.003)
    part.add_argument("--batch", type=int, default=64, help="rows of a step")
    part.add_argument("--tokens", type=int, default=32768, help="of a pass")
    part.add_argument("--decay", type=float, default=0.1, help="weight decay")
    asked = parser.parse_args()
    asked.work(asked)


if __name__ == "__main__":
    main()
