"""Whatever a file holds, importing it gives sound descriptions or says what is wrong; nothing else comes out."""

from __future__ import annotations

import csv
import io
import json
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from index import records
from index.importers.fields import FIELDS
from index.importers.topics import OTHER
from index.knowledge import TOPICS, Fault, KnowledgeBroken
from retrieval import cultures
from retrieval.description import Description

REGISTRY = cultures.load(Path(__file__).parents[2] / "knowledge" / "cultures.jsonl")
Rows = tuple[Description, ...]
Faults = tuple[Fault, ...]
TRIES = settings(max_examples=40, deadline=None)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["GE", "Korean", "dining", "yes", "0.5"])
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
)
COLUMNS = st.sampled_from(
    [*FIELDS, "source", "scope", "eval_whole_desc", "cultural group", "Country", "Rule-of-Thumb", "Gold Label"]
)
ROWS = st.lists(st.dictionaries(COLUMNS, VALUES, max_size=8) | VALUES, max_size=6)
MAPS = st.dictionaries(
    COLUMNS | st.sampled_from(["culture=*", "topic=x"]) | st.text(max_size=9), COLUMNS | st.text(max_size=9), max_size=3
)
CULTURES = st.none() | st.sampled_from(["GE", "Georgia", "nowhere", ""])
MARKS = st.sampled_from(
    ["---\n", "culture: GE\n", "# Dining\n", "```\n", "- ", "1. ", "[", "](", ")", "![", "<!--", "-->", "|", "|-|\n",
     "\n", "\n\n", "    ", "> ", "*", "_", "`", "&amp;", "\\", "word ", "word. ", "客。", "\x00", "\ufeff", "\u2028",
     "===\n"],
)  # fmt: skip


def attempt(path: Path, format: str, fields: Mapping[str, Any], culture: str | None) -> Rows | Faults:
    """Import a file; give its descriptions, or its faults."""
    try:
        return records.read(path, format, culture=culture, fields=fields, origin="mine", registry=REGISTRY)
    except KnowledgeBroken as error:
        return error.faults


def unsound(content: bytes, format: str, fields: Mapping[str, Any], culture: str | None) -> list[str]:
    """Import these bytes; say what is unsound in the descriptions, or in the faults, that come out of it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        path.write_bytes(content)
        made = attempt(path, format, fields, culture)
    faults = [item for item in made if isinstance(item, Fault)]
    found = [item for item in made if isinstance(item, Description)]
    held = {
        "either descriptions or faults": bool(faults) != bool(found),
        "not too many faults": len(faults) <= records.FAULTS + 1,
        "faults of one line": all(str(fault).isprintable() for fault in faults),
        "each id once": len({row.id for row in found}) == len(found),
        "each statement once": len({(row.culture, row.statement) for row in found}) == len(found),
        "UTF-8": all(json.dumps(asdict(row), ensure_ascii=False).encode("utf-8") for row in found),
        "cultures of the registry": all(row.culture in REGISTRY for row in found),
        "topics of the list": all(row.topic in (*TOPICS, OTHER) for row in found),
        "fair lengths": all(0 < len(row.statement) <= 1000 for row in found),
        "one line": all(row.statement == " ".join(row.statement.split()) for row in found),
        "nothing claimed": all((row.review, row.origin) == ("drafted", "mine") for row in found),
    }
    return [name for name, holds in held.items() if not holds]


@pytest.mark.parametrize("format", records.FORMATS)
@given(content=st.binary(max_size=400), fields=MAPS, culture=CULTURES)
@TRIES
def test_any_bytes(format: str, content: bytes, fields: dict[str, Any], culture: str | None) -> None:
    """Bytes of any kind raise nothing but KnowledgeBroken."""
    assert unsound(content, format, fields, culture) == []


@given(rows=ROWS, fields=MAPS, culture=CULTURES)
@TRIES
def test_any_rows_of_json(rows: list[Any], fields: dict[str, Any], culture: str | None) -> None:
    """JSON values of any kind, lone surrogates and NaN among them, raise nothing but KnowledgeBroken."""
    assert unsound("\n".join(json.dumps(row) for row in rows).encode(), "jsonl", fields, culture) == []


@given(
    items=st.dictionaries(
        st.text(max_size=9),
        st.dictionaries(COLUMNS | st.sampled_from(["Cultural Description", "Location"]), VALUES) | VALUES,
        max_size=5,
    )
)
@TRIES
def test_any_items(items: dict[str, Any]) -> None:
    """Items of any kind raise nothing but KnowledgeBroken."""
    assert unsound(json.dumps(items, indent=1).encode(), "adaculturesafe", {}, None) == []


@pytest.mark.parametrize("format", ["csv", "culturebank", "normad"])
@given(
    header=st.lists(COLUMNS, max_size=8),
    rows=st.lists(st.lists(st.text(st.characters(codec="utf-8")), max_size=8), max_size=5),
    culture=CULTURES,
)
@TRIES
def test_any_table(format: str, header: list[str], rows: list[list[str]], culture: str | None) -> None:
    """Tables of any cells raise nothing but KnowledgeBroken."""
    buffer = io.StringIO()
    csv.writer(buffer).writerows([header, *rows])
    assert unsound(buffer.getvalue().encode("utf-8"), format, {}, culture) == []


@given(
    columns=st.dictionaries(
        COLUMNS, st.lists(st.none() | st.text(st.characters(codec="utf-8")), min_size=3, max_size=3), max_size=5
    ),
    at=st.integers(0, 2000),
    byte=st.integers(0, 255),
)
@TRIES
def test_any_parquet(columns: dict[str, list[str | None]], at: int, byte: int) -> None:
    """Parquet of any texts, and the same with a byte changed, raises nothing but KnowledgeBroken."""
    sink = pyarrow.BufferOutputStream()
    pyarrow.parquet.write_table(pyarrow.table(columns), sink)
    content = bytearray(sink.getvalue().to_pybytes())
    assert unsound(bytes(content), "parquet", {}, "GE") == []
    content[at % len(content)] = byte
    assert unsound(bytes(content), "parquet", {}, "GE") == []


@pytest.mark.parametrize("format", ["markdown", "text"])
@given(parts=st.lists(MARKS | st.text(st.characters(codec="utf-8"), max_size=9), max_size=40), culture=CULTURES)
@TRIES
def test_any_document(format: str, parts: list[str], culture: str | None) -> None:
    """Documents of any marks raise nothing but KnowledgeBroken."""
    assert unsound("".join(parts).encode("utf-8"), format, {}, culture) == []
