"""Whose culture is detected, and how often one is where there is none; in process, no model and no network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from evaluation import report, samples
from evaluation.report import About, Line, Report, Section
from evaluation.samples import Reader, Sample
from evaluation.statistics import Draws
from retrieval import cultures
from retrieval.layout import Layout
from service import __version__
from service.detect import detect
from service.names import Names
from service.settings import DetectionSettings
from service.turn import Hints, Message

FILES = (*samples.NAMED, *samples.SILENCE)


def measure(data: Path, index: Path, limit: int | None, draws: Draws) -> Report:
    """Measure detection on each set that is in the folder `data`, with default settings and the index's registry.

    Raises:
        SamplesUnusable: a row is broken.
        IndexUnusable: there is no index.
    """
    version = Layout(index).current()
    settings = DetectionSettings()
    names = Names(cultures.load(version.cultures), settings.min_city_population)
    sections = []
    for title, readers in (
        ("Texts about one culture", samples.NAMED),
        ("Texts that are hardly ever about a culture", samples.SILENCE),
    ):
        lines = []
        for part, found in _parts(data, readers, limit).items():
            returned = [ids(sample.text, names, settings.max_chars) for sample in found]
            lines.append(_line(part, found, returned, draws))
        if lines:
            sections.append(Section(title, tuple(lines)))
    about = About(__version__, version.root.name, None, draws, limit)
    return Report("detection", about, tuple(sections), tuple(name for name in FILES if not (data / name).is_file()))


def ids(text: str, names: Names, max_chars: int) -> tuple[str, ...]:
    """Give the cultures detected in one user message, in the order that grounding uses."""
    return detect([Message("user", text)], Hints(), names, infer=True, max_chars=max_chars).ids


def right(found: str, wanted: str) -> bool:
    """Tell whether a culture is the wanted one or a subdivision of it, as ES-CT is of ES (ISO 3166-2)."""
    return found == wanted or found.startswith(f"{wanted}-")


def _parts(data: Path, readers: Mapping[str, Reader], limit: int | None) -> dict[str, list[Sample]]:
    parts: dict[str, list[Sample]] = {}
    for name, read in readers.items():
        if (data / name).is_file():
            every = (sample for row in samples.rows(data / name) for sample in read(row))
            for sample in sorted(samples.pick(every, limit), key=lambda sample: sample.part):
                parts.setdefault(sample.part, []).append(sample)
    return parts


def _line(part: str, found: Sequence[Sample], returned: Sequence[tuple[str, ...]], draws: Draws) -> Line:
    counts = {"rows": len(found)}
    scores: dict[str, list[bool]] = {}
    if any(sample.culture for sample in found):
        wanted = [sample.culture or "" for sample in found]
        counts["cultures"] = len(set(wanted))
        scores["first right"] = [bool(ids) and right(ids[0], w) for ids, w in zip(returned, wanted, strict=True)]
        scores["any right"] = [any(right(id, w) for id in ids) for ids, w in zip(returned, wanted, strict=True)]
    scores["returned"] = [bool(ids) for ids in returned]
    return report.line(part, counts, scores, [sample.group for sample in found], draws)
