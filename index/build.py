"""Builds an index version beside the serving one, verifies it, and has it published."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from index import gazetteer, publish, texts
from index.knowledge import Knowledge
from index.publish import KEEP
from index.texts import FIELDS, Known
from index.verify import verify
from retrieval import description, rank, words
from retrieval import vectors as stores
from retrieval.description import KNOWLEDGE, Description
from retrieval.encoder import OnnxEncoder, Vectors
from retrieval.layout import FORMAT, IndexUnusable, Layout, Manifest, Version, sha256


@dataclass(frozen=True, slots=True)
class Content:
    """What a version holds: the hash of its knowledge, descriptions by id, ids left out, registry, names as bytes."""

    knowledge: str
    rows: tuple[Description, ...]
    registry: bytes
    removed: tuple[str, ...] = ()
    names: bytes = b""


@dataclass(frozen=True, slots=True)
class Way:
    """How a version is made.

    `fields` are the texts that make up a vector, `kind` the kind of index (None is by size), `keep` how many versions
    stay, `known` the vectors that need not be encoded again.
    """

    encoder: OnnxEncoder
    fields: tuple[str, ...] = FIELDS
    kind: str | None = None
    keep: int = KEEP
    known: Known | None = None


def knowledge_hash(root: Path) -> str:
    """Give one SHA-256 over the registry, the names, and every file of descriptions and cue words, paths included."""
    digest = hashlib.sha256()
    files = [root / "cultures.jsonl", *(file for file in [root / "names.jsonl"] if file.is_file())]
    for file in [*files, *sorted((root / "descriptions").glob("*.jsonl")), *sorted((root / "cues").glob("*.jsonl"))]:
        digest.update(f"{file.relative_to(root)}\0{sha256(file)}\n".encode())
    return digest.hexdigest()


def compose(
    knowledge: Knowledge, root: Path, hashed: str, added: Iterable[Description] = (), removed: Iterable[str] = ()
) -> Content:
    """Put together the knowledge, what operators added to it, and what they took out.

    Args:
        root: the folder that the knowledge was read from (its cultures.jsonl goes into the version).
        hashed: `knowledge_hash` of that folder before it was read.

    Raises:
        IndexUnusable: an added description is of a culture that the registry lacks, or has an id of the knowledge.
    """
    without = frozenset(removed)
    rows = {row.id: row for row in knowledge.descriptions if row.id not in without}
    for row in added:
        mend = f"mend the knowledge, or run `comity index remove --added {row.origin}`"
        if row.culture not in knowledge.cultures:
            raise IndexUnusable(f"{row.id} of {row.origin} is of {row.culture}, which the registry lacks now; {mend}")
        if row.id in rows:
            raise IndexUnusable(f"the id {row.id} occurs in {rows[row.id].origin} and in {row.origin}; {mend}")
        rows[row.id] = row
    registry = (root / "cultures.jsonl").read_bytes()
    ordered = tuple(rows[id] for id in sorted(rows))
    return Content(hashed, ordered, registry, tuple(sorted(without)), gazetteer.names(knowledge))


def build(content: Content, root: Path, layout: Layout, way: Way) -> Version:
    """Make a version of the knowledge in a folder, and the serving one of it.

    An interrupted or failed build leaves the serving version as it was.

    Args:
        content: what `compose` gave.

    Raises:
        IndexUnusable: the version cannot be written or does not verify, or the knowledge changed meanwhile.
        OSError: it cannot be published.
    """
    with publish.draft(layout) as beside:
        name = _write(content, beside, layout, way)
        if knowledge_hash(root) != content.knowledge:
            raise IndexUnusable(f"{root} changed while the index was built; run `comity index build` again")
        published = publish.publish(beside, layout, name, way.keep)
    layout.left.unlink(missing_ok=True)  # who builds wants this knowledge, whatever was rolled back before
    return published


def change(content: Content, layout: Layout, way: Way) -> Version:
    """Make a version of the changed content of another, and the serving one of it.

    Raises:
        IndexUnusable: the version cannot be written or does not verify.
        OSError: it cannot be published.
    """
    with publish.draft(layout) as beside:
        return publish.publish(beside, layout, _write(content, beside, layout, way), way.keep)


def _write(content: Content, beside: Version, layout: Layout, way: Way) -> str:
    """Write a version into a folder and verify it; give the name that it is to have."""
    if not content.rows:
        raise IndexUnusable("no description would be left in the index; the serving version is unchanged")
    said = [texts.of(row, way.fields) for row in content.rows]
    vectors = texts.vectors(said, way.encoder, way.known)
    if len(broken := np.flatnonzero(~np.isfinite(vectors).all(axis=1))):
        id = content.rows[broken[0]].id
        raise IndexUnusable(f"the encoder gave what is no vector for {id}; the serving version is unchanged")
    try:
        name = _files(content, beside, layout, way, vectors)
    except (OSError, RuntimeError) as error:  # FAISS raises the latter when it cannot write
        reason = (isinstance(error, OSError) and error.strerror) or "the write failed; is the disk full?"
        raise IndexUnusable(
            f"the new version cannot be written to {layout.root} ({reason}); the serving one is unchanged"
        ) from error
    if faults := verify(beside, way.encoder, vectors).faults:
        raise IndexUnusable(f"the new version does not verify: {'; '.join(faults)}; the serving one is unchanged")
    return name


def _files(content: Content, beside: Version, layout: Layout, way: Way, vectors: Vectors) -> str:
    kind = stores.choose(len(vectors), way.kind)
    ids = sorted({row.culture for row in content.rows})
    place = {id: code for code, id in enumerate(ids)}
    stores.write(beside.vectors, vectors, kind)
    codes = np.asarray([place[row.culture] for row in content.rows], dtype=np.int32)
    np.save(beside.codes, codes)
    np.save(beside.centres, rank.centres(vectors, codes, len(ids)))
    np.save(beside.offsets, description.write(content.rows, beside.descriptions))
    beside.cultures.write_bytes(content.registry)
    beside.names.write_bytes(content.names)
    words.build([texts.whole(row) for row in content.rows]).write(beside.words)
    name, now = publish.stamp(layout, content.knowledge)
    files = sorted(path for path in beside.root.rglob("*") if path.is_file())
    manifest = Manifest(
        format=FORMAT,
        version=name,
        built_at=now.isoformat(timespec="seconds"),
        knowledge=content.knowledge,
        encoder=way.encoder.card.name,
        encoder_id=way.encoder.id,
        dimension=vectors.shape[1],
        descriptions=len(content.rows),
        cultures=len(ids),
        culture_ids=tuple(ids),
        fields=way.fields,
        kind=kind.name,
        added=_added(content.rows),
        removed=content.removed,
        files={path.relative_to(beside.root).as_posix(): sha256(path) for path in files},
    )
    beside.write_manifest(manifest.sealed())
    return name


def _added(rows: Sequence[Description]) -> dict[str, dict[str, Any]]:
    """Give the count and the checksum of the rows of each name that was added."""
    counts, digests = defaultdict[str, int](int), defaultdict[str, Any](hashlib.sha256)
    for row in rows:
        if row.origin != KNOWLEDGE:
            counts[row.origin] += 1
            digests[row.origin].update(description.dump([row]).encode())
    return {name: {"rows": counts[name], "sha256": digests[name].hexdigest()} for name in sorted(counts)}
