"""One cultural description and its sources, as the index keeps them: JSON lines in and out."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Source:
    """Where a description comes from, and what that place says in one sentence."""

    author: str
    title: str
    url: str
    date: str
    says: str


@dataclass(frozen=True, slots=True)
class Description:
    """One custom of one culture: a hedged statement, the contrary act, the questions it answers, its sources."""

    id: str
    culture: str
    topic: str
    statement: str
    offends: str | None
    questions: tuple[str, ...]
    strength: str
    harmful: bool
    sources: tuple[Source, ...]
    review: str
    region: str | None = None
    generation: str | None = None
    setting: str | None = None
    language: str = "en"


def parse(row: dict[str, Any]) -> Description:
    """Turn one JSON object of an index (or a checked knowledge row) into a description."""
    scope = row.get("scope") or {}
    return Description(
        id=row["id"],
        culture=row["culture"],
        topic=row["topic"],
        statement=row["statement"],
        offends=row["offends"],
        questions=tuple(row["questions"]),
        strength=row["strength"],
        harmful=row["harmful"],
        sources=tuple(Source(**source) for source in row["sources"]),
        review=row["review"],
        region=scope.get("region", row.get("region")),
        generation=scope.get("generation", row.get("generation")),
        setting=scope.get("setting", row.get("setting")),
        language=row["language"],
    )


def load(path: Path) -> tuple[Description, ...]:
    """Read descriptions from JSON lines written by `dump`.

    Raises:
        ValueError: a line is broken; the message names file and line.
    """
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1):
        if line:
            try:
                found.append(parse(json.loads(line)))
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise ValueError(f"{path}:{number}: not a description ({error})") from error
    return tuple(found)


def dump(descriptions: Iterable[Description]) -> str:
    """Write descriptions as JSON lines, keys sorted, so that the same knowledge gives the same bytes."""
    return "".join(
        json.dumps(asdict(description), ensure_ascii=False, sort_keys=True) + "\n" for description in descriptions
    )
