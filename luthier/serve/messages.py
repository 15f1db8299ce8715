"""What may be asked over HTTP: pydantic models, strict, and how they become the inputs of an example."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, field_validator, model_validator

MAX_NAME = 200
# The ways to say what would have been right.
ANSWERS = ("label", "labels", "grades", "sentences", "items", "text")
_WANTED = {"query", "user", "history"}


class Message(BaseModel):
    """A body of ours: unknown keys are errors, nothing is converted silently."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Part(BaseModel):
    """A piece of text of a turn, as OpenAI's clients may send it."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)
    type: Literal["text"]
    text: str


def _list_or_text(value: Any) -> str:
    return "as_list" if isinstance(value, list | tuple) else "as_text"


def _shape(value: Any) -> str:
    if isinstance(value, str):
        return "as_text"
    talks = isinstance(value, MessagesItem) or (isinstance(value, dict) and "messages" in value)
    if talks:
        return "as_messages"
    wants = isinstance(value, WantedItem) or (isinstance(value, dict) and bool(_WANTED & value.keys()))
    return "as_wanted" if wants else "as_item"


# Naming the branch by the value's shape gives one clear error instead of one for every branch of the union.
Content = Annotated[
    Annotated[str, Tag("as_text")] | Annotated[list[Part], Tag("as_list")], Discriminator(_list_or_text)
]
Texts = Annotated[Annotated[str, Tag("as_text")] | Annotated[list[str], Tag("as_list")], Discriminator(_list_or_text)]


class Turn(BaseModel):
    """One turn of a conversation. Other keys are passed over, so that a client may send back a turn as it came."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)
    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Content

    def plain(self) -> dict[str, str]:
        """Return the turn with its content as one text."""
        content = self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)
        return {"role": "system" if self.role == "developer" else self.role, "content": content}


class TextItem(Message):
    text: str


class MessagesItem(Message):
    messages: list[Turn] = Field(min_length=1)


class WantedItem(Message):
    """For a ranker: a query, a user it knows, or what somebody chose so far by id, name or text."""

    query: str | None = None
    user: str | None = None
    history: list[str] | None = None

    @model_validator(mode="after")
    def _one(self) -> WantedItem:
        if (self.query is None) + (self.user is None) + (self.history is None) != 2:
            raise ValueError('give one of "query", "user" and "history"')
        return self

    def inputs(self) -> dict[str, Any]:
        return {name: value for name, value in self.model_dump().items() if value is not None}


Item = Annotated[
    Annotated[str, Tag("as_text")]
    | Annotated[TextItem, Tag("as_item")]
    | Annotated[MessagesItem, Tag("as_messages")]
    | Annotated[WantedItem, Tag("as_wanted")],
    Discriminator(_shape),
]


class PredictRequest(Message):
    """``POST /v1/predict``: one ``input`` or a list of ``inputs``."""

    input: Item | None = Field(
        None,
        description='One input: a text, {"text": ...} or {"messages": [...]}; for a ranker also {"query": ...}, {"user": ...} '
        'or {"history": [...]}.',
    )
    inputs: list[Item] | None = Field(None, min_length=1, description="Several inputs; the answers keep their order.")
    max_new_tokens: int | None = Field(None, ge=1, le=100_000, description="Longest generated answer, in tokens.")

    @model_validator(mode="after")
    def _one_of_two(self) -> PredictRequest:
        if (self.input is None) == (self.inputs is None):
            raise ValueError('give "input" (one) or "inputs" (a list), and not both')
        return self


class FeedbackRequest(Message):
    """``POST /v1/feedback``: what would have been right, or a rating: 1 for right, -1 for wrong."""

    prediction_id: str = Field(min_length=1, max_length=MAX_NAME)
    label: str | None = Field(None, min_length=1, max_length=MAX_NAME, description="The right label (classify).")
    labels: list[Annotated[str, Field(min_length=1, max_length=MAX_NAME)]] | None = Field(
        None, max_length=1000, description="The whole set of right labels (multilabel); an empty list where none is."
    )
    grades: dict[str, Annotated[float, Field(allow_inf_nan=False)]] | None = Field(
        None, min_length=1, description="The right score of every trait (grade)."
    )
    sentences: list[Annotated[str, Field(min_length=1)]] | None = Field(
        None, min_length=1, max_length=1000, description="The sentences that tell most, word for word (extract)."
    )
    items: list[Annotated[str, Field(min_length=1, max_length=MAX_NAME)]] | None = Field(
        None, min_length=1, max_length=100, description="Items that are right, by id or name (rank)."
    )
    text: str | None = Field(None, min_length=1, description="The right answer (generate, prefer).")
    rating: int | None = Field(
        None, description="1: the prediction was right; -1: it was wrong.", json_schema_extra={"enum": [1, -1, None]}
    )
    comment: str | None = Field(None, min_length=1)
    by: str | None = Field(None, min_length=1, max_length=MAX_NAME, description="Who says so.")
    new_label: bool = Field(False, description="The label, or the item, is meant, although the model does not know it yet.")

    @field_validator("rating")
    @classmethod
    def _up_or_down(cls, value: int | None) -> int | None:
        # Not a Literal: that takes true for 1.
        if value not in (None, -1, 1):
            raise ValueError("a rating is 1 (right) or -1 (wrong)")
        return value

    @model_validator(mode="after")
    def _says_something(self) -> FeedbackRequest:
        if all(getattr(self, name) is None for name in (*ANSWERS, "rating", "comment")):
            raise ValueError('say something: a "label", "labels", "grades", "sentences", "items", a "text", a "rating" (1 or -1) or a "comment"')
        return self


class _OpenAI(BaseModel):
    """What OpenAI's two routes share. Sampling settings are accepted and have no effect: answers are greedy."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)
    model: str | None = None
    max_tokens: int | None = Field(None, ge=1, le=100_000)
    stream: bool | None = None
    stream_options: dict[str, Any] | None = None


class ChatRequest(_OpenAI):
    """``POST /v1/chat/completions``."""

    messages: list[Turn] = Field(min_length=1)
    max_completion_tokens: int | None = Field(None, ge=1, le=100_000)


class CompletionRequest(_OpenAI):
    """``POST /v1/completions``."""

    prompt: Texts


def to_inputs(item: str | TextItem | MessagesItem | WantedItem) -> dict[str, Any]:
    """Return an item as the inputs of an example: ``{"text": ...}``, ``{"messages": [...]}`` or what items are wanted for."""
    if isinstance(item, WantedItem):
        return item.inputs()
    if isinstance(item, MessagesItem):
        return {"messages": [turn.plain() for turn in item.messages]}
    return {"text": item if isinstance(item, str) else item.text}
