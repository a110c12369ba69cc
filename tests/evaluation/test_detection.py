from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from evaluation import detection, sight
from evaluation.report import Report
from evaluation.statistics import Draws
from retrieval import cultures
from retrieval.layout import IndexUnusable
from tests.conftest import ROOT

INDEX = ROOT / "var" / "index"


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


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
    [
        ("ES", "ES", True),
        ("ES-CT", "ES", True),
        ("x-maori", "NZ", True),
        ("NZ", "x-maori", False),
        ("ES", "ES-CT", False),
        ("NL", "ES", False),
        ("ESX", "ES", False),
    ],
)
def test_right(found: str, wanted: str, expected: bool) -> None:
    """A culture is right when it is the wanted one or inherits from it, never the other way round."""
    assert sight.right(found, wanted, cultures.load(ROOT / "knowledge" / "cultures.jsonl")) is expected


def test_measure_named(data: Path) -> None:
    """First right, any right and returned are shares of all rows of the set; what was mistaken is listed."""
    questions = [
        ("a", "NL", "Which cheese do people in Holland eat at noon?"),
        ("b", "ES", "What does a Catalan family cook on Sundays?"),
        ("c", "ES", "In Holland, how do families greet guests, and who pays?"),
        ("d", "NL", "Which cheese is sold in the shop?"),
    ]
    write(data / "culturalbench.jsonl", [{"id": id, "culture": c, "question": q} for id, c, q in questions])
    report = detection.measure(data, INDEX, None, Draws(50))
    first = report.sections[0].lines[0].figures
    assert {name: figure.value for name, figure in first.items() if figure} == {
        "first right": 0.5,
        "any right": 0.5,
        "matcher: any right": 0.5,
        "returned": 0.75,
        "matcher: returned": 0.75,
        "encoded": 0.0,
    }
    assert {"ES: NL", "NL: none"} <= set(figures(report))


def test_measure_silence(data: Path) -> None:
    """A silence set tells how often a culture is returned, also where a matcher of names finds none."""
    prompts = ["How do I peel an onion?", "What do guests bring to a dinner in Spain?"]
    write(data / "orbench.jsonl", [{"id": prompt, "prompt": prompt} for prompt in prompts])
    assert figures(detection.measure(data, INDEX, None, Draws(50))) == {
        "orbench": {"returned": 0.5, "matcher: returned": 0.5, "encoded": 0.0},
        "all where the matcher is silent": {"returned": 0.0, "matcher: returned": 0.0, "encoded": 0.0},
    }


def test_measure_missing(data: Path) -> None:
    """Every set that is not there is named."""
    write(data / "orbench.jsonl", [{"id": "a", "prompt": "How do I peel an onion?"}])
    found = detection.measure(data, INDEX, None, Draws(50))
    assert set(found.missing) == set(detection.FILES) - {"orbench.jsonl"}


def test_measure_limit(data: Path) -> None:
    """A limit bounds the rows of each part."""
    write(data / "orbench.jsonl", [{"id": str(n), "prompt": "How do I peel an onion?"} for n in range(9)])
    found = detection.measure(data, INDEX, 4, Draws(50))
    assert found.sections[0].lines[0].counts["rows"] == 4


def test_measure_without_index(tmp_path: Path, data: Path) -> None:
    """Without an index there is no registry to detect with, and no figure."""
    with pytest.raises(IndexUnusable, match="there is no index"):
        detection.measure(data, tmp_path / "nowhere", None, Draws(50))


def test_own_messages() -> None:
    """Without sets it measures the messages that come with Comity; the sealed look-alikes only when asked."""
    opened = figures(detection.measure(None, INDEX, None, Draws(50)))
    assert {"open half", "all"} <= set(opened)
    assert "sealed half" not in opened
    assert "sealed half" in figures(detection.measure(None, INDEX, None, Draws(50), sealed=True))


def test_curves(data: Path, tmp_path: Path) -> None:
    """The curves of confidence are fitted to every other culture and written by kind of evidence."""
    rows = [
        {"id": f"{culture} {number}", "culture": culture, "question": f"What do people in {name} eat on day {number}?"}
        for culture, name in (("NL", "Holland"), ("ES", "Spain"), ("JP", "Japan"))
        for number in range(30)
    ]
    write(data / "culturalbench.jsonl", rows)
    found = detection.measure(data, INDEX, None, Draws(50), curves=tmp_path / "curves.json")
    made = json.loads((tmp_path / "curves.json").read_text(encoding="utf-8"))
    assert set(made) == {"country"}
    assert all(0 <= x <= 1 and y == 1.0 for x, y in made["country"])
    counts = {line.name: line.counts for section in found.sections for line in section.lines}
    assert counts["all"] == {"told": 30}
