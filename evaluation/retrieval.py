"""Whether the right text is found: the index's encoder and exact cosine search over the sets' own candidates."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from evaluation import report, samples
from evaluation.report import About, Line, Report, Section
from evaluation.samples import Query, SamplesUnusable
from evaluation.statistics import Draws
from retrieval import encoder
from retrieval.encoder import Encoder, Vectors
from retrieval.layout import Layout
from service import __version__

DESCRIPTIONS, QUERIES, STORIES = "adaculturesafe.descriptions.jsonl", "adaculturesafe.queries.jsonl", "normad.jsonl"
FILES = (DESCRIPTIONS, QUERIES, STORIES)
_BATCH = 256


@dataclass(frozen=True, slots=True)
class Task:
    """Queries, and the candidate texts of each culture (each text once: equal texts are one candidate)."""

    name: str
    queries: tuple[Query, ...]
    candidates: Mapping[str, tuple[str, ...]]

    def whole(self, name: str) -> Task:
        """Give the same task with every culture's candidates in one pool."""
        pool = tuple(dict.fromkeys(text for texts in self.candidates.values() for text in texts))
        return Task(name, self.queries, dict.fromkeys(self.candidates, pool))


def measure(data: Path, index: Path, limit: int | None, draws: Draws) -> Report:
    """Measure retrieval on each set that is in the folder `data`, with the encoder of the index.

    Raises:
        SamplesUnusable: a row is broken, or no set is whole.
        IndexUnusable: there is no index, or its encoder is broken.
    """
    tasks = read(data, limit)
    layout = Layout(index)
    version = layout.current()
    loaded = encoder.load(layout.encoder(version.read_manifest().encoder_id))
    texts = dict.fromkeys(text for task in tasks for text in _texts(task))
    vectors = dict(zip(texts, encode(list(texts), loaded), strict=True))
    lines = tuple(_line(task, ranks(task, vectors), draws) for task in tasks)
    about = About(__version__, version.root.name, loaded.id, draws, limit)
    missing = tuple(name for name in FILES if not (data / name).is_file())
    return Report("retrieval", about, (Section("Text to the text that it is about", lines),), missing)


def read(data: Path, limit: int | None) -> tuple[Task, ...]:
    """Read the tasks whose files are all there.

    Raises:
        SamplesUnusable: a row is broken, or no task's files are all there.
    """
    tasks = []
    if (data / DESCRIPTIONS).is_file() and (data / QUERIES).is_file():
        known = _adaculturesafe(data, limit)
        tasks += [known, known.whole("adaculturesafe safety, any culture")]
    if (data / STORIES).is_file():
        tasks.append(_normad(data, limit))
    if not tasks:
        raise SamplesUnusable(f"{data}: no retrieval set is whole ({DESCRIPTIONS} and {QUERIES} belong together)")
    return tuple(tasks)


def encode(texts: Sequence[str], encoder: Encoder) -> Vectors:
    """Encode in batches, with a progress bar on a terminal; shape (texts, dimension)."""
    bar = tqdm(range(0, len(texts), _BATCH), desc="encoding", unit="batch", disable=None)
    return np.concatenate([encoder.encode(list(texts[start : start + _BATCH])) for start in bar])


def ranks(task: Task, vectors: Mapping[str, Vectors]) -> npt.NDArray[np.int64]:
    """Give the rank of each query's target among its culture's candidates by cosine, from 1; a tie counts against it.

    Args:
        vectors: one unit vector a text.
    """
    out = np.zeros(len(task.queries), dtype=np.int64)
    for culture, pool in task.candidates.items():
        asked = [number for number, query in enumerate(task.queries) if query.culture == culture]
        if asked:
            scores = np.stack([vectors[task.queries[i].text] for i in asked]) @ np.stack([vectors[t] for t in pool]).T
            place = {text: column for column, text in enumerate(pool)}
            target = scores[np.arange(len(asked)), [place[task.queries[i].target] for i in asked]]
            out[asked] = (scores >= target[:, None]).sum(axis=1)
    return out


def _line(task: Task, found: npt.NDArray[np.int64], draws: Draws) -> Line:
    pools = [len(task.candidates[query.culture]) for query in task.queries]
    counts = {"queries": len(pools), "candidates, mean": round(float(np.mean(pools)))}
    scores = {"R@1": found <= 1, "R@5": found <= 5, "MRR": 1 / found}
    return report.line(task.name, counts, scores, [f"{query.culture} {query.target}" for query in task.queries], draws)


def _texts(task: Task) -> Iterable[str]:
    yield from (query.text for query in task.queries)
    for pool in task.candidates.values():
        yield from pool


def _adaculturesafe(data: Path, limit: int | None) -> Task:
    described = {row.text("id"): row for row in samples.rows(data / DESCRIPTIONS)}
    queries = []
    for row in samples.rows(data / QUERIES):
        if row.text("kind") == "safety":
            target = described.get(row.text("description_id"))
            if target is None or target.text("culture") != row.text("culture"):
                raise SamplesUnusable(f"{row.where}: description_id: no such description in {DESCRIPTIONS}")
            queries.append(Query(row.text("id"), row.text("query"), row.text("culture"), target.text("text")))
    pairs = [(row.text("culture"), row.text("text")) for row in described.values()]
    return _task("adaculturesafe safety, culture known", queries, pairs, limit)


def _normad(data: Path, limit: int | None) -> Task:
    queries = [
        Query(row.text("id"), row.text("situation"), row.text("culture"), row.text("norm"))
        for row in samples.rows(data / STORIES)
    ]
    return _task("normad, country known", queries, [(query.culture, query.target) for query in queries], limit)


def _task(name: str, queries: Sequence[Query], pairs: Iterable[tuple[str, str]], limit: int | None) -> Task:
    pools: dict[str, dict[str, None]] = {}
    for culture, text in pairs:
        pools.setdefault(culture, {})[text] = None
    kept = sorted(queries, key=lambda query: samples.digest(query.id))[:limit]
    return Task(name, tuple(kept), {culture: tuple(texts) for culture, texts in pools.items()})
