"""What a check shows of the model's view: the very ids and learn-masks that training uses, and honest lengths."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from making import documents, graded, labelled, learner_of, marked, pairs, sums, tagged

from luthier.base.errors import ModelError
from luthier.base.records import Example, Source
from luthier.lifecycle.preview import _evenly, preview
from luthier.models.catalogue import find
from luthier.models.load import open_base
from luthier.models.tokens import QuickTokenizer, open_tokens
from luthier.objectives import OBJECTIVES
from luthier.prompts.encode import encode_text
from luthier.prompts.preview import WHOLE, encoder, pieces
from luthier.spec.load import load_task

HEADS = {"multilabel": tagged, "grade": graded, "extract": documents}


class Data:
    """Prepared rows as the preview reads them: sides only."""

    def __init__(self, **sides: list[Example]) -> None:
        self._sides = sides
        self.items: dict[str, tuple[str, str]] = {}

    def side(self, name: str) -> list[Example]:
        return self._sides.get(name, [])


def task_file(folder: Path, objective: str, base: Path | str, **model: Any) -> Any:
    path = folder / "task.yaml"
    section = {"base": str(base), **model}
    path.write_text(f"task: {{objective: {objective}}}\ndata: {{source: a.csv}}\nmodel: {json.dumps(section)}\n")
    return load_task(path)


def text_row(text: str, label: str = "billing", line: int = 2) -> Example:
    return Example(f"t{line}", {"text": text}, label, Source("a.csv", line))


def chat_row(asked: str, answer: str, line: int = 1) -> Example:
    return Example(f"c{line}", {"messages": [{"role": "user", "content": asked}]}, answer, Source("a.jsonl", line))


@pytest.mark.parametrize("base", ["tiny_bert", "tiny_roberta"])
def test_texts_show_the_ids_that_training_encodes(base: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    folder = request.getfixturevalue(base)
    rows = [*labelled(6), text_row("the parcel " * 60)]
    learner = learner_of(folder, "classify", ("account", "billing", "delivery"))
    found = preview(task_file(tmp_path, "classify", folder), Data(train=rows), rows=7)
    for row, shown in zip(rows, found["sides"]["train"], strict=True):
        encoded = learner.encode(row)
        assert encoded is not None
        assert [t["id"] for t in shown["tokens"]] == list(encoded.ids)
        assert not any(t["learnt"] for t in shown["tokens"])
        assert (shown["label"], shown["where"]) == (row.target, str(row.source))
    assert found["max_tokens"] == learner.max_tokens
    assert found["sides"]["train"][-1]["cut"] > 0
    assert found["lengths"]["cut"] == {"share": round(1 / 7, 5), "rows": 1}


@pytest.mark.parametrize("base", ["tiny_llama", "tiny_gpt2"])
@pytest.mark.parametrize("template", ["auto", "plain"])
def test_chats_show_the_ids_and_the_mask_that_training_learns(
    base: str, template: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    folder = request.getfixturevalue(base)
    rows = [*sums(5), chat_row("where is my parcel " * 80, "it is here"), chat_row("a", "b " * 300)]
    turns = [
        {"role": "system", "content": "Be kind."},
        *({"role": r, "content": "hi ☕"} for r in ("user", "assistant", "user")),
    ]
    rows.append(Example("m", {"messages": turns}, "bye", Source("a.jsonl", 9)))
    learner = learner_of(folder, "generate", template=template)
    found = preview(task_file(tmp_path, "generate", folder, template=template), Data(train=rows), rows=9)
    for row, shown in zip(rows, found["sides"]["train"], strict=True):
        encoded = learner.encode(row)
        assert shown["left_out"] == (encoded is None)
        if encoded is not None:
            assert [t["id"] for t in shown["tokens"]] == list(encoded.ids)
            assert [t["learnt"] for t in shown["tokens"]] == list(encoded.learn)
            assert any(encoded.learn)
    lengths = found["lengths"]
    assert lengths["left_out"]["rows"] == sum(learner.encode(r) is None for r in rows) == 1
    assert lengths["cut"]["rows"] == 1, "only the long question is cut; the row that is left out is not counted twice"
    assert lengths["max"] > found["max_tokens"]


@pytest.mark.parametrize("make", [pairs, marked])
def test_answers_are_shown_behind_one_prompt_with_the_ids_of_the_learner(make, tiny_llama: Path, tmp_path: Path) -> None:
    rows = make(5)
    learner = learner_of(tiny_llama, "prefer")
    found = preview(task_file(tmp_path, "prefer", tiny_llama), Data(train=rows), rows=5)
    for row, shown in zip(rows, found["sides"]["train"], strict=True):
        answers = learner.encode(row).others
        learnt = [i for answer in answers for i, flag in zip(answer.ids, answer.learn, strict=True) if flag]
        assert [t["id"] for t in shown["tokens"] if t["learnt"]] == learnt
        assert [t["id"] for t in shown["tokens"]][: len(answers[0].ids)] == list(answers[0].ids)
    assert found["lengths"]["max"] == max(len(a.ids) for row in rows for a in learner.encode(row).others)


def test_pieces_read_as_the_text_they_stand_for(tiny_llama: Path) -> None:
    tokenizer = open_base(find(str(tiny_llama))).tokenizer
    encode = encoder("generate", tokenizer, template="chat", max_tokens=WHOLE)
    assert encode is not None
    shown = pieces(tokenizer, encode(chat_row("where is my parcel", "refund me now")))
    learnt = [t for t in shown if t["learnt"]]
    assert "".join(t["text"] for t in learnt if not t["special"]) == "refund me now"
    assert learnt[-1]["special"] and learnt[-1]["text"] == "<|im_end|>"
    assert "".join(t["text"] for t in shown).startswith("<|im_start|>user\nwhere is my parcel<|im_end|>\n")


@pytest.fixture(scope="module")
def embedded() -> tuple[Any, Any]:
    """The embedded model's tokens as transformers opens them, and as they are opened quickly."""
    return open_base(find("embedded")), open_tokens("embedded", folder=None, revision=None, max_tokens=None)


def test_the_quick_way_knows_the_same_limits(embedded: tuple[Any, Any]) -> None:
    slow, quick = embedded
    assert isinstance(quick.tokenizer, QuickTokenizer), "the embedded model is of the plain kind"
    assert quick.max_tokens == slow.max_tokens == 512
    assert quick.tokenizer.pad_token_id == slow.tokenizer.pad_token_id
    assert set(quick.tokenizer.all_special_ids) == set(slow.tokenizer.all_special_ids)


@given(text=st.text(max_size=200), limit=st.sampled_from([8, 32, 512, WHOLE]))
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_quick_way_gives_the_same_ids(embedded: tuple[Any, Any], text: str, limit: int) -> None:
    slow, quick = embedded
    assert encode_text(quick.tokenizer, text, max_tokens=limit) == encode_text(slow.tokenizer, text, max_tokens=limit)


def test_the_quick_way_gives_the_same_ids_on_real_text(embedded: tuple[Any, Any], shared_data: Path) -> None:
    slow, quick = embedded
    texts = (shared_data / "banking77" / "test.csv").read_text(encoding="utf-8").splitlines()[1:400]
    texts += ["[SEP] [MASK] ##ing É é 你好 \u200b\x00 " + "x" * 150, "[CLS]", "", "a[PAD]b"]
    for text in texts:
        assert encode_text(quick.tokenizer, text, max_tokens=64) == encode_text(slow.tokenizer, text, max_tokens=64)


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [("tokenizer_config.json", "do_lower_case", False), ("tokenizer_config.json", "cls_token", "[START]"),
     ("config.json", "is_decoder", True), ("tokenizer.json", "pre_tokenizer", {"type": "Whitespace"})],
)  # fmt: skip
def test_a_folder_out_of_the_ordinary_goes_the_long_way(tmp_path: Path, name: str, key: str, value: object) -> None:
    source = find("embedded").folder
    for file in ("config.json", "tokenizer_config.json", "tokenizer.json", "vocab.txt"):
        shutil.copy(source / file, tmp_path / file)
    assert isinstance(_tokenizer(tmp_path), QuickTokenizer)
    values = json.loads((tmp_path / name).read_text(encoding="utf-8"))
    (tmp_path / name).write_text(json.dumps(values | {key: value}), encoding="utf-8")
    assert not isinstance(_tokenizer(tmp_path), QuickTokenizer)


def _tokenizer(folder: Path) -> Any:
    return open_tokens(str(folder), folder=None, revision=None, max_tokens=None).tokenizer


def test_weights_are_not_needed(tiny_bert: Path, tmp_path: Path) -> None:
    for file in tiny_bert.glob("*.json"):
        shutil.copy(file, tmp_path / file.name)
    found = preview(task_file(tmp_path, "classify", tmp_path), Data(train=labelled(3)))
    assert found["lengths"]["median"] > 2 and "unknown" not in found


@pytest.mark.parametrize(
    ("objective", "base", "said"),
    [
        ("classify", "nobody/has-this-model", "no model of that name was fetched"),
        ("generate", "all-MiniLM-L6-v2", "does not write it"),
        ("generate", "tiny_bert", "does not write it"),
        ("classify", "empty", "no config.json"),
    ],
)
def test_a_model_that_cannot_be_opened_leaves_lengths_unknown(
    objective: str, base: str, said: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    where = request.getfixturevalue(base) if base == "tiny_bert" else base
    rows = labelled(3) if objective == "classify" else sums(3)
    found = preview(task_file(tmp_path, objective, where), Data(train=rows))
    assert set(found) == {"unknown"}
    assert said in found["unknown"]["what"] and found["unknown"]["mend"]


def test_more_tokens_than_the_model_takes_are_told(tmp_path: Path) -> None:
    found = preview(task_file(tmp_path, "classify", "embedded", max_tokens=600), Data(train=labelled(3)))
    assert "at most 512 tokens" in found["unknown"]["what"]


def test_a_conversation_that_the_template_refuses_is_counted_not_fatal(tiny_llama: Path, tmp_path: Path) -> None:
    base = tmp_path / "strict"
    shutil.copytree(tiny_llama, base)
    refusing = "{% for m in messages %}{% if m['content'] == 'no' %}{{ raise_exception('not this') }}{% endif %}{{ m['content'] }}<|im_end|>{% endfor %}"
    (base / "chat_template.jinja").write_text(refusing, encoding="utf-8")
    rows = [chat_row("yes", "a", 1), chat_row("no", "b", 2), chat_row("maybe", "c", 3)]
    found = preview(task_file(tmp_path, "generate", base), Data(train=rows))
    assert found["lengths"]["refused"]["rows"] == 1
    assert found["lengths"]["refused"]["fault"]["where"] == "a.jsonl:2"
    assert "not this" in found["sides"]["train"][1]["refused"]
    assert found["sides"]["train"][2]["tokens"]


def test_a_large_set_is_sampled_evenly_and_scaled(
    tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("luthier.lifecycle.preview.MAX_ROWS", 500)
    rows = [text_row("word " * (200 if i % 10 < 3 else 2), line=i + 2) for i in range(2_000)]
    found = preview(task_file(tmp_path, "classify", tiny_bert), Data(train=rows[:1_000], test=rows[1_000:]), rows=1)
    lengths = found["lengths"]
    assert 490 <= lengths["looked_at"] <= 500 and lengths["rows"] == 2_000
    assert abs(lengths["cut"]["rows"] - 600) <= 100, "three of ten rows are long"
    assert lengths["cut"]["rows"] == round(lengths["cut"]["share"] * 2_000)


@given(length=st.integers(0, 5_000), count=st.integers(1, 300))
def test_even_positions_are_different_and_in_range(length: int, count: int) -> None:
    found = _evenly(length, count)
    assert len(set(found)) == len(found) == min(length, count)
    assert all(0 <= i < length for i in found)


def test_the_commonest_check_needs_no_torch() -> None:
    import subprocess

    code = ("import sys; from luthier.models.tokens import open_tokens; import luthier.prompts.preview;"
            "open_tokens('embedded', folder=None, revision=None, max_tokens=None);"
            "print('torch' in sys.modules, 'transformers' in sys.modules)")  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_an_objective_not_known_here_is_said(tmp_path: Path) -> None:
    assert encoder("dance", SimpleNamespace(), template="auto", max_tokens=8) is None
    with pytest.raises(ModelError):
        open_tokens("not a folder!", folder=None, revision=None, max_tokens=None)


@pytest.mark.parametrize("objective", ["multilabel", "grade", "extract"])
def test_judged_texts_show_the_ids_that_training_encodes(objective: str, tiny_bert: Path, tmp_path: Path) -> None:
    rows = HEADS[objective](6)
    labels = tuple(sorted({label for e in rows for label in e.target})) if objective != "extract" else ()
    learner = learner_of(tiny_bert, objective, labels, known=OBJECTIVES[objective].look(rows))
    found = preview(task_file(tmp_path, objective, tiny_bert), Data(train=rows), rows=7)
    for row, shown in zip(rows, found["sides"]["train"], strict=True):
        encoded = learner.encode(row)
        assert encoded is not None
        windows = (encoded, *encoded.others)
        assert [t["id"] for t in shown["tokens"]] == [i for window in windows for i in window.ids]
        assert shown["cut"] == 0
    assert found["lengths"]["cut"]["rows"] == 0
