"""Numbers of rank that must never drift: the loss, its gradient in pieces, what is masked, the closed form, resume, reload."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from making import section
from ranked_rows import ITEMS, query_rows, ranker, settings, user_rows

from luthier.base.errors import Interrupted, TrainError
from luthier.base.interrupt import Stopper
from luthier.base.records import Encoded
from luthier.data import ranking
from luthier.objectives import interactions, rank_network
from luthier.objectives.rank_known import HISTORY
from luthier.objectives.rank_loss import pack
from luthier.objectives.rank_network import vectors
from luthier.release.bundle import largest_difference, write_bundle
from luthier.release.predictor import Predictor, load_predictor
from luthier.train.run import encode_all, fit


def quiet(*args, **kwargs) -> None:
    return None


def state(learner) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in learner.named_parameters()}


def step_loss(learner, rows, *, most: int) -> tuple[float, dict[str, torch.Tensor]]:
    learner.train()
    learner.zero_grad(set_to_none=True)
    learner._piece_tokens = most
    torch.manual_seed(3)
    loss, _ = learner.loss(learner.collate(rows), smoothing=0.0)
    loss.backward()
    return float(loss.detach()), {n: p.grad.clone() for n, p in learner.named_parameters() if p.grad is not None}


def test_the_loss_is_that_of_sentence_transformers(tiny_bert: Path) -> None:
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

    rows = query_rows()[:8]  # eight queries, each with an item of its own
    learner = ranker(tiny_bert, rows).eval()
    encoded = [learner.encode(row) for row in rows]
    packed = pack(encoded, learner._right)
    found, count = learner.loss(learner.collate(encoded), smoothing=0.0)

    class Given(torch.nn.Module):
        """Stands for a model: its features are the vectors themselves."""

        def forward(self, features):
            return features

    vectors_UD = learner._vectors(packed.texts)
    asked = {"sentence_embedding": vectors_UD[[group[0] for group in packed.asked]]}
    items = {"sentence_embedding": vectors_UD[[packed.items[c] for c in packed.right_B.tolist()]]}
    expected = MultipleNegativesRankingLoss(Given(), scale=20.0)([asked, items], torch.zeros(8))
    torch.testing.assert_close(found / count, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("users", [False, True])
@pytest.mark.parametrize("symmetric", [False, True])
def test_the_loss_is_its_definition_with_right_items_masked(users: bool, symmetric: bool, tiny_bert: Path) -> None:
    rows = user_rows() if users else query_rows(negatives=True)
    learner = ranker(tiny_bert, rows).eval()
    learner.settings = learner.settings.model_copy(update={"symmetric": symmetric})
    encoded = [learner.encode(row) for row in learner.choose(rows)][:10]
    found, _ = learner.loss(learner.collate(encoded), smoothing=0.0)
    texts = {n: learner._vectors([learner.rows.item(n)])[0] for n in range(len(ITEMS))}
    asked = []
    for row in encoded:
        past = [texts[o.label] for o, role in zip(row.others, row.values, strict=True) if role == HISTORY]
        asked.append(F.normalize(torch.stack(past).sum(0), dim=0) if past else learner._vectors([row])[0])
    there = {o.label for row in encoded for o, role in zip(row.others, row.values, strict=True) if role != HISTORY}
    shift = learner._log_shares if users else torch.zeros(len(ITEMS))
    total = torch.zeros(())
    for b, row in enumerate(encoded):
        own = row.others[0].label
        wrong = there - learner._right[row.label]
        scores = {n: 20 * asked[b] @ texts[n] - shift[n] for n in {own} | wrong}
        forward = torch.logsumexp(torch.stack(list(scores.values())), 0) - scores[own]
        others = [c for c, r in enumerate(encoded) if c == b or own not in learner._right[r.label]]
        column = [20 * asked[c] @ texts[own] - shift[own] for c in others]
        backward = torch.logsumexp(torch.stack(column), 0) - column[others.index(b)]
        total = total + ((forward + backward) / 2 if symmetric else forward)
    torch.testing.assert_close(found, total, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("users", [False, True])
def test_a_step_in_pieces_has_the_gradient_of_the_whole(users: bool, tiny_bert: Path) -> None:
    rows = user_rows() if users else query_rows(negatives=True)
    learner = ranker(tiny_bert, rows).double()  # so that the order of sums shows no difference
    learner.log_scale.requires_grad_(True)
    encoded, _ = encode_all(learner, learner.choose(rows), quiet)
    whole = step_loss(learner, encoded, most=100_000)
    pieces = step_loss(learner, encoded, most=40)
    assert pieces[0] == pytest.approx(whole[0], rel=1e-10)
    assert set(whole[1]) == set(pieces[1]) and "log_scale" in whole[1]
    for name, gradient in whole[1].items():
        torch.testing.assert_close(pieces[1][name], gradient, rtol=1e-8, atol=1e-10, msg=lambda m, n=name: f"{n}: {m}")


def test_a_piece_read_again_draws_the_same_dropout(tiny_bert: Path, monkeypatch) -> None:
    learner = ranker(tiny_bert, query_rows()).train()
    for module in learner.network.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.3
    encoded = [learner.rows.item(n) for n in range(len(ITEMS))]

    def gradients() -> dict[str, torch.Tensor]:
        learner.zero_grad(set_to_none=True)
        torch.manual_seed(0)
        made = vectors(
            learner.network, encoded, pooling="mean", pad_id=learner.pad_id, device=learner.device, max_tokens=20
        )
        (made @ made.T).square().sum().backward()
        return {n: p.grad.clone() for n, p in learner.named_parameters() if p.grad is not None}

    cached = gradients()
    monkeypatch.setattr(rank_network, "checkpoint", lambda read, *tensors, use_reentrant: read(*tensors))
    for name, gradient in gradients().items():
        torch.testing.assert_close(cached[name], gradient, rtol=1e-5, atol=1e-7, msg=lambda m, n=name: f"{n}: {m}")


def test_a_history_holds_nothing_of_its_future(tiny_bert: Path) -> None:
    rows = user_rows()
    learner = ranker(tiny_bert, rows)
    when = {(row.inputs["user"], row.target): row.extra["time"] for row in rows}
    chosen = learner.choose(rows)
    assert chosen and all(row.extra["relevance"] > 0 for row in chosen)
    for row in chosen:
        encoded = learner.encode(row)
        assert encoded.values[0] == 1.0 and len(encoded.others) > 1
        for other in encoded.others[1:]:
            item = learner.known.ids[other.label]
            assert when[row.inputs["user"], item] < row.extra["time"]


@pytest.mark.parametrize(("users", "items"), [(15, 40), (60, 40)])
def test_interactions_are_the_closed_form(users: int, items: int) -> None:
    """Both ways to fit (by users, by items) give EASE's weights as they are defined."""
    from scipy.sparse import csr_matrix

    rng = np.random.default_rng(0)
    chosen = (rng.random((users, items)) < 0.2).astype(np.float32)
    chosen[:, 7] = 0  # an item that nobody chose
    inverse = np.linalg.inv(chosen.T @ chosen + 5 * np.eye(items))
    expected = -inverse / np.diag(inverse)
    np.fill_diagonal(expected, 0)
    fitted = interactions.fit(csr_matrix(chosen), 5.0)
    weights = fitted.weights().toarray()
    there = np.arange(items) != 7
    np.testing.assert_allclose(weights[:, there], expected[:, there], atol=1e-5)
    assert not weights[:, 7].any()
    scores, open_ = fitted.scores(csr_matrix(chosen[:5])), chosen[:5] == 0
    np.testing.assert_allclose(scores[open_], (chosen[:5] @ weights)[open_], atol=1e-5)


def test_older_items_weigh_half_after_their_half_life() -> None:
    row = interactions.weighed([[3, 1, 0]], 5, 1.0).toarray()[0]
    assert row.tolist() == [1.0, 0.5, 0.0, 0.25, 0.0]
    text, chosen = np.array([[1.0, 2, 3], [1, 2, 3]]), np.array([[3.0, 1, 2], [0, 0, 0]])
    mixed = interactions.blended(text, chosen, 0.25)
    np.testing.assert_allclose(mixed[0], 0.75 * text[0] / text[0].std() + 0.25 * chosen[0] / chosen[0].std(), rtol=1e-6)
    np.testing.assert_allclose(mixed[1], text[1] / text[1].std(), rtol=1e-6)  # nothing known: the text alone


def test_resume_is_bit_exact(tiny_bert: Path, tmp_path: Path) -> None:
    rows = user_rows()
    common = {
        "epochs": 2.0,
        "batch": 6,
        "rate": 1e-3,
        "evaluations": 2,
        "checkpoint_s": 1000.0,
        "rank": {"learn_scale": True},
    }

    def learner():
        torch.manual_seed(5)
        return ranker(tiny_bert, rows)

    whole = learner()
    fit(whole, rows, settings(len(rows), **common), score=None)
    stopper, seen = Stopper(), []

    def emit(kind: str, **facts) -> None:
        if kind == "step":
            seen.append(facts["step"])
            if facts["step"] == 5:
                stopper.handle(15, None)

    first = learner()
    with pytest.raises(Interrupted):
        fit(first, rows, settings(len(rows), **common), score=None, folder=tmp_path / "c", emit=emit, stopper=stopper)
    again = learner()
    fit(again, rows, settings(len(rows), **common), score=None, folder=tmp_path / "c")
    for name, value in state(whole).items():
        assert torch.equal(state(again)[name], value), name
    assert seen == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(("users", "method"), [(True, "full"), *((False, m) for m in ("full", "lora", "prefix", "prompt"))])
def test_a_reloaded_bundle_ranks_the_same(users: bool, method: str, tiny_bert: Path, tmp_path: Path) -> None:
    rows = user_rows() if users else query_rows()
    histories: ranking.Histories = {}
    ranking.add_to(histories, rows)
    learner = ranker(tiny_bert, rows, histories=histories)
    start = learner._vectors([learner.rows.item(2)])[0].detach()
    fit(learner, rows, section("rank", len(rows), method=method, max_steps=3, rate=5e-2, prompt={"tokens": 5}), score=None)
    questions = ranking.watched(rows)
    facts = learner.settle(questions, []) if users else {}
    assert not users or 0 <= facts["share"] <= 1
    before = Predictor(learner).predict([q.inputs for q in questions])
    asked = Predictor(learner).measure(questions)
    _, difference = write_bundle(tmp_path / "bundle", learner, probes=questions, facts={"name": "x"})
    assert difference < 1e-5
    loaded = load_predictor(tmp_path / "bundle")
    after = loaded.predict([q.inputs for q in questions])
    assert [[item for item, _ in p.items] for p in after] == [[item for item, _ in p.items] for p in before]
    if method != "lora":  # which is folded into the weights, and that rounds
        assert [p.items for p in after] == [p.items for p in before]
    assert largest_difference(asked, loaded.measure(questions)) < 1e-5
    # What the reloaded network reads is what the saved vectors are of, and not those of the base.
    again = loaded.learner._vectors([loaded.learner.rows.item(2)])[0]
    torch.testing.assert_close(again, loaded.learner.index()[2])
    assert not torch.allclose(again, start, atol=1e-4)
    assert after[0].as_dict()["items"][0].keys() == {"item", "name", "score"}


@pytest.mark.parametrize("method", ["prefix", "prompt"])
@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_what_is_learnt_in_front_is_no_part_of_a_vector(method: str, pooling: str, tiny_bert: Path) -> None:
    learner = ranker(tiny_bert, query_rows(), pooling=pooling)
    learner.prepare_training(section("rank", 24, method=method, prompt={"tokens": 5}))
    with torch.no_grad():
        for parameter in learner.network.prompt_encoder.parameters():
            parameter.normal_()
    learner.eval()
    # The positions that it takes are none of a text's: the longest still fits.
    long = learner.encode_input({"query": "where is my parcel " * 40}, room=0)
    assert learner.max_tokens == learner.rows.max_tokens == len(long) == 59
    texts = [long, *(learner.rows.item(n) for n in range(3))]
    found = learner._vectors(texts)
    for text, vector in zip(texts, found, strict=True):
        ids = torch.tensor(text.ids)[None]
        with torch.no_grad():
            output = learner.network(input_ids=ids, attention_mask=torch.ones_like(ids))  # peft's own way to put it in front
        hidden_TD = output.last_hidden_state[0, -ids.shape[1] :]
        expected = F.normalize(hidden_TD[0] if pooling == "cls" else hidden_TD.mean(0), dim=-1)
        torch.testing.assert_close(vector, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("users", [False, True])
def test_the_loss_of_a_row_alone_is_among_all_items(users: bool, tiny_bert: Path) -> None:
    rows = user_rows() if users else query_rows()
    learner = ranker(tiny_bert, rows).eval()
    encoded = [learner.encode(row) for row in learner.choose(rows)]
    found = learner.row_losses(encoded)
    texts = torch.stack([learner._vectors([learner.rows.item(n)])[0] for n in range(len(ITEMS))])
    for row, loss in list(zip(encoded, found, strict=True))[::7]:
        past = [texts[o.label] for o, role in zip(row.others, row.values, strict=True) if role == HISTORY]
        asked = F.normalize(torch.stack(past).sum(0), dim=0) if past else learner._vectors([Encoded(row.ids)])[0]
        scores, own = 20 * texts @ asked, row.others[0].label
        there = [n for n in range(len(ITEMS)) if n == own or n not in learner._right[row.label]]
        assert loss == pytest.approx(float((torch.logsumexp(scores[there], 0) - scores[own]).detach()), abs=1e-4)


def test_answers_follow_changed_weights(tiny_bert: Path) -> None:
    learner = ranker(tiny_bert, query_rows()).eval()
    asked = [learner.encode_input({"query": "where is my lamp"}, room=0)]
    before = learner.ranked(asked).copy()
    with torch.no_grad():
        learner.network.embeddings.word_embeddings.weight.mul_(
            torch.randn_like(learner.network.embeddings.word_embeddings.weight)
        )
    assert not np.allclose(before, learner.ranked(asked))


def test_what_a_user_has_met_is_not_given_again(tiny_bert: Path) -> None:
    rows = user_rows()
    histories: ranking.Histories = {}
    ranking.add_to(histories, rows)
    predictor = Predictor(ranker(tiny_bert, rows, histories=histories))
    met = {item for item, _ in histories["U3"]}
    known, given, named, cold, unknown = predictor.predict([
        {"user": "U3"}, {"history": ["i1", "i2"]}, {"history": ["parcel guide", "Lamp  Guide"]}, {"history": ["a new thing"]},
        {"user": "nobody"},
    ])  # fmt: skip
    assert met and not met & {item for item, _ in known.items}
    assert {item for item, _ in given.items} == ITEMS.keys() - {"i1", "i2"}
    assert {item for item, _ in named.items} == ITEMS.keys() - {"i0", "i3"}
    assert len(cold.items) == len(ITEMS) and len({score for _, score in cold.items}) > 1
    counts = predictor.learner.known.popularity.counts
    assert [counts.get(i, 0) for i, _ in unknown.items] == sorted((counts.get(i, 0) for i in ITEMS), reverse=True)
    assert [i for i, _ in predictor.predict(["U3"])[0].items] == [i for i, _ in known.items]


def test_users_with_one_relevant_row_teach_nothing(tiny_bert: Path) -> None:
    rows = [row for row in user_rows() if row.extra["time"] == 1000]
    with pytest.raises(TrainError, match="no user has two relevant rows"):
        fit(ranker(tiny_bert, rows), rows, settings(len(rows)), score=None)
