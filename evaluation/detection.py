"""Whose culture is detected, and how often one is where there is none; in process, no model and no network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from detection.mentions import Names
from evaluation import matcher as matchers
from evaluation import messages, report, samples
from evaluation.report import About, Line, Report, Section
from evaluation.samples import Reader, Sample
from evaluation.statistics import Draws
from retrieval import cultures
from retrieval.layout import Layout
from service import __version__
from service.detect import detect
from service.settings import DetectionSettings
from service.turn import Hints, Message

_MAX_CHARS = DetectionSettings().max_chars
FILES = (*samples.NAMED, *samples.SILENCE)


def measure(data: Path | None, index: Path, limit: int | None, draws: Draws, *, sealed: bool = False) -> Report:
    """Measure detection with the names of the index's version: on each set in the folder `data`, else on own messages.

    Beside each figure stands that of a matcher of names alone (`evaluation/matcher.py`).

    Raises:
        SamplesUnusable: a row is broken.
        IndexUnusable: there is no index.
    """
    version = Layout(index).current()
    registry = cultures.load(version.cultures)
    names = Names(registry, version.names.read_text(encoding="utf-8") if version.names.is_file() else "")
    about = About(__version__, version.root.name, None, draws, limit)
    if data is None:
        return Report("detection", about, tuple(messages.measure(names, draws, sealed=sealed)), ())
    matcher = matchers.Names(registry)
    sections = []
    for title, readers in (
        ("Texts about one culture", samples.NAMED),
        ("Texts that are hardly ever about a culture", samples.SILENCE),
    ):
        parts = _parts(data, readers, limit)
        lines = [_line(part, found, names, matcher, draws) for part, found in parts.items()]
        if readers is samples.SILENCE and lines:
            lines.append(_silent([sample for found in parts.values() for sample in found], names, matcher, draws))
        if lines:
            sections.append(Section(title, tuple(lines)))
    return Report("detection", about, tuple(sections), tuple(name for name in FILES if not (data / name).is_file()))


def ids(text: str, names: Names, max_chars: int = _MAX_CHARS) -> tuple[str, ...]:
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


def _line(part: str, found: Sequence[Sample], names: Names, matcher: matchers.Names, draws: Draws) -> Line:
    returned = [ids(sample.text, names) for sample in found]
    matched = [tuple(dict.fromkeys(mention.culture for mention in matcher.find(sample.text))) for sample in found]
    counts = {"rows": len(found)}
    scores: dict[str, list[bool]] = {}
    if any(sample.culture for sample in found):
        wanted = [sample.culture or "" for sample in found]
        counts["cultures"] = len(set(wanted))
        scores["first right"] = [bool(each) and right(each[0], w) for each, w in zip(returned, wanted, strict=True)]
        scores["any right"] = [any(right(id, w) for id in each) for each, w in zip(returned, wanted, strict=True)]
        scores["matcher: any right"] = [any(right(i, w) for i in each) for each, w in zip(matched, wanted, strict=True)]
    scores["returned"] = [bool(each) for each in returned]
    scores["matcher: returned"] = [bool(each) for each in matched]
    return report.line(part, counts, scores, [sample.group for sample in found], draws)


def _silent(found: Sequence[Sample], names: Names, matcher: matchers.Names, draws: Draws) -> Line:
    """Measure how often a culture is returned where the matcher finds no name: no text of these is likely about one."""
    silent = [sample for sample in found if not matcher.find(sample.text)]
    scores = {
        "returned": [bool(ids(sample.text, names)) for sample in silent],
        "matcher: returned": [False] * len(silent),
    }
    return report.line("all where the matcher is silent", {"rows": len(silent)}, scores, [s.id for s in silent], draws)
