"""The names that the registry of cultures and the knowledge base have themselves, beside the table of places."""

from __future__ import annotations

import json
from collections.abc import Iterator

from babel import Locale

from detection import folding, phrases, table
from detection.table import EXACT, ORDINARY, PERSON, TONGUE, Kind, Row, Sense
from retrieval.cultures import Cultures


def read(registry: Cultures, lines: str) -> table.Table:
    """Make the table of the registry's names, and of the further names and cue words that an index carries.

    Args:
        lines: JSON lines of `name`, `kind`, `culture`, `chance` (0 to 1) and `language` ("" is any).

    Raises:
        KeyError, ValueError: a line is broken.
    """
    found: dict[str, list[Sense]] = {}
    for name, sense in (*_registry(registry), *_carried(lines)):
        if name and sense.culture in registry:
            found.setdefault(name, []).append(sense)
    found |= {folding.name(phrase): [Sense("nothing", "", 1.0)] for phrase in phrases.NOTHING}
    people = table.populations()
    return table.make(
        (name, sense) for name, senses in found.items() for sense in table.ranked(table.joined(senses), people)
    )


def _registry(registry: Cultures) -> Iterator[Row]:
    tongues = {folding.name(str(name)) for name in Locale("en").languages.values()}
    for culture in registry:
        kind: Kind = "people" if culture.id.startswith("x-") else "region" if "-" in culture.id else "country"
        for name in (culture.name, *culture.aliases):
            yield _row(name, Sense(kind, culture.id, 0.97))
    for culture in registry:
        for word in culture.people:
            tongue = TONGUE * (folding.name(word) in tongues)
            yield _row(word, Sense("people", culture.id, 0.95, tongue, frozenset({"en"})))


def _carried(lines: str) -> Iterator[Row]:
    for line in lines.split("\n"):
        if line:
            row = json.loads(line)
            spoken = frozenset({row["language"]} - {""})
            yield _row(row["name"], Sense(row["kind"], row["culture"], row["chance"], 0, spoken))


def _row(name: str, sense: Sense) -> Row:
    """Give a name folded, or as written where it is short and in capitals, and mark what is an ordinary word too."""
    if sense.kind != "cue" and len(name.replace(".", "")) <= 3 and name.isascii() and name.isupper():
        return name, Sense(sense.kind, sense.culture, sense.chance, sense.flags | EXACT)
    key = folding.name(name)
    flags = ORDINARY * (key in phrases.ORDINARY) | PERSON * (key in phrases.PERSONS and sense.kind != "cue")
    return key, Sense(sense.kind, sense.culture, sense.chance, sense.flags | flags, sense.spoken)
