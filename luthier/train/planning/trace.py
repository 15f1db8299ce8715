"""What passes through a network ask of memory and of arithmetic: allocations, activations kept for the backward pass, FLOPs."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

# Its lines on starting and stopping would stand in the user's terminal.
os.environ.setdefault("KINETO_LOG_LEVEL", "99")

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from luthier.objectives.scores import PIECE
from luthier.train.planning.heap import FIXED, SQUARE, TOKENS, Trace


@dataclass(frozen=True, slots=True)
class Counts:
    """Of one pass: ``kept`` bytes wait for the backward pass, ``largest`` is the largest of them, ``flops`` forward and
    backward (a product of n x k and k x m is 2nkm), ``calls`` of the library."""

    kept: float
    largest: float
    flops: float
    calls: int


def counted(network: torch.nn.Module, loss: Callable[[], torch.Tensor], *, backward: bool = True) -> Counts:
    """Run a pass and count what it keeps and computes; parameters themselves are not counted as kept."""
    own = {p.untyped_storage().data_ptr() for p in network.parameters()}
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    calls = _Calls()
    with FlopCounterMode(display=False) as flops, calls:
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            found = loss()
        if backward:
            found.backward()
    return Counts(sum(kept.values()), max(kept.values(), default=0), float(flops.get_total_flops()), calls.count)


class _Calls(TorchDispatchMode):
    """Counts calls of the library: on a GPU each is started by the processor, which takes time of its own."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += 1
        return func(*args, **(kwargs or {}))


def recorded(run: Callable[[], Any], *, fixed: frozenset[int], square: frozenset[int] = frozenset()) -> Trace:
    """Run something and return what it allocated and freed on the CPU, in order.

    Args:
        fixed: sizes that do not grow with the batch (those of gradients, say).
        square: sizes that grow with the square of a row's length.
    """
    from torch._C._profiler import _EventType
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        run()
    results: Any = profiled.profiler
    stack, events = list(results.kineto_results.experimental_event_tree()), []
    while stack:
        event = stack.pop()
        stack += event.children
        if event.tag == _EventType.Allocation:
            events.append((event.start_time_ns, event.extra_fields.alloc_size, event.extra_fields.ptr))
    return _numbered(sorted(events, key=lambda event: event[0]), fixed, square)


def _numbered(events: list[tuple[int, int, int]], fixed: frozenset[int], square: frozenset[int]) -> Trace:
    """Return events with a number for each allocation instead of its place; what was there before is left out."""
    living: dict[int, int] = {}
    trace: list[tuple[int, int, int]] = []
    for _, size, place in events:
        if size > 0:
            living[place] = len(trace)
            trace.append((len(trace), size, FIXED if size in fixed else SQUARE if size in square else TOKENS))
        elif place in living:
            trace.append((living.pop(place), 0, FIXED))
    return trace


def accumulating(trace: Trace) -> Trace:
    """Return the trace of a pass whose gradients are added to those there: what it left alive lives until the next
    allocation only."""
    ended = {slot for slot, size, _ in trace if not size}
    found: list[tuple[int, int, int]] = []
    waiting: list[int] = []
    for slot, size, kind in trace:
        if size:
            found += [(left, 0, FIXED) for left in waiting]
            waiting = [] if slot in ended else [slot]
        found.append((slot, size, kind))
    return [*found, *((left, 0, FIXED) for left in waiting)]


def fixed_sizes(network: Any) -> frozenset[int]:
    """Return sizes in bytes that do not depend on a batch: of parameters, and of a full piece of scores."""
    sizes = {p.numel() * 4 for p in network.parameters()}
    vocabulary = int(getattr(getattr(network, "config", None), "vocab_size", 0) or 0)
    return frozenset(sizes | ({max(1, PIECE // vocabulary) * vocabulary * 4} if vocabulary else set()))


def square_sizes(network: Any, rows: int, length: int) -> frozenset[int]:
    """Return sizes in bytes of attention's matrices of a batch: for each head or for all, of one, two or four bytes a number."""
    config = getattr(network, "config", None)
    heads = int(getattr(config, "num_attention_heads", 0) or getattr(config, "n_heads", 0) or getattr(config, "num_heads", 0) or 1)
    return frozenset(rows * count * length * length * wide for count in (1, heads) for wide in (1, 2, 4))
