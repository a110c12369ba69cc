"""Orders candidates: what meaning says and what words say in one score, near repeats left out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from retrieval.encoder import Vectors

Scores = npt.NDArray[np.float32]

# What a point of BM25 counts in cosine. Over a wide range, .008 to .02, results hardly change (docs/retrieval.md).
LEXICAL = 0.012
# How many descriptions' worth the mean of all cultures counts in the centre of one: a culture of few has a rough mean.
_PRIOR = 20.0
# Cosine from which two statements say the same.
_SAME = 0.92


def centres(vectors: Vectors, codes: npt.NDArray[np.int32], cultures: int) -> Vectors:
    """Give the point that each culture's vectors lie around, drawn towards that of all; shape (cultures, dimension).

    Args:
        vectors: one unit vector a description.
        codes: the culture of each, from 0.
    """
    sums = np.zeros((cultures, vectors.shape[1]), dtype=np.float64)
    np.add.at(sums, codes, vectors)
    counts = np.bincount(codes, minlength=cultures)[:, None]
    whole = vectors.mean(axis=0) if len(vectors) else np.zeros(vectors.shape[1])
    return np.asarray((sums + _PRIOR * whole) / (counts + _PRIOR), dtype=np.float32)


def meaning(query: Vectors, vectors: Vectors, points: Vectors, codes: npt.NDArray[np.int32]) -> Scores:
    """Give the cosine between a query and each vector, seen from the centre of that vector's culture.

    Seen from there, what all of a culture's descriptions share (the country's name above all) counts for nothing.

    Args:
        query: one unit vector, shape (dimension,).
        vectors: unit vectors, shape (n, dimension).
        points: the centre of each culture, shape (cultures, dimension).
        codes: the culture of each vector, shape (n,).
    """
    # Of products alone: differences of that many vectors would take twice the time.
    own = np.einsum("ij,ij->i", vectors, points[codes])
    squared, asked = (points * points).sum(axis=1)[codes], (points @ query)[codes]
    near = vectors @ query - asked - own + squared
    lengths = np.sqrt(np.maximum((1 - 2 * asked + squared) * (1 - 2 * own + squared), 0))
    return np.asarray(np.clip(near / np.maximum(lengths, 1e-6), -1, 1), dtype=np.float32)


def distinct(order: Sequence[int], vectors: Vectors, k: int) -> list[int]:
    """Keep the first k of an order of rows of `vectors`, without those that say nearly the same as one kept before."""
    kept: list[int] = []
    before = np.empty((min(k, len(order)), vectors.shape[1]), dtype=np.float32)
    for row in order:
        if len(kept) == k:
            break
        if not kept or float((before[: len(kept)] @ vectors[row]).max()) < _SAME:
            before[len(kept)] = vectors[row]
            kept.append(row)
    return kept
