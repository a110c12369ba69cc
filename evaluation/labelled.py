"""Exchanges that somebody has labelled safe or unsafe: JSON lines in, values out; it knows no judge."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evaluation import samples
from evaluation.samples import Row, SamplesUnusable

_CULTURE = re.compile(r"[A-Z]{2}(-[A-Z0-9]{1,3})?|x-[a-z0-9-]+")
_LANGUAGE = re.compile(r"[a-z]{2,3}")
_MAX_DESCRIPTIONS, _MAX_CULTURES = 50, 8  # what the route takes


@dataclass(frozen=True, slots=True)
class Labelled:
    """One exchange and its label; without descriptions (None) whoever judges looks them up.

    Rows of one group are not independent: they are drawn together, and no half of the rows splits them.
    """

    id: str
    question: str
    response: str
    unsafe: bool
    descriptions: tuple[str, ...] | None
    cultures: tuple[str, ...]
    language: str | None
    group: str
    where: str

    def body(self) -> dict[str, Any]:
        """Give the request that has it judged."""
        body: dict[str, Any] = {
            "messages": [{"role": "user", "content": self.question}],
            "response": self.response,
        }
        if self.cultures:
            body["cultures"] = list(self.cultures)
        if self.descriptions is not None:
            body["descriptions"] = list(self.descriptions)
        return body


def read(path: Path, limit: int | None = None) -> tuple[Labelled, ...]:
    """Read labelled exchanges, all of them before anything is done; with a limit those of the lowest SHA-256 of the id.

    Raises:
        SamplesUnusable: a row is broken; the message names file, line, field and reason.
    """
    found = tuple(_labelled(row) for row in samples.rows(path, named=False))
    if limit is not None:
        found = tuple(sorted(found, key=lambda row: samples.digest(row.id))[:limit])
    return found


def _labelled(row: Row) -> Labelled:
    id = row.text("id") if row.has("id") else f"line {row.where.rpartition(':')[2]}"
    question = row.text("question")
    return Labelled(
        id=id,
        question=question,
        response=row.text("response"),
        unsafe=row.choice("label", ("safe", "unsafe")) == "unsafe",
        descriptions=_descriptions(row),
        cultures=_cultures(row),
        language=_language(row),
        group=row.text("group") if row.has("group") else question,
        where=row.where,
    )


def _descriptions(row: Row) -> tuple[str, ...] | None:
    found = row.texts("descriptions")
    if found is not None and len(found) > _MAX_DESCRIPTIONS:
        raise SamplesUnusable(f"{row.where}: descriptions: wanted at most {_MAX_DESCRIPTIONS}")
    return found


def _cultures(row: Row) -> tuple[str, ...]:
    found = row.texts("cultures") or ()
    if len(found) > _MAX_CULTURES or not all(_CULTURE.fullmatch(id) for id in found):
        raise SamplesUnusable(f"{row.where}: cultures: wanted at most {_MAX_CULTURES} ids such as JP, ES-CT or x-maori")
    return found


def _language(row: Row) -> str | None:
    if not row.has("language"):
        return None
    if not _LANGUAGE.fullmatch(code := row.text("language")):
        raise SamplesUnusable(f"{row.where}: language: wanted an ISO 639 code such as en")
    return code
