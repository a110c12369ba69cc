"""Finds the culture that a value of a file means: an id, an ISO 3166-1 code, or a name of a country or a people."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict

import pycountry

from index.importers.rows import short
from retrieval.cultures import Cultures

_GAPS = re.compile(r"[\W_]+")


def fold(text: str) -> str:
    """Give a name without case, accents and punctuation, `&` as `and`, and no article before it."""
    plain = unicodedata.normalize("NFKD", text.casefold().replace("&", " and "))
    kept = "".join(char for char in plain if not unicodedata.combining(char))
    return _GAPS.sub(" ", kept).strip().removeprefix("the ")


class Names:
    """The words for every culture of a registry, the surest first: codes, names, aliases, people."""

    def __init__(self, registry: Cultures) -> None:
        self._registry = registry
        codes, called, aliases, people = (defaultdict[str, set[str]](set) for _ in range(4))
        for culture in registry:
            called[fold(culture.name)].add(culture.id)
            for kind, words in ((aliases, culture.aliases), (people, culture.people)):
                for word in words:
                    kind[fold(word)].add(culture.id)
            country = pycountry.countries.get(alpha_2=culture.id)
            if country:
                codes[fold(country.alpha_3)].add(culture.id)
                for key in ("name", "common_name", "official_name"):
                    called[fold(getattr(country, key, culture.name))].add(culture.id)
        self._kinds = (codes, called, aliases, people)

    def find(self, text: str) -> str:
        """Give the id that a text means.

        Raises:
            ValueError: the registry knows no culture of that name, or several.
        """
        if (id := self._registry.find(text)) is not None:
            return id
        folded = fold(text)
        found = next((kind[folded] for kind in self._kinds if folded in kind), set[str]())
        if len(found) == 1:
            return next(iter(found))
        if found:
            raise ValueError(f"{short(text)} may be {' or '.join(sorted(found))}; write one of these ids")
        raise ValueError(
            f"{short(text)} is not known; write an id of cultures.jsonl (such as JP), or say in the map what it means"
        )
