"""How far a confidence can be trusted: a reliability diagram, its expected error, and the curve that mends it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

BINS = 10  # of equal mass
_KNOTS = 8  # at most, of a curve


@dataclass(frozen=True, slots=True)
class Told:
    """One culture that was told first: before and after the curve how sure, by what kind of evidence, was it right."""

    wanted: str
    raw: float
    confidence: float
    kind: str
    right: bool


def halves(told: Iterable[Told]) -> tuple[list[Told], list[Told]]:
    """Part what was told by the wanted culture: every other one of the alphabet is to fit to, the others to report."""
    every = list(told)
    order = {culture: place for place, culture in enumerate(sorted({each.wanted for each in every}))}
    fitted = [each for each in every if order[each.wanted] % 2 == 0]
    return fitted, [each for each in every if order[each.wanted] % 2]


def bins(told: Sequence[Told], count: int = BINS) -> list[tuple[int, float, float]]:
    """Give the bins of a reliability diagram, equally many in each: how many, mean confidence, share that is right."""
    order = sorted(told, key=lambda each: each.confidence)
    parts = np.array_split(np.arange(len(order)), min(count, len(order)) or 1)
    return [
        (
            len(part),
            float(np.mean([order[i].confidence for i in part])),
            float(np.mean([order[i].right for i in part])),
        )
        for part in parts
        if len(part)
    ]


def error(told: Sequence[Told]) -> float:
    """Give the expected calibration error over bins of equal mass (Nixon et al., 2019); 0 where nothing was told."""
    return sum(size * abs(sure - right) for size, sure, right in bins(told)) / max(1, len(told))


def curve(told: Sequence[Told], knots: int = _KNOTS) -> list[tuple[float, float]]:
    """Fit a rising curve from raw to right: means of bins of equal mass, neighbours that fall joined (isotonic)."""
    if not told:
        return []
    order = sorted(told, key=lambda each: each.raw)
    raw: npt.NDArray[np.float64] = np.array([each.raw for each in order])
    right: npt.NDArray[np.float64] = np.array([float(each.right) for each in order])
    blocks: list[tuple[float, float, int]] = []
    for part in np.array_split(np.arange(len(order)), min(knots, max(1, len(order) // 25))):
        blocks.append((float(raw[part].mean()), float(right[part].mean()), len(part)))
        while len(blocks) > 1 and blocks[-2][1] >= blocks[-1][1]:
            (x1, y1, n1), (x2, y2, n2) = blocks[-2:]
            blocks[-2:] = [((x1 * n1 + x2 * n2) / (n1 + n2), (y1 * n1 + y2 * n2) / (n1 + n2), n1 + n2)]
    return [(round(x, 4), round(y, 3)) for x, y, _ in blocks]
