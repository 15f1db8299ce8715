"""A decoder's first token sees nothing of a text: what is read of one under `auto` sees its end, and what would not is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from architectures import DECODERS, make
from making import LABELS, labelled, learner_of, section
from ranked_rows import query_rows, ranker
from tiny import _save, _wordpiece

from luthier.base.errors import ModelError
from luthier.models.catalogue import find
from luthier.models.load import open_base
from luthier.objectives import OBJECTIVES
from luthier.release.bundle import write_bundle
from luthier.release.predictor import Predictor, load_predictor
from luthier.spec.model import ModelSection
from luthier.train.run import fit

TEXTS = ("where is my parcel now", "where is my parcel twice")
FIXTURES = ("tiny_llama", "tiny_gpt2", "tiny_qwen", "tiny_mistral", "tiny_gemma", "tiny_bert_decoder")
# Those whose own classifier looks at the first token, whatever it has seen. ModernBERT's decoder looks at the last, by a head of another name.
FIRST, OTHERS = ("tiny_bert_decoder", "luthier-base"), ("luthier-base", "modernbert_decoder")
FACTS = {"task": {"name": "t", "objective": "classify", "goal": ""}, "name": "t", "base": {"name": "tiny", "sha256": "x"}}
SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64, "max_position_embeddings": 64}


def modernbert_decoder(folder: Path) -> Path:
    from transformers import ModernBertDecoderConfig, ModernBertDecoderForCausalLM

    tokenizer = _wordpiece()
    config = ModernBertDecoderConfig(**SMALL, vocab_size=len(tokenizer), pad_token_id=0, cls_token_id=2, sep_token_id=3,
                                     bos_token_id=2, eos_token_id=3, local_attention=8)  # fmt: skip
    return _save(folder / "modernbert_decoder", ModernBertDecoderForCausalLM, config, tokenizer)


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Any:
    folder, made = tmp_path_factory.mktemp("decoders"), {"luthier-base": Path("luthier-base")}
    makers = {"modernbert_decoder": modernbert_decoder}

    def get(kind: str) -> Path:
        if kind not in made:
            made[kind] = request.getfixturevalue(kind) if kind in FIXTURES else makers.get(kind, lambda f: make(kind, f))(folder)
        return made[kind]

    return get


def vectors(learner: Any) -> torch.Tensor:
    """Return what is read of the two texts, (2, D), without the length that a grader adds."""
    learner.eval()
    if learner.objective == "rank":
        return learner._vectors([learner.encode_input({"query": text}, room=0) for text in TEXTS]).detach()
    rows = [learner.encode_input({"text": text}, room=0) for text in TEXTS]
    return torch.cat([learner.head_features([row]) for row in rows])[:, : 32 if learner.objective == "grade" else None]


def of(base: Path, objective: str, pooling: str = "auto") -> Any:
    if objective == "rank":
        return ranker(base, query_rows(), pooling=pooling)
    known = {"scales": {"x": [1, 5, 1]}, "means": {"x": 3.0}, "spreads": {"x": 1.0}} if objective == "grade" else None
    return learner_of(base, objective, ("x",) if objective == "grade" else LABELS, known=known, pooling=pooling)


@pytest.mark.parametrize("kind", [*DECODERS, *FIXTURES, *OTHERS])
def test_auto_sees_the_end_of_a_text_and_what_does_not_is_refused(kind: str, decoder: Any) -> None:
    base = decoder(kind)
    for objective in ("classify", "multilabel", "rank"):
        learner = of(base, objective)
        one, other = vectors(learner)
        assert (one - other).abs().max() > 1e-3 * one.abs().max(), objective
        assert learner.pooling == ("own" if objective == "classify" and kind not in FIRST else "mean")
        with pytest.raises(ModelError, match=r"model\.pooling: .* reads from left to right, and its first token sees nothing.* auto or mean"):
            of(base, objective, "cls")


@pytest.mark.parametrize("kind", FIRST)
def test_a_head_at_the_first_token_is_refused(kind: str, decoder: Any) -> None:
    with pytest.raises(ModelError, match=r"model\.pooling: .*own classification head, which looks at the first token, .* auto or mean"):
        of(decoder(kind), "classify", "own")


@pytest.mark.parametrize("objective", ["grade", "extract", "rank"])
def test_the_other_objectives_refuse_and_see_it_too(objective: str, decoder: Any) -> None:
    base = decoder("tiny_bert_decoder")
    if objective != "extract":
        one, other = vectors(of(base, objective))
        assert not torch.allclose(one, other, atol=1e-4)
    assert of(base, objective).pooling == "mean"
    for pooling, words in (("cls", "its first token sees nothing"), ("own", "head")):
        with pytest.raises(ModelError, match=rf"model\.pooling: .*{words}"):
            of(base, objective, pooling)


def test_the_body_of_such_a_decoder_is_known_without_its_output_layer(decoder: Any, tmp_path: Path) -> None:
    """A bundle's network is a bare BertModel: nothing but its configuration says that it is a decoder."""
    learner = of(decoder("tiny_bert_decoder"), "classify")
    learner.network.save_pretrained(tmp_path / "bare")
    learner.tokenizer.save_pretrained(tmp_path / "bare")
    assert of(tmp_path / "bare", "classify").pooling == "mean"
    with pytest.raises(ModelError, match="reads from left to right"):
        of(tmp_path / "bare", "classify", "cls")


def test_a_configuration_that_says_cls_is_not_followed_there(decoder: Any, tmp_path: Path) -> None:
    folder = make("llama", tmp_path)
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": false}')
    assert {of(folder, objective).pooling for objective in ("classify", "multilabel", "rank")} == {"mean"}


def test_without_weights_the_same_is_planned(decoder: Any) -> None:
    for kind, pooling in (("tiny_bert_decoder", "mean"), ("llama", "own")):
        base = replace(open_base(find(str(decoder(kind)))), hollow=1)
        learner = OBJECTIVES["classify"].create(base, labels=LABELS, model=ModelSection())
        assert learner.pooling == pooling


def test_encoders_keep_their_first_token(tiny_bert: Path) -> None:
    assert of(tiny_bert, "classify").pooling == "own"
    for objective in ("classify", "multilabel", "rank"):
        assert of(tiny_bert, objective, "cls").pooling == "cls"


def test_a_bert_decoder_learns_and_comes_back_the_same(decoder: Any, tmp_path: Path) -> None:
    learner, rows = of(decoder("tiny_bert_decoder"), "classify"), labelled(24)
    fit(learner, rows, section("classify", 24, rate=1e-3, max_steps=6, batch=8), score=None)
    before = Predictor(learner).measure(rows)
    write_bundle(tmp_path / "bundle", learner, probes=rows, facts=FACTS)
    for one, two in zip(before, load_predictor(tmp_path / "bundle").measure(rows), strict=True):
        assert one.scores == pytest.approx(two.scores, abs=1e-5)
    right = sum(p.label == row.target for p, row in zip(before, rows, strict=True))
    assert right > 20, "a head that sees one token could only name the commonest label"
