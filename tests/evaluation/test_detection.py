from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from evaluation import detection
from evaluation.report import Report
from evaluation.statistics import Draws
from retrieval.layout import IndexUnusable, Layout

REGISTRY: list[dict[str, Any]] = [
    {"id": "NL", "people": ["Dutch"], "aliases": ["Holland"], "parents": [], "name": None},
    {"id": "ES", "people": ["Spanish"], "aliases": [], "parents": [], "name": None},
    {"id": "ES-CT", "people": ["Catalan"], "aliases": [], "parents": ["ES"], "name": "Catalonia"},
]


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@pytest.fixture
def index(tmp_path: Path) -> Path:
    layout = Layout(tmp_path / "index")
    layout.version("v1").root.mkdir(parents=True)
    layout.pointer.write_text("v1\n", encoding="utf-8")
    write(layout.version("v1").cultures, REGISTRY)
    return layout.root


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    return folder


def figures(report: Report) -> dict[str, dict[str, float]]:
    return {
        line.name: {name: figure.value for name, figure in line.figures.items() if figure}
        for section in report.sections
        for line in section.lines
    }


@pytest.mark.parametrize(
    ("found", "wanted", "expected"),
    [("ES", "ES", True), ("ES-CT", "ES", True), ("ES", "ES-CT", False), ("NL", "ES", False), ("ESX", "ES", False)],
)
def test_right(found: str, wanted: str, expected: bool) -> None:
    """A culture is right when it is the wanted one or a subdivision of it, never the other way round."""
    assert detection.right(found, wanted) is expected


def test_measure_named(index: Path, data: Path) -> None:
    """First right, any right and returned are shares of all rows of the set."""
    questions = [
        ("a", "NL", "Which cheese do people in Holland eat at noon?"),
        ("b", "ES", "What does a Catalan family cook on Sundays?"),
        ("c", "ES", "Is soup in Holland like Spanish soup?"),
        ("d", "NL", "Which cheese is eaten at noon?"),
    ]
    write(data / "culturalbench.jsonl", [{"id": id, "culture": c, "question": q} for id, c, q in questions])
    found = figures(detection.measure(data, index, None, Draws(50)))["culturalbench"]
    assert found == {
        "first right": 0.5,
        "any right": 0.75,
        "matcher: any right": 0.75,
        "returned": 0.75,
        "matcher: returned": 0.75,
    }


def test_measure_silence(index: Path, data: Path) -> None:
    """A silence set tells how often a culture is returned, also where a matcher of names finds none."""
    prompts = ["How do I peel an onion?", "Is a Spanish onion sweet?"]
    write(data / "orbench.jsonl", [{"id": prompt, "prompt": prompt} for prompt in prompts])
    assert figures(detection.measure(data, index, None, Draws(50))) == {
        "orbench": {"returned": 0.5, "matcher: returned": 0.5},
        "all where the matcher is silent": {"returned": 0.0, "matcher: returned": 0.0},
    }


def test_measure_missing(index: Path, data: Path) -> None:
    """Every set that is not there is named."""
    write(data / "orbench.jsonl", [{"id": "a", "prompt": "How do I peel an onion?"}])
    found = detection.measure(data, index, None, Draws(50))
    assert set(found.missing) == set(detection.FILES) - {"orbench.jsonl"}


def test_measure_limit(index: Path, data: Path) -> None:
    """A limit bounds the rows of each part."""
    write(data / "orbench.jsonl", [{"id": str(n), "prompt": "How do I peel an onion?"} for n in range(9)])
    found = detection.measure(data, index, 4, Draws(50))
    assert found.sections[0].lines[0].counts["rows"] == 4


def test_measure_without_index(tmp_path: Path, data: Path) -> None:
    """Without an index there is no registry to detect with, and no figure."""
    with pytest.raises(IndexUnusable, match="there is no index"):
        detection.measure(data, tmp_path / "nowhere", None, Draws(50))


def test_own_messages(index: Path) -> None:
    """Without sets it measures the messages that come with Comity; the sealed look-alikes only when asked."""
    opened = figures(detection.measure(None, index, None, Draws(50)))
    assert {"open half", "all"} <= set(opened)
    assert "sealed half" not in opened
    assert "sealed half" in figures(detection.measure(None, index, None, Draws(50), sealed=True))
