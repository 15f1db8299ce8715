"""Every method: nothing but what it chooses learns, it goes on exactly where it stopped, and it comes back the same."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from making import LABELS, labelled, learner_of, section, sums
from peft import PeftModel
from safetensors.torch import load_file
from sklearn.linear_model import LogisticRegression
from transformers import AutoModel, AutoModelForCausalLM

from luthier.base.errors import ModelError, TrainError
from luthier.base.interrupt import Interrupted, Stopper
from luthier.models import freeze, methods, quantised
from luthier.objectives import Learner
from luthier.objectives.cut import gathered
from luthier.objectives.heads.use import encoded_texts
from luthier.release.bundle import write_bundle
from luthier.release.predictor import Predictor, load_predictor
from luthier.train.defaults import make_plan
from luthier.train.loop import train
from luthier.train.optim import make_optimizer
from luthier.train.run import encode_all, fit

WRAPPED = ["lora", "ia3", "adapters", "prompt", "prefix"]
READS = ["full", "last-layers", "gradual", "bitfit", *WRAPPED]
WRITES = ["full", "last-layers", "gradual", *WRAPPED]
FACTS = {"task": {"name": "t", "objective": "x", "goal": ""}, "name": "t", "base": {"name": "tiny", "sha256": "x"}}


def rows_of(objective: str, count: int) -> list[Any]:
    return labelled(count) if objective == "classify" else sums(count)


def make(folder: Path, objective: str) -> Learner:
    options = {"pooling": "mean"} if objective == "classify" else {}
    return learner_of(folder, objective, LABELS if objective == "classify" else (), **options)


def state(learner: Learner) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in learner.state_dict().items()}


def quiet(*_: Any, **__: Any) -> None:
    pass


def loss_of(learner: Learner, rows: list[Any]) -> torch.Tensor:
    learner.eval()
    with torch.no_grad():
        return learner.loss(learner.collate(rows), smoothing=0.0)[0]


@pytest.mark.parametrize(
    "settings",
    [
        {"method": "lora"},
        {"method": "lora", "lora": {"variant": "rslora"}},
        {"method": "lora", "lora": {"variant": "dora"}},
        {"method": "ia3"},
        {"method": "adapters"},
    ],
    ids=lambda s: s.get("lora", {}).get("variant", s["method"]),
)
@pytest.mark.parametrize(
    ("objective", "model"), [("classify", "tiny_bert"), ("generate", "tiny_llama"), ("generate", "tiny_gpt2")]
)
def test_what_is_put_on_starts_as_the_identity(objective, model, settings, request) -> None:
    learner = make(request.getfixturevalue(model), objective)
    rows, _ = encode_all(learner, rows_of(objective, 12), quiet)
    before = loss_of(learner, rows)
    chosen = section(objective, 12, rate=1e-2, epochs=2.0, batch=6, **settings)
    learner.prepare_training(chosen)
    torch.testing.assert_close(loss_of(learner, rows), before, rtol=0, atol=2e-5)
    list(train(learner, rows, make_plan(chosen, rows=12), make_optimizer(learner, rate=1e-2, weight_decay=0.0)))
    moved = loss_of(learner, rows)
    assert not torch.allclose(moved, before, rtol=1e-4)
    if settings["method"] != "adapters":
        learner.network = methods.merge(learner.network)
        assert not methods.is_adapted(learner.network)
        torch.testing.assert_close(loss_of(learner, rows), moved, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("method", ["head", *READS])
def test_only_what_the_method_names_moves(method: str, tiny_bert: Path) -> None:
    learner = make(tiny_bert, "classify")
    chosen = section("classify", 16, method=method, layers=1, rate=1e-2, epochs=2.0, batch=8, head="random")
    bare = {name for name, _ in learner.named_parameters()}
    learner.prepare_training(chosen)
    before = state(learner)
    rows, _ = encode_all(learner, labelled(16), quiet)
    list(train(learner, rows, make_plan(chosen, rows=16), make_optimizer(learner, rate=1e-2, weight_decay=0.1)))
    moved = {name for name, value in state(learner).items() if not torch.equal(value, before[name])} - {
        "head.weight", "head.bias",
    }  # fmt: skip
    layer = [name for name in bare if "encoder.layer." in name]
    wanted = {
        "head": set(),
        "full": set(layer),
        "gradual": set(layer),
        "last-layers": {n for n in layer if "layer.1." in n},
        "bitfit": {n for n in layer if n.endswith("bias")},
    }
    marks = {"lora": "lora_", "ia3": "ia3_l", "adapters": ".bottleneck.", "prompt": "prompt_encoder", "prefix": "prompt_encoder"}  # fmt: skip
    if method in wanted:
        # The key's bias adds the same to every score of a query, which softmax takes away again.
        assert {n for n in wanted[method] if "key.bias" not in n} <= moved <= wanted[method]
    else:
        assert moved
        assert all(marks[method] in name for name in moved), moved


@pytest.mark.parametrize(
    ("objective", "method"), [*(("classify", m) for m in READS), *(("generate", m) for m in WRITES)]
)
def test_a_stopped_run_goes_on_bit_for_bit(
    objective, method, tiny_bert: Path, tiny_llama: Path, tmp_path: Path
) -> None:
    folder = tiny_bert if objective == "classify" else tiny_llama
    examples = rows_of(objective, 22)
    settings = section(objective, 22, method=method, layers=1, rate=1e-3, epochs=3.0, batch=8, evaluations=2, layer_decay="auto",
                       head="linear-fit")  # fmt: skip

    def run(where: Path, scores: list[float], emit: Any = quiet, stopper: Stopper | None = None) -> Any:
        learner, counter = make(folder, objective), iter(scores)
        outcome = fit(learner, examples, settings, score=lambda: next(counter), folder=where, identity="x", emit=emit,
                      stopper=stopper)  # fmt: skip
        return learner, outcome

    # The best score comes before all layers of a gradual run have joined: those below must go back as well.
    whole, reference = run(tmp_path / "whole", [3.0, 5.0, 4.0])
    stopper = Stopper()

    def stop(kind: str, /, **facts: Any) -> None:
        if kind == "step" and facts["step"] == 3:
            stopper.handle(15, None)

    with pytest.raises(Interrupted):
        run(tmp_path / "cut", [3.0, 5.0, 4.0], stop, stopper)
    again, outcome = run(tmp_path / "cut", [5.0, 4.0] if reference.evaluations[1]["step"] > 3 else [4.0])
    assert outcome.losses == reference.losses
    assert all(torch.equal(value, state(again)[name]) for name, value in state(whole).items())


def test_layers_join_from_the_top_at_even_steps(tiny_bert: Path) -> None:
    learner = make(tiny_bert, "classify")
    chosen = section(
        "classify", 16, method="gradual", embeddings="train", rate=1e-2, epochs=3.0, batch=8, head="random"
    )
    learner.prepare_training(chosen)
    plan = make_plan(chosen, rows=16)
    assert plan.steps == 6
    rows, _ = encode_all(learner, labelled(16), quiet)
    optimizer = make_optimizer(learner, rate=1e-2, weight_decay=0.0, layer_decay=float(chosen.layer_decay))
    parts = {"top": "encoder.layer.1.output.dense.weight", "low": "encoder.layer.0.output.dense.weight",
             "words": "embeddings.position_embeddings.weight", "head": "head.weight"}  # fmt: skip
    learnt: dict[str, int] = {}
    before = state(learner)
    for report in train(learner, rows, plan, optimizer):
        now = state(learner)
        for part, name in parts.items():
            key = name if name in now else f"network.{name}"
            if part not in learnt and not torch.equal(now[key], before[key]):
                learnt[part] = report.step - 1
        assert all(p.requires_grad for n, p in learner.named_parameters()), "between steps all count as learning"
    # Three stages in six steps: head with the top block, the block below, the embeddings.
    assert learnt == {"head": 0, "top": 0, "low": 2, "words": 4}


def test_rates_fall_from_layer_to_layer(tiny_bert: Path) -> None:
    """AdamW's first update is the rate times the sign of the gradient: what moved shows the rate of each layer."""
    learner = make(tiny_bert, "classify")
    chosen = section("classify", 16, method="full", embeddings="train", layer_decay=0.5, head="random")
    learner.prepare_training(chosen)
    rows, _ = encode_all(learner, labelled(16), quiet)
    plan = replace(make_plan(chosen, rows=16), steps=1, warmup=0, rate=1e-4, max_grad_norm=1e9)
    before = state(learner)
    optimizer = make_optimizer(learner, rate=1e-4, weight_decay=0.0, layer_decay=0.5)
    list(train(learner, rows, plan, optimizer))
    now = state(learner)
    for name, factor in (("head.weight", 1.0), ("network.encoder.layer.1.output.dense.weight", 0.5),
                         ("network.encoder.layer.0.output.dense.weight", 0.25),
                         ("network.embeddings.position_embeddings.weight", 0.125)):  # fmt: skip
        assert (now[name] - before[name]).abs().max().item() == pytest.approx(1e-4 * factor, rel=0.02), name


def test_a_head_alone_is_the_regression_and_takes_no_step(tiny_bert: Path) -> None:
    learner = make(tiny_bert, "classify")
    examples = labelled(60)
    outcome = fit(learner, examples, section("classify", 60, method="head"), score=lambda: 1.0)
    assert (outcome.steps, outcome.planned_steps, outcome.stopped_early) == (0, 0, False)
    assert outcome.parameters.trained == 32 * 3 + 3
    rows, _ = encode_all(learner, examples, quiet)
    X, y = gathered(rows, learner.head_features).numpy(), [e.target for e in examples]
    facts = outcome.facts["head"]
    # Whether the labels' names are listened to may differ with the machine's rounding: here they say next to nothing.
    texts, told = encoded_texts(learner)
    named = gathered(texts, learner.head_features).numpy()
    weights = [1.0] * len(y) + [facts["text_weight"]] * len(told)
    reference = LogisticRegression(C=facts["strength"], max_iter=200, tol=1e-3)
    reference.fit(np.concatenate([X, named]), y + [LABELS[i] for i in told], sample_weight=weights)
    mine = [[p.scores[label] for label in LABELS] for p in Predictor(learner).measure(examples)]
    expected = torch.tensor(facts["scale"] * reference.decision_function(X)).softmax(-1).float()
    torch.testing.assert_close(torch.tensor(mine), expected, rtol=1e-3, atol=1e-3)


def test_a_head_of_more_than_one_layer_still_learns(tiny_roberta: Path) -> None:
    learner = learner_of(tiny_roberta, "classify", LABELS)
    outcome = fit(learner, labelled(16), section("classify", 16, method="head", epochs=1.0, batch=8), score=None)
    assert outcome.steps == 2


def bundle(learner: Learner, examples: list[Any], settings: Any, tmp_path: Path) -> tuple[Path, list[Any]]:
    fit(learner, examples, settings, score=None)
    before = Predictor(learner).measure(examples)
    write_bundle(tmp_path / "bundle", learner, probes=examples, facts=FACTS)
    return tmp_path / "bundle", before


@pytest.mark.parametrize("method", ["lora", "ia3"])
def test_names_in_an_adapter_stand_in_order(method: str, tiny_llama: Path, tmp_path: Path) -> None:
    """peft holds them as a set, whose order, and with it the bundle's id, would differ from process to process."""
    learner = make(tiny_llama, "generate")
    learner.prepare_training(section("generate", 16, method=method))
    methods.save(learner.network, tmp_path)
    named = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    lists = [named[key] for key in ("target_modules", "feedforward_modules") if isinstance(named.get(key), list)]
    assert lists and all(names == sorted(names) and len(names) > 1 for names in lists)


@pytest.mark.parametrize("method", ["prompt", "prefix"])
@pytest.mark.parametrize("model", ["tiny_llama", "tiny_gpt2"])
def test_a_learnt_input_loads_in_plain_peft(model, method, request, tmp_path: Path) -> None:
    learner = make(request.getfixturevalue(model), "generate")
    examples = sums(16)
    settings = section("generate", 16, method=method, rate=5e-2, epochs=2.0, batch=8, prompt={"tokens": 5})
    folder, before = bundle(learner, examples, settings, tmp_path)
    assert str(request.getfixturevalue(model).parent) not in (folder / "adapter" / "adapter_config.json").read_text()
    after = load_predictor(folder)
    for one, two in zip(before, after.measure(examples), strict=True):
        assert one.measured["nll_sum"] == pytest.approx(two.measured["nll_sum"], rel=1e-5)
    plain = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(folder / "network"), folder / "adapter"
    ).eval()
    for example, mine in zip(examples[:4], before, strict=False):
        encoded = learner.encode(example)
        ids = torch.tensor(encoded.ids)[None]
        with torch.no_grad():
            logits = plain(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0, -len(encoded) :]
        nll = -torch.log_softmax(logits[:-1], -1)[torch.arange(len(encoded) - 1), ids[0, 1:]]
        assert nll[torch.tensor(encoded.learn[1:])].sum().item() == pytest.approx(mine.measured["nll_sum"], rel=1e-4)
    # Answers do not depend on the batch, whose rows are padded on the left.
    inputs = [e.inputs for e in examples[:5]]
    together = after.predict(inputs, max_new_tokens=6)
    assert [p.text for p in together] == [after.predict([i], max_new_tokens=6)[0].text for i in inputs]


@pytest.mark.parametrize("method", ["prompt", "prefix"])
def test_a_learnt_input_of_an_encoder_loads_in_plain_peft(method, tiny_bert: Path, tmp_path: Path) -> None:
    learner = make(tiny_bert, "classify")
    examples = labelled(16)
    settings = section("classify", 16, method=method, rate=5e-2, epochs=2.0, batch=8, prompt={"tokens": 5})
    folder, before = bundle(learner, examples, settings, tmp_path)
    plain = PeftModel.from_pretrained(AutoModel.from_pretrained(folder / "network"), folder / "adapter").eval()
    head = load_file(folder / "head" / "head.safetensors")
    for example, mine in zip(examples, before, strict=True):
        ids = torch.tensor(learner.encode(example).ids)[None]
        with torch.no_grad():
            hidden = plain(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state[0, -ids.shape[1] :]
        mean = hidden.mean(0)
        scores = torch.softmax((mean / mean.norm()) @ head["weight"].T + head["bias"], -1)
        torch.testing.assert_close(scores, torch.tensor([mine.scores[label] for label in LABELS]), rtol=0, atol=1e-5)


def test_bottlenecks_can_be_followed_without_luthier(tiny_bert: Path, tmp_path: Path) -> None:
    learner = make(tiny_bert, "classify")
    examples = labelled(12)
    settings = section("classify", 12, method="adapters", rate=1e-2, epochs=2.0, batch=6, adapters={"width": 7})
    folder, before = bundle(learner, examples, settings, tmp_path)
    network = AutoModel.from_pretrained(folder / "network").eval()
    recipe = json.loads((folder / "adapter" / "bottleneck.json").read_text())
    weights = load_file(folder / "adapter" / "bottleneck.safetensors")
    assert recipe["width"] == 7
    assert len(recipe["places"]) == 2

    def through(place: str) -> Any:
        down_w, down_b, up_w, up_b = (weights[f"{place}.bottleneck.{n}"] for n in ("down.weight", "down.bias", "up.weight", "up.bias"))  # fmt: skip
        return lambda m, a, y: y + torch.nn.functional.gelu(y @ down_w.T + down_b) @ up_w.T + up_b

    for place in recipe["places"]:
        network.get_submodule(place).register_forward_hook(through(place))
    head = load_file(folder / "head" / "head.safetensors")
    for example, mine in zip(examples, before, strict=True):
        ids = torch.tensor(learner.encode(example).ids)[None]
        with torch.no_grad():
            mean = network(input_ids=ids).last_hidden_state[0].mean(0)
        scores = torch.softmax((mean / mean.norm()) @ head["weight"].T + head["bias"], -1)
        torch.testing.assert_close(scores, torch.tensor([mine.scores[label] for label in LABELS]), rtol=0, atol=1e-5)
    after = load_predictor(folder).predict([e.inputs for e in examples])
    assert all(a.scores == pytest.approx(b.scores, abs=1e-6) for a, b in zip(after, before, strict=True))


@pytest.mark.parametrize("method", ["prompt", "prefix"])
def test_virtual_tokens_take_room_from_the_text(method, tiny_bert: Path, tiny_llama: Path) -> None:
    learner = make(tiny_bert, "classify")  # 64 positions
    long = [replace(e, inputs={"text": "where is my parcel " * 40}) for e in labelled(8)]
    settings = section("classify", 8, method=method, max_steps=1, prompt={"tokens": 20})
    fit(learner, long, settings, score=None)
    assert learner.max_tokens == 44
    with pytest.raises(ModelError, match=r"train\.prompt\.tokens: 60 virtual tokens leave no room.* 16 or less"):
        fit(make(tiny_bert, "classify"), long, section("classify", 8, method=method, prompt={"tokens": 60}), score=None)
    decoder = make(tiny_llama, "generate")
    decoder.prepare_training(section("generate", 8, method=method))
    assert decoder.max_tokens == decoder.turns.max_tokens == 236


@pytest.mark.parametrize("variant", ["lora", "rslora", "dora"])
@pytest.mark.parametrize(("objective", "model"), [("classify", "tiny_roberta"), ("generate", "tiny_llama")])
def test_a_base_in_four_bits_is_delivered_as_it_was_trained(
    objective, model, variant, request, tmp_path, monkeypatch
) -> None:
    """bitsandbytes also runs on a CPU, too slowly to offer it: what is computed can be checked there."""
    modules = pytest.importorskip("bitsandbytes.nn.modules", reason="notice: bitsandbytes is not installed")
    # Its own way to keep weights on such a processor needs wider layers than these.
    monkeypatch.setattr(modules, "has_avx512bf16", lambda: False)
    monkeypatch.setattr(quantised, "check", lambda: None)
    learner = learner_of(request.getfixturevalue(model), objective, LABELS if objective == "classify" else ())
    whole = methods.count(learner).total
    examples = rows_of(objective, 12)
    settings = section(objective, 12, method="qlora", lora={"variant": variant}, rate=5e-3, epochs=2.0, batch=6)
    outcome = fit(learner, examples, settings, score=None)
    assert outcome.parameters.total - outcome.parameters.trained >= whole - 1200, (
        "packed weights count as what they stand for"
    )
    before = Predictor(learner).measure(examples)
    _, difference = write_bundle(tmp_path / "bundle", learner, probes=examples, facts=FACTS)
    assert difference < 1e-5
    after = load_predictor(tmp_path / "bundle")
    assert not any("Linear4bit" in type(m).__name__ for m in after.learner.modules())
    for one, two in zip(before, after.measure(examples), strict=True):
        assert (one.scores or one.measured) == pytest.approx(two.scores or two.measured, rel=1e-4)


def test_dropout_is_set_everywhere(tiny_bert: Path, tiny_llama: Path) -> None:
    learner = make(tiny_bert, "classify")
    rows, _ = encode_all(learner, labelled(8), quiet)
    batch = learner.collate(rows)
    learner.prepare_training(section("classify", 8, dropout=0.3))
    learner.train()
    assert not torch.equal(learner.logits(batch), learner.logits(batch))
    assert {m.p for m in learner.modules() if isinstance(m, torch.nn.Dropout)} == {0.3}
    learner.prepare_training(section("classify", 8, dropout=0.0))
    assert torch.equal(learner.logits(batch), learner.logits(batch))
    decoder = make(tiny_llama, "generate")
    decoder.prepare_training(section("generate", 8, dropout=0.3))
    assert {m.attention_dropout for m in decoder.modules() if hasattr(m, "attention_dropout")} == {0.3}


@pytest.mark.parametrize(
    ("objective", "settings", "message"),
    [
        ("classify", {"method": "lora", "lora": {"targets": ["q_proj"]}}, r"train\.lora\.targets: .*query"),
        ("classify", {"method": "last-layers", "layers": 3}, r"train\.layers: the model has 2 layers, 3 .* or less"),
        (
            "classify",
            {"method": "head", "layer_decay": 0.9},
            r"train\.layer_decay: `head` learns nothing in the layers",
        ),
        ("classify", {"method": "prompt", "layer_decay": 0.9}, r"train\.layer_decay"),
        ("classify", {"method": "gradual", "max_steps": 1}, r"2 stages, the run 1 steps"),
        ("classify", {"warmup_steps": 9, "max_steps": 2}, r"train\.warmup_steps: the warm-up of 9 steps"),
        ("generate", {"method": "bitfit"}, r"llama has no biases.* Use lora"),
        ("generate", {"method": "head"}, r"`generate` has no head to train alone.* Use lora"),
        ("classify", {"method": "qlora"}, r"QLoRA keeps the base in 4 bits on a GPU, and .* Use lora"),
    ],
)
def test_what_cannot_be_is_said_before_the_first_step(
    objective, settings, message, tiny_bert: Path, tiny_llama: Path, monkeypatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    learner = make(tiny_bert if objective == "classify" else tiny_llama, objective)
    examples, said = rows_of(objective, 16), []
    with pytest.raises((ModelError, TrainError), match=message):
        fit(learner, examples, section(objective, 16, **settings), score=lambda: 1.0,
            emit=lambda kind, /, **facts: said.append(kind))  # fmt: skip
    assert not {"step", "head", "evaluation"} & set(said)


def test_a_run_without_anything_that_learns_is_refused(tiny_bert: Path) -> None:
    learner = make(tiny_bert, "classify")
    learner.prepare_training = lambda train: learner.requires_grad_(False)  # type: ignore[assignment, return-value]
    with pytest.raises(TrainError, match="no parameter learns"):
        fit(learner, labelled(8), section("classify", 8), score=None)


def test_layers_of_both_halves_count(tiny_bert: Path) -> None:
    from transformers import BartConfig, BartModel, T5Config, T5Model

    small = {"vocab_size": 50, "d_model": 16, "encoder_layers": 2, "decoder_layers": 3, "encoder_attention_heads": 2,
             "decoder_attention_heads": 2, "encoder_ffn_dim": 20, "decoder_ffn_dim": 20}  # fmt: skip
    bart = BartModel(BartConfig(**small))
    assert [type(b).__name__ for b in freeze.blocks(bart)] == ["BartEncoderLayer"] * 2 + ["BartDecoderLayer"] * 3
    t5 = T5Model(T5Config(vocab_size=50, d_model=16, d_kv=8, d_ff=20, num_layers=2, num_decoder_layers=1, num_heads=2))
    assert len(freeze.blocks(t5)) == 3
    by_id, top = freeze.depths(t5)
    assert top == 4
    assert by_id[id(t5.shared.weight)] == 0
    assert by_id[id(t5.decoder.block[0].layer[0].SelfAttention.q.weight)] == 3


@pytest.mark.parametrize("method", ["lora", "ia3", "prompt"])
def test_writing_an_adapter_asks_no_hub(tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    """A base that is no folder here would be looked for by its name on the internet."""
    from peft.utils import save_and_load

    def never(*_: Any) -> bool:
        raise AssertionError("the hub was asked")

    monkeypatch.setattr(save_and_load, "check_file_exists_on_hf_hub", never)
    learner = learner_of(tiny_llama, "generate", max_tokens=64)
    learner.prepare_training(section("generate", 8, method=method))
    for config in learner.network.peft_config.values():
        config.base_model_name_or_path = "somebody/something"
    methods.save(learner.network, tmp_path)
    assert (tmp_path / "adapter" / "adapter_config.json").is_file()
