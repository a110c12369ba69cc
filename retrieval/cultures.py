"""The registry of cultures: ids, the words for their people and places, and what they inherit from."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pycountry
from babel import Locale

_KEYS = {"id", "people", "aliases", "parents", "name"}
_OWN_KEYS = {"languages", "region"}  # of what ISO 3166 does not know, and so neither CLDR nor GeoNames
REGIONS = ("AF", "AS", "EU", "NA", "OC", "SA", "several")


@dataclass(frozen=True, slots=True)
class Culture:
    """One culture: ISO 3166-1 alpha-2, ISO 3166-2, or `x-…` for peoples and religions.

    Languages (ISO 639) and region (a continent, or several) are those of peoples and religions; what CLDR knows of
    countries is not written again.
    """

    id: str
    name: str
    people: tuple[str, ...]
    aliases: tuple[str, ...]
    parents: tuple[str, ...]
    languages: tuple[str, ...] = ()
    region: str | None = None


class Cultures:
    """All known cultures by id."""

    def __init__(self, cultures: Iterable[Culture]) -> None:
        self._by_id = {culture.id: culture for culture in cultures}
        self._by_folded_id = {id.casefold(): id for id in self._by_id}

    def __iter__(self) -> Any:
        return iter(self._by_id.values())

    def __len__(self) -> int:
        return len(self._by_id)

    def __contains__(self, id: object) -> bool:
        return id in self._by_id

    def __getitem__(self, id: str) -> Culture:
        return self._by_id[id]

    def find(self, id: str) -> str | None:
        """Give the registered spelling of an id written in any case, or None."""
        return self._by_folded_id.get(id.strip().casefold())

    def lineage(self, id: str) -> tuple[str, ...]:
        """Give the culture and all it inherits from, nearest first, each once."""
        order = [id] if id in self._by_id else []
        for known in order:  # grows while it is read: breadth first
            order.extend(parent for parent in self._by_id[known].parents if parent not in order)
        return tuple(order)


def load(path: Path) -> Cultures:
    """Read the registry from JSON lines; English names come from CLDR and ISO 3166 where the row has none.

    Raises:
        ValueError: a row is broken, an id is unknown to ISO 3166 or occurs twice, a parent is missing.
    """
    found: dict[str, Culture] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1):
        if not line:
            continue
        where = f"{path}:{number}"
        culture = _parse(line, where)
        if culture.id in found:
            raise ValueError(f"{where}: id: {culture.id} occurs twice; keep one row for each culture")
        found[culture.id] = culture
    for culture in found.values():
        for parent in culture.parents:
            if parent not in found:
                raise ValueError(f"{path}: parents: {culture.id} names {parent}, which the registry lacks; add it")
    return Cultures(found.values())


def _parse(line: str, where: str) -> Culture:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise ValueError(f"{where}: not a JSON object ({error}); write one object a line") from error
    keys = _KEYS | _OWN_KEYS if isinstance(row, dict) and str(row.get("id")).startswith("x-") else _KEYS
    if not isinstance(row, dict) or set(row) != keys:
        raise ValueError(f"{where}: wanted an object with exactly the keys {', '.join(sorted(keys))}")
    for key in sorted({"people", "aliases", "parents", "languages"} & keys):
        if not isinstance(row[key], list) or not all(isinstance(word, str) and word for word in row[key]):
            raise ValueError(f"{where}: {key}: wanted a list of words")
    if "region" in keys and row["region"] not in REGIONS:
        raise ValueError(f"{where}: region: wanted one of {', '.join(REGIONS)}")
    id, name = row["id"], row["name"]
    if not isinstance(id, str) or not isinstance(name, str | None):
        raise ValueError(f"{where}: {'name' if isinstance(id, str) else 'id'}: wanted a string")
    name = name or _iso_name(id)
    if not name:
        raise ValueError(f"{where}: id: {id!r} is no ISO 3166 code; give it a name, or an id of the form x-…")
    people, aliases, parents, languages = (
        tuple(row.get(key, ())) for key in ("people", "aliases", "parents", "languages")
    )
    return Culture(id, name, people, aliases, parents, languages, row.get("region"))


def _iso_name(id: str) -> str | None:
    territory = Locale("en").territories.get(id)
    if territory and len(id) == 2:
        return str(territory)
    division = pycountry.subdivisions.get(code=id)  # type: ignore[no-untyped-call]
    return str(division.name) if division else None
