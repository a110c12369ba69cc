"""Everyday queries: the gain of a ranking, and the pool that is graded."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation import everyday


@pytest.mark.parametrize(
    ("ranking", "expected"),
    [
        (["a", "b", "c"], 1.0),
        (["b", "a"], (1 + 3 * 0.6309) / (3 + 0.6309)),
        (["x", "a"], 3 * 0.6309 / (3 + 0.6309)),
        (["c", "x"], 0.0),
        ([], 0.0),
        ([*"0123456789", "a"], 0.0),
    ],
)
def test_gain(ranking: Sequence[str], expected: float) -> None:
    """A ranking gains what it puts first of what answers, against the best one; beyond ten nothing counts."""
    assert everyday.gain(ranking, {"a": 2, "b": 1, "c": 0}) == pytest.approx(expected, abs=1e-4)


def test_nothing_answers() -> None:
    """Where the knowledge holds nothing that answers, nothing is gained."""
    assert everyday.gain(["a"], {"a": 0}) == 0.0


@given(st.dictionaries(st.text(min_size=1, max_size=3), st.integers(0, 2), max_size=14), st.randoms())
def test_best_ranking(grades: dict[str, int], chance: object) -> None:
    """The order by grade gains most."""
    best = sorted(grades, key=lambda id: -grades[id])
    assert everyday.gain(best, grades) == pytest.approx(float(any(grades.values())))
    assert 0 <= everyday.gain(sorted(grades), grades) <= 1 + 1e-9


def test_graded_queries() -> None:
    """Every graded description belongs to a query of the file, and every query has grades of its own."""
    queries = [json.loads(line)["query"] for line in everyday.QUERIES.read_text(encoding="utf-8").splitlines()]
    grades = [json.loads(line) for line in everyday.GRADES.read_text(encoding="utf-8").splitlines()]
    assert len(set(queries)) == len(queries) >= 120
    assert {row["query"] for row in grades} == set(queries)
    assert {row["grade"] for row in grades} <= {0, 1, 2}
    pairs = [(row["query"], row["description_id"]) for row in grades]
    assert len(set(pairs)) == len(pairs)


def test_pool(tmp_path: Path) -> None:
    """The pool holds each description of a query once, and nothing of the system that found it."""
    out = tmp_path / "pool.jsonl"
    assert everyday.main([str(out)]) == 0
    rows = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert {tuple(row) for row in rows} == {("query", "culture", "description_id", "text")}
    assert len({(row["query"], row["description_id"]) for row in rows}) == len(rows)
