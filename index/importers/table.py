"""Reads files of rows: CSV, JSON lines, Parquet, and the JSON and CSV files of public data sets about cultures."""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from index.importers.fields import Plan
from index.importers.rows import Row, Rows, holds, names, short
from index.importers.values import ID
from index.knowledge import Fault

_CELL = 1_000_000  # characters of one cell: beyond it a quotation mark was left open
_BLANK = re.compile(r"[ \t\r\n]*")
_LABEL = "Gold Label"


def comma(path: Path, plan: Plan) -> Rows:
    """Read a CSV file with a header: commas, double quotes, LF or CRLF."""
    csv.field_size_limit(_CELL)
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader, line, header = csv.reader(file, strict=True), 1, list[str]()
        while True:
            try:
                record = next(reader, None)
            except csv.Error as error:
                reason = f"the record that begins here cannot be read ({error}); is a quotation mark left open?"
                yield Fault(f"{path}:{line}", "record", reason)
                return
            if record is None:
                return
            if record and not header:
                header = [name.strip() for name in record]
                if faults := list(_header(header, plan.asked, f"{path}:{line}")):
                    yield from faults
                    return
            elif record and len(record) != len(header):
                reason = f"has {len(record)} cells, and the header {len(header)}; quote cells that hold commas"
                yield Fault(f"{path}:{line}", "record", reason)
            elif record:
                yield Row(line, dict(zip(header, record, strict=True)))
            line = reader.line_num + 1


def _header(header: list[str], asked: Collection[str], where: str) -> Iterator[Fault]:
    for name, count in Counter(header).items():
        if name and count > 1:
            yield Fault(where, "header", f"has {count} columns {short(name)}; give each its own name")
    yield from _lacking(header, asked, where)


def _lacking(columns: list[str], asked: Collection[str], where: str) -> Iterator[Fault]:
    for name in sorted(asked):
        if not holds(columns, name):
            reason = f"there is no column {short(name)}, only {names(columns)}; say in the map which column it is"
            yield Fault(where, "header", reason)


def lines(path: Path, plan: Plan) -> Rows:
    """Read JSON lines: one object a line; blank lines are passed over."""
    lacking, seen = set(plan.asked), dict[str, None]()
    with path.open(encoding="utf-8-sig", newline="\n") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            row, reason = _object(line)
            if row is None:
                yield Fault(f"{path}:{number}", "line", reason)
                continue
            lacking -= {name for name in lacking if holds(row, name)}
            if lacking:
                seen |= dict.fromkeys(row)
            yield Row(number, row)
    if seen:
        yield from _lacking(list(seen), lacking, f"{path}:1")


def _object(line: str) -> tuple[dict[str, Any] | None, str]:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        return None, f"not JSON ({error.msg}, column {error.colno}); write one object a line"
    except (ValueError, RecursionError):
        return None, "not JSON that can be read (nested too deeply, or too long a number); write one object a line"
    return (row, "") if isinstance(row, dict) else (None, "not a JSON object; write one object a line")


def parquet(path: Path, plan: Plan) -> Rows:
    """Read the columns of a Parquet file that a plan names; the line of a row is its number."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        yield Fault(str(path), "format", "Parquet needs pyarrow; install it: pip install 'comity[index]'")
        return
    number, columns = 0, {column for each in plan.columns.values() for column in each}
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            header = list(file.schema_arrow.names)
            if faults := list(_header(header, plan.asked, f"{path}:1")):
                yield from faults
                return
            wanted = [name for name in header if any(holds([name], column) for column in columns)]
            for batch in file.iter_batches(batch_size=1024, columns=wanted):
                for cells in batch.to_pylist():
                    number += 1
                    yield Row(number, cells)
    except (pyarrow.ArrowException, OSError, ValueError, TypeError, LookupError, ArithmeticError) as error:
        said = "".join(char if char.isprintable() else " " for char in str(error))[:200].strip()
        yield Fault(f"{path}:{number + 1}", "file", f"cannot be read as Parquet ({said}); write it anew")


def rules(path: Path, plan: Plan) -> Rows:
    """Read the CSV of NormAd, without its neutral rows: their rule may be of another country than the one they name."""
    for row in comma(path, replace(plan, asked=plan.asked | {_LABEL})):
        if isinstance(row, Fault) or row.cells[_LABEL].strip().casefold() != "neutral":
            yield row


def items(path: Path, _: Plan) -> Rows:
    """Read a country's file of AdaCultureSafe: one JSON object, from each item's key to the item."""
    text = path.read_text(encoding="utf-8-sig")
    line, counted = 1, 0
    try:
        for start, key, item in _members(text):
            line, counted = line + text.count("\n", counted, start), start
            if not isinstance(item, dict):
                yield Fault(f"{path}:{line}", short(key), "is not an object with a 'Cultural Description'")
                continue
            yield Row(line, item | ({"key": key} if ID.fullmatch(key) else {}))
    except json.JSONDecodeError as error:
        reason = f"not JSON as AdaCultureSafe writes it ({error.msg}, column {error.colno})"
        yield Fault(f"{path}:{error.lineno}", "file", reason)
    except (ValueError, RecursionError):
        yield Fault(f"{path}:{line}", "file", "the item after this line is nested too deeply, or has too long a number")


def _members(text: str) -> Iterator[tuple[int, str, Any]]:
    """Give the place, the name and the value of each member of the one object that a text is."""
    decoder = json.JSONDecoder()
    at = _mark(text, 0, "{")
    if text[_skip(text, at) : _skip(text, at) + 1] == "}":
        at = _mark(text, at, "}")
    else:
        more = True
        while more:
            start = _skip(text, at)
            key, at = decoder.raw_decode(text, start)
            if not isinstance(key, str):
                raise json.JSONDecodeError("Expecting a name in double quotes", text, start)
            value, at = decoder.raw_decode(text, _skip(text, _mark(text, at, ":")))
            yield start, key, value
            at = _skip(text, at)
            more = text[at : at + 1] == ","
            at = _mark(text, at, "," if more else "}")
    if (rest := _skip(text, at)) < len(text):
        raise json.JSONDecodeError("Extra data", text, rest)


def _mark(text: str, at: int, mark: str) -> int:
    """Give the place after a mark that must come next."""
    at = _skip(text, at)
    if not text.startswith(mark, at):
        raise json.JSONDecodeError(f"Expecting {mark!r}", text, at)
    return at + 1


def _skip(text: str, at: int) -> int:
    """Give the next place that is not blank."""
    found = _BLANK.match(text, at)
    return found.end() if found else at
