from __future__ import annotations

import json

from evaluation import report
from evaluation.report import About, Line, Report, Section
from evaluation.statistics import Draws


def made(limit: int | None = None) -> Report:
    line = report.line("tea", {"rows": 4}, {"right": [True, True, False, False]}, ["a", "a", "b", "c"], Draws(200))
    return Report("detection", About("1.0", "v1", None, Draws(200), limit), (Section("Texts", (line,)),), ("x.jsonl",))


def test_line_counts_groups() -> None:
    """A line says how many groups its rows fall into."""
    assert dict(made().sections[0].lines[0].counts) == {"rows": 4, "groups": 3}


def test_markdown() -> None:
    """Figures are in percent with their interval in brackets, under the name of their column."""
    figure = made().sections[0].lines[0].figures["right"]
    assert figure is not None
    assert report.to_markdown(made()) == (
        "Percent, 95 % interval in brackets; comity 1.0, index v1, 200 resamples.\n\n"
        "Texts\n\n| set | rows | groups | right |\n| --- | ---: | ---: | ---: |\n"
        f"| tea | 4 | 3 | 50.0 [{100 * figure.low:.1f}, {100 * figure.high:.1f}] |\n"
    )


def test_markdown_limit() -> None:
    """A table of a part of the rows says so."""
    assert "at most 7 rows of a set" in report.to_markdown(made(7))


def test_json() -> None:
    """The JSON holds shares, the seed and the files that were not there."""
    said = json.loads(json.dumps(report.to_json(made())))
    assert said["sections"][0]["lines"][0]["figures"]["right"]["value"] == 0.5
    assert said["about"]["bootstrap"] == {"resamples": 200, "seed": 1}
    assert said["missing"] == ["x.jsonl"]


def test_markdown_no_figure() -> None:
    """A figure that is not defined is a dash, never a nought."""
    line = Line("tea", {"rows": 1}, {"precision": None})
    said = report.to_markdown(
        Report("judge", About("1.0", "v1", None, Draws(), None, "j"), (Section("T", (line,)),), ())
    )
    assert "| tea | 1 | – |" in said
    assert "judge j," in said
