"""What a run bears and what it refuses: steps that are not finite, memory that runs out; and that nothing else changes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import python
from making import LABELS, labelled, learner_of, section, sums

from luthier.base.errors import Interrupted, TrainError
from luthier.base.interrupt import Stopper
from luthier.models.memory import out_of_memory
from luthier.train import guard, loop
from luthier.train.defaults import make_plan
from luthier.train.run import encode_all, fit


def state(learner: Any) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in learner.named_parameters()}


def quiet(*args: Any, **facts: Any) -> None:
    return


class Faults:
    """Breaks the loss of a learner at chosen calls of a training step, as broken rows or a GPU would."""

    def __init__(self, learner: Any, at: set[int], kind: str = "nan") -> None:
        self.learner, self.at, self.kind = learner, at, kind
        self.step, self.loss, self.calls = 0, learner.loss, []
        learner.loss = self

    def __call__(self, batch: Any, *, smoothing: float) -> Any:
        loss, count = self.loss(batch, smoothing=smoothing)
        self.calls.append(batch.ids_BT.shape)
        if self.step in self.at:
            return loss * torch.tensor(float("nan")), count
        return loss, count


def broken(folder: Path, at: set[int], where: Path | None, *, stop: int | None = None, scores: Any = None, **settings: Any):
    """Train a tiny classifier whose steps ``at`` (from 1) give NaN; stop it with SIGTERM after step ``stop``."""
    learner = learner_of(folder, "classify", LABELS, pooling="mean")
    chosen = section("classify", 32, epochs=3.0, batch=8, rate=1e-3, head="random", evaluations=3, dropout=0.2, **settings)
    faults, stopper, told = Faults(learner, at), Stopper(), []
    faults.step = 1

    def emit(kind: str, /, **facts: Any) -> None:
        told.append((kind, facts))
        if kind == "resumed":
            faults.step = facts["step"] + 1
        if kind in ("step", "skipped"):
            faults.step = facts["step"] + 1
        if kind == "lowered":
            faults.at.discard(facts["step"])  # the broken number is gone when the step is done again
        if kind in ("step", "skipped") and facts["step"] == stop:
            stopper.handle(15, None)

    outcome = fit(learner, labelled(32), chosen, score=scores or (lambda: float(len(told))), folder=where, identity="x", emit=emit,
                  stopper=stopper)  # fmt: skip
    return learner, outcome, told


def test_a_skipped_step_is_left_out_counted_and_told(tiny_bert: Path) -> None:
    learner, outcome, told = broken(tiny_bert, {4}, None, nonfinite="skip")
    assert [e["step"] for e in outcome.losses] == [1, 2, 3, 5, 6, 7, 8, 9, 10, 11, 12]
    assert outcome.facts["skipped_steps"] == 1
    assert outcome.facts["skipped"][0]["step"] == 4
    assert "nan" in outcome.facts["skipped"][0]["what"]
    assert "made.csv:" in outcome.facts["skipped"][0]["rows"]
    (event,) = [facts for kind, facts in told if kind == "skipped"]
    assert event["step"] == 4
    assert "skipped" in event["said"]
    assert outcome.steps == 12
    assert all(torch.isfinite(p).all() for p in learner.parameters())


@pytest.mark.parametrize("stop", [pytest.param(3, marks=pytest.mark.slow), 4, pytest.param(6, marks=pytest.mark.slow)])
@pytest.mark.parametrize("policy", ["skip", "lower-rate"])
def test_what_was_borne_survives_a_resume_bit_for_bit(tiny_bert: Path, tmp_path: Path, policy: str, stop: int) -> None:
    values = {2: 5.0, 4: 3.0, 8: 9.0, 12: 4.0, 0: 1.0}

    def run(where: Path, stop: int | None = None) -> Any:
        seen: list[int] = []
        told: list[Any] = []

        def score() -> float:
            return values.get(told[-1] if told else 0, 2.0)

        return broken(tiny_bert, {4, 6}, where, stop=stop, scores=score, nonfinite=policy), seen

    (whole, reference, _told), _ = run(tmp_path / "whole")
    assert len(reference.facts["skipped" if policy == "skip" else "lowered"]) == 2
    with pytest.raises(Interrupted):
        run(tmp_path / "cut", stop)
    (again, outcome, _), _ = run(tmp_path / "cut")
    assert outcome.losses == reference.losses
    assert outcome.facts == reference.facts
    assert all(torch.equal(value, state(again)[name]) for name, value in state(whole).items())


def test_the_rate_is_halved_and_the_step_done_again_from_the_best_weights(tiny_bert: Path) -> None:
    _, plain, _ = broken(tiny_bert, set(), None, nonfinite="lower-rate")
    _, lowered, told = broken(tiny_bert, {6}, None, nonfinite="lower-rate")
    rates = [[e["rate"] for e in outcome.losses] for outcome in (plain, lowered)]
    assert rates[0][:5] == rates[1][:5]
    assert rates[1][5:] == [r / 2 for r in rates[0][5:]]
    (event,) = [facts for kind, facts in told if kind == "lowered"]
    assert (event["step"], event["factor"]) == (6, 0.5)
    assert "back to the weights of step 4" in event["said"]
    assert lowered.facts["lowered_rates"] == 1


@pytest.mark.parametrize(
    ("at", "settings", "words"),
    [
        ({3}, {"nonfinite": "stop"}, "at step 3; training stopped before the update"),
        ({3, 4, 5}, {"nonfinite": "skip"}, "at step 5, 3 times in a row"),
        ({2, 4, 6, 8}, {"nonfinite": "skip", "nonfinite_limit": 2}, "at step 6, 3 times, more than train.nonfinite_limit"),
    ],
)
def test_not_everything_is_borne(tiny_bert: Path, tmp_path: Path, at: set[int], settings: Any, words: str) -> None:
    with pytest.raises(TrainError, match=words):
        broken(tiny_bert, at, tmp_path, checkpoint_s=0.0, **settings)
    # What was kept before is whole: no checkpoint holds a NaN.
    for path in tmp_path.glob("step-*/state.json"):
        assert "NaN" not in path.read_text()


def test_a_run_that_stopped_goes_on_with_another_setting(tiny_bert: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainError, match=r"train\.nonfinite"):
        broken(tiny_bert, {7}, tmp_path, checkpoint_s=0.0)
    _, outcome, told = broken(tiny_bert, {7}, tmp_path, checkpoint_s=0.0, nonfinite="skip")
    assert [facts["step"] for kind, facts in told if kind == "resumed"] == [6]
    assert outcome.facts["skipped_steps"] == 1


def test_lower_rate_needs_a_score(tiny_bert: Path) -> None:
    with pytest.raises(TrainError, match="no validation rows"):
        fit(learner_of(tiny_bert, "classify", LABELS), labelled(16), section("classify", 16, nonfinite="lower-rate"), score=None)


def test_a_score_that_is_no_number_is_told_and_never_kills_a_checkpoint(tiny_bert: Path, tmp_path: Path) -> None:
    scores, told = iter([float("nan"), 0.5, float("-inf"), 0.4]), []
    outcome = fit(
        learner_of(tiny_bert, "classify", LABELS), labelled(24), section("classify", 24, epochs=3.0, batch=8, evaluations=3, checkpoint_s=0.0),
        score=lambda: next(scores), folder=tmp_path, emit=lambda kind, /, **facts: told.append((kind, facts)),
    )  # fmt: skip
    assert [e["score"] for e in outcome.evaluations] == [None, 0.5, None, 0.4]
    assert (outcome.best_score, outcome.best_step) == (0.5, 3)
    assert sum(kind == "warning" and "not a number" in facts["text"] for kind, facts in told) == 2


# Memory


@pytest.mark.parametrize(("objective", "model"), [("classify", "tiny_bert"), ("generate", "tiny_llama")])
def test_the_costliest_micro_batch_is_tried_first_and_changes_nothing(objective, model, request, monkeypatch) -> None:
    folder = request.getfixturevalue(model)
    examples = labelled(40) if objective == "classify" else sums(40)
    chosen = section(objective, 40, epochs=2.0, batch=8, micro_tokens=64, method="lora", lora={"dropout": 0.3})
    found, shapes = [], []
    for tried in (False, True):
        learner = learner_of(folder, objective, LABELS if objective == "classify" else ())
        if tried:
            monkeypatch.undo()
            faults = Faults(learner, set())
            shapes = faults.calls
        else:
            monkeypatch.setattr(guard, "_try_costliest", lambda *a, **k: iter(()))
        found.append((fit(learner, examples, chosen, score=None).losses, state(learner)))
    assert found[0][0] == found[1][0]
    assert all(torch.equal(value, found[1][1][name]) for name, value in found[0][1].items())
    cost = [n * t * (t + 512) for n, t in shapes]
    assert cost[0] == max(cost)
    assert len(shapes) > 10


def test_the_costliest_is_found_among_all_steps_that_are_left(tiny_bert: Path) -> None:
    learner = learner_of(tiny_bert, "classify", LABELS, pooling="mean")
    chosen = section("classify", 60, epochs=4.0, batch=8, micro_tokens=48)
    rows, _ = encode_all(learner, labelled(60), quiet)
    plan, lengths = make_plan(chosen, rows=60), [len(r) for r in rows]
    for start in (0, 7, plan.steps - 1):
        step, piece = guard.costliest(learner, rows, plan, start=start)
        every = [
            (n, p) for n in range(start, plan.steps)
            for p in loop.pieces_of(learner, loop.batches_of(learner, rows, plan, n // 8, draws=None)[n % 8], lengths, plan)
        ]  # fmt: skip
        cost = {n: max(lengths[p[0]] * len(p) * (lengths[p[0]] + 512) for m, p in every if m == n) for n, _ in every}
        assert start <= step < plan.steps
        assert lengths[piece[0]] * len(piece) * (lengths[piece[0]] + 512) == max(cost.values())


LIMITED = """
import json, resource, sys
from pathlib import Path
sys.path[:0] = [sys.argv[1]]
import torch
from commands import python
from making import LABELS, labelled, learner_of, pairs, section, sums
from luthier.base.errors import LuthierError
from luthier.train.run import fit

asked = json.loads(sys.argv[2])
examples = {"classify": labelled, "generate": sums}[asked["objective"]](asked["rows"])
if asked["words"]:
    one = examples[5]
    examples[5] = type(one)(one.id, {"text": "parcel " * asked["words"]}, one.target, one.source)
learner = learner_of(Path(asked["base"]), asked["objective"], LABELS if asked["objective"] == "classify" else (), **asked["model"])
chosen = section(asked["objective"], asked["rows"], **asked["train"])
told = []
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
emit = lambda kind, /, **facts: told.append([kind, facts])
torch.ones(64, 64) @ torch.ones(64, 64)
if asked["room_mb"]:
    resource.setrlimit(resource.RLIMIT_AS, (used + asked["room_mb"] * 2**20, resource.RLIM_INFINITY))
try:
    outcome = fit(learner, examples, chosen, score=None, folder=Path(asked["folder"]) if asked["folder"] else None, emit=emit)
    found = {"losses": outcome.losses, "facts": outcome.facts}
except LuthierError as error:
    found = {"error": str(error)}
resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
print(json.dumps({**found, "told": [t for t in told if t[0] in ("memory", "resumed", "step")]}))
"""


def limited(base: Path, objective: str, rows: int, room_mb: int, *, folder: Path | None = None, words: int = 0, model: Any = None, **train: Any) -> Any:
    """Train in a process that may take only so much more memory than it has before the start."""
    asked = {"base": str(base), "objective": objective, "rows": rows, "room_mb": room_mb, "model": model or {}, "train": train, "words": words,
             "folder": str(folder) if folder else None}  # fmt: skip
    done = python(LIMITED, str(Path(__file__).parents[1]), json.dumps(asked), cwd=base)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


def test_a_micro_batch_that_does_not_fit_is_halved_before_the_first_step(tiny_llama: Path, tmp_path: Path) -> None:
    common = {"epochs": 1.0, "batch": 600, "micro_tokens": 1_000_000, "rate": 1e-3, "head": "random", "checkpoint_s": 0.0}
    free = limited(tiny_llama, "generate", 1200, 0, **common)
    found = limited(tiny_llama, "generate", 1200, 40, folder=tmp_path, **common)
    assert "error" not in found, found["error"]
    micro = found["facts"]["micro_tokens"]
    assert micro < 30_000
    kinds = [kind for kind, _ in found["told"]]
    assert kinds[0] == "memory"
    assert "train.micro_tokens is" in found["told"][0][1]["said"]
    # The same batches and the same gradient, in smaller pieces.
    assert [e["loss"] for e in found["losses"]] == pytest.approx([e["loss"] for e in free["losses"]], rel=1e-3)
    again = limited(tiny_llama, "generate", 1200, 0, folder=tmp_path, **common)
    assert again["facts"]["micro_tokens"] == micro
    assert again["losses"] == found["losses"]


def test_a_row_that_does_not_fit_alone_is_named(tmp_path: Path, wordpiece_tokenizer) -> None:
    from tiny import _save
    from transformers import BertConfig, BertModel

    config = BertConfig(vocab_size=len(wordpiece_tokenizer), hidden_size=32, num_hidden_layers=8, num_attention_heads=4,
                        intermediate_size=256, max_position_embeddings=4096)  # fmt: skip
    base = _save(tmp_path / "long", BertModel, config, wordpiece_tokenizer)
    model = {"pooling": "mean", "max_tokens": 4096}
    found = limited(base, "classify", 24, 60, words=4000, model=model, epochs=2.0, batch=8, micro_tokens=8192, head="random")
    assert "one row of 4002 tokens does not fit in memory, even alone" in found["error"], found
    assert "made.csv:7" in found["error"]
    assert "model.max_tokens" in found["error"]
    # It was found out before any step, wherever in the run the row would have come.
    assert [kind for kind, _ in found["told"] if kind == "step"] == []


def test_out_of_memory_later_in_a_run_repeats_the_step(tiny_bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The step is computed anew from zero with the same chance, although its first piece had been computed already."""
    chosen = section("classify", 32, epochs=2.0, batch=8, micro_tokens=40, rate=1e-3, head="random", dropout=0.0)
    learner = learner_of(tiny_bert, "classify", LABELS, pooling="mean")
    plain, told, chances = learner.loss, [], []

    def emit(kind: str, /, **facts: Any) -> None:
        told.append((kind, facts))
        if kind in ("step", "memory"):
            chances.append([])

    def loss(batch: Any, *, smoothing: float) -> Any:
        chances[-1].append(torch.get_rng_state())
        torch.rand(7)  # as dropout would
        found = plain(batch, smoothing=smoothing)
        if len(chances) == 5 and len(chances[-1]) == 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return found

    monkeypatch.setattr(guard, "_try_costliest", lambda *a, **k: iter(()))
    learner.loss = loss
    chances.append([])
    outcome = fit(learner, labelled(32), chosen, score=None, emit=emit)
    assert [facts["step"] for kind, facts in told if kind == "memory"] == [5]
    assert outcome.facts["micro_tokens"] < 40
    assert len(chances[5]) > len(chances[3])
    assert torch.equal(chances[4][0], chances[5][0])
    free = fit(learner_of(tiny_bert, "classify", LABELS, pooling="mean"), labelled(32), chosen, score=None)
    assert [e["step"] for e in outcome.losses] == list(range(1, 9))
    assert outcome.losses[:4] == free.losses[:4]
    for one, two in zip(outcome.losses, free.losses, strict=True):
        assert one["loss"] == pytest.approx(two["loss"], rel=1e-4)


def test_a_step_that_is_one_piece_says_what_to_lower(tiny_bert: Path) -> None:
    learner = learner_of(tiny_bert, "classify", LABELS, pooling="mean")
    chosen = section("classify", 32, method="contrastive", epochs=2.0, batch=16, rate=1e-3)

    def loss(batch: Any, *, smoothing: float) -> Any:
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes.")

    learner.loss = loss
    with pytest.raises(TrainError, match=r"cannot be cut.*Lower train\.batch \(now 16\)"):
        fit(learner, labelled(32), chosen, score=None)


def test_only_a_lack_of_memory_counts_as_one() -> None:
    assert out_of_memory(MemoryError())
    assert out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"))
    assert not out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not out_of_memory(ValueError("can't allocate memory"))
