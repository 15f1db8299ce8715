"""``data.augment``: more train rows made of the ones there are, kept only where they are measured to help."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from luthier.spec.common import Section, Switch

Way = Literal["words", "masked", "paraphrase", "back-translation"]


class Augment(Section):
    """How train rows are varied. Validation and test rows never are."""

    when: Switch = Field(
        "off", description="`auto` keeps the new rows only if the out-of-fold score rises beyond its interval."
    )
    ways: list[Way] = Field(
        default_factory=lambda: list[Way](["words"]),
        description="`words` swaps and drops words; `masked` lets a masked model fill in; the others ask the endpoint.",
    )
    copies: int = Field(1, ge=1, le=20, description="New rows made of each train row, by each way.")
    share: float = Field(0.1, gt=0.0, le=0.5, description="Share of the words that `words` and `masked` change.")
    masked_model: str | None = Field(None, description="Folder or hub name of a masked language model for `masked`.")
    endpoint: str | None = Field(
        None, description="Base URL of an OpenAI-compatible service; the texts are sent there and nowhere else."
    )
    endpoint_model: str | None = Field(None, description="Model name that the endpoint is asked for.")
    endpoint_key_env: str | None = Field(None, description="Environment variable that holds the endpoint's key.")
    through: str = Field("German", description="Language that `back-translation` goes through.")
    seed: int = Field(0, ge=0, description="Another seed gives other variations.")
