"""What every reader gives: rows with the line they begin on, or faults that say why there is none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from index.knowledge import Fault

_SHOWN = 40


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a file: the physical line where it begins (of Parquet the row's number), and its cells by column."""

    line: int
    cells: Mapping[str, Any]


Rows = Iterator[Row | Fault]


def short(value: object) -> str:
    """Quote a value for a fault: one printable line, cut where it is long."""
    text = value if isinstance(value, str) else str(value)
    return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "…")


def names(columns: Mapping[str, Any] | list[str]) -> str:
    """List the columns of a file for a fault."""
    shown = [short(column) for column in columns][:20]
    return ", ".join(shown) + (", …" if len(columns) > len(shown) else "")


def holds(columns: Mapping[str, Any] | list[str], column: str) -> bool:
    """Tell whether a column is there, or for `a.b` the object that it lies in."""
    return column in columns or column.partition(".")[0] in columns


def cell(cells: Mapping[str, Any], column: str) -> Any:
    """Give a cell by its column's name, or for `a.b` by the path into an object; None where there is none."""
    if column in cells:
        return cells[column]
    head, dot, rest = column.partition(".")
    inner = cells.get(head)
    return cell(inner, rest) if dot and isinstance(inner, dict) else None


def undecodable(path: Path) -> Iterator[Fault]:
    """Give a fault for each line that is not UTF-8."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                reason = f"byte {error.start + 1} of the line is not UTF-8; save the file as UTF-8"
                yield Fault(f"{path}:{number}", "line", reason)
