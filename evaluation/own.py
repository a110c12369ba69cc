"""Search of the serving index on what comes with Comity: queries, conversations, and messages that need no note."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from detection.mentions import Names
from evaluation import pools, report, samples, statistics
from evaluation.pools import Pool, Recipe, Task
from evaluation.report import Line, Section
from evaluation.samples import Query, Row
from evaluation.sight import ids
from evaluation.statistics import Draws
from index import texts
from retrieval.encoder import Encoder, Vectors
from retrieval.search import Index
from service.query import query
from service.settings import DetectionSettings
from service.turn import Message

_HERE = Path(__file__).parent
QUERIES, FOLLOWUPS, OFF_TOPIC = _HERE / "queries.jsonl", _HERE / "followups.jsonl", _HERE / "offtopic.jsonl"
FLOORS = (0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5)
# What of a description its vector is made of, and whether words count beside it.
_RECIPES: dict[str, tuple[tuple[str, ...], Recipe]] = {
    "the statement alone": (("statement",), Recipe("meaning", lexical=0.0)),
    "and words": (("statement",), pools.SERVED),
    "and the contrary act": (("statement", "offends"), pools.SERVED),
    "and the questions, as served": (texts.FIELDS, pools.SERVED),
}


def measure(index: Index, known: Names, limit: int | None, draws: Draws) -> list[Section]:
    """Measure on what comes with Comity.

    Raises:
        SamplesUnusable: a row is broken.
    """
    every = [row for row in samples.rows(QUERIES, named=False) if index.descriptions.find(row.text("description_id"))]
    rows = sorted(every, key=lambda row: samples.digest(row.text("query")))[:limit]
    asked = _queries(index, [(row, row.text("query")) for row in rows])
    if not asked:  # an index of other descriptions than those that the queries are about
        return []
    held = {query.id for query, row in zip(asked, rows, strict=True) if row.flag("held_out")}
    vectors = encoded(asked, index.encoder)
    fields, own = _fields(index, asked, vectors, draws)
    return [
        _found(index, known, asked, held, vectors, draws),
        *_followups(index, limit, draws),
        fields,
        _floor(index, known, asked, held, own, limit, draws),
    ]


def encoded(queries: Sequence[Query], encoder: Encoder) -> Mapping[str, Vectors]:
    """Give the vector of each text."""
    each = list(dict.fromkeys(query.text for query in queries))
    return dict(zip(each, pools.encode(each, encoder.encode_queries), strict=True))


def _queries(index: Index, given: Sequence[tuple[Row, str]]) -> list[Query]:
    found = [(row, text, index.descriptions.find(row.text("description_id"))) for row, text in given]
    return [Query(row.where, text, each.culture, each.id) for row, text, each in found if each is not None]


def _found(
    index: Index, known: Names, asked: list[Query], held: set[str], vectors: Mapping[str, Vectors], draws: Draws
) -> Section:
    """Measure through the search of the serving index."""
    most = DetectionSettings().max_chars
    apart = [query for query in asked if query.id in held]
    ways: list[tuple[str, list[Query], Callable[[Query], tuple[str, ...] | None]]] = [
        ("own queries, culture known", asked, lambda query: (query.culture,)),
        ("own queries held out of training, culture known", apart, lambda query: (query.culture,)),
        ("own queries, culture detected", asked, lambda query: detected(query.text, index, known, most)),
        ("own queries, whole index", asked, lambda query: ()),
    ]
    lines = [_line(name, index, each, [by(query) for query in each], vectors, draws) for name, each, by in ways if each]
    return Section("Own queries to the descriptions of the serving index", tuple(lines))


def detected(text: str, index: Index, known: Names, most: int) -> tuple[str, ...] | None:
    """Give the detected cultures that the index describes; None where the service would look nothing up."""
    return tuple(id for id in ids(text, known, most) if index.covers(id)) or None


def _followups(index: Index, limit: int | None, draws: Draws) -> list[Section]:
    """Measure on conversations whose last message may need what was said before, with and without that."""
    rows = [row for row in samples.rows(FOLLOWUPS, named=False) if index.descriptions.find(row.text("description_id"))]
    lines = []
    for kind in ("elliptic", "setting", "alone"):
        picked = [row for row in rows if row.text("kind") == kind][:limit]
        if not picked:
            continue
        talks = [[Message(said["role"], said["content"]) for said in row.values["messages"]] for row in picked]
        for name, given in (
            ("as served", [query(talk) for talk in talks]),
            ("last message alone", [query(talk[-1:]) for talk in talks]),
        ):
            asked = _queries(index, list(zip(picked, given, strict=True)))
            known = [(query.culture,) for query in asked]
            lines.append(
                _line(f"follow-ups, {kind}: {name}", index, asked, known, encoded(asked, index.encoder), draws)
            )
    return [Section("Conversations, culture known", tuple(lines))] if lines else []


def _line(
    name: str,
    index: Index,
    asked: Sequence[Query],
    cultures: Sequence[tuple[str, ...] | None],
    vectors: Mapping[str, Vectors],
    draws: Draws,
) -> Line:
    ranks = []
    for each, wanted in zip(asked, cultures, strict=True):
        found = () if wanted is None else index.find(each.text, vectors[each.text], wanted, pools.DEEP, -2.0)
        ranks.append(next((rank for rank, passage in enumerate(found, 1) if passage.description.id == each.target), 0))
    near = [0 if wanted is None else _size(index, wanted) for wanted in cultures]
    counts = {"queries": len(asked), "candidates, mean": round(float(np.mean(near)))}
    return report.line(name, counts, pools.scores(np.asarray(ranks)), [each.target for each in asked], draws)


def _size(index: Index, wanted: tuple[str, ...]) -> int:
    rows = index.members(wanted)
    return index.size if rows is None else len(rows)


def _fields(
    index: Index, asked: Sequence[Query], vectors: Mapping[str, Vectors], draws: Draws
) -> tuple[Section, pools.Places]:
    """Measure what each text of a description gives; also give where the queries' own stand as served."""
    described = list(index.descriptions)
    keys = [(each.culture, each.id) for each in described]
    candidates = {culture: tuple(id for other, id in keys if other == culture) for culture, _ in keys}
    task = Task("own queries", tuple(asked), candidates, tuple((query.culture,) for query in asked))
    lines = []
    for name, (fields, recipe) in _RECIPES.items():
        made = texts.vectors([texts.of(each, fields) for each in described], index.encoder, None)
        words = [each.statement if recipe.lexical == 0 else texts.whole(each) for each in described]
        placed = pools.places(task, Pool(keys, words, made), vectors, recipe)
        counts = {"queries": len(asked), "candidates, mean": round(len(keys) / len(candidates))}
        lines.append(report.line(name, counts, pools.scores(placed.ranks), [each.target for each in asked], draws))
    return Section("What each text of a description gives, own queries, culture known", tuple(lines)), placed


def _floor(
    index: Index,
    known: Names,
    asked: Sequence[Query],
    held: set[str],
    own: pools.Places,
    limit: int | None,
    draws: Draws,
) -> Section:
    """Measure what each floor keeps of right descriptions, and lets through where nothing is right."""
    every = sorted(samples.rows(OFF_TOPIC, named=False), key=lambda row: samples.digest(row.text("message")))
    messages = [row.text("message") for row in every[:limit]]
    vectors, most = index.encoder.encode_queries(messages), DetectionSettings().max_chars
    told = [(row.text("culture"),) for row in every[:limit]]
    noticed = [detected(text, index, known, most) for text in messages]
    apart = np.asarray([query.id in held for query in asked], dtype=bool)
    best = {
        "right one kept": own.right[apart],
        "another given in its place": own.unanswered[apart],
        "off topic, culture known": _best(index, messages, vectors, told),
        "off topic, culture detected": _best(index, messages, vectors, noticed),
    }
    counts = {"queries": int(apart.sum()), "off topic": len(messages)}
    lines = []
    for floor in FLOORS:
        kept = {name: statistics.estimate(scores >= floor, None, draws) for name, scores in best.items() if scores.size}
        lines.append(Line(f"{floor:.2f}", counts, {name: kept.get(name) for name in best}))
    return Section("What a floor keeps and lets through, queries held out of training", tuple(lines))


def _best(
    index: Index, messages: Sequence[str], vectors: Vectors, cultures: Sequence[tuple[str, ...] | None]
) -> npt.NDArray[np.float64]:
    """Give the best score of each message, -1 where nothing is looked up."""
    best = []
    for text, vector, wanted in zip(messages, vectors, cultures, strict=True):
        found = () if wanted is None else index.find(text, vector, wanted, 1, -1.0)
        best.append(found[0].score if found else -1.0)
    return np.asarray(best)
