"""Whether what somebody says of a prediction can be meant, and how it is kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from luthier.base.errors import Fault, did_you_mean
from luthier.ledger.answers import WAYS, written
from luthier.ledger.entries import KeptPrediction
from luthier.prompts.sentences import split_sentences
from luthier.release.predictor import Predictor
from luthier.serve.messages import ANSWERS, FeedbackRequest

_NOUNS = {
    "label": "a single label", "labels": "a set of labels", "grades": "scores", "sentences": "sentences of a document",
    "items": "a list of items", "text": "a text",
}  # fmt: skip


def faults_of(said: FeedbackRequest, kept: KeptPrediction, predictor: Predictor, *, max_chars: int) -> list[Fault]:
    """Return everything that is wrong with it."""
    found = []
    for name, content in (("text", said.text), ("comment", said.comment)):
        if content is not None and len(content) > max_chars:
            found.append(Fault(f"it is {len(content):,} characters long", name, f"At most {max_chars:,} are accepted here (serve.max_chars)."))
    way = WAYS.get(kept.objective, "text")
    for name in ANSWERS:
        if getattr(said, name) is not None and name != way:
            mend = f"Send the right {way} instead, a rating or a comment."
            found.append(Fault(f"this prediction is {_NOUNS[way]}, not {_NOUNS[name]}", name, mend))
    if said.text is not None and way == "text" and not said.text.strip():
        found.append(Fault("the text is empty", "text", "Send the right answer, or a rating."))
    if said.label is not None and way == "label":
        found += _label(said.label.strip(), "label", said.new_label, kept, predictor)
    if said.labels is not None and way == "labels":
        found += [fault for i, label in enumerate(said.labels) for fault in _label(label.strip(), f"labels[{i}]", said.new_label, kept, predictor)]
    if said.grades is not None and way == "grades":
        found += _grades(said.grades, kept, predictor)
    if said.sentences is not None and way == "sentences":
        document = _document(kept)
        mend = "Send sentences of the document word for word, each as it stands there."
        found += [Fault("it is no sentence of the document", f"sentences[{i}]", mend) for i, text in enumerate(said.sentences) if not _taken(text, document)]
    if said.items is not None and way == "items" and not said.new_label:
        found += [fault for i, item in enumerate(said.items) for fault in _item(item.strip(), f"items[{i}]", kept, predictor)]
    return found


def _label(label: str, where: str, new: bool, kept: KeptPrediction, predictor: Predictor) -> list[Fault]:
    # A prediction of an earlier bundle may have had labels that the present one has not.
    declined = [name for name in (predictor.declines_as,) if name is not None]
    known = sorted({*predictor.labels, *declined, *(kept.output.get("scores") or {})})
    if label in known:
        return []
    if not label or not label.isprintable():
        return [Fault("a label is a short printable text", where, f"Known: {', '.join(known)}.")]
    if new:
        return []
    mend = f'{did_you_mean(label, known)} Known: {", ".join(known)}. For a new one add "new_label": true.'
    return [Fault(f'the model does not know the label "{label}"', where, mend.strip())]


def _grades(grades: dict[str, float], kept: KeptPrediction, predictor: Predictor) -> list[Fault]:
    traits = list(kept.output.get("grades") or {})
    found = [
        Fault(f'there is no trait "{name}"', f"grades.{name}", did_you_mean(name, traits) or f"Traits: {', '.join(traits)}.")
        for name in grades if name not in traits
    ]  # fmt: skip
    if missing := [trait for trait in traits if trait not in grades]:
        # What is not said is not known: the model's own score may be wrong as well.
        found.append(Fault(f"no score for {', '.join(missing)}", "grades", "Give the score of every trait, changed or not."))
    scales: dict[str, Any] = getattr(getattr(predictor, "learner", None), "known", {}).get("scales", {})
    for name, score in grades.items():
        low, high = scales.get(name, (score, score))[:2]
        if not low <= score <= high:
            found.append(Fault(f"{score:g} is outside the scale", f"grades.{name}", f"Scores go from {low:g} to {high:g}."))
    return found


def _taken(text: str, document: Sequence[str]) -> list[str]:
    """Return which sentences of a document a text is; none where some of it is no sentence of it."""
    pieces = [text.strip()] if text.strip() in document else split_sentences(text)
    return pieces if set(pieces) <= set(document) else []


def _document(kept: KeptPrediction) -> list[str]:
    return split_sentences(str(kept.inputs.get("document", kept.inputs.get("text", ""))))


def _item(item: str, where: str, kept: KeptPrediction, predictor: Predictor) -> list[Fault]:
    if _id_of(item, kept, predictor) is not None:
        return []
    close = did_you_mean(item, [*predictor.labels, *(str(one.get("name", one["item"])) for one in kept.output.get("items") or ())])
    mend = f'{close} For one that the model has never met add "new_label": true.'
    return [Fault(f'the model does not know the item "{item}"', where, mend.strip())]


def _id_of(item: str, kept: KeptPrediction, predictor: Predictor) -> str | None:
    """Return an item's id by its id or its name, as far as the answer or the model knows it."""
    for one in kept.output.get("items") or ():
        if item in (one["item"], one.get("name")):
            return str(one["item"])
    known: Any = getattr(getattr(predictor, "learner", None), "known", None)
    number = known.find(item) if hasattr(known, "find") else None
    return None if number is None else str(known.ids[number])


def content_of(said: FeedbackRequest, kept: KeptPrediction, predictor: Predictor) -> dict[str, str | None]:
    """Return ``label`` and ``text`` as the ledger keeps them: sets, scores, sentences and items are written as a text."""
    text = said.text
    if said.labels is not None:
        text = written("multilabel", said.labels)
    if said.grades is not None:
        text = written("grade", said.grades)
    if said.sentences is not None:
        document = _document(kept)
        taken = {piece for one in said.sentences for piece in _taken(one, document)}
        # In the order of the document, as the model gives them.
        text = written("extract", dict.fromkeys(sentence for sentence in document if sentence in taken))
    if said.items is not None:
        text = written("rank", [_id_of(item.strip(), kept, predictor) or item.strip() for item in said.items])
    return {"label": said.label.strip() if said.label is not None else None, "text": text}
