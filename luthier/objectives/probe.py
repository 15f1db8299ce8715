"""A probe of general ability: what tuning took from, or gave to, the model's sense of language as a whole.

An encoder has to find each sentence's paraphrase among all others; a decoder is measured by the bits it needs for each
byte of plain prose. Both are small, written for this, and cost a second.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F

from luthier.objectives.learner import Learner
from luthier.objectives.probe_texts import PAIRS, PROSE

_PASS_ROWS = 64
KINDS = {
    "paraphrases": f"share of {len(PAIRS)} sentences whose own paraphrase is the nearest of all",
    "bits_per_byte": "bits needed for each byte of plain prose: less is better",
}


@torch.inference_mode()
def probe(learner: Learner) -> dict[str, Any] | None:
    """Return ``{"kind", "value"}`` of a learner as it stands, or None for a network that gives neither vectors nor text."""
    was_training = learner.training
    learner.eval()
    try:
        kind = "bits_per_byte" if _writes(learner) else "paraphrases"
        value = _bits_per_byte(learner) if kind == "bits_per_byte" else _paraphrases(learner)
    finally:
        learner.train(was_training)
    return None if value is None or not math.isfinite(value) else {"kind": kind, "value": value}


def change(before: dict[str, Any] | None, after: dict[str, Any] | None) -> dict[str, Any]:
    """Return what the report says of two probes; nothing where one is missing."""
    if not before or not after or before["kind"] != after["kind"]:
        return {}
    return {
        "probe": {
            "kind": before["kind"], "before": round(before["value"], 5), "after": round(after["value"], 5),
            "change": round(after["value"] - before["value"], 5), "words": KINDS[before["kind"]],
        }
    }  # fmt: skip


def _writes(learner: Learner) -> bool:
    """Whether the network is a causal language model: it scores the next token and looks left only."""
    network = _plain(learner)
    config = network.config
    output = getattr(network, "get_output_embeddings", lambda: None)()
    return output is not None and not getattr(config, "is_encoder_decoder", False)


def _plain(learner: Learner) -> Any:
    network: Any = learner.network
    return network.get_base_model() if hasattr(network, "get_base_model") else network


def _paraphrases(learner: Learner) -> float | None:
    asked_ND, there_ND = (
        torch.cat([_vectors(learner, texts[i : i + _PASS_ROWS]) for i in range(0, len(texts), _PASS_ROWS)])
        for texts in ([pair[side] for pair in PAIRS] for side in (0, 1))
    )
    likeness_NN = F.normalize(asked_ND, dim=-1) @ F.normalize(there_ND, dim=-1).T
    # Equal vectors, as of a network that has collapsed, find nothing.
    others_NN = likeness_NN.masked_fill(torch.eye(len(PAIRS), dtype=torch.bool, device=likeness_NN.device), -2.0)
    return float((likeness_NN.diag() > others_NN.max(1).values).double().mean())


def _vectors(learner: Learner, texts: list[str]) -> torch.Tensor:
    """Return (N, D) means of the last hidden vectors over real tokens."""
    network = _plain(learner)
    encoder = network.get_encoder() if getattr(network.config, "is_encoder_decoder", False) else network
    body = getattr(encoder, "base_model", encoder)
    made = learner.tokenizer(texts, truncation=True, max_length=learner.max_tokens)["input_ids"]
    width = max(map(len, made))
    ids_BT = torch.tensor([[*ids, *[learner.pad_id] * (width - len(ids))] for ids in made], device=learner.device)
    mask_BT = torch.tensor([[1] * len(ids) + [0] * (width - len(ids)) for ids in made], device=learner.device)
    hidden_BTD = body(input_ids=ids_BT, attention_mask=mask_BT).last_hidden_state.float()
    weight_BT1 = mask_BT[:, :, None].to(hidden_BTD.dtype)
    return (hidden_BTD * weight_BT1).sum(1) / weight_BT1.sum(1).clamp(min=1)


def _bits_per_byte(learner: Learner) -> float | None:
    """Return the bits for each byte of the prose; a paragraph's first token is given, and its bytes do not count."""
    network, nats, size = _plain(learner), 0.0, 0
    for text in PROSE:
        ids = learner.tokenizer(text, truncation=True, max_length=learner.max_tokens, add_special_tokens=False)[
            "input_ids"
        ]
        if len(ids) < 2:
            continue
        ids_1T = torch.tensor([ids], device=learner.device)
        logits_TV = network(input_ids=ids_1T, use_cache=False).logits[0, :-1].float()
        nats += float(F.cross_entropy(logits_TV, ids_1T[0, 1:], reduction="sum"))
        size += len(learner.tokenizer.decode(ids[1:]).encode())
    return nats / math.log(2) / size if size else None
