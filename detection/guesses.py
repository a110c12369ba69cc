"""What a language suggests of a culture: an order to look at, never evidence."""

from __future__ import annotations

from collections.abc import Iterable

from babel.languages import get_territory_language_info

from detection import language, table
from retrieval.cultures import Culture, Cultures

_MOST = 3


def of(found: Iterable[str], text: str, registry: Cultures) -> tuple[str, ...]:
    """Give three cultures that a text may come from: those found in it, then those most of
    whose people speak its language.

    A language alone says nothing of a culture, so nothing may be grounded in what was not found.
    """
    spoken = language.of(text)
    people = table.populations()
    speakers = {culture.id: people.get(culture.id[:2], 0) * _share(culture, spoken) for culture in registry if spoken}
    ranked = sorted((id for id, count in speakers.items() if count), key=lambda id: -speakers[id])
    return tuple(dict.fromkeys((*found, *ranked)))[:_MOST]


def _share(culture: Culture, spoken: str) -> float:
    """Give the share of a country's people who speak one of its official languages; none is known of other peoples."""
    told = get_territory_language_info(culture.id).get(spoken) if len(culture.id) == 2 else None
    official = told and told["official_status"] in ("official", "de_facto_official")
    return float(told["population_percent"] or 0) / 100 if told and official else 0.0
