"""Reads names of places and peoples that no table of countries, subdivisions and cities has: Bavaria, Maasai, Siam."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from index import lines
from retrieval.cultures import Cultures

Kind = Literal["region", "landmark", "people", "former"]


class _Row(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    name: str = Field(min_length=2, max_length=60)
    culture: str
    kind: Kind


@dataclass(frozen=True, slots=True)
class Name:
    """What a place or people is called in English, and the culture that it belongs to."""

    text: str
    culture: str
    kind: Kind


def read(root: Path, registry: Cultures) -> Iterator[Name | tuple[str, str, str]]:
    """Read `names.jsonl` under a folder: each name, or where it stands, which field is wrong, and why."""
    file = root / "names.jsonl"
    if not file.is_file():
        return
    seen: set[tuple[str, str]] = set()
    for where, row, wrong in lines.read(file, _Row):
        yield from ((where, field, reason) for field, reason in wrong)
        if row is None:
            continue
        name = Name(row["name"], row["culture"], row["kind"])
        key = (name.text.casefold(), name.culture)
        if key in seen:
            yield where, "name", f"{name.text} occurs twice for {name.culture}"
        seen.add(key)
        if name.culture not in registry:
            yield where, "culture", f"{name.culture} is not in cultures.jsonl; add it there first"
        yield name
