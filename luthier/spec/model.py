"""``model:`` the base model that is tuned."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from luthier.spec.common import Section

# The model that comes along, by its objective; and the one of them that writes, by its own name.
EMBEDDED, GENERATOR = "embedded", "luthier-base"


class ModelSection(Section):
    """The base model and how its outputs are read."""

    base: str = Field(
        EMBEDDED,
        description="`embedded` (comes with the installation: `luthier-base` for generate, prefer and text, "
        "`all-MiniLM-L6-v2` for all else), one of the two by name, a folder, or a hub name such as `roberta-base`.",
    )
    revision: str | None = Field(None, description="Commit or tag of a hub model, to fix it for ever.")
    license: str = Field(
        "unknown",
        pattern=r"^[a-z0-9][a-z0-9.+-]*$",
        description="The tuned model's licence as the Hugging Face hub names it, such as `apache-2.0`: it heads the model card.",
    )
    pooling: Literal["auto", "mean", "cls", "own", "label-scoring"] = Field(
        "auto",
        description="How an encoder's tokens become one vector: `own` is the model's own classification head; "
        "`auto` follows the model's sentence-transformers configuration and else its own head, or `mean` where that sees only "
        "the first word of a text; `label-scoring` lets a decoder weigh each label as the answer to `question`.",
    )
    question: str = Field(
        "{text}\nLabel:",
        pattern=r"\{text\}",
        description="For `label-scoring`: what a decoder is asked, with `{text}` where the text stands and `{labels}` for the "
        "names of all labels.",
    )
    never_repeat: int = Field(
        0,
        ge=0,
        description="For generate, prefer and text: no run of so many tokens stands twice in an answer. 0 allows it; small models go "
        "in circles without it, and 4 helps them. What stands in the question may be repeated.",
    )
    sentences: Annotated[int, Field(ge=1)] | Literal["auto"] = Field(
        "auto",
        description="How many sentences are taken of a document (extract); `auto` chooses on the validation rows.",
    )
    max_tokens: int | None = Field(
        None,
        ge=8,
        description="Longest input in tokens, prompt and answer together; default: the model's limit, at most 512 "
        "for encoders and 1,024 for decoders.",
    )
    template: Literal["auto", "chat", "plain"] = Field(
        "auto",
        description="How turns become text for a decoder: the model's chat template, or plain text where it has none.",
    )
