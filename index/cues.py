"""Reads the cue words of cultures: names of festivals, food, garments and the like that point to a culture."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from babel import Locale, UnknownLocaleError
from pydantic import BaseModel, ConfigDict, Field, field_validator

from index import lines
from retrieval.cultures import Cultures

Kind = Literal["festival", "food", "garment", "rite", "greeting", "kinship", "institution", "title", "object", "place"]


class _Row(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    cue: str = Field(min_length=2, max_length=60)
    language: str
    kind: Kind
    gloss: str = Field(min_length=3, max_length=200)
    also: list[str]

    @field_validator("language")
    @classmethod
    def _is_language(cls, value: str) -> str:
        try:
            Locale.parse(value, sep="-")
        except (UnknownLocaleError, ValueError):
            if not (value.isalpha() and value.islower() and len(value) in (2, 3)):
                raise ValueError(f"{value!r} is no language code (ISO 639), such as en or am") from None
        return value


@dataclass(frozen=True, slots=True)
class Cue:
    """A word or phrase that points to a culture; `also` are others that it points to as much."""

    text: str
    culture: str
    language: str
    kind: str
    gloss: str
    also: tuple[str, ...]


def read(root: Path, registry: Cultures) -> Iterator[Cue | tuple[str, str, str]]:
    """Read `cues/*.jsonl` under a folder: each cue, or where it stands, which field is wrong, and why."""
    seen: set[tuple[str, str, str]] = set()
    for file in sorted((root / "cues").glob("*.jsonl")):
        if file.stem not in registry:
            yield str(file), "culture", f"{file.stem} is not in cultures.jsonl; add it there first"
            continue
        for where, row, wrong in lines.read(file, _Row):
            yield from ((where, field, reason) for field, reason in wrong)
            if row is None:
                continue
            cue = Cue(row["cue"], file.stem, row["language"], row["kind"], row["gloss"], tuple(row["also"]))
            key = (cue.culture, cue.text.casefold(), cue.language)
            if key in seen:
                yield where, "cue", f"{cue.text} occurs twice for {cue.culture}"
            seen.add(key)
            for id in cue.also:
                if id == cue.culture:
                    yield where, "also", f"{id} is this culture itself"
                elif id not in registry:
                    yield where, "also", f"{id} is not in cultures.jsonl; add it there first"
            yield cue
