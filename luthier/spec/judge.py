"""``evaluate.judge:`` a language model that judges written answers, and the people whose word it is held against."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from luthier.base.endpoint import CONCURRENT, TIMEOUT_S, TRIES, Address
from luthier.spec.common import Section, Switch

# How a judge is reached is no part of what it says: a run whose judge was gone goes on with another address or more patience.
ASIDE = frozenset({"url", "key_env", "timeout_s", "tries", "concurrency", "max_minutes", "answers"})
# What a judge is asked about where the task file gives one text instead of named criteria.
OVERALL = "overall"


class Judge(Section):
    """A model behind an OpenAI-compatible endpoint, or a bundle, that judges answers; its figures count where it agrees with people."""

    url: str | None = Field(
        None, description="Base URL of the service; without it nothing is judged. Prompts and answers are sent there and nowhere else."
    )
    bundle: str | None = Field(
        None, description="In place of an address: a bundle of `prefer`, which prefers the answer of the higher reward; `pairwise` only."
        " Nothing is sent.",
    )
    model: str = Field("", description="Model name that the service is asked for.")
    key_env: str | None = Field(None, description="Environment variable that holds the service's key.")
    mode: Literal["score", "pairwise"] = Field(
        "score", description="`score` gives each answer a mark; `pairwise` says which of two is better, asked in both orders."
    )
    criteria: str | dict[str, str] = Field(
        "",
        description="What is judged, in words the judge and people are given alike: one text, or several as `name: text`, each asked for"
        " by itself.",
    )
    scale: list[int] = Field(
        default_factory=lambda: [1, 5], min_length=2, max_length=2, description="Worst and best mark of `score`, whole numbers."
    )
    versus: str = Field(
        "untuned",
        description="`pairwise`: the other answer is that of a rival (`untuned`), of `live` (the bundle that evaluate.against names),"
        " or the `reference`: the wanted answer.",
    )
    reference: Switch = Field(
        "auto", description="Show the judge the wanted answer; `auto` does so where the rows that people rated have one too."
    )
    human: str | None = Field(
        None, description="File of people's ratings, made before: a row has a prompt, an answer (pairwise: two) and the ratings."
    )
    human_columns: dict[str, str | list[str]] = Field(
        default_factory=dict,
        description="Which column is what: `prompt`, `answer` or `first, second`, `reference`, and for each criterion one column or a"
        " list of them, one a person; without it columns of these names.",
    )
    least_agreement: float = Field(
        0.6,
        ge=0.0,
        le=1.0,
        description="Least agreement with people (Cohen's kappa, of marks weighted by squares) that the lower end of its 95 % interval"
        " must reach, or bars on the judge cannot be told.",
    )
    rows: int = Field(100, ge=1, description="At most so many answered test rows are judged, picked by a hash of their ids.")
    max_tokens: int = Field(512, ge=1, description="Longest answer of the judge, in tokens.")
    timeout_s: float = Field(TIMEOUT_S, gt=0.0, description="Seconds to wait for one answer.")
    tries: int = Field(TRIES, ge=1, le=20, description="How often a request is made that fails in passing (429, 5xx, no answer).")
    concurrency: int = Field(CONCURRENT, ge=1, le=64, description="Requests under way at once.")
    max_minutes: float = Field(30.0, gt=0.0, description="After so many minutes nothing more is asked, for people's rows and test rows each.")
    answers: str | None = Field(
        None, description="Folder that keeps the judge's answers, so that runs can share it; default: `judge` in the run's folder."
    )

    @property
    def asked(self) -> bool:
        return self.url is not None or self.bundle is not None

    @property
    def called(self) -> str:
        """What it is called where something is told of it."""
        return f"the bundle {self.bundle}" if self.bundle is not None else f"{self.model} at {self.url}"

    def named(self) -> dict[str, str]:
        """Return the criteria by name."""
        return {OVERALL: self.criteria} if isinstance(self.criteria, str) else dict(self.criteria)

    def address(self) -> Address:
        """Return where it is asked."""
        return Address(
            self.url or "", self.model, self.key_env, url_at="evaluate.judge.url", model_at="evaluate.judge.model",
            key_at="evaluate.judge.key_env", timeout_s=self.timeout_s, concurrency=self.concurrency, tries=self.tries,
            most_s=60 * self.max_minutes,
        )  # fmt: skip
