"""``answer:`` which answers stand by themselves, and which are sent to a person."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from luthier.spec.common import Section

Share = Annotated[float, Field(gt=0, le=1)]


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
    confident: Share | None = Field(None, description="Answers with a lower probability than this go to a person.")

    @property
    def asked(self) -> bool:
        """Whether any row may go to a person."""
        return bool(self.catch or self.trust or self.to_person or self.confident)
