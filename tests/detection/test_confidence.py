"""How often what is found is right: between knots, beyond them, and in the file that is served."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detection import confidence
from detection.table import Kind


@pytest.mark.parametrize(
    ("chance", "expected"), [(0.0, 0.2), (0.5, 0.2), (0.7, 0.5), (0.9, 0.8), (1.0, 0.8), (0.6, 0.35)]
)
def test_on_a_curve(tmp_path: Path, chance: float, expected: float) -> None:
    """Between knots a curve is straight, before the first and after the last it is flat."""
    file = tmp_path / "curves.json"
    file.write_text(json.dumps({"city": [[0.5, 0.2], [0.7, 0.5], [0.9, 0.8]]}), encoding="utf-8")
    assert confidence.on(confidence.load(file)["city"], chance) == pytest.approx(expected)


def test_without_a_curve() -> None:
    """A kind that was never measured keeps the chance by its evidence."""
    assert confidence.on((), 0.63) == 0.63


@given(st.floats(0, 1), st.sampled_from(["country", "people", "region", "city", "cue"]))
def test_served_curves(chance: float, kind: Kind) -> None:
    """Every confidence is a share under 1, and more evidence never lowers it."""
    assert 0 <= confidence.of(chance, kind) <= confidence.of(min(1.0, chance + 0.1), kind) < 1
