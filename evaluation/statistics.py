"""How sure a mean is: a percentile bootstrap over groups of rows that are not independent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_Z = 1.959964  # 95 % of a normal distribution lie within
_CHUNK = 100  # resamples drawn at once, so that memory stays small


@dataclass(frozen=True, slots=True)
class Draws:
    """How often a bootstrap draws, and the seed that makes it draw the same again."""

    resamples: int = 2000
    seed: int = 1


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean and the ends of its 95 % interval."""

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
    if not array.size or (groups is not None and len(groups) != array.size):
        raise ValueError("wanted at least one value, and one group a value")
    names = np.arange(array.size) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    sums, counts = np.bincount(names, weights=array), np.bincount(names)
    mean = float(array.mean())
    if mean in (0.0, 1.0):
        return Estimate(mean, *wilson(mean * len(counts), len(counts)))
    if len(counts) == 1:
        return Estimate(mean, 0.0, 1.0)
    draws = draws or Draws()
    generator = np.random.default_rng(draws.seed)
    means = np.empty(draws.resamples)
    for start in range(0, draws.resamples, _CHUNK):
        drawn = generator.integers(len(counts), size=(min(_CHUNK, draws.resamples - start), len(counts)))
        means[start : start + len(drawn)] = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return Estimate(mean, float(low), float(high))


def wilson(successes: float, trials: int) -> tuple[float, float]:
    """Give Wilson's 95 % interval of a share (Wilson 1927, without continuity correction)."""
    share = successes / trials
    centre = share + _Z**2 / (2 * trials)
    spread = _Z * float(np.sqrt(share * (1 - share) / trials + _Z**2 / (4 * trials**2)))
    scale = 1 + _Z**2 / trials
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)
