"""Changed texts: each change does what it says and no more, and what is counted is what changed."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.base.records import Example, Prediction, Source
from luthier.evaluate import metrics
from luthier.evaluate.answered import Answered
from luthier.evaluate.robust import identities, look, named, negate, turned
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


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("I don't know why it's late.", "I do not know why it is late."),
        ("Could you send me a new card?", "Please send me a new card."),
        ("I have tried it for 3 days on 12 May 2024", "I've tried it for three days on May 12, 2024"),
        ("due 2024-05-12, 20 %", "due 12 May 2024, 20 percent"),
        ("The card was blocked by the bank.", "The bank blocked the card."),
        ("My favourite colour is grey", "My favorite color is gray"),
        ("HOW DO I PURCHASE IT", "HOW CAN I BUY IT"),
        ("How can I do it", "How do I do it"),
    ],
)
def test_what_is_said_in_other_words_means_the_same(text: str, wanted: str) -> None:
    assert changed("paraphrase", text) == wanted


@pytest.mark.parametrize("text", ["Why don't you answer", "it's been a week", "people like you are here", "I have a card", "wo ist meine Karte", "check the grid"])
def test_what_no_rule_fits_is_not_reworded(text: str) -> None:
    assert changed("paraphrase", text) is None


@pytest.mark.parametrize(
    ("text", "wanted", "kind"),
    [
        ("I love this place.", "I do not love this place.", "put in"),
        ("The movie is good", "The movie is not good", "put in"),
        ("She can help me", "She cannot help me", "put in"),
        ("It works with some cards", "It does not work with any cards", "put in"),
        ("I got the parcel already", "I did not get the parcel yet", "put in"),
        ("My payment is still pending.", "My payment is no longer pending.", "put in"),
        ("Please cancel my order", "Please do not cancel my order", "put in"),
        ("We have received it.", "We have not received it.", "put in"),
        ("I don’t like it at all.", "I like it.", "taken out"),
        ("The parcel hasn't arrived yet.", "The parcel has arrived already.", "taken out"),
        ("I cannot see anything", "I can see something", "taken out"),
        ("Do not send it", "Send it", "taken out"),
    ],
)
def test_a_statement_is_turned_round(text: str, wanted: str, kind: str) -> None:
    assert negate.negated(text) == (wanted, kind)


@pytest.mark.parametrize(
    "text", ["Is it good?", "what is my balance", "not bad, not good", "You are just wrong", 'He said "it is late"', "no idea", "", "a movie that is good", "All people like them"]
)
def test_what_cannot_be_turned_for_sure_is_left_alone(text: str) -> None:
    assert negate.negated(text) is None


@given(st.text(alphabet=st.sampled_from("I it is not don't cancel my the card works ., ?'"), max_size=120))
@settings(max_examples=150, deadline=None)
def test_turning_adds_or_takes_one_negation_and_changes_something(text: str) -> None:
    found = negate.negated(text)
    assert found is None or (found.text != text and found.kind in ("put in", "taken out"))


def test_answers_that_turn_with_the_text_are_counted() -> None:
    texts = ["I love it", "I do not love it", "The parcel is here"] * 10
    rows = [Example(str(i), {"text": t}, "x", Source("t.csv", i + 2)) for i, t in enumerate(texts)]

    def reads_not(inputs) -> list[Prediction]:
        return [Prediction(label="bad" if " not " in one["text"] and "love" in one["text"] else "good") for one in inputs]

    given = reads_not([row.inputs for row in rows])
    found, measured = turned.look(Answered("classify", rows, given, ("good", "bad")), reads_not, most=30)
    assert measured["flips_on_negation"]["value"] == pytest.approx(2 / 3)
    assert found["kinds"]["taken out"]["flipped"]["value"] == 1.0 and found["kinds"]["put in"]["flipped"]["value"] == 0.5
    assert found["shown"]["stayed"][0]["turned"] == "The parcel is not here" and found["shown"]["flipped"][0]["after"] != found["shown"]["flipped"][0]["before"]


def test_paraphrases_that_are_given_stand_for_those_of_rules() -> None:
    examples, predictions = rows()
    given = look.Reworded({"1": ["urgent: one", "URGENT: one"], "5": ["URGENT five"], "unknown": ["x"]}, "words.csv")
    found, measured = look.look(Answered("classify", examples, predictions, ("calm", "urgent")), answer, metric="accuracy", most=60, reworded=given)
    assert measured["stable[paraphrase]"]["value"] == pytest.approx(2 / 3) and found["changes"]["paraphrase"]["applies"] == pytest.approx(2 / 60)
    assert found["paraphrased"] == {"by": "words.csv", "failed": None}
    assert measured["stable[paraphrase]"]["low"] == 0.5, "two of one row are one unit: either 0.5 or 1 is drawn"
