"""Whose culture is detected, and how often one is where there is none; in process, no network.

Beside each figure stands that of a matcher of names alone (`evaluation/matcher.py`).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from evaluation import messages, reliability, report, samples
from evaluation import sight as sights
from evaluation.reliability import Told
from evaluation.report import About, Line, Report, Section
from evaluation.samples import Reader, Sample
from evaluation.sight import Sight
from evaluation.statistics import Draws, Estimate
from service import __version__
from service.turn import Detection, Message

_CONFUSED = 20  # pairs of cultures that are told
FILES = (*samples.NAMED, *samples.SILENCE)


@dataclass(frozen=True, slots=True)
class Seen:
    """What was detected in one text, and whether the encoder was asked."""

    sample: Sample
    detection: Detection
    encoded: bool


def measure(
    data: Path | None, index: Path, limit: int | None, draws: Draws, *, sealed: bool = False, curves: Path | None = None
) -> Report:
    """Measure detection with the names of the index's version: on each set in the folder `data`, else on own messages.

    Args:
        curves: where to write the curves of confidence, fitted to half of the cultures of the sets.

    Raises:
        SamplesUnusable: a row is broken.
        IndexUnusable: there is no index.
    """
    sight = sights.make(index)
    about = About(__version__, sight.index.version, sight.index.encoder.id, draws, limit)
    if data is None:
        return Report("detection", about, tuple(messages.measure(sight, draws, sealed=sealed)), ())
    named, silent = (_seen(_parts(data, readers, limit), sight) for readers in (samples.NAMED, samples.SILENCE))
    sections = [
        *_section("Texts about one culture", [_line(part, seen, sight, draws) for part, seen in named.items()]),
        *_section(
            "Texts that are hardly ever about a culture",
            [_line(part, seen, sight, draws) for part, seen in silent.items()]
            + ([_silent([each for seen in silent.values() for each in seen], sight, draws)] if silent else []),
        ),
        *_trust(named, sight, curves),
        *_section("Taken for another culture, most often first", _confusion(named, sight)),
    ]
    return Report("detection", about, tuple(sections), tuple(name for name in FILES if not (data / name).is_file()))


def _section(title: str, lines: Sequence[Line]) -> list[Section]:
    return [Section(title, tuple(lines))] if lines else []


def _parts(data: Path, readers: Mapping[str, Reader], limit: int | None) -> dict[str, list[Sample]]:
    parts: dict[str, list[Sample]] = {}
    for name, read in readers.items():
        if (data / name).is_file():
            every = (sample for row in samples.rows(data / name) for sample in read(row))
            for sample in sorted(samples.pick(every, limit), key=lambda sample: sample.part):
                parts.setdefault(sample.part, []).append(sample)
    return parts


def _seen(parts: Mapping[str, Sequence[Sample]], sight: Sight) -> dict[str, list[Seen]]:
    return {
        part: [Seen(sample, *sight.see([Message("user", sample.text)])) for sample in found]
        for part, found in parts.items()
    }


def _line(part: str, seen: Sequence[Seen], sight: Sight, draws: Draws) -> Line:
    returned = [each.detection.ids for each in seen]
    matched = [
        tuple(dict.fromkeys(mention.culture for mention in sight.matcher.find(each.sample.text))) for each in seen
    ]
    wanted = [each.sample.culture for each in seen]
    counts = {"rows": len(seen)}
    scores: dict[str, list[bool]] = {}
    if any(wanted):
        counts["cultures"] = len(set(wanted))
        pairs, others = list(zip(returned, wanted, strict=True)), list(zip(matched, wanted, strict=True))
        scores["first right"] = [bool(ids) and sight.right(ids[0], each) for ids, each in pairs]
        scores["any right"] = [any(sight.right(id, each) for id in ids) for ids, each in pairs]
        scores["matcher: any right"] = [any(sight.right(id, each) for id in ids) for ids, each in others]
    scores["returned"] = [bool(ids) for ids in returned]
    scores["matcher: returned"] = [bool(ids) for ids in matched]
    scores["encoded"] = [each.encoded for each in seen]
    return report.line(part, counts, scores, [each.sample.group for each in seen], draws)


def _silent(seen: Sequence[Seen], sight: Sight, draws: Draws) -> Line:
    """Measure how often a culture is returned where the matcher finds no name: no text of these is likely about one."""
    silent = [each for each in seen if not sight.matcher.find(each.sample.text)]
    scores = {
        "returned": [bool(each.detection.ids) for each in silent],
        "matcher: returned": [False] * len(silent),
        "encoded": [each.encoded for each in silent],
    }
    return report.line(
        "all where the matcher is silent", {"rows": len(silent)}, scores, [each.sample.id for each in silent], draws
    )


def _trust(named: Mapping[str, Sequence[Seen]], sight: Sight, curves: Path | None) -> list[Section]:
    """Measure confidence on the half of the cultures that it was not fitted to: a line a set, and a diagram of all."""
    told = {part: [_told(each, sight) for each in seen if each.detection.found] for part, seen in named.items()}
    every = [each for found in told.values() for each in found]
    if not every:
        return []
    fitted, held = reliability.halves(every)
    if curves:
        kinds = sorted({each.kind for each in fitted} - {"meaning"})  # whose confidence is a constant
        made = {kind: reliability.curve([each for each in fitted if each.kind == kind]) for kind in kinds}
        curves.write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")
    cultures = {each.wanted for each in held}
    parts = {part: [each for each in found if each.wanted in cultures] for part, found in told.items()} | {"all": held}
    lines = [
        Line(part, {"told": len(found)}, {"calibration error": _plain(reliability.error(found))})
        for part, found in parts.items()
        if found
    ]
    diagram = [
        Line(f"bin {number}", {"told": size}, {"confidence": _plain(sure), "right": _plain(share)})
        for number, (size, sure, share) in enumerate(reliability.bins(held), 1)
    ]
    return [
        *_section("Expected calibration error, half of the cultures", lines),
        *_section("Confidence and how often it is right, the same half", diagram),
    ]


def _told(seen: Seen, sight: Sight) -> Told:
    first = seen.detection.found[0]
    wanted = seen.sample.culture
    return Told(wanted or "", first.chance, first.confidence, first.kind, sight.right(first.culture, wanted))


def _plain(value: float) -> Estimate:
    return Estimate(value, value, value)


def _confusion(named: Mapping[str, Sequence[Seen]], sight: Sight) -> list[Line]:
    taken = Counter(
        (each.sample.culture or "", each.detection.ids[0] if each.detection.ids else "none")
        for seen in named.values()
        for each in seen
        if not each.detection.ids or not sight.right(each.detection.ids[0], each.sample.culture)
    )
    return [Line(f"{wanted}: {found}", {"texts": count}, {}) for (wanted, found), count in taken.most_common(_CONFUSED)]
