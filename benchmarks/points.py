"""Vectors for measuring search by size: real sentences, and points between them where real ones run out."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.cases import ROOT
from retrieval import cultures
from retrieval.cultures import Culture
from retrieval.encoder import Vectors

Rows = npt.NDArray[np.int64]
KNOWLEDGE = ROOT / "knowledge"
NEAR = 20  # nearest sentences of one, towards which its points lie
_PASSAGES, _QUESTIONS = ("text", "norm"), ("query", "situation")  # fields of other files
_BLOCK = 20_000
_WORDS = range(12, 46)  # of a statement


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence about a culture, and whether somebody asks it."""

    text: str
    culture: str
    asked: bool = False


@dataclass(frozen=True, slots=True)
class Base:
    """Real vectors: those that points are made from, sorted by culture, and those that are searched for."""

    vectors: Vectors
    queries: Vectors


def descriptions(count: int) -> Iterator[dict[str, Any]]:
    """Give so many rows of a knowledge base: those that there are, then the same told of other peoples.

    Raises:
        ValueError: there are not so many peoples in the registry.
    """
    registry = cultures.load(KNOWLEDGE / "cultures.jsonl")
    rows = [json.loads(line) for file in _files() for line in _lines(file)]
    given = 0
    for target in (None, *_peoples(registry)):
        for row in rows:
            told = row if target is None else _retold(row, registry[row["culture"]], target)
            if len(told["statement"].split()) in _WORDS:
                if given == count:
                    return
                given += 1
                yield told
    if given < count:
        raise ValueError(f"the knowledge told of every people gives {given} descriptions, wanted {count}")


def own() -> int:
    """Count the descriptions of the knowledge base itself."""
    return sum(len(_lines(file)) for file in _files())


def sentences(count: int) -> list[Sentence]:
    """Give so many sentences, all different: questions of the knowledge as asked, the rest told of other peoples."""
    found: dict[str, Sentence] = {}
    described = {file.stem for file in _files()}
    for row in descriptions(count):
        said = [row["statement"], row["offends"], *(source["says"] for source in row["sources"])]
        asked = row["questions"] if row["culture"] in described else []
        for text in filter(None, (*said, *asked)):
            found.setdefault(text, Sentence(text, row["culture"], text in asked))
        if len(found) >= count:
            break
    return list(found.values())


def read(files: Iterable[Path]) -> list[Sentence]:
    """Give the different texts of JSON lines in the fields text, norm, query and situation, and their culture."""
    found: dict[str, Sentence] = {}
    for file in files:
        for line in _lines(file):
            row = json.loads(line)
            for field in (*_PASSAGES, *_QUESTIONS):
                if text := " ".join(str(row.get(field) or "").split()):
                    found.setdefault(text, Sentence(text, str(row.get("culture")), field in _QUESTIONS))
    return list(found.values())


def base(said: Sequence[Sentence], vectors: Vectors, queries: int, mixed: bool) -> Base:
    """Hold some questions out as queries; what else there is becomes the base.

    Args:
        vectors: one unit vector a sentence.
        queries: how many questions are held out at most.
        mixed: whether the other questions join the base; else the base holds statements only.
    """
    asked = np.asarray([sentence.asked for sentence in said])
    order = np.random.default_rng(0).permutation(len(said))
    held = order[asked[order]][:queries]
    rest = np.setdiff1d(order, held)
    rest = rest if mixed else rest[~asked[rest]]
    names = np.asarray([said[row].culture for row in rest])
    by_culture = np.argsort(names, kind="stable")
    return Base(vectors[rest][by_culture], vectors[held])


def grow(real: Vectors, count: int, noise: float, out: Vectors) -> None:
    """Fill `out` with so many points: the real ones (or some of them), then others between each and its nearest.

    A point lies at a random place between a sentence and one of its nearest, and is then moved by `noise`, in the
    directions in which real sentences differ. Points of a sentence stay together, in the order of `real`.

    Args:
        real: unit vectors, shape (n, dimension).
        noise: mean length of the move; the point is brought back to length 1.
        out: shape (count, dimension), written to.
    """
    random = np.random.default_rng(count)
    if count <= len(real):
        out[:] = real[np.sort(random.choice(len(real), count, replace=False))]
        return
    near, spread = nearest(real, real, NEAR + 1)[1][:, 1:], _spread(real)
    more = random.integers(len(real), size=count - len(real))
    sources = np.sort(np.concatenate([np.arange(len(real)), more]))
    first = np.concatenate([[True], np.diff(sources) > 0])
    for start in range(0, count, _BLOCK):
        part = sources[start : start + _BLOCK]
        other = real[near[part, random.integers(near.shape[1], size=len(part))]]
        share = random.uniform(0, 1, (len(part), 1)).astype(np.float32)
        moved = random.standard_normal((len(part), real.shape[1]), dtype=np.float32) @ spread
        points = unit(unit((1 - share) * real[part] + share * other) + noise * moved)
        whole = first[start : start + _BLOCK]
        points[whole] = real[part[whole]]
        out[start : start + len(part)] = points


def nearest(queries: Vectors, vectors: Vectors, k: int) -> tuple[Vectors, Rows]:
    """Give cosines and rows of the k nearest of each query, best first, by comparing with every vector."""
    scores = np.empty((len(queries), 0), dtype=np.float32)
    rows = np.empty((len(queries), 0), dtype=np.int64)
    for start in range(0, len(vectors), _BLOCK):
        block = queries @ vectors[start : start + _BLOCK].T
        some = np.argpartition(-block, min(k, block.shape[1]) - 1, axis=1)[:, :k]
        scores = np.concatenate([scores, np.take_along_axis(block, some, 1)], axis=1)
        rows = np.concatenate([rows, some + start], axis=1)
        best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        scores, rows = np.take_along_axis(scores, best, 1), np.take_along_axis(rows, best, 1)
    return scores, rows


def unit(vectors: Vectors) -> Vectors:
    """Bring vectors to length 1."""
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)


def histogram(distances: Vectors, width: float = 0.05) -> list[int]:
    """Count distances (1 - cosine) in bins of a width from 0 to 1; what lies beyond counts in the last."""
    bins = round(1 / width)
    found: list[int] = np.bincount(np.clip(distances / width, 0, bins - 1).astype(int), minlength=bins).tolist()
    return found


def _spread(real: Vectors) -> Vectors:
    """Give the matrix that turns independent noise into noise with the covariance of real vectors and mean length 1."""
    values, directions = np.linalg.eigh(np.cov(real.T))
    lengths = np.sqrt(np.clip(values, 0, None) / values.sum())
    return np.asarray((directions * lengths).T, dtype=np.float32)


def _lines(file: Path) -> list[str]:
    return [line for line in file.read_text(encoding="utf-8").split("\n") if line.strip()]


def _files() -> list[Path]:
    return sorted((KNOWLEDGE / "descriptions").glob("*.jsonl"))


def _peoples(registry: Iterable[Culture]) -> Iterator[Culture]:
    described = {file.stem for file in _files()}
    return (each for each in registry if each.people and len(each.id) == 2 and each.id not in described)


def _retold(row: dict[str, Any], source: Culture, target: Culture) -> dict[str, Any]:
    """Tell a row of the knowledge of another people."""
    told = {key: row[key] and retell(row[key], source, target) for key in ("statement", "offends")}
    sources = [{**each, "says": retell(each["says"], source, target)} for each in row["sources"]]
    questions = [retell(each, source, target)[:200] for each in row["questions"]]
    id = f"{target.id.lower()}-{row['topic'].replace('_', '-')}-of-{row['id']}"
    return {**row, **told, "id": id, "culture": target.id, "sources": sources, "questions": questions}


def retell(text: str, source: Culture, target: Culture) -> str:
    """Put one people's names in the place of another's; a text without a name is said to be of the other people."""
    names = sorted((source.name, *source.aliases, *source.people), key=len, reverse=True)
    places = {source.name, *source.aliases}
    pattern = re.compile(rf"\b({'|'.join(map(re.escape, names))})\b")
    told, count = pattern.subn(lambda found: target.name if found[0] in places else target.people[0], text)
    return told if count else f"{target.name}: {text}"
