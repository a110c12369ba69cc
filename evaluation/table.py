"""A plain Markdown table."""

from __future__ import annotations

from collections.abc import Sequence


def write(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Write a Markdown table, first column to the left, the others to the right; ends in a line feed.

    Raises:
        ValueError: a row has another number of cells than the header.
    """
    if any(len(row) != len(header) for row in rows):
        raise ValueError("wanted as many cells in every row as in the header")
    rule = ["---", *("---:" for _ in header[1:])]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in ([_cell(c) for c in row] for row in (header, rule, *rows)))


def _cell(text: str) -> str:
    return " ".join(text.replace("\\", "\\\\").replace("|", "\\|").split())
