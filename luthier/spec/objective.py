"""The names of what can be predicted."""

from __future__ import annotations

from typing import Literal

ObjectiveName = Literal["classify", "multilabel", "grade", "extract", "rank", "generate", "prefer", "text"]
