"""`comity knowledge check|stats`: exit codes, sentences and JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from index import stock
from retrieval.cultures import Culture, Cultures
from tests.index.conftest import ROOT, row_of

STATEMENT = json.loads((ROOT / "knowledge/descriptions/JP.jsonl").read_text(encoding="utf-8").split("\n")[0])[
    "statement"
]


def test_good(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`check` counts what it found, as a sentence or as JSON."""
    assert stock.main(["check", "--knowledge", str(source)]) == 0
    assert capsys.readouterr() == ("6 descriptions of 2 cultures, 0 cue words, answers to 0, 0 drills: ok\n", "")
    assert stock.main(["check", "--knowledge", str(source), "--json"]) == 0
    expected = {"ok": True, "descriptions": 6, "cultures": 2, "cues": 0, "pairs": 0, "drills": 0, "slights": 0}
    assert json.loads(capsys.readouterr().out) == expected


def test_broken(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`check` fails with 1 and names file, line and field; as JSON it lists the same faults."""
    row_of(source).write_text("{\n", encoding="utf-8")
    where = f"{row_of(source)}:1"
    for command in ("check", "stats"):
        assert stock.main([command, "--knowledge", str(source)]) == 1
        out, err = capsys.readouterr()
        assert ("", f"{where}: line: ") == (out, err[: len(where) + 8])
    assert stock.main(["check", "--knowledge", str(source), "--json"]) == 1
    (fault,) = json.loads(capsys.readouterr().out)["faults"]
    assert (where, "line") == (fault["where"], fault["field"])


def test_against(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`check --against` fails where a file holds words of the knowledge, and tells which and where."""
    path = tmp_path / "set.txt"
    path.write_text(f"nothing\n{STATEMENT}\n", encoding="utf-8")
    assert stock.main(["check", "--knowledge", str(source), "--against", str(path)]) == 1
    run = " ".join(STATEMENT.casefold().split()[:3])
    said = capsys.readouterr().err
    assert f'has "{run}' in said
    assert f"{path}:2" in said
    path.write_text("nothing", encoding="utf-8")
    assert stock.main(["check", "--knowledge", str(source), "--against", str(path)]) == 0


@pytest.mark.parametrize("content", [None, b"\xff"])
def test_against_what_cannot_be_read(
    source: Path, tmp_path: Path, content: bytes | None, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file that is missing or no text is an error of its own."""
    path = tmp_path / "set.txt"
    if content is not None:
        path.write_bytes(content)
    assert stock.main(["check", "--knowledge", str(source), "--against", str(path)]) == 2
    assert capsys.readouterr().err.startswith("comity knowledge: --against: ")


def test_stats(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`stats` prints a line a culture, a column a topic, and what the whole is made of."""
    assert stock.main(["stats", "--knowledge", str(source)]) == 0
    lines = capsys.readouterr().out.split("\n")
    assert [line.split()[:3] for line in lines[:4]] == [
        ["culture", "name", "all"],
        ["ES-CT", "Catalonia", "3"],
        ["JP", "Japan", "3"],
        ["all", "6", lines[3].split()[2]],
    ]
    assert "review: source_checked 6" in lines
    assert stock.main(["stats", "--knowledge", str(source), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert {id: sum(counts.values()) for id, counts in said["cultures"].items()} == {"ES-CT": 3, "JP": 3}
    assert said["continent"] == {"EU": 3, "AS": 3}


def test_continent() -> None:
    """A culture lies where its row says, else where its country or a parent lies."""
    registry = Cultures(
        [
            Culture("NZ", "New Zealand", (), (), ()),
            Culture("ES", "Spain", (), (), ()),
            Culture("ES-CT", "Catalonia", (), (), ("ES",)),
            Culture("x-maori", "Māori", (), (), ("NZ",), ("mi",), "OC"),
            Culture("x-far", "Far", (), (), ("NZ",)),
            Culture("x-other", "Other", (), (), ()),
        ]
    )
    found = [stock.continent(culture.id, registry) for culture in registry]
    assert found == ["OC", "EU", "EU", "OC", "OC", "several"]
