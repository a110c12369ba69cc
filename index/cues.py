"""Reads the cue words of cultures: names of festivals, food, garments and the like that point to a culture."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from babel import Locale, UnknownLocaleError
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

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
        for number, line in enumerate(file.read_bytes().split(b"\n"), 1):
            if not line.strip():
                continue
            where = f"{file}:{number}"
            try:
                row = _Row.model_validate(json.loads(line.decode("utf-8")))
            except ValidationError as error:
                for item in error.errors(include_url=False, include_context=False, include_input=False):
                    field = ".".join(str(part) for part in item["loc"]) or "row"
                    yield where, field, item["msg"].removeprefix("Value error, ")
                continue
            except ValueError as error:
                yield where, "line", f"not a JSON object in UTF-8 ({error})"
                continue
            key = (file.stem, row.cue.casefold(), row.language)
            if key in seen:
                yield where, "cue", f"{row.cue} occurs twice for {file.stem}"
            seen.add(key)
            for id in row.also:
                if id not in registry or id == file.stem:
                    yield (
                        where,
                        "also",
                        f"{id} is {'this culture itself' if id == file.stem else 'not in cultures.jsonl'}",
                    )
            yield Cue(row.cue, file.stem, row.language, row.kind, row.gloss, tuple(row.also))
