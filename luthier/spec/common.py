"""What every section of the task file shares: strict types, unknown keys refused, values frozen."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict


class Section(BaseModel):
    """A section: unknown keys are errors, no silent conversions, immutable once read."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, validate_default=True)


def _word(value: Any) -> Any:
    return ("on" if value else "off") if isinstance(value, bool) else value


# YAML 1.1 reads a bare on or off as true or false, and nobody writes the quotes.
Word = BeforeValidator(_word)
Switch = Annotated[Literal["auto", "on", "off"], Word]
