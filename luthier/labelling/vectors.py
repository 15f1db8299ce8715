"""A vector for each text: from its words at once, from the frozen encoder when that is done, kept on disk by text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from luthier.base.files import storage

# Small, so that the page's program can end soon; texts of one length are read together.
_CHUNK = 64
_SAVE_EVERY = 32
_WORD_DIMENSIONS = 128
_MIN_TEXTS_FOR_WORDS = 8

Embed = Callable[[Sequence[str]], np.ndarray]


def from_words(texts: Sequence[str]) -> np.ndarray:
    """Return (N, D) float32 unit vectors from TF-IDF of words and pairs of letters, brought to at most 128 dimensions."""
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    # Parts of words as well: short texts in languages with endings, or without spaces, share few whole words.
    weights_NV = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), max_features=20_000, sublinear_tf=True, dtype=np.float32).fit_transform(texts)  # fmt: skip
    size = min(_WORD_DIMENSIONS, min(weights_NV.shape) - 1)
    if size < 2:
        return unit(np.asarray(weights_NV.todense(), dtype=np.float32))
    return unit(TruncatedSVD(size, n_iter=3, random_state=0).fit_transform(weights_NV).astype(np.float32))


def unit(vectors_ND: np.ndarray) -> np.ndarray:
    """Bring each row to length one; a row of zeros stays."""
    norms = np.linalg.norm(vectors_ND, axis=1, keepdims=True)
    return (vectors_ND / np.where(norms > 0, norms, 1)).astype(np.float32)


class VectorCache:
    """Vectors by the id of their text in one safetensors file, as half-precision numbers; it can be deleted at any time."""

    def __init__(self, path: Path, *, model: str) -> None:
        self.path = path
        self._model = model
        self._known: dict[str, np.ndarray] = self._load()

    def fill(
        self, ids: Sequence[str], texts: Sequence[str], embed: Embed, *, watch: Callable[[int], bool]
    ) -> np.ndarray | None:
        """Return (N, D) vectors in the order of ``ids``, computing those not known; None where ``watch`` says stop.

        ``watch`` is told how many are there, now and then; what was computed until a stop is kept.
        """
        missing = sorted((i for i, name in enumerate(ids) if name not in self._known), key=lambda i: len(texts[i]))
        for start in range(0, len(missing), _CHUNK):
            if not watch(len(ids) - len(missing) + start):
                self._save()
                return None
            rows = missing[start : start + _CHUNK]
            for i, vector in zip(rows, embed([texts[i] for i in rows]), strict=True):
                self._known[ids[i]] = vector.astype(np.float16)
            if (start // _CHUNK) % _SAVE_EVERY == _SAVE_EVERY - 1:
                self._save()
        if missing:
            self._save()
        watch(len(ids))
        return unit(np.stack([self._known[name] for name in ids]).astype(np.float32))

    def _load(self) -> dict[str, np.ndarray]:
        from safetensors import SafetensorError, safe_open

        if not self.path.is_file():
            return {}
        try:
            with safe_open(self.path, framework="numpy") as file:
                if (file.metadata() or {}).get("model") != self._model:
                    return {}
                names, vectors = file.get_tensor("ids"), file.get_tensor("vectors")
        except (SafetensorError, OSError):
            return {}  # Cut short by a crash, or of another kind: it is only a cache.
        return {f"{int(name):016x}": vector for name, vector in zip(names, vectors, strict=True)}

    def _save(self) -> None:
        from safetensors.numpy import save_file

        if not self._known:
            return
        tensors = {
            "ids": np.array([int(name, 16) for name in self._known], dtype=np.uint64),
            "vectors": np.stack(list(self._known.values())),
        }
        building = self.path.with_name(f".{self.path.name}.part")
        with storage(self.path):
            save_file(tensors, building, metadata={"model": self._model})
            building.replace(self.path)
