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

DEEP = 50  # ranks beyond it count as not found
_BATCH = 256
Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Task:
    """Queries, and the keys of each culture's candidates (texts are their own keys: equal texts are one candidate).

    `cultures` narrows each query's candidates down, one a query; none of them known means all candidates, and None that
    nothing is looked up.
    """

    name: str
    queries: tuple[Query, ...]
    candidates: Mapping[str, tuple[str, ...]]
    cultures: tuple[tuple[str, ...] | None, ...]

    def narrowed(self, name: str, by: Callable[[Query], tuple[str, ...] | None]) -> Task:
        """Give the same task with other cultures for its queries."""
        return replace(self, name=name, cultures=tuple(by(query) for query in self.queries))


@dataclass(frozen=True, slots=True)
class Recipe:
    """What of the search counts: whether cosines are seen from the culture's centre, and what words weigh.

    `distinct` leaves near repeats out, as the service does. A set counts one text as right, and not another that says
    the same: with near repeats left out a target can be missed because its repeat was given.
    """

    name: str
    centred: bool = True
    meaning: float = 1.0
    lexical: float = rank.LEXICAL
    distinct: bool = False


SERVED = Recipe("as served")
ABLATION = (
    Recipe("cosine alone", centred=False, lexical=0.0),
    Recipe("BM25 alone", centred=False, meaning=0.0),
    Recipe("cosine and BM25", centred=False),
    Recipe("centred cosine alone", lexical=0.0),
    SERVED,
    Recipe("as served, near repeats left out", distinct=True),
)


class Pool:
    """Candidates, each once: its culture and key, the text whose words are searched, and its vector."""

    def __init__(self, keys: Sequence[tuple[str, str]], texts: Sequence[str], vectors: Vectors) -> None:
        ids = sorted({culture for culture, _ in keys})
        self.place = {key: row for row, key in enumerate(keys)}
        self.codes = np.asarray([ids.index(culture) for culture, _ in keys], dtype=np.int32)
        self.vectors = vectors
        self.centres = rank.centres(vectors, self.codes, len(ids))
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
    """Of each query the rank of its target, from 1 (0: it was not found), and scores, -1 where there is none.

    `right` is the score of the target, `answered` the best of all candidates, `unanswered` the best once the target is
    taken out.
    """

    ranks: Rows
    right: npt.NDArray[np.float64]
    answered: npt.NDArray[np.float64]
    unanswered: npt.NDArray[np.float64]


def places(task: Task, pool: Pool, vectors: Mapping[str, Vectors], recipe: Recipe = SERVED) -> Places:
    """Order each query's candidates; a tie counts against the target.

    Args:
        vectors: one unit vector a query's text.
    """
    ranks = np.zeros(len(task.queries), dtype=np.int64)
    found = np.full((3, len(task.queries)), -1.0)
    for number, (query, cultures) in enumerate(zip(task.queries, task.cultures, strict=True)):
        if cultures is None:
            continue
        rows = pool.rows(cultures)
        scores = pool.scores(query.text, vectors[query.text], rows, recipe)
        is_target = rows == pool.place[query.culture, query.target]
        order = np.lexsort((is_target, -scores))
        kept = rank.distinct(order.tolist(), pool.vectors[rows], DEEP) if recipe.distinct else order[:DEEP]
        ranks[number] = next((place for place, row in enumerate(kept, 1) if is_target[row]), 0)
        for row, each in enumerate((scores[is_target], scores, scores[~is_target])):
            found[row, number] = each.max(initial=-1.0)
    return Places(ranks, *found)


def scores(ranks: Rows) -> dict[str, list[float]]:
    """Give the measures of each rank: whether it is the first, among the first five, and its reciprocal."""
    each = [int(rank) for rank in ranks]
    return {
        "R@1": [float(rank == 1) for rank in each],
        "R@5": [float(1 <= rank <= 5) for rank in each],
        "MRR": [1 / rank if rank else 0.0 for rank in each],
    }


def of_texts(candidates: Mapping[str, tuple[str, ...]], encoder: Encoder) -> Pool:
    """Encode the candidate texts of each culture, which are their own keys."""
    keys = [(id, text) for id in sorted(candidates) for text in dict.fromkeys(candidates[id])]
    texts = [text for _, text in keys]
    return Pool(keys, texts, encode(texts, encoder.encode))


def encode(texts: Sequence[str], by: Callable[[list[str]], Vectors]) -> Vectors:
    """Encode in batches, with a progress bar on a terminal; shape (texts, dimension)."""
    bar = tqdm(range(0, len(texts), _BATCH), desc="encoding", unit="batch", disable=None)
    return np.concatenate([by(list(texts[start : start + _BATCH])) for start in bar])
