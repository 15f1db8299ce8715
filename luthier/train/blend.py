"""Between two sets of weights: the line from after to before, what each point scores, and which one to take."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

GRID = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
State = Mapping[str, torch.Tensor]


@dataclass(frozen=True, slots=True)
class Blended:
    """The curve and the point taken: ``share`` of the weights before; ``curve`` has a row of scores for each share."""

    share: float
    curve: tuple[dict[str, Any], ...]

    def as_dict(self) -> dict[str, Any]:
        return {"share": self.share, "curve": [dict(point) for point in self.curve]}


@torch.no_grad()
def interpolate(parameters: Mapping[str, nn.Parameter], before: State, after: State, share: float) -> None:
    """Set every named parameter to ``share * before + (1 - share) * after``; the ends are exact.

    WiSE-FT: Wortsman et al. 2022, https://arxiv.org/abs/2109.01903.
    """
    for name, parameter in parameters.items():
        if share in (0.0, 1.0):
            parameter.copy_(before[name] if share else after[name])
        else:
            parameter.copy_(torch.lerp(after[name].to(parameter.device), before[name].to(parameter.device), share))


def blend(
    parameters: Mapping[str, nn.Parameter], before: State, *, score: Callable[[], dict[str, float]], asked: str | float,
    lower: Sequence[str] = (),
) -> Blended:  # fmt: skip
    """Walk the line between the weights before and now, score each point, and leave the chosen one in place.

    Args:
        score: measures the model as it stands: a score on validation rows for each stage so far.
        asked: ``auto`` takes the best mean over stages (of equals, what is nearest to the weights now); a number is taken
            as it is.
        lower: the names of scores of which less is better.
    """
    after = {name: p.detach().clone() for name, p in parameters.items()}
    shares = sorted({*GRID, *([] if isinstance(asked, str) else [float(asked)])})
    curve = []
    for share in shares:
        interpolate(parameters, before, after, share)
        curve.append({"share": share, "scores": score()})
    chosen = float(asked) if not isinstance(asked, str) else best(curve, lower)
    interpolate(parameters, before, after, chosen)
    return Blended(chosen, tuple(curve))


def best(curve: Sequence[Mapping[str, Any]], lower: Sequence[str] = ()) -> float:
    """Return the share with the best mean score, each taken as a part of the best that it has on the curve.

    So an accuracy and a perplexity weigh alike. Of equals the weights nearest to those now are taken.
    """
    tops = {n: (min if n in lower else max)(p["scores"][n] for p in curve) for n in curve[0]["scores"]}

    def part(name: str, score: float) -> float:
        top = tops[name]
        if score == top:
            return 1.0
        return top / score if name in lower and score else score / top if top else 0.0

    def mean(point: Mapping[str, Any]) -> float:
        return sum(part(name, score) for name, score in point["scores"].items()) / len(point["scores"])

    return float(max(curve, key=lambda point: (round(mean(point), 9), -point["share"]))["share"])
