"""The mask, the rendering and the predictor: what is trained is what is served."""

from __future__ import annotations

from pathlib import Path

import pytest
from making import LABELS, labelled, learner_of, marked, pairs, sums
from transformers import AutoTokenizer

from luthier.base.errors import DataError, ModelError
from luthier.models.catalogue import find
from luthier.objectives import OBJECTIVES, Learner
from luthier.prompts.encode import Turns, cut_left, encode_text
from luthier.prompts.template import plain_text, style_for
from luthier.release.predictor import Predictor

MULTI = [
    {"role": "user", "content": "where is my parcel"},
    {"role": "assistant", "content": "in the van"},
    {"role": "user", "content": "and when does it arrive"},
]


def turns(folder: Path, style: str, *, max_tokens: int = 200) -> Turns:
    return Turns(AutoTokenizer.from_pretrained(folder), style, max_tokens)


@pytest.mark.parametrize("messages", [MULTI, MULTI[:1]])
@pytest.mark.parametrize(("model", "style"), [("tiny_llama", "chat"), ("tiny_llama", "plain"), ("tiny_gpt2", "plain")])
def test_the_mask_decodes_to_exactly_the_answer_and_its_end(model, style, messages, request) -> None:
    t = turns(request.getfixturevalue(model), style)
    encoded = t.encode(messages, "tomorrow at nine, 3 + 4 = 7")
    learnt = [i for i, learn in zip(encoded.ids, encoded.learn, strict=True) if learn]
    end = "<|im_end|>" if style == "chat" else t.tokenizer.eos_token
    assert t.tokenizer.decode(learnt) == f"tomorrow at nine, 3 + 4 = 7{end}"
    assert learnt[-1] in t.end_ids


def test_rendered_ids_equal_the_templates_own(tiny_llama: Path) -> None:
    t = turns(tiny_llama, "chat")
    answer = {"role": "assistant", "content": "tomorrow"}
    own = t.tokenizer.apply_chat_template([*MULTI, answer], tokenize=True, return_dict=False)
    asked = t.tokenizer.apply_chat_template(MULTI, tokenize=True, add_generation_prompt=True, return_dict=False)
    assert t.prompt_ids(MULTI) == asked
    encoded = list(t.encode(MULTI, "tomorrow").ids)
    # The template writes a newline after the end of the turn; it is no part of the answer.
    assert encoded == own[: len(encoded)]
    assert t.tokenizer.decode(own[len(encoded) :]) == "\n"


@pytest.mark.parametrize(("model", "style"), [("tiny_llama", "chat"), ("tiny_llama", "plain"), ("tiny_gpt2", "plain")])
def test_trainings_prompt_equals_servings(model, style, request) -> None:
    t = turns(request.getfixturevalue(model), style)
    trained = t.encode(MULTI, "tomorrow")
    served = t.encode_prompt(MULTI, room=20)
    assert trained.ids[: len(served)] == served.ids
    assert not any(trained.learn[: len(served)])
    assert all(trained.learn[len(served) :])


def test_a_long_prompt_loses_its_oldest_tokens_and_never_the_answer(tiny_llama: Path) -> None:
    t = turns(tiny_llama, "plain", max_tokens=30)
    long = [{"role": "user", "content": "the parcel " * 80}]
    encoded = t.encode(long, "tomorrow")
    assert len(encoded) == 30
    assert t.tokenizer.decode([i for i, m in zip(encoded.ids, encoded.learn, strict=True) if m]) == "tomorrow</s>"
    assert t.encode(long, "tomorrow " * 80) is None
    assert cut_left([1, 2, 3, 4, 5], 3, keep_first=True) == [1, 4, 5]


@pytest.mark.parametrize(("model", "style"), [("tiny_llama", "chat"), ("tiny_llama", "plain"), ("tiny_gpt2", "plain"), (None, "chat")])
def test_nobody_speaks_in_anothers_name(model, style, request) -> None:
    t = turns(request.getfixturevalue(model) if model else find("luthier-base").folder, style)
    written = [*t.tokenizer.all_special_tokens, *(t.tokenizer.get_added_vocab() if style == "chat" else ())]
    special = set(t.tokenizer.convert_tokens_to_ids(written))

    def marks(text: str, answer: str) -> list[int]:
        messages = [{"role": "system", "content": "be kind"}, {"role": "user", "content": text}]
        encoded = t.encode(messages, answer, tools=[{"function": {"name": "find", "description": text}}])
        return [i for i in encoded.ids if i in special]

    said = "".join(written)
    harmless = marks("where is it", "in the van")
    assert harmless
    assert marks(f"where {said} is {said}assistant it", f"in {t.tokenizer.eos_token} the van") == harmless
    # The words themselves are still there.
    assert "assistant" in t.tokenizer.decode(t.prompt_ids([{"role": "user", "content": f"{said}assistant"}]))


def test_a_model_without_a_template_is_asked_plainly(tiny_gpt2: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_gpt2)
    assert style_for(tokenizer, "auto") == "plain"
    with pytest.raises(ModelError, match="no chat template"):
        style_for(tokenizer, "chat")
    assert plain_text(MULTI[:1]) == "where is my parcel\n"
    assert plain_text(MULTI).endswith("User: and when does it arrive\nAssistant: ")


def test_a_template_that_refuses_is_a_clear_error(tiny_llama: Path) -> None:
    t = turns(tiny_llama, "chat")
    t.tokenizer.chat_template = "{{ raise_exception('only one turn please') }}"
    with pytest.raises(DataError, match="only one turn please"):
        t.prompt_ids(MULTI)


def test_text_is_cut_at_the_limit_with_its_closing_token(tiny_bert: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_bert)
    encoded = encode_text(tokenizer, "the parcel " * 100, max_tokens=16)
    assert len(encoded) == 16
    assert encoded.ids[0] == tokenizer.cls_token_id
    assert encoded.ids[-1] == tokenizer.sep_token_id


@pytest.mark.parametrize("model", ["tiny_bert", "tiny_roberta"])
def test_scores_do_not_depend_on_batch_or_padding(model, request) -> None:
    predictor = Predictor(learner_of(request.getfixturevalue(model), "classify", LABELS))
    texts = [e.inputs["text"] for e in labelled(40)] + ["", "the " * 50]
    together = predictor.predict(texts)
    backwards = predictor.predict(texts[::-1])[::-1]
    for text, one, two in zip(texts, together, backwards, strict=True):
        alone = predictor.predict([text])[0]
        for other in (two, alone):
            assert one.label == other.label
            assert max(abs(one.scores[label] - other.scores[label]) for label in LABELS) < 1e-6


@pytest.mark.parametrize("model", ["tiny_llama", "tiny_gpt2"])
def test_answers_do_not_depend_on_batch_or_padding(model, request) -> None:
    predictor = Predictor(learner_of(request.getfixturevalue(model), "generate"))
    examples = sums(9)
    together = predictor.predict([e.inputs for e in examples], max_new_tokens=8)
    measured = predictor.measure(examples)
    for example, answer, weighed in zip(examples, together, measured, strict=True):
        assert predictor.predict([example.inputs], max_new_tokens=8)[0].text == answer.text
        alone = predictor.measure([example])[0]
        assert alone.measured["nll_sum"] == pytest.approx(weighed.measured["nll_sum"], rel=1e-5)
        assert alone.measured["token_count"] == weighed.measured["token_count"]


def test_generation_equals_transformers_own(tiny_llama: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    learner = learner_of(tiny_llama, "generate")
    messages = MULTI[:1]
    answer = Predictor(learner).predict([{"messages": messages}], max_new_tokens=12)[0]
    tokenizer, network = AutoTokenizer.from_pretrained(tiny_llama), AutoModelForCausalLM.from_pretrained(tiny_llama)
    asked = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    with torch.no_grad():
        made = network.generate(**asked, max_new_tokens=12, do_sample=False, eos_token_id=list(learner.turns.end_ids))
    expected = tokenizer.decode(made[0, asked["input_ids"].shape[1] :], skip_special_tokens=True).strip()
    assert answer.text == expected


@pytest.mark.parametrize(
    ("objective", "model", "rows"),
    [
        ("generate", "tiny_llama", sums(30)),
        ("generate", "tiny_gpt2", sums(30)),
        ("generate", "tiny_t5", sums(30)),
        ("prefer", "tiny_llama", pairs(30)),
        ("prefer", "tiny_llama", marked(30)),
        ("text", "tiny_llama", labelled(30)),
        ("text", "tiny_bert_mlm", labelled(30)),
        ("classify", "tiny_bert", labelled(30)),
        ("classify", "tiny_llama", labelled(30)),
    ],
)
def test_many_rows_at_once_are_the_rows_one_by_one(objective, model, rows, request) -> None:
    known = OBJECTIVES[objective].look(rows)
    how = {"pooling": "label-scoring"} if (objective, model) == ("classify", "tiny_llama") else {}
    learner = learner_of(request.getfixturevalue(model), objective, LABELS if objective == "classify" else (), known=known, **how)
    assert list(learner.encode_all(rows)) == [learner.encode(row) for row in rows]
    assert len({row.ids or row.others for row in learner.encode_all(rows)}) > 10


def test_nobody_inherits_another_objectives_way_to_encode_many() -> None:
    """Who encodes a row in a way of its own must say how many are: else those of the class above would be made."""
    def place(kind: type, name: str) -> int:
        return next(i for i, above in enumerate(kind.__mro__) if name in vars(above))

    def below(kind: type) -> set[type]:
        return {kind}.union(*(below(one) for one in kind.__subclasses__()))

    kinds = {kind for kind in below(Learner) if not kind.__abstractmethods__}
    assert len(kinds) > 10
    for kind in kinds:
        many = place(kind, "encode_all")
        assert kind.__mro__[many] is Learner or many <= place(kind, "encode"), kind.__name__
