"""How unlike all labels a text is, by what the tuned network says of it; kept in the bundle beside the head.

Four ways, larger is more unlike: one less the highest probability (Hendrycks & Gimpel 2017, https://arxiv.org/abs/1610.02136);
the energy of the logits (Liu et al. 2020, https://arxiv.org/abs/2010.03759); the Mahalanobis distance of the head's input to
the nearest label's mean, one shrunk covariance for all labels (Lee et al. 2018, https://arxiv.org/abs/1807.03888); the distance to
the train rows nearest to it (Sun et al. 2022, https://arxiv.org/abs/2204.06507).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

from luthier.base.errors import BundleError
from luthier.base.files import read_json, write_json
from luthier.base.records import Prediction

# So many train rows nearest to a text: the distance to the last of them counts, so that one odd row decides nothing.
NEIGHBOURS = 5
# A bank of more rows costs memory at the service and finds hardly nearer ones.
MOST_ROWS = 8192
_BLOCK = 512
Parts = Mapping[str, torch.Tensor]
# Of (N, C) logits, (N, D) features, what was fitted, and (C,) which labels are looked at.
Way = Callable[[torch.Tensor, torch.Tensor | None, Parts, torch.Tensor], torch.Tensor]


def _probability(logits_NC: torch.Tensor, _: torch.Tensor | None, __: Parts, kept_C: torch.Tensor) -> torch.Tensor:
    return 1 - logits_NC[:, kept_C].softmax(-1).amax(-1)


def _energy(logits_NC: torch.Tensor, _: torch.Tensor | None, __: Parts, kept_C: torch.Tensor) -> torch.Tensor:
    return -logits_NC[:, kept_C].logsumexp(-1)


def _distance(_: torch.Tensor, features_ND: torch.Tensor | None, parts: Parts, kept_C: torch.Tensor) -> torch.Tensor:
    assert features_ND is not None
    known_C = kept_C & parts["seen_C"].bool()
    white_ND = (features_ND - parts["centre_D"]) @ parts["whiten_DD"]
    return torch.cdist(white_ND, parts["means_CD"][known_C], compute_mode="donot_use_mm_for_euclid_dist").amin(-1)


def _neighbours(_: torch.Tensor, features_ND: torch.Tensor | None, parts: Parts, kept_C: torch.Tensor) -> torch.Tensor:
    assert features_ND is not None
    there_M = kept_C[parts["label_M"].long()]
    rows_MD = parts["rows_MD"][there_M].to(features_ND.dtype)
    place = min(NEIGHBOURS, len(rows_MD))
    found = []
    for block_BD in F.normalize(features_ND, dim=-1).split(_BLOCK):
        found.append(1 - (block_BD @ rows_MD.T).topk(place, dim=-1).values[:, -1])
    return torch.cat(found)


WAYS: dict[str, Way] = {"probability": _probability, "energy": _energy, "distance": _distance, "neighbours": _neighbours}
KINDS = tuple(WAYS)
# Those that look at the head's input.
OF_FEATURES = ("distance", "neighbours")


@dataclass(frozen=True)
class Scope:
    """How unlike the labels a text is (by ``kind``), the ``cut`` above which it is of none, and the ``name`` that is then answered."""

    kind: str
    name: str
    cut: float = float("inf")
    parts: Parts = field(default_factory=dict)

    @property
    def of_features(self) -> bool:
        return self.kind in OF_FEATURES

    def unlike(self, logits_NC: torch.Tensor, features_ND: torch.Tensor | None, kept_C: torch.Tensor | None = None) -> torch.Tensor:
        """Return (N,) how unlike the labels each row is; of some labels only, where ``kept_C`` says which."""
        there = {name: part.to(logits_NC.device) for name, part in self.parts.items()}
        kept_C = torch.ones(logits_NC.shape[1], dtype=torch.bool) if kept_C is None else kept_C
        features_ND = None if features_ND is None else features_ND.float()
        return WAYS[self.kind](logits_NC.float(), features_ND, there, kept_C.to(logits_NC.device)).float().cpu()

    def apply(self, predictions: Sequence[Prediction]) -> list[Prediction]:
        """Return the predictions, those above the cut with the name as their label and the likeliest one as ``nearest``."""
        return [
            replace(p, label=self.name, nearest=p.label) if p.unlike is not None and p.unlike > self.cut else p for p in predictions
        ]

    def save(self, folder: Path) -> dict[str, Any]:
        """Write what was fitted into ``folder/scope`` and return the facts that :meth:`load` needs."""
        if self.parts:
            (folder / "scope").mkdir()
            save_file({name: part.cpu().contiguous() for name, part in self.parts.items()}, folder / "scope" / "scope.safetensors")
            write_json(folder / "scope" / "scope.json", {"kind": self.kind, "neighbours": NEIGHBOURS})
        return {"kind": self.kind, "name": self.name, "cut": self.cut}

    @classmethod
    def load(cls, folder: Path, facts: Mapping[str, Any] | None) -> Scope | None:
        """Open what :meth:`save` wrote; None where the bundle has no such thing.

        Raises:
            BundleError: missing or damaged.
        """
        if not facts:
            return None
        parts: Parts = {}
        try:
            if facts["kind"] in OF_FEATURES:
                if read_json(folder / "scope" / "scope.json")["kind"] != facts["kind"]:
                    raise ValueError("another kind")
                parts = load_file(folder / "scope" / "scope.safetensors")
            return cls(str(facts["kind"]), str(facts["name"]), float(facts["cut"]), parts)
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            raise BundleError("what tells texts of no label cannot be read", where=str(folder / "scope")) from error
