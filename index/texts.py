"""The texts of descriptions that make up their vectors, and the vectors: encoded, or taken over where known."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from tqdm import tqdm

from retrieval.description import Description
from retrieval.encoder import Encoder, Vectors
from retrieval.layout import Manifest
from retrieval.search import Parts
from retrieval.vectors import Store

# What a custom is, the act that breaks it and questions that it answers: a query is about any of them. The statement,
# which every description has, is first.
FIELDS = ("statement", "offends", "questions")
_BATCH = 32
_BLOCK = 4_096  # descriptions whose texts' vectors are in memory at once
Texts = tuple[tuple[str, ...], ...]  # of each field in turn


@dataclass(frozen=True, slots=True)
class Known:
    """Vectors that need not be made again, by the texts that each was made of: the row in which it is stored."""

    rows: dict[Texts, int]
    store: Store


def of(found: Description, fields: Sequence[str]) -> Texts:
    """Give the texts that make up a description's vector, those of each field that it has."""
    texts = {"statement": (found.statement,), "offends": (found.offends or "",), "questions": found.questions}
    groups = (tuple(text for text in texts[field] if text) for field in fields)
    return tuple(group for group in groups if group)


def whole(found: Description) -> str:
    """Give all that a description says itself, the text whose words are searched."""
    return " ".join([found.statement, found.offends or "", *found.questions])


def known(manifest: Manifest, parts: Parts, encoder_id: str, exact: bool) -> Known | None:
    """Give the vectors of a version, or None where another encoder made them.

    Args:
        exact: what is made of them will hold vectors exactly; then those that were stored with a loss will not do.
    """
    if manifest.encoder_id != encoder_id or (exact and not parts.vectors.kind.exact):
        return None
    return Known({of(found, manifest.fields): row for row, found in enumerate(parts.descriptions)}, parts.vectors)


def vectors(said: Sequence[Texts], encoder: Encoder, known: Known | None) -> Vectors:
    """Give a unit vector for each description's texts, shape (descriptions, dimension); what is known is not encoded.

    Each field counts alike, however many texts it has: the vector is the sum of the fields' mean vectors, made unit.
    """
    if known is None:
        return _made(said, encoder)
    rows = np.asarray([known.rows.get(texts, -1) for texts in said], dtype=np.int64)
    out = np.empty((len(said), known.store.dimension), dtype=np.float32)
    taken = known.store.reconstruct(rows[rows >= 0])
    out[rows >= 0] = taken if known.store.kind.exact else _unit(taken)
    new = np.flatnonzero(rows < 0).tolist()
    if new:
        out[new] = _made([said[row] for row in new], encoder)
    return out


def _made(said: Sequence[Texts], encoder: Encoder) -> Vectors:
    total = sum(len(group) for texts in said for group in texts)
    with tqdm(total=total, desc="encoding", unit="text", disable=None) as bar:
        blocks = (said[start : start + _BLOCK] for start in range(0, len(said), _BLOCK))
        return np.concatenate([_sums(block, encoder, bar) for block in blocks])


def _sums(said: Sequence[Texts], encoder: Encoder, bar: tqdm[Any]) -> Vectors:
    flat = [text for texts in said for group in texts for text in group]
    share = np.asarray([1 / len(group) for texts in said for group in texts for _ in group], dtype=np.float32)
    begins = np.cumsum([0, *(sum(map(len, texts)) for texts in said[:-1])])
    return _unit(np.add.reduceat(encode(encoder, flat, bar) * share[:, None], begins, axis=0))


def _unit(vectors: Vectors) -> Vectors:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)


def encode(encoder: Encoder, texts: Sequence[str], bar: tqdm[Any]) -> Vectors:
    """Encode on every core that the process may use, telling a progress bar; shape (texts, dimension)."""
    starts = range(0, len(texts), _BATCH)
    pool = ThreadPoolExecutor(_cores())
    try:
        batches = []
        for batch in pool.map(lambda start: encoder.encode(list(texts[start : start + _BATCH])), starts):
            batches.append(batch)
            bar.update(len(batch))
    finally:
        pool.shutdown(cancel_futures=True)  # an interrupt waits for a batch, not for all of them
    return np.concatenate(batches)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
