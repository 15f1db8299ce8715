"""Keys of ``rank`` alone: where items get their words from, and how queries, users and items are compared."""

from __future__ import annotations

from pydantic import Field

from luthier.spec.common import Section, Switch


class Items(Section):
    """For rank: the table that says what the items of `data.source` are, where they are named by an id."""

    source: str | list[str] | None = Field(
        None, description="File with a row for each item; without it, what stands in the item column is its text."
    )
    id: str = Field("id", description="Its column with the ids that the item column holds.")
    text: str | list[str] = Field(
        "text", description="Its columns that make an item's text, joined; the first is the name that is shown."
    )


class Rank(Section):
    """For rank: one network reads queries and items; what belongs together gets vectors that are alike."""

    scale: float = Field(
        20.0, gt=0, description="Cosine similarities times this are the scores; 20 is a temperature of 0.05."
    )
    learn_scale: bool = Field(False, description="Let the scale learn, starting there.")
    symmetric: bool = Field(False, description="Also learn to find the query of each item.")
    negatives: int = Field(
        1,
        ge=0,
        description="Known negatives (relevance 0) of its query that a row is told apart from, besides the batch.",
    )
    history: int = Field(5, ge=1, description="How many of a user's latest items, by their texts, stand for the user.")
    per_user: int = Field(100, ge=1, description="At most so many of a user's rows are learnt from, the newest.")
    interactions: Switch = Field(
        "auto",
        description="Add what users with the same items chose, learnt from the interactions alone, in the share that the "
        "validation rows want; `auto` does so for users and leaves it out for queries.",
    )
    k: int = Field(10, ge=10, description="How many items an answer holds; metrics look at the first 1, 5 and 10, and at 20 and 50 where it holds so many.")
