"""The vectors of an index version: which kind of FAISS index holds how many, and the search for the nearest."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

from retrieval.encoder import Vectors

Rows = npt.NDArray[np.int64]
_faiss: Any = faiss  # the types that it comes with lack the named arguments of its parameters

# A restricted search is exact whatever the kind: probing fewer lists finds a culture's own rows only for queries that
# lie near it. Measured at a million vectors (docs/performance.md): a run of rows costs 0.7 ms, reading vectors one by
# one 3 to 5 µs each, a bitmap over every list 5 to 13 ms: a two-hundredth of the rows is read in less.
_RUNS = 16
_READ = 200
_BLOCK = 500  # vectors read at once; FAISS starts threads from 1000, which one query has no use for
_EACH = 40  # vectors to train with for each list; FAISS asks for 39
_TRAINED = 20_000  # but no fewer than these: a number beyond the least and the greatest of them is cut off


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of FAISS index.

    `most` is how many vectors it is chosen for at most, `exact` whether it keeps float32 and compares with all of
    them, `probes` how many of its lists a search of everything looks at.
    """

    name: str
    most: float
    factory: str
    exact: bool = False
    probes: int = 0


# A graph (HNSW) was slower to build, larger, and under a recall of .97 from 300,000 vectors.
KINDS = (
    Kind("flat", 20_000, "Flat", exact=True),
    Kind("ivf", math.inf, "IVF{lists},SQ8", probes=64),
)
_CLASSES = {"flat": faiss.IndexFlat, "ivf": faiss.IndexIVF}


def choose(count: int, name: str | None = None) -> Kind:
    """Give the kind for so many vectors, or the kind of a name.

    Raises:
        ValueError: there is no kind of that name.
    """
    for kind in KINDS:
        if kind.name == name or (name is None and count <= kind.most):
            return kind
    raise ValueError(f"there is no kind of index named {name!r}")


def write(path: Path, vectors: Vectors, kind: Kind) -> None:
    """Put unit vectors, shape (vectors, dimension), into an index of a kind and write it to a file.

    Raises:
        RuntimeError: FAISS cannot write the file.
    """
    count, dimension = vectors.shape
    lists = max(1, min(round(2 * math.sqrt(count)), count // _EACH))
    index = faiss.index_factory(dimension, kind.factory.format(lists=lists), faiss.METRIC_INNER_PRODUCT)
    if not index.is_trained:
        samples = min(count, max(lists * _EACH, _TRAINED))
        index.train(vectors[np.sort(np.random.default_rng(0).choice(count, samples, replace=False))])
    index.add(vectors)
    if isinstance(index, faiss.IndexIVF):
        index.make_direct_map()  # so that a vector can be had by its row
    faiss.write_index(index, str(path))


class Store:
    """The vectors of an opened index version; safe to share between threads."""

    def __init__(self, index: faiss.Index, kind: Kind) -> None:
        self.kind = kind
        self._index = index

    def __len__(self) -> int:
        return int(self._index.ntotal)

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        return int(self._index.d)

    def search(self, vector: Vectors, rows: Rows | None, k: int) -> tuple[Vectors, Rows]:
        """Find the k vectors nearest to one.

        Args:
            vector: unit vector, shape (dimension,); one that holds no number finds nothing.
            rows: the rows that may be found, rising, each once; None is all.

        Returns:
            cosines and rows, best first, equal ones by row; at most k, fewer where there are fewer or a kind that is
            not exact comes across no more.
        """
        if not np.isfinite(vector).all():
            k = 0
        k = min(k, len(self) if rows is None else len(rows))
        if k < 1:
            return np.empty(0, dtype=np.float32), np.empty(0, dtype=np.int64)
        if rows is None:
            scores, found = self._near(vector, k, None)
        else:
            scores, found = self._among(vector, rows, k)
        best = np.lexsort((found, -scores))[:k]
        return scores[best], found[best]

    def reconstruct(self, rows: Rows) -> Vectors:
        """Give the vectors of rows, shape (rows, dimension), as the index holds them.

        Raises:
            ValueError: there is no such row.
        """
        if len(rows) and not 0 <= rows.min() <= rows.max() < len(self):
            raise ValueError(f"rows are from 0 to {len(self) - 1}")
        faiss.omp_set_num_threads(1)  # as in a search
        return self._index.reconstruct_batch(rows)

    def _among(self, vector: Vectors, rows: Rows, k: int) -> tuple[Vectors, Rows]:
        ends = np.flatnonzero(np.diff(rows) != 1)
        if len(ends) < _RUNS:
            firsts, lasts = rows[np.r_[0, ends + 1]], rows[np.r_[ends, len(rows) - 1]]
            runs = zip(firsts.tolist(), lasts.tolist(), strict=True)
            found = [self._near(vector, k, _faiss.IDSelectorRange(first, last + 1, True)) for first, last in runs]
            return np.concatenate([each[0] for each in found]), np.concatenate([each[1] for each in found])
        if len(rows) <= len(self) // _READ:
            blocks = (rows[start : start + _BLOCK] for start in range(0, len(rows), _BLOCK))
            return np.concatenate([self._index.reconstruct_batch(block) @ vector for block in blocks]), rows
        allowed = np.zeros(len(self), dtype=bool)
        allowed[rows] = True
        return self._near(vector, k, _faiss.IDSelectorBitmap(np.packbits(allowed, bitorder="little")))

    def _near(self, vector: Vectors, k: int, chosen: Any) -> tuple[Vectors, Rows]:
        """Search with FAISS: a selector looks through every list, for a culture's rows may be in any."""
        parameters = _faiss.SearchParameters(sel=chosen)
        if isinstance(self._index, faiss.IndexIVF):
            probes = self._index.nlist if chosen is not None else min(self.kind.probes, self._index.nlist)
            parameters = _faiss.SearchParametersIVF(sel=chosen, nprobe=probes)
        faiss.omp_set_num_threads(1)  # of this thread; more would wait for each other longer than they work
        near, which = self._index.search(vector.reshape(1, -1), k, params=parameters)
        return near[0][which[0] >= 0], which[0][which[0] >= 0]


def load(path: Path, name: str) -> Store:
    """Open the vectors of a version; compressed ones are mapped: what a search does not touch need not be in memory.

    Raises:
        ValueError, RuntimeError: the file is broken, or holds another kind than the one named.
    """
    kind = choose(0, name)
    index = faiss.read_index(str(path), 0 if kind.exact else faiss.IO_FLAG_MMAP)
    if not isinstance(index, _CLASSES[name]) or index.metric_type != faiss.METRIC_INNER_PRODUCT:
        raise ValueError(f"{path} holds another kind of index than {name}")
    if isinstance(index, faiss.IndexIVF):
        # Else each search starts threads of its own that read ahead, and takes twice the time.
        _faiss.downcast_InvertedLists(index.invlists).prefetch_nthread = 0
    return Store(index, kind)
