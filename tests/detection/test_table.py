"""Tables of names: what is written is what is read, and the table that comes with Comity is whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from detection import folding, table
from detection.table import STEM, Sense

JP = Sense("country", "JP", 0.95, 0, frozenset({"pl"}))


def test_round_trip(tmp_path: Path) -> None:
    """A table that was saved and loaded tells of each name what went in."""
    rows = [("japonia", JP), ("japonia", Sense("city", "BR", 0.4)), ("nippon", Sense("country", "JP", 0.97))]
    table.save(rows, {"JP": 3}, tmp_path)
    found = table.load(tmp_path)
    assert {sense.culture: sense for sense in found.senses("japonia")} == {"JP": JP, "BR": Sense("city", "BR", 0.4)}
    assert (found.beginning("nipponese"), found.senses("nip"), len(found)) == (["nippon"], [], 2)
    assert table.populations(tmp_path) == {"JP": 3}


def test_no_table(tmp_path: Path) -> None:
    """A folder without a table is an error of the file system, not an empty table."""
    with pytest.raises((OSError, RuntimeError)):
        table.load(tmp_path)


def test_joined() -> None:
    """A culture has one sense, a country's name before a city's; a stem, which needs an ending, stays apart."""
    city, stem = Sense("city", "JP", 0.97), Sense("country", "JP", 0.9, STEM)
    found = table.joined([city, stem, JP])
    assert found == [Sense("country", "JP", 0.97), stem]


def test_ranked() -> None:
    """Of senses that are as likely the smaller country's is a little less so."""
    found = table.ranked([Sense("people", "KP", 0.95), Sense("people", "KR", 0.95)], {"KP": 1, "KR": 2})
    assert [(sense.culture, sense.chance) for sense in found] == [("KR", 0.95), ("KP", 0.92)]


@pytest.mark.parametrize(
    ("name", "culture"),
    [("Istanbul", "TR"), ("İstanbul", "TR"), ("Стамбул", "TR"), ("東京", "JP"), ("Bombay", "IN"), ("Quebec", "CA-QC")],
)
def test_places(name: str, culture: str) -> None:
    """The table that comes with Comity knows cities by their spellings, and the registry's regions by their cities."""
    assert culture in {sense.culture for sense in table.load().senses(folding.name(name))}
