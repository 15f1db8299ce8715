"""Where a language model is surprised: the documents it finds hardest, by token."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from luthier.base.records import Example, Prediction
from luthier.evaluate.mistakes import asked, start_of

# The surprise of a few tokens says more of the first ones than of the text.
_FEWEST_TOKENS = 16


def of_texts(
    rows: Sequence[Example], predictions: Sequence[Prediction], labels: Sequence[str], worst: int
) -> dict[str, Any]:
    """Return the ``worst`` documents by bits per token, of at least 16 measured tokens where there are such."""
    del labels
    found: list[dict[str, Any]] = []
    for example, prediction in zip(rows, predictions, strict=True):
        tokens = prediction.measured.get("token_count", 0.0)
        if tokens:
            bits = prediction.measured["nll_sum"] / tokens / math.log(2)
            place = {"file": example.source.file, "line": example.source.line}
            found.append({"text": start_of(asked(example)), "bits": round(bits, 3), "tokens": int(tokens), **place})
    enough = [row for row in found if row["tokens"] >= _FEWEST_TOKENS]
    return {"surprises": sorted(enough or found, key=lambda row: -row["bits"])[:worst]}
