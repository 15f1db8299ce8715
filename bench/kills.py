"""Kills runs for good and looks whether the same command, given again, ends in the same bundle to the last bit.

Every case is a whole `luthier run` on a tiny model: once without a fault, once killed (SIGKILL) at several places and given
again each time, with nothing done by hand in between. A kill is

- inside a save: the process is halted when the checkpoint's unfinished folder is there, and killed only after the folder was
  seen once more while it stood still, so that no kill is counted that came too late; where in the save is varied;
- between the stages of a run: when it prepares, has opened the model, has just been measured, packs the bundle, judges or has
  written its report;
- at a random instant.

It is counted how many runs ended in the bundle of the unkilled run: same id, same hash of every file of weights, same test
metrics, and nothing half-written left behind.
"""

from __future__ import annotations

import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from bench.common import ROOT, Goal, arguments, conclude, environment, machine, markdown, say, workshop

KILLS, INSIDE = 30, 10
# What a save has written so far, by what lies in its unfinished folder.
PHASES = ("", "state.safetensors", "state.json", "manifest.json")
# Events after which a run is between two of its parts, and files that appear while it packs and ends.
STAGES = ("event preparing", "event data", "event model", "event evaluation", "folder .bundle.", "event bundle",
          "file report.json")  # fmt: skip
_PATIENCE_S = 600.0
_ALL = {"semantic": "off"}


@dataclass(frozen=True)
class Case:
    """One task: its objective, method and rows; ``saves`` whether it trains at all, and so has checkpoints."""

    name: str
    objective: str
    train: Mapping[str, Any]
    rows: Callable[[Path], Mapping[str, Any]]
    base: str = "bert"
    more: Mapping[str, Any] = field(default_factory=dict)
    saves: bool = True

    def write(self, folder: Path, bases: Mapping[str, Path]) -> None:
        """Write the rows and ``task.yaml`` (JSON is YAML too)."""
        steps = {"batch": 16, "rate": 0.002, "evaluations": 3, "patience": 99, "checkpoint_s": 0}
        model = {"base": str(bases[self.base])} | ({"pooling": "mean"} if self.base == "bert" else {})
        task = {
            "task": {"name": "tiny", "objective": self.objective}, "data": {**_ALL, "leaks": "allow", **self.rows(folder)},
            "model": model, "train": {**steps, **self.train},
            "evaluate": {"bootstrap": 100, "generate_rows": 4, "max_new_tokens": 4}, **self.more,
        }  # fmt: skip
        (folder / "task.yaml").write_text(json.dumps(task, indent=1), encoding="utf-8")


def _table(path: Path, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerows([header, *rows])


def _labelled(folder: Path, *, seed: int = 0, name: str = "rows.csv") -> Mapping[str, Any]:
    from making import labelled

    texts = {e.inputs["text"]: str(e.target) for e in labelled(600, seed=seed)}
    _table(folder / name, ["text", "label"], list(texts.items())[:200])
    return {"source": name, "columns": {"text": "text", "label": "label"}, "label_errors": "off"}


def _tagged(folder: Path) -> Mapping[str, Any]:
    from making import tagged

    _table(folder / "rows.csv", ["text", "label"], [(e.inputs["text"], "|".join(e.target)) for e in tagged(160)])
    return {"source": "rows.csv", "columns": {"text": "text", "label": "label"}, "duplicates": "keep"}


def _lines(folder: Path, rows: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return {"source": "rows.jsonl"}


def _sums(folder: Path) -> Mapping[str, Any]:
    from making import sums

    return _lines(folder, [{"prompt": e.inputs["messages"][0]["content"], "completion": e.target} for e in sums(120)])


def _pairs(folder: Path) -> Mapping[str, Any]:
    from making import pairs

    return _lines(folder, [{"prompt": e.inputs["messages"][0]["content"], **e.target} for e in pairs(100)])


def _texts(folder: Path) -> Mapping[str, Any]:
    from making import labelled

    texts = {e.inputs["text"] for e in labelled(400)}
    return _lines(folder, [{"text": text} for text in sorted(texts)[:150]])


def _stages(folder: Path) -> Mapping[str, Any]:
    first = _labelled(folder)
    second = _labelled(folder, seed=7, name="later.csv")
    return {"first": first, "second": second}


class _Staged(Case):
    """Two stages over one body, rows of the first learnt again in the second."""

    def write(self, folder: Path, bases: Mapping[str, Path]) -> None:
        super().write(folder, bases)
        task = json.loads((folder / "task.yaml").read_text("utf-8"))
        data = task.pop("data")
        parts = [{"name": name, "data": {**data.pop(name)}} for name in ("first", "second")]
        task |= {"data": data, "stages": parts, "keep": {"rehearse": {"share": 0.1}}}
        (folder / "task.yaml").write_text(json.dumps(task, indent=1), encoding="utf-8")


def _classify(method: str, **train: Any) -> Case:
    return Case(f"classify, {method}", "classify", {"method": method, "epochs": 4, **train}, _labelled)


CASES = [
    _classify("full", dropout=0.1),
    Case("generate, lora", "generate", {"method": "lora", "epochs": 4, "lora": {"dropout": 0.1}}, _sums, "llama"),
    _classify("last-layers", layers=1),
    _classify("gradual"),
    Case("prefer, lora", "prefer", {"method": "lora", "epochs": 4}, _pairs, "llama"),
    _classify("bitfit"),
    Case("multilabel, full", "multilabel", {"method": "full", "epochs": 4}, _tagged),
    _classify("lora", lora={"dropout": 0.1}),
    _classify("ia3"),
    _classify("adapters"),
    Case("generate, full", "generate", {"method": "full", "epochs": 4}, _sums, "llama"),
    _classify("prompt", prompt={"tokens": 4}),
    _classify("prefix", prompt={"tokens": 4}),
    _classify("contrastive", batch=32),
    Case("text, full", "text", {"method": "full", "epochs": 4, "batch": 4}, _texts, "llama"),
    _Staged("two stages, classify", "classify", {"method": "full", "epochs": 3}, _stages),
    # A head that is fitted at once has no steps, and so no checkpoints: it is killed between stages and at random.
    Case("classify, head", "classify", {"method": "head"}, _labelled, saves=False),
]  # fmt: skip


# Where a process is killed


@dataclass(frozen=True)
class Kill:
    """One kill: ``kind`` is save, stage or random; ``where`` what was seen at it."""

    kind: str
    where: str


class Process(Protocol):
    """What is asked of a process, however it was started."""

    pid: int

    def poll(self) -> int | None: ...
    def wait(self) -> int: ...
    def send_signal(self, number: int) -> None: ...


class Forked:
    """The command in a process of its own, without the seconds that loading torch takes in a fresh interpreter."""

    def __init__(self, words: Sequence[str], folder: Path, log: Path) -> None:
        self._code: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            _become(words, folder, log)

    def poll(self) -> int | None:
        if self._code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self._code = os.waitstatus_to_exitcode(status) if pid else None
        return self._code

    def wait(self) -> int:
        while (code := self.poll()) is None:
            time.sleep(0.002)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)


def _become(words: Sequence[str], folder: Path, log: Path) -> None:
    """Inside the new process: be ``luthier`` with these words, and end."""
    code = 70
    try:
        os.chdir(folder)
        handle = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        from luthier.cli import cli

        cli(list(words))
    except SystemExit as end:
        code = int(end.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def load_all() -> None:
    """Import what a run imports, so that forked ones need not."""
    import luthier.lifecycle.curving
    import luthier.lifecycle.judging
    import luthier.lifecycle.staged_round
    import luthier.lifecycle.steps  # noqa: F401


class Runner:
    """Runs one case in one folder, kills it, and ends it; ``fork`` as in :class:`Forked`, else a fresh interpreter."""

    def __init__(self, case: Case, folder: Path, rng: random.Random, *, fork: bool) -> None:
        self.case, self.folder, self.rng, self.fork = case, folder, rng, fork
        self.log = folder / "words.log"

    def start(self, out: str) -> Process:
        words = ["run", "task.yaml", "--out", out, "--quiet"]
        if self.fork:
            return Forked(words, self.folder, self.log)
        env = environment(1) | {"PYTHONPATH": str(ROOT), "OMP_WAIT_POLICY": "passive"}
        with self.log.open("ab") as log:
            command = [sys.executable, "-m", "luthier.cli", *words]
            return subprocess.Popen(command, cwd=self.folder, env=env, stdout=log, stderr=log)

    def end(self, out: str) -> dict[str, Any]:
        """Run to the end and return what must be equal."""
        running = self.start(out)
        code = running.wait()
        if code not in (0, 1):
            raise SystemExit(f"{self.case.name} ended with code {code}: {self.log.read_text('utf-8')[-2000:]}")
        return self.result(out)

    def result(self, out: str) -> dict[str, Any]:
        run = self.folder / out
        found: dict[str, Any] = {"left": [p.name for p in run.rglob(".*.part")], "weights": {}}
        for path in sorted(run.rglob("bundle/manifest.json")):
            manifest = json.loads(path.read_text("utf-8"))
            name = path.parent.relative_to(run).as_posix()
            weights = {k: v for k, v in manifest["files"].items() if k.startswith(("network/", "head/", "adapter/"))}
            found["weights"][name] = [manifest["bundle_id"], weights]
        record = json.loads((run / "report.json").read_text("utf-8"))
        found["metrics"] = record["metrics"]["test"]
        found["steps"] = record["training"]["steps"]
        found["id"] = found["weights"]["bundle"][0]
        return found

    def kill(self, out: str, kind: str, whole_s: float, place: int) -> Kill | None:
        """Start the run and kill it; None where it ended before."""
        running = self.start(out)
        watch = {"save": self._in_save, "stage": self._at_stage, "random": self._at_random}[kind]
        where = watch(running, self.folder / out, whole_s, place)
        if where is None:
            code = running.wait()
            if code not in (0, 1):
                raise SystemExit(f"{self.case.name} ended with code {code}: {self.log.read_text('utf-8')[-2000:]}")
            return None
        running.send_signal(signal.SIGKILL)
        code = running.wait()
        return Kill(kind, where) if code == -signal.SIGKILL else None

    def _in_save(self, running: Process, run: Path, whole_s: float, place: int) -> str | None:
        wanted, number = PHASES[place % len(PHASES)], self.rng.randint(1, 12)
        seen: set[str] = set()
        while running.poll() is None:
            for path in _unfinished(run):
                seen.add(path.name)
                # After a few saves any place is taken: some last shorter than a look around.
                if len(seen) < number or (wanted and len(seen) < number + 20 and not (path / wanted).exists()):
                    continue
                _halt(running.pid)
                if path.exists():
                    kept = sorted(p.name for p in path.iterdir())
                    return f"{path.name.rsplit('.', 2)[0][1:]}: {', '.join(n for n in kept) or 'an empty folder'}"
                os.kill(running.pid, signal.SIGCONT)
            time.sleep(0.0003)
        return None

    def _at_stage(self, running: Process, run: Path, whole_s: float, place: int) -> str | None:
        kind, name = STAGES[place % len(STAGES)].split(" ", 1)
        events = run / "events.jsonl"
        # What an earlier, killed go has said does not count.
        begun = events.stat().st_size if events.is_file() else 0
        while running.poll() is None:
            if kind == "event":
                there = events.is_file() and f'"kind": "{name}"' in events.read_text("utf-8", "replace")[begun:]
            else:
                there = run.is_dir() and any(p.name.startswith(name) for p in run.iterdir())
            if there:
                return f"{kind} {name}"
            time.sleep(0.001)
        return None

    def _at_random(self, running: Process, run: Path, whole_s: float, place: int) -> str | None:
        moment = self.rng.uniform(0.2, 1.0) * whole_s
        until = time.monotonic() + moment
        while running.poll() is None:
            if time.monotonic() >= until:
                return f"after {moment:.2f} s"
            time.sleep(0.002)
        return None


def _unfinished(run: Path) -> list[Path]:
    """Return the unfinished checkpoints of a run and of its stages."""
    found = []
    for folder in (run / "checkpoints", *run.glob("stages/*/checkpoints")):
        try:
            found += [Path(e.path) for e in os.scandir(folder) if e.name.startswith(".step-") and e.name.endswith(".part")]
        except OSError:
            continue
    return found


def _halt(pid: int) -> None:
    """Stop a process and wait until it stands still."""
    os.kill(pid, signal.SIGSTOP)
    stat = Path(f"/proc/{pid}/stat")
    while stat.read_text("utf-8").rsplit(")", 1)[1].split()[0] not in "TtZX":
        time.sleep(0.0002)


# A case, and all of them


def spread(cases: Sequence[Case], kills: int, inside: int) -> list[list[str]]:
    """Return the kinds of kills of each case: first one inside a save each, then stages and random ones in turn."""
    able = [i for i, case in enumerate(cases) if case.saves]
    kinds: list[list[str]] = [[] for _ in cases]
    for number in range(max(inside, min(len(able), kills // 2))):
        kinds[able[number % len(able)]].append("save")
    left = kills - sum(map(len, kinds))
    for number in range(left):
        # The cases without saves first, then those with the fewest.
        place = min(range(len(cases)), key=lambda i: (len(kinds[i]), i))
        kinds[place].append("stage" if number % 2 == 0 else "random")
    return kinds


def run_case(
    case: Case, kinds: Sequence[str], folder: Path, bases: Mapping[str, Path], *, seed: int, fork: bool, place: int = 0
) -> dict[str, Any]:
    """Run a case unkilled and killed; return the kills and whether both ended alike."""
    folder.mkdir(parents=True)
    case.write(folder, bases)
    runner = Runner(case, folder, random.Random(f"{seed} {case.name}"), fork=fork)
    began = time.monotonic()
    whole = runner.end("whole")
    whole_s = time.monotonic() - began
    kills: list[Kill] = []
    tries, equal = 0, True
    for number, kind in enumerate(kinds):
        until = time.monotonic() + _PATIENCE_S
        while True:
            if time.monotonic() > until:
                raise SystemExit(f"{case.name}: no kill of kind {kind} came about; see {runner.log}")
            tries += 1
            found = runner.kill("cut", kind, whole_s, place + number)
            if found is not None:
                kills.append(found)
                break
            # It ended before it was killed: that end must be right as well, and the next go begins anew.
            equal = equal and _same(whole, runner.result("cut"))
            shutil.rmtree(folder / "cut")
    cut = runner.end("cut")
    same = equal and _same(whole, cut)
    said = (folder / "cut/events.jsonl").read_text("utf-8", "replace")
    return {
        "case": case.name, "steps": whole["steps"], "seconds": round(whole_s, 1), "same": same, "runs": tries + 1,
        "resumed": said.count('"kind": "resumed"'), "bundle": whole["id"], "cut_bundle": cut["id"], "left": cut["left"],
        "kills": [{"kind": k.kind, "where": k.where} for k in kills],
    }  # fmt: skip


def _same(whole: Mapping[str, Any], cut: Mapping[str, Any]) -> bool:
    return bool(cut["weights"] == whole["weights"] and cut["metrics"] == whole["metrics"] and not cut["left"])


def write_bases(folder: Path) -> dict[str, Path]:
    """Make the tiny models of the tests: random weights, two layers."""
    sys.path[:0] = [str(ROOT / "tests")]
    from tiny import CHATML, _bpe, _save, _wordpiece
    from transformers import BertConfig, BertModel, LlamaConfig, LlamaForCausalLM

    words, pieces = _wordpiece(), _bpe(bos_token="<s>", eos_token="</s>", pad_token="<pad>")
    pieces.chat_template = CHATML
    small = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    bert = BertConfig(vocab_size=len(words), max_position_embeddings=64, **small)
    llama = LlamaConfig(vocab_size=len(pieces), max_position_embeddings=256, num_key_value_heads=2, bos_token_id=pieces.bos_token_id,
                        eos_token_id=pieces.eos_token_id, pad_token_id=pieces.pad_token_id, **small)  # fmt: skip
    return {
        "bert": _save(folder / "bert", BertModel, bert, words),
        "llama": _save(folder / "llama", LlamaForCausalLM, llama, pieces),
    }


def table(results: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        [r["case"], r["steps"], f"{r['seconds']:.1f}", len(r["kills"]), sum(k["kind"] == "save" for k in r["kills"]),
         "; ".join(k["where"] for k in r["kills"]), "yes" if r["same"] else "NO"]
        for r in results
    ]  # fmt: skip
    return markdown(["task", "steps", "unkilled, s", "kills", "inside a save", "where", "same bundle"], rows)


def main() -> None:
    parser = arguments("kills", __doc__ or "")
    parser.add_argument("--kills", type=int, default=None, help=f"how many in all (default: {KILLS}; quick: 3)")
    parser.add_argument("--seed", type=int, default=0, help="of the random instants")
    parser.add_argument("--fresh", action="store_true", help="a fresh interpreter for every run instead of a fork; slower")
    parser.add_argument("--only", nargs="*", help="cases by their name or a part of it")
    given = parser.parse_args()
    cases = [c for c in CASES if not given.only or any(word in c.name for word in given.only)]
    cases = cases[:2] if given.quick else cases
    kills = given.kills or (3 if given.quick else KILLS)
    told = machine(1)
    # One thread each: who forks may have no others.
    os.environ.update(environment(1) | {"OMP_WAIT_POLICY": "passive"})
    inside = min(kills, max(1, -(-kills // 3)))
    results = []
    with workshop() as work:
        bases = write_bases(work / "bases")
        if not given.fresh:
            load_all()
        for place, (case, kinds) in enumerate(zip(cases, spread(cases, kills, inside), strict=True)):
            if not kinds:
                continue
            say(f"{case.name}: {', '.join(kinds)}")
            results.append(run_case(case, kinds, work / str(place), bases, seed=given.seed, fork=not given.fresh, place=place))
            say(f"  {'same bundle' if results[-1]['same'] else 'ANOTHER BUNDLE'}: {[k['where'] for k in results[-1]['kills']]}")
    every = [k for r in results for k in r["kills"]]
    goals = [
        Goal("kills", kills, len(every)),
        Goal("kills inside a save", inside, sum(k["kind"] == "save" for k in every)),
        Goal("share of tasks that ended in the bundle of the unkilled run", 1.0, sum(r["same"] for r in results) / len(results)),
    ]
    conclude("kills", {"machine": told, "results": results}, table(results), goals, quick=given.quick, out=given.out)
    if not all(goal.met for goal in goals):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
