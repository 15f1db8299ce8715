"""What a bundle is compared with: the model it was made of, opened again where it can be found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from luthier.base.errors import ModelError
from luthier.base.records import Example, Prediction
from luthier.data.prepare import Prepared
from luthier.evaluate.rewards import with_reference
from luthier.lifecycle.opening import learner_of
from luthier.models import catalogue
from luthier.models.catalogue import Found
from luthier.models.load import Base, device, open_base
from luthier.objectives import OBJECTIVES, Learner
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
    try:
        untuned = reference_of(predictor)
    except ModelError as error:
        return list(predictions), [f"{error.faults[0].what}: rewards are unknown."]
    return with_reference(predictions, untuned.measure(rows)), []


def reference_of(predictor: Predictor, *, folder: Path | None = None, also: Sequence[str] = ()) -> Predictor:
    """Return the untuned model of a bundle; its name is looked up from ``folder``, or the working folder.

    Args:
        also: other names that it may have here; the first with its weights is taken.
    Raises:
        ModelError: it is not there, or has other weights.
    """
    opened = _base_of(predictor, folder, also)
    style = predictor.facts["learner"].get("style")  # how messages become one text; none where texts stand by themselves
    model = ModelSection(template=style) if style else ModelSection()
    return Predictor(OBJECTIVES[predictor.objective].create(opened, labels=(), model=model).to(device()))


def untouched_of(predictor: Predictor, data: Prepared, *, also: Sequence[str] = ()) -> Learner:
    """Return a learner such as a bundle's training began with: the base as it came, and labels and scales of the train rows.

    Raises:
        ModelError: the base is not there, or has other weights.
    """
    facts = predictor.facts
    model, scale = ModelSection(pooling=facts["learner"]["pooling"]), facts.get("cells", {}).get("scale")
    return learner_of(predictor.objective, data, _base_of(predictor, None, also), model, scale=scale).to(device())


def _base_of(predictor: Predictor, folder: Path | None, also: Sequence[str]) -> Base:
    base = predictor.facts.get("base") or {}
    try:
        return open_base(_same_weights(base, folder or Path.cwd(), also), max_tokens=predictor.learner.max_tokens)
    except ModelError as error:
        raise ModelError(f"The untuned model {base.get('name')} cannot be asked ({error.faults[0].what})") from None


def _same_weights(base: Mapping[str, Any], folder: Path, also: Sequence[str]) -> Found:
    """Return the first model of these names whose weights are the base's; what is wrong with the first where none is."""
    first: ModelError | None = None
    # A name on the hub is asked for last: it may mean a download.
    for name in dict.fromkeys((*also, str(base.get("name")))):
        try:
            found = catalogue.find(name, folder=folder)
        except ModelError as error:
            first = error
            continue
        if found.sha256 == base.get("sha256"):
            return found
        first = first or ModelError("it has other weights than the bundle was trained from")
    raise first or ModelError("it has no name")
