"""The metrics of a judge model by the names that a bar gives them, and what is wrong with a task that has one."""

from __future__ import annotations

from collections.abc import Sequence

from luthier.base.errors import Fault, did_you_mean
from luthier.spec.bars import LIVE, Bar
from luthier.spec.judge import OVERALL, Judge

# What is answered in words; by objective, the rivals that write answers too.
WRITERS: dict[str, tuple[str, ...]] = {
    "generate": ("untuned",),
    "prefer": ("untuned",),
    "extract": ("lead_1", "lead_2", "lead_3", "longest", "centroid", "frozen_linear"),
}
REFERENCE = "reference"
SCORE, WIN_RATE = "judge", "judge_win_rate"
_AT = "evaluate.judge"


def is_metric(metric: str) -> bool:
    """Whether a metric is a judge's, whatever it judges by."""
    return metric == WIN_RATE or metric.startswith((f"{SCORE}[", f"{WIN_RATE}["))


def is_score(metric: str) -> bool:
    """Whether a metric is a mark on a scale and no share."""
    return metric.startswith(f"{SCORE}[")


def metric_of(settings: Judge, criterion: str) -> str:
    """Return the name of one criterion's metric."""
    if settings.mode == "score":
        return f"{SCORE}[{criterion}]"
    return WIN_RATE if criterion == OVERALL else f"{WIN_RATE}[{criterion}]"


def in_words(metric: str) -> str:
    """Return what such a metric means; empty for any other."""
    if is_score(metric):
        return f"mean mark that a judge model gives the answers for {metric[len(SCORE) + 1 : -1]}"
    if is_metric(metric):
        return "share of answers that a judge model prefers, in whichever order it reads them; ties count half"
    return ""


def faults(settings: Judge, bars: Sequence[Bar], objective: str, *, live: bool) -> list[Fault]:
    """Return what keeps a judge from being asked, and a fault for every bar on one that nobody could believe."""
    on_judge = [bar for bar in bars if is_metric(bar.plain)]
    if not settings.asked:
        mend = "Name it in evaluate.judge (url and model, or bundle; criteria, human)."
        found = [Fault("there is no judge model in this task", f"accept.{bar.metric}", mend) for bar in on_judge]
        given = [name for name in type(settings).model_fields if getattr(settings, name) != getattr(Judge(), name)]
        return found + [Fault("no judge is asked without an address", f"{_AT}.url", "Give its base URL, or leave evaluate.judge out.")] * bool(given)
    found = (_of_bundle(settings) if settings.bundle is not None else settings.address().faults()) + _of_settings(settings, objective, live=live)
    known = [metric_of(settings, name) for name in settings.named()]
    for bar in on_judge:
        where = f"accept.{bar.metric}"
        if bar.plain not in known:
            mend = did_you_mean(bar.plain, known) or f"This judge gives: {', '.join(known)}."
            found.append(Fault(f'the judge gives no "{bar.plain}"', where, mend))
        elif settings.human is None:
            mend = "Name a file of people's ratings in evaluate.judge.human; a run writes judge/to-rate.csv to fill in."
            found.append(Fault("nothing shows that this judge agrees with people, so no bar can rest on it", where, mend))
        elif is_score(bar.plain) and not settings.scale[0] <= bar.limit <= settings.scale[1]:
            what = f"marks lie between {settings.scale[0]} and {settings.scale[1]}, so the bar {bar.op} {bar.limit:g} says nothing"
            found.append(Fault(what, where, "Set it within the scale."))
    return found


def _of_bundle(settings: Judge) -> list[Fault]:
    """Return what is wrong with a judge that is a bundle: it knows one thing, which is better, and reads no words."""
    found = []
    given = [name for name in ("url", "model", "key_env") if getattr(settings, name) != getattr(Judge(), name)]
    if given:
        found.append(Fault(f"a bundle is asked on this machine, so it has no {given[0]}", f"{_AT}.{given[0]}", "Name an address or a bundle."))
    if settings.mode != "pairwise":
        found.append(Fault("a bundle says which of two answers is better, and gives no marks", f"{_AT}.mode", "Set it to pairwise."))
    if len(settings.named()) != 1:
        found.append(Fault("a bundle has learnt one preference, whatever it is called", f"{_AT}.criteria", "Name one, or leave it out."))
    if settings.reference == "on":
        found.append(Fault("a bundle is shown no wanted answer", f"{_AT}.reference", "Leave it out."))
    return found


def _of_settings(settings: Judge, objective: str, *, live: bool) -> list[Fault]:
    found = []
    if objective not in WRITERS:
        what = f"`{objective}` writes no answers that a judge could read"
        found.append(Fault(what, _AT, f"Judges are for {', '.join(WRITERS)}; take the section away."))
    named = settings.named()
    if settings.bundle is None and (not named or not all(text.strip() for text in named.values())):
        found.append(Fault("the judge is not told what to judge by", f"{_AT}.criteria", "Write it as you would for a person."))
    if any(set(name) & set("[]{}") or not name.strip() for name in named):
        found.append(Fault("a criterion's name is part of a metric's", f"{_AT}.criteria", "Use words without brackets."))
    if settings.scale[0] >= settings.scale[1]:
        found.append(Fault("the best mark is not above the worst", f"{_AT}.scale", "Write [worst, best], such as [1, 5]."))
    if settings.mode == "pairwise" and objective in WRITERS:
        others = (REFERENCE, LIVE, *WRITERS[objective])
        if settings.versus not in others:
            mend = did_you_mean(settings.versus, others) or f"Others: {', '.join(others)}."
            found.append(Fault(f'"{settings.versus}" writes no answer to compare with', f"{_AT}.versus", mend))
        elif settings.versus == LIVE and not live:
            found.append(Fault("there is no live model to compare with", f"{_AT}.versus", "Name its bundle in evaluate.against."))
        if settings.versus == REFERENCE and settings.reference == "on":
            found.append(Fault("the wanted answer is one of the two", f"{_AT}.reference", "Leave it out."))
    return found
