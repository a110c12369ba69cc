"""Public test sets as typed rows: JSON lines in, values out; it knows no detector and no encoder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


class SamplesUnusable(Exception):
    """A set cannot be used; the message is one sentence that names the file and, where there is one, the line."""


@dataclass(frozen=True, slots=True)
class Row:
    """One JSON object of a set and where it stands (`file:line`)."""

    values: Mapping[str, Any]
    where: str

    def text(self, field: str) -> str:
        """Give a field that must be text.

        Raises:
            SamplesUnusable: it is missing, empty, no text, or holds half a surrogate pair.
        """
        value = self.values.get(field)
        if not isinstance(value, str) or not value or any("\ud800" <= char <= "\udfff" for char in value):
            raise self._unusable(field, "text")
        return value

    def flag(self, field: str) -> bool:
        """Give a field that must be true or false.

        Raises:
            SamplesUnusable: it is missing or anything else.
        """
        value = self.values.get(field)
        if not isinstance(value, bool):
            raise self._unusable(field, "true or false")
        return value

    def number(self, field: str) -> int:
        """Give a field that must be a whole number.

        Raises:
            SamplesUnusable: it is missing or anything else.
        """
        value = self.values.get(field)
        if not isinstance(value, int) or isinstance(value, bool):
            raise self._unusable(field, "a whole number")
        return value

    def choice(self, field: str, choices: Iterable[str]) -> str:
        """Give a field that must be one of some words.

        Raises:
            SamplesUnusable: it is missing or anything else.
        """
        value, words = self.values.get(field), tuple(choices)
        if not isinstance(value, str) or value not in words:
            raise self._unusable(field, " or ".join(words))
        return value

    def texts(self, field: str) -> tuple[str, ...] | None:
        """Give a field that may be missing or null, else must be a list of texts.

        Raises:
            SamplesUnusable: it is anything else, or a text of it is empty or holds half a surrogate pair.
        """
        value = self.values.get(field)
        if value is None:
            return None
        if not isinstance(value, list):
            raise self._unusable(field, "a list of texts")
        return tuple(Row({f"{field}[{i}]": item}, self.where).text(f"{field}[{i}]") for i, item in enumerate(value))

    def objects(self, field: str) -> tuple[Mapping[str, Any], ...]:
        """Give a field that must be a list of objects.

        Raises:
            SamplesUnusable: it is missing or anything else.
        """
        value = self.values.get(field)
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            raise self._unusable(field, "a list of objects")
        return tuple(value)

    def has(self, field: str) -> bool:
        """Tell whether a field is there and not null."""
        return self.values.get(field) is not None

    def _unusable(self, field: str, wanted: str) -> SamplesUnusable:
        return SamplesUnusable(f"{self.where}: {field}: wanted {wanted}")


@dataclass(frozen=True, slots=True)
class Sample:
    """A text and the culture that it is about, None where it is about none; rows of one group are not independent."""

    id: str
    part: str
    text: str
    culture: str | None
    group: str


@dataclass(frozen=True, slots=True)
class Query:
    """A text and the text that it should find among those of its culture; `named`: it mostly names its culture."""

    id: str
    text: str
    culture: str
    target: str
    named: bool = False


Reader = Callable[[Row], Iterable[Sample]]


def rows(path: Path, *, named: bool = True) -> tuple[Row, ...]:
    """Read a set: UTF-8, one JSON object a line, an `id` in each, once.

    Lines end in a line feed only: the texts hold other Unicode line separators.

    Args:
        named: whether each row must have an id; one that is there must be unique either way.

    Raises:
        SamplesUnusable: a row is broken, an id is missing or occurs twice, or there is no row.
    """
    try:
        lines = path.read_bytes().decode("utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise SamplesUnusable(f"{path}: cannot be read as UTF-8 ({error})") from error
    parsed = tuple(_parse(line, f"{path}:{number}") for number, line in enumerate(lines, 1) if line.strip())
    if not parsed:
        raise SamplesUnusable(f"{path}: there is no row in it")
    seen: set[str] = set()
    for row in parsed:
        if not named and not row.has("id"):
            continue
        if (id := row.text("id")) in seen:
            raise SamplesUnusable(f"{row.where}: id: {id!r} occurs twice")
        seen.add(id)
    return parsed


def pick(samples: Iterable[Sample], limit: int | None) -> tuple[Sample, ...]:
    """Keep at most `limit` samples of each part, those with the lowest SHA-256 of their id: no chance, no order."""
    if limit is None:
        return tuple(samples)
    parts: dict[str, list[Sample]] = {}
    for sample in samples:
        parts.setdefault(sample.part, []).append(sample)
    return tuple(sample for part in parts.values() for sample in sorted(part, key=lambda s: digest(s.id))[:limit])


def digest(id: str) -> str:
    """Give the SHA-256 of an id in hexadecimal."""
    return hashlib.sha256(id.encode()).hexdigest()


def _parse(line: str, where: str) -> Row:
    try:
        values = json.loads(line)
    except ValueError as error:
        raise SamplesUnusable(f"{where}: not a JSON object ({error})") from error
    if not isinstance(values, dict):
        raise SamplesUnusable(f"{where}: not a JSON object")
    return Row(values, where)


def _safeworld(row: Row) -> Iterator[Sample]:
    part = f"safeworld {row.text('set')} type {row.number('type')}"
    group = row.text("norm") if row.values.get("norm") else row.text("id")
    yield Sample(row.text("id"), part, row.text("query"), row.text("culture"), group)


def _adaculturesafe(row: Row) -> Iterator[Sample]:
    part = f"adaculturesafe {row.text('kind')}"
    yield Sample(row.text("id"), part, row.text("query"), row.text("culture"), row.text("description_id"))


def _culturalbench(row: Row) -> Iterator[Sample]:
    yield Sample(row.text("id"), "culturalbench", row.text("question"), row.text("culture"), row.text("id"))


def _blend(row: Row) -> Iterator[Sample]:
    id, culture, region, language = (row.text(field) for field in ("id", "culture", "region", "lang"))
    yield Sample(id, "blend English", row.text("question_en"), culture, region)  # a region's rows name it alike
    if language != "en":
        yield Sample(id, "blend local", row.text("question_local"), culture, region)
        yield Sample(id, f"blend local {language}", row.text("question_local"), culture, id)


def _dosa(row: Row) -> Iterator[Sample]:
    group = f"{row.text('region')} {row.text('artifact')}"
    yield Sample(row.text("id"), "dosa clues", row.text("clues"), row.text("culture"), group)


def _xstest(row: Row) -> Iterator[Sample]:
    if row.flag("safe"):
        yield Sample(row.text("id"), "xstest safe", row.text("prompt"), None, row.text("id"))


def _orbench(row: Row) -> Iterator[Sample]:
    yield Sample(row.text("id"), "orbench", row.text("prompt"), None, row.text("id"))


def _coconot(row: Row) -> Iterator[Sample]:
    part = "safety concerns" if "safety" in row.text("category") else "other requests"
    yield Sample(row.text("id"), f"coconot_contrast {part}", row.text("prompt"), None, row.text("id"))


def _rtplx(row: Row) -> Iterator[Sample]:
    if row.flag("benign"):
        item = row.text("id").rsplit("-", 1)[-1]  # one base item, in every locale
        yield Sample(row.text("id"), "rtplx_benign", row.text("text"), None, item)


def _hatecheck(row: Row) -> Iterator[Sample]:
    part = "hatecheck hateful" if row.flag("hateful") else "hatecheck not hateful"
    yield Sample(row.text("id"), part, row.text("text"), None, row.text("function"))


# Texts that are about one culture, and texts that are about none (or hardly ever); by the name of their file.
NAMED: Mapping[str, Reader] = {
    "safeworld.jsonl": _safeworld,
    "adaculturesafe.queries.jsonl": _adaculturesafe,
    "culturalbench.jsonl": _culturalbench,
    "blend.jsonl": _blend,
    "dosa.jsonl": _dosa,
}
SILENCE: Mapping[str, Reader] = {
    "xstest.jsonl": _xstest,
    "orbench.jsonl": _orbench,
    "coconot_contrast.jsonl": _coconot,
    "rtplx_benign.jsonl": _rtplx,
    "hatecheck.jsonl": _hatecheck,
}
