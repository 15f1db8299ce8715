"""BLEU, chrF, ROUGE-Lsum and repetition of answers: equal to the field's packages, in value and in every resample."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.base.records import Prediction
from luthier.evaluate import compare, intervals, metrics
from luthier.evaluate.tables import tabulate
from luthier.evaluate.tables.generate import WRITTEN, GenerateTable
from luthier.evaluate.written.extras import noted
from luthier.evaluate.written.ngram_scores import bleu_tokens
from luthier.evaluate.written.words import repetition, words_of

WORDS = st.sampled_from(["the", "a", "lost", "parcel", "Parcel", "3.5", "1,000", "(van)", "e-mail", "it's", "12-13", "paid?", "&amp;", "Ümlaut", "東京", "<skipped>", "a-", "\n", "x.", "."])
TEXTS = st.lists(WORDS, max_size=14).map(" ".join)
ANYTHING = st.text(max_size=60)


def answered(texts: list[str]) -> list[Prediction]:
    return [Prediction(text=text, finish="stop") for text in texts]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(TEXTS, TEXTS) | st.tuples(ANYTHING, ANYTHING), min_size=1, max_size=8))
def test_bleu_and_chrf_equal_sacrebleu(pairs: list[tuple[str, str]]) -> None:
    import sacrebleu

    targets, texts = [t for t, _ in pairs], [g for _, g in pairs]
    found = metrics.generation(targets, answered(texts))
    assert found["bleu"] == pytest.approx(sacrebleu.corpus_bleu(texts, [targets]).score / 100, abs=1e-9)
    assert found["chrf"] == pytest.approx(sacrebleu.corpus_chrf(texts, [targets]).score / 100, abs=1e-9)


@settings(max_examples=100, deadline=None)
@given(TEXTS | ANYTHING)
def test_tokens_are_those_of_mteval(text: str) -> None:
    from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

    assert bleu_tokens(text) == Tokenizer13a()(text.rstrip()).split()


def test_a_resample_is_the_corpus_of_the_rows_drawn() -> None:
    import sacrebleu

    rng = np.random.default_rng(0)
    vocabulary = ["the", "parcel", "was", "lost", "on", "monday", "and", "found", "again", "in", "a", "van", "by", "our", "driver"]
    targets = [" ".join(rng.choice(vocabulary, 9)) for _ in range(30)]
    texts = [" ".join(rng.choice(vocabulary, 9)) if i % 3 else t for i, t in enumerate(targets)]
    table = tabulate("generate", targets, answered(texts), ())
    for _ in range(5):
        drawn = rng.integers(0, 30, 30)
        weights = np.bincount(drawn, minlength=30)[None].astype(float)
        values = dict(zip(table.names, table.measure(weights)[0], strict=True))
        chosen, wanted = [texts[i] for i in drawn], [targets[i] for i in drawn]
        assert values["bleu"] == pytest.approx(sacrebleu.corpus_bleu(chosen, [wanted]).score / 100)
        assert values["chrf"] == pytest.approx(sacrebleu.corpus_chrf(chosen, [wanted]).score / 100)


@settings(max_examples=80, deadline=None)
@given(st.lists(TEXTS, min_size=1, max_size=4).map("\n".join), st.lists(TEXTS, min_size=1, max_size=4).map("\n".join))
def test_rouge_lsum_equals_the_rouge_score_package(target: str, text: str) -> None:
    from rouge_score.rouge_scorer import RougeScorer

    expected = RougeScorer(["rougeLsum"]).score(target, text)["rougeLsum"].fmeasure
    assert metrics.generation([target], answered([text]))["rougeLsum"] == pytest.approx(expected, abs=1e-9)


def test_repetition_counts_runs_that_come_again() -> None:
    assert repetition("the parcel was lost") == 0.0
    assert repetition("too short") is None
    assert repetition("no no no no no no") == pytest.approx(1 - 1 / 3)
    assert repetition("I do not know. I do not know.") == pytest.approx(1 - 4 / 5)
    assert words_of("It's 5 o'clock — über-alles 東京") == ["it's", "5", "o'clock", "über-alles", "東", "京"]


def test_a_thousand_resamples_of_all_of_them_are_cheap_and_hold_the_value() -> None:
    rng = np.random.default_rng(1)
    words = [f"w{i}" for i in range(300)]
    targets = [" ".join(rng.choice(words, 40)) for _ in range(200)]
    texts = [" ".join(w if rng.random() < 0.7 else rng.choice(words) for w in t.split()) for t in targets]
    found = intervals.evaluate_with_intervals("generate", targets, answered(texts), (), resamples=1000)
    for name in ("bleu", "chrf", "rougeLsum", "repetition"):
        assert found[name]["low"] <= found[name]["value"] <= found[name]["high"], name


def test_what_only_some_rows_were_measured_by_is_a_metric_of_those_rows() -> None:
    plain = answered(["one two", "three", "four", "five"])
    told = [noted(plain[0], {"grounded": (0.5, 1.0)}), noted(plain[1], {"grounded": (1.0, 1.0), "recited": (1.0, 1.0)}), *plain[2:]]
    table = GenerateTable.of(["a"] * 4, told)
    assert table.names == (*WRITTEN, "grounded", "recited")
    values = dict(zip(table.names, table.measure(np.ones((1, 4)))[0], strict=True))
    assert values["grounded"] == 0.75 and values["recited"] == 1.0
    assert table.counted("grounded").tolist() == [True, True, False, False]
    assert GenerateTable.of(["a"] * 4, plain).names == WRITTEN, "nobody looked, so it is not there"


def test_two_models_are_compared_on_them() -> None:
    targets = [f"the parcel number {i} was lost on monday" for i in range(40)]
    bad, good = answered([f"nothing {i}" for i in range(40)]), answered(targets)
    good = [noted(p, {"recited": (float(i % 2), 1.0)}) for i, p in enumerate(good)]
    bad = [noted(p, {"recited": (0.0, 1.0)}) for p in bad]
    found = compare.paired("generate", targets, bad, good, ())
    assert found["bleu"]["better"] == found["chrf"]["better"] == "second"
    assert found["recited"]["better"] == "first", "less of it is better"
    assert "grounded" not in found
