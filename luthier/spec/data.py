"""``data:`` where the rows are, which column is what, what is done to them, and how they are divided."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from luthier.spec.augment import Augment
from luthier.spec.common import Section, Switch
from luthier.spec.rank import Items


def _written(value: Any) -> Any:
    return value.isoformat() if isinstance(value, date) else value


# YAML reads a bare 2024-05-01 as a date, and nobody writes the quotes.
Day = Annotated[str | None, BeforeValidator(_written)]
_DATE = r"^\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2})?)?$"


def _rising(value: Any) -> Any:
    if not (
        isinstance(value, list | tuple)
        and len(value) == 3
        and value[0] < value[1]
        and 0 < value[2] <= value[1] - value[0]
    ):
        raise ValueError("a scale is [lowest, highest, step]")
    return value


Scale = Annotated[list[float], Field(min_length=3, max_length=3), AfterValidator(_rising)]


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
    time: str | None = Field(
        None,
        description="Column with dates: the newest rows are tested on; needs `test_from`, or a test file of its own.",
    )
    test_from: Day = Field(None, pattern=_DATE, description="First day of the test rows, such as 2024-05-01.")
    valid_from: Day = Field(
        None, pattern=_DATE, description="First day of the validation rows; without it, their share of the days before."
    )
    newest: int | None = Field(
        None,
        ge=1,
        description="For rank by users: test on so many of each user's newest rows, validate on as many before them; "
        "without it, the shares above are taken of each user's newest rows.",
    )
    seed: int = Field(0, ge=0, description="Another seed gives another division; the same seed never moves a row.")


class Clean(Section):
    """Cleaning steps, each counted; what changes a text does so at the service too, so that both read alike."""

    encoding: bool = Field(True, description="Repair text decoded with the wrong encoding (â€™ is ’).")
    html: bool = Field(False, description="Take HTML tags out and turn entities into characters.")
    whitespace: bool = Field(False, description="One space for runs of spaces, one blank line for several.")
    boilerplate: bool = Field(
        False, description="Take out lines that many rows share: signatures, disclaimers, quoted headers."
    )
    language: str | list[str] | None = Field(
        None, description="Keep rows in these languages only, as ISO 639-1 codes such as en."
    )
    min_words: int | None = Field(None, ge=1, description="Leave out shorter texts.")
    max_words: int | None = Field(None, ge=1, description="Leave out longer texts.")


class OutOfScopeRows(Section):
    """For classify: rows that have none of the labels. They are never learnt; they choose and measure when the model says so."""

    label: str = Field("out_of_scope", min_length=1, description="Their label in the data; it is also what the model answers.")
    source: str | list[str] | None = Field(
        None, description="Files of such rows, as data.source; they need no label, and are divided like the others."
    )


class DataSection(Section):
    """The data and what is done to it before anything is learnt."""

    source: str | list[str] = Field(
        description="A file, a folder, a glob, a saved `datasets` folder, a `datasets` hub name, a database URL, or a list of "
        "them: CSV, TSV, JSONL, JSON, Parquet, Arrow, text; `.gz` too."
    )
    query: str | None = Field(None, description="The SQL query whose rows are read, where `source` is a database URL.")
    columns: dict[str, str | list[str]] = Field(
        default_factory=dict,
        description="Which column is what, as `what: column`; by objective `text, label` or `prompt, completion` or `messages`; "
        "a list for `label` names the columns of several annotators, or (multilabel) one column of 0 and 1 a label.",
    )
    label_separator: str = Field(
        "auto",
        min_length=1,
        description="What parts the labels of a cell (multilabel): `auto` takes the first of | ; , that occurs in a file's "
        "first rows, `none` leaves each cell whole. JSON lists are known anyway.",
    )
    scale: Scale | dict[str, Scale] | None = Field(
        None,
        description="Lowest score, highest score and step (grade), for all traits or by trait, as `[1, 5, 0.5]`; without it "
        "they are those of the train rows.",
    )
    items: Items = Field(default_factory=Items, description="For rank: what the items are.")
    min_relevance: float | None = Field(
        None,
        description="For rank: relevance (a rating, say) from which an item counts as relevant, and all such alike; without it, "
        "relevance is graded, and 0 is a known negative.",
    )
    out_of_scope: OutOfScopeRows | None = Field(
        None, description="Rows that have none of the labels."
    )
    descriptions: dict[str, str] = Field(
        default_factory=dict,
        description="What labels mean, as `label: a sentence`; with few rows it is evidence where cross-validation finds it so.",
    )
    test: str | list[str] | None = Field(None, description="An official test file; it is never split or trained on.")
    valid: str | list[str] | None = Field(None, description="An official validation file.")
    held_out: str | list[str] | None = Field(
        None, description="Evaluation files of any kind that no row may overlap with; they are only compared."
    )
    split: Split = Field(default_factory=Split, description="Shares, the group column, the time column.")
    clean: Clean = Field(default_factory=Clean, description="Cleaning steps.")
    leaks: Literal["stop", "fix", "allow"] = Field(
        "stop",
        description="Rows shared between splits: `stop` ends with exit code 2, `fix` keeps one side, `allow` tells it in the report.",
    )
    near: float = Field(
        0.9,
        ge=0.5,
        le=1.0,
        description="Share of equal words from which two rows count as the same for `leaks`; less alike ones are told.",
    )
    semantic: Switch = Field(
        "auto",
        description="Look for rows of the same meaning in other words, by embeddings; `auto` up to 2,000 rows.",
    )
    duplicates: Literal["drop", "keep"] = Field(
        "drop", description="Exact duplicates after normalising case, width and white space: keep the first, or all."
    )
    personal: Literal["report", "mask"] = Field(
        "report", description="Personal data: count it, or replace it, the same find by the same word, as in [email-1]."
    )
    names_model: str | None = Field(
        None, description="Folder or hub name of a token-classification model that finds names of people."
    )
    label_errors: Switch = Field(
        "auto", description="Look for probable label errors by confident learning; `auto` up to 20,000 train rows."
    )
    balance: Literal["none", "auto", "weights", "resample"] = Field(
        "none",
        description="Rare labels weigh more, or are drawn more often; `auto` only where the out-of-fold score rises.",
    )
    augment: Augment = Field(default_factory=Augment, description="More train rows made of the ones there are.")
    corrections: str | None = Field(
        None, description="The table of probable label errors, with the decisions that a person filled in."
    )
    license: str = Field(
        "unknown",
        pattern=r"^[a-z0-9][a-z0-9.+-]*$",
        description="The data's licence as the Hugging Face hub names it, such as `cc-by-4.0`: it heads the dataset card.",
    )
    encoding: str = Field("utf-8", description="Encoding of text files; Luthier never guesses silently.")
    max_chars: int = Field(
        1_000_000, ge=1, description="Longest accepted line or field, in characters; longer ones are faults, not cut."
    )
