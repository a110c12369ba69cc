"""How sure a figure is: a percentile bootstrap over groups of rows that are not independent.

A figure is a function of how much each row weighs; the bootstrap draws groups and weighs their rows by how often each
was drawn. So means, ratios (precision, F1) and the area under the ROC curve take one path.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_Z = 1.959964  # 95 % of a normal distribution lie within
_CHUNK = 100  # resamples drawn at once, so that memory stays small
Floats = npt.NDArray[np.float64]
# Weights, shape (draws, rows) → the figure of each draw, shape (draws,); NaN where it has none.
Measure = Callable[[Floats], Floats]


@dataclass(frozen=True, slots=True)
class Draws:
    """How often a bootstrap draws, and the seed that makes it draw the same again."""

    resamples: int = 2000
    seed: int = 1


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure and the ends of its 95 % interval."""

    value: float
    low: float
    high: float


def estimate(values: npt.ArrayLike, groups: Sequence[str] | None = None, draws: Draws | None = None) -> Estimate:
    """Give the mean of values between 0 and 1 and its 95 % percentile bootstrap interval.

    Whole groups are drawn, because the rows of one group stand or fall together. Where all values are 0 or all are 1
    a bootstrap would claim certainty: there it is Wilson's interval over the groups. One group alone says nothing: the
    interval is then 0 to 1.

    Args:
        values: shape (n,), n at least 1.
        groups: one name a value; None makes each value its own group.

    Raises:
        ValueError: there is no value, or groups are of another length.
    """
    array = np.asarray(values, dtype=np.float64)
    found = ratio(array, np.ones(array.size), groups, draws)
    assert found is not None
    return found


def ratio(
    over: npt.ArrayLike, under: npt.ArrayLike, groups: Sequence[str] | None = None, draws: Draws | None = None
) -> Estimate | None:
    """Give the sum of one value a row over the sum of another, between 0 and 1; None where the lower sum is 0.

    A share of exactly 0 or 1 has Wilson's interval over the groups that count.

    Args:
        over, under: shape (n,); a row that does not count is 0 in both.
        groups: one name a row; None makes each row its own group.
    """
    upper, lower = np.asarray(over, dtype=np.float64), np.asarray(under, dtype=np.float64)
    names = _numbered(groups, lower.size)
    if not lower.sum():
        return None
    value, counting = float(upper.sum() / lower.sum()), len(np.unique(names[lower > 0]))
    if value in (0.0, 1.0):
        return Estimate(value, *wilson(value * counting, counting))
    return bootstrap(quotient(upper, lower), names, draws)


def auc(
    scores: npt.ArrayLike, positive: npt.ArrayLike, groups: Sequence[str] | None = None, draws: Draws | None = None
) -> Estimate | None:
    """Give the area under the ROC curve: how often a positive row scores above a negative one, a tie counting half.

    None where a label is missing. An area of exactly 0 or 1 has Wilson's interval over the groups of the rarer label.

    Args:
        scores: shape (n,), higher where a row should be positive.
        positive: shape (n,), true or false.
    """
    truth = np.asarray(positive, dtype=bool)
    names = _numbered(groups, truth.size)
    if truth.all() or not truth.any():
        return None
    measure = area(scores, truth)
    value = float(measure(np.ones((1, truth.size)))[0])
    if value in (0.0, 1.0):
        rarer = min(len(np.unique(names[truth])), len(np.unique(names[~truth])))
        return Estimate(value, *wilson(value * rarer, rarer))
    return bootstrap(measure, names, draws)


def area(scores: npt.ArrayLike, positive: npt.ArrayLike) -> Measure:
    """Give the area under the ROC curve as a function of the rows' weights."""
    found, truth = np.asarray(scores, dtype=np.float64), np.asarray(positive, dtype=bool)
    order = np.argsort(found, kind="stable")
    starts = np.flatnonzero(np.diff(found[order], prepend=np.nan) != 0)  # where each run of equal scores begins

    def measure(weights: Floats) -> Floats:
        sorted_ = weights[:, order]
        up = np.add.reduceat(sorted_ * truth[order], starts, axis=1)
        down = np.add.reduceat(sorted_ * ~truth[order], starts, axis=1)
        below = np.cumsum(down, axis=1) - down / 2
        return _divide((up * below).sum(axis=1), up.sum(axis=1) * down.sum(axis=1))

    return measure


def bootstrap(
    measure: Measure, names: npt.NDArray[np.int64], draws: Draws | None = None, lowest: float = 0.0
) -> Estimate:
    """Give a figure of all rows and its 95 % percentile interval; draws that have no figure are left out.

    One group alone says nothing about others: the interval is then all that the figure can be.

    Args:
        names: the number of each row's group, from 0 without gaps, shape (n,).
        lowest: least value of the figure (-1 for a difference); the greatest is 1.
    """
    value = float(measure(np.ones((1, len(names))))[0])
    if names.max() == 0:
        return Estimate(value, lowest, 1.0)
    found = np.concatenate([measure(weights) for weights in _weights(names, draws or Draws())])
    if np.isnan(found).all():
        return Estimate(value, lowest, 1.0)
    low, high = np.nanpercentile(found, [2.5, 97.5])
    return Estimate(value, float(low), float(high))


def difference(first: Measure, second: Measure, groups: Sequence[str], draws: Draws | None = None) -> Estimate | None:
    """Give one figure less another of the same rows, both of the same draws; None where one has no value."""
    names = _numbered(groups, len(groups))
    whole = np.ones((1, len(names)))
    if np.isnan(first(whole) - second(whole)).any():
        return None
    return bootstrap(lambda weights: first(weights) - second(weights), names, draws, lowest=-1.0)


def quotient(over: npt.ArrayLike, under: npt.ArrayLike) -> Measure:
    """Give the sum of one value a row over the sum of another as a function of the rows' weights."""
    upper, lower = np.asarray(over, dtype=np.float64), np.asarray(under, dtype=np.float64)
    return lambda weights: _divide(weights @ upper, weights @ lower)


def _weights(names: npt.NDArray[np.int64], draws: Draws) -> Iterator[Floats]:
    """Draw whole groups with replacement; give how often each row was drawn, some draws at a time."""
    groups, generator = int(names.max()) + 1, np.random.default_rng(draws.seed)
    for start in range(0, draws.resamples, _CHUNK):
        size = min(_CHUNK, draws.resamples - start)
        drawn = generator.integers(groups, size=(size, groups)) + groups * np.arange(size)[:, None]
        times = np.bincount(drawn.ravel(), minlength=size * groups).reshape(size, groups)
        yield times[:, names].astype(np.float64)


def _numbered(groups: Sequence[str] | None, size: int) -> npt.NDArray[np.int64]:
    if not size or (groups is not None and len(groups) != size):
        raise ValueError("wanted at least one value, and one group a value")
    return np.arange(size) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]


def _divide(over: Floats, under: Floats) -> Floats:
    out = np.full(over.shape, np.nan)
    np.divide(over, under, out=out, where=under != 0)
    return out


def wilson(successes: float, trials: int) -> tuple[float, float]:
    """Give Wilson's 95 % interval of a share (Wilson 1927, without continuity correction)."""
    share = successes / trials
    centre = share + _Z**2 / (2 * trials)
    spread = _Z * float(np.sqrt(share * (1 - share) / trials + _Z**2 / (4 * trials**2)))
    scale = 1 + _Z**2 / trials
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)
