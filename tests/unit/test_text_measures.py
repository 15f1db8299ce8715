"""Bits per byte and the byte n-gram rival."""

from __future__ import annotations

import math

import numpy as np
import pytest

from luthier.base.records import Example, Prediction, Source
from luthier.evaluate import ngrams
from luthier.evaluate.baselines import RIVALS
from luthier.evaluate.metrics import measured
from luthier.evaluate.ngrams import START, ByteNgrams
from luthier.evaluate.text_scores import last_number

TRAIN = ["abracadabra", "abba", "Käse", "the cat sat on the mat"]


def by_hand(texts: list[str], text: str, order: int) -> float:
    """Witten-Bell by dictionaries, byte by byte."""
    after: dict[tuple[int, ...], dict[int, int]] = {}
    for t in texts:
        symbols = [START] * (order - 1) + list(t.encode())
        for i in range(order - 1, len(symbols)):
            for n in range(order):
                seen = after.setdefault(tuple(symbols[i - n : i]), {})
                seen[symbols[i]] = seen.get(symbols[i], 0) + 1
    symbols, nats = [START] * (order - 1) + list(text.encode()), 0.0
    for i in range(order - 1, len(symbols)):
        chance = 1 / 256
        for n in range(order):
            seen = after.get(tuple(symbols[i - n : i]), {})
            if seen:
                chance = (seen.get(symbols[i], 0) + len(seen) * chance) / (sum(seen.values()) + len(seen))
        nats -= math.log(chance)
    return nats


@pytest.mark.parametrize("order", [1, 2, 5, 7])
def test_ngrams_equal_the_plain_definition(order: int) -> None:
    model = ByteNgrams(TRAIN, order=order)
    for text in ("abra", "the cat", "zebra ß", TRAIN[0], ""):
        assert model.nats(text) == pytest.approx(by_hand(TRAIN, text, order), abs=1e-9)


def test_chances_of_all_next_bytes_are_one() -> None:
    model = ByteNgrams(TRAIN, order=3)
    start = model.nats("ab")
    total = sum(math.exp(start - model.nats("ab" + chr(b))) for b in range(128))
    # Beyond ASCII a byte does not stand alone, so what is left is what two bytes of one character share.
    assert 0.5 < total < 1.0
    assert ByteNgrams([], order=3).nats("abc") == pytest.approx(3 * math.log(256))


def test_of_too_much_text_all_parts_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [word * 5 for word in ("abab", "cdcd") for _ in range(100)]
    monkeypatch.setattr(ngrams, "_MAX_BYTES", 500)
    model = ByteNgrams(texts, order=3)
    # The first 500 bytes hold no "cd": then it would cost as much as any bytes.
    assert model.nats("cdcdcd") == pytest.approx(model.nats("ababab"), rel=0.3)
    assert model.nats("cdcdcd") < 0.5 * 6 * math.log(256)


def test_metrics_of_text_by_hand() -> None:
    rows = [
        Prediction(measured={"nll_sum": 10.0, "token_count": 4.0, "byte_count": 20.0}),
        Prediction(measured={"nll_sum": 2.0, "token_count": 2.0, "byte_count": 4.0}),
    ]
    found = measured("text", ["", ""], rows, ())
    assert found["perplexity"] == pytest.approx(math.exp(2.0))
    assert found["bits_per_token"] == pytest.approx(2.0 / math.log(2))
    assert found["bits_per_byte"] == pytest.approx(0.5 / math.log(2))
    masked = measured("text", [""], [Prediction(measured={"nll_sum": 3.0, "token_count": 3.0})], ())
    assert masked["bits_per_byte"] is None
    assert masked["perplexity"] == pytest.approx(math.e)
    assert measured("text", [""], [Prediction()], ())["perplexity"] is None


def test_the_rival_measures_bytes_alone() -> None:
    rows = [Example(str(i), {"text": t}, "", Source("a.txt", i)) for i, t in enumerate(TRAIN)]
    found = RIVALS["text"](rows, rows[:2], ())["byte_5gram"]
    value = measured("text", ["", ""], found, ())
    assert value["perplexity"] is None
    nats = sum(by_hand(TRAIN, t, 5) for t in TRAIN[:2])
    assert value["bits_per_byte"] == pytest.approx(nats / math.log(2) / 15)
    assert np.isfinite(value["bits_per_byte"])


@pytest.mark.parametrize(
    ("target", "text", "found"),
    [
        ("so 3 + 4 = 7\n#### 7", "3 + 4 is 7", 1.0),
        ("#### 1,000", "it is 1000.", 1.0),
        ("#### 7", "first 7, then 8", 0.0),
        ("#### -3.5", "the answer: -3.50", 1.0),
        ("#### 7", "no idea", 0.0),
        ("7 apples", "7", None),
        ("", "7", None),
    ],
)
def test_the_last_number_of_a_worked_answer(target: str, text: str, found: float | None) -> None:
    assert last_number(target, text) == found


def test_only_answers_that_end_in_a_number_count() -> None:
    rows = [Prediction(text="7"), Prediction(text="8"), Prediction(text="9"), Prediction()]
    assert measured("generate", ["#### 7", "#### 7", "nine", "#### 1"], rows, ())["last_number"] == 0.5
    assert measured("generate", ["nine"], rows[2:3], ())["last_number"] is None
