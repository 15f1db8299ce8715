"""A small model with the predictor's methods, for tests of everything around the model; and a server to be killed."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from luthier.base.errors import Interrupted
from luthier.base.records import Prediction
from luthier.objectives.rank_known import Known
from luthier.prompts.sentences import split_sentences
from luthier.serve.run import serve
from luthier.spec.serve import ServeSection

KEYWORDS = {"invoice": "billing", "parcel": "delivery", "password": "account"}


class KeywordModel:
    """Label by keyword. Counts its calls, can be held up by an event, and can be slow."""

    objective = "classify"
    writes = False
    kind = "encoder"
    labels = ("account", "billing", "delivery")
    declines_as: str | None = None

    def __init__(self, *, slow_s: float = 0.0) -> None:
        self.bundle_id = "b0ndle42"
        self.folder = Path()
        self.slow_s = slow_s
        self.go = threading.Event()
        self.go.set()
        self.entered = threading.Event()
        self.batches: list[int] = []

    def predict(
        self, items: Sequence[str | Mapping[str, Any]], *, max_new_tokens: int | None = None
    ) -> list[Prediction]:
        self.entered.set()
        self.go.wait(20)
        time.sleep(self.slow_s)
        self.batches.append(len(items))
        texts = [item if isinstance(item, str) else item["text"] for item in items]
        if any("poison" in text for text in texts):
            raise RuntimeError("the model broke")
        return [self._one(text) for text in texts]

    def _one(self, text: str) -> Prediction:
        label = next((label for word, label in KEYWORDS.items() if word in text), "account")
        return Prediction(label=label, scores={name: 0.8 if name == label else 0.1 for name in self.labels})


class EchoModel:
    """Answer the last turn in capital letters, cut to the allowed number of words."""

    objective = "generate"
    writes = True
    kind = "decoder"
    labels: tuple[str, ...] = ()
    declines_as: str | None = None
    bundle_id = "echo7"
    folder = Path()

    def predict(
        self, items: Sequence[str | Mapping[str, Any]], *, max_new_tokens: int | None = None
    ) -> list[Prediction]:
        answers = []
        for item in items:
            asked = item["messages"][-1]["content"] if "messages" in item else item["text"]  # type: ignore[index]
            words = str(asked).upper().split()
            made = words[:max_new_tokens]
            finish = "length" if len(made) < len(words) else "stop"
            measured = {"prompt_tokens": float(len(words)), "made_tokens": float(len(made))}
            answers.append(Prediction(text=" ".join(made), finish=finish, measured=measured))
        return answers


class TagModel(KeywordModel):
    """Every label whose word stands in the text."""

    objective = "multilabel"

    def _one(self, text: str) -> Prediction:
        found = [label for word, label in KEYWORDS.items() if word in text]
        return Prediction(labels=tuple(found), scores={name: 0.9 if name in found else 0.1 for name in self.labels})


class MarkModel(KeywordModel):
    """Two scores by the length of the text, on a scale of 1 to 5."""

    objective = "grade"
    labels = ("content", "style")
    learner = SimpleNamespace(known={"scales": {"content": [1.0, 5.0, 0.5], "style": [1.0, 5.0, 0.5]}})

    def _one(self, text: str) -> Prediction:
        return Prediction(grades={"content": min(5.0, 1 + len(text) / 10), "style": 2.26})


class LineModel(KeywordModel):
    """The first sentence of a document."""

    objective = "extract"
    labels = ()

    def _one(self, text: str) -> Prediction:
        sentences = split_sentences(text)
        return Prediction(sentences=(sentences[0],), scores={str(n): 1 / (n + 1) for n in range(len(sentences))})


_SHELF = ("Refunds", "Lost parcels", "Passwords", "Opening hours")


class ShelfModel(KeywordModel):
    """Three articles for whatever is asked, with names beside their ids."""

    objective = "rank"
    labels = ("a1", "a2", "a3", "a4")
    learner = SimpleNamespace(known=Known(labels, _SHELF, _SHELF, False))

    def predict(
        self, items: Sequence[str | Mapping[str, Any]], *, max_new_tokens: int | None = None
    ) -> list[Prediction]:
        return [self._one("") for _ in items]

    def _one(self, text: str) -> Prediction:
        return Prediction(items=(("a1", 0.9), ("a2", 0.5), ("a3", 0.1)), names=_SHELF[:3])


def main(folder: Path, slow_s: float) -> int:
    settings = ServeSection(port=0)
    try:
        serve(KeywordModel(slow_s=slow_s), settings, base=folder, on_ready=lambda url: print(url, flush=True))  # type: ignore[arg-type]
    except Interrupted as stop:
        return stop.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), float(sys.argv[2])))
