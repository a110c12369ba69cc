"""Tables of names: which words name which culture; the large one of places comes with Comity and is read in place."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args

import marisa_trie
import numpy as np

Kind = Literal["country", "people", "region", "city", "cue", "nothing"]
KINDS: tuple[Kind, ...] = get_args(Kind)
# What is known of a name: it is an ordinary word too, it counts in this very spelling only, persons are called so,
# it is a stem that an ending must follow, it is a language's name too.
ORDINARY, EXACT, PERSON, STEM, TONGUE = 1, 2, 4, 8, 16
PLACES = Path(__file__).parent / "places"
_RECORD = np.dtype([("name", "<u4"), ("kind", "u1"), ("culture", "<u2"), ("chance", "u1"), ("flags", "u1"),
                    ("spoken", "<u2")])  # fmt: skip
_MANY = 20  # languages; what is a name in more is one in any
_FIRST = re.compile(r"[^\W_]+")
_HEAD = 4  # letters that are looked up before the trie is asked


@dataclass(frozen=True, slots=True)
class Sense:
    """One thing that a name may mean: kind and culture, how likely it is by itself (0 to 1), flags, and languages.

    It is a name in these languages (ISO 639-1); in any where there are none.
    """

    kind: Kind
    culture: str
    chance: float
    flags: int = 0
    spoken: frozenset[str] = frozenset()


Row = tuple[str, Sense]  # a folded name (as written where it counts in that spelling only), and what it may mean


class Table:
    """Names by the letters that they begin with."""

    def __init__(
        self,
        trie: marisa_trie.Trie,
        records: np.ndarray[Any, Any],
        cultures: Sequence[str],
        spoken: Sequence[Sequence[str]],
    ) -> None:
        self._trie = trie
        self._records = records  # in the order of the numbers that the trie gives its names
        self._cultures = cultures
        self._spoken = [frozenset(languages) for languages in spoken]
        self._first = np.searchsorted(records["name"], np.arange(len(trie) + 1))
        names = list(trie.iterkeys())
        self.heads = frozenset(name[:_HEAD] for name in names)
        self.first = frozenset(found[0] for name in names if (found := _FIRST.match(name)))

    def __len__(self) -> int:
        return len(self._trie)

    def beginning(self, text: str) -> list[str]:
        """Give every name that a text begins with, shortest first."""
        found: list[str] = self._trie.prefixes(text)
        return found

    def senses(self, name: str) -> list[Sense]:
        """Give what a name may mean; nothing where there is no such name."""
        number = self._trie.get(name)
        if number is None:
            return []
        return [
            Sense(KINDS[kind], self._cultures[culture], chance / 100, flags, self._spoken[spoken])
            for _, kind, culture, chance, flags, spoken in self._records[
                self._first[number] : self._first[number + 1]
            ].tolist()
        ]


def make(rows: Iterable[Row]) -> Table:
    """Make a table in memory."""
    return Table(*_parts(list(rows)))


@cache
def load(folder: Path = PLACES) -> Table:
    """Open a table that `save` wrote, once; its files are mapped, so that processes share them.

    Raises:
        OSError, RuntimeError, ValueError: a file is missing or is no such table.
    """
    trie = marisa_trie.Trie()
    trie.mmap(str(folder / "names.marisa"))
    told = json.loads((folder / "names.json").read_text(encoding="utf-8"))
    return Table(trie, np.load(folder / "senses.npy", mmap_mode="r"), told["cultures"], told["languages"])


def populations(folder: Path = PLACES) -> dict[str, int]:
    """Give how many people live in each country, as the table of places tells it.

    Raises:
        OSError, ValueError: there is no such table.
    """
    told: dict[str, int] = json.loads((folder / "names.json").read_text(encoding="utf-8"))["populations"]
    return told


def save(rows: Iterable[Row], people: Mapping[str, int], folder: Path) -> None:
    """Write a table into a folder: names, what they may mean, and the ids and languages that its numbers stand for."""
    trie, records, cultures, spoken = _parts(list(rows))
    trie.save(str(folder / "names.marisa"))
    np.save(folder / "senses.npy", records)
    told = {"cultures": cultures, "languages": spoken, "populations": dict(people)}
    (folder / "names.json").write_text(json.dumps(told) + "\n", encoding="utf-8")


def joined(senses: Iterable[Sense]) -> list[Sense]:
    """Give one sense for each culture, the likeliest first: a country's name counts before its people's or a city's.

    A stem, which needs an ending, is a sense of its own.
    """
    found: dict[tuple[str, int], Sense] = {}
    for sense in senses:
        key = (sense.culture, sense.flags & STEM)
        old = found.get(key)
        found[key] = _both(old, sense) if old else sense
    return sorted(found.values(), key=lambda sense: (-sense.chance, KINDS.index(sense.kind), sense.culture))


def ranked(senses: Sequence[Sense], people: Mapping[str, int]) -> list[Sense]:
    """Order the senses of a name; of those as likely the ones of smaller countries are a little less so."""
    order = sorted(senses, key=lambda sense: (-sense.chance, -people.get(sense.culture[:2], 0)))
    return [
        sense if sense.kind == "cue" else replace(sense, chance=max(0.01, round(sense.chance - 0.03 * number, 2)))
        for number, sense in enumerate(order)
    ]


def _both(old: Sense, new: Sense) -> Sense:
    kind = min(old.kind, new.kind, key=KINDS.index)
    spoken = old.spoken | new.spoken if old.spoken and new.spoken else frozenset[str]()
    told = new if new.kind == kind else old
    return Sense(kind, old.culture, max(old.chance, new.chance), told.flags, spoken)


def _parts(rows: Sequence[Row]) -> tuple[marisa_trie.Trie, np.ndarray[Any, Any], list[str], list[list[str]]]:
    trie = marisa_trie.Trie({name for name, _ in rows})
    cultures = sorted({sense.culture for _, sense in rows})
    place = {id: number for number, id in enumerate(cultures)}
    spoken: dict[frozenset[str], int] = {frozenset(): 0}
    records = np.array(
        [
            (
                trie[name],
                KINDS.index(sense.kind),
                place[sense.culture],
                round(100 * sense.chance),
                sense.flags,
                spoken.setdefault(_limited(sense.spoken), len(spoken)),
            )
            for name, sense in rows
        ],
        _RECORD,
    )
    return trie, np.sort(records, order=["name", "culture"]), cultures, [sorted(each) for each in spoken]


def _limited(languages: frozenset[str]) -> frozenset[str]:
    return frozenset() if len(languages) > _MANY else languages


def marked(senses: Sequence[Sense], flags: int) -> list[Sense]:
    """Give senses with flags added; cue words are left as they are."""
    return [
        sense if sense.kind == "cue" or not flags & ~sense.flags else replace(sense, flags=sense.flags | flags)
        for sense in senses
    ]
