"""Candidate texts of many cultures, and the place that a query's target takes among them when search orders them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from evaluation.samples import Query
from retrieval import rank, words
from retrieval.encoder import Encoder, Vectors
from retrieval.words import Words

_BATCH = 256
Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Task:
    """Queries, and the candidate texts of each culture (each text once: equal texts are one candidate).

    `cultures` narrows each query's candidates down, one a query; none of them known means all candidates.
    """

    name: str
    queries: tuple[Query, ...]
    candidates: Mapping[str, tuple[str, ...]]
    cultures: tuple[tuple[str, ...], ...]

    def narrowed(self, name: str, by: Callable[[Query], tuple[str, ...]]) -> Task:
        """Give the same task with other cultures for its queries."""
        return replace(self, name=name, cultures=tuple(by(query) for query in self.queries))


@dataclass(frozen=True, slots=True)
class Recipe:
    """What of the search counts: whether cosines are seen from the culture's centre, and what words weigh."""

    name: str
    centred: bool = True
    meaning: float = 1.0
    lexical: float = rank.LEXICAL


SERVED = Recipe("as served")
ABLATION = (
    Recipe("cosine alone", centred=False, lexical=0.0),
    Recipe("BM25 alone", centred=False, meaning=0.0),
    Recipe("cosine and BM25", centred=False),
    Recipe("centred cosine alone", lexical=0.0),
    SERVED,
)


class Pool:
    """The candidates of a task, encoded and indexed as `comity index build` does."""

    def __init__(self, candidates: Mapping[str, tuple[str, ...]], encoder: Encoder) -> None:
        ids = sorted(candidates)
        self.place = {(id, text): 0 for id in ids for text in candidates[id]}
        self.place = {key: row for row, key in enumerate(self.place)}
        self.codes = np.asarray([ids.index(culture) for culture, _ in self.place], dtype=np.int32)
        texts = [text for _, text in self.place]
        self.vectors = encode(texts, encoder.encode)
        self.centres = rank.centres(self.vectors, self.codes, len(ids))
        self.words: Words = words.build(texts)
        self._codes = {id: code for code, id in enumerate(ids)}

    def rows(self, cultures: Iterable[str]) -> Rows:
        """Give the rows of some cultures; all where none of them is known."""
        codes = [self._codes[id] for id in cultures if id in self._codes]
        chosen = np.isin(self.codes, codes) if codes else np.ones(len(self.codes), dtype=bool)
        return np.flatnonzero(chosen)

    def scores(self, text: str, vector: Vectors, rows: Rows, recipe: Recipe) -> npt.NDArray[np.float32]:
        """Score some rows for a query as the recipe says."""
        lexical = self.words.scores(text)[rows] if recipe.lexical else np.zeros(len(rows), dtype=np.float32)
        points = self.centres if recipe.centred else np.zeros_like(self.centres)
        near = rank.meaning(vector, self.vectors[rows], points, self.codes[rows]) if recipe.meaning else np.float32(0)
        return np.asarray(recipe.meaning * near + recipe.lexical * lexical, dtype=np.float32)


@dataclass(frozen=True, slots=True)
class Places:
    """Of each query the rank of its target, from 1 (0: it was not among the candidates), and the best scores.

    `answered` is the best score of all candidates, `unanswered` the best once the target is taken out.
    """

    ranks: Rows
    answered: npt.NDArray[np.float64]
    unanswered: npt.NDArray[np.float64]


def places(task: Task, pool: Pool, vectors: Mapping[str, Vectors], recipe: Recipe = SERVED) -> Places:
    """Order each query's candidates; a tie counts against the target.

    Args:
        vectors: one unit vector a query's text.
    """
    ranks = np.zeros(len(task.queries), dtype=np.int64)
    best = np.zeros((2, len(task.queries)))
    for number, (query, cultures) in enumerate(zip(task.queries, task.cultures, strict=True)):
        rows = pool.rows(cultures)
        scores = pool.scores(query.text, vectors[query.text], rows, recipe)
        target = np.flatnonzero(rows == pool.place[query.culture, query.target])
        if len(target):
            ranks[number] = int((scores >= scores[target[0]]).sum())
        others = np.delete(scores, target)
        best[:, number] = scores.max(), others.max() if len(others) else -1.0
    return Places(ranks, best[0], best[1])


def encode(texts: Sequence[str], by: Callable[[list[str]], Vectors]) -> Vectors:
    """Encode in batches, with a progress bar on a terminal; shape (texts, dimension)."""
    bar = tqdm(range(0, len(texts), _BATCH), desc="encoding", unit="batch", disable=None)
    return np.concatenate([by(list(texts[start : start + _BATCH])) for start in bar])
