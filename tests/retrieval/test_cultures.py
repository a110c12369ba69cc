"""The registry of cultures: what it accepts, whom a culture inherits from, how ids are found."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from retrieval import cultures
from retrieval.cultures import Culture, Cultures

ROOT = Path(__file__).parents[2]
JAPAN: dict[str, Any] = {"id": "JP", "people": ["Japanese"], "aliases": ["Nippon"], "parents": [], "name": None}
CATALONIA: dict[str, Any] = {"id": "ES-CT", "people": ["Catalan"], "aliases": [], "parents": ["ES"], "name": None}
SPAIN: dict[str, Any] = {"id": "ES", "people": [], "aliases": [], "parents": [], "name": None}


def load(folder: Path, *rows: Any) -> Cultures:
    """Write rows (text as it is) and load them."""
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path = folder / "cultures.jsonl"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return cultures.load(path)


def made(**parents: tuple[str, ...]) -> Cultures:
    """Give a registry of cultures with these parents."""
    return Cultures(Culture(id, id, (), (), above) for id, above in parents.items())


def test_names_of_their_own(tmp_path: Path) -> None:
    """A row without a name is called as CLDR or ISO 3166 calls it; a name in the row wins."""
    people = {**JAPAN, "id": "x-maori", "name": "Māori", "languages": ["mi"], "region": "OC"}
    found = load(tmp_path, JAPAN, CATALONIA, SPAIN, people, {**SPAIN, "id": "FR", "name": "La France"})
    assert [culture.name.split(" [")[0] for culture in found] == ["Japan", "Catalunya", "Spain", "Māori", "La France"]
    assert found["JP"] == Culture("JP", "Japan", ("Japanese",), ("Nippon",), ())


def test_lineage() -> None:
    """A lineage is the culture, its parents and theirs, nearest first and each once."""
    found = made(a=("b", "c"), b=("d",), c=("d", "e"), d=(), e=())
    assert found.lineage("a") == ("a", "b", "c", "d", "e")
    assert found.lineage("c") == ("c", "d", "e")
    assert found.lineage("e") == ("e",)


def test_lineage_of_nobody() -> None:
    """An unknown culture has no lineage."""
    assert made(a=()).lineage("z") == ()


def test_cultures_that_inherit_from_each_other() -> None:
    """A circle of parents comes to an end."""
    found = made(a=("b",), b=("a",), c=("c",))
    assert (found.lineage("a"), found.lineage("b"), found.lineage("c")) == (("a", "b"), ("b", "a"), ("c",))


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("ES-CT", "ES-CT"),
        ("es-ct", "ES-CT"),
        (" Es-Ct\n", "ES-CT"),
        ("X-MAORI", "x-maori"),
        ("ES", None),
        ("", None),
        ("ES_CT", None),
    ],
)
def test_find(asked: str, expected: str | None) -> None:
    """An id is found in any case, and nothing that merely resembles one."""
    found = Cultures([Culture("ES-CT", "Catalonia", (), (), ()), Culture("x-maori", "Māori", (), (), ())])
    assert expected == found.find(asked)


def test_contains() -> None:
    """Membership asks for the registered spelling."""
    found = made(JP=())
    assert ("JP" in found, "jp" in found, None in found, len(found)) == (True, False, False, 1)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("{", "not a JSON object"),
        ("[]", "exactly the keys"),
        ("5", "exactly the keys"),
        ({"id": "JP"}, "exactly the keys"),
        ({**JAPAN, "colour": "red"}, "exactly the keys"),
        ({**JAPAN, "people": "Japanese"}, "people"),
        ({**JAPAN, "aliases": [""]}, "aliases"),
        ({**JAPAN, "parents": [5]}, "parents"),
        ({**JAPAN, "region": "AS", "languages": ["ja"]}, "keys"),
        ({**JAPAN, "id": "x-maori"}, "keys"),
        ({**JAPAN, "id": "x-maori", "languages": [5], "region": "OC"}, "languages"),
        ({**JAPAN, "id": "x-maori", "languages": ["mi"], "region": "Oceania"}, "region"),
        ({**JAPAN, "id": "QQ"}, "'QQ' is no ISO 3166 code"),
        ({**JAPAN, "id": "Japan"}, "'Japan' is no ISO 3166 code"),
        ({**JAPAN, "id": "x-people", "languages": [], "region": "AS"}, "give it a name"),
        ({**JAPAN, "id": None}, "id"),
        ({**JAPAN, "id": None, "name": "Nowhere"}, "id"),
        ({**JAPAN, "id": 5, "name": "Nowhere"}, "id"),
        ({**JAPAN, "id": ["JP"], "name": "Nowhere"}, "id"),
        ({**JAPAN, "name": 5}, "name"),
        (SPAIN, "ES occurs twice"),
    ],
)
def test_broken_row(tmp_path: Path, row: Any, said: str) -> None:
    """A broken row is one error that names file, line and what is wrong."""
    with pytest.raises(ValueError, match=said) as caught:
        load(tmp_path, SPAIN, row)
    assert str(caught.value).startswith(f"{tmp_path / 'cultures.jsonl'}:2: ")


def test_parent_is_missing(tmp_path: Path) -> None:
    """A parent that the registry lacks is named."""
    with pytest.raises(ValueError, match="ES-CT names ES, which the registry lacks"):
        load(tmp_path, CATALONIA)


def test_parent_comes_later(tmp_path: Path) -> None:
    """A parent may stand below its child."""
    assert load(tmp_path, CATALONIA, SPAIN).lineage("ES-CT") == ("ES-CT", "ES")


def test_committed_registry() -> None:
    """The committed registry loads, and every culture's lineage begins with itself."""
    found = cultures.load(ROOT / "knowledge" / "cultures.jsonl")
    assert [culture.id for culture in found] == [found.lineage(culture.id)[0] for culture in found]
    assert found.lineage("ES-CT") == ("ES-CT", "ES")
