"""Labels as answers: the text in a question, and what a decoder would write for each label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from luthier.base.errors import ModelError
from luthier.base.records import Encoded
from luthier.prompts.encode import Turns, cut_left


@dataclass(frozen=True, slots=True)
class LabelQuestion:
    """A question with ``{text}`` in it, and ``{labels}`` for all their names; each label with its end token is an answer.

    The end token makes the answers complete: "card" is not the beginning of "card arrival".
    """

    turns: Turns
    question: str
    answers: tuple[Encoded, ...]
    names: tuple[str, ...]

    @classmethod
    def of(cls, turns: Turns, question: str, labels: Sequence[str]) -> LabelQuestion:
        """Encode the labels once: what a label is written as does not depend on the question.

        Raises:
            ModelError: no room is left for a question.
        """
        asked = [{"role": "user", "content": "a"}]
        ids = [tuple(turns.answer_ids(asked, label)) for label in labels]
        if max(map(len, ids), default=0) > turns.max_tokens - 8:
            raise ModelError(
                f"the longest label has {max(map(len, ids))} tokens, and all must fit in {turns.max_tokens}",
                where="model.max_tokens",
                mend="Raise it, or give the labels shorter names.",
            )
        return cls(turns, question, tuple(Encoded(i, (True,) * len(i)) for i in ids), tuple(labels))

    def encode(self, text: str) -> Encoded:
        """Return the question's ids, the labels in ``others``. Of a long text the end is cut, and never the question."""
        room = self.turns.max_tokens - max((len(a.ids) for a in self.answers), default=0)
        ids = self._ids(text)
        if len(ids) > room:
            tokenizer = self.turns.tokenizer
            own = tokenizer(text, add_special_tokens=False)["input_ids"]
            keep = len(own)
            while len(ids) > room and keep > 0:
                keep = max(0, keep - (len(ids) - room))
                ids = self._ids(tokenizer.decode(own[:keep], skip_special_tokens=True))
        return Encoded(tuple(cut_left(ids, room, keep_first=True)), others=self.answers)

    def _ids(self, text: str) -> list[int]:
        asked = self.question.replace("{labels}", ", ".join(self.names)).replace("{text}", text)
        return self.turns.prompt_ids([{"role": "user", "content": asked}])
