"""What the labelling page may send: strict pydantic messages, and a row as the page gets it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from luthier.labelling.desk import Asked

MAX_NOTE_CHARS = 2_000
_DAY_S = 86_400.0


def _name(value: str) -> str:
    value = value.strip()
    if not value or not value.isprintable():
        raise ValueError("this should be a name of printable characters")
    return value


Name = Annotated[str, Field(max_length=60), AfterValidator(_name)]
Session = Annotated[str, Field(pattern=r"^[0-9a-zA-Z-]{8,64}$")]


class Visit(BaseModel):
    """Who asks: the person's name, and the tab it is in."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
    by: Name
    session: Session


class AnswerRequest(Visit):
    """What a person said of a row, and what the page had suggested when it was said."""

    id: str = Field(max_length=64)
    kind: Literal["label", "unsure", "skip", "note"]
    label: str | None = Field(None, max_length=200)
    note: str = Field("", max_length=MAX_NOTE_CHARS)
    seconds: float | None = Field(None, ge=0, le=_DAY_S)
    suggestion: str | None = Field(None, max_length=200)
    probability: float | None = Field(None, ge=0, le=1)
    chosen: Literal["group", "doubt", "random", "second", "again", ""] = ""


class LabelRequest(Visit):
    """A label to add."""

    label: str = Field(max_length=200)


def row_of(asked: Asked | None) -> dict[str, Any] | None:
    """Return a row as the page shows it."""
    if asked is None:
        return None
    item = asked.item
    guesses = [{"label": label, "probability": round(value, 4)} for label, value in asked.guesses]
    return {"id": item.id, "text": item.text, "file": item.file, "line": item.line, "chosen": asked.chosen,
            "guesses": guesses, "others": asked.others}  # fmt: skip
