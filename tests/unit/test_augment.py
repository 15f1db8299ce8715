"""Varied rows: what each way does to a text, what is left out, and where a new row stands."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.base.errors import ModelError
from luthier.base.records import Example, Source
from luthier.data import augment
from luthier.data.augment import Chained, Counts, Varier, hash_of, new_row
from luthier.data.augment.words import choose, editable, pieces, vary
from luthier.data.dedupe import key, normalise
from luthier.data.labels.folds import folds
from luthier.spec.augment import Augment

# A busy machine is no fault of the code.
UNHURRIED = settings(deadline=None, max_examples=60)
TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=80)


def rows(*texts: str, label: str = "billing") -> list[Example]:
    return [Example(f"id{i}", {"text": t}, label, Source("a.csv", i + 2)) for i, t in enumerate(texts)]


def hashes(examples) -> np.ndarray:
    return np.sort(np.array([hash_of(e) for e in examples], dtype=np.uint64))


def nothing_clashes(examples) -> list[bool]:
    return [False] * len(examples)


def made(examples, way="words", *, known=None, clashes=nothing_clashes, tmp_path=Path("."), **options):
    counts = Counts()
    varier = Varier(Augment(when="on", ways=[way], **options), folder=tmp_path)
    known = hashes(examples) if known is None else known
    return list(varier.rows(examples, way, known=known, clashes=clashes, counts=counts)), counts


@UNHURRIED
@given(TEXT, st.integers(0, 5), st.floats(0.01, 0.5))
def test_a_variation_is_another_text_and_always_the_same(text: str, copy: int, share: float) -> None:
    found = vary(text, key="row", copy=copy, seed=3, share=share)
    assert found == vary(text, key="row", copy=copy, seed=3, share=share)
    words = editable(pieces(text))
    assert (found is None) == (not words)
    if found is not None:
        assert found.strip()
        assert normalise(found) != normalise(text)
        # Its words are the row's own: none is made up.
        assert {w for _, w in pieces(found)} <= {w for _, w in pieces(text)}


@UNHURRIED
@given(
    st.lists(st.sampled_from(["parcel", "lamp", "refund", "please", "now", "card"]), min_size=1, max_size=30),
    st.integers(0, 9),
)
def test_the_share_of_words_is_what_changes(words: list[str], seed: int) -> None:
    found = vary(" ".join(words), key="k", copy=0, seed=seed, share=0.2)
    assert found is not None
    edits = max(1, round(0.2 * len(words)))
    assert abs(len(found.split()) - len(words)) <= edits
    assert found.split()


def test_other_rows_copies_and_seeds_give_other_variations() -> None:
    text = "the lamp that i bought last week will not pair with the app after the update"
    found = {vary(text, key=k, copy=c, seed=s, share=0.1) for k in "ab" for c in range(3) for s in range(3)}
    assert len(found) > 10


def test_negations_and_the_words_of_the_label_are_never_dropped() -> None:
    text = "my card did not arrive and it isn't here"
    for seed in range(200):
        found = vary(text, key="k", copy=0, seed=seed, share=0.3, label="card_arrival")
        assert found is not None
        assert {"card", "not", "isn't"} <= set(found.split())
    assert any("did" not in str(vary(text, key="k", copy=0, seed=s, share=0.3)).split() for s in range(200))


def test_chinese_is_edited_by_character_and_gets_no_spaces() -> None:
    text = "我的包裹还没有到，请帮我查一下"
    for seed in range(50):
        found = vary(text, key="k", copy=0, seed=seed, share=0.1)
        assert found is not None and " " not in found
        assert abs(len(found) - len(text)) <= 2
        assert "没" in found


def test_words_to_replace_are_whole_words_without_their_punctuation() -> None:
    text = 'Where is "my" order [email-1], http://a.example/b not x1?'
    spans = choose(text, key="k", copy=0, seed=0, share=0.5)
    found = {text[a:b] for s in range(99) for a, b in choose(text, key="k", copy=0, seed=s, share=0.5)}
    assert found == {"Where", "is", "my", "order"}
    assert spans == sorted(spans)


def test_a_new_row_keeps_label_source_and_unit() -> None:
    (one,) = rows("refund my order please")
    (grouped,) = [
        Example("g", {"text": "refund my lamp"}, "billing", Source("a.csv", 9), "customer-7", {"channel": "chat"})
    ]
    for original in (one, grouped):
        (new,), _ = made([original])
        assert (new.target, new.source) == (original.target, original.source)
        assert new.extra == {**original.extra, "augmented": "words", "of": original.id}
        assert new.group == (original.group or key(original))
        assert new.id != original.id
    # A later division by group keeps a row and what was made of it together: the fold's hash is that of the unit.
    many = rows(*(f"order number {i} is late again" for i in range(200)))
    new, _ = made(many)
    together = folds([*many, *new], 5, seed=1)
    by_id = {e.id: f for e, f in zip(many, together[:200], strict=True)}
    same = np.mean([by_id[e.extra["of"]] == f for e, f in zip(new, together[200:], strict=True)])
    assert same > 0.8


def test_a_row_gives_the_same_new_rows_whatever_stands_beside_it() -> None:
    texts = [f"please look at order {i} for me today" for i in range(30)]
    alone, _ = made(rows(*texts)[3:4], copies=3, share=0.3)
    among, _ = made(rows(*texts), copies=3, share=0.3)
    assert len(alone) == 3
    assert [e for e in among if e.extra["of"] == "id3"] == alone


def test_what_clashes_or_is_known_is_left_out_and_counted() -> None:
    examples = rows("refund my order please", "where is my parcel now", "!!!")
    every, counts = made(examples)
    assert (counts.made["words"], counts.left_out) == (2, {augment.NOTHING_TO_CHANGE: 1})
    tested = key(every[0])
    left, counts = made(examples, clashes=lambda es: [key(e) == tested for e in es])
    assert left == every[1:]
    assert counts.left_out[augment.CLASHES] == 1
    left, counts = made(examples, known=hashes([*examples, every[1]]))
    assert left == every[:1]
    assert counts.left_out[augment.KNOWN] == 1
    # The same row twice gives the same variation twice: one is enough.
    twice, counts = made([examples[0], examples[0]])
    assert len(twice) == 1 and counts.left_out[augment.KNOWN] == 1


def test_a_conversation_keeps_all_but_its_last_question() -> None:
    turns = [{"role": "system", "content": "s"}, {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"},
             {"role": "user", "content": "and now?"}]  # fmt: skip
    example = Example("m", {"messages": turns}, "the answer", Source("m.jsonl", 1))
    new = new_row(example, "what next?", "paraphrase", 0)
    assert augment.text_of(example) == "and now?"
    assert new.inputs["messages"] == [*turns[:3], {"role": "user", "content": "what next?"}]
    assert new.target == "the answer"
    assert turns[3]["content"] == "and now?"


@UNHURRIED
@given(st.lists(st.integers(0, 5), max_size=4), st.data())
def test_chained_reads_like_one_list(sizes: list[int], data: st.DataObject) -> None:
    numbers = iter(range(100))
    parts = [[next(numbers) for _ in range(size)] for size in sizes]
    flat = [n for part in parts for n in part]
    chained = Chained(*parts)  # type: ignore[arg-type]
    assert len(chained) == len(flat) and list(chained) == flat
    cut = slice(*(data.draw(st.none() | st.integers(-9, 9)) for _ in range(2)), data.draw(st.sampled_from([1, 2, -1])))
    assert chained[cut] == flat[cut]
    for i in range(-len(flat), len(flat)):
        assert chained[i] == flat[i]
    with pytest.raises(IndexError):
        chained[len(flat)]


@pytest.mark.parametrize(
    ("options", "objective", "where"),
    [
        ({"ways": []}, "classify", ["data.augment.ways"]),
        ({"ways": ["masked"]}, "classify", ["data.augment.masked_model"]),
        ({"ways": ["paraphrase"]}, "classify", ["data.augment.endpoint", "data.augment.endpoint_model"]),
        ({"ways": ["paraphrase"], "endpoint": "ftp://x", "endpoint_model": "m"}, "classify", ["data.augment.endpoint"]),
        ({"ways": ["paraphrase"], "endpoint": "http://x", "endpoint_model": "m", "endpoint_key_env": "NO_SUCH_KEY_"},
         "classify", ["data.augment.endpoint_key_env"]),
        ({"ways": ["words"], "when": "auto"}, "generate", ["data.augment.ways", "data.augment.when"]),
        ({"ways": ["paraphrase"], "endpoint": "http://x", "endpoint_model": "m"}, "generate", []),
        ({"ways": ["masked"], "when": "off"}, "classify", []),
    ],
)  # fmt: skip
def test_what_is_missing_is_told_all_at_once(options, objective, where) -> None:
    assert [f.where for f in augment.faults(Augment(**{"when": "on", **options}), objective)] == where


# A masked language model


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory, wordpiece_tokenizer) -> Path:
    """A tiny BERT that has learnt which colours stand before which things."""
    import torch
    from tokenizers import Tokenizer
    from transformers import BertConfig, BertForMaskedLM, PreTrainedTokenizerFast

    sentences = [f"the {c} lamp is here" for c in ("red", "blue", "green")] + [
        f"my {c} order came" for c in ("last", "first")
    ]
    core = Tokenizer.from_str(wordpiece_tokenizer.backend_tokenizer.to_str())
    core.add_tokens(sorted({w for s in sentences for w in s.split()} - set(core.get_vocab())))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]",
                                        sep_token="[SEP]", mask_token="[MASK]")  # fmt: skip
    config = BertConfig(vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64,
                        max_position_embeddings=32, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)  # fmt: skip
    torch.manual_seed(0)
    model = BertForMaskedLM(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    rng = random.Random(0)
    for _ in range(150):
        batch = tokenizer([rng.choice(sentences) for _ in range(16)], padding=True, return_tensors="pt")
        labels = batch["input_ids"].clone()
        batch["input_ids"][:, 2] = tokenizer.mask_token_id
        labels[batch["input_ids"] != tokenizer.mask_token_id] = -100
        model(**batch, labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    folder = tmp_path_factory.mktemp("masked") / "bert"
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_a_masked_model_puts_in_what_it_learnt_stands_there(taught: Path) -> None:
    from luthier.models.masked import MaskedModel

    model = MaskedModel(str(taught))
    texts = ["The Red lamp is here!", "my last order came", "no span", "the [MASK] lamp is here"]
    spans = [[(4, 7)], [(3, 7)], [], [(4, 10)]]
    found = [model.fill(texts, spans, seeds=[s, s, s, s], top=2) for s in range(12)]
    assert {f[0] for f in found} == {"The Blue lamp is here!", "The Green lamp is here!"}
    assert all(f[2] is None and f[3] is None for f in found)
    assert all(f[1] != "my last order came" for f in found)
    assert {model.fill(["my last order came"], [[(3, 7)]], seeds=[s], top=1)[0] for s in range(5)} == {
        "my first order came"
    }
    # Alone or in a batch, the same seed draws the same word.
    assert [model.fill([texts[0]], [spans[0]], seeds=[s], top=2)[0] for s in range(12)] == [f[0] for f in found]


def test_words_beyond_the_models_limit_stay(taught: Path) -> None:
    from luthier.models.masked import MaskedModel

    text = "the red lamp is here " + "lamp " * 60 + "red"
    (found,) = MaskedModel(str(taught)).fill([text], [[(4, 7), (len(text) - 3, len(text))]], seeds=[0])
    assert found is not None and found.endswith("red") and not found.startswith("the red")


def test_masked_rows_come_through_the_varier(taught: Path) -> None:
    examples = rows("the red lamp is here", "my last order came", label="x")
    new, counts = made(examples, "masked", masked_model=str(taught), share=0.2, copies=2)
    assert counts.made["masked"] == len(new) >= 2
    for e in new:
        original = next(o for o in examples if o.id == e.extra["of"])
        pairs = list(zip(original.inputs["text"].split(), e.inputs["text"].split(), strict=True))
        assert sum(a != b for a, b in pairs) == 1


def test_a_model_without_output_for_masked_words_is_refused(tiny_bert: Path, tiny_llama: Path) -> None:
    from luthier.models.masked import MaskedModel

    for base in ("embedded", str(tiny_bert), str(tiny_llama)):
        with pytest.raises(ModelError) as refused:
            MaskedModel(base)
        assert refused.value.faults[0].where == "data.augment.masked_model"
