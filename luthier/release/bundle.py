"""Write a bundle: network, head, adapter, facts and card, proven equal to the model that was trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from luthier.base.errors import BundleError
from luthier.base.files import MANIFEST, hash_folder, new_folder, read_json, write_json, write_manifest, write_text
from luthier.base.records import Example, Prediction
from luthier.base.seeds import stable_hash
from luthier.objectives import OBJECTIVES, Learner
from luthier.release.card import model_card
from luthier.release.predictor import Predictor

# Largest difference of a probability, or of a token's mean log-likelihood, between the trained and the reloaded model.
TOLERANCE = 1e-3
_WEIGHTS = ("network/", "head/", "scope/", "nearest/")


def write_bundle(
    folder: Path, learner: Learner, *, probes: Sequence[Example], facts: Mapping[str, Any]
) -> tuple[str, float]:
    """Save ``learner`` as a bundle and return its id and the largest difference that reloading made on ``probes``.

    Adapters are merged into the network (and kept beside it), so the learner is merged afterwards too.

    Raises:
        BundleError: the reloaded model answers differently beyond :data:`TOLERANCE`; nothing is left on disk.
    """
    before = Predictor(learner).measure(probes)
    with new_folder(folder) as building:
        learned = learner.save(building)
        write_json(building / "bundle.json", {"format": 1, "objective": learner.objective, "learner": learned, **facts})
        restored = OBJECTIVES[learner.objective].restore(building, learned).to(learner.device).eval()
        difference = largest_difference(before, Predictor(restored).measure(probes))
        if not difference <= TOLERANCE:
            raise BundleError(
                f"the saved model differs from the trained one by {difference:.3g}, so it is not released",
                where=str(folder),
                mend="For LoRA, a lower rate or rank usually keeps merging exact; please report this.",
            )
        # An adapter that was merged is in the network's weights; one that was not is part of the model.
        weights = (*_WEIGHTS, "adapter/") if learned.get("adapter") else _WEIGHTS
        files = {name: digest for name, digest in hash_folder(building).items() if name.startswith(weights)}
        bundle_id = stable_hash([learner.objective, learned, files], size=6)
        write_text(building / "README.md", model_card(facts, objective=learner.objective, bundle_id=bundle_id))
        write_manifest(building, bundle_id=bundle_id, reload_difference=difference, reload_rows=len(probes))
    return bundle_id, difference


def parity(folder: Path) -> dict[str, Any]:
    """Return what packing proved: the ``bundle``, on how many ``rows`` it answered as the trained model, the ``difference``, and what is ``allowed``."""
    manifest = read_json(folder / MANIFEST)
    found = {"bundle": manifest["bundle_id"], "rows": manifest.get("reload_rows"), "difference": manifest.get("reload_difference")}
    return {**found, "allowed": TOLERANCE}


def refresh_card(folder: Path, facts: Mapping[str, Any]) -> None:
    """Add what was learnt after training (test metrics, the verdict) to a bundle's facts and card."""
    known = read_json(folder / "bundle.json")
    manifest = read_json(folder / MANIFEST)
    write_json(folder / "bundle.json", {**known, **facts})
    card = model_card({**known, **facts}, objective=known["objective"], bundle_id=manifest["bundle_id"])
    write_text(folder / "README.md", card)
    write_manifest(folder, **{key: value for key, value in manifest.items() if key != "files"})


def largest_difference(first: Sequence[Prediction], second: Sequence[Prediction]) -> float:
    """Return the largest difference between two sets of predictions: of any score or grade, of how unlike the
    labels a text is (relative to that), or of a mean log-likelihood."""
    worst = 0.0
    for a, b in zip(first, second, strict=True):
        if a.scores is not None and b.scores is not None:
            worst = max([worst, *(abs(a.scores[label] - b.scores[label]) for label in a.scores)])
        if a.unlike is not None and b.unlike is not None:  # a distance has no scale of its own
            worst = max(worst, abs(a.unlike - b.unlike) / max(1.0, abs(a.unlike)))
        if a.grades is not None and b.grades is not None:
            worst = max([worst, *(abs(a.grades[trait] - b.grades[trait]) for trait in a.grades)])
        for name in (n for n in a.measured if n.endswith("nll_sum") and n in b.measured):
            count = a.measured[name.replace("nll_sum", "token_count")]
            worst = max(worst, abs(a.measured[name] - b.measured[name]) / max(1.0, count))
    return worst
