"""``stages:`` several tasks learnt one after the other by one body, and ``keep:`` what is done against forgetting."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from luthier.spec.common import Section, Switch
from luthier.spec.data import DataSection
from luthier.spec.objective import ObjectiveName
from luthier.spec.train import Auto, TrainSection

# The sections that a stage has of its own; what it does not say is said at the top of the file.
SHARED = ("data", "train")
Share = Annotated[float, Field(ge=0, le=1)]
# A stage that names columns means these and no others.
_WHOLE = frozenset({"columns"})


class Stage(Section):
    """One task of a sequence; what it leaves out is taken from the sections at the top of the file."""

    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="Short name of the stage: its folder, and `metric@name`."
    )
    objective: ObjectiveName | None = Field(None, description="What it predicts; default: `task.objective`.")
    data: DataSection = Field(description="Its rows: the keys of `data`, over those at the top of the file.")
    train: TrainSection = Field(
        default_factory=TrainSection, description="How it learns: the keys of `train`, over those at the top."
    )


class Rehearse(Section):
    """Rows of earlier stages that are learnt again beside a later stage's own."""

    share: Share | Auto = Field(
        "auto",
        description="Share of each earlier stage's training rows that is kept and mixed into every later one; `auto` is 0.05 "
        "where nothing else is done against forgetting, else 0.",
    )
    choose: Literal["reservoir", "balanced", "diverse"] = Field(
        "balanced",
        description="Which rows are kept: by chance, as many of each label, or far apart in meaning (k-center).",
    )


class Penalty(Section):
    """A pull on the body's weights towards what they were before the stage."""

    kind: Literal["none", "l2-sp", "ewc"] = Field(
        "none",
        description="`l2-sp` pulls all weights alike (Li et al. 2018); `ewc` those that earlier stages need, by their Fisher "
        "information (Kirkpatrick et al. 2017).",
    )
    strength: Annotated[float, Field(gt=0)] | Auto = Field(
        "auto", description="Weight of the term; `auto` is 0.01 for l2-sp and 100 for ewc."
    )
    rows: int = Field(256, ge=1, description="For `ewc`: training rows of each earlier stage that are looked at.")


class Keep(Section):
    """What is done against forgetting, between stages."""

    head: Literal["own", "shared"] = Field(
        "own",
        description="Each stage has a head of its own, or one head grows and must tell the labels of all stages apart.",
    )
    rehearse: Rehearse = Field(default_factory=Rehearse, description="Rows of earlier stages, learnt again.")
    penalty: Penalty = Field(default_factory=Penalty, description="A pull towards the weights before the stage.")
    columns: Literal["none", "progressive"] = Field(
        "none",
        description="`progressive` freezes what was learnt and gives each stage a column of its own (Rusu et al. 2016).",
    )
    blend: Literal["none", "auto"] | Share = Field(
        "none",
        description="After each stage the body becomes this share of what it was before plus the rest of what it is now (Wortsman "
        "et al. 2022); `auto` chooses by the validation rows of all stages so far. The whole curve is reported.",
    )
    probe: Switch = Field(
        "auto", description="Measure general ability before and after, on sentences that come with Luthier."
    )


def with_defaults(values: Any) -> Any:
    """Return a raw task in which every stage is whole: what it leaves out of data and train comes from the top.

    The top's own data section may lack a source; then it becomes that of the last stage, which the run's bundle answers.
    """
    stages = values.get("stages") if isinstance(values, Mapping) else None
    if not isinstance(stages, list) or not stages or not all(isinstance(s, Mapping) for s in stages):
        return values
    whole = [dict(stage) for stage in stages]
    for stage in whole:
        for section in SHARED:
            top, own = values.get(section), stage.get(section)
            if isinstance(top, Mapping) and isinstance(own, Mapping | None):
                stage[section] = over(top, own or {})
    result = {**values, "stages": whole}
    top = values.get("data")
    if top is None or (isinstance(top, Mapping) and "source" not in top):
        result["data"] = whole[-1].get("data", {})
    return result


def over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Lay one mapping over another, section by section; a mapping of columns replaces the one below."""
    result = dict(below)
    for key, value in above.items():
        under = result.get(key)
        both = isinstance(value, Mapping) and isinstance(under, Mapping) and key not in _WHOLE
        result[key] = over(under, value) if both else value  # type: ignore[arg-type]
    return result
