"""What one evaluation found, as JSON and as Markdown tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy.typing as npt

from evaluation import statistics, table
from evaluation.statistics import Draws, Estimate


@dataclass(frozen=True, slots=True)
class Line:
    """The figures of one set or part of it; counts are plain numbers, figures shares (None: there is none)."""

    name: str
    counts: Mapping[str, float]
    figures: Mapping[str, Estimate | None]


@dataclass(frozen=True, slots=True)
class Section:
    """Lines that have the same counts and figures."""

    title: str
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class About:
    """What was measured: the version of Comity, of the index, of its encoder or the judge, and how."""

    comity: str
    index: str
    encoder: str | None
    bootstrap: Draws
    limit: int | None
    judge: str | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """All of one evaluation: what was measured, with what, and which files were not there."""

    task: str
    about: About
    sections: tuple[Section, ...]
    missing: tuple[str, ...]


def line(
    name: str,
    counts: Mapping[str, int],
    scores: Mapping[str, npt.ArrayLike],
    groups: Sequence[str],
    draws: Draws,
) -> Line:
    """Make a line of scores between 0 and 1, one a row, and of the group of each row."""
    figures = {measure: statistics.estimate(values, groups, draws) for measure, values in scores.items()}
    return Line(name, {**counts, "groups": len(set(groups))}, figures)


def to_json(report: Report) -> dict[str, Any]:
    """Give the report as one JSON object; figures are shares from 0 to 1."""
    return asdict(report)


def to_markdown(report: Report) -> str:
    """Write one table a section; figures in percent, their 95 % interval in brackets."""
    about = report.about
    said = [
        f"comity {about.comity}",
        f"index {about.index}",
        *([f"encoder {about.encoder}"] if about.encoder else []),
        *([f"judge {about.judge}"] if about.judge else []),
        f"{about.bootstrap.resamples} resamples",
        *([f"at most {about.limit} rows of a set"] if about.limit else []),
    ]
    parts = [f"Percent, 95 % interval in brackets; {', '.join(said)}.\n"]
    for section in report.sections:
        counts, figures = list(section.lines[0].counts), list(section.lines[0].figures)
        rows = [
            [line.name, *(str(line.counts[name]) for name in counts), *(_show(line.figures[name]) for name in figures)]
            for line in section.lines
        ]
        parts.append(f"{section.title}\n\n{table.write(['set', *counts, *figures], rows)}")
    return "\n".join(parts)


def _show(figure: Estimate | None) -> str:
    if figure is None:
        return "–"
    return f"{100 * figure.value:.1f} [{100 * figure.low:.1f}, {100 * figure.high:.1f}]"
