"""Each kind of index finds the nearest vectors, among all of them or among the rows that it is restricted to."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from retrieval import vectors
from retrieval.encoder import Vectors
from retrieval.vectors import KINDS, Rows, Store

NAMES = [kind.name for kind in KINDS]
COUNT, DIMENSION = 10_000, 32


@pytest.fixture(scope="module")
def made() -> Vectors:
    """Unit vectors around forty centres, as texts of some dozens of topics have them."""
    noise = np.random.default_rng(0)
    centres = noise.standard_normal((40, DIMENSION))
    found = centres[noise.integers(0, 40, COUNT)] + 0.7 * noise.standard_normal((COUNT, DIMENSION))
    return np.asarray(found / np.linalg.norm(found, axis=1, keepdims=True), dtype=np.float32)


@pytest.fixture(scope="module")
def stores(made: Vectors, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Store]:
    """The same vectors in an index of each kind."""
    folder = tmp_path_factory.mktemp("vectors")
    for name in NAMES:
        vectors.write(folder / name, made, vectors.choose(0, name))
    return {name: vectors.load(folder / name, name) for name in NAMES}


def asked(made: Vectors) -> Iterator[Vectors]:
    """Give a hundred questions, each near to a vector."""
    noise = np.random.default_rng(1)
    for row in noise.integers(0, COUNT, 100):
        moved = made[row] + 0.05 * noise.standard_normal(DIMENSION).astype(np.float32)
        yield moved / np.linalg.norm(moved)


def some(count: int) -> Rows:
    """Give so many rows, rising."""
    return np.sort(np.random.default_rng(2).choice(COUNT, count, replace=False))


def runs(count: int) -> Rows:
    """Give so many runs of two hundred rows, as the descriptions of a culture stand together."""
    return np.concatenate([np.arange(start, start + 200) for start in range(7, COUNT - 200, COUNT // count)])


# Rows that a search is restricted to: all, scattered ones that are few and many, runs that are few and many.
AMONG = {"all": None, "11": some(11), "900": some(900), "1100": some(1100), "8000": some(8000)}
AMONG |= {"one run": runs(1), "nine runs": runs(9), "forty runs": runs(40)}


def nearest(made: Vectors, vector: Vectors, rows: Rows | None) -> set[int]:
    """Give the ten rows that are nearest, by comparing with all of them."""
    allowed = np.arange(COUNT) if rows is None else rows
    return {int(row) for row in allowed[np.argsort(-(made[allowed] @ vector))[:10]]}


@pytest.mark.parametrize(
    ("count", "expected"),
    [(0, "flat"), (1, "flat"), (20_000, "flat"), (20_001, "ivf"), (10**9, "ivf")],
)
def test_kind_by_size(count: int, expected: str) -> None:
    """The kind follows from the number of vectors, unless it is named."""
    assert expected == vectors.choose(count).name
    assert [vectors.choose(count, name).name for name in NAMES] == NAMES


def test_no_such_kind() -> None:
    """A kind that there is not is an error that names it."""
    with pytest.raises(ValueError, match="there is no kind of index named 'pq'"):
        vectors.choose(1, "pq")


@pytest.mark.parametrize("among", AMONG)
@pytest.mark.parametrize("name", NAMES)
def test_nearest(stores: dict[str, Store], made: Vectors, name: str, among: str) -> None:
    """A search finds nineteen of twenty nearest at least; flat finds all of them, and gives allowed rows only."""
    rows, hits = AMONG[among], []
    for vector in asked(made):
        scores, found = stores[name].search(vector, rows, 10)
        assert len(set(found.tolist())) == len(scores) == 10
        assert rows is None or set(found.tolist()) <= set(rows.tolist())
        assert np.abs(made[found] @ vector - scores).max() < 0.02
        hits.append(len(nearest(made, vector, rows) & set(found.tolist())) / 10)
    assert np.mean(hits) >= (1 if name == "flat" else 0.95)


@pytest.mark.parametrize("among", AMONG)
@pytest.mark.parametrize("name", NAMES)
def test_rows_are_all_scored(stores: dict[str, Store], made: Vectors, name: str, among: str) -> None:
    """Among given rows the search is exact whatever the kind: none of them is passed by, however far it is."""
    rows, vector = AMONG[among], -made[0]
    if rows is None:
        rows = np.arange(COUNT)
    scores, found = stores[name].search(vector, rows, len(rows))
    assert sorted(found.tolist()) == rows.tolist()
    held = stores[name].reconstruct(found) @ vector
    np.testing.assert_allclose(scores, held, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("k", "expected"), [(-1, 0), (0, 0), (1, 1), (5, 5), (6, 5), (10**6, 5)])
def test_how_many(stores: dict[str, Store], made: Vectors, name: str, k: int, expected: int) -> None:
    """At most k are found, and asking for more than may be found does no harm."""
    scores, found = stores[name].search(made[0], some(5), k)
    assert (expected, expected) == (len(scores), len(found))
    assert len(stores[name].search(made[0], None, k)[1]) <= max(0, k)


@pytest.mark.parametrize("name", NAMES)
def test_no_row_is_allowed(stores: dict[str, Store], made: Vectors, name: str) -> None:
    """Among no rows nothing is found."""
    scores, found = stores[name].search(made[0], np.empty(0, dtype=np.int64), 3)
    assert (len(scores), len(found)) == (0, 0)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("among", AMONG)
@pytest.mark.parametrize("name", NAMES)
def test_vector_is_no_number(stores: dict[str, Store], name: str, among: str, value: float) -> None:
    """A vector that holds no number finds nothing."""
    vector = np.full(DIMENSION, value, dtype=np.float32)
    assert len(stores[name].search(vector, AMONG[among], 3)[1]) == 0


@pytest.mark.parametrize("name", NAMES)
def test_order(tmp_path: Path, name: str) -> None:
    """The best is first, and of equal ones the lower row."""
    vector = np.zeros((300, DIMENSION), dtype=np.float32)
    vector[:, 0] = 1
    vector[100:, :2] = 0.6, 0.8
    vectors.write(tmp_path / "v", vector, vectors.choose(0, name))
    store = vectors.load(tmp_path / "v", name)
    for rows in (None, np.asarray([7, 8, 9, 99, 150])):
        scores, found = store.search(vector[0], rows, 5)
        pairs = list(zip((-scores).tolist(), found.tolist(), strict=True))
        assert pairs == sorted(pairs)
    assert store.search(vector[0], np.asarray([7, 8, 9, 99, 150]), 5)[1].tolist() == [7, 8, 9, 99, 150]


@pytest.mark.parametrize("name", NAMES)
def test_vectors_come_back(stores: dict[str, Store], made: Vectors, name: str) -> None:
    """Vectors can be had by their rows: as they were from flat, and nearly so from what is compressed."""
    store, rows = stores[name], some(700)
    assert (len(store), store.dimension) == (COUNT, DIMENSION)
    assert np.abs(store.reconstruct(rows) - made[rows]).max() <= (0 if store.kind.exact else 0.02)
    assert store.reconstruct(rows[:0]).shape == (0, DIMENSION)
    for row in (-1, COUNT):
        with pytest.raises(ValueError, match=f"rows are from 0 to {COUNT - 1}"):
            store.reconstruct(np.asarray([0, row]))


@pytest.mark.parametrize("name", NAMES)
def test_many_threads(stores: dict[str, Store], made: Vectors, name: str) -> None:
    """Threads that search with different rows at once do not disturb each other."""
    jobs = [(vector, rows) for vector in asked(made) for rows in AMONG.values()]
    expected = [stores[name].search(vector, rows, 5)[1].tolist() for vector, rows in jobs]
    with ThreadPoolExecutor(8) as pool:
        assert expected == list(pool.map(lambda job: stores[name].search(job[0], job[1], 5)[1].tolist(), jobs))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("count", [1, 2, 60])
def test_few_vectors(tmp_path: Path, made: Vectors, name: str, count: int) -> None:
    """Every kind can hold very few vectors."""
    vectors.write(tmp_path / "v", made[:count], vectors.choose(0, name))
    store = vectors.load(tmp_path / "v", name)
    assert (count, 0) == (len(store), store.search(made[0], None, 1)[1][0])


@pytest.mark.parametrize("name", NAMES)
def test_file_is_cut(stores: dict[str, Store], made: Vectors, tmp_path: Path, name: str) -> None:
    """A file that ends too early is not opened."""
    vectors.write(tmp_path / "v", made, vectors.choose(0, name))
    whole = (tmp_path / "v").read_bytes()
    for length in (0, 10, len(whole) // 2, len(whole) - 1):
        (tmp_path / "cut").unlink(missing_ok=True)
        (tmp_path / "cut").write_bytes(whole[:length])
        with pytest.raises(RuntimeError):
            vectors.load(tmp_path / "cut", name)


@pytest.mark.parametrize("name", NAMES)
def test_file_of_another_kind(made: Vectors, tmp_path: Path, name: str) -> None:
    """A file that holds another kind than the manifest says is not opened."""
    vectors.write(tmp_path / "v", made[:500], vectors.choose(0, name))
    for other in NAMES:
        if other != name:
            with pytest.raises(ValueError, match=f"holds another kind of index than {other}"):
                vectors.load(tmp_path / "v", other)
