"""``answer:`` which answer is given, which stand by themselves, and which are sent to a person."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from luthier.spec.common import Section

Share = Annotated[float, Field(gt=0, le=1)]
Most = Annotated[float, Field(gt=0, lt=1)]


class OutOfScope(Section):
    """For classify: say `none of these` to a text of none of the labels. Off without this section, unless `data.out_of_scope` is given.

    The cut is fitted on rows that were not learnt from.
    """

    keep: Most | None = Field(
        None,
        description="The share of the rows that have one of the labels that must still be answered; 0.95 where neither this nor "
        "`recall` is set.",
    )
    recall: Most | None = Field(
        None, description="The share of the rows of `data.out_of_scope` that must be found, whatever that costs the others."
    )
    score: Literal["auto", "probability", "energy", "distance", "neighbours"] = Field(
        "auto",
        description="What a text is judged by: the highest probability, the energy of the logits, the distance to the nearest "
        "label's mean in the tuned network (Mahalanobis), or the distance to its nearest train rows. `auto` measures all four.",
    )

    @model_validator(mode="after")
    def _one_promise(self) -> OutOfScope:
        if self.keep is not None and self.recall is not None:
            raise ValueError("one cut cannot promise both: set keep or recall, and put a bar on the other")
        return self


class Answer(Section):
    """For classify: when a row goes to a person instead. Thresholds are fitted on the validation rows."""

    catch: dict[str, Share] = Field(
        default_factory=dict,
        description="By label, the share of its rows that must not be missed: a row that may have this label and is given another"
        " goes to a person. Such as `{urgent: 0.98}`.",
    )
    trust: dict[str, Share] = Field(
        default_factory=dict,
        description="By label, the precision that its answers must have to stand by themselves; less sure ones go to a person.",
    )
    to_person: Share | None = Field(
        None, description="At most this share of rows goes to a person: the least sure ones, after those of `catch` and `trust`."
    )
    out_of_scope: OutOfScope | None = Field(
        None, description="When a text is of none of the labels."
    )
    decide: Literal["likeliest", "cost"] = Field(
        "likeliest", description="Give the likeliest label, or the one with the least expected cost by `evaluate.costs`."
    )
    confident: Share | None = Field(None, description="Answers with a lower probability than this go to a person.")

    @property
    def asked(self) -> bool:
        """Whether any row may go to a person."""
        return bool(self.catch or self.trust or self.to_person or self.confident)

    @property
    def ruled(self) -> bool:
        """Whether an answer is more than the likeliest label."""
        return self.asked or self.decide != "likeliest"
