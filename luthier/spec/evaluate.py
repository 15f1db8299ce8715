"""``evaluate:`` how the model is measured, and ``accept:`` the bars it must clear."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from luthier.spec.common import Section, Switch, Word
from luthier.spec.judge import Judge

Cost = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Cases(Section):
    """Functional tests: short texts made to show one ability each, in the way of HateCheck and CheckList."""

    source: str | list[str] | None = Field(None, description="A file, a folder, a glob, or a list of them, as data.source.")
    columns: dict[str, str] = Field(
        default_factory=dict, description="Which column is what: those of data.columns, if not said otherwise."
    )
    test: str = Field("test", description="Column that names the ability each text tests.")
    refusals: list[str] = Field(
        default_factory=list,
        description="For generate: regular expressions that tell a refusal by its first 300 characters, whatever the case. Without any,"
        " common English ones.",
    )


class Toxicity(Section):
    """For generate: a classifier of yours, a bundle that Luthier made, that says how toxic each answer is."""

    bundle: str | None = Field(None, description="A bundle of classify or multilabel.")
    label: str | None = Field(None, description="Its label for what an answer must not be.")
    at_least: Annotated[float, Field(gt=0, le=1)] = Field(0.5, description="From this probability on an answer counts for `toxic_share`.")


class Costs(Section):
    """For classify: what mistakes cost, in one unit. A right answer costs nothing, unless the table says so."""

    table: str | dict[str, dict[str, Cost]] = Field(
        default_factory=dict,
        description="By true label, what each answer costs, as `{urgent: {calm: 50}}`; or a CSV file with the columns true, answered, cost.",
    )
    wrong: Cost | None = Field(None, description="What a mistake costs that the table does not name; 1 where that is needed and not set.")
    person: Cost | None = Field(None, description="What it costs to let a person answer a row; with `answer.decide: cost` one is asked where that is less.")
    unit: str = Field("", max_length=20, description="The unit, such as EUR or minutes; shown in the report.")

    @property
    def asked(self) -> bool:
        """Whether anything costs."""
        return bool(self.table) or self.wrong is not None


class Paraphrases(Section):
    """The test texts in other words, for `stable[paraphrase]`: rules say them so (English), or one of these three does. Of a task with stages
    they are those of the last."""

    column: str | None = Field(None, description="Column of the test rows that says their text in other words.")
    source: str | None = Field(None, description="A file with the columns `text` and `paraphrase`; a text may stand there several times.")
    columns: dict[str, str] = Field(default_factory=dict, description="Of that file, which column is `text` and which `paraphrase`.")
    endpoint: str | None = Field(
        None, description="Base URL of an OpenAI-compatible service that is asked for them; the changed test texts are sent there and nowhere else."
    )
    endpoint_model: str | None = Field(None, description="Model name that the endpoint is asked for.")
    endpoint_key_env: str | None = Field(None, description="Environment variable that holds the endpoint's key.")

    @property
    def asked(self) -> bool:
        """Whether somebody else than the rules says them."""
        return self != Paraphrases()


class EvaluateSection(Section):
    """Measurement on the test split."""

    bootstrap: int = Field(1000, ge=100, description="Resamples of the test rows for the 95 % intervals.")
    slices: Annotated[Literal["auto", "off"] | list[str], Word] = Field(
        "auto",
        description="Columns by whose values the test rows are measured apart. `auto` takes every column with a few values, and"
        " the text's length, language and topic, the label, and dates by month.",
    )
    cases: Cases = Field(
        default_factory=Cases,
        description="Functional tests for classify, multilabel and generate: no row is learnt from, and each ability has a pass rate of"
        " its own.",
    )
    judge: Judge = Field(default_factory=Judge, description="A language model that judges written answers.")
    costs: Costs = Field(
        default_factory=Costs, description="What mistakes cost (classify): measured as `cost`, the mean of a row."
    )
    robust: Switch = Field(
        "auto",
        description="Answer changed test texts too: slips of the keyboard, case, punctuation, other words, negations, planted orders,"
        " swapped identities."
        " `auto` does where texts are read (classify, multilabel, grade); of generate, whose prompts are changed, what a bar names.",
    )
    paraphrases: Paraphrases = Field(default_factory=Paraphrases, description="Who says test texts in other words.")
    robust_rows: int = Field(100, ge=1, description="Test rows that are changed, each in every way.")
    worst: int = Field(20, ge=0, description="How many of the worst mistakes the report shows.")
    explain: int = Field(
        200,
        ge=0,
        description="How many of the worst mistakes are looked into (classify, multilabel, grade): the train rows nearest to them in the "
        "tuned network, and a likely cause. All of them are written to `mistakes.jsonl`.",
    )
    calibrate: Switch = Field(
        "auto",
        description="Scale the scores of `classify` and `multilabel` on the validation rows so that their probabilities are honest (temperature"
        " scaling); no label changes by it. `auto` does so from 100 validation rows on.",
    )
    max_new_tokens: int = Field(256, ge=1, description="Longest generated answer, in tokens.")
    generate_rows: int = Field(
        200, ge=1, description="At most so many test rows are answered in full by a decoder; perplexity uses all rows."
    )
    json_schema: str | dict[str, Any] | None = Field(
        None, description="For generate: the JSON schema that every answer must meet, as a file or written out here."
    )
    grounded: Switch = Field(
        "auto",
        description="For generate: look up each answer's content words, numbers and names in its input. `auto` does where most inputs"
        " have 40 words or more.",
    )
    similarity: Switch = Field(
        "auto",
        description="For generate: compare answers in meaning, by the sentence vectors of the embedded model (English). `auto` does where"
        " half of the wanted answers have five words or more.",
    )
    memory: Switch = Field(
        "auto",
        description="For generate: look for long runs of train rows in the answers, and whether the model ends train answers word for"
        " word. `auto` is on.",
    )
    toxicity: Toxicity = Field(default_factory=Toxicity, description="A classifier that judges answers.")
    learning_curve: bool = Field(
        False,
        description="Train on a quarter and half of the train rows too, and say in the report what twice as many would bring.",
    )
    against: str | None = Field(
        None, description="An earlier bundle, measured on the same test rows beside the new one."
    )
