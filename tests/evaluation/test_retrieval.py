from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation import retrieval
from evaluation.retrieval import DESCRIPTIONS, QUERIES, STORIES, Task
from evaluation.samples import Query, SamplesUnusable
from evaluation.statistics import Draws
from retrieval.encoder import Vectors


class WordEncoder:
    """Counts words into 64 places: near texts share words."""

    id = "words"

    def __init__(self) -> None:
        self.batches: list[int] = []

    def encode(self, texts: list[str]) -> Vectors:
        self.batches.append(len(texts))
        out = np.zeros((len(texts), 64), dtype=np.float32)
        for row, text in enumerate(texts):
            for word in text.lower().split():
                out[row, zlib.crc32(word.encode()) % 64] += 1
        return np.asarray(out / np.linalg.norm(out, axis=1, keepdims=True), dtype=np.float32)


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def ranked(task: Task) -> list[int]:
    texts = sorted({q.text for q in task.queries} | {text for pool in task.candidates.values() for text in pool})
    vectors = dict(zip(texts, retrieval.encode(texts, WordEncoder()), strict=True))
    return [int(rank) for rank in retrieval.ranks(task, vectors)]


@pytest.fixture
def adaculturesafe(tmp_path: Path) -> Path:
    described = [("d1", "NL", "cheese at noon"), ("d2", "NL", "bicycles have right of way"), ("d3", "ES", "soup first")]
    asked = [
        ("q1", "NL", "safety", "d1", "why eat cheese at noon"),
        ("q2", "ES", "safety", "d3", "is soup always first"),
        ("q3", "NL", "knowledge", "d2", "who goes first"),
    ]
    write(tmp_path / DESCRIPTIONS, [{"id": i, "culture": c, "text": t} for i, c, t in described])
    write(
        tmp_path / QUERIES,
        [{"id": i, "culture": c, "kind": k, "description_id": d, "query": q} for i, c, k, d, q in asked],
    )
    return tmp_path


def test_read_adaculturesafe(adaculturesafe: Path) -> None:
    """Safety queries alone are asked, among the descriptions of their culture and then among all."""
    known, whole = retrieval.read(adaculturesafe, None)
    assert {query.id for query in known.queries} == {"q1", "q2"}
    assert {culture: len(pool) for culture, pool in known.candidates.items()} == {"NL": 2, "ES": 1}
    assert {culture: len(pool) for culture, pool in whole.candidates.items()} == {"NL": 3, "ES": 3}
    assert ranked(known) == [1, 1]


def test_read_unknown_description(adaculturesafe: Path) -> None:
    """A query whose description is not there is refused with its file and line."""
    write(adaculturesafe / DESCRIPTIONS, [{"id": "other", "culture": "NL", "text": "tea"}])
    with pytest.raises(SamplesUnusable, match=r"queries\.jsonl:1: description_id"):
        retrieval.read(adaculturesafe, None)


def test_read_half(adaculturesafe: Path) -> None:
    """Queries without their descriptions are no task."""
    (adaculturesafe / DESCRIPTIONS).unlink()
    with pytest.raises(SamplesUnusable, match="no retrieval set is whole"):
        retrieval.read(adaculturesafe, None)


def test_read_limit(adaculturesafe: Path) -> None:
    """A limit takes queries away, never candidates."""
    known, _ = retrieval.read(adaculturesafe, 1)
    assert len(known.queries) == 1
    assert {culture: len(pool) for culture, pool in known.candidates.items()} == {"NL": 2, "ES": 1}


def test_read_normad_same_norm(tmp_path: Path) -> None:
    """Equal norms within a country are one candidate, and the stories of other countries' norms are none."""
    stories = [
        ("a", "NL", "be on time"),
        ("b", "NL", "be on time"),
        ("c", "NL", "knock first"),
        ("d", "ES", "dine late"),
    ]
    write(
        tmp_path / STORIES, [{"id": i, "culture": c, "situation": f"story {i} {n}", "norm": n} for i, c, n in stories]
    )
    (task,) = retrieval.read(tmp_path, None)
    assert task.candidates == {"NL": ("be on time", "knock first"), "ES": ("dine late",)}
    assert ranked(task) == [1, 1, 1, 1]


@given(st.lists(st.integers(1, 9), min_size=1, max_size=9, unique=True), st.integers(0, 8))
def test_ranks_by_score(weights: list[int], which: int) -> None:
    """A target's rank is one more than the number of candidates nearer to the query."""
    which %= len(weights)
    pool = tuple(f"text {weight}" for weight in weights)
    vectors: dict[str, Vectors] = {
        text: np.asarray([w / 10, 1 - w / 10], dtype=np.float32) for text, w in zip(pool, weights, strict=True)
    }
    vectors["query"] = np.asarray([1, 0], dtype=np.float32)
    task = Task("task", (Query("q", "query", "NL", pool[which]),), {"NL": pool})
    assert list(retrieval.ranks(task, vectors)) == [1 + sum(weight > weights[which] for weight in weights)]


def test_ranks_tie() -> None:
    """An encoder that finds all texts alike is not rewarded."""
    vectors: dict[str, Vectors] = dict.fromkeys(["query", "a", "b", "c"], np.ones(2, dtype=np.float32))
    task = Task("task", (Query("q", "query", "NL", "a"),), {"NL": ("a", "b", "c")})
    assert list(retrieval.ranks(task, vectors)) == [3]


def test_encode_batches() -> None:
    """Texts are encoded in batches and come back in order."""
    encoder = WordEncoder()
    texts = [f"word{number}" for number in range(600)]
    found = retrieval.encode(texts, encoder)
    assert encoder.batches == [256, 256, 88]
    assert np.array_equal(found, WordEncoder().encode(texts))


@pytest.mark.skipif(not Path("var/index/CURRENT").is_file(), reason="no index is built")
def test_measure(adaculturesafe: Path) -> None:
    """The built index's own encoder measures every task whose files are there, and the missing one is named."""
    found = retrieval.measure(adaculturesafe, Path("var/index"), None, Draws(50))
    lines = found.sections[0].lines
    assert [line.name for line in lines] == [
        "adaculturesafe safety, culture known",
        "adaculturesafe safety, any culture",
    ]
    assert [line.counts["candidates, mean"] for line in lines] == [2, 3]
    assert set(lines[0].figures) == {"R@1", "R@5", "MRR"}
    assert found.missing == (STORIES,)
    assert found.about.encoder
