"""How candidates are ordered: centres of cultures, and near repeats."""

from __future__ import annotations

import numpy as np
import pytest

from retrieval import rank
from retrieval.encoder import Vectors


def unit(*rows: list[float]) -> Vectors:
    """Give rows of length one."""
    made = np.asarray(rows, dtype=np.float32)
    return np.asarray(made / np.linalg.norm(made, axis=1, keepdims=True), dtype=np.float32)


def test_centre_of_a_large_culture() -> None:
    """A culture of many lies around its own mean; one that has none lies around that of all."""
    vectors = unit(*[[1, 0, 0.01 * i] for i in range(400)], [0, 1, 0])
    found = rank.centres(vectors, np.asarray([0] * 400 + [1], dtype=np.int32), 3)
    assert np.allclose(found[0], vectors[:400].mean(axis=0), atol=0.02)
    assert np.allclose(found[2], vectors.mean(axis=0))


def test_centre_of_a_small_culture() -> None:
    """The mean of two descriptions is rough: their centre stays near that of all."""
    vectors = unit(*[[1, 0, 0.01 * i] for i in range(100)], [0, 1, 0], [0, 1, 0.1])
    found = rank.centres(vectors, np.asarray([0] * 100 + [1, 1], dtype=np.int32), 2)
    assert np.linalg.norm(found[1] - vectors.mean(axis=0)) < np.linalg.norm(found[1] - vectors[-2:].mean(axis=0))


def test_what_all_share_counts_for_nothing() -> None:
    """Of two descriptions that share a large part, the one whose own part the query has is nearer."""
    shared = [5.0, 0, 0]
    vectors = unit([*shared[:1], 1, 0], [*shared[:1], 0, 1])
    centre, codes = vectors.mean(axis=0, keepdims=True), np.zeros(2, dtype=np.int32)
    query = unit([5, 1, 0])[0]
    plain, centred = vectors @ query, rank.meaning(query, vectors, centre, codes)
    assert plain[0] - plain[1] < 0.1
    assert centred[0] - centred[1] > 1


def test_cosine_of_differences() -> None:
    """The score is the cosine between what is left of query and vector once the culture's centre is taken off both."""
    chance = np.random.default_rng(1)
    vectors = unit(*chance.standard_normal((50, 8)).tolist())
    query = unit(chance.standard_normal(8).tolist())[0]
    points: Vectors = (chance.standard_normal((3, 8)) / 4).astype(np.float32)
    codes = chance.integers(0, 3, 50).astype(np.int32)
    asked, seen = query - points[codes], vectors - points[codes]
    wanted = (asked * seen).sum(axis=1) / np.linalg.norm(asked, axis=1) / np.linalg.norm(seen, axis=1)
    assert np.allclose(rank.meaning(query, vectors, points, codes), wanted, atol=1e-5)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_shapes(count: int) -> None:
    """Every vector has one score from -1 to 1, also where it lies on its centre."""
    vectors = np.tile(unit([1, 0, 0]), (count, 1))
    scores = rank.meaning(unit([1, 1, 0])[0], vectors, unit([1, 0, 0]), np.zeros(count, dtype=np.int32))
    assert scores.shape == (count,)
    assert (np.abs(scores) <= 1).all()


@pytest.mark.parametrize(
    ("k", "expected"),
    [(0, []), (1, [0]), (2, [0, 2]), (9, [0, 2, 3])],
    ids=["none", "one", "two", "more than there are"],
)
def test_distinct(k: int, expected: list[int]) -> None:
    """Of descriptions that say nearly the same only the best is kept."""
    vectors = unit([1, 0, 0], [1, 0.1, 0], [0, 1, 0], [0, 0, 1])
    assert rank.distinct([0, 1, 2, 3], vectors, k) == expected
