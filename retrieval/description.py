"""One cultural description and its sources, as the index keeps them: JSON lines in and out."""

from __future__ import annotations

import json
import mmap
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

KNOWLEDGE = "knowledge"  # the origin of what was not added to it
Offsets = npt.NDArray[np.int64]


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
    """One custom of one culture: a hedged statement, the contrary act, the questions it answers, its sources.

    `origin` is "knowledge", or the name under which it was added to an index.
    """

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
    origin: str = KNOWLEDGE


class Descriptions:
    """The descriptions of an index version, sorted by id; each is parsed when it is asked for."""

    def __init__(self, path: Path, offsets: Offsets, *, mapped: bool = False) -> None:
        """Read the file, or map it; offsets are those that `write` gave, shape (descriptions + 1,).

        Raises:
            OSError, ValueError: the file is empty or missing, or the offsets are not its own.
        """
        self._bytes: bytes | mmap.mmap = b""
        with path.open("rb") as file:
            self._bytes = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if mapped else file.read()
        if offsets.ndim != 1 or offsets.dtype != np.int64 or len(offsets) < 2:
            raise ValueError("offsets are no list of int64")
        if offsets[0] != 0 or offsets[-1] != len(self._bytes) or not (np.diff(offsets) > 0).all():
            raise ValueError("offsets do not rise from the beginning of the descriptions to their end")
        self._offsets = offsets

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def __getitem__(self, row: int) -> Description:
        """Read one description.

        Raises:
            IndexError: there is no such row.
            ValueError: its line is broken.
        """
        try:
            return parse(self._row(row))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"row {row} is not a description ({error})") from error

    def __iter__(self) -> Iterator[Description]:
        return (self[row] for row in range(len(self)))

    def find(self, id: str) -> Description | None:
        """Give the description of an id, or None."""
        row = bisect_left(range(len(self)), id, key=lambda row: str(self._row(row)["id"]))
        found = self[row] if row < len(self) else None
        return found if found and found.id == id else None

    def _row(self, row: int) -> dict[str, Any]:
        if not -len(self) <= row < len(self):
            raise IndexError(f"there is no row {row} in {len(self)} descriptions")
        row %= len(self)
        found: dict[str, Any] = json.loads(self._bytes[self._offsets[row] : self._offsets[row + 1]])
        return found


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
        origin=row.get("origin", KNOWLEDGE),
    )


def dump(descriptions: Iterable[Description]) -> str:
    """Write descriptions as JSON lines, keys sorted, so that the same knowledge gives the same bytes."""
    return "".join(_line(description) for description in descriptions)


def write(descriptions: Iterable[Description], path: Path) -> Offsets:
    """Write descriptions to a file as `dump` does, one after another; give the offsets of the lines and of the end.

    Raises:
        OSError: the file cannot be written.
    """
    offsets = [0]
    with path.open("wb") as file:
        for description in descriptions:
            offsets.append(offsets[-1] + file.write(_line(description).encode()))
    return np.asarray(offsets, dtype=np.int64)


def _line(description: Description) -> str:
    return json.dumps(asdict(description), ensure_ascii=False, sort_keys=True) + "\n"
