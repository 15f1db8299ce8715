"""Token ids and learn-masks: what is learnt is exactly the answer and its end token."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from luthier.base.errors import ModelError
from luthier.base.records import Encoded, Example
from luthier.prompts.template import Message, Style, Tools, chat_text, plain_text, unmarked


def encode_text(tokenizer: Any, text: str, *, max_tokens: int) -> Encoded:
    """Encode one text for an encoder, special tokens included; the end of a longer text is cut."""
    ids = tokenizer(text, add_special_tokens=True, truncation=True, max_length=max_tokens)["input_ids"]
    return Encoded(tuple(ids) or (_filler(tokenizer),))


def encode_windows(tokenizer: Any, text: str, *, max_tokens: int) -> Encoded:
    """Encode a text of any length for an encoder: one that does not fit stands in several windows of like size, none cut.

    Each window has the special tokens of a whole text. The first is ``ids``, the others follow in ``others``.
    """
    whole = tokenizer(text, add_special_tokens=True)["input_ids"]
    if len(whole) <= max_tokens:
        return Encoded(tuple(whole) or (_filler(tokenizer),))
    before, bare, after = bare_ids(tokenizer, text, whole)
    count = -(-len(bare) // max(1, max_tokens - len(before) - len(after)))
    ends = [round(len(bare) * i / count) for i in range(count + 1)]
    windows = [Encoded((*before, *bare[a:b], *after)) for a, b in pairwise(ends)]
    return Encoded(windows[0].ids, others=tuple(windows[1:]))


def bare_ids(tokenizer: Any, text: str, whole: Sequence[int]) -> tuple[list[int], list[int], list[int]]:
    """Return the special tokens before a text, its own ids, and the special tokens after it."""
    bare = list(tokenizer(text, add_special_tokens=False)["input_ids"])
    start = next((i for i in range(len(whole) - len(bare) + 1) if list(whole[i : i + len(bare)]) == bare), 0)
    return list(whole[:start]), bare, list(whole[start + len(bare) :])


def graded_text(inputs: Mapping[str, Any]) -> str:
    """Return what is read to be graded: the rubric, where there is one, and then the text."""
    rubric = inputs.get("rubric")
    return f"{rubric}\n\n{inputs['text']}" if rubric else str(inputs["text"])


def document_ids(tokenizer: Any, texts: Sequence[str]) -> list[tuple[int, ...]]:
    """Return documents for a decoder: the start token, the text, the end token; the end token starts where no other does.

    Raises:
        ModelError: the tokenizer has no end token.
    """
    if tokenizer.eos_token_id is None:
        raise ModelError("the tokenizer has no end token to part documents by", where="model.base")
    start = tokenizer.eos_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id
    found = tokenizer(list(texts), add_special_tokens=False)["input_ids"] if texts else []
    return [(int(start), *ids, int(tokenizer.eos_token_id)) for ids in found]


def special_ids(tokenizer: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return what the tokenizer writes before and after a text."""
    before, _, after = bare_ids(tokenizer, "a", tokenizer("a", add_special_tokens=True)["input_ids"])
    return tuple(before), tuple(after)


def _filler(tokenizer: Any) -> int:
    """Return a token for an empty text: a network needs at least one position."""
    known = (tokenizer.unk_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id, 0)
    return next(int(i) for i in known if i is not None)


# Turns, the answers that may follow them, and the tools that the model may call.
Conversation = tuple[Sequence[Message], Sequence[str], Tools | None]


@dataclass(frozen=True, slots=True)
class _Said:
    """A conversation as texts: what is asked, and its answers, or the ``whole`` of which an answer is the tail."""

    asked: str
    answers: tuple[str, ...]
    whole: tuple[bool, ...]


@dataclass(frozen=True, slots=True)
class Turns:
    """How a decoder's conversations become tokens: its tokenizer, the style, and the longest total in tokens."""

    tokenizer: Any
    style: Style
    max_tokens: int

    def prompt_ids(self, messages: Sequence[Message], tools: Tools | None = None) -> list[int]:
        """Return the ids after which the answer starts."""
        messages, tools = self._unmarked(messages, tools)
        if self.style == "chat":
            text = chat_text(self.tokenizer, messages, ask=True, tools=tools)
            return self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return _without_end(self.tokenizer, self.tokenizer(plain_text(messages, tools))["input_ids"])

    def answer_ids(self, messages: Sequence[Message], answer: str, tools: Tools | None = None) -> list[int]:
        """Return the ids of the answer with its end token, as they follow :meth:`prompt_ids`.

        For chat they are the tail of the whole conversation's rendering, so that training equals ``apply_chat_template``;
        a template that rewrites earlier turns has no common head, and then the answer is encoded alone.
        """
        [(_, [ids])] = self._parts([(messages, [answer], tools)])
        return ids

    def _parts(self, rows: Sequence[Conversation]) -> list[tuple[list[int], list[list[int]]]]:
        """Return for each conversation the ids of its prompt and of each of its answers.

        The tokenizer is handed all texts at once, which it reads on all cores.
        """
        said = [self._said(*row) for row in rows]
        asked = self._ids([one.asked for one in said], special=self.style == "plain")
        told = iter(self._ids([text for one in said for text in one.answers], special=False))
        end, ends = self.end_id, self.end_ids if self.style == "chat" else ()
        found = []
        for one, ids in zip(said, asked, strict=True):
            answers = []
            for text, whole in zip(one.answers, one.whole, strict=True):
                tail = next(told)
                if whole and tail[: len(ids)] == ids:
                    tail = tail[len(ids) :]
                elif whole:
                    tail = self.tokenizer(text[len(one.asked) :], add_special_tokens=False)["input_ids"]
                answers.append(_until_end(tail, ends, end) if whole else [*tail, end])
            found.append((ids if self.style == "chat" else _without_end(self.tokenizer, ids), answers))
        return found

    def _said(self, messages: Sequence[Message], answers: Sequence[str], tools: Tools | None) -> _Said:
        messages, tools = self._unmarked(messages, tools)
        answers = [unmarked(answer, self._own_marks) for answer in answers]
        if self.style == "plain":
            return _Said(plain_text(messages, tools), tuple(answers), (False,) * len(answers))
        asked = chat_text(self.tokenizer, messages, ask=True, tools=tools)
        wholes = [
            chat_text(self.tokenizer, [*messages, {"role": "assistant", "content": answer}], ask=False, tools=tools)
            for answer in answers
        ]
        follows = tuple(whole.startswith(asked) for whole in wholes)
        texts = (whole if joined else answer for whole, answer, joined in zip(wholes, answers, follows, strict=True))
        return _Said(asked, tuple(texts), follows)

    def _ids(self, texts: Sequence[str], *, special: bool) -> list[list[int]]:
        return self.tokenizer(list(texts), add_special_tokens=special)["input_ids"] if texts else []

    def encode(self, messages: Sequence[Message], answer: str, *, tools: Tools | None = None) -> Encoded | None:
        """Encode prompt and answer, ``tools`` being what the model may call; None where the answer alone does not fit in ``max_tokens``.

        A prompt that is too long loses its oldest tokens, but keeps its opening token: the question usually stands at the end.
        """
        [found] = self.encode_all([(messages, [answer], tools)])
        return found[0] if found else None

    def encode_all(self, rows: Sequence[Conversation]) -> list[tuple[Encoded, ...] | None]:
        """Encode prompts with each of their answers, the prompt cut alike for all; None where one does not fit."""
        opens, filler = self._opens, _filler(self.tokenizer)
        found: list[tuple[Encoded, ...] | None] = []
        for asked_ids, answer_ids in self._parts(rows):
            room = self.max_tokens - max(map(len, answer_ids))
            if room < 1:
                found.append(None)
                continue
            prompt_ids = cut_left(asked_ids or [filler], room, keep_first=opens)
            found.append(tuple(
                Encoded((*prompt_ids, *ids), (False,) * len(prompt_ids) + (True,) * len(ids)) for ids in answer_ids
            ))  # fmt: skip
        return found

    def encode_prompt(self, messages: Sequence[Message], *, room: int, tools: Tools | None = None) -> Encoded:
        """Encode a question to be answered, leaving ``room`` tokens for the answer."""
        keep = max(1, self.max_tokens - room)
        ids = self.prompt_ids(messages, tools) or [_filler(self.tokenizer)]
        return Encoded(tuple(cut_left(ids, keep, keep_first=self._opens)))

    def _unmarked(self, messages: Sequence[Message], tools: Tools | None) -> tuple[list[Message], Tools | None]:
        """Return turns and tools in which nobody writes the model's marks but the model."""
        own, template = self._own_marks, str(getattr(self.tokenizer, "chat_template", None) or "")
        # What nobody but the model may write: also the tokens of its template, in which it thinks or calls a tool.
        added = [token for token in self.tokenizer.get_added_vocab() if len(token) > 1 and token in template]
        marks = [*own, *added]
        turns: list[Message] = [{**unmarked(m, own if m["role"] == "assistant" else marks), "role": m["role"]} for m in messages]
        return turns, unmarked(tools, marks)

    @property
    def _own_marks(self) -> list[str]:
        """What nobody may write: the special tokens."""
        return [token for token in self.tokenizer.all_special_tokens if len(token) > 1]

    @property
    def _opens(self) -> bool:
        return self.tokenizer.bos_token_id is not None

    @property
    def end_id(self) -> int:
        """The token that ends an answer."""
        if self.tokenizer.eos_token_id is None:
            raise ModelError("the tokenizer has no end token, so no answer could ever stop", where="model.base")
        return int(self.tokenizer.eos_token_id)

    @property
    def end_ids(self) -> tuple[int, ...]:
        """All tokens at which generation stops: the end token and, for chat, the token that closes an assistant's turn."""
        if self.style == "plain":
            return (self.end_id,)
        turns = [{"role": "user", "content": "a"}]
        asked = chat_text(self.tokenizer, turns, ask=True)
        whole = chat_text(self.tokenizer, [*turns, {"role": "assistant", "content": "b"}], ask=False)
        special = set(self.tokenizer.all_special_ids) | set(self.tokenizer.get_added_vocab().values())
        tail = self.tokenizer(whole.removeprefix(asked), add_special_tokens=False)["input_ids"]
        closing = [i for i in tail if i in special][:1]
        return tuple(dict.fromkeys([self.end_id, *closing]))


def encode_judged(turns: Turns, examples: Sequence[Example]) -> list[Encoded | None]:
    """Encode preferences as rows without ids of their own: ``others`` are a pair's better and worse answer behind their prompt.

    A single answer has ``label`` 1 where it was marked good and 0 where bad. None where an answer does not fit.
    """
    targets = [example.target or {} for example in examples]
    said = [[t["completion"]] if "chosen" not in t else [t["chosen"], t["rejected"]] for t in targets]
    rows = [(e.inputs["messages"], list(map(str, answers)), e.inputs.get("tools")) for e, answers in zip(examples, said, strict=True)]
    return [
        None if found is None else Encoded((), label=None if "chosen" in target else int(bool(target["desirable"])), others=found)
        for target, found in zip(targets, turns.encode_all(rows), strict=True)
    ]


class TwoTexts(Turns):
    """How conversations become tokens for an encoder-decoder: the prompt is one text, the answer another.

    Each may have ``max_tokens``. Both are written as the tokenizer writes a text, so what is learnt of the answer is what
    transformers learns of ``labels``: its opening token included where it has one (BART), and the end token.
    """

    __slots__ = ()

    def encode(self, messages: Sequence[Message], answer: str, *, tools: Tools | None = None) -> Encoded | None:
        """Encode the prompt, and the answer beside it; None where the answer does not fit."""
        ids = tuple(self.tokenizer(text_target=unmarked(answer, self._own_marks))["input_ids"])
        if not ids or ids[-1] != self.end_id:
            ids = (*ids, self.end_id)
        if len(ids) > self.max_tokens:
            return None
        asked = self.encode_prompt(messages, room=0, tools=tools)
        return Encoded(asked.ids, others=(Encoded(ids, (True,) * len(ids)),))

    def encode_all(self, rows: Sequence[Conversation]) -> list[tuple[Encoded, ...] | None]:
        """Encode many conversations, each answer beside its prompt."""
        found = []
        for messages, answers, tools in rows:
            said = [self.encode(messages, answer, tools=tools) for answer in answers]
            found.append(None if None in said else tuple(one for one in said if one is not None))
        return found

    def encode_prompt(self, messages: Sequence[Message], *, room: int, tools: Tools | None = None) -> Encoded:
        """Encode a question. Of a long one the end is cut, of a conversation the oldest tokens; ``room`` is not needed."""
        if self.style == "chat":
            ids = self.prompt_ids(messages, tools)
        else:
            # The answer is another text, so nothing has to part it from the prompt.
            messages, tools = self._unmarked(messages, tools)
            ids = self.tokenizer(plain_text(messages, tools).rstrip())["input_ids"]
        cut = _cut_inside(self.tokenizer, ids, self.max_tokens, oldest=len(messages) > 1)
        return Encoded(tuple(cut) or (_filler(self.tokenizer),))


def cut_left(ids: Sequence[int], room: int, *, keep_first: bool) -> list[int]:
    """Drop the oldest ids so that at most ``room`` are left."""
    if len(ids) <= room:
        return list(ids)
    return [ids[0], *ids[len(ids) - room + 1 :]] if keep_first and room > 1 else list(ids[len(ids) - room :])


def _cut_inside(tokenizer: Any, ids: Sequence[int], room: int, *, oldest: bool) -> list[int]:
    """Cut a text for an encoder to ``room`` ids, the tokens that open and close it kept: its end goes, or its ``oldest``."""
    if len(ids) <= room:
        return list(ids)
    opening, closing = (len(part) for part in special_ids(tokenizer))
    inner = list(ids[opening : len(ids) - closing])
    keep = max(0, room - opening - closing)
    kept = inner[len(inner) - keep :] if oldest else inner[:keep]
    return [*ids[:opening], *kept, *ids[len(ids) - closing :]]


def _without_end(tokenizer: Any, ids: list[int]) -> list[int]:
    # Some tokenizers close every text with the end token; a prompt that already ended would teach the answer to follow an end.
    return ids[:-1] if len(ids) > 1 and ids[-1] == tokenizer.eos_token_id and ids[-1] != tokenizer.bos_token_id else ids


def _until_end(tail: list[int], ends: Sequence[int], end: int) -> list[int]:
    """Cut what a template writes after the end of the turn (a newline, usually); add the end token where it writes none."""
    for index in range(len(tail) - 1, -1, -1):
        if tail[index] in ends:
            return tail[: index + 1]
    return [*tail, end]
