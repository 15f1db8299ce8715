"""What every bench shares: arguments, fresh processes, alternating rounds, ratios, the record and the table.

The process that counts loads neither torch nor a peer. Each measured part runs in a process of its own, so that
threads, caches and memory of one contender never reach another, and peak memory means something.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import itertools
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
DATA = ROOT.parent / "shared" / "data"
RESULTS = Path(__file__).parent / "results"
SEED = 0

_PACKAGES = ("luthier", "torch", "transformers", "trl", "peft", "accelerate", "datasets", "tokenizers", "numpy",
             "scikit-learn")  # fmt: skip
_TAIL = 3000

Part = Callable[[Mapping[str, Any]], dict[str, Any]]
Runs = dict[str, list[dict[str, Any]]]


# Arithmetic


@dataclass(frozen=True, slots=True)
class Spread:
    """Median, smallest and largest of a few measurements."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{figure(self.median)} ({figure(self.low)}-{figure(self.high)})"

    def as_dict(self) -> dict[str, float]:
        return {"median": self.median, "min": self.low, "max": self.high}


def spread(values: Sequence[float]) -> Spread:
    """Return median and range of at least one value."""
    return Spread(statistics.median(values), min(values), max(values))


def ratios(runs: Runs, key: str, *, of: str, over: str) -> Spread:
    """Return the spread of ``of``'s figure over ``over``'s, round by round.

    A machine's mood changes from minute to minute; the two runs of one round share it, and the median of ratios keeps
    what the ratio of medians would lose.
    """
    pairs = zip(runs[of], runs[over], strict=True)
    return spread([mine[key] / theirs[key] for mine, theirs in pairs])


def figure(value: float) -> str:
    """Return three significant digits, never in exponents."""
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}" if abs(value) >= 1 else f"{value:.3f}"


def representative(costs: Sequence[float], count: int) -> list[int]:
    """Return ``count`` different positions whose mean cost is close to the mean of all, ends and middle in proportion.

    The costs are sorted and cut into ``count`` strata of nearly equal size; of each, the position nearest to its mean
    is taken. The positions come in the order of ``costs``.

    Raises:
        ValueError: there are fewer costs than positions wanted.
    """
    if not 1 <= count <= len(costs):
        raise ValueError(f"{count} of {len(costs)} cannot be picked")
    order = sorted(range(len(costs)), key=lambda i: costs[i])
    edges = [round(k * len(order) / count) for k in range(count + 1)]
    picked = []
    for low, high in itertools.pairwise(edges):
        stratum = order[low:high]
        mean = statistics.fmean(costs[i] for i in stratum)
        picked.append(min(stratum, key=lambda i: abs(costs[i] - mean)))
    return sorted(picked)


def markdown(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a Markdown table; a bar in a cell is escaped."""
    lines = [header, ["---"] * len(header), *rows]
    if any(len(line) != len(header) for line in lines):
        raise ValueError("a row has not as many cells as the header")
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)


class Watch:
    """A clock that can be stopped while something is measured that does not belong to the measured work."""

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        self._now = now
        self._since: float | None = None
        self._before = 0.0

    def start(self) -> None:
        if self._since is None:
            self._since = self._now()

    def stop(self) -> float:
        """Stop and return the seconds so far; stopping twice adds nothing."""
        if self._since is not None:
            self._before += self._now() - self._since
            self._since = None
        return self._before


@dataclass(frozen=True, slots=True)
class Goal:
    """A bar: at least ``wanted``."""

    what: str
    wanted: float
    measured: float

    @property
    def met(self) -> bool:
        return self.measured >= self.wanted

    def __str__(self) -> str:
        # Four digits: 0.9349 must not read as 0.935.
        return f"{'met' if self.met else 'MISSED'}: {self.what}: {self.measured:.4g}, wanted at least {self.wanted:g}"

    def as_dict(self) -> dict[str, Any]:
        return {"what": self.what, "wanted": self.wanted, "measured": self.measured, "met": self.met}


# Arguments and data


def arguments(name: str, text: str) -> argparse.ArgumentParser:
    """Return a parser with the options that every bench has."""
    parser = argparse.ArgumentParser(
        prog=f"python -m bench.{name}", description=text, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the public datasets (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="a smoke run; its figures mean nothing")
    parser.add_argument("--threads", type=int, help="CPU threads of every contender (default: all cores; quick: 1)")
    parser.add_argument("--rounds", type=int, default=None, help="alternations over all contenders")
    parser.add_argument("--out", type=Path, default=None, help="write the JSON result here")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    parser.add_argument("--settings", type=Path, help=argparse.SUPPRESS)
    return parser


def need_files(folder: Path, names: Sequence[str], origin: str, *, option: str = "--data") -> list[Path]:
    """Return the files of a dataset, or end with code 2 and a word on where it can be got."""
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        above = "the folder above it" if option == "--data" else "their folder"
        refuse(f"{folder}: {', '.join(missing)} not found. {origin}, and name {above} with {option}.")
    return [folder / name for name in names]


def need_packages(*names: str) -> None:
    """End with code 2 where a peer is not installed."""
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    if missing:
        refuse(f"not installed: {', '.join(missing)}. Install with: pip install -c constraints.txt -e '.[bench]'")


def refuse(text: str) -> None:
    print(text, file=sys.stderr)
    raise SystemExit(2)


def say(text: str) -> None:
    """Tell what is going on, beside the result."""
    print(text, file=sys.stderr, flush=True)


def threads_for(chosen: argparse.Namespace) -> int:
    """Return the threads asked for; a quick run takes one, because spinning threads starve on a busy machine."""
    return chosen.threads or (1 if chosen.quick else cores())


# Parts in processes of their own


def environment(threads: int) -> dict[str, str]:
    """Return what every contender finds: the same threads, no accelerator, no network."""
    fixed = {
        "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads), "CUDA_VISIBLE_DEVICES": "",
        "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "TOKENIZERS_PARALLELISM": "false",
        "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    }  # fmt: skip
    return {**os.environ, **fixed}


def run_part(
    module: str, part: str, settings: Mapping[str, Any], *, threads: int, work: Path, called: str = "",
    python: str = sys.executable,
) -> dict[str, Any]:
    """Run one part of a bench in a fresh process and return what it measured; ``called`` names it to the reader.

    Raises:
        SystemExit: the part failed; the end of its output is shown.
    """
    number = len(list(work.glob("*.settings.json")))
    given = work / f"{number:03}-{part}.settings.json"
    result, log = given.with_suffix(".result"), given.with_suffix(".log")
    given.write_text(json.dumps({**settings, "work": str(work), "result": str(result)}), encoding="utf-8")
    command = [python, "-m", module, "--part", part, "--settings", str(given)]
    began = time.monotonic()
    with log.open("w", encoding="utf-8") as handle:
        ended = subprocess.run(command, cwd=ROOT, env=environment(threads), stdout=handle, stderr=handle, check=False)
    code = ended.returncode
    if code or not result.is_file():
        say(log.read_text(encoding="utf-8", errors="replace")[-_TAIL:])
        raise SystemExit(f"{called or part} ended with code {code}; its last words stand above")
    measured: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
    say(f"  {called or part}: {time.monotonic() - began:.0f} s")
    return measured


def answer_part(parts: Mapping[str, Part], name: str, settings: Path) -> None:
    """Inside the fresh process: run the part and write its figures, memory and threads."""
    import torch

    given = json.loads(settings.read_text(encoding="utf-8"))
    measured = parts[name](given)
    measured |= {"peak_memory_mb": peak_memory_mb(), "threads": torch.get_num_threads()}
    Path(given["result"]).write_text(json.dumps(measured, allow_nan=False), encoding="utf-8")


def alternate(
    module: str, contenders: Mapping[str, tuple[str, Mapping[str, Any]]], *, rounds: int, threads: int, work: Path
) -> Runs:
    """Run A B C A B C ...: each contender is a part and its settings."""
    runs: Runs = {name: [] for name in contenders}
    for number in range(rounds):
        say(f"round {number + 1} of {rounds}")
        for name, (part, settings) in contenders.items():
            runs[name].append(run_part(module, part, settings, threads=threads, work=work, called=name))
    return runs


def peak_memory_mb() -> int:
    """Return the largest resident size of this process, in MB.

    Linux keeps ``ru_maxrss`` over exec, so a child would show its parent's; ``VmHWM`` belongs to the new image alone.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return round(int(line.split()[1]) / 1024)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1024 * 1024 if sys.platform == "darwin" else 1024))


# Record and end


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def machine(threads: int) -> dict[str, Any]:
    """Return what explains a figure: date, processor, load before the start, versions, commit."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": _cpu(),
        "cores": cores(),
        "threads": threads,
        "load_before": round(os.getloadavg()[0], 2),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in _PACKAGES},
        "commit": _commit(),
    }


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    names = [line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")] \
        if info.is_file() else []  # fmt: skip
    return names[0] if names else platform.processor() or platform.machine()


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _commit() -> str | None:
    try:
        command = ["git", "describe", "--always", "--dirty"]
        found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return found.stdout.strip() or None


@contextmanager
def workshop() -> Iterator[Path]:
    """Yield a temporary folder for models, plans and logs."""
    with tempfile.TemporaryDirectory(prefix="luthier-bench-") as name:
        yield Path(name)


def conclude(
    name: str, record: Mapping[str, Any], table: str, goals: Sequence[Goal], *, quick: bool, out: Path | None
) -> None:
    """Print the table and the bars; keep the record unless the run was quick."""
    said = ["A quick run: it shows that the bench works, its figures mean nothing."] if quick else map(str, goals)
    print(table, "", *said, sep="\n")
    path = out or (None if quick else RESULTS / f"{name}.json")
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        whole = {"bench": name, "quick": quick, **record, "goals": [goal.as_dict() for goal in goals]}
        path.write_text(json.dumps(whole, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
        print(f"Written to {path}")


# Relative: two sides learn the same where their first mean losses are as close as float32 sums in another order.
SAME_LOSS = 1e-4


def same_losses(check: Mapping[str, Any], *, rows: str, tokens: str) -> str:
    """Return both losses in words, or end the bench where the two sides do not learn the same.

    Args:
        rows, tokens: what the checked rows and the learnt tokens are called.
    Raises:
        SystemExit: mean loss, learnt tokens or adapter size differ.
    """
    theirs, mine = check["trl"], check["luthier"]
    said = "; ".join(
        f"{name} {side['loss']:.6f} nats over {side['learnt']} {tokens}, {side['learning']} parameters learn"
        for name, side in (("TRL", theirs), ("Luthier", mine))
    )
    close = abs(theirs["loss"] - mine["loss"]) <= SAME_LOSS * abs(theirs["loss"])
    if not close or any(theirs[key] != mine[key] for key in ("learnt", "learning", "precision")):
        raise SystemExit(f"the two sides do not learn the same, so their speed cannot be compared: {said}")
    return f"First {check['rows']} {rows}: {said}."
