"""What a bundle is compared with: the model it was made of, opened again where it can be found."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from luthier.base.errors import ModelError
from luthier.base.records import Example, Prediction
from luthier.evaluate.rewards import with_reference
from luthier.models import catalogue
from luthier.models.load import device, open_base
from luthier.objectives import OBJECTIVES
from luthier.release.predictor import Predictor
from luthier.spec.model import ModelSection


def compared(
    predictor: Predictor, rows: Sequence[Example], predictions: Sequence[Prediction]
) -> tuple[list[Prediction], list[str]]:
    """Return predictions with what the untuned model says of the same rows, and why not where it cannot be asked.

    The weights must be those that the bundle was trained from, told by their hash.
    """
    if not predictor.learner.refers:
        return list(predictions), []
    base = predictor.facts.get("base") or {}
    try:
        found = catalogue.find(str(base.get("name")), folder=Path.cwd())
        if found.sha256 != base.get("sha256"):
            raise ModelError("it has other weights than the bundle was trained from")
        opened = open_base(found, max_tokens=predictor.learner.max_tokens)
        style = predictor.facts["learner"]["style"]
        untuned = OBJECTIVES[predictor.objective].create(opened, labels=(), model=ModelSection(template=style))
    except ModelError as error:
        why = f"The untuned model {base.get('name')} cannot be asked ({error.faults[0].what}): rewards are unknown."
        return list(predictions), [why]
    return with_reference(predictions, Predictor(untuned.to(device())).measure(rows)), []
