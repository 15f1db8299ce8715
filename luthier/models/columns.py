"""Progressive columns: what was learnt is frozen, and every new task gets a column that looks into those before it.

Rusu et al. 2016, "Progressive neural networks", https://arxiv.org/abs/1606.04671, with a whole encoder as a column:
after block i, column k adds to its hidden vectors ``U relu(V norm(h))`` of what each earlier column has after the same
block. U starts at zero, so that a new column starts as the base model.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from luthier.base.errors import ModelError
from luthier.base.files import read_json, write_json
from luthier.models import freeze
from luthier.models.freeze import blocks

NAMES = ("columns.json", "columns.safetensors")


class Lateral(nn.Module):
    """A bottleneck from an earlier column's hidden vectors (B, T, D) to what is added to this one's; zero at the start."""

    def __init__(self, width: int, narrow: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.down = nn.Linear(width, narrow)
        self.up = nn.Linear(narrow, width)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, hidden_BTD: torch.Tensor) -> torch.Tensor:
        return self.up(torch.relu(self.down(self.norm(hidden_BTD))))


class Column(nn.Module):
    """One column as a network: its own encoder, the columns before it, and the laterals from each of them at each block.

    It answers like a transformers encoder: called with ids and mask, it gives what its own encoder gives. Earlier
    columns run without gradients and without dropout, whatever mode this one is in. ``parameters()`` are its own: those
    before it are frozen for good.
    """

    def __init__(self, encoder: nn.Module, earlier: Sequence[Column], *, narrow: int = 0) -> None:
        super().__init__()
        width = int(encoder.config.hidden_size)  # type: ignore[union-attr,arg-type]
        self.narrow = narrow or max(8, width // 8)
        self.encoder = encoder
        self.earlier = nn.ModuleList(earlier)
        depth = len(blocks(encoder))
        self.laterals = nn.ModuleList(nn.ModuleList(Lateral(width, self.narrow) for _ in earlier) for _ in range(depth))
        for column in earlier:
            for parameter in nn.Module.parameters(column):
                parameter.requires_grad_(False)
        self._share_embeddings()

    def _share_embeddings(self) -> None:
        """Hold equal embeddings once; they are the larger half of a small encoder and mostly frozen."""
        if not self.earlier:
            return
        theirs = dict(self.earlier[0].encoder.named_parameters())  # type: ignore[union-attr]
        mine = {name: p for name, p in self.encoder.named_parameters() if name in embedding_names(self.encoder)}
        if all(torch.equal(p, theirs[name]) for name, p in mine.items()):
            for name in mine:
                owner, _, own = name.rpartition(".")
                setattr(self.encoder.get_submodule(owner), own, theirs[name])

    @property
    def config(self) -> Any:
        return self.encoder.config

    def get_input_embeddings(self) -> nn.Module:
        return self.encoder.get_input_embeddings()  # type: ignore[operator]

    def parameters(self, recurse: bool = True) -> Iterator[nn.Parameter]:
        yield from self.encoder.parameters(recurse)
        yield from self.laterals.parameters(recurse)

    def train(self, mode: bool = True) -> Column:
        super().train(mode)
        self.earlier.eval()
        return self

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None, **kwargs: Any) -> Any:
        inputs = {"input_ids": input_ids, "attention_mask": attention_mask, **kwargs}
        seen: list[list[torch.Tensor]] = []
        with torch.no_grad():
            for column in self.earlier:
                seen.append(column._run(inputs, seen)[1])  # type: ignore[operator]
        return self._run(inputs, seen)[0]

    def _run(self, inputs: Any, seen: Sequence[Sequence[torch.Tensor]]) -> tuple[Any, list[torch.Tensor]]:
        """Return the encoder's output, and its hidden vectors after each block, with what earlier columns saw added in."""
        hidden: list[torch.Tensor] = []
        laterals: Any = self.laterals

        def add(place: int) -> Any:
            def hook(module: nn.Module, args: Any, output: Any) -> Any:
                value = output[0] if isinstance(output, tuple) else output
                for lateral, other in zip(laterals[place], seen, strict=True):
                    value = value + lateral(other[place])
                hidden.append(value)
                return (value, *output[1:]) if isinstance(output, tuple) else value

            return hook

        with ExitStack() as stack:
            for place, block in enumerate(blocks(self.encoder)):
                stack.callback(block.register_forward_hook(add(place)).remove)
            return self.encoder(**inputs), hidden

    def save_pretrained(self, folder: Path, **kwargs: Any) -> None:
        """Write the first column as a transformers folder, and the others beside it; :func:`reopen` reads both.

        A ``state_dict`` that a caller passes is that of all columns, and each is written by its own here.
        """
        columns = [*self.earlier, self]
        kwargs.pop("state_dict", None)
        columns[0].encoder.save_pretrained(folder, **kwargs)
        if not self.earlier:
            return
        shared = {id(p) for p in columns[0].encoder.parameters()}
        tensors = {
            f"{place}.{name}": value.detach().cpu().contiguous().clone()
            for place, column in enumerate(columns[1:], 1)
            for name, value in column.state_dict(keep_vars=True).items()
            if not name.startswith("earlier.") and id(value) not in shared
        }
        save_file(tensors, Path(folder) / NAMES[1])
        write_json(Path(folder) / NAMES[0], {
            "kind": "progressive", "columns": len(columns), "narrow": self.narrow, "width": int(self.config.hidden_size),
            "lateral": "h += up(relu(down(norm(hidden of an earlier column after the same block))))",
        })  # fmt: skip


def reopen(encoder: nn.Module, folder: Path, *, again: Any) -> nn.Module:
    """Return the columns that :meth:`Column.save_pretrained` wrote, or the encoder where there is one column only.

    Args:
        encoder: the first column, as transformers loads it. again: makes another encoder like it.
    """
    if not (folder / NAMES[0]).is_file():
        return encoder
    try:
        facts = read_json(folder / NAMES[0])
        tensors = load_file(folder / NAMES[1])
        columns = [Column(encoder, [])]
        for place in range(1, int(facts["columns"])):
            column = Column(again(), columns, narrow=int(facts["narrow"]))
            mine = {name.partition(".")[2]: v for name, v in tensors.items() if name.startswith(f"{place}.")}
            missing, unknown = column.load_state_dict(mine, strict=False)
            known = {name for name, p in column.named_parameters() if not name.startswith("earlier.")}
            if unknown or (known & set(missing)) - {f"encoder.{n}" for n in embedding_names(column.encoder)}:
                raise KeyError((unknown or missing)[0])
            columns.append(column)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        what = "the columns of this model cannot be read"
        raise ModelError(what, where=str(folder / NAMES[0]), mend="Restore the folder from a copy.") from error
    return columns[-1]


def embedding_names(encoder: nn.Module) -> set[str]:
    held = {id(p) for p in freeze.embeddings(encoder)}
    return {name for name, p in encoder.named_parameters() if id(p) in held}
