"""Search stays inside the cultures that are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from retrieval import rank, search
from retrieval.cultures import Culture, Cultures
from retrieval.encoder import Vectors
from retrieval.search import Index
from service.guard import Guard
from tests import shelf

# Rows of the little index: culture and the cosine of its description with the query.
ROWS = (("JP", 0.9), ("ES", 0.8), ("ES-CT", 0.6), ("JP", 0.4), ("x-world", 0.2), ("JP", -0.5))
DIMENSION = 8
QUERY: Vectors = np.eye(1, DIMENSION, dtype=np.float32)[0]


@pytest.fixture(scope="module")
def registry() -> Cultures:
    """Catalonia inherits from Spain, which inherits from the world."""
    parents = {"JP": (), "ES-CT": ("ES",), "ES": ("x-world",), "x-world": (), "TH": (), "x-child": ("ES-CT",)}
    return Cultures(Culture(id, id, (), (), above) for id, above in parents.items())


def beside(cosines: Sequence[float]) -> Vectors:
    """Give unit vectors by their cosine with the query, each in a direction of its own."""
    found = np.zeros((len(cosines), DIMENSION), dtype=np.float32)
    for row, cosine in enumerate(cosines):
        found[row, 0], found[row, row + 1] = cosine, np.sqrt(1 - cosine**2)
    return found


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory, registry: Cultures) -> Index:
    """An index of six descriptions."""
    rows = [shelf.row(f"row-{number}", culture) for number, (culture, _) in enumerate(ROWS)]
    opened = shelf.parts(tmp_path_factory.mktemp("index"), rows, beside([score for _, score in ROWS]), registry)
    return Index(shelf.manifest(rows, DIMENSION), opened, shelf.Hashing(DIMENSION))


def found(index: Index, wanted: tuple[str, ...], k: int = 50, min_score: float = -1) -> list[int]:
    """Give the numbers of the rows found, best first."""
    passages = index.find("", QUERY, wanted, k, min_score)
    return [int(passage.description.id.removeprefix("row-")) for passage in passages]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ((), [0, 1, 2, 3, 4, 5]),
        (("JP",), [0, 3, 5]),
        (("ES",), [1, 4]),
        (("ES-CT",), [1, 2, 4]),
        (("x-child",), [1, 2, 4]),
        (("x-world",), [4]),
        (("ES-CT", "ES", "ES-CT"), [1, 2, 4]),
        (("x-world", "JP"), [0, 3, 4, 5]),
        (("TH",), []),
        (("ZZ",), []),
        (("ZZ", "x-world"), [4]),
        (("jp",), []),
    ],
)
def test_cultures(index: Index, wanted: tuple[str, ...], expected: list[int]) -> None:
    """Only descriptions of the wanted cultures and their parents are found; an unknown culture finds nothing."""
    assert expected == found(index, wanted)


def test_best_is_elsewhere(index: Index) -> None:
    """The filter works inside the search: one row is asked for and found though better ones are of other cultures."""
    assert found(index, ("x-world",), k=1) == [4]


@pytest.mark.parametrize(("k", "expected"), [(-1, []), (0, []), (1, [0]), (3, [0, 3, 5]), (1000, [0, 3, 5])])
def test_how_many(index: Index, k: int, expected: list[int]) -> None:
    """At most k descriptions are found, and asking for more than there are does no harm."""
    assert expected == found(index, ("JP",), k=k)
    assert min(max(k, 0), len(ROWS)) == len(found(index, (), k=k))


@pytest.mark.parametrize(("floor", "expected"), [(-1.0, 6), (0.0, 5), (0.3, 4), (0.7, 2), (0.95, 0), (1.0, 0)])
def test_lowest_score(index: Index, floor: float, expected: int) -> None:
    """Nothing under the lowest score is found, which may leave nothing at all."""
    assert expected == len(found(index, (), min_score=floor))


def test_scores(index: Index) -> None:
    """The score is the cosine, best first."""
    scores = [passage.score for passage in index.find("", QUERY, (), 50, -1)]
    assert [score for _, score in ROWS] == pytest.approx(scores, abs=1e-6)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("wanted", [(), ("JP",)])
def test_vector_is_no_number(index: Index, value: float, wanted: tuple[str, ...]) -> None:
    """A vector that holds no number finds nothing."""
    assert index.find("", np.full(DIMENSION, value, dtype=np.float32), wanted, 3, -1) == ()


def test_many_threads(index: Index) -> None:
    """Threads that search with different filters at once do not disturb each other."""
    asked = [("JP",), ("ES",), ("ES-CT",), (), ("x-world", "JP")] * 100
    with ThreadPoolExecutor(8) as pool:
        assert [found(index, wanted) for wanted in asked] == list(pool.map(lambda wanted: found(index, wanted), asked))


@pytest.mark.parametrize(("culture", "expected"), [("JP", True), ("x-child", True), ("TH", False), ("ZZ", False)])
def test_covers(index: Index, culture: str, *, expected: bool) -> None:
    """A culture is covered when it or one that it inherits from is described."""
    assert expected == index.covers(culture)


def test_committed_knowledge(guard: Guard) -> None:
    """On the built index each culture finds its own descriptions only, and each description finds itself."""
    rows = list(guard.index.descriptions)
    vectors = guard.index.encoder.encode([row.statement for row in rows])
    nearest = [
        guard.index.find(row.statement, vector, (row.culture,), 1, 0.5)
        for vector, row in zip(vectors, rows, strict=True)
    ]
    assert [(row.id,) for row in rows] == [tuple(passage.description.id for passage in each) for each in nearest]


def made(folder: Path, vectors: Vectors, texts: Sequence[str], registry: Cultures, **parts: Any) -> Index:
    """Give an index of descriptions of Japan with these vectors and statements."""
    rows = [shelf.row(f"row-{number:04}", "JP", text) for number, text in enumerate(texts)]
    opened = replace(shelf.parts(folder, rows, vectors, registry), **parts)
    return Index(shelf.manifest(rows, vectors.shape[1]), opened, shelf.Hashing(vectors.shape[1]))


def test_what_a_culture_shares_counts_for_nothing(tmp_path: Path, registry: Cultures) -> None:
    """Seen from the culture's centre, what the query shares with one description alone tells far more."""
    vectors = np.asarray([[0.9, 0.0, 0.435, 0], [0.8, 0.6, 0, 0]], dtype=np.float32)
    query = np.asarray([0.95, 0.312, 0, 0], dtype=np.float32)
    centre = np.asarray([[0.85, 0.05, 0.2, 0]], dtype=np.float32)
    plain = made(tmp_path, vectors, ["a", "b"], registry)
    centred = made(tmp_path, vectors, ["a", "b"], registry, centres=centre)
    near = vectors @ query / np.linalg.norm(vectors, axis=1)
    assert near[1] > near[0]
    assert [passage.description.id for passage in plain.find("", query, (), 2, -1)] == ["row-0001", "row-0000"]
    scores = {passage.description.id: passage.score for passage in centred.find("", query, (), 2, -1)}
    assert scores["row-0001"] - scores["row-0000"] > 5 * (near[1] - near[0])


def test_words_decide_between_equals(tmp_path: Path, registry: Cultures) -> None:
    """Of two descriptions that mean the same to the encoder the one that shares words with the query is first."""
    vectors = np.asarray([[0.6, 0.8, 0], [0.6, -0.8, 0]], dtype=np.float32)
    index = made(tmp_path, vectors, ["Guests bring flowers.", "Guests bring chrysanthemums."], registry)
    found = index.find("chrysanthemum", np.asarray([1, 0, 0], dtype=np.float32), (), 2, -1)
    assert [passage.description.id for passage in found] == ["row-0001", "row-0000"]


def test_near_repeats(tmp_path: Path, registry: Cultures) -> None:
    """Of descriptions that say nearly the same only the best is given."""
    vectors = np.asarray([[0.8, 0.6, 0], [0.81, 0.586, 0], [0.5, 0, 0.866]], dtype=np.float32)
    index = made(tmp_path, vectors, ["a", "b", "c"], registry)
    found = index.find("", np.asarray([1, 0, 0], dtype=np.float32), (), 3, -1)
    assert [passage.description.id for passage in found] == ["row-0001", "row-0002"]


@pytest.mark.parametrize("wanted", [(), ("JP",)])
def test_many_descriptions(
    tmp_path: Path, registry: Cultures, monkeypatch: pytest.MonkeyPatch, wanted: tuple[str, ...]
) -> None:
    """Where not all can be scored, the nearest and those that share words are what scoring all would give."""
    chance = np.random.default_rng(3)
    vectors = chance.standard_normal((600, 32))
    unit = np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)
    texts = [f"custom number{number} of tea{number % 7}" for number in range(600)]
    index = made(tmp_path, unit, texts, registry)
    queries = [(f"number{number}", unit[number + 1]) for number in range(0, 500, 50)]
    monkeypatch.setattr(rank, "LEXICAL", 1.0)  # so that a shared word wins wherever its description lies
    whole = [index.find(text, vector, wanted, 3, 0) for text, vector in queries]
    monkeypatch.setattr(search, "_ALL", 100)
    monkeypatch.setattr(search, "_NEAR", 60)
    assert whole == [index.find(text, vector, wanted, 3, 0) for text, vector in queries]
    for (text, _), found in zip(queries, whole, strict=True):
        assert found[0].description.id == f"row-{int(text.removeprefix('number')):04}"
