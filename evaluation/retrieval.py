"""Whether the right text is found, and nothing where nothing is: the search that serves, on candidates of the sets."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from evaluation import pools, report, samples, statistics
from evaluation.detection import ids, right
from evaluation.pools import ABLATION, SERVED, Places, Pool, Task
from evaluation.report import About, Line, Report, Section
from evaluation.samples import Query, SamplesUnusable
from evaluation.statistics import Draws
from retrieval import search
from retrieval.encoder import Encoder, Vectors
from retrieval.layout import Layout
from retrieval.search import Index
from service import __version__
from service.names import Names
from service.query import query
from service.settings import DetectionSettings, RetrievalSettings
from service.turn import Message

DESCRIPTIONS, QUERIES, STORIES = "adaculturesafe.descriptions.jsonl", "adaculturesafe.queries.jsonl", "normad.jsonl"
SILENT = ("xstest.jsonl", "orbench.jsonl")
FILES = (DESCRIPTIONS, QUERIES, STORIES, *SILENT)
OWN, FOLLOWUPS = Path(__file__).parent / "queries.jsonl", Path(__file__).parent / "followups.jsonl"
_DEEP = 50  # ranks beyond it count as not found


def measure(data: Path | None, index: Path, limit: int | None, draws: Draws) -> Report:
    """Measure search on our own queries, and on each set that is in the folder `data`.

    Raises:
        SamplesUnusable: a row is broken.
        IndexUnusable: there is no index, or its encoder is broken.
    """
    layout = Layout(index)
    manifest = layout.current().read_manifest()
    opened = search.open_current(index, manifest.encoder)
    known = Names(opened.cultures, DetectionSettings().min_city_population)
    sections = [_own(opened, known, limit, draws), _followups(opened, limit, draws)]
    missing: tuple[str, ...] = ()
    if data is not None:
        missing = tuple(name for name in FILES if not (data / name).is_file())
        sections += _sets(read(data, limit), opened.encoder, known, draws)
        sections += _silent(data, opened, known, limit, draws)
    about = About(__version__, manifest.version, manifest.encoder_id, draws, limit)
    return Report("retrieval", about, tuple(sections), missing)


def read(data: Path, limit: int | None) -> tuple[Task, ...]:
    """Read the tasks whose files are all there.

    Raises:
        SamplesUnusable: a row is broken, or half of a task's files is missing.
    """
    tasks = []
    there = [(data / name).is_file() for name in (DESCRIPTIONS, QUERIES)]
    if all(there):
        tasks.append(_adaculturesafe(data, limit))
    elif any(there):
        raise SamplesUnusable(f"{data}: {DESCRIPTIONS} and {QUERIES} belong together")
    if (data / STORIES).is_file():
        tasks.append(_normad(data, limit))
    return tuple(tasks)


def _sets(tasks: Sequence[Task], encoder: Encoder, known: Names, draws: Draws) -> list[Section]:
    found, silence, parts = [], [], []
    for task in tasks:
        pool = Pool(task.candidates, encoder)
        vectors = _vectors(task.queries, encoder)
        served = pools.places(task, pool, vectors)
        found.append(_line(task, served, task.name, draws))
        if task.queries[0].named:
            for other in _elsewhere(task, known):
                more = vectors if other.queries == task.queries else _vectors(other.queries, encoder)
                found.append(_line(other, pools.places(other, pool, more), other.name, draws))
        for recipe in ABLATION:
            placed = served if recipe is SERVED else pools.places(task, pool, vectors, recipe)
            parts.append(_line(task, placed, f"{task.name}: {recipe.name}", draws))
            if recipe in (SERVED, ABLATION[0]):
                silence.append(_silence(task, placed, f"{task.name}: {recipe.name}", draws))
    if not found:
        return []
    return [
        Section("Text to the text that it is about", tuple(found)),
        Section("Whether the best score tells that the text is there at all", tuple(silence)),
        Section("What each part of the search gives", tuple(parts)),
    ]


def _elsewhere(task: Task, known: Names) -> Iterable[Task]:
    """Give the same queries without their true culture, with the one that is detected, and without names."""
    most = DetectionSettings().max_chars
    base = task.name.split(",")[0]
    yield task.narrowed(f"{base}, any culture", lambda query: ())
    yield task.narrowed(f"{base}, culture detected, else any", lambda query: ids(query.text, known, most))
    unnamed = Task(base, tuple(_unnamed(query, known) for query in task.queries), task.candidates, task.cultures)
    yield unnamed.narrowed(f"{base}, names taken out, culture known", lambda query: (query.culture,))
    yield unnamed.narrowed(
        f"{base}, names taken out, culture detected, else any", lambda query: ids(query.text, known, most)
    )


def _unnamed(query: Query, known: Names) -> Query:
    text = query.text
    for mention in reversed(known.find(text)):
        text = text[: mention.start] + text[mention.end :]
    return Query(query.id, text, query.culture, query.target, query.named)


def _own(index: Index, known: Names, limit: int | None, draws: Draws) -> Section:
    """Measure on the queries that come with Comity, through the search of the serving index."""
    rows = samples.rows(OWN, named=False)
    asked = [
        Query(row.where, row.text("query"), found.culture, found.id)
        for row in rows
        if (found := index.descriptions.find(row.text("description_id"))) is not None
    ]
    asked = sorted(asked, key=lambda query: samples.digest(query.text))[:limit]
    vectors = _vectors(asked, index.encoder)
    most = DetectionSettings().max_chars
    ways: dict[str, Callable[[Query], tuple[str, ...]]] = {
        "own queries, culture known": lambda query: (query.culture,),
        "own queries, culture detected, else any": lambda query: ids(query.text, known, most),
        "own queries, whole index": lambda query: (),
    }
    lines = []
    for name, cultures in ways.items():
        ranks = np.asarray([_rank(index, query, cultures(query), vectors[query.text]) for query in asked])
        counts = {"queries": len(asked), "candidates, mean": len(index.descriptions)}
        lines.append(report.line(name, counts, _scores(ranks), [query.target for query in asked], draws))
    return Section("Own queries to the descriptions of the serving index", tuple(lines))


def _followups(index: Index, limit: int | None, draws: Draws) -> Section:
    """Measure on conversations whose last message may need what was said before, with and without that."""
    rows = [row for row in samples.rows(FOLLOWUPS, named=False) if index.descriptions.find(row.text("description_id"))]
    lines = []
    for kind in ("elliptic", "setting", "alone"):
        picked = [row for row in rows if row.text("kind") == kind][:limit]
        talks = [[Message(said["role"], said["content"]) for said in row.values["messages"]] for row in picked]
        for name, texts in (
            ("as served", [query(talk) for talk in talks]),
            ("last message alone", [query(talk[-1:]) for talk in talks]),
        ):
            asked = [
                Query(row.where, text, found.culture, found.id)
                for row, text in zip(picked, texts, strict=True)
                if (found := index.descriptions.find(row.text("description_id"))) is not None
            ]
            vectors = _vectors(asked, index.encoder)
            ranks = np.asarray([_rank(index, each, (each.culture,), vectors[each.text]) for each in asked])
            counts = {"queries": len(asked), "candidates, mean": len(index.descriptions)}
            groups = [each.target for each in asked]
            lines.append(report.line(f"follow-ups, {kind}: {name}", counts, _scores(ranks), groups, draws))
    return Section("Conversations, culture known", tuple(lines))


def _rank(index: Index, query: Query, cultures: tuple[str, ...], vector: Vectors) -> int:
    found = index.find(query.text, vector, cultures, _DEEP, -2.0)
    return next((rank for rank, passage in enumerate(found, 1) if passage.description.id == query.target), 0)


def _silent(data: Path, index: Index, known: Names, limit: int | None, draws: Draws) -> list[Section]:
    """Measure how often texts that are about no culture get notes: those whose culture is detected, and any."""
    defaults, lines = RetrievalSettings(), []
    for name in SILENT:
        if not (data / name).is_file():
            continue
        every = (sample for row in samples.rows(data / name) for sample in samples.SILENCE[name](row))
        picked = samples.pick(every, limit)
        vectors = index.encoder.encode_queries([sample.text for sample in picked])
        noted, anyhow = [], []
        for sample, vector in zip(picked, vectors, strict=True):
            cultures = ids(sample.text, known, DetectionSettings().max_chars)
            found = index.find(sample.text, vector, cultures, defaults.k, defaults.min_score)
            noted.append(bool(cultures) and any(right(p.description.culture, c) for p in found for c in cultures))
            anyhow.append(bool(index.find(sample.text, vector, (), defaults.k, defaults.min_score)))
        scores = {"gets notes": noted, "found in the whole index": anyhow}
        groups = [sample.group for sample in picked]
        lines.append(report.line(picked[0].part, {"rows": len(picked)}, scores, groups, draws))
    return [Section("Texts that are hardly ever about a culture", tuple(lines))] if lines else []


def _vectors(queries: Sequence[Query], encoder: Encoder) -> Mapping[str, Vectors]:
    texts = list(dict.fromkeys(query.text for query in queries))
    return dict(zip(texts, pools.encode(texts, encoder.encode_queries), strict=True))


def _line(task: Task, found: Places, name: str, draws: Draws) -> Line:
    sizes = {culture: len(texts) for culture, texts in task.candidates.items()}
    whole = sum(sizes.values())
    near = [sum(sizes.get(id, 0) for id in set(cultures)) or whole for cultures in task.cultures]
    counts = {"queries": len(task.queries), "candidates, mean": round(float(np.mean(near)))}
    return report.line(name, counts, _scores(found.ranks), _groups(task), draws)


def _scores(ranks: pools.Rows) -> dict[str, list[float]]:
    found = [int(rank) for rank in ranks]
    return {
        "R@1": [float(rank == 1) for rank in found],
        "R@5": [float(1 <= rank <= 5) for rank in found],
        "MRR": [1 / rank if rank else 0.0 for rank in found],
    }


def _silence(task: Task, found: Places, name: str, draws: Draws) -> Line:
    groups = _groups(task)
    scores = np.concatenate([found.answered, found.unanswered])
    there = np.repeat([True, False], len(groups))
    figure = statistics.auc(scores, there, [*groups, *groups], draws)
    return Line(name, {"queries": len(groups), "groups": len(set(groups))}, {"AUROC": figure})


def _groups(task: Task) -> list[str]:
    return [f"{query.culture} {query.target}" for query in task.queries]


def _adaculturesafe(data: Path, limit: int | None) -> Task:
    described = {row.text("id"): row for row in samples.rows(data / DESCRIPTIONS)}
    queries = []
    for row in samples.rows(data / QUERIES):
        if row.text("kind") == "safety":
            target = described.get(row.text("description_id"))
            if target is None or target.text("culture") != row.text("culture"):
                raise SamplesUnusable(f"{row.where}: description_id: no such description in {DESCRIPTIONS}")
            queries.append(Query(row.text("id"), row.text("query"), row.text("culture"), target.text("text"), True))
    pairs = [(row.text("culture"), row.text("text")) for row in described.values()]
    return _task("adaculturesafe safety, culture known", queries, pairs, limit)


def _normad(data: Path, limit: int | None) -> Task:
    queries = [
        Query(row.text("id"), row.text("situation"), row.text("culture"), row.text("norm"))
        for row in samples.rows(data / STORIES)
    ]
    return _task("normad, country known", queries, [(query.culture, query.target) for query in queries], limit)


def _task(name: str, queries: Sequence[Query], pairs: Iterable[tuple[str, str]], limit: int | None) -> Task:
    texts: dict[str, dict[str, None]] = {}
    for culture, text in pairs:
        texts.setdefault(culture, {})[text] = None
    kept = tuple(sorted(queries, key=lambda query: samples.digest(query.id))[:limit])
    candidates = {culture: tuple(found) for culture, found in texts.items()}
    return Task(name, kept, candidates, tuple((query.culture,) for query in kept))
