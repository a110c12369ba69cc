from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.statistics import Draws, auc, difference, estimate, quotient, ratio, wilson


@given(
    st.lists(st.tuples(st.floats(0, 1), st.sampled_from("abcdef")), min_size=1, max_size=40), st.integers(0, 2**32 - 1)
)
def test_estimate_ordered(pairs: list[tuple[float, str]], seed: int) -> None:
    """An interval lies between 0 and 1 with its lower end first, and the same seed gives it again."""
    values, groups = [value for value, _ in pairs], [group for _, group in pairs]
    found = estimate(values, groups, Draws(50, seed))
    assert -1e-9 <= found.low <= found.high <= 1 + 1e-9
    assert found == estimate(values, groups, Draws(50, seed))


def test_estimate_mean() -> None:
    """The value is the plain mean of all values, whatever their groups."""
    assert estimate([1, 0, 0, 0], ["a", "a", "a", "b"]).value == 0.25


def test_estimate_near_normal() -> None:
    """For many independent values the interval is that of the normal approximation."""
    found = estimate([0, 1] * 500)
    assert found.low == pytest.approx(0.5 - 1.96 * 0.5 / 1000**0.5, abs=0.005)
    assert found.high == pytest.approx(0.5 + 1.96 * 0.5 / 1000**0.5, abs=0.005)


def test_estimate_groups_widen() -> None:
    """Rows that stand or fall together say less than as many independent ones."""
    values = [0] * 50 + [1] * 50
    alone, together = estimate(values), estimate(values, [str(row // 10) for row in range(100)])
    assert together.high - together.low > 2 * (alone.high - alone.low)


@pytest.mark.parametrize("value", [0, 1])
def test_estimate_without_variation(value: int) -> None:
    """All right or all wrong is no certainty: the interval is Wilson's over the groups."""
    found = estimate([value] * 40, [str(row // 4) for row in range(40)])
    assert (found.low, found.high) == wilson(10 * value, 10)


def test_estimate_one_group() -> None:
    """One group alone says nothing about others."""
    found = estimate([0, 1], ["a", "a"])
    assert (found.value, found.low, found.high) == (0.5, 0.0, 1.0)


@pytest.mark.parametrize(("values", "groups"), [([], None), ([1.0, 0.0], ["a"])])
def test_estimate_refused(values: list[float], groups: list[str] | None) -> None:
    """No value, or groups of another length, is an error and not a figure."""
    with pytest.raises(ValueError, match="wanted at least one value"):
        estimate(values, groups)


def test_wilson() -> None:
    """Known ends: no success in ten, and half of a hundred."""
    assert wilson(0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)
    assert wilson(50, 100) == pytest.approx((0.4038, 0.5962), abs=1e-4)


def test_wilson_mirror() -> None:
    """Failures have the mirrored interval of successes."""
    low, high = wilson(3, 17)
    assert wilson(14, 17) == pytest.approx((1 - high, 1 - low))


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=1, max_size=30))
def test_auc_counts_pairs(pairs: list[tuple[int, bool]]) -> None:
    """The area is the share of pairs in which the positive row scores higher, a tie counting half."""
    up, down = [s for s, positive in pairs if positive], [s for s, positive in pairs if not positive]
    found = auc([s for s, _ in pairs], [positive for _, positive in pairs], None, Draws(20))
    if not up or not down:
        assert found is None
        return
    wins = sum((a > b) + (a == b) / 2 for a in up for b in down)
    assert found is not None
    assert found.value == pytest.approx(wins / (len(up) * len(down)))
    assert 0 <= found.low <= found.high <= 1


def test_auc_perfect() -> None:
    """An area of 1 is no certainty: its interval is Wilson's over the rarer label."""
    found = auc([1, 2, 3, 8, 9], [False, False, False, True, True])
    assert found is not None
    assert (found.value, found.low, found.high) == (1.0, *wilson(2, 2))


def test_ratio() -> None:
    """Rows that do not count weigh nothing, and where none counts there is no figure."""
    found = ratio([1, 0, 0, 0], [1, 1, 0, 0])
    assert found is not None
    assert found.value == 0.5
    assert ratio([0, 0], [0, 0]) is None


def test_ratio_is_estimate() -> None:
    """A mean is a ratio whose rows all count."""
    values, groups = [0, 1, 1, 0, 1, 0, 0], list("aabbccd")
    assert ratio(values, [1] * 7, groups) == estimate(values, groups)


def test_difference_is_paired() -> None:
    """Two figures that move together have a sure difference, though each alone is unsure."""
    values = [0, 1] * 20
    first = quotient([value / 2 + 0.5 for value in values], [1] * 40)
    second = quotient([value / 2 for value in values], [1] * 40)
    found = difference(first, second, [str(number) for number in range(40)], Draws(100))
    assert found is not None
    assert (found.value, found.low, found.high) == pytest.approx((0.5, 0.5, 0.5))


def test_difference_without_figure() -> None:
    """Where one of two figures is not defined, neither is their difference."""
    assert difference(quotient([1], [1]), quotient([0], [0]), ["a"]) is None
