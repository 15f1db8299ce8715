"""Nearest rows of higher sides by cosine, against every pair computed one by one."""

from __future__ import annotations

import numpy as np
import pytest

from luthier.data.likeness import semantic
from luthier.data.likeness.semantic import semantic_pairs


def unit(count: int, size: int = 5, seed: int = 0) -> np.ndarray:
    vectors = np.random.default_rng(seed).standard_normal((count, size)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def brute(vectors: np.ndarray, sides: np.ndarray, keys: np.ndarray, least: float) -> dict[tuple[int, int], float]:
    best: dict[tuple[int, int], tuple[float, int]] = {}
    for i in range(len(vectors)):
        for j in range(len(vectors)):
            cosine = float(vectors[i] @ vectors[j])
            slot = (i, int(sides[j]))
            if (
                0 <= sides[i] < sides[j]
                and keys[i] != keys[j]
                and cosine >= least
                and cosine > best.get(slot, (-2.0, 0))[0]
            ):
                best[slot] = cosine, j
    return {(i, j): cosine for (i, _), (cosine, j) in best.items()}


@pytest.mark.parametrize("block", [1 << 24, 64, 7])
@pytest.mark.parametrize("least", [-1.0, 0.8])
def test_the_nearest_of_each_higher_side(monkeypatch: pytest.MonkeyPatch, block: int, least: float) -> None:
    monkeypatch.setattr(semantic, "_BLOCK_NUMBERS", block)
    monkeypatch.setattr(semantic, "_WIDTH", 9)
    vectors = unit(60)
    rng = np.random.default_rng(1)
    sides, keys = rng.integers(-1, 4, 60).astype(np.int8), rng.integers(0, 30, 60)
    found = semantic_pairs(vectors, sides, keys, least=least)
    wanted = brute(vectors, sides, keys, least)
    got = {(int(i), int(j)): float(s) for i, j, s in zip(found.i, found.j, found.similarity, strict=True)}
    assert got == {pair: pytest.approx(cosine, abs=1e-6) for pair, cosine in wanted.items()}
    assert found.i.tolist() == sorted(found.i.tolist())
    assert len(got) > 5


def test_the_same_key_is_no_twin_but_the_next_one_is() -> None:
    vectors = unit(3)
    vectors[1] = vectors[0]
    sides = np.array([0, 2, 2], dtype=np.int8)
    assert semantic_pairs(vectors, sides, np.array([1, 1, 2]), least=-1.0).j.tolist() == [2]
    assert semantic_pairs(vectors, sides, None, least=-1.0).j.tolist() == [1]


def test_a_split_without_two_sides_has_no_pairs() -> None:
    for sides in ([0, 0, 0], [2, 2, 2], [-1, 2, -1]):
        assert len(semantic_pairs(unit(3), np.array(sides, dtype=np.int8))) == 0
    assert len(semantic_pairs(np.empty((0, 4), dtype=np.float32), np.empty(0, dtype=np.int8))) == 0


def test_rounding_never_says_more_than_the_same() -> None:
    vectors = unit(400, size=384)
    found = semantic_pairs(np.concatenate([vectors, vectors]), np.repeat(np.array([0, 2], dtype=np.int8), 400))
    assert len(found) == 400
    assert found.similarity.max() <= 1.0


def test_rows_alike_inside_are_counted_once_each_whatever_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    vectors = rng.normal(size=(60, 8)).astype(np.float32)
    vectors[40:50] = vectors[:10]
    vectors[59] = vectors[0]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    wanted = sum(any(vectors[i] @ vectors[j] >= 0.95 for j in range(i)) for i in range(60))
    assert semantic.alike_inside(vectors) == wanted >= 11
    monkeypatch.setattr(semantic, "_BLOCK_NUMBERS", 200)
    assert semantic.alike_inside(vectors) == wanted
