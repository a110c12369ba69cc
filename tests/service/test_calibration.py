from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from service.judge import calibration
from service.judge.calibration import CalibrationUnusable

GOOD: dict[str, Any] = {
    "judge": "llm-separate",
    "axes": {"overall": {"threshold": 37.5, "recall": 0.8}, "harm": {"threshold": 60}},
    "languages": ["en", "tr"],
    "made": "2026-11-21",
}


def saved(folder: Path, said: Any) -> Path:
    """Write a file."""
    path = folder / "calibration.json"
    path.write_text(said if isinstance(said, str) else json.dumps(said), encoding="utf-8")
    return path


def test_read(tmp_path: Path) -> None:
    """Thresholds, languages and the judge are read; what tells how they came about is not looked at."""
    found = calibration.read(saved(tmp_path, GOOD))
    assert found.judge == "llm-separate"
    assert found.thresholds == {"overall": 37.5, "harm": 60.0}
    assert found.languages == frozenset({"en", "tr"})


def test_read_no_language(tmp_path: Path) -> None:
    """A calibration may be validated for no language."""
    assert calibration.read(saved(tmp_path, {**GOOD, "languages": []})).languages == frozenset()


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"judge": " "}, "judge"),
        ({"judge": None}, "judge"),
        ({"axes": {}}, "axes"),
        ({"axes": ["overall"]}, "axes"),
        ({"axes": {"manners": {"threshold": 1}}}, "axes.manners"),
        ({"axes": {"harm": 50}}, "axes.harm.threshold"),
        ({"axes": {"harm": {}}}, "axes.harm.threshold"),
        ({"axes": {"harm": {"threshold": True}}}, "axes.harm.threshold"),
        ({"axes": {"harm": {"threshold": 0}}}, "axes.harm.threshold"),
        ({"axes": {"harm": {"threshold": 100.5}}}, "axes.harm.threshold"),
        ({"axes": {"harm": {"threshold": float("nan")}}}, "axes.harm.threshold"),
        ({"languages": "en"}, "languages"),
        ({"languages": ["English"]}, "languages"),
        ({"languages": None}, "languages"),
    ],
)
def test_field(tmp_path: Path, change: dict[str, Any], field: str) -> None:
    """A field that cannot be used is named with its file, in one sentence."""
    path = saved(tmp_path, {**GOOD, **change})
    with pytest.raises(CalibrationUnusable) as caught:
        calibration.read(path)
    assert str(caught.value).startswith(f"{path}: {field}: ")


@pytest.mark.parametrize("text", ["", "{", "[]", "\x00", '"axes"', "[" * 100_000])
def test_file(tmp_path: Path, text: str) -> None:
    """A file that holds no JSON object is refused."""
    with pytest.raises(CalibrationUnusable, match=r"calibration\.json: "):
        calibration.read(saved(tmp_path, text))


def test_no_file(tmp_path: Path) -> None:
    """A file that is not there, a folder, and bytes that are no text are refused."""
    (tmp_path / "latin").write_bytes(b'{"judge": "\xff"}')
    for path in (tmp_path / "absent", tmp_path, tmp_path / "latin"):
        with pytest.raises(CalibrationUnusable, match=r"cannot be read|not JSON"):
            calibration.read(path)
