"""Whether a text is of none of the labels: how unlike them all it is, and from where on it is called so."""

from luthier.objectives.scope.fit import Seen, fit
from luthier.objectives.scope.judge import KINDS, Scope

__all__ = ["KINDS", "Scope", "Seen", "fit"]
