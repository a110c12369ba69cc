"""Reads descriptions from files of others: data sets about cultures, tables, and documents, checked row by row."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from index.importers import prose, table
from index.importers.fields import ALIKE, Columns, Plan, describe, lay
from index.importers.names import Names
from index.importers.rows import Row, Rows, undecodable
from index.knowledge import Fault, KnowledgeBroken
from retrieval.cultures import Cultures
from retrieval.description import Description, Source

FAULTS = 100  # kept of one file; the others are counted
_ORIGIN = re.compile(r"[a-z0-9]+([-_.][a-z0-9]+)*")
_SUFFIXES = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".md": "markdown",
    ".markdown": "markdown",
    ".txt": "text",
}


@dataclass(frozen=True, slots=True)
class _Format:
    rows: Callable[[Path, Plan], Rows]
    columns: Columns
    named: bool = True  # its columns may be named in a map
    binary: bool = False
    source: Source | None = None  # of rows that name none


_FORMATS = {
    "adaculturesafe": _Format(
        table.items,
        {"statement": ("Cultural Description",), "culture": ("Location",), "id": ("key",)},
        source=Source("AdaCultureSafe", "AdaCultureSafe", "https://github.com/khk-abc/AdaCultureSafe", "n.d.", ""),
    ),
    "culturebank": _Format(
        table.comma,
        {
            "statement": ("eval_whole_desc",),
            "culture": ("cultural group",),
            "id": ("cluster_id",),
            "topic": ("topic",),
            "agreement": ("agreement",),
            "setting": ("context",),
        },
        source=Source("Shi et al.", "CultureBank", "https://huggingface.co/datasets/SALT-NLP/CultureBank", "2024", ""),
    ),
    "normad": _Format(
        table.rules,
        {"statement": ("Rule-of-Thumb",), "culture": ("Country",), "topic": ("Subaxis",)},
        source=Source("Rao et al.", "NormAd", "https://github.com/Akhila-Yerukola/NormAd", "2025", ""),
    ),
    "jsonl": _Format(table.lines, ALIKE),
    "csv": _Format(table.comma, ALIKE),
    "parquet": _Format(table.parquet, ALIKE, binary=True),
    "markdown": _Format(prose.sections, ALIKE, named=False),
    "text": _Format(prose.paragraphs, ALIKE, named=False),
}
FORMATS = tuple(_FORMATS)


def read(
    path: Path, format: str, *, culture: str | None, fields: Mapping[str, str], origin: str, registry: Cultures
) -> tuple[Description, ...]:
    """Read a file of one of FORMATS, in its order; a statement that one culture has twice is kept once, the first.

    Args:
        culture: of rows that name none: an id, an ISO 3166-1 code, or a name that the registry knows.
        fields: which column each field is in, and what names of cultures and topics mean (docs/importing.md).
        origin: the name that the rows get, lower-case words joined by - _ or .

    Raises:
        KnowledgeBroken: with every fault found, the first 100 named; nothing of the file is used.
    """
    if format not in _FORMATS:
        raise KnowledgeBroken((Fault("--format", "format", f"{format!r} is not known; use {', '.join(FORMATS)}"),))
    if origin == "knowledge" or len(origin) > 64 or not _ORIGIN.fullmatch(origin):
        reason = f"{origin!r} cannot be a name; use up to 64 lower-case letters, digits, - _ and ., and not 'knowledge'"
        raise KnowledgeBroken((Fault("--name", "name", reason),))
    form = _FORMATS[format]
    names = Names(registry)
    plan = lay(Plan(origin, names, form.columns, form.source), fields, culture, named=form.named)
    try:
        if not form.binary:
            _refuse(path, undecodable(path))
        return _collect(path, form.rows(path, plan), plan)
    except OSError as error:
        raise KnowledgeBroken((Fault(str(path), "file", f"cannot be read ({error.strerror or error})"),)) from error


def guess(path: Path) -> str | None:
    """Give the format that a file's suffix, and of CSV and JSON its first line or bytes, leave no doubt of."""
    suffix = path.suffix.lower()
    if suffix not in (".csv", ".json"):
        return _SUFFIXES.get(suffix)
    try:
        with path.open("rb") as file:
            begin = file.read(65536).decode("utf-8", errors="replace")
    except OSError:
        return None
    if suffix == ".json":
        return "adaculturesafe" if '"Cultural Description"' in begin else None
    header = {name.strip(' "\r\ufeff') for name in begin.partition("\n")[0].split(",")}
    if {"cultural group", "agreement"} <= header:
        return "culturebank"
    return "normad" if {"Country", "Rule-of-Thumb"} <= header else "csv"


def _collect(path: Path, rows: Rows, plan: Plan) -> tuple[Description, ...]:
    """Give the descriptions of all rows, or raise with all their faults."""
    found: dict[str, Description] = {}
    lines: dict[str, int] = {}
    said: set[tuple[str, str]] = set()

    def faults() -> Iterable[Fault]:
        for row in rows:
            made = (row,) if isinstance(row, Fault) else describe(row, f"{path}:{row.line}", plan, lines)
            if isinstance(made, tuple):
                yield from made
            elif isinstance(row, Row) and made and (made.culture, made.statement) not in said:
                if made.id in lines:
                    reason = f"{made.id} stands on line {lines[made.id]} too; give each row its own id"
                    yield Fault(f"{path}:{row.line}", "id", reason)
                said.add((made.culture, made.statement))
                found[made.id] = made
                lines.setdefault(made.id, row.line)

    _refuse(path, faults())
    if not found:
        raise KnowledgeBroken((Fault(str(path), "file", "holds nothing to import"),))
    return tuple(found.values())


def _refuse(path: Path, faults: Iterable[Fault]) -> None:
    """Raise when there is a fault; those beyond the first 100 are only counted."""
    faults = iter(faults)
    kept = tuple(islice(faults, FAULTS))
    more = sum(1 for _ in faults)
    if more:
        kept += (Fault(str(path), "file", f"has {more} more faults; mend these first"),)
    if kept:
        raise KnowledgeBroken(kept)
