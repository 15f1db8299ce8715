"""What `auto` becomes with the number of rows."""

from __future__ import annotations

import pytest

from luthier.spec.train import TrainSection
from luthier.train.defaults import make_plan, resolve


def test_many_rows_are_learnt_in_larger_steps_with_a_rate_to_match() -> None:
    few, many = (resolve(TrainSection(method="full"), objective="classify", rows=rows) for rows in (4_999, 5_000))
    assert (few.batch, many.batch) == (32, 64)
    assert float(many.rate) == pytest.approx(float(few.rate) * 2**0.5)
    assert make_plan(many, rows=6_400).steps == round(float(many.epochs) * 100)


@pytest.mark.parametrize(
    ("objective", "given"),
    [
        # A rate is meant for the usual number of steps, and a batch that is set is kept with the usual rate.
        ("classify", {"method": "full", "rate": 2e-5}),
        ("classify", {"method": "full", "batch": 32}),
        # Where it was not measured.
        ("classify", {"method": "lora"}),
        ("multilabel", {"method": "full"}),
        ("generate", {"method": "full"}),
    ],
)
def test_other_settings_keep_their_steps(objective: str, given: dict[str, object]) -> None:
    one, other = (resolve(TrainSection(**given), objective=objective, rows=rows) for rows in (400, 50_000))  # type: ignore[arg-type]
    assert (one.batch, one.rate) == (other.batch, other.rate) and one.batch == 32
