"""The names of what can be predicted."""

from __future__ import annotations

from typing import Literal

# The model is to write, or to learn how a language is written.
WRITING = frozenset({"generate", "prefer", "text"})
# Of these what is written answers somebody.
ANSWERING = frozenset({"generate", "prefer"})
# An encoder's vectors feed a linear head, which can learn alone.
HEADED = frozenset({"classify", "multilabel", "grade", "extract"})
ObjectiveName = Literal["classify", "multilabel", "grade", "extract", "rank", "generate", "prefer", "text"]
