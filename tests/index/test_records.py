"""Files of rows become descriptions, or none of the file does and every fault says where it stands."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from index import records
from index.importers.fields import FIELDS
from index.knowledge import KnowledgeBroken
from retrieval import cultures
from retrieval.description import Description, Source

ROOT = Path(__file__).parents[2]
REGISTRY = cultures.load(ROOT / "knowledge" / "cultures.jsonl")
BREAD = "Hosts in the hill villages offer bread before anyone speaks of the road."
SALT = "Guests in the hill villages take a pinch of salt when they are offered it."


def read(path: Path, format: str, culture: str | None = None, **fields: str) -> tuple[Description, ...]:
    """Import a file as `mine`."""
    return records.read(path, format, culture=culture, fields=fields, origin="mine", registry=REGISTRY)


def mapped(path: Path, format: str, fields: Mapping[str, Any], culture: str | None = None) -> tuple[Description, ...]:
    """Import a file with a map whose keys are no Python names."""
    return records.read(path, format, culture=culture, fields=fields, origin="mine", registry=REGISTRY)


def faults(path: Path, format: str, culture: str | None = None, **fields: str) -> list[tuple[str, str, str]]:
    """Import a broken file; give (where, field, reason) of every fault, the folder left out."""
    with pytest.raises(KnowledgeBroken) as caught:
        read(path, format, culture, **fields)
    assert all("\n" not in str(fault) for fault in caught.value.faults)
    return [(fault.where.replace(f"{path.parent}/", ""), fault.field, fault.reason) for fault in caught.value.faults]


def jsonl(folder: Path, *rows: Any) -> Path:
    """Write JSON lines; a text is a line as it is."""
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path = folder / "rows.jsonl"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_least_row(tmp_path: Path) -> None:
    """A statement and a culture are enough; the rest says what is not known, and nothing is called verified."""
    (found,) = read(jsonl(tmp_path, {"statement": f"  {BREAD}\n", "culture": "Georgia"}), "jsonl")
    assert found == Description(
        id="ge-mine-c9335f240f",
        culture="GE",
        topic="other",
        statement=BREAD,
        offends=None,
        questions=(),
        strength="common_custom",
        harmful=False,
        sources=(),
        review="drafted",
        origin="mine",
    )


def test_fullest_row(tmp_path: Path) -> None:
    """Every field is read from its column, also from inside an object; the review of others is not taken over."""
    row = {
        "key": 7,
        "country": "geo",
        "text": SALT,
        "bad": "Pushing the salt away.",
        "ask": ["May I refuse?", None, " "],
        "how": "Strict rule",
        "harm": "no",
        "lang": "ka",
        "category": "Food & drink",
        "place": {"where": "Upper valley"},
        "ref": {"by": "A. Author", "name": "Salt", "link": "https://example.org/salt", "year": 1999},
        "review": "person_verified",
    }
    fields = {
        "id": "key", "culture": "country", "statement": "text", "offends": "bad", "questions": "ask", "strength": "how",
        "harmful": "harm", "language": "lang", "topic": "category", "region": "place.where", "source.author": "ref.by",
        "source.title": "ref.name", "source.url": "ref.link", "source.date": "ref.year",
    }  # fmt: skip
    (found,) = mapped(jsonl(tmp_path, row), "jsonl", fields)
    assert found == Description(
        id="ge-mine-7",
        culture="GE",
        topic="dining",
        statement=SALT,
        offends="Pushing the salt away.",
        questions=("May I refuse?",),
        strength="strict_rule",
        harmful=False,
        sources=(Source("A. Author", "Salt", "https://example.org/salt", "1999", ""),),
        review="drafted",
        region="Upper valley",
        language="ka",
        origin="mine",
    )


def test_rows_of_the_knowledge(tmp_path: Path) -> None:
    """A row as the knowledge base writes it is read without a map: scope, sources, and an id that names its culture."""
    source = {"author": "A. Author", "title": "Salt", "url": "https://example.org", "date": "2001", "says": "So."}
    scope = {"region": None, "generation": "elders", "setting": "home"}
    row = {"id": "ge-dining-salt", "culture": "GE", "statement": SALT, "topic": "dining", "harmful": True}
    (found,) = read(jsonl(tmp_path, row | {"scope": scope, "sources": [source], "questions": ["Why?"]}), "jsonl")
    assert (found.id, found.generation, found.setting, found.region) == ("ge-dining-salt", "elders", "home", None)
    assert (found.sources, found.harmful, found.topic) == ((Source(**source),), True, "dining")


@pytest.mark.parametrize(
    ("written", "culture"),
    [("GE", "GE"), ("ge", "GE"), ("GEO", "GE"), ("georgian", "GE"), ("x-MAORI", "x-maori"), ("Maori", "x-maori"),
     ("Viet Nam", "VN"), ("viet_nam", "VN"), ("The Netherlands", "NL"), ("cote d'ivoire", "CI"),
     ("bosnia_and_herzegovina", "BA"), ("türkiye", "TR"), ("es-ct", "ES-CT")],
)  # fmt: skip
def test_culture(tmp_path: Path, written: str, culture: str) -> None:
    """A culture is an id, an ISO code or a name of the place or its people, in any case."""
    assert [row.culture for row in read(jsonl(tmp_path, {"statement": BREAD, "culture": written}), "jsonl")] == [
        culture
    ]
    assert [row.culture for row in read(jsonl(tmp_path, {"statement": BREAD}), "jsonl", written)] == [culture]


def test_culture_by_the_map(tmp_path: Path) -> None:
    """The map says what a name of the file means; `skip` leaves its rows out; a star is every name not known."""
    rows = [{"statement": BREAD, "culture": name} for name in ("Valley folk", "Hill folk", "Sea folk", "Turkey")]
    fields = {"culture=valley FOLK": "Georgia", "culture=Hill folk": "skip", "culture=*": "AM"}
    assert [row.culture for row in mapped(jsonl(tmp_path, *rows), "jsonl", fields)] == ["GE", "AM", "TR"]


@pytest.mark.parametrize(
    ("written", "topic"),
    [("dining", "dining"), ("Public behavior", "public_behaviour"), ("public_behaviour", "public_behaviour"),
     ("Food and Dining", "dining"), ("gift_giving", "gifts"), ("Table manners", "dining"), ("Dress Codes", "dress"),
     ("Basic etiquette", "public_behaviour"), ("Wedding gifts", "other"), ("Astronomy", "other"), ("", "other"),
     ("Religious Dietary Laws", "dining"), (["Astronomy", "Funerals"], "mourning")],
)  # fmt: skip
def test_topic(tmp_path: Path, written: Any, topic: str) -> None:
    """A topic of the closed list, or the only one that its words point to, or `other`."""
    row = {"statement": BREAD, "culture": "GE", "topic": written}
    assert [row.topic for row in read(jsonl(tmp_path, row), "jsonl")] == [topic]


def test_topic_by_the_map(tmp_path: Path) -> None:
    """The map may give a topic to a name, and to all that have none."""
    rows = [{"statement": f"{BREAD} {n}", "culture": "GE", "topic": t} for n, t in enumerate(["Stars", "Food", "Sea"])]
    found = mapped(jsonl(tmp_path, *rows), "jsonl", {"topic=STARS": "religion", "topic=*": "communication"})
    assert [row.topic for row in found] == ["religion", "dining", "communication"]


def test_statement_twice(tmp_path: Path) -> None:
    """A statement that one culture has twice is kept once, the first row of it; another culture has its own."""
    rows = [{"statement": BREAD, "culture": c, "topic": t} for c, t in (("GE", "dining"), ("AM", "x"), ("GE", "gifts"))]
    assert [(row.culture, row.topic) for row in read(jsonl(tmp_path, *rows), "jsonl")] == [
        ("GE", "dining"),
        ("AM", "other"),
    ]


def test_same_id_in_two_cultures(tmp_path: Path) -> None:
    """The key of a row is unique within its culture and origin, so two countries may count alike."""
    rows = [{"id": "1", "statement": BREAD, "culture": culture} for culture in ("GE", "AM")]
    assert [row.id for row in read(jsonl(tmp_path, *rows), "jsonl")] == ["ge-mine-1", "am-mine-1"]


def test_made_id_is_stable(tmp_path: Path) -> None:
    """An id that is made depends on culture, origin and statement alone, not on the row's place."""
    rows = [{"statement": text, "culture": "GE"} for text in (BREAD, SALT)]
    forth = read(jsonl(tmp_path, *rows), "jsonl")
    back = read(jsonl(tmp_path, *reversed(rows)), "jsonl")
    assert [row.id for row in forth] == [row.id for row in reversed(back)]


ROW: dict[str, Any] = {"statement": BREAD, "culture": "GE"}


@pytest.mark.parametrize(
    ("row", "field", "said"),
    [
        ("{", "line", "not JSON"),
        ("[1]", "line", "not a JSON object"),
        ("[" * 5000, "line", "nested too deeply"),
        ('{"a": ' + "9" * 5000 + "}", "line", "too long a number"),
        ({"culture": "GE"}, "statement", "blank or missing"),
        ({**ROW, "statement": " \n"}, "statement", "blank or missing"),
        ({**ROW, "statement": 5}, "statement", "is a number, not a text"),
        ({**ROW, "statement": ["a"]}, "statement", "is a list, not a text"),
        ({**ROW, "statement": "a" * 1001}, "statement", "has 1001 characters; keep it to 1000"),
        ({**ROW, "statement": "Say it\x00 aloud"}, "statement", "control character U+0000"),
        ({**ROW, "statement": "Say it\u202e aloud"}, "statement", "control character U+202E"),
        ({**ROW, "statement": "Say it \ud83d aloud"}, "statement", "lone surrogate"),
        ({"statement": BREAD}, "culture", "is missing"),
        ({**ROW, "culture": "Atlantis"}, "culture", "'Atlantis' is not known"),
        ({**ROW, "culture": "Korean"}, "culture", "may be KP or KR"),
        ({**ROW, "culture": 5}, "culture", "is a number"),
        ({**ROW, "strength": "iron"}, "strength", "'iron' is not known; use strict_rule, common_custom, varies"),
        ({**ROW, "harmful": "perhaps"}, "harmful", "neither true nor false"),
        ({**ROW, "harmful": 2}, "harmful", "neither true nor false"),
        ({**ROW, "language": "Old English"}, "language", "no language code"),
        ({**ROW, "id": "two words"}, "id", "'two words' is no id"),
        ({**ROW, "id": True}, "id", "is true or false"),
        ({**ROW, "questions": 5}, "questions", "not a list of texts"),
        ({**ROW, "questions": [5]}, "questions", "is a number"),
        ({**ROW, "questions": "[what?"}, "questions", "cannot be read as a JSON list"),
        ({**ROW, "questions": ["Why?"] * 21}, "questions", "21 entries; keep at most 20"),
        ({**ROW, "agreement": 1.5}, "agreement", "not a share from 0 to 1"),
        ({**ROW, "agreement": "most"}, "agreement", "is not a number"),
        ({**ROW, "source": {"url": "javascript:alert(1)"}}, "source.url", "no web address"),
        ({**ROW, "source": {"url": "https://[::1"}}, "source.url", "no web address"),
        ({**ROW, "sources": "none"}, "sources", "cannot be read as a JSON list"),
        ({**ROW, "sources": 5}, "sources", "not a list of objects"),
        ({**ROW, "sources": [{"url": "ftp://example.org"}]}, "sources", "no web address"),
        ({**ROW, "offends": {}}, "offends", "is an object"),
    ],
)  # fmt: skip
def test_broken_row(tmp_path: Path, row: Any, field: str, said: str) -> None:
    """A broken row is a fault that names file, line, field and reason, and the good rows around it are not used."""
    path = jsonl(tmp_path, {**ROW, "statement": SALT}, "", row)
    (found,) = faults(path, "jsonl")
    assert (found[:2], said in found[2]) == (("rows.jsonl:3", field), True)


def test_every_fault_of_every_row(tmp_path: Path) -> None:
    """All faults are named at once, in the order of the file; from the hundredth on they are counted."""
    bad = {"culture": "Atlantis", "harmful": "perhaps"}
    assert [(where, field) for where, field, _ in faults(jsonl(tmp_path, bad, ROW, bad), "jsonl")] == [
        (f"rows.jsonl:{line}", field) for line in (1, 3) for field in ("harmful", "statement", "culture")
    ]
    many = faults(jsonl(tmp_path, *([{**ROW, "culture": "Atlantis"}] * 130)), "jsonl")
    assert (len(many), many[-1]) == (101, ("rows.jsonl", "file", "has 30 more faults; mend these first"))


def test_id_twice(tmp_path: Path) -> None:
    """An id that stands for two statements is a fault that names both lines."""
    path = jsonl(tmp_path, {**ROW, "id": "a"}, {**ROW, "id": "a", "statement": SALT})
    assert faults(path, "jsonl") == [("rows.jsonl:2", "id", "ge-mine-a stands on line 1 too; give each row its own id")]


def test_culture_said_twice(tmp_path: Path) -> None:
    """A row that names another culture than the whole file was said to have is not guessed about."""
    path = jsonl(tmp_path, ROW, {"statement": SALT})
    assert [row.culture for row in read(path, "jsonl", "GE")] == ["GE", "GE"]
    assert faults(path, "jsonl", "AM") == [
        ("rows.jsonl:1", "culture", "is GE, and --culture says AM; leave one of them out")
    ]


@pytest.mark.parametrize(
    ("fields", "where", "said"),
    [
        ({"colour": "red"}, "--map: 'colour'", "is no field"),
        ({"statement": 5}, "--map: 'statement'", "wanted the name of a column"),
        ({"culture=Sea folk": "Atlantis"}, "--map: 'culture=Sea folk'", "'Atlantis' is not known"),
        ({"culture=Sea folk": 5}, "--map: 'culture=Sea folk'", "wanted a text"),
        ({"topic=Stars": "astronomy"}, "--map: 'topic=Stars'", "'astronomy' is no topic"),
        ({"statement": "txt"}, "rows.jsonl:1: header", "no column 'txt', only 'statement', 'culture'"),
    ],
)  # fmt: skip
def test_map_that_cannot_be_used(tmp_path: Path, fields: dict[str, Any], where: str, said: str) -> None:
    """A mistake in the map is told as such, also a column that no row has."""
    with pytest.raises(KnowledgeBroken) as caught:
        mapped(jsonl(tmp_path, ROW), "jsonl", fields)
    told = str(caught.value.faults[-1]).replace(f"{tmp_path}/", "")
    assert (told.startswith(where), said in told) == (True, True)


def test_field_that_is_not_to_be_read(tmp_path: Path) -> None:
    """A column that happens to bear a field's name is passed over when the map gives the field no column."""
    path = jsonl(tmp_path, {**ROW, "language": "mostly English", "topic": "dining"})
    assert [(row.language, row.topic) for row in read(path, "jsonl", language="", topic="")] == [("en", "other")]


@pytest.mark.parametrize("origin", ["knowledge", "", "Two Words", "-a", "a" * 65, "../x", "a\n"])
def test_name_that_cannot_be_one(tmp_path: Path, origin: str) -> None:
    """A name is a slug, and not that of the knowledge base."""
    with pytest.raises(KnowledgeBroken, match=r"--name: name: .* cannot be a name"):
        records.read(jsonl(tmp_path, ROW), "jsonl", culture=None, fields={}, origin=origin, registry=REGISTRY)


@pytest.mark.parametrize("format", records.FORMATS)
def test_file_that_cannot_be_read(tmp_path: Path, format: str) -> None:
    """A missing file, a folder and an empty file are faults of the file."""
    (tmp_path / "empty").write_bytes(b"")
    for name in ("missing", "", "empty"):
        with pytest.raises(KnowledgeBroken) as caught:
            read(tmp_path / name, format, "GE")
        assert [fault.field for fault in caught.value.faults] == ["file"]


def test_format_that_is_not_known(tmp_path: Path) -> None:
    """A format that there is not is told with those that there are."""
    assert [where for where, *_ in faults(jsonl(tmp_path, ROW), "xml")] == ["--format"]


def test_page() -> None:
    """The page on importing has a row for each format and each field, and its faults are real ones."""
    page = (ROOT / "docs" / "importing.md").read_text(encoding="utf-8")
    rows = [line.split(" | ")[0] for line in page.splitlines() if line.startswith("| `")]
    assert [format for format in records.FORMATS if f"| `{format}`" not in rows] == []
    assert [field for field in FIELDS if not any(f"`{field}`" in row for row in rows)] == []


def test_faults_of_the_page(tmp_path: Path) -> None:
    """The faults that the page on importing shows are those of such a file."""
    path = tmp_path / "broken.csv"
    path.write_text(
        "key,text,country,category,ask,link\n"
        '7,"Hosts in Upper Meadow put bread\non the table.",Atlantis,Food,,\n'
        "8,,Georgia,Food,,meadow\n"
        "9,Guests take salt, and leave the spoon.,Georgia,Food,,\n",
        encoding="utf-8",
    )
    fields = {"id": "key", "statement": "text", "culture": "country", "source.url": "link"}
    with pytest.raises(KnowledgeBroken) as caught:
        mapped(path, "csv", fields)
    told = "\n".join(str(fault).replace(f"{tmp_path}/", "") for fault in caught.value.faults)
    assert f"```text\n{told}\n```" in (ROOT / "docs" / "importing.md").read_text(encoding="utf-8")
