"""A plan's arithmetic, by hand: passes cut, allocations played, activations and FLOPs counted, machines by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from making import LABELS, labelled, learner_of, section
from torch import nn

from luthier.base.errors import TaskError
from luthier.base.records import Encoded
from luthier.lifecycle import plan_words
from luthier.lifecycle.forecast import judged
from luthier.objectives.cut import gathered
from luthier.objectives.heads import use
from luthier.objectives.scores import PIECE
from luthier.train.defaults import make_plan
from luthier.train.loop import train
from luthier.train.optim import make_optimizer
from luthier.train.planning import counting, heap, machines
from luthier.train.planning import probe as probing
from luthier.train.planning.heap import FIXED, SQUARE, TOKENS, Play
from luthier.train.planning.probe import Clock, Pass, Probe, probe
from luthier.train.planning.trace import accumulating, counted, recorded
from luthier.train.planning.work import cut, reading, shortened, strata
from luthier.train.run import Outcome

MB = 1 << 20


def tiny(folder: Path, *, method: str = "full", rows: int = 60, **settings):
    learner = learner_of(folder, "classify", LABELS, pooling="mean")
    given = section("classify", rows, method=method, batch=16, micro_tokens=64, epochs=1, **settings)
    learner.prepare_training(given)
    encoded = [learner.encode(example) for example in labelled(rows)]
    return learner, given, encoded, make_plan(given, rows=rows)


def test_passes_are_those_of_the_loop(tiny_bert: Path) -> None:
    learner, given, rows, plan = tiny(tiny_bert)
    work = cut(learner, rows, plan)
    optimizer = make_optimizer(learner, rate=1e-4, weight_decay=0.0)
    reports = list(train(learner, rows, plan, optimizer))
    assert [sum(map(work.tokens, step)) for step in work.cut] == [r.padded_tokens for r in reports]
    assert work.scale == 1.0 and work.steps == len(reports)
    assert work.tokens(work.largest) <= 64
    assert strata(work, 3)[0] == work.largest
    # Twice the epochs, of which one is cut.
    longer = cut(learner, rows, make_plan(given.model_copy(update={"epochs": 2.0}), rows=len(rows)))
    assert longer.scale == 2.0 and len(longer.pieces) == len(work.pieces)


def test_reading_is_padded_to_passes_of_4096() -> None:
    assert reading([10, 20, 5]) == 60
    assert reading([4096, 2048, 2048, 1]) == 4096 + 4096 + 1
    assert reading([]) == 0


def test_shortened_rows_keep_something_to_learn() -> None:
    row = Encoded(tuple(range(10)), (False,) * 8 + (True,) * 2, others=(Encoded(tuple(range(9))),))
    short = shortened(row, 4)
    assert short.ids == (0, 1, 2, 3) and short.learn == (False, False, True, True)
    assert short.others[0].ids == (0, 1, 2, 3) and short.others[0].learn == ()


def test_alive_is_the_most_at_any_moment() -> None:
    # Kept: 3 MB fixed; beside it 2 MB that doubles, and 1 MB that grows fourfold, freed before the end.
    trace = [(0, 3 * MB, FIXED), (1, 2 * MB, TOKENS), (2, MB, SQUARE), (1, 0, FIXED), (2, 0, FIXED)]
    once = [Play("pass", 2.0, 4.0, keep="gradients")]
    assert heap.alive({"pass": trace}, once) == (3 + 4 + 4) * MB
    # What a bag holds counts until it is freed at the end of the play that says so.
    again = [*once, Play("pass", keep="more", free=("gradients",)), Play("pass")]
    assert heap.alive({"pass": trace}, again) == max(3 + 4 + 4, 3 + 3 + 2 + 1, 3 + 3 + 2 + 1) * MB


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="this system does not tell a process's peak")
def test_played_allocations_take_the_memory_they_ask_for() -> None:
    trace = [(i, 8 * MB, TOKENS) for i in range(8)] + [(i, 0, FIXED) for i in range(8)]
    grown = heap.grown({"pass": trace}, [Play("pass"), Play("pass"), Play("pass", 2.0)])
    assert grown is not None
    # The last one alone, 128; what was freed before is mostly used again or given back (all three would be 256).
    assert 128 * MB <= grown < 200 * MB


def test_gradients_that_are_added_live_until_the_next_allocation() -> None:
    trace = [(0, 100, TOKENS), (1, 40, FIXED), (2, 60, TOKENS), (0, 0, FIXED), (2, 0, FIXED)]
    assert accumulating(trace) == [(0, 100, TOKENS), (1, 40, FIXED), (1, 0, FIXED), (2, 60, TOKENS), (0, 0, FIXED), (2, 0, FIXED)]


def test_allocations_are_recorded_in_order() -> None:
    def run() -> torch.Tensor:
        first = torch.empty(1000, dtype=torch.float32)
        second = torch.empty(300, dtype=torch.float32)
        del first
        return second

    kept: list[torch.Tensor] = []
    trace = recorded(lambda: kept.append(run()), fixed=frozenset({1200}))
    assert [(size, kind) for _, size, kind in trace] == [(4000, TOKENS), (1200, FIXED), (0, FIXED)]
    assert trace[2][0] == trace[0][0]


def test_a_layer_is_counted_as_by_hand() -> None:
    layer = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 4))
    rows = torch.randn(5, 8)
    found = counted(layer, lambda: layer(rows).sum())
    # Kept: the input (5 x 8) and what tanh gives (5 x 16, for itself and the next layer), four bytes each.
    assert found.kept == 4 * (5 * 8 + 5 * 16)
    # Forward 2nkm for both; backward the same for weights of both, and for the input of the second alone.
    first, second = 2 * 5 * 8 * 16, 2 * 5 * 16 * 4
    assert found.flops == (first + second) + (first + 2 * second)


def test_a_law_of_short_rows_holds_for_long_ones(tiny_bert: Path) -> None:
    learner, _, rows, plan = tiny(tiny_bert, dropout=0.1)
    long = [Encoded(tuple(row.ids[1 + i % 3] for i in range(n)), label=0) for n in (20, 20, 40, 40, 60, 60) for row in rows[:1]]
    rule = counting.law(learner, [*long[:4]], plan)
    learner.train()
    given = counted(learner, lambda: learner.loss(learner.collate(long[4:]), smoothing=0.0)[0])
    assert rule.kept_by([60, 60]) == pytest.approx(given.kept, rel=0.03)
    assert 2 * (rule.flops[0] * 60 + rule.flops[1] * 3600) == pytest.approx(given.flops, rel=0.03)


def test_layers_that_are_not_built_are_carried_on() -> None:
    def made(layers: int) -> counting.Law:
        return counting.Law((10.0 + 4 * layers, 1.0 * layers), (6.0 * layers, 0.0), (2.0 * layers, 0.0), 5.0, 20 + 7 * layers, 100 + 50 * layers, 50 * layers)

    assert made(1).over(made(2), 10) == made(12)


def test_bytes_of_weights_gradients_and_moments() -> None:
    rule = counting.Law((100.0, 0.0), (1.0, 0.0), (1.0, 0.0), 1.0, 10, 1000, 400)
    row = Encoded(tuple(range(10)), label=0)

    class Plain:
        groups_rows, separable, flat = False, True, False

    given = section("classify", 4, batch=4, micro_tokens=20)
    work = cut(Plain(), [row] * 4, make_plan(given.model_copy(update={"epochs": 1.0}), rows=4))  # type: ignore[arg-type]
    held = counting.held(rule, work, vocabulary=0, bfloat16=False)
    assert (held.weights, held.gradients, held.moments, held.best) == (4000, 1600, 3200, 1600)
    assert held.activations == 100 * 20  # two rows of ten tokens in a pass
    wide = counting.held(rule, work, vocabulary=PIECE, bfloat16=True, quantised=0.5)
    assert wide.weights == 400 * 4 + 600 * 0.5
    assert wide.working >= 2 * PIECE * 4  # scores in a piece, and their gradient


def test_time_is_that_of_the_passes_and_the_optimiser() -> None:
    run = Probe([Pass(100, 100.0, Clock(1.0, 0.5)), Pass(200, 200.0, Clock(2.0, 1.5))], Clock(0.1, 0.1), Clock(0, 0), Clock(0, 0), Clock(0, 0), {}, {})
    assert run.of(150.0) == Clock(1.5, 1.0)
    assert run.of(400.0) == Clock(4.0, 3.0)
    assert run.share == pytest.approx(2.0 / 3.0)


def test_machines_have_a_source_and_a_near_name() -> None:
    known = machines.machines()
    assert {"a10g", "l4", "t4", "rtx-4090", "a100-40gb", "a100-80gb", "h100", "h200", "cpu-8"} == set(known)
    assert all("http" in one.source and 0 < one.utilisation < 1 for one in known.values())
    assert machines.find("this") is None and machines.find("A10G") == known["a10g"]
    assert known["t4"].flops == pytest.approx(8.1e12 * 0.5) and not known["t4"].bfloat16
    with pytest.raises(TaskError, match='Did you mean "a100-80gb"'):
        machines.find("a100-80")


def test_a_gpu_pass_is_not_quicker_than_its_calls() -> None:
    rule = counting.Law((1.0, 0.0), (1.0, 0.0), (1.0, 0.0), 1.0, 1000, 10, 10)
    pace = counting.Pace(1e15, True)
    row = Encoded(tuple(range(10)), label=0)

    class Plain:
        groups_rows, separable, flat = False, True, False

    given = section("classify", 4, batch=4, micro_tokens=20).model_copy(update={"epochs": 1.0})
    work = cut(Plain(), [row] * 4, make_plan(given, rows=4))  # type: ignore[arg-type]
    assert pace.passes(rule, work).wall_s == pytest.approx(2 * 1000 * 1e-5 + 100 * 1e-5, rel=0.01)


def test_a_trial_measures_and_plans_the_tiny_training(tiny_bert: Path) -> None:
    learner, given, rows, plan = tiny(tiny_bert)
    work = cut(learner, rows, plan)
    tried = probe(learner, rows, work, plan, given, budget_s=2.0, fits_head=len(rows))
    assert tried.head.wall_s > 0 and tried.step.wall_s > 0 and tried.reading.wall_s > 0
    assert {"reading", "first step", "step"} < set(tried.traces)
    moments = sum(size for _, size, kind in tried.traces["first step"] if kind == FIXED and size > 4)
    trained = sum(p.numel() * 4 for p in learner.parameters() if p.requires_grad)
    assert moments >= 2 * trained  # AdamW's two
    assert tried.whole(work).wall_s > len(work.pieces) * min(p.took.wall_s for p in tried.passes) * 0.5


def test_a_pass_smaller_than_all_that_were_run_is_no_whole_one() -> None:
    def known(*pairs: tuple[float, float]) -> Probe:
        passes = [Pass(round(cost), cost, Clock(2 * s, s)) for cost, s in pairs]
        return Probe(passes, probing.NOTHING, probing.NOTHING, probing.NOTHING, probing.NOTHING, {}, {})

    alone = known((800, 1.0))
    assert (alone.of(200).cpu_s, alone.of(200).wall_s, alone.of(1600).cpu_s) == (0.25, 0.5, 2.0)
    # A quarter of a second is spent whatever the tokens: the line through both says so.
    assert known((300, 0.625), (500, 0.875)).of(100).cpu_s == pytest.approx(0.375)
    assert known((300, 0.625), (500, 0.875)).of(400).cpu_s == pytest.approx(0.75)
    # Where more tokens took less than in proportion by chance, or no longer at all, nothing is below nothing or above the smallest.
    assert known((300, 0.3), (500, 0.8)).of(100).cpu_s == pytest.approx(0.1)
    assert known((300, 0.5), (500, 0.4)).of(100).cpu_s == pytest.approx(0.5)


@pytest.mark.parametrize("many", [True, False])
def test_a_head_is_planned_by_what_all_rows_take_and_not_by_the_padding_of_a_few(many: bool, tiny_bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second here is a token that the network computes."""
    learner = learner_of(tiny_bert, "classify", LABELS, pooling="mean")
    given = section("classify", 600)
    learner.prepare_training(given)
    # Mostly short rows and some very long ones, as people write.
    rows = [Encoded((5 + i % 60, 5 + i // 60, *range(6, 9 + (50 if i % 37 == 0 else i % 5))), label=i % 3) for i in range(600)]
    computed = [0]
    inner = learner.collate

    def collate(some: Any, **options: Any) -> Any:
        batch = inner(some, **options)
        computed[0] += batch.padded_tokens
        return batch

    def timed(run: Any) -> Any:
        computed[0] = 0
        return run(), Clock(float(computed[0]), float(computed[0]))

    monkeypatch.setattr(learner, "collate", collate)
    monkeypatch.setattr(probing, "_timed", timed)
    monkeypatch.setattr(probing, "FEW", 500 if many else 2000)
    computed[0] = 0
    gathered(rows, learner.head_features)
    took = computed[0]
    assert probing._head(learner, rows, given, len(rows)).cpu_s == pytest.approx(took, rel=0.1)


def test_a_head_alone_takes_no_steps(tiny_bert: Path) -> None:
    learner = learner_of(tiny_bert, "classify", LABELS, pooling="mean")
    given = section("classify", 60, method="head")
    learner.prepare_training(given)
    assert use.is_all(learner, given.method)
    assert not use.is_all(learner, "full")


def test_an_estimate_is_held_against_what_was_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    from luthier.models import memory

    monkeypatch.setattr(memory, "peak_bytes", lambda whole=True: 500 * MB)
    found = {"parts": {"head": 2.0, "steps": 100.0, "evaluations": 10.0}, "steps": 80, "memory_mb": 450.0, "how": "measured", "planned_in_s": 1.0}
    outcome = Outcome(40, 80, 40, 0.9, True, [], [], 50.0, None, {})  # type: ignore[arg-type]
    told = judged(found, outcome)["plan"]
    # Half of the steps were taken: 2 + 50 + 5 were to be expected.
    assert told["train_s"] == {"estimated": 57.0, "took": 50.0, "error": 0.14}
    assert told["memory_mb"] == {"estimated": 450.0, "took": 500.0, "error": -0.1}
    assert told["words"] == ["training time: estimated 57 s, took 50 s: 12% less", "most memory while training: estimated 450 MB, took 500 MB: 11% more"]
    assert judged(None, outcome) == {}


def test_words_for_readers() -> None:
    assert plan_words.duration(4.26) == "4.3 s" and plan_words.duration(3600) == "60 min" and plan_words.duration(7200) == "2.0 h"
    assert plan_words.size(610) == "610 MB" and plan_words.size(2048) == "2.0 GB"
    assert plan_words.count(22_567_686) == "22.6 million"
