"""Reads a line of the knowledge base: a JSON object that is what a model wants, or what is wrong with it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

Wrong = list[tuple[str, str]]  # fields, and why


def read(file: Path, model: type[BaseModel]) -> Iterator[tuple[str, dict[str, Any] | None, Wrong]]:
    """Give where each line of a file stands that is not blank, and what `parse` makes of it."""
    for number, line in enumerate(file.read_bytes().split(b"\n"), 1):
        if line.strip():
            yield f"{file}:{number}", *parse(line, model)


def parse(line: bytes, model: type[BaseModel]) -> tuple[dict[str, Any] | None, Wrong]:
    """Give the object on a line, or None and every field that is wrong, each with its reason."""
    try:
        row: Any = json.loads(line.decode("utf-8"))
    except ValueError as error:
        return None, [("line", f"not a JSON object in UTF-8 ({error})")]
    if not isinstance(row, dict):
        return None, [("line", "not a JSON object; write one object a line")]
    broken = [key for key, value in row.items() if not _is_unicode(key + json.dumps(value, ensure_ascii=False))]
    if broken:
        return None, [(key, "holds a lone surrogate, which UTF-8 cannot carry") for key in broken]
    try:
        model.model_validate(row)
    except ValidationError as error:
        return None, [
            (".".join(str(part) for part in item["loc"]) or "row", item["msg"].removeprefix("Value error, "))
            for item in error.errors(include_url=False, include_context=False, include_input=False)
        ]
    return row, []


def _is_unicode(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
