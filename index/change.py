"""Adds descriptions to the serving version, removes them from it, and carries both over to what is built later."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np

from index.build import Content
from index.knowledge import Fault, KnowledgeBroken
from retrieval.description import KNOWLEDGE, Description, Descriptions
from retrieval.layout import IndexUnusable, Layout, Manifest, OtherFormat, Version
from retrieval.search import Parts, open_parts


@dataclass(frozen=True, slots=True)
class Serving:
    """The serving version, opened."""

    version: Version
    manifest: Manifest
    parts: Parts

    def content(self, rows: Collection[Description], removed: Collection[str]) -> Content:
        """Give the version's content with other descriptions and ids left out."""
        ordered = tuple(sorted(rows, key=lambda row: row.id))
        registry = self.version.cultures.read_bytes()
        names = self.version.names.read_bytes() if self.version.names.is_file() else b""
        return Content(self.manifest.knowledge, ordered, registry, tuple(sorted(removed)), names)


@dataclass(frozen=True, slots=True)
class Carried:
    """What operators added to the knowledge and took out of it, the version that tells, and one too damaged to tell."""

    added: tuple[Description, ...] = ()
    removed: tuple[str, ...] = ()
    version: str | None = None
    damaged: str | None = None


def serving(layout: Layout) -> Serving:
    """Open the serving version.

    Raises:
        IndexUnusable: there is none, or it is broken.
    """
    version = layout.current()
    manifest = version.read_manifest()
    return Serving(version, manifest, open_parts(version, manifest))


def add(old: Serving, added: Mapping[str, Sequence[Description]]) -> Content:
    """Give the content with rows added under names; each name's rows of before are replaced.

    Raises:
        KnowledgeBroken: naming every id that occurs twice, and every culture that the registry lacks.
    """
    rows = {row.id: row for row in old.parts.descriptions if row.origin not in added}
    faults = []
    for name, given in added.items():
        for row in given:
            if row.culture not in old.parts.cultures:
                reason = f"{row.culture} of {row.id} is not in the index's registry; add it to cultures.jsonl and build"
                faults.append(Fault(name, "culture", reason))
            if row.id in rows:
                reason = f"{row.id} occurs in {rows[row.id].origin} already; give it another id, or remove that one"
                faults.append(Fault(name, "id", reason))
            rows[row.id] = replace(row, origin=name)
    if faults:
        raise KnowledgeBroken(tuple(faults))
    return old.content(rows.values(), old.manifest.removed)


def remove(old: Serving, ids: Collection[str], culture: str | None = None, name: str | None = None) -> Content:
    """Give the content without some ids, without a culture, or without what was added under a name.

    Raises:
        IndexUnusable: there is nothing of the kind in the version; the message names it.
    """
    missing = [id for id in ids if old.parts.descriptions.find(id) is None]
    wanted = set(ids)
    rows = list(old.parts.descriptions)
    gone = {row.id: row for row in rows if row.id in wanted or row.culture == culture or row.origin == name}
    if missing or not gone:
        what = missing[0] if missing else f"description of {culture or name}"
        raise IndexUnusable(f"there is no {what} in version {old.manifest.version}; nothing was removed")
    removed = {*old.manifest.removed, *(row.id for row in gone.values() if row.origin == KNOWLEDGE)}
    return old.content([row for row in rows if row.id not in gone], removed)


def carried(layout: Layout) -> Carried:
    """Give what operators added and removed, as the serving version tells it, or the newest before it that is whole."""
    names, damaged = layout.published(), None
    with suppress(IndexUnusable):  # where nothing serves the newest knows best
        names = [name for name in names if name <= layout.current().root.name]
    for name in reversed(names):
        try:
            return replace(_carried(layout.version(name)), damaged=damaged)
        except OtherFormat:
            break  # nothing could be added to an index of that format
        except (IndexUnusable, OSError, ValueError):
            damaged = damaged or name
    return Carried(damaged=damaged)


def _carried(version: Version) -> Carried:
    manifest = version.read_manifest()
    if not manifest.added:
        return Carried((), manifest.removed, version.root.name)
    kept = replace(manifest, files={name: manifest.files[name] for name in ("descriptions.jsonl", "offsets.npy")})
    if damage := version.damage(kept):
        raise IndexUnusable(damage[0])
    rows = Descriptions(version.descriptions, np.load(version.offsets))
    return Carried(tuple(row for row in rows if row.origin != KNOWLEDGE), manifest.removed, version.root.name)
