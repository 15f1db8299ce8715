"""Names of people by a token classifier: spans are whole words, windows cover long texts, wrong models are refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from luthier.base.errors import ModelError
from luthier.data.personal import Masker

VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "anna", "smith", "zo", "##ltan", "i", "met", "and", "the", ",", ".", "-", "in", "street",
              "phone", "call", "[", "]", "name", "1", "2"]  # fmt: skip
PEOPLE = ("anna", "smith", "zo")


def tagger(folder: Path, *, labels: tuple[str, ...] = ("O", "B-PER", "I-LOC")) -> Path:
    """Save a BERT whose attention and feed-forward parts are off, so that a token's own embedding decides its label."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertForTokenClassification, PreTrainedTokenizerFast

    core = Tokenizer(models.WordPiece({word: i for i, word in enumerate(VOCABULARY)}, unk_token="[UNK]"))
    core.normalizer = normalizers.BertNormalizer()
    core.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    core.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    torch.manual_seed(0)
    size = len(VOCABULARY)
    config = BertConfig(vocab_size=size, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
                        max_position_embeddings=40, num_labels=3, id2label=dict(enumerate(labels)))  # fmt: skip
    network = BertForTokenClassification(config)
    with torch.no_grad():
        embeddings = network.bert.embeddings
        embeddings.position_embeddings.weight.zero_()
        embeddings.token_type_embeddings.weight.zero_()
        embeddings.word_embeddings.weight.zero_()
        for i in range(size):
            embeddings.word_embeddings.weight[i, i] = 1.0
        layer = network.bert.encoder.layer[0]
        for part in (layer.attention.output.dense, layer.output.dense):
            part.weight.zero_()
            part.bias.zero_()
        network.classifier.weight.zero_()
        network.classifier.bias.copy_(torch.tensor([0.5, 0.0, 0.0]))
        for word in PEOPLE:
            network.classifier.weight[1, VOCABULARY.index(word)] = 10.0
        network.classifier.weight[2, VOCABULARY.index("street")] = 10.0
    network.save_pretrained(folder)
    PreTrainedTokenizerFast(tokenizer_object=core, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]",
                            mask_token="[MASK]").save_pretrained(folder)  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory):
    from luthier.models.names import open_names

    return open_names(str(tagger(tmp_path_factory.mktemp("names") / "tagger")))


def said(text: str, spans: list[tuple[int, int]]) -> list[str]:
    return [text[a:b] for a, b in spans]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("I met Anna Smith in the street.", ["Anna Smith"]),
        ("Anna, Smith", ["Anna", "Smith"]),
        ("I met Anna-Smith", ["Anna-Smith"]),
        ("I met Anna. Smith met Zoltan", ["Anna", "Smith", "Zoltan"]),
        # The second half of the word has another label: half a name is masked whole.
        ("the Zoltan street", ["Zoltan"]),
        ("i met the street", []),
        ("", []),
        ("  \n", []),
    ],
)
def test_spans_are_whole_names(names, text: str, expected: list[str]) -> None:
    assert said(text, names([text])[0]) == expected


def test_texts_of_all_lengths_at_once_keep_their_order(names) -> None:
    # 40 positions: the long text is read in windows, the last name stands far behind the first.
    long = "i met the street and " * 40 + "Anna Smith"
    texts = ["the street", long, "Smith", ""]
    assert [said(t, s) for t, s in zip(texts, names(texts), strict=True)] == [[], ["Anna Smith"], ["Smith"], []]
    assert names([]) == []


def test_a_masker_replaces_names_and_leaves_its_own_words(names) -> None:
    masker = Masker(names=names)
    first = masker.text("Anna met anna smith, call +49 170 1234567")
    assert first == "[name-1] met [name-2], call [phone-1]"
    assert masker.text(first) == first
    assert masker.text("the street and ANNA  SMITH") == "the street and [name-2]"
    assert masker.text("ANNA") == "[name-1]"
    assert masker.note()["name"]["different"] == 2


def test_models_that_find_no_people_are_refused(tmp_path: Path, tiny_bert: Path) -> None:
    from luthier.models.names import open_names

    with pytest.raises(ModelError, match="no label for people") as told:
        open_names(str(tagger(tmp_path / "places", labels=("O", "B-LOC", "I-LOC"))))
    assert "B-LOC" in str(told.value) and told.value.faults[0].where == "data.names_model"
    with pytest.raises(ModelError, match="no label for people"):
        open_names(str(tiny_bert))
    with pytest.raises(ModelError, match="embedded"):
        open_names("embedded")
    # Labels promise people, but the head was never trained: it would be drawn at random.
    values = json.loads((tiny_bert / "config.json").read_text("utf-8"))
    bare = tmp_path / "bare"
    bare.mkdir()
    for file in tiny_bert.iterdir():
        (bare / file.name).write_bytes(file.read_bytes())
    (bare / "config.json").write_text(json.dumps(values | {"id2label": {"0": "O", "1": "PERSON"}}), "utf-8")
    with pytest.raises(ModelError, match="no output layer that labels tokens"):
        open_names(str(bare))
