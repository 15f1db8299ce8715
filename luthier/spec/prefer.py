"""``train.prefer:`` how an objective of preferences weighs a better answer against a worse one."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from luthier.base.errors import Fault
from luthier.spec.common import Section

PreferLoss = Literal["dpo", "ipo", "orpo", "simpo", "kto"]
Auto = Literal["auto"]
# The keys of ``train.prefer`` that each loss reads besides ``loss`` and ``beta``.
READS: dict[str, frozenset[str]] = {
    "dpo": frozenset(("label_smoothing", "sft_weight")),
    "ipo": frozenset(("sft_weight",)),
    "orpo": frozenset(),
    "simpo": frozenset(("gamma", "label_smoothing", "sft_weight")),
    "kto": frozenset(("good_weight", "bad_weight")),
}


class Prefer(Section):
    """Losses of preferred answers; a key that the chosen loss does not read is an error."""

    loss: PreferLoss | Auto = Field(
        "auto",
        description="`dpo` (Rafailov et al. 2023, https://arxiv.org/abs/2305.18290), `ipo` (Azar et al. 2023, "
        "https://arxiv.org/abs/2310.12036), `orpo` (Hong et al. 2024, https://arxiv.org/abs/2403.07691), `simpo` (Meng et "
        "al. 2024, https://arxiv.org/abs/2405.14734) or `kto` (Ethayarajh et al. 2024, https://arxiv.org/abs/2402.01306); "
        "`auto` is dpo for pairs and kto for single answers marked good or bad.",
    )
    beta: Annotated[float, Field(gt=0)] | Auto = Field(
        "auto",
        description="How much a difference in log-likelihood counts; higher keeps closer to the untuned model. `auto` is "
        "0.1 for dpo, ipo, kto and orpo (its lambda), and 2.0 for simpo, as in the papers.",
    )
    gamma: Annotated[float, Field(ge=0)] | Auto = Field(
        "auto",
        description="simpo: the margin, in units of reward, by which the better answer should win; `auto` is 1.0.",
    )
    label_smoothing: float = Field(
        0.0,
        ge=0,
        lt=0.5,
        description="dpo and simpo: the share of pairs that are believed to be the wrong way round (conservative DPO, "
        "Mitchell 2023, https://ericmitchell.ai/cdpo.pdf).",
    )
    sft_weight: float = Field(
        0.0,
        ge=0,
        description="dpo, ipo and simpo: weight of the mean loss on the better answer's tokens, which keeps it likely (Pang "
        "et al. 2024, https://arxiv.org/abs/2404.19733, use 1). orpo has that term by itself.",
    )
    good_weight: Annotated[float, Field(gt=0)] | Auto = Field(
        "auto",
        description="kto: weight of an answer marked good; `auto` raises that of the rarer kind so that both kinds count "
        "the same (equation 8 of the paper).",
    )
    bad_weight: Annotated[float, Field(gt=0)] | Auto = Field(
        "auto", description="kto: weight of an answer marked bad; `auto` as for `good_weight`."
    )


def idle_keys(prefer: Prefer, loss: str) -> list[Fault]:
    """Return a fault for each key that is given and that ``loss`` does not read: it would do nothing."""
    plain, found = Prefer(), []
    for key in sorted(frozenset().union(*READS.values()) - READS[loss]):
        if getattr(prefer, key) not in (getattr(plain, key), "auto"):
            readers = ", ".join(name for name, keys in READS.items() if key in keys)
            found.append(
                Fault(f"{loss} does not read {key}", f"train.prefer.{key}", f"Leave it out; {readers} would read it.")
            )
    return found
