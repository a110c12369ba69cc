"""Trains what tells names that are meant as names from those that are not, and the role of a culture in a message.

    python -m adaptation.detector [LESSONS …] [--out detection/weights.json]

Lessons are messages in which every name is marked (`adaptation/lessons/`): `[[Izmir|TR|setting]]` is meant as the name
of a place, `[[Jordan]]` is not. They were written without sight of the messages that detection is measured on. Two
logistic regressions are fitted to features of what stands in and around a name (`detection/clues.py`). What is printed
is measured on messages that the weights were not fitted to, five folds in turn.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.feature_extraction import DictVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold

from detection import clues, weights
from detection.clues import Around, Candidate
from detection.folding import Folded
from detection.mentions import Names
from detection.weights import ROLES, SCALE, WEIGHTS
from index import gazetteer, knowledge

LESSONS = Path(__file__).parent / "lessons"
_MARK = re.compile(r"\[\[([^\]|]+)(?:\|([^|\]]+)\|(\w+))?\]\]")
_SEEN = 2  # messages that a feature must be in
_RATE = 0.3  # the inverse of how strongly large weights are held down
_LEAST = 3  # weights smaller than this in every column are left out; hundredths
_FOLDS = 5
# Lessons hold look-alikes as often as names; in what people write they are rare.
_NOT_MEANT = 0.3
# What is not marked is no name; but beside marks a custom's word may have been overlooked by who marked.
_UNMARKED = 0.5


@dataclass(frozen=True, slots=True)
class Mark:
    """A name marked in a text: where it stands, the cultures that it means (none where it only looks so), its role."""

    start: int
    end: int
    cultures: tuple[str, ...]
    role: str | None


@dataclass(frozen=True, slots=True)
class Row:
    """One candidate of one message: its features and their values, what is true of it, how much it counts."""

    message: int
    values: Mapping[str, float]
    meant: bool
    role: str | None
    counts: float


class LessonsBroken(Exception):
    """A lesson is not what it must be; the text says where and why."""


def parse(marked: str) -> tuple[str, list[Mark]]:
    """Give a text without its marks, and the marks.

    Raises:
        ValueError: a role is none of the four, or a mark is not closed.
    """
    text, marks, reached = "", [], 0
    for found in _MARK.finditer(marked):
        text += marked[reached : found.start()]
        cultures = tuple(id.strip() for id in (found[2] or "").split(",") if id.strip())
        if found[3] and found[3] not in ROLES:
            raise ValueError(f"{found[3]} is no role")
        marks.append(Mark(len(text), len(text) + len(found[1]), cultures, found[3]))
        text += found[1]
        reached = found.end()
    text += marked[reached:]
    if "[[" in text or "]]" in text:
        raise ValueError("a mark is not closed, or has other than one or three parts")
    return text, marks


def read(files: Iterable[Path]) -> Iterator[list[dict[str, str]]]:
    """Give the messages of each lesson.

    Raises:
        LessonsBroken: a line is no lesson.
    """
    for file in files:
        for number, line in enumerate(file.read_text(encoding="utf-8").split("\n"), 1):
            if not line:
                continue
            try:
                told = json.loads(line)["messages"]
                for message in told:
                    parse(message["content"])
            except (ValueError, KeyError, TypeError) as error:
                raise LessonsBroken(f"{file}:{number}: {error}") from error
            yield told


def rows(lessons: Iterable[Sequence[Mapping[str, str]]], names: Names) -> Iterator[Row]:
    """Give a row for each candidate in the messages of users and in system prompts."""
    for number, messages in enumerate(lessons):
        for message in messages:
            if message["role"] != "assistant":
                text, marks = parse(message["content"])
                folded, around, candidates = names.candidates(text)
                if around:
                    yield from _rows(number, message["role"], marks, folded, around, candidates)


def _rows(
    number: int, speaker: str, marks: Sequence[Mark], folded: Folded, around: Around, candidates: Sequence[Candidate]
) -> Iterator[Row]:
    share = weights.of_words(len(around.words))
    for place, candidate in enumerate(candidates):
        start, end = folded.where(candidate.start, candidate.end)
        mark = next((mark for mark in marks if mark.start < end and start < mark.end), None)
        values = dict.fromkeys(around.words, share) | dict.fromkeys(
            clues.features(candidates, place, folded, around), 1.0
        )
        if mark is None:
            if candidate.kind != "cue" or not marks:
                yield Row(number, values, False, None, _UNMARKED)
            continue
        senses = candidate.senses if candidate.kind == "cue" else candidate.senses[:1]
        meant = any(_same(sense.culture, id) for sense in senses for id in mark.cultures)
        counts = 1.0 if mark.cultures else _NOT_MEANT
        yield Row(number, values, meant, mark.role if meant and speaker == "user" else None, counts)


def _same(one: str, other: str) -> bool:
    """Tell whether one culture is the other or a subdivision of it."""
    return one == other or one.startswith(f"{other}-") or other.startswith(f"{one}-")


def train(found: Sequence[Row]) -> dict[str, list[int]]:
    """Fit both models and give the weights of each feature: being meant, then the roles; hundredths."""
    known = _known(found)
    told = [row for row in found if row.role]
    meant, columns = _fit(found, known, [row.meant for row in found])
    role, role_columns = _fit(told, known, [row.role for row in told])
    table: dict[str, list[int]] = {}
    for feature, place in columns.items():
        table[feature] = [_hundredths(meant.coef_[0][place]), *[0] * len(ROLES)]
    order = [list(role.classes_).index(name) for name in ROLES]
    for feature, place in role_columns.items():
        row = table.setdefault(feature, [0] * (1 + len(ROLES)))
        row[1:] = [_hundredths(role.coef_[each][place]) for each in order]
    return {feature: row for feature, row in sorted(table.items()) if max(map(abs, row)) >= _LEAST}


def _hundredths(weight: float) -> int:
    return round(float(weight) * SCALE)


def _known(found: Iterable[Row]) -> frozenset[str]:
    """Give the features that enough messages have."""
    seen = Counter(feature for _, feature in {(row.message, feature) for row in found for feature in row.values})
    return frozenset(feature for feature, count in seen.items() if count >= _SEEN)


def _fit(
    found: Sequence[Row], known: frozenset[str], truth: Sequence[Any]
) -> tuple[LogisticRegression, dict[str, int]]:
    # The features that every candidate has stand for the constant, which the service does not add.
    vectors = DictVectorizer()
    matrix = vectors.fit_transform([{f: v for f, v in row.values.items() if f in known} for row in found])
    model = LogisticRegression(C=_RATE, max_iter=1000, fit_intercept=False)
    model.fit(matrix, truth, [row.counts for row in found])
    return model, dict(vectors.vocabulary_)


def measure(found: Sequence[Row]) -> dict[str, float]:
    """Measure on messages that were not learned from: shares of marked names and of roles that are right."""
    groups = [row.message for row in found]
    right: dict[str, list[bool]] = {"meant": [], "role": []}
    for learned, held in GroupKFold(_FOLDS).split(found, groups=groups):
        model = weights.Weights(train([found[i] for i in learned]))
        for i in held:
            row = found[i]
            if row.counts in (1.0, _NOT_MEANT):
                weighed = model.of(row.values)
                right["meant"].append((weighed.chance >= 0.5) is row.meant)
                if row.role:
                    right["role"].append(weighed.role == row.role)
    return {name: float(np.mean(each)) for name, each in right.items()}


def main(arguments: list[str] | None = None) -> int:
    """Train, print how good it is, write the weights."""
    parser = argparse.ArgumentParser(prog="python -m adaptation.detector", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("lessons", nargs="*", type=Path, default=sorted(LESSONS.glob("*.jsonl")))
    parser.add_argument("--knowledge", type=Path, default=Path("knowledge"), help="whose names and cues are known")
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    options = parser.parse_args(arguments)
    base = knowledge.load(options.knowledge)
    names = Names(base.cultures, gazetteer.names(base).decode())
    found = list(rows(read(options.lessons), names))
    for name, share in measure(found).items():
        sys.stdout.write(f"{name}: {share:.3f} right of what was not learned from\n")
    table = train(found)
    options.out.write_text(
        "{\n" + ",\n".join(f"{json.dumps(key, ensure_ascii=False)}: {value}" for key, value in table.items()) + "\n}\n",
        encoding="utf-8",
    )
    sys.stdout.write(f"{options.out}: {len(table)} features from {len(found)} names\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
