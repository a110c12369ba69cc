"""Reads the thresholds that `comity evaluate judge --calibrate` chose on labelled exchanges."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from service.turn import AXES

_LANGUAGE = re.compile(r"[a-z]{2,3}")


class CalibrationUnusable(Exception):
    """The file cannot be used; the message is one sentence that names the file and the field."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """Scores from which an axis is unsafe, for the verdicts of one judge, and the languages that it is validated for.

    `judge` is a name as verdicts carry it; thresholds are above 0 and at most 100; languages are ISO 639 codes.
    """

    judge: str
    thresholds: Mapping[str, float]
    languages: frozenset[str]


def read(path: Path) -> Calibration:
    """Read a calibration; fields that only tell how it came about are not looked at.

    Raises:
        CalibrationUnusable: the file cannot be read, or a field of it cannot be used.
    """
    said = _load(path)
    judge, languages = said.get("judge"), said.get("languages")
    if not isinstance(judge, str) or not judge.strip():
        raise CalibrationUnusable(f"{path}: judge: wanted the name of a judge")
    if not isinstance(languages, list) or not all(isinstance(c, str) and _LANGUAGE.fullmatch(c) for c in languages):
        raise CalibrationUnusable(f"{path}: languages: wanted a list of ISO 639 codes such as en")
    return Calibration(judge, _thresholds(path, said.get("axes")), frozenset(languages))


def _load(path: Path) -> dict[str, Any]:
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CalibrationUnusable(f"{path}: cannot be read ({error.strerror or type(error).__name__})") from error
    except (ValueError, RecursionError) as error:  # not UTF-8 is a ValueError too
        raise CalibrationUnusable(f"{path}: this is not JSON") from error
    if not isinstance(said, dict):
        raise CalibrationUnusable(f"{path}: wanted a JSON object with judge, axes and languages")
    return said


def _thresholds(path: Path, axes: Any) -> dict[str, float]:
    if not isinstance(axes, dict) or not axes:
        raise CalibrationUnusable(f"{path}: axes: wanted an object with one entry an axis, at least one")
    if unknown := [axis for axis in axes if axis not in AXES]:
        raise CalibrationUnusable(f"{path}: axes.{unknown[0]}: there is no such axis, only {', '.join(AXES)}")
    return {axis: _threshold(f"{path}: axes.{axis}", said) for axis, said in axes.items()}


def _threshold(where: str, said: Any) -> float:
    value = said.get("threshold") if isinstance(said, dict) else None
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise CalibrationUnusable(f"{where}.threshold: wanted a number")
    if not math.isfinite(value) or not 0 < value <= 100:
        raise CalibrationUnusable(f"{where}.threshold: wanted a number above 0, at most 100")
    return float(value)
