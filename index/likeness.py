"""Finds texts that say the same: near-duplicates within the knowledge, and runs of words that stand in another file."""

from __future__ import annotations

import json
import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from retrieval import words
from retrieval.cultures import Cultures
from retrieval.description import Description

# Share of stemmed words, stop words left out, that two statements have in common. The words for their culture do not
# count: the same sentence told of another people is the same sentence.
WITHIN, ACROSS = 0.6, 0.8
RUN = 8  # words in a row that two texts do not share by chance
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")


def repeats(rows: Sequence[Description], registry: Cultures) -> Iterator[tuple[Description, Description, float]]:
    """Give pairs of descriptions whose statements say nearly the same, and how much of their words they share.

    Only pairs that share one of their rarest words are compared, which misses none (Chaudhuri et al., 2006: a prefix
    filter), so ten thousand take seconds.
    """
    sets = [_said(row, registry) for row in rows]
    counts = Counter(word for said in sets for word in said)
    having: dict[str, list[int]] = defaultdict(list)
    for place, said in enumerate(sets):
        rarest = sorted(said, key=lambda word: (counts[word], word))
        prefix = rarest[: len(said) - math.ceil(WITHIN * len(said)) + 1]
        for other in sorted({each for word in prefix for each in having[word]}):
            share = len(said & sets[other]) / len(said | sets[other])
            if share >= (WITHIN if rows[other].culture == rows[place].culture else ACROSS):
                yield rows[other], rows[place], share
        for word in prefix:
            having[word].append(place)


def _said(row: Description, registry: Cultures) -> frozenset[str]:
    """Give the stemmed words of a statement, without those for its culture."""
    culture = registry[row.culture]
    own = {word for text in (culture.name, *culture.people, *culture.aliases) for word in words.tokens(text)}
    return frozenset(words.tokens(row.statement)) - own


def copied(rows: Iterable[Description], path: Path) -> Iterator[tuple[Description, str, str]]:
    """Give descriptions that share a run of words with a file: the description, the run, and the file's line.

    Args:
        path: JSON lines, of which each text is compared by itself, or any other text, line by line.

    Raises:
        OSError, UnicodeDecodeError: the file cannot be read.
    """
    runs: dict[tuple[str, ...], Description] = {}
    for row in rows:
        for text in (row.statement, row.offends or "", *row.questions):
            for run in _runs(text):
                runs.setdefault(run, row)
    seen: set[str] = set()
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1):
        for text in _texts(line):
            for run in _runs(text):
                if (found := runs.get(run)) and found.id not in seen:
                    seen.add(found.id)
                    yield found, " ".join(run), f"{path}:{number}"


def _runs(text: str) -> Iterator[tuple[str, ...]]:
    said = _WORD.findall(text.casefold())
    return (tuple(said[at : at + RUN]) for at in range(len(said) - RUN + 1))


def _texts(line: str) -> Iterator[str]:
    try:
        yield from _strings(json.loads(line))
    except ValueError:
        yield line


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | dict):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _strings(each)
