"""What was learned of names in texts: how far features speak for a name being meant as one, and for each role."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, get_args

from detection.clues import Around, Candidate, features
from detection.folding import Folded

Role = Literal["setting", "audience", "subject", "user"]
ROLES: tuple[Role, ...] = get_args(Role)
WEIGHTS = Path(__file__).parent / "weights.json"
SCALE = 100.0  # of a weight in the file
_COLUMNS = 1 + len(ROLES)
Row = tuple[int, ...]
_NOTHING: Row = (0,) * _COLUMNS


@dataclass(frozen=True, slots=True)
class Weighed:
    """How likely a name is meant as one (0 to 1), and the role that its culture plays if it is."""

    chance: float
    role: Role


class Weights:
    """Logistic regression on features that hold or do not: of each first the weight for being meant, then of roles."""

    def __init__(self, table: Mapping[str, Sequence[int]]) -> None:
        self._table = {feature: tuple(weights) for feature, weights in table.items()}

    def weigh(self, candidates: Sequence[Candidate], folded: Folded, around: Around) -> list[Weighed]:
        """Weigh every candidate of one text, each with an eye on the others."""
        share = of_words(len(around.words))
        whole = [share * total for total in _sums(self._known(around.words))]
        return [
            _weighed(self._known(features(candidates, place, folded, around)), whole)
            for place in range(len(candidates))
        ]

    def of(self, values: Mapping[str, float]) -> Weighed:
        """Weigh one candidate by features of which each has a value."""
        known = [(value, self._table[feature]) for feature, value in values.items() if feature in self._table]
        return _weighed([], [sum(value * row[column] for value, row in known) for column in range(_COLUMNS)])

    def _known(self, found: Iterable[str]) -> list[Row]:
        return [row for row in map(self._table.get, found) if row]


def of_words(count: int) -> float:
    """Give how much each word of a text counts, beside 1 for what stands beside a name: less where there are many."""
    return 3.0 / math.sqrt(max(count, 16))


def _sums(rows: Sequence[Row]) -> list[int]:
    return [sum(column) for column in zip(_NOTHING, *rows, strict=True)]


def _weighed(rows: Sequence[Row], more: Sequence[float]) -> Weighed:
    meant, *speaks = (total + also for total, also in zip(_sums(rows), more, strict=True))
    chance = 1 / (1 + math.exp(-max(-30.0, min(30.0, meant / SCALE))))
    return Weighed(chance, ROLES[max(range(len(ROLES)), key=speaks.__getitem__)])


@cache
def load(file: Path = WEIGHTS) -> Weights:
    """Read weights that `adaptation.detector` wrote, once.

    Raises:
        OSError, ValueError: there is no such file, or it is broken.
    """
    table: dict[str, Sequence[int]] = json.loads(file.read_text(encoding="utf-8"))
    return Weights(table)
