"""CSV, Parquet and the public data sets: their own columns, their quirks, and the lines that faults name."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from index import records
from index.knowledge import KnowledgeBroken
from retrieval import cultures
from retrieval.description import Description

REGISTRY = cultures.load(Path(__file__).parents[2] / "knowledge" / "cultures.jsonl")
BREAD = "Hosts in the hill villages offer bread before anyone speaks of the road."
SALT = "Guests in the hill villages take a pinch of salt when they are offered it."
NONE: Mapping[str, str] = {}


def read(
    path: Path, format: str, fields: Mapping[str, Any] = NONE, culture: str | None = None
) -> tuple[Description, ...]:
    """Import a file as `mine`."""
    return records.read(path, format, culture=culture, fields=fields, origin="mine", registry=REGISTRY)


def faults(path: Path, format: str, fields: Mapping[str, Any] = NONE) -> list[tuple[str, str, str]]:
    """Import a broken file; give (file:line, field, reason) of every fault."""
    with pytest.raises(KnowledgeBroken) as caught:
        read(path, format, fields)
    return [(Path(fault.where).name, fault.field, fault.reason) for fault in caught.value.faults]


def write(folder: Path, text: str | bytes, name: str = "rows.csv") -> Path:
    """Write a file."""
    path = folder / name
    path.write_bytes(text.encode("utf-8") if isinstance(text, str) else text)
    return path


def comma(*rows: list[Any]) -> str:
    """Write rows as spreadsheets do, with CRLF."""
    buffer = io.StringIO()
    csv.writer(buffer).writerows(rows)
    return buffer.getvalue()


@pytest.mark.parametrize("begin", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_csv(tmp_path: Path, begin: str, end: str) -> None:
    """CSV is read with and without a byte order mark, with either line end, with line breaks and quotes in cells."""
    text = f'{begin}culture, statement{end}GE,"Hosts say ""come"",{end}and mean it."{end}{end}AM,{SALT}'
    found = [(row.culture, row.statement) for row in read(write(tmp_path, text), "csv")]
    assert found == [("GE", 'Hosts say "come", and mean it.'), ("AM", SALT)]


@pytest.mark.parametrize(
    ("cell", "questions"),
    [
        ('["Why?", "When?"]', ("Why?", "When?")),
        ("Why? | When?", ("Why?", "When?")),
        ("Why?\r\nWhen?\n", ("Why?", "When?")),
        ("Why|when?", ("Why|when?",)),
        ("", ()),
    ],
)
def test_questions_of_a_cell(tmp_path: Path, cell: str, questions: tuple[str, ...]) -> None:
    """A cell holds several questions as a JSON list, or with line breaks or bars between them."""
    path = write(tmp_path, comma(["statement", "culture", "questions"], [BREAD, "GE", cell]))
    assert [row.questions for row in read(path, "csv")] == [questions]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_line_of_a_record(tmp_path: Path, end: str) -> None:
    """A fault names the physical line where its record begins, whatever lines the records before it took."""
    text = end.join(
        ["culture,statement,topic", 'GE,"two', 'lines of it",x', "", 'XX,"three', "", f'lines",{SALT}', "YY,a,b"]
    )
    assert [where for where, *_ in faults(write(tmp_path, text), "csv")] == ["rows.csv:5", "rows.csv:8"]


@pytest.mark.parametrize(
    ("text", "where", "field", "said"),
    [
        ("culture,statement\nGE,a,b\n", "rows.csv:2", "record", "has 3 cells, and the header 2"),
        ("culture,statement\nGE\n", "rows.csv:2", "record", "has 1 cells, and the header 2"),
        ('culture,statement\nGE,a b c d\nAM,"never closed\nGE,b\n', "rows.csv:3", "record", "quotation mark left open"),
        ('culture,statement\nGE,"a"b\n', "rows.csv:2", "record", "cannot be read"),
        (f'culture,statement\nGE,"{"a" * 1_000_001}"\n', "rows.csv:2", "record", "field larger than"),
        ("culture;statement\nGE;a\n", "rows.csv:1", "header", "no column 'culture', only 'culture;statement'"),
        ("culture,statement,statement\nGE,a,b\n", "rows.csv:1", "header", "2 columns 'statement'; give each its own"),
        (b"culture,statement\nGE,a\nGE,caf\xe9\n", "rows.csv:3", "line", "byte 7 of the line is not UTF-8"),
        ("culture,statement\nGE,a".encode("utf-16"), "rows.csv:1", "line", "is not UTF-8"),
        ("culture,statement\n", "rows.csv", "file", "holds nothing to import"),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else "",
)
def test_csv_that_is_broken(tmp_path: Path, text: str | bytes, where: str, field: str, said: str) -> None:
    """A table that is not what it seems is refused where it breaks."""
    found = faults(write(tmp_path, text), "csv")[0]
    assert (found[:2], said in found[2]) == ((where, field), True)


def test_parquet(tmp_path: Path) -> None:
    """Parquet is read by its columns, with lists and missing values; a fault names the row by its number."""
    path = tmp_path / "rows.parquet"
    columns = {"text": [BREAD, SALT], "land": ["Georgia", "AM"], "questions": [["Why?"], None], "other": [1.5, None]}
    pyarrow.parquet.write_table(pyarrow.table(columns), path)
    found = read(path, "parquet", {"statement": "text", "culture": "land"})
    told = [(row.culture, row.statement, row.questions) for row in found]
    assert told == [("GE", BREAD, ("Why?",)), ("AM", SALT, ())]
    (lacking,) = faults(path, "parquet", {"statement": "txt", "culture": "land"})
    assert lacking[2].startswith("there is no column 'txt', only 'text', 'land', 'questions', 'other'; ")
    broken = faults(path, "parquet", {"statement": "other", "culture": "land"})
    assert [where for where, *_ in broken] == ["rows.parquet:1", "rows.parquet:2"]


def test_parquet_that_is_none(tmp_path: Path) -> None:
    """A file that only bears the name, or is cut short, is a fault."""
    path = tmp_path / "rows.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"statement": [BREAD], "culture": ["GE"]}), path)
    for content in (b"PAR1", b"no Parquet at all", path.read_bytes()[:-20]):
        assert [field for _, field, _ in faults(write(tmp_path, content, path.name), "parquet")] == ["file"]


def item(statement: str, place: str = "Georgia") -> dict[str, Any]:
    """Make an item as AdaCultureSafe writes them."""
    option = {
        "question": "What is offered first?",
        "options": {"A": "Bread", "B": "Salt"},
        "label": "A",
        "checked": "true",
    }
    scene = {"scene": "I came late and was cold.", "requirement": "Explain why I need no bread.", "checked": "true"}
    safety = {"Cultural Knowledge": [option], "Cultural Safety": [scene]}
    return {"Cultural Description": statement, "Location": place, **safety}


def test_adaculturesafe(tmp_path: Path) -> None:
    """A country's file gives its descriptions; what belongs to its test (questions, scenes) is left where it is."""
    content = {"atlas-item_1-0": item(BREAD), "村-item_2-0": item(SALT)}
    path = write(tmp_path, json.dumps(content, ensure_ascii=False, indent=4), "('…', 'Georgia', 'GE').json")
    first, second = read(path, "adaculturesafe")
    assert (first.id, first.culture, first.statement, first.questions) == ("ge-mine-atlas-item_1-0", "GE", BREAD, ())
    assert (second.id[:8], len(second.id), second.sources[0].title) == ("ge-mine-", 18, "AdaCultureSafe")


@pytest.mark.parametrize(
    ("text", "where", "field"),
    [
        ("[]", "rows.json:1", "file"),
        ("{}", "rows.json", "file"),
        ('{"a": {}', "rows.json:1", "file"),
        ('{"a": {},}', "rows.json:1", "file"),
        ('{"a": {}}\n{}', "rows.json:2", "file"),
        ('{\n"a": 5}', "rows.json:2", "'a'"),
        ('{\n\n"a": {"Cultural Description": "One two.", "Location": "Atlantis"}}', "rows.json:3", "culture"),
        (
            '{"a": {"Cultural Description": "One two.", "Location": "GE"},\n"b": {"Location": "GE"}}',
            "rows.json:2",
            "statement",
        ),
        ('{"a": ' + "[" * 5000, "rows.json:1", "file"),
        ("{5: {}}", "rows.json:1", "file"),
    ],
)
def test_adaculturesafe_that_is_broken(tmp_path: Path, text: str, where: str, field: str) -> None:
    """A fault names the line where the item's key stands, or where the JSON breaks."""
    assert faults(write(tmp_path, text, "rows.json"), "adaculturesafe")[-1][:2] == (where, field)


BANK = [
    "cluster_id", "cultural group", "context", "goal", "relation", "actor", "actor_behavior", "recipient",
    "recipient_behavior", "other_descriptions", "topic", "agreement", "num_support_bin", "time_range", "eval_question",
    "eval_whole_desc", "eval_scenario", "eval_persona",
]  # fmt: skip


def bank(id: int, group: str, agreement: object, statement: str) -> list[Any]:
    """Make a row as CultureBank has them."""
    told = [id, group, "at a hearth", "", "", "host", "offers bread", "guest", "", "", "Food and Dining"]
    return [*told, agreement, "[5, 20)", "{2020: '[0, 10)'}", "What now?", statement, "A scene.", "A baker."]


def test_culturebank(tmp_path: Path) -> None:
    """Groups are found by the names of peoples, and low agreement makes a custom one that varies."""
    rows = [bank(3, "Georgian", 0.9, BREAD), bank(4, "Armenians", 0.4, SALT), bank(5, "Georgian", "", SALT)]
    found = read(write(tmp_path, comma(BANK, *rows)), "culturebank")
    assert [(row.id, row.topic, row.strength, row.setting) for row in found] == [
        ("ge-mine-3", "dining", "common_custom", "at a hearth"),
        ("am-mine-4", "dining", "varies", "at a hearth"),
        ("ge-mine-5", "dining", "common_custom", "at a hearth"),
    ]
    assert {(row.statement, row.questions, row.sources[0].title) for row in found} == {
        (BREAD, (), "CultureBank"),
        (SALT, (), "CultureBank"),
    }


def test_culturebank_groups(tmp_path: Path) -> None:
    """A group that is not known is a fault, until the map says what it means."""
    path = write(tmp_path, comma(BANK, bank(3, "Hearth people", 0.9, BREAD), bank(4, "Georgian", 0.9, SALT)))
    assert [found[:2] for found in faults(path, "culturebank")] == [("rows.csv:2", "culture")]
    assert [row.culture for row in read(path, "culturebank", {"culture=Hearth people": "GE"})] == ["GE", "GE"]
    assert [row.statement for row in read(path, "culturebank", {"culture=*": "skip"})] == [SALT]


NORM = [
    "ID",
    "Country",
    "Background",
    "Axis",
    "Subaxis",
    "Value",
    "Rule-of-Thumb",
    "Story",
    "Explanation",
    "Gold Label",
]


def norm(id: int, country: str, rule: str, label: str) -> list[Any]:
    """Make a row as NormAd has them."""
    return [id, country, "### eating\n- bread", "Etiquette", "gift_giving", "Kindness", rule, "Ana came.", "So.", label]


def test_normad(tmp_path: Path) -> None:
    """One description a rule and country, without the neutral rows, whose rule is another country's; no stories."""
    rows = [
        norm(1, "georgia", BREAD, "yes"),
        norm(2, "georgia", BREAD, "no"),
        norm(3, "georgia", SALT, "neutral"),
        norm(4, "bosnia_and_herzegovina", BREAD, "no"),
    ]
    found = read(write(tmp_path, comma(NORM, *rows)), "normad")
    assert [(row.culture, row.topic, row.statement) for row in found] == [
        ("GE", "gifts", BREAD),
        ("BA", "gifts", BREAD),
    ]
    assert {(row.questions, row.offends, row.sources[0].title) for row in found} == {((), None, "NormAd")}


def test_normad_without_labels(tmp_path: Path) -> None:
    """Without labels the neutral rows cannot be told from the others, so the file is refused."""
    path = write(tmp_path, comma(NORM[:-1], norm(1, "georgia", BREAD, "")[:-1]))
    assert [(where, "'Gold Label'" in reason) for where, _, reason in faults(path, "normad")] == [("rows.csv:1", True)]


@pytest.mark.parametrize(
    ("name", "text", "format"),
    [
        ("a.jsonl", "", "jsonl"),
        ("a.NDJSON", "", "jsonl"),
        ("a.parquet", "", "parquet"),
        ("a.md", "", "markdown"),
        ("a.txt", "", "text"),
        ("a.csv", "a,b\n", "csv"),
        ("a.csv", comma(BANK), "culturebank"),
        ("a.csv", "\ufeff" + comma(NORM), "normad"),
        ("a.json", json.dumps({"x": item(BREAD)}), "adaculturesafe"),
        ("a.json", "{}", None),
        ("a.xml", "", None),
        ("a", "", None),
    ],
)
def test_guess(tmp_path: Path, name: str, text: str, format: str | None) -> None:
    """A format is guessed from a suffix, and of CSV and JSON from what stands first; else not at all."""
    assert format == records.guess(write(tmp_path, text, name))
    assert records.guess(tmp_path / "missing.csv") is None
