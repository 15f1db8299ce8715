"""How much memory training takes, before it starts: parameters, their gradients and moments, and what the backward pass keeps."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from luthier.models import freeze, tuners

# Bytes a parameter takes while it learns: gradient, two moments of AdamW, and, on a CPU, the copy of the best weights so far.
_LEARNING = 4 + 8 + 4
# On a GPU gradients appear while what the pass kept goes. Autocast keeps what learns in two bytes as well, until the pass is over.
_MOMENTS, _GRADIENT, _CAST = 8, 4, 2
_WEIGHT = 4
# What the allocator and the libraries hold beyond what is asked of them, measured with the embedded model on a CPU: estimates
# of 750, 570 and 280 MB for full, lora and head stand against 760, 670 and 200 measured.
_ROOM = 250 << 20
_SHARE = 0.9


@dataclass(frozen=True, slots=True)
class Size:
    """What decides the memory of a network: parameters, those in embeddings, blocks, widths and heads.

    ``linear`` counts the weights of the blocks' linear layers, ``linear_sides`` adds up their heights and widths.
    """

    parameters: int
    embeddings: int
    layers: int
    hidden: int
    inner: int
    heads: int
    vocabulary: int
    linear_sides: int
    linear: int = 0

    @property
    def per_layer(self) -> int:
        return (self.parameters - self.embeddings) // max(1, self.layers)


def size_of(network: nn.Module) -> Size:
    """Measure a network that nothing was put on yet."""
    config: Any = network.config
    hidden = int(
        getattr(config, "hidden_size", None) or getattr(config, "dim", 0) or getattr(config, "d_model", 0) or 1
    )
    heads = int(getattr(config, "num_attention_heads", None) or getattr(config, "n_heads", 0) or 1)
    first = freeze.blocks(network)[0]
    linear = [network.get_submodule(name) for name in tuners.lora_targets(network)]
    widths = [max(p.shape) for p in first.parameters() if p.dim() == 2]
    return Size(
        parameters=sum(p.numel() for p in network.parameters()),
        embeddings=sum(p.numel() for p in freeze.embeddings(network)),
        layers=len(freeze.blocks(network)),
        hidden=hidden,
        inner=max(widths, default=4 * hidden),
        heads=heads,
        vocabulary=int(getattr(config, "vocab_size", 0) or 0),
        linear_sides=sum(sum(m.weight.shape) for m in linear),  # type: ignore[arg-type, misc]
        linear=sum(m.weight.numel() for m in linear),  # type: ignore[operator, misc]
    )


@dataclass(frozen=True, slots=True)
class Pass:
    """How a pass is computed on a GPU: what is kept of it for the backward pass depends on it.

    ``flat``: flash attention, which keeps no row of attention; ``again``: only blocks' inputs are kept.
    """

    flat: bool = False
    again: bool = False


def needed(
    size: Size, method: str, *, rank: int, layers: int, tokens: int, row_tokens: int, embeddings: bool,
    on_gpu: Pass | None = None,
) -> int:  # fmt: skip
    """Return about how many bytes training takes with a method.

    Args:
        tokens: computed in one pass. row_tokens: of the longest row, for the attention's own matrices.
        embeddings: whether they learn (full).
        on_gpu: how a pass runs there, in bfloat16 over float32 weights; None is a CPU in float32.
    """
    learning = {
        "full": size.parameters - (0 if embeddings else size.embeddings),
        "last-layers": layers * size.per_layer,
        "lora": rank * size.linear_sides,
        "qlora": rank * size.linear_sides,
        "head": 0,
    }[method]
    weights = size.parameters * _WEIGHT
    if method == "qlora":
        # Half a byte a weight with the constants of its blocks (Dettmers et al. 2023, section 3).
        weights = size.embeddings * _WEIGHT + int((size.parameters - size.embeddings) * 0.52)
    deep = {"full": size.layers, "last-layers": min(layers, size.layers), "head": 0}.get(method, size.layers)
    if on_gpu is not None:
        if method == "lora":
            weights -= 2 * size.linear  # frozen weights are held in two bytes (luthier/models/low_rank.py)
        kept = _kept_on_gpu(size, tokens, row_tokens, deep, on_gpu, quantised=method == "qlora")
        return weights + learning * (_MOMENTS + _CAST) + max(kept, learning * _GRADIENT) + _ROOM
    # Per token and layer: what each linear layer and norm keeps of its input, about 16 hidden vectors and 3 inner ones, and
    # per head a row of attention (Korthikanti et al. 2022, https://arxiv.org/abs/2205.05198, equation 1, in float32).
    kept = 4 * tokens * deep * (10 * size.hidden + 3 * size.inner + 2 * size.heads * row_tokens)
    return weights + learning * _LEARNING + kept + _ROOM


# Scores of the vocabulary held at once on a GPU (luthier/objectives/scores.py), in bfloat16 and float32, and their gradient.
_SCORES_ON_GPU = (1 << 28) * (2 + 4 + 2)


def _kept_on_gpu(size: Size, tokens: int, row_tokens: int, deep: int, how: Pass, *, quantised: bool) -> int:
    """Return what a pass keeps under autocast: float32 between the blocks, bfloat16 inside them.

    By token and block: two norms keep input and output in float32 (16 bytes a unit of width), bfloat16 copies for the linear
    layers and what attention reads and gives (10), and four inner vectors in bfloat16. Under 4 bits peft's own forward turns
    what it is given to float32 once more. Fitted to the peaks of Llamas of 0.1 to 8 billion parameters (docs/results.md).
    """
    block = 26 * size.hidden + 8 * size.inner + (0 if how.flat else 4 * size.heads * row_tokens)
    if quantised:
        block += 4 * size.hidden + 4 * size.inner
    kept = deep * 4 * size.hidden + block if how.again and deep else deep * block
    scores = min(_SCORES_ON_GPU, tokens * size.vocabulary * 8)
    return tokens * kept + scores


def width_of(network: Any) -> int:
    """Return the width of a network's hidden vectors, 512 where it does not say."""
    config = getattr(network, "config", None)
    return int(getattr(config, "hidden_size", 0) or getattr(config, "dim", 0) or getattr(config, "d_model", 0) or 512)


def free_bytes(device: torch.device) -> int | None:
    """Return the memory that a run may take: the device's free memory, or the machine's within this process's limits."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0] * _SHARE)
    found = [v for v in (_available(), _limit()) if v is not None]
    return int(min(found) * _SHARE) if found else None


def process_bytes(name: str) -> int | None:
    """Return what Linux says of this process: ``VmRSS`` is resident now, ``VmHWM`` was at most; None elsewhere."""
    path = Path("/proc/self/status")
    if not path.is_file():
        return None
    line = next((x for x in path.read_text().splitlines() if x.startswith(name)), None)
    return int(line.split()[1]) * 1024 if line else None


_before: list[int] = []


def restart_peak() -> None:
    """Begin to look for the largest resident size anew, where Linux lets a process do so; what was before is remembered."""
    now = process_bytes("VmHWM")
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return
    _before.append(now or 0)


def peak_bytes(*, whole: bool = True) -> int | None:
    """Return the largest resident size of this process so far, or since :func:`restart_peak`; None where it is not told."""
    now = process_bytes("VmHWM")
    return max([now, *_before]) if whole and now is not None else now


def _available() -> int | None:
    path = Path("/proc/meminfo")
    if not path.is_file():
        return None
    line = next((x for x in path.read_text().splitlines() if x.startswith("MemAvailable")), None)
    return int(line.split()[1]) * 1024 if line else None


def _limit() -> int | None:
    """Return what is left of this process's control group, where it has a limit."""
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
        used = Path("/sys/fs/cgroup/memory.current").read_text().strip()
        return None if limit == "max" else max(0, int(limit) - int(used))
    except (OSError, ValueError):
        return None


# What torch and the libraries below it say when memory runs out on a CPU; on a GPU it is a class of its own.
_NO_ROOM = ("DefaultCPUAllocator", "can't allocate memory", "alloc_cpu.cpp", "std::bad_alloc", "CUDA out of memory",
            "CUBLAS_STATUS_ALLOC_FAILED")  # fmt: skip


def out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory ran out."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _NO_ROOM)


def gigabytes(count: float) -> str:
    """Return a number of bytes for a reader."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{max(1, round(count / 1e6))} MB"
