"""How far a confidence can be trusted: bins, their error, and the curve that mends it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation import reliability
from evaluation.reliability import Told

SHARE = st.floats(0, 1)


def told(*pairs: tuple[float, bool]) -> list[Told]:
    return [Told("JP", sure, sure, "country", right) for sure, right in pairs]


def test_error_of_a_sure_guess() -> None:
    """Who says 0.9 and is right half of the time is off by 0.4; who says 0.5 is not off."""
    assert reliability.error(told(*[(0.9, True), (0.9, False)] * 50)) == pytest.approx(0.4)
    assert reliability.error(told(*[(0.5, True), (0.5, False)] * 50)) == pytest.approx(0.0)
    assert reliability.error([]) == 0.0


def test_bins_of_equal_mass() -> None:
    """Each bin holds as many, from the least sure to the surest."""
    found = reliability.bins(told(*[(number / 100, number >= 50) for number in range(100)]))
    assert [size for size, _, _ in found] == [10] * 10
    assert [share for _, _, share in found] == [0.0] * 5 + [1.0] * 5


def test_halves_share_no_culture() -> None:
    """What is fitted to and what is reported are of different cultures, and nothing is lost."""
    every = [Told(culture, 0.5, 0.5, "city", True) for culture in ("NL", "ES", "JP", "NL")]
    fitted, held = reliability.halves(every)
    assert ({each.wanted for each in fitted}, {each.wanted for each in held}) == ({"ES", "NL"}, {"JP"})


@given(st.lists(st.tuples(SHARE, st.booleans()), max_size=400))
def test_curve_rises(pairs: list[tuple[float, bool]]) -> None:
    """A curve never falls, and stays between 0 and 1."""
    knots = reliability.curve(told(*pairs))
    assert [y for _, y in knots] == sorted(y for _, y in knots)
    assert [x for x, _ in knots] == sorted(x for x, _ in knots)
    assert all(0 <= x <= 1 and 0 <= y <= 1 for x, y in knots)
    assert bool(knots) == bool(pairs)
