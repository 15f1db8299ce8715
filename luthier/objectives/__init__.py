"""What is predicted: one file per objective, one entry in one dict.

A :class:`Learner` says how an example becomes tokens and a batch, what its loss sum and count are, how outputs become
predictions, and how it is saved. Training, evaluation and serving know nothing else of it.
"""

from __future__ import annotations

from luthier.objectives.classify import Classifier
from luthier.objectives.extract import Extractor
from luthier.objectives.grade import Grader
from luthier.objectives.learner import Learner
from luthier.objectives.multilabel import MultiLabeller
from luthier.objectives.prefer import Preferrer
from luthier.objectives.rank import Ranker
from luthier.objectives.text import Text
from luthier.objectives.writer import Writer

OBJECTIVES: dict[str, type[Learner]] = {
    "classify": Classifier,
    "multilabel": MultiLabeller,
    "grade": Grader,
    "extract": Extractor,
    "rank": Ranker,
    "generate": Writer,
    "prefer": Preferrer,
    "text": Text,
}

__all__ = ["OBJECTIVES", "Learner"]
