"""Whether the right text is found, and nothing where nothing is: the search that serves, on candidates of the sets."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from detection.mentions import Names
from evaluation import everyday, own, pools, report, samples, statistics
from evaluation.pools import ABLATION, SERVED, Places, Task
from evaluation.report import About, Line, Report, Section
from evaluation.samples import Query, SamplesUnusable
from evaluation.sight import ids
from evaluation.statistics import Draws
from retrieval import search
from retrieval.encoder import Encoder
from retrieval.layout import Layout
from retrieval.search import Index
from service import __version__
from service.settings import DetectionSettings, RetrievalSettings

DESCRIPTIONS, QUERIES, STORIES = "adaculturesafe.descriptions.jsonl", "adaculturesafe.queries.jsonl", "normad.jsonl"
SILENT = ("xstest.jsonl", "orbench.jsonl")
FILES = (DESCRIPTIONS, QUERIES, STORIES, *SILENT)


def measure(data: Path | None, index: Path, limit: int | None, draws: Draws) -> Report:
    """Measure search on our own queries, and on each set that is in the folder `data`.

    Raises:
        SamplesUnusable: a row is broken.
        IndexUnusable: there is no index, or its encoder is broken.
    """
    layout = Layout(index)
    manifest = layout.current().read_manifest()
    opened = search.open_current(index, manifest.encoder)
    known = Names(opened.cultures, opened.names)
    sections = own.measure(opened, known, limit, draws)
    sections += everyday.measure(opened, draws)
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
    found: list[Line] = []
    silence: list[Line] = []
    parts: list[Line] = []
    for task in tasks:
        pool = pools.of_texts(task.candidates, encoder)
        vectors = own.encoded(task.queries, encoder)
        served = pools.places(task, pool, vectors)
        found.append(_line(task, served, task.name, draws))
        if task.queries[0].named:
            for other in _elsewhere(task, known):
                more = vectors if other.queries == task.queries else own.encoded(other.queries, encoder)
                found.append(_line(other, pools.places(other, pool, more), other.name, draws))
        for recipe in ABLATION:
            placed = served if recipe is SERVED else pools.places(task, pool, vectors, recipe)
            parts.append(_line(task, placed, f"{task.name}: {recipe.name}", draws))
            if recipe in (SERVED, ABLATION[0]):
                silence += _silence(task, placed, f"{task.name}: {recipe.name}", draws)
    if not found:
        return []
    return [
        Section("Text to the text that it is about", tuple(found)),
        Section("Whether the best score tells that the text is there at all", tuple(silence)),
        Section("What each part of the search gives", tuple(parts)),
    ]


def _elsewhere(task: Task, known: Names) -> Iterable[Task]:
    """Give the same queries without their true culture, with the one that is detected, and without names.

    Where none is detected nothing is looked up, as the service does it.
    """
    most = DetectionSettings().max_chars
    base = task.name.split(",")[0]
    unnamed = Task(base, tuple(_unnamed(query, known) for query in task.queries), task.candidates, task.cultures)
    for name, each in ((base, task), (f"{base}, names taken out", unnamed)):
        if each is unnamed:
            yield each.narrowed(f"{name}, culture known", lambda query: (query.culture,))
        yield each.narrowed(f"{name}, culture detected", lambda query: ids(query.text, known, most) or None)
        yield each.narrowed(f"{name}, any culture", lambda query: ())


def _unnamed(query: Query, known: Names) -> Query:
    text = query.text
    for mention in reversed(known.find(text)):
        text = text[: mention.start] + text[mention.end :]
    return Query(query.id, text, query.culture, query.target, query.named)


def _silent(data: Path, index: Index, known: Names, limit: int | None, draws: Draws) -> list[Section]:
    """Measure how often texts that are about no culture get notes: those whose culture is detected, and any."""
    defaults, most, lines = RetrievalSettings(), DetectionSettings().max_chars, []
    for name in SILENT:
        if not (data / name).is_file():
            continue
        every = (sample for row in samples.rows(data / name) for sample in samples.SILENCE[name](row))
        picked = samples.pick(every, limit)
        vectors = index.encoder.encode_queries([sample.text for sample in picked])
        noted, anyhow = [], []
        for sample, vector in zip(picked, vectors, strict=True):
            cultures = own.detected(sample.text, index, known, most)
            found = index.find(sample.text, vector, cultures or (), defaults.k, defaults.min_score)
            noted.append(bool(cultures and found))
            anyhow.append(bool(index.find(sample.text, vector, (), defaults.k, defaults.min_score)))
        scores = {"gets notes": noted, "found in the whole index": anyhow}
        groups = [sample.group for sample in picked]
        lines.append(report.line(picked[0].part, {"rows": len(picked)}, scores, groups, draws))
    return [Section("Texts that are hardly ever about a culture", tuple(lines))] if lines else []


def _line(task: Task, found: Places, name: str, draws: Draws) -> Line:
    sizes = {culture: len(texts) for culture, texts in task.candidates.items()}
    whole = sum(sizes.values())
    near = [
        0 if cultures is None else sum(sizes.get(id, 0) for id in set(cultures)) or whole for cultures in task.cultures
    ]
    counts = {"queries": len(task.queries), "candidates, mean": round(float(np.mean(near)))}
    return report.line(name, counts, pools.scores(found.ranks), _groups(task), draws)


def _silence(task: Task, found: Places, name: str, draws: Draws) -> Iterable[Line]:
    """Measure over all queries, and over those whose own text is first, for it is the best score of those alone."""
    groups = np.asarray(_groups(task))
    for said, rows in (("", np.ones(len(groups), dtype=bool)), (", own text first", found.ranks == 1)):
        if rows.any():
            named = groups[rows].tolist()
            scores = np.concatenate([found.answered[rows], found.unanswered[rows]])
            figure = statistics.auc(scores, np.repeat([True, False], len(named)), [*named, *named], draws)
            yield Line(f"{name}{said}", {"queries": len(named), "groups": len(set(named))}, {"AUROC": figure})


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
