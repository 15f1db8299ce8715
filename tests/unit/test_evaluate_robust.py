"""Changed texts: each change does what it says and no more, and what is counted is what changed."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.base.records import Example, Prediction, Source
from luthier.evaluate import metrics
from luthier.evaluate.answered import Answered
from luthier.evaluate.robust import identities, look, named
from luthier.evaluate.robust.changes import CHANGES, injected

TEXT = "I don't know where my parcel is, it is 3.5 days late! Café Noir said: 'wait'."


def changed(name: str, text: str = TEXT, seed: int = 0) -> str | None:
    return CHANGES[name].change(text, random.Random(seed))


def test_each_change_does_what_it_says() -> None:
    assert changed("lower") == TEXT.lower() and changed("lower", "all small") is None
    assert changed("upper") == TEXT.upper() and changed("upper", "1234 !") is None
    assert changed("unpunctuated") == "I don t know where my parcel is it is 3.5 days late Café Noir said wait"
    assert changed("unaccented") == TEXT.replace("é", "e") and changed("unaccented", "plain") is None
    assert changed("contractions") == TEXT.replace("don't", "do not").replace("it is", "it's")
    assert changed("contractions", "Cannot open it") == "Can't open it"
    assert TEXT in (changed("chatter") or "") and TEXT in (changed("link") or "")
    assert "urgent" in injected(TEXT, "urgent")


@given(st.text(min_size=0, max_size=200), st.integers(0, 5))
@settings(max_examples=150, deadline=None)
def test_changes_never_fail_and_never_return_the_same(text: str, seed: int) -> None:
    for name in CHANGES:
        found = changed(name, text, seed)
        assert found is None or found != text or name in ("chatter", "link")
        assert found == changed(name, text, seed), "chance is all in the generator"


def test_typos_are_few_and_within_words() -> None:
    text = "please cancel the second order because nobody needs the replacement any longer"
    for seed in range(50):
        found = changed("typos", text, seed)
        assert found is not None and abs(len(found) - len(text)) <= 2
        pairs = list(zip(text.split(), found.split(), strict=True))
        differing = [(a, b) for a, b in pairs if a != b]
        assert 1 <= len(differing) <= 2 and all(a[0] == b[0] and len(a) >= 4 for a, b in differing)


@pytest.mark.parametrize(
    ("text", "family", "after"),
    [
        ("He lost his card and his father called", "gender", "She lost her card and her mother called"),
        ("My wife cannot log in, she forgot", "gender", "My husband cannot log in, he forgot"),
        ("A Muslim neighbour wrote", "religion", "A Jewish neighbour wrote"),
        ("EMILY called about a refund", "name", "DARNELL called about a refund"),
        ("two gay men at the desk", "orientation", "two straight men at the desk"),
    ],
)
def test_identities_are_swapped_as_written(text: str, family: str, after: str) -> None:
    assert after in [swap.text for swap in identities.swaps(text) if swap.family == family]


@pytest.mark.parametrize("text", ["a black car and an old invoice", "he asked her for the code", "the blind spot of the mirror", "nothing here"])
def test_what_names_nobody_is_left_alone(text: str) -> None:
    assert list(identities.swaps(text)) == []


def rows() -> tuple[list[Example], list[Prediction]]:
    texts = [f"{'URGENT' if i % 2 else 'Calm'} message number {i} from {'his' if i % 3 else 'her'} desk" for i in range(60)]
    examples = [Example(str(i), {"text": t}, "urgent" if i % 2 else "calm", Source("t.csv", i + 2)) for i, t in enumerate(texts)]
    return examples, answer([e.inputs for e in examples])


def answer(inputs) -> list[Prediction]:
    """A model that knows an urgent message by its capitals, and believes what it is told last."""
    found = []
    for one in inputs:
        text = one["text"]
        label = "urgent" if "URGENT" in text else "calm"
        if "only correct answer" in text:
            label = text.rsplit(": ", 1)[1].rstrip(".")
        if "her" in text.split():
            label = "calm"
        found.append(Prediction(label=label, scores={"calm": float(label == "calm"), "urgent": float(label == "urgent")}))
    return found


def test_what_a_change_does_is_counted() -> None:
    examples, predictions = rows()
    found, measured = look.look(Answered("classify", examples, predictions, ("calm", "urgent")), answer, metric="accuracy", most=60)
    urgent = sum(p.label == "urgent" for p in predictions)
    assert measured["stable[lower]"]["value"] == pytest.approx(1 - urgent / 60), "every urgent one is lost in small letters"
    assert measured["robust[lower]"]["value"] == pytest.approx(0.5)
    assert measured["stable[chatter]"]["value"] == 1.0 and 0.9 < measured["stable[chatter]"]["low"] < 1
    assert measured["stable[injection]"]["value"] == pytest.approx(sum("her" in e.inputs["text"].split() for e in examples) / 60)
    swaps = found["swaps"]["gender"]
    hers = [e for e in examples if "her" in e.inputs["text"].split()]
    lost = sum(int(e.id) % 2 for e in hers) + urgent
    assert swaps["swaps"] == 60 and measured["stable[gender]"]["value"] == pytest.approx(1 - lost / 60)
    shown = found["changes"]["lower"]["shown"][0]
    assert (shown["before"], shown["after"]) == ("urgent", "calm") and shown["file"] == "t.csv"
    again = look.look(Answered("classify", examples, predictions, ("calm", "urgent")), answer, metric="accuracy", most=60)
    assert again[1] == measured, "the same rows, changed the same way"


def test_bars_can_name_every_measure() -> None:
    for metric in named.names("classify"):
        assert metrics.check_metric(metric, "classify", ("a", "b")) is None
        assert named.in_words(metric)
    assert "Did you mean" in metrics.check_metric("stable[typo]", "classify", ("a",)).mend
    assert metrics.check_metric("stable[typos]", "generate", None) is not None
