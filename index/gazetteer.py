"""The names and cue words of the knowledge base, as an index version carries them for detection."""

from __future__ import annotations

import json
from collections.abc import Iterator

from detection import folding
from index.knowledge import Knowledge

_CUES = {1: 0.85, 2: 0.7, 3: 0.6}  # how likely a cue means its culture, by how many share it


def names(found: Knowledge) -> bytes:
    """Give the names and cue words of a knowledge base, JSON lines as `detection.own` reads them."""
    rows = [
        {"name": name.text, "kind": "people" if name.kind == "people" else "region", "culture": name.culture,
         "chance": 0.95 if name.kind == "people" else 0.9, "language": "en" if name.kind == "people" else ""}
        for name in found.names
    ] + list(_cues(found))  # fmt: skip
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


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
            yield {"name": spelt[key], "kind": "cue", "culture": culture, "chance": chance, "language": key[1]}
