"""Detection on messages that come with Comity: look-alikes with their true sense, and messages labelled with roles.

Both were written without sight of the detector. Half of the look-alikes (`traps.sealed.jsonl`) are kept apart, so that
nothing is fitted to them: they are measured when somebody asks for them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from evaluation import report, samples
from evaluation.report import Line, Section
from evaluation.samples import Row
from evaluation.sight import Sight
from evaluation.statistics import Draws
from service.turn import Message

_HERE = Path(__file__).parent
TRAPS, SEALED, MENTIONS = (_HERE / name for name in ("traps.jsonl", "traps.sealed.jsonl", "mentions.jsonl"))


def measure(sight: Sight, draws: Draws, *, sealed: bool) -> list[Section]:
    """Measure detection on look-alikes, the sealed half where it is asked for, and on the labelled messages.

    Raises:
        SamplesUnusable: a row is broken.
    """
    parts = {"open half": TRAPS, **({"sealed half": SEALED} if sealed else {})}
    lines = [line for part, file in parts.items() for line in _traps(part, file, sight, draws)]
    return [
        Section("Words that look cultural, and their true sense", tuple(lines)),
        _mentions(sight, draws),
        _in_roles(sight, draws),
    ]


def _traps(part: str, file: Path, sight: Sight, draws: Draws) -> list[Line]:
    rows = samples.rows(file)
    lines = []
    for name, true in ((f"{part}, look-alikes", False), (f"{part}, true sense", True), (part, None)):
        kept = [row for row in rows if true is None or bool(row.texts("cultures")) is true]
        right = [
            _right(sight.see([Message("user", row.text("text"))])[0].ids, row.texts("cultures") or ()) for row in kept
        ]
        lines.append(report.line(name, {"rows": len(kept)}, {"right": right}, [row.text("id") for row in kept], draws))
    return lines


def _mentions(sight: Sight, draws: Draws) -> Section:
    rows = samples.rows(MENTIONS)
    seen = [sight.see(_said(row))[0] for row in rows]
    kinds = sorted({row.text("kind") for row in rows})
    lines = []
    for kind in (*kinds, "all"):
        pairs = [(row, found) for row, found in zip(rows, seen, strict=True) if kind in (row.text("kind"), "all")]
        right = [_right(found.ids, _wanted(row)[:1]) for row, found in pairs]
        every = [set(_wanted(row)) <= set(found.ids) and bool(found.ids) is bool(_wanted(row)) for row, found in pairs]
        lines.append(
            report.line(
                kind,
                {"rows": len(pairs)},
                {"first right": right, "all right": every},
                [r.text("id") for r, _ in pairs],
                draws,
            )
        )
    return Section("Messages labelled with cultures and roles", tuple(lines))


def _in_roles(sight: Sight, draws: Draws) -> Section:
    """Measure the roles of the cultures that are returned rightly."""
    rows = samples.rows(MENTIONS)
    lines = []
    for name, least in (("roles", 1), ("roles where two cultures meet", 2)):
        told = [
            (row.text("id"), _roles(row)[item.culture] == item.role)
            for row in rows
            if len(_roles(row)) >= least
            for item in sight.see(_said(row))[0].found
            if item.culture in _roles(row)
        ]
        if told:
            scores = {"role right": [right for _, right in told]}
            lines.append(report.line(name, {"cultures": len(told)}, scores, [id for id, _ in told], draws))
    return Section("Roles of the cultures that are returned rightly", tuple(lines))


def _right(ids: Sequence[str], wanted: Sequence[str]) -> bool:
    return ids[0] in wanted if wanted and ids else not (wanted or ids)


def _said(row: Row) -> list[Message]:
    return [Message(str(each["role"]), str(each["content"])) for each in row.objects("messages")]


def _wanted(row: Row) -> list[str]:
    return [str(each["id"]) for each in row.objects("cultures")]


def _roles(row: Row) -> dict[str, str]:
    return {str(each["id"]): str(each["role"]) for each in row.objects("cultures")}
