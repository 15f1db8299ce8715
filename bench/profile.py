"""Where the time of a step goes, against what arithmetic and memory would take at least.

The real loop runs the same steps by turns without and with torch.profiler. Beside it, in the same process and between
those turns, the machine itself is measured: the float32 products of the network's own matrices in the shapes of these steps
(forwards, back to the input, to the weight), and copying. From that follow two floors:

- *matrices*: the products that useful tokens need, each at the rate measured for its shape. What a method leaves out is
  not in it (the weight's gradient of a frozen layer, the input's gradient of the first), padding is not in it.
- *memory*: the bytes that everything else reads and writes, at the rate of a copy. What stays in the caches is quicker
  than that, so a kind of operation can lie below its floor.

The share of a step that the first floor explains is the figure to raise; the table says what takes the rest.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from bench.common import (
    SEED,
    Goal,
    Part,
    alternate,
    answer_part,
    arguments,
    conclude,
    figure,
    machine,
    markdown,
    run_part,
    spread,
    threads_for,
    workshop,
)
from bench.overhead import learner_and_rows, model_part, shared_options, sources_of

# Each contender: who learns, its training section, and the least share of the matrix rate on useful tokens that is wanted.
CONTENDERS: dict[str, tuple[str, dict[str, Any], float]] = {
    "MiniLM on BANKING77, full": ("classify", {"method": "full", "batch": 32}, 0.90),
    "MiniLM on BANKING77, lora": ("classify", {"method": "lora", "batch": 32}, 0.90),
    "Llama of 51 M on gsm8k, lora": ("generate", {"method": "lora", "batch": 8}, 0.75),
    "luthier-base on gsm8k, lora": ("embedded", {"method": "lora", "batch": 32}, 0.60),
    "MiniLM on BANKING77, full, float32": ("classify", {"method": "full", "batch": 32, "precision": "float32"}, 0.90),
    "MiniLM on BANKING77, lora, float32": ("classify", {"method": "lora", "batch": 32, "precision": "float32"}, 0.90),
    "Llama of 51 M on gsm8k, lora, float32": ("generate", {"method": "lora", "batch": 8, "precision": "float32"}, 0.75),
}
# The kind of an operation by what its name holds; the first that fits.
KINDS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("optimiser", ("_fused_adam", "_foreach_")),
    ("attention", ("scaled_dot_product", "_flash_attention", "aten::_softmax", "_safe_softmax")),
    ("matrices", ("addmm", "::mm", "bmm", "::linear", "baddbmm", "mkldnn_linear", "::matmul")),
    ("norm", ("layer_norm", "rms_norm", "rsqrt", "::mean", "::pow", "linalg_vector_norm")),
    ("activation", ("gelu", "silu", "tanh", "sigmoid")),
    ("embedding", ("embedding", "index_select")),
    ("dropout", ("dropout", "bernoulli")),
    ("loss", ("nll_loss", "log_softmax", "cross_entropy", "::exp", "amax", "::log", "::index", "index_put")),
    ("copies", ("copy_", "::clone", "::cat", "contiguous", "_to_copy")),
    ("new memory", ("::empty", "::zeros", "::fill_", "::zero_", "::full", "resize")),
    ("elementwise", ("::mul", "::add", "::sub", "::div", "::neg", "::sum", "::where", "::cos", "::sin", "::rsub", "::eq", "::lt")),
)  # fmt: skip
OTHER, PYTHON = "other operations", "python, dispatch, autograd (and the profiler)"
COPIED = 1 << 24


def kind_of(name: str) -> str:
    """Return the kind of an operation by its profiler's or dispatcher's name."""
    return next((kind for kind, parts in KINDS if any(part in name for part in parts)), OTHER)


def clock(threads: int) -> Callable[[], float]:
    """Return the clock to measure by: with one thread processor time, which other work on the machine does not lengthen."""
    return time.process_time if threads == 1 else time.perf_counter


# Floors


def products(learner: Any, tokens: int, learnt: int) -> Counter[tuple[int, int, int]]:
    """Return the matrix products (rows, inner, columns) that a pass over so many useful tokens needs, and how often.

    Args:
        learnt: rows of the output layer: texts of a classifier, learnt tokens of a decoder.
    """
    import torch

    from luthier.models import freeze, methods

    found: Counter[tuple[int, int, int]] = Counter()
    plain = methods.plain(learner.network)
    output = plain.get_output_embeddings() if hasattr(plain, "get_output_embeddings") else None
    blocks = freeze.blocks(plain)
    first = {id(m) for m in _readers(blocks[0])} if not _learns_before(learner, blocks) else set()
    for name, module in learner.named_modules():
        if not isinstance(module, torch.nn.Linear):
            continue
        rows = learnt if module is output or module is getattr(learner, "head", None) else tokens
        inner, columns = module.in_features, module.out_features
        found[rows, inner, columns] += 1
        if module.weight.requires_grad:
            found[inner, rows, columns] += 1
        # An adapter's first matrix hands its gradient back where its layer does, its second always.
        layer = name.split(".lora_A")[0].removesuffix(".base_layer")
        if id(learner.get_submodule(layer)) not in first:
            found[rows, columns, inner] += 1
    return found


def _readers(block: Any) -> list[Any]:
    """Return the modules of the first block that read its input: queries, keys and values."""
    words = ("query", "key", "value", "q_proj", "k_proj", "v_proj")
    return [m for name, m in block.named_modules() if name.split(".")[-1] in words]


def _learns_before(learner: Any, blocks: Sequence[Any]) -> bool:
    """Whether anything below the first block learns, so that the gradient has to go through it."""
    inside = {id(p) for block in blocks for p in block.parameters()}
    output = {id(p) for p in learner.head.parameters()} if getattr(learner, "head", None) is not None else set()
    return any(p.requires_grad and id(p) not in inside | output for p in learner.parameters())


def product_seconds(shape: tuple[int, int, int], now: Callable[[], float], least_s: float = 0.02) -> float:
    """Return the median seconds of one float32 product of this shape."""
    import torch

    rows, inner, columns = shape
    left, right = torch.randn(rows, inner), torch.randn(inner, columns)
    left @ right
    found: list[float] = []
    while len(found) < 3 or sum(found) < least_s:
        began = now()
        left @ right
        found.append(now() - began)
    return statistics.median(found)


def copy_rate(now: Callable[[], float]) -> float:
    """Return bytes a second that copying reads and writes."""
    import torch

    source, target = torch.ones(COPIED), torch.empty(COPIED)
    target.copy_(source)
    found = []
    for _ in range(5):
        began = now()
        target.copy_(source)
        found.append(now() - began)
    return 8 * COPIED / statistics.median(found)


def traffic(act: Callable[[], object]) -> dict[str, float]:
    """Return the bytes that the operations of ``act`` read and write, by kind; what only looks at memory anew counts nothing."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves

    counted: Counter[str] = Counter()

    class Count(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = func(*args, **(kwargs or {}))
            name = f"aten::{func.overloadpacket.__name__}"
            if not func.is_view and name not in ("aten::detach", "aten::empty"):
                tensors = [t for t in tree_leaves((args, kwargs, result)) if isinstance(t, torch.Tensor)]
                counted[kind_of(name)] += sum(t.numel() * t.element_size() for t in tensors)
            return result

    with Count():
        act()
    return dict(counted)


def attention_flops(tokens: Sequence[int], width: int, layers: int, *, causal: bool) -> float:
    """Return what scores and their weighted sums of rows of these lengths cost, forwards and backwards."""
    squares = sum(t * t for t in tokens) * (0.5 if causal else 1.0)
    return 3 * 4 * squares * width * layers


# The run


def profile_part(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Run the same steps with and without the profiler, measure the floors between, and return seconds a step."""
    import torch
    from torch.profiler import ProfilerActivity, profile

    from luthier.spec.train import TrainSection
    from luthier.train import defaults, speed
    from luthier.train.loop import train
    from luthier.train.optim import make_optimizer

    now = clock(torch.get_num_threads())
    torch.manual_seed(SEED)
    learner, examples = learner_and_rows(settings)
    objective = "classify" if settings["kind"] == "classify" else "generate"
    section = defaults.resolve(TrainSection(seed=SEED, head="random", **settings["section"]), objective=objective,
                               rows=len(examples))  # fmt: skip
    section = speed.settle(section, rows=len(examples), learner=learner)
    learner.prepare_training(section)
    speed.prepare(learner, section)
    steps = settings["steps"]
    # All of them, so that the steps are those of an epoch: cut by length, with hardly any padding.
    rows = [encoded for e in examples if (encoded := learner.encode(e)) is not None]
    optimizer = make_optimizer(learner, rate=1e-6, weight_decay=section.weight_decay)
    plan = replace(defaults.make_plan(section, rows=len(rows)), steps=steps, warmup=0)

    def go() -> tuple[float, list[Any]]:
        began = now()
        reports = list(train(learner, rows, plan, optimizer))
        return now() - began, reports

    go()
    plain: list[float] = []
    floors: list[float] = []
    copies: list[float] = []
    kinds: list[Counter[str]] = []
    reports: list[Any] = []
    units = [learner.units(r) for r in rows]
    pieces = _pieces(learner, plan, rows)
    for _ in range(settings["turns"]):
        seconds, reports = go()
        plain.append(seconds / steps)
        _known.clear()
        floors.append(sum(_matrix_seconds(learner, *piece, now) for piece in pieces))
        copies.append(copy_rate(now))
        with profile(activities=[ProfilerActivity.CPU]) as told:
            began = time.perf_counter()
            go()
            whole = (time.perf_counter() - began) / steps
        found = _by_kind(told.key_averages(), steps)
        found[PYTHON] = max(0.0, whole - sum(found.values()))
        kinds.append(found)
    useful, computed = sum(r.tokens for r in reports), sum(r.padded_tokens for r in reports)
    moved = traffic(lambda: list(train(learner, rows, plan, optimizer)))
    return {
        "step_s": plain, "matrix_floor_s": [f / steps for f in floors], "copy_bytes_per_s": copies,
        "kinds_s": [dict(k) for k in kinds], "bytes_moved": {kind: total / steps for kind, total in moved.items()}, "useful_tokens": useful / steps,
        "computed_tokens": computed / steps, "learnt": sum(units) / steps, "pieces": len(pieces) / steps,
        "flops": sum(_flops(learner, *piece) for piece in pieces) / steps,
    }  # fmt: skip


def _pieces(learner: Any, plan: Any, rows: Sequence[Any]) -> list[tuple[list[int], int]]:
    """Return for each pass of the steps the lengths of its rows and what is learnt in it, as the loop cuts them."""
    from luthier.train.loop import batches_of, pieces_of

    lengths = [len(r) for r in rows]
    found = []
    for picked in batches_of(learner, rows, plan, 0, draws=None)[: plan.steps]:
        for piece in pieces_of(learner, picked, lengths, plan):
            found.append(([lengths[r] for r in piece], round(sum(learner.units(rows[r]) for r in piece))))
    return found


# Lengths of passes differ by a few tokens, and a product's rate does not.
_STEP = 16
_known: dict[tuple[int, int, int], float] = {}


def _matrix_seconds(learner: Any, lengths: Sequence[int], learnt: int, now: Callable[[], float]) -> float:
    """Return the seconds of a pass's products, each shape measured at a token count of its neighbourhood, in proportion."""
    tokens = sum(lengths)
    whole = 0.0
    for shape, times in products(learner, tokens, learnt).items():
        rows, inner, columns = (max(_STEP, round(n / _STEP) * _STEP) if n in (tokens, learnt) else n for n in shape)
        near = (rows, inner, columns)
        if near not in _known:
            _known[near] = product_seconds(near, now)
        whole += times * _known[near] * (shape[0] * shape[1] * shape[2]) / (rows * inner * columns)
    # Attention's own products are held against the mean rate of all shapes.
    rate = sum(2 * a * b * c for a, b, c in _known) / sum(_known.values())
    return whole + _attention(learner, lengths) / rate


def _attention(learner: Any, lengths: Sequence[int]) -> float:
    from luthier.models import freeze, methods

    plain = methods.plain(learner.network)
    width = int(plain.config.hidden_size)
    return attention_flops(lengths, width, len(freeze.blocks(plain)), causal=learner.writes)


def _flops(learner: Any, lengths: Sequence[int], learnt: int) -> float:
    shapes = products(learner, sum(lengths), learnt)
    return sum(2.0 * a * b * c * times for (a, b, c), times in shapes.items()) + _attention(learner, lengths)


def _by_kind(events: Any, steps: int) -> Counter[str]:
    found: Counter[str] = Counter()
    for event in events:
        if event.key.startswith("aten::"):
            found[kind_of(event.key)] += event.self_cpu_time_total / 1e6 / steps
    return found


PARTS: dict[str, Part] = {"model": model_part, "profile": profile_part}


def summed_up(measured: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return medians over rounds and turns: seconds of a step, its floors, its kinds scaled to the step without profiler."""
    turns = [(s, f) for m in measured for s, f in zip(m["step_s"], m["matrix_floor_s"], strict=True)]
    step = statistics.median(s for s, _ in turns)
    names = sorted({name for m in measured for k in m["kinds_s"] for name in k})
    kinds = {n: statistics.median(k.get(n, 0.0) for m in measured for k in m["kinds_s"]) for n in names}
    # The profiler's clock is the wall's, and it costs time itself: its shares are laid over the step without it.
    stretch = step / sum(kinds.values())
    kinds = {name: seconds * stretch for name, seconds in kinds.items()}
    copy = statistics.median(c for m in measured for c in m["copy_bytes_per_s"])
    first = measured[0]
    return {
        "step_s": step, "matrix_floor_s": statistics.median(f for _, f in turns), "kinds_s": kinds,
        "share": spread([f / s for s, f in turns]).as_dict(), "copy_bytes_per_s": copy,
        "memory_floor_s": {name: moved / copy for name, moved in first["bytes_moved"].items()},
        "gflops_per_s": first["flops"] / statistics.median(f for _, f in turns) / 1e9,
        **{key: first[key] for key in ("useful_tokens", "computed_tokens", "learnt", "pieces", "flops")},
    }  # fmt: skip


def table(found: Mapping[str, Mapping[str, Any]]) -> str:
    """Return for each contender the milliseconds a step by kind, beside the floors."""
    parts = []
    for name, one in found.items():
        floors = {**one["memory_floor_s"], "matrices": one["matrix_floor_s"]}
        order = sorted(one["kinds_s"], key=lambda kind: -one["kinds_s"][kind])
        rows = [
            [kind, figure(1000 * one["kinds_s"][kind]), f"{one['kinds_s'][kind] / one['step_s']:.1%}",
             figure(1000 * floors[kind]) if kind in floors else ""]
            for kind in order
        ]  # fmt: skip
        share = one["share"]
        parts.append(
            f"**{name}**: a step of {figure(one['useful_tokens'])} useful and {figure(one['computed_tokens'])} computed tokens in "
            f"{figure(one['pieces'])} passes takes {figure(1000 * one['step_s'])} ms. Its matrices need "
            f"{figure(one['flops'] / 1e9)} GFLOP, {figure(1000 * one['matrix_floor_s'])} ms at the {figure(one['gflops_per_s'])} GFLOP/s "
            f"of their shapes: **{share['median']:.0%}** ({share['min']:.0%}-{share['max']:.0%}) of the step. Copying: "
            f"{figure(one['copy_bytes_per_s'] / 1e9)} GB/s.\n\n"
            + markdown(("kind", "ms a step", "share", "floor, ms"), rows)
        )
    return "\n\n".join(parts)


def main() -> None:
    """Run the bench, or one of its parts."""
    parser = arguments("profile", __doc__ or "")
    parser.add_argument("--steps", type=int, help="optimiser steps of each turn (default: 12)")
    parser.add_argument("--turns", type=int, help="turns with and without the profiler in each process (default: 3)")
    shared_options(parser)
    chosen = parser.parse_args()
    if chosen.part:
        return answer_part(PARTS, chosen.part, chosen.settings)
    sources = sources_of(chosen)
    usual = (2, 1, 1) if chosen.quick else (12, 3, 2)
    steps, turns, rounds = chosen.steps or usual[0], chosen.turns or usual[1], chosen.rounds or usual[2]
    threads = threads_for(chosen)
    record: dict[str, Any] = {"machine": machine(threads), "steps": steps, "turns": turns, "rounds": rounds}
    with workshop() as work:
        given = {**sources, "folder": str(work / "models"), "steps": steps, "turns": turns}
        run_part("bench.profile", "model", given, threads=threads, work=work)
        picked = {name: c for name, c in CONTENDERS.items() if chosen.only is None or chosen.only in name}
        contenders = {n: ("profile", {**given, "kind": kind, "section": s}) for n, (kind, s, _) in picked.items()}
        runs = alternate("bench.profile", contenders, rounds=rounds, threads=threads, work=work)
    found = {name: summed_up(measured) for name, measured in runs.items()}
    record |= {"runs": runs, "found": found}
    goals = [Goal(f"of the float32 matrix rate on useful tokens, {n}", picked[n][2], one["share"]["median"]) for n, one in found.items()]
    conclude("profile", record, table(found), goals, quick=chosen.quick, out=chosen.out)
    return None


if __name__ == "__main__":
    sys.exit(main())
