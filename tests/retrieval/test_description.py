"""Descriptions go to JSON lines and come back as they were."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval import description
from retrieval.description import Description, Source

TEXTS = st.text(max_size=40)
MAYBE = st.none() | TEXTS
SOURCES = st.builds(Source, TEXTS, TEXTS, TEXTS, TEXTS, TEXTS)
DESCRIPTIONS = st.builds(
    Description,
    id=TEXTS,
    culture=TEXTS,
    topic=TEXTS,
    statement=TEXTS,
    offends=MAYBE,
    questions=st.lists(TEXTS, max_size=3).map(tuple),
    strength=TEXTS,
    harmful=st.booleans(),
    sources=st.lists(SOURCES, max_size=2).map(tuple),
    review=TEXTS,
    region=MAYBE,
    generation=MAYBE,
    setting=MAYBE,
    language=TEXTS,
)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that every example overwrites."""
    return tmp_path_factory.mktemp("descriptions") / "descriptions.jsonl"


@settings(deadline=None)
@given(st.lists(DESCRIPTIONS, max_size=4))
def test_there_and_back(path: Path, found: list[Description]) -> None:
    """What is dumped loads as it was, whatever line breaks and scripts its texts hold."""
    path.write_text(description.dump(found), encoding="utf-8")
    assert tuple(found) == description.load(path)


@settings(deadline=None)
@given(st.lists(DESCRIPTIONS, max_size=4))
def test_one_line_each(found: list[Description]) -> None:
    """Each description is one line of JSON, and the same descriptions give the same bytes."""
    written = description.dump(found)
    assert len(found) == written.count("\n")
    assert written == description.dump(tuple(found))


def test_row_of_the_knowledge_base() -> None:
    """A knowledge row keeps its scope in an object, and its parts become fields."""
    row = {
        "id": "jp-dining-a",
        "culture": "JP",
        "topic": "dining",
        "statement": "Many wait.",
        "offends": None,
        "questions": ["When do we eat?"],
        "strength": "varies",
        "scope": {"region": "Kansai", "generation": None, "setting": "home"},
        "harmful": False,
        "sources": [],
        "review": "drafted",
        "language": "en",
    }
    found = description.parse(row)
    assert (found.region, found.generation, found.setting) == ("Kansai", None, "home")
    assert found == description.parse(json.loads(description.dump([found])))


@pytest.mark.parametrize("line", ["{", "{}", "[]", "5", "null", '"text"', '{"id": "a", "scope": 5}'])
def test_broken_line(path: Path, line: str) -> None:
    """A broken line is an error that names file and line."""
    path.write_text(f"\n{line}\n", encoding="utf-8")
    with pytest.raises(ValueError, match="not a description") as caught:
        description.load(path)
    assert str(caught.value).startswith(f"{path}:2: ")
