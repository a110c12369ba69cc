"""How far a confidence can be trusted: a reliability diagram, its expected error, and the curve that mends it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

BINS = 10  # of equal mass
_EDGES = (0.0, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.995, 1.01)  # of the ranges that a curve is made of
_THIN = 10  # what was told less often in a range says too little by itself


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


def curve(told: Sequence[Told]) -> list[tuple[float, float]]:
    """Fit a rising curve from raw to right: means over ranges of raw, thin ones and falling ones joined (isotonic)."""
    order = sorted(told, key=lambda each: each.raw)
    blocks: list[tuple[float, float, int]] = []
    for least, most in pairwise(_EDGES):
        part = [each for each in order if least <= each.raw < most]
        if not part:
            continue
        size = len(part)
        blocks.append((sum(each.raw for each in part) / size, sum(each.right for each in part) / size, size))
        while len(blocks) > 1 and (blocks[-2][1] >= blocks[-1][1] or blocks[-2][2] < _THIN):
            (x1, y1, n1), (x2, y2, n2) = blocks[-2:]
            blocks[-2:] = [((x1 * n1 + x2 * n2) / (n1 + n2), (y1 * n1 + y2 * n2) / (n1 + n2), n1 + n2)]
    return [(round(x, 4), round(y, 3)) for x, y, _ in blocks]
