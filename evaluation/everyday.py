"""Everyday queries, written without sight of the descriptions, and how much what is found answers them (nDCG@10).

    python -m evaluation.everyday FILE     # writes what is to be graded, blind to the system that found it

The first ten of three systems (words alone, cosine of the published encoder alone, what serves) were pooled, and each
description was graded 0 (no answer), 1 (helps) or 2 (answers). What no system found counts as no answer.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from evaluation import pools, report, samples
from evaluation.own import FLOORS
from evaluation.pools import Pool, Recipe
from evaluation.report import Section
from evaluation.samples import SamplesUnusable
from evaluation.statistics import Draws
from index import export, texts
from retrieval import search
from retrieval.encoder import Encoder, Vectors
from retrieval.layout import IndexUnusable, Layout
from retrieval.search import Index, Passage
from service.settings import RetrievalSettings

QUERIES, GRADES = (Path(__file__).parent / name for name in ("everyday.jsonl", "grades.jsonl"))
_FIRST = 10
_PUBLISHED = "all-MiniLM-L6-v2"
WORDS = Recipe("BM25 alone", centred=False, meaning=0.0)
COSINE = Recipe("cosine alone, statements", centred=False, lexical=0.0)

Ranking = Sequence[str]  # ids of descriptions, best first


def measure(index: Index, draws: Draws) -> list[Section]:
    """Measure what serves, and words alone, on the queries that were graded; nothing where there are none.

    Raises:
        SamplesUnusable: a row is broken.
    """
    if not GRADES.is_file():
        return []
    grades: dict[str, dict[str, int]] = {}
    for row in samples.rows(GRADES, named=False):
        grades.setdefault(row.text("query"), {})[row.text("description_id")] = row.number("grade")
    asked = [row for row in samples.rows(QUERIES, named=False) if row.text("query") in grades]
    texts_of = [row.text("query") for row in asked]
    served = _served(index, asked)
    lines = []
    for name, found in {"what serves": [_ids(each) for each in served], "BM25 alone": _by_words(index, asked)}.items():
        pairs = [(grades[text], ranking) for text, ranking in zip(texts_of, found, strict=True)]
        figures = {
            "nDCG@10": [gain(ranking, graded) for graded, ranking in pairs],
            "answered among three": [_answers(graded, ranking[:3]) for graded, ranking in pairs],
            "answer known": [_answers(graded, tuple(graded)) for graded, _ in pairs],
        }
        lines.append(report.line(name, {"queries": len(asked)}, figures, texts_of, draws))
    floors = _floors([grades[text] for text in texts_of], served, texts_of, draws)
    return [Section("Everyday queries, culture known", tuple(lines)), floors]


def _floors(
    graded: Sequence[Mapping[str, int]], served: Sequence[Sequence[Passage]], groups: Sequence[str], draws: Draws
) -> Section:
    """Measure what each floor leaves of the descriptions that would be given."""
    most, lines = RetrievalSettings().k, []
    for floor in FLOORS:
        kept = [_ids([each for each in passages[:most] if each.score >= floor]) for passages in served]
        given = [[each.get(id, 0) for id in ids] for each, ids in zip(graded, kept, strict=True)]
        figures = {
            "answered": [float(2 in each) for each in given],
            "answered or helped": [float(any(each)) for each in given],
            "given nothing that helps": [float(bool(each) and not any(each)) for each in given],
        }
        counts = {"queries": len(given), "descriptions given": sum(map(len, given))}
        lines.append(report.line(f"{floor:.2f}", counts, figures, groups, draws))
    return Section("Everyday queries by floor, as many given as are served", tuple(lines))


def _ids(passages: Sequence[Passage]) -> Ranking:
    return [each.description.id for each in passages]


def _answers(grades: Mapping[str, int], ranking: Ranking) -> float:
    return float(any(grades.get(id) == 2 for id in ranking))


def gain(ranking: Ranking, grades: Mapping[str, int]) -> float:
    """Give nDCG@10 (Järvelin & Kekäläinen, 2002), gains 2^grade - 1; 0 where nothing answers or helps."""
    discounts = 1 / np.log2(np.arange(2, _FIRST + 2))
    best = sorted(grades.values(), reverse=True)[:_FIRST]
    ideal = float(sum((2**grade - 1) * discount for grade, discount in zip(best, discounts, strict=False)))
    got = [grades.get(id, 0) for id in ranking[:_FIRST]]
    return (
        float(sum((2**grade - 1) * each for grade, each in zip(got, discounts, strict=False))) / ideal if ideal else 0.0
    )


def _served(index: Index, asked: Sequence[samples.Row]) -> list[Sequence[Passage]]:
    vectors = index.encoder.encode_queries([row.text("query") for row in asked])
    return [
        index.find(row.text("query"), vector, (row.text("culture"),), _FIRST, -2.0)
        for row, vector in zip(asked, vectors, strict=True)
    ]


def _by_words(index: Index, asked: Sequence[samples.Row]) -> list[Ranking]:
    described = list(index.descriptions)
    pool = Pool(
        [(each.culture, each.id) for each in described],
        [texts.whole(each) for each in described],
        np.zeros((len(described), 1), dtype=np.float32),
    )
    return [_ranked(pool, index, row, np.zeros(1, dtype=np.float32), WORDS) for row in asked]


def _by_cosine(index: Index, asked: Sequence[samples.Row], encoder: Encoder) -> list[Ranking]:
    described = list(index.descriptions)
    statements = [each.statement for each in described]
    vectors = pools.encode(statements, encoder.encode)
    pool = Pool([(each.culture, each.id) for each in described], statements, vectors)
    queries = encoder.encode_queries([row.text("query") for row in asked])
    return [_ranked(pool, index, row, vector, COSINE) for row, vector in zip(asked, queries, strict=True)]


def _ranked(pool: Pool, index: Index, row: samples.Row, vector: Vectors, recipe: Recipe) -> Ranking:
    rows = pool.rows(index.cultures.lineage(row.text("culture")))
    scores = pool.scores(row.text("query"), vector, rows, recipe)
    ids = [id for _, id in pool.place]
    return [ids[rows[place]] for place in np.argsort(-scores, kind="stable")[:_FIRST] if scores[place] > 0]


def main(arguments: list[str]) -> int:
    """Write the pooled descriptions of each query in an order that tells nothing; 2 where something is missing."""
    (out,) = arguments
    layout = Layout(Path("var/index"))
    try:
        index = search.open_current(layout.root, layout.current().read_manifest().encoder)
        asked = samples.rows(QUERIES, named=False)
        found = [
            [_ids(each) for each in _served(index, asked)],
            _by_words(index, asked),
            _by_cosine(index, asked, export.export(_PUBLISHED, layout)),
        ]
    except (IndexUnusable, SamplesUnusable, OSError) as error:
        sys.stderr.write(f"evaluation.everyday: {error}\n")
        return 2
    lines = []
    for row, *rankings in zip(asked, *found, strict=True):
        for id in sorted({id for ranking in rankings for id in ranking}):
            each = index.descriptions.find(id)
            if each is not None:
                pair = {"query": row.text("query"), "culture": row.text("culture"), "description_id": id}
                lines.append(json.dumps(pair | {"text": texts.whole(each)}, ensure_ascii=False))
    random.Random(0).shuffle(lines)  # noqa: S311 - the order is to tell nothing, not to be secret
    Path(out).write_text("\n".join(lines) + "\n", encoding="utf-8")
    sys.stdout.write(f"{len(lines)} pairs of {len(asked)} queries to {out}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
