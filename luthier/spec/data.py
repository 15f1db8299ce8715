"""``data:`` where the rows are, which column is what, and how they are divided."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from luthier.spec.common import Section


class Split(Section):
    """How rows are divided. Shares are of the rows left after cleaning."""

    valid: float = Field(0.1, ge=0.0, lt=0.9, description="Share of rows for choosing and stopping.")
    test: float = Field(
        0.2, ge=0.0, lt=0.9, description="Share of rows for the verdict; unused where `data.test` names a file."
    )
    by: str | None = Field(
        None,
        description="Column whose equal values stay on one side of every split (a customer, a patient, a document).",
    )
    seed: int = Field(0, ge=0, description="Another seed gives another division; the same seed never moves a row.")


class DataSection(Section):
    """The data and what is done to it before anything is learnt."""

    source: str | list[str] = Field(
        description="A file, a folder, a glob, or a list of them: CSV, TSV, JSONL, JSON, Parquet; `.gz` too."
    )
    columns: dict[str, str] = Field(
        default_factory=dict,
        description="Which column is what, as `what: column`; by objective `text, label` or `prompt, completion` or `messages`.",
    )
    test: str | list[str] | None = Field(None, description="An official test file; it is never split or trained on.")
    valid: str | list[str] | None = Field(None, description="An official validation file.")
    split: Split = Field(default_factory=Split, description="Shares and the group column.")
    leaks: Literal["stop", "fix", "allow"] = Field(
        "stop",
        description="Rows shared between splits: `stop` ends with exit code 2, `fix` keeps one side, `allow` tells it in the report.",
    )
    duplicates: Literal["drop", "keep"] = Field(
        "drop", description="Exact duplicates after normalising case, width and white space: keep the first, or all."
    )
    encoding: str = Field("utf-8", description="Encoding of text files; Luthier never guesses silently.")
    max_chars: int = Field(
        1_000_000, ge=1, description="Longest accepted line or field, in characters; longer ones are faults, not cut."
    )
