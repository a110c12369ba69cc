"""Chooses the score from which each axis is unsafe on half of the labelled rows; its figures are of the other half."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from evaluation import samples, statistics
from evaluation.asking import Answer, Who
from evaluation.labelled import Labelled
from evaluation.quality import Judged
from evaluation.report import Line, Section
from evaluation.samples import SamplesUnusable
from evaluation.statistics import Draws, Floats
from service.judge import DEFAULT_THRESHOLD
from service.turn import AXES

LEAST = 50  # rows of each label that a calibration needs
_LEAST_HALF = 10  # of each label in each half
_LEAST_LANGUAGE = 20  # of each label among those that are checked, for a language to be called validated
_WHOLE = "overall"
Bools = npt.NDArray[np.bool_]


class NotCalibrated(Exception):
    """The rows were judged, but no threshold can be given; the message is one sentence."""


@dataclass(frozen=True, slots=True)
class Rates:
    """What flagging does on rows that no threshold was chosen on; shares from 0 to 1, precision None without a flag."""

    precision: float | None
    recall: float
    false_alarms: float
    n_safe: int
    n_unsafe: int


@dataclass(frozen=True, slots=True)
class Rule:
    """What a threshold must hold to: most of the safe rows that it may flag, least of the unsafe ones it must."""

    max_false_alarms: float = 0.05
    min_recall: float = 0.5

    def holds(self, found: Rates) -> bool:
        """Tell whether it does: false alarms where their 95 % interval (Wilson) is not above what is allowed."""
        low, _ = statistics.wilson(found.false_alarms * found.n_safe, found.n_safe)
        return low <= self.max_false_alarms and found.recall >= self.min_recall


@dataclass(frozen=True, slots=True)
class Calibrated:
    """Thresholds by axis, their rates and those of all axes together, and whether these hold, by language too.

    An axis in `left_out` was judged, but no threshold on it is any use; the service keeps its own for it.
    """

    judge: str
    thresholds: Mapping[str, float]
    axes: Mapping[str, Rates]
    together: Rates
    holds: bool
    languages: Mapping[str, bool]
    left_out: tuple[str, ...]
    checked: Judged


def enough(rows: Sequence[Labelled]) -> None:
    """Refuse rows that are too few to choose on and to check on, before anybody is asked.

    Raises:
        SamplesUnusable: in one sentence.
    """
    count = Counter(row.unsafe for row in rows)
    if min(count[True], count[False]) < LEAST:
        raise SamplesUnusable(
            f"--calibrate needs at least {LEAST} safe and {LEAST} unsafe rows, and there are {count[False]} and "
            f"{count[True]}"
        )
    chosen = split(rows)
    for half in (True, False):
        count = Counter(row.unsafe for row, in_it in zip(rows, chosen, strict=True) if in_it is half)
        if min(count[True], count[False]) < _LEAST_HALF:
            raise SamplesUnusable(
                "--calibrate chooses on half of the rows and checks on the other, and rows on one question stay "
                "together: there are too few different questions (or values of group)"
            )


def split(rows: Sequence[Labelled]) -> list[bool]:
    """Tell of each row whether thresholds are chosen on it: every second group, in the order of their SHA-256."""
    groups = sorted({row.group for row in rows}, key=samples.digest)
    chosen = set(groups[::2])
    return [row.group in chosen for row in rows]


def calibrate(judged: Judged, rule: Rule) -> Calibrated:
    """Choose a threshold for each axis, as good by F1 as the rule allows for all axes together.

    Raises:
        NotCalibrated: too few rows have a score, or no threshold on any axis is any use.
    """
    _scored(judged)
    in_half = split(judged.rows)
    chosen, checked = judged.only(in_half), judged.only([not half for half in in_half])
    axes = [axis for axis in AXES if any(axis in scores_of(answer) for answer in judged.answers)]
    thresholds = _thresholds(chosen, axes, rule)
    if not thresholds:
        raise NotCalibrated(
            f"no threshold on {' or '.join(axes) or 'any axis'} flags an unsafe row and at most "
            f"{rule.max_false_alarms:.1%} of the safe ones: nothing is written"
        )
    every: dict[str, float] = {axis: thresholds.get(axis, DEFAULT_THRESHOLD) for axis in axes}
    together = rates(checked, every)
    return Calibrated(
        judge=Counter(answer.judge for answer in judged.answers if answer.score is not None).most_common(1)[0][0],
        thresholds=thresholds,
        axes={axis: rates(checked, {axis: value}) for axis, value in thresholds.items()},
        together=together,
        holds=rule.holds(together),
        languages=_languages(checked, every, rule),
        left_out=tuple(axis for axis in axes if axis not in thresholds),
        checked=checked,
    )


def choose(scores: Floats, unsafe: Bools, allowed: int) -> float | None:
    """Give the threshold with the best F1 of those that flag an unsafe row and at most `allowed` safe ones, or None.

    It lies half-way between two scores that occur. Of equals the one with fewer false alarms is taken, then the higher.

    Args:
        scores: shape (n,), -inf where a row has none.
    """
    found = np.unique(scores[np.isfinite(scores)])
    values = np.round((np.concatenate([found[:1], found[:-1]]) + found) / 2, 3)
    hits = int(unsafe.sum()) - np.searchsorted(np.sort(scores[unsafe]), values)
    alarms = int((~unsafe).sum()) - np.searchsorted(np.sort(scores[~unsafe]), values)
    usable = (values > 0) & (hits > 0) & (alarms <= allowed)
    if not usable.any():
        return None
    f1 = 2 * hits / (hits + alarms + int(unsafe.sum()))
    best = np.lexsort((values[usable], -alarms[usable], f1[usable]))[-1]
    return float(values[usable][best])


def scores_of(answer: Answer) -> Mapping[str, float]:
    """Give the scores by axis; a judge that names no axis has judged the whole."""
    return answer.axes or ({} if answer.score is None else {_WHOLE: answer.score})


def rates(judged: Judged, thresholds: Mapping[str, float]) -> Rates:
    """Give what thresholds do on rows."""
    flagged, unsafe = _flagged(judged, thresholds), judged.unsafe
    hits, alarms = int((flagged & unsafe).sum()), int((flagged & ~unsafe).sum())
    n_unsafe, n_safe = int(unsafe.sum()), int((~unsafe).sum())
    precision = round(hits / (hits + alarms), 4) if hits + alarms else None
    return Rates(precision, _share(hits, n_unsafe), _share(alarms, n_safe), n_safe, n_unsafe)


def write(path: Path, found: Calibrated, who: Who, rule: Rule, data: bytes) -> None:
    """Write what the service reads, beside the place first and then renamed, so that no reader sees half of it.

    Raises:
        OSError: it cannot be written; what was there is still there.
    """
    said: dict[str, Any] = {
        "judge": found.judge,
        **({"model": who.model} if who.model else {}),
        "axes": {axis: {"threshold": found.thresholds[axis], **asdict(r)} for axis, r in found.axes.items()},
        "together": asdict(found.together),
        "languages": [code for code, holds in found.languages.items() if holds],
        "max_false_alarms": rule.max_false_alarms,
        "data_sha256": hashlib.sha256(data).hexdigest(),
        "made": datetime.now(UTC).date().isoformat(),
        "comity": who.comity,
    }
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with beside.open("w", encoding="utf-8") as file:
            file.write(json.dumps(said, ensure_ascii=False, indent=2) + "\n")
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def sections(found: Calibrated, draws: Draws) -> list[Section]:
    """Give the tables of thresholds; every figure is of the half that they were not chosen on."""
    checked = found.checked
    every = dict.fromkeys(found.left_out, DEFAULT_THRESHOLD) | dict(found.thresholds)
    axes = [
        _line(axis, {"threshold": value}, checked, {axis: value}, draws) for axis, value in found.thresholds.items()
    ]
    whole = [_line("all axes", {"holds": int(found.holds)}, checked, every, draws)]
    for code, holds in found.languages.items():
        kept = checked.only([row.language == code for row in checked.rows])
        whole.append(_line(f"language {code}", {"holds": int(holds)}, kept, every, draws))
    return [
        Section("Thresholds, chosen on half of the rows; the figures are of the other half", tuple(axes)),
        Section("With these thresholds, on the other half", tuple(whole)),
    ]


def _line(
    name: str, counts: Mapping[str, float], judged: Judged, thresholds: Mapping[str, float], draws: Draws
) -> Line:
    flagged, unsafe = _flagged(judged, thresholds), judged.unsafe
    shares = {
        "precision": (flagged & unsafe, flagged),
        "recall": (flagged & unsafe, unsafe),
        "false alarms": (flagged & ~unsafe, ~unsafe),
    }
    figures = {key: statistics.ratio(over, under, judged.groups, draws) for key, (over, under) in shares.items()}
    return Line(name, {**counts, "safe": int((~unsafe).sum()), "unsafe": int(unsafe.sum())}, figures)


def _scored(judged: Judged) -> None:
    count = Counter(row.unsafe for row, a in zip(judged.rows, judged.answers, strict=True) if a.score is not None)
    if min(count[True], count[False]) < LEAST:
        raise NotCalibrated(
            f"the judge gave a score to {count[False]} safe and {count[True]} unsafe rows, and a calibration needs "
            f"{LEAST} of each: nothing is written"
        )


def _thresholds(chosen: Judged, axes: Sequence[str], rule: Rule) -> dict[str, float]:
    """Let each axis flag as many safe rows as all axes together may, then fewer, until together they flag no more."""
    most = int(rule.max_false_alarms * int((~chosen.unsafe).sum()))
    scores = {axis: _scores(chosen, axis) for axis in axes}
    for allowed in range(most, -1, -1):
        values = {axis: choose(scores[axis], chosen.unsafe, allowed) for axis in axes}
        found = {axis: value for axis, value in values.items() if value is not None}
        every = {axis: found.get(axis, DEFAULT_THRESHOLD) for axis in axes}
        if int((_flagged(chosen, every) & ~chosen.unsafe).sum()) <= most:
            break
    return found


def _languages(checked: Judged, thresholds: Mapping[str, float], rule: Rule) -> dict[str, bool]:
    """Tell of each language with enough checked rows whether the rule holds in it."""
    found = {}
    for code in sorted({row.language for row in checked.rows if row.language}):
        got = rates(checked.only([row.language == code for row in checked.rows]), thresholds)
        if min(got.n_safe, got.n_unsafe) >= _LEAST_LANGUAGE:
            found[code] = rule.holds(got)
    return found


def _scores(judged: Judged, axis: str) -> Floats:
    return np.array([scores_of(answer).get(axis, -np.inf) for answer in judged.answers], dtype=np.float64)


def _flagged(judged: Judged, thresholds: Mapping[str, float]) -> Bools:
    """Tell of each row whether it is flagged, by the same rule as in the service.

    Where an LLM gave its one digit (the axis overall), that decides, as it has read the text as a text. Where it gave
    none, any other axis does.
    """
    flagged = np.zeros(len(judged), dtype=bool)
    for axis, value in thresholds.items():
        flagged |= _scores(judged, axis) >= value
    if _WHOLE not in thresholds:
        return flagged
    whole = _scores(judged, _WHOLE)
    return np.where(np.isfinite(whole), whole >= thresholds[_WHOLE], flagged)


def _share(part: int, whole: int) -> float:
    return round(part / whole, 4) if whole else 0.0
