"""What every section of the task file shares: strict types, unknown keys refused, values frozen."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A section: unknown keys are errors, no silent conversions, immutable once read."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, validate_default=True)
