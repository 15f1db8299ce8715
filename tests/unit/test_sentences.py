"""Documents as sentences, their windows, the best sentences and ROUGE against the rouge-score package."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import numpy as np
import pytest

from luthier.base.overlap import ROUGES, best_sentences, f_measure, ngrams, rouge_of, rouge_tokens
from luthier.prompts.sentences import encode_document, split_sentences

DIALOGUE = "#Person1#: Hi. How are you?\n#Person2#: Fine, thanks! And you?\n\n#Person1#: Good."


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two! Three? Four", ["One.", "Two!", "Three?", "Four"]),
        (DIALOGUE, ["#Person1#: Hi. How are you?", "#Person2#: Fine, thanks! And you?", "#Person1#: Good."]),
        ("Dr. Lee met J. Smith at 3.5 p.m. yesterday. He paid $4.20.", ["Dr. Lee met J. Smith at 3.5 p.m. yesterday.", "He paid $4.20."]),
        ('She said "Stop!" and left. "No," he said.', ['She said "Stop!" and left.', '"No," he said.']),
        ("It works, e.g. here. See fig. 3 and no. 7.", ["It works, e.g. here.", "See fig. 3 and no. 7."]),
        ("A line without a mark\nAnother line. With two.", ["A line without a mark", "Another line.", "With two."]),
        ("Wait... what? Yes", ["Wait... what?", "Yes"]),
        ("今天很好。我们走吧！好", ["今天很好。", "我们走吧！", "好"]),
        ("   ", [""]),
        ("Note: one thing. Two things.", ["Note: one thing.", "Two things."]),
    ],
)  # fmt: skip
def test_texts_are_cut_where_sentences_end(text: str, expected: list[str]) -> None:
    assert split_sentences(text) == expected


@pytest.mark.parametrize("text", [DIALOGUE, "One. Two! Mr. X went (quickly.) Away.", "a\n\nb.c d. E"])
def test_sentences_are_pieces_of_the_text_in_order(text: str) -> None:
    at = 0
    for sentence in split_sentences(text):
        at = text.index(sentence, at) + len(sentence)
    kept = "".join("".join(split_sentences(text)).split())
    assert kept == "".join(text.split()), "nothing but white space is lost"


class Words:
    """A tokenizer of one id a word, with a token before and one after."""

    unk_token_id = 9

    def __call__(self, text: str, *, add_special_tokens: bool) -> dict[str, list[int]]:
        ids = [100 + sum(map(ord, word)) for word in text.split()]
        return {"input_ids": [1, *ids, 2] if add_special_tokens else ids}


@pytest.mark.parametrize("limit", [8, 12, 1000])
def test_windows_hold_whole_sentences(limit: int) -> None:
    text = "\n".join(" ".join(["word"] * n) for n in (1, 5, 3, 2, 30, 1, 1))
    read = encode_document(Words(), text, max_tokens=limit)
    parts = (read, *read.others)
    assert read.texts == tuple(text.split("\n"))
    sizes = [b - a for p in parts for a, b in itertools.pairwise(p.places)]
    assert sizes == [min(n, limit - 2) for n in (1, 5, 3, 2, 30, 1, 1)], "only what is longer than a window is cut"
    for part in parts:
        assert len(part.ids) <= limit
        assert (part.ids[0], part.ids[-1]) == (1, 2)
        assert (part.places[0], part.places[-1]) == (1, len(part.ids) - 1)
    assert len(parts) == 1 or limit < 1000


def test_what_has_no_token_still_has_a_place() -> None:
    assert encode_document(Words(), "", max_tokens=8).ids == (1, 9, 2)


def random_texts(seed: int, count: int) -> list[str]:
    rng = np.random.default_rng(seed)
    words = ["the", "a", "cat", "dog", "sat", "ran", "on", "mat", "Big", "it's", "5"]
    return [" ".join(rng.choice(words, size=rng.integers(1, 9))) for _ in range(count)]


@pytest.mark.parametrize("seed", range(12))
def test_rouge_equals_the_package(seed: int) -> None:
    scorer_module = pytest.importorskip("rouge_score.rouge_scorer")
    scorer = scorer_module.RougeScorer(list(ROUGES), use_stemmer=False)
    sentences = random_texts(seed, 3)
    summaries = ["\n".join(random_texts(100 * seed + k, k + 1)) for k in range(3)]
    for wanted in ([summaries[2]], summaries):
        theirs = scorer.score_multi(wanted, "\n".join(sentences))
        for name, value in zip(ROUGES, rouge_of(sentences, wanted), strict=True):
            assert value == pytest.approx(theirs[name].fmeasure, abs=1e-12), name


def test_nothing_chosen_shares_nothing() -> None:
    assert rouge_of([], ["a b"]) == (0.0,) * 4
    assert rouge_of(["a"], []) == (0.0,) * 4


def plain_greedy(sentences: list[str], summaries: list[str]) -> list[int]:
    """The same search, written out with sets of counts made anew each time."""

    def value(taken: list[int]) -> float:
        total = 0.0
        for summary in summaries:
            for n in (1, 2):
                wanted = ngrams(rouge_tokens(summary), n)
                given = sum((ngrams(rouge_tokens(sentences[k]), n) for k in taken), start=type(wanted)())
                total += f_measure((wanted & given).total(), wanted.total(), given.total())
        return total

    taken: list[int] = []
    while True:
        rest = [k for k in range(len(sentences)) if k not in taken]
        best = max(rest, key=lambda k: (value([*taken, k]), -k), default=None)
        if best is None or value([*taken, best]) <= value(taken) + 1e-12:
            return sorted(taken)
        taken.append(best)


@pytest.mark.parametrize("seed", range(8))
def test_the_best_sentences_are_those_of_a_plain_search(seed: int) -> None:
    sentences, summaries = random_texts(seed, 7), random_texts(seed + 50, 2)
    assert best_sentences(sentences, summaries) == plain_greedy(sentences, summaries)
    assert len(best_sentences(sentences, summaries, most=1)) <= 1


def test_no_sentence_is_best_where_none_shares_a_word() -> None:
    assert best_sentences(["x y", "z"], ["a b"]) == []
    assert SimpleNamespace(found=best_sentences([], ["a"])).found == []
