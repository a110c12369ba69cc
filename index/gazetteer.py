"""Makes the table of places that comes with Comity (`detection/places`), and the names that an index version carries.

    python -m index.gazetteer [knowledge]

writes the table anew, after a change of the libraries or of the registry's subdivisions; it needs the extra `names`.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from detection import folding, phrases, table
from detection.table import ORDINARY, PERSON, Sense
from index import knowledge, places
from index.knowledge import Knowledge
from retrieval.description import Description

_LOWER = re.compile(r"\b[a-z]{3,}\b")
_KEPT = 4  # senses of one name
_CUES = {1: 0.85, 2: 0.7, 3: 0.6}  # how likely a cue means its culture, by how many share it


def names(found: Knowledge) -> bytes:
    """Give the names and cue words of a knowledge base, JSON lines as `detection.own` reads them."""
    rows = [
        {"name": name.text, "kind": "people" if name.kind == "people" else "region", "culture": name.culture,
         "chance": 0.95 if name.kind == "people" else 0.9, "language": ""}
        for name in found.names
    ] + list(_cues(found))  # fmt: skip
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def write(found: Knowledge, folder: Path) -> int:
    """Write the table of places into a folder; give how many names it has.

    What is written in lower case in the descriptions of the knowledge is an ordinary word, whatever place is called so.
    """
    people, senses = places.populations(), dict[str, list[Sense]]()
    for name, sense in places.collect(found.cultures):
        senses.setdefault(folding.name(name), []).append(sense)
    ordinary = _ordinary(found.descriptions) | phrases.ORDINARY
    persons = (places.persons() | phrases.PERSONS) - phrases.PLACES
    table.save(
        (
            (name, replace(sense, flags=sense.flags | ORDINARY * (name in ordinary) | PERSON * (name in persons)))
            for name, each in senses.items()
            for sense in table.ranked(table.joined(each), people)[:_KEPT]
        ),
        people,
        folder,
    )
    return len(senses)


def _cues(found: Knowledge) -> Iterator[dict[str, str | float]]:
    """Give the cue words; one of several cultures says less of each, and among its own it is told first."""
    owners: dict[tuple[str, str], dict[str, float]] = {}
    spelt: dict[tuple[str, str], str] = {}
    for cue in found.cues:
        key = (folding.name(cue.text), cue.language)
        shared = owners.setdefault(key, {})
        spelt.setdefault(key, cue.text)
        shared.update({culture: 0.0 for culture in cue.also if culture not in shared})
        shared[cue.culture] = 0.1 + 0.05 * cue.culture.startswith("x-")
    for key, cultures in owners.items():
        for culture, more in sorted(cultures.items()):
            chance = round(min(0.9, _CUES.get(len(cultures), 0.5) + more), 2)
            language = "" if key[1] == "en" else key[1]
            yield {"name": spelt[key], "kind": "cue", "culture": culture, "chance": chance, "language": language}


def _ordinary(rows: Sequence[Description]) -> frozenset[str]:
    return frozenset(word for row in rows for text in (row.statement, *row.questions) for word in _LOWER.findall(text))


if __name__ == "__main__":
    count = write(knowledge.load(Path(*(sys.argv[1:2] or ["knowledge"]))), table.PLACES)
    sys.stdout.write(f"{count} names to {table.PLACES}\n")
