from __future__ import annotations

import json
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation import own, pools, retrieval
from evaluation.pools import ABLATION, Recipe, Task
from evaluation.retrieval import DESCRIPTIONS, QUERIES, SILENT, STORIES
from evaluation.samples import Query, SamplesUnusable
from evaluation.statistics import Draws
from retrieval.encoder import Vectors

COSINE = Recipe("cosine", centred=False, lexical=0.0)


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

    encode_queries = encode


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def placed(task: Task, recipe: Recipe = COSINE) -> pools.Places:
    encoder = WordEncoder()
    vectors = {query.text: encoder.encode_queries([query.text])[0] for query in task.queries}
    return pools.places(task, pools.of_texts(task.candidates, encoder), vectors, recipe)


def ranked(task: Task) -> list[int]:
    return [int(rank) for rank in placed(task).ranks]


def simple(candidates: dict[str, tuple[str, ...]], text: str, culture: str, target: str) -> Task:
    return Task("task", (Query("q", text, culture, target),), candidates, ((culture,),))


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
    """Safety queries alone are asked, among the descriptions of their culture."""
    (known,) = retrieval.read(adaculturesafe, None)
    assert {query.id for query in known.queries} == {"q1", "q2"}
    assert {culture: len(pool) for culture, pool in known.candidates.items()} == {"NL": 2, "ES": 1}
    assert set(known.cultures) == {("ES",), ("NL",)}
    assert ranked(known) == [1, 1]


def test_read_unknown_description(adaculturesafe: Path) -> None:
    """A query whose description is not there is refused with its file and line."""
    write(adaculturesafe / DESCRIPTIONS, [{"id": "other", "culture": "NL", "text": "tea"}])
    with pytest.raises(SamplesUnusable, match=r"queries\.jsonl:1: description_id"):
        retrieval.read(adaculturesafe, None)


def test_read_half(adaculturesafe: Path) -> None:
    """Queries without their descriptions are no task."""
    (adaculturesafe / DESCRIPTIONS).unlink()
    with pytest.raises(SamplesUnusable, match="belong together"):
        retrieval.read(adaculturesafe, None)


def test_read_limit(adaculturesafe: Path) -> None:
    """A limit takes queries away, never candidates."""
    (known,) = retrieval.read(adaculturesafe, 1)
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
def test_rank_by_score(weights: list[int], which: int) -> None:
    """A target's rank is one more than the number of candidates that share more with the query."""
    which %= len(weights)
    texts = tuple(" ".join(["same"] * weight + ["other"] * (10 - weight)) for weight in weights)
    task = simple({"NL": texts}, "same", "NL", texts[which])
    assert ranked(task) == [1 + sum(weight > weights[which] for weight in weights)]


def test_tie() -> None:
    """A search that finds all texts alike is not rewarded."""
    assert ranked(simple({"NL": ("a", "b", "c")}, "query", "NL", "a")) == [3]


def test_other_culture() -> None:
    """A target outside the cultures that are searched is not found, and where none is known all are searched."""
    candidates = {"NL": ("cheese at noon", "tea"), "ES": ("soup first",)}
    task = simple(candidates, "is soup always first", "ES", "soup first")
    assert ranked(task.narrowed("task", lambda query: ("NL",))) == [0]
    assert ranked(task.narrowed("task", lambda query: ())) == [1]
    assert ranked(task.narrowed("task", lambda query: ("XX",))) == [1]


def test_nothing_detected() -> None:
    """Where nothing is looked up nothing is found."""
    task = simple({"ES": ("soup first",)}, "is soup first", "ES", "soup first")
    found = placed(task.narrowed("task", lambda query: None))
    assert (found.ranks.tolist(), found.right.tolist(), found.answered.tolist()) == ([0], [-1], [-1])


def test_near_repeats() -> None:
    """As served, what nearly repeats a better candidate is left out, so that the next moves up."""
    texts = ("soup comes first here", "first here comes soup", "cheese comes at noon")
    task = simple({"NL": texts}, "soup comes first here", "NL", texts[2])
    assert placed(task, Recipe("all", centred=False, lexical=0.0)).ranks[0] == 3
    assert placed(task, Recipe("served", centred=False, lexical=0.0, distinct=True)).ranks[0] == 2


def test_best_scores() -> None:
    """The best score falls when the target is taken out, unless something else was first anyway."""
    found = placed(simple({"NL": ("cheese at noon", "tea")}, "cheese at noon", "NL", "cheese at noon"))
    assert found.answered[0] > found.unanswered[0]
    other = placed(simple({"NL": ("cheese at noon", "tea")}, "cheese at noon", "NL", "tea"))
    assert other.answered[0] == other.unanswered[0]


@pytest.mark.parametrize("recipe", ABLATION, ids=lambda recipe: recipe.name)
def test_every_recipe(recipe: Recipe) -> None:
    """Each part of the search finds what is plainly there."""
    texts = ("cheese at noon", "bicycles have right of way", "soup comes first")
    assert placed(simple({"NL": texts}, "who gives bicycles right of way", "NL", texts[1]), recipe).ranks[0] == 1


def test_encode_batches() -> None:
    """Texts are encoded in batches and come back in order."""
    encoder = WordEncoder()
    texts = [f"word{number}" for number in range(600)]
    found = pools.encode(texts, encoder.encode)
    assert encoder.batches == [256, 256, 88]
    assert np.array_equal(found, WordEncoder().encode(texts))


@pytest.mark.skipif(not Path("var/index/CURRENT").is_file(), reason="no index is built")
def test_measure(adaculturesafe: Path) -> None:
    """The built index's own encoder measures every task whose files are there, and missing ones are named."""
    found = retrieval.measure(adaculturesafe, Path("var/index"), 40, Draws(50))
    mine, lines = found.sections[0].lines, found.sections[6].lines
    assert [line.counts["queries"] for line in mine] == [40, mine[1].counts["queries"], 40, 40]
    assert mine[0].figures["R@5"].value > 0.9  # type: ignore[union-attr]
    assert [line.name for line in lines] == [
        "adaculturesafe safety, culture known",
        "adaculturesafe safety, culture detected",
        "adaculturesafe safety, any culture",
        "adaculturesafe safety, names taken out, culture known",
        "adaculturesafe safety, names taken out, culture detected",
        "adaculturesafe safety, names taken out, any culture",
    ]
    assert [line.counts["candidates, mean"] for line in lines] == [2, 0, 3, 2, 0, 3]
    assert set(lines[0].figures) == {"R@1", "R@5", "MRR"}
    assert [len(section.lines) for section in found.sections[7:]] == [4, len(ABLATION)]
    assert found.missing == (STORIES, *SILENT)
    assert found.about.encoder


@pytest.mark.skipif(not Path("var/index/CURRENT").is_file(), reason="no index is built")
def test_measure_own_queries() -> None:
    """Without any set what comes with Comity is measured, and nothing is missing."""
    found = retrieval.measure(None, Path("var/index"), 20, Draws(50))
    assert [len(found.sections), found.missing] == [6, ()]
    assert [line.counts["queries"] for line in found.sections[1].lines] == [20] * 6
    floors = found.sections[3].lines
    assert [line.name for line in floors] == [f"{floor:.2f}" for floor in own.FLOORS]
    for name in floors[0].figures:
        kept = [line.figures[name] for line in floors]
        assert [figure.value for figure in kept if figure] == sorted((f.value for f in kept if f), reverse=True)


@pytest.mark.skipif(not Path("var/index/CURRENT").is_file(), reason="no index is built")
def test_nothing_is_held_out() -> None:
    """Where so few queries are taken that none is held out, what would be measured on those has no figure."""
    found = retrieval.measure(None, Path("var/index"), 1, Draws(50))
    counts = found.sections[3].lines[0].counts["queries"]
    assert (found.sections[3].lines[0].figures["right one kept"] is None) == (counts == 0)


def test_own_queries() -> None:
    """There are queries of four kinds, and no text occurs twice."""
    rows = [json.loads(line) for line in own.QUERIES.read_text(encoding="utf-8").splitlines()]
    assert {row["kind"] for row in rows} == {"ask", "message", "story", "demand"}
    assert len({row["query"] for row in rows}) == len(rows)


def test_off_topic() -> None:
    """There are as many messages that are off topic of each culture, half of them near, and no text occurs twice."""
    rows = [json.loads(line) for line in own.OFF_TOPIC.read_text(encoding="utf-8").splitlines()]
    assert {*Counter((row["culture"], row["kind"]) for row in rows).values()} == {6}
    assert len({row["message"] for row in rows}) == len(rows) == 144
