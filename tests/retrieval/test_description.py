"""Descriptions go to JSON lines and come back as they were, one at a time."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval import description
from retrieval.description import Description, Descriptions, Source
from tests import shelf

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
    origin=TEXTS,
)
# Line breaks of every kind, a quote, another script, and two code points beyond the first plane.
IDS = ["a", "a-b", "b", "é", 'é\u2028\x85\r\n"b', "日本", "\U0001f600", "\U0001f600a"]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that every example replaces."""
    return tmp_path_factory.mktemp("descriptions") / "descriptions.jsonl"


def written(path: Path, found: list[Description]) -> Descriptions:
    """Write descriptions and open them."""
    path.unlink(missing_ok=True)  # what is mapped must not change
    return Descriptions(path, description.write(found, path))


@settings(deadline=None)
@given(st.lists(DESCRIPTIONS, min_size=1, max_size=4))
def test_there_and_back(path: Path, found: list[Description]) -> None:
    """What is written is read as it was, whatever line breaks and scripts its texts hold."""
    opened = written(path, found)
    assert found == list(opened) == [opened[row] for row in range(len(opened))]
    assert description.dump(found) == path.read_bytes().decode()


@settings(deadline=None)
@given(st.lists(DESCRIPTIONS, max_size=4))
def test_one_line_each(found: list[Description]) -> None:
    """Each description is one line of JSON, and the same descriptions give the same bytes."""
    text = description.dump(found)
    assert len(found) == text.count("\n")
    assert text == description.dump(tuple(found))


@pytest.mark.parametrize("count", range(1, len(IDS) + 1))
def test_found_by_id(path: Path, count: int) -> None:
    """Each description is found by its id, and an id that is not there, before, between or after, is not."""
    opened = written(path, [shelf.row(id, "JP") for id in sorted(IDS)[:count]])
    assert sorted(IDS)[:count] == [found.id for id in sorted(IDS)[:count] if (found := opened.find(id))]
    missing = ["", "A", "a-a", "a-", "zz", "\U0001f601", *sorted(IDS)[count:]]
    assert [opened.find(id) for id in missing] == [None] * len(missing)


def test_rows(path: Path) -> None:
    """Rows are counted from the front or from the back, and there is none beyond either end."""
    opened = written(path, [shelf.row(id, "JP") for id in "abc"])
    assert (len(opened), [opened[row].id for row in (0, 2, -1, -3)]) == (3, ["a", "c", "c", "a"])
    for row in (3, -4, 10**9):
        with pytest.raises(IndexError, match=f"there is no row {row} in 3 descriptions"):
            opened[row]


@pytest.mark.parametrize(
    "offsets",
    [
        np.asarray([0]),
        np.asarray([0, 5]),
        np.asarray([1, 2]),
        np.asarray([[0], [1]]),
        np.asarray([0.0, 1.0]),
        np.asarray([], dtype=np.int64),
    ],
    ids=str,
)
def test_offsets_of_another_file(path: Path, offsets: description.Offsets) -> None:
    """Offsets that do not lead from the beginning of the file to its end are refused."""
    written(path, [shelf.row("a", "JP")])
    with pytest.raises(ValueError, match="offsets"):
        Descriptions(path, offsets)


@pytest.mark.parametrize("turn", [lambda found: found[[0, 2, 1, 3]], lambda found: found[[0, 1, 1, 3]]])
def test_offsets_do_not_rise(path: Path, turn: Callable[[description.Offsets], description.Offsets]) -> None:
    """Offsets that go back or stand still are refused."""
    found = [shelf.row(id, "JP") for id in "abc"]
    written(path, found)
    with pytest.raises(ValueError, match="do not rise"):
        Descriptions(path, turn(description.write(found, path.with_name("again.jsonl"))))


def test_many_threads(path: Path) -> None:
    """Threads that read at once each get what they asked for."""
    opened = written(path, [shelf.row(f"{number:03}", "JP") for number in range(200)])
    with ThreadPoolExecutor(8) as pool:
        found = pool.map(lambda number: (opened[number].id, opened.find(f"{number:03}")), [*range(200)] * 5)
    assert [(f"{number:03}", f"{number:03}") for number in [*range(200)] * 5] == [
        (id, each.id) for id, each in found if each
    ]


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
    """A broken line is an error that names the row, once it is read."""
    path.unlink(missing_ok=True)
    good = description.dump([shelf.row("a", "JP")])
    path.write_text(f"{good}{line}\n", encoding="utf-8")
    end = len(good.encode())
    opened = Descriptions(path, np.asarray([0, end, end + len(line) + 1]))
    assert opened[0].id == "a"
    with pytest.raises(ValueError, match="row 1 is not a description"):
        opened[1]
