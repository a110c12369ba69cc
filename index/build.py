"""Builds an index version beside the serving one, verifies it, and publishes it by renaming."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import faiss
import numpy as np
from tqdm import tqdm

from index.knowledge import Knowledge
from retrieval import description
from retrieval.encoder import Encoder, OnnxEncoder, Vectors
from retrieval.layout import IndexUnusable, Layout, Manifest, Version, sha256

_BATCH = 32


def knowledge_hash(root: Path) -> str:
    """Give one SHA-256 over the registry and every file of descriptions, names included."""
    digest = hashlib.sha256()
    for file in [root / "cultures.jsonl", *sorted((root / "descriptions").glob("*.jsonl"))]:
        digest.update(f"{file.relative_to(root)}\0{sha256(file)}\n".encode())
    return digest.hexdigest()


def build(knowledge: Knowledge, root: Path, hashed: str, layout: Layout, encoder: OnnxEncoder) -> Version:
    """Encode every description, write a new version, verify it and make it the serving one.

    An interrupted or failed build leaves the serving version as it was.

    Args:
        root: the folder that the knowledge was read from (its cultures.jsonl goes into the version).
        hashed: `knowledge_hash` of that folder before it was read.

    Raises:
        IndexUnusable: the version that was written does not verify, or the knowledge changed meanwhile.
    """
    vectors = encode(encoder, [row.statement for row in knowledge.descriptions])
    layout.versions.mkdir(parents=True, exist_ok=True)
    beside = Version(Path(tempfile.mkdtemp(dir=layout.root, prefix=".build-")))
    try:
        flat = faiss.IndexFlatIP(vectors.shape[1])
        flat.add(vectors)
        faiss.write_index(flat, str(beside.vectors))
        beside.descriptions.write_text(description.dump(knowledge.descriptions), encoding="utf-8")
        shutil.copyfile(root / "cultures.jsonl", beside.cultures)
        if knowledge_hash(root) != hashed:
            raise IndexUnusable(f"{root} changed while the index was built; run `comity index build` again")
        now = datetime.now(UTC)
        manifest = Manifest(
            version=f"{now:%Y%m%dT%H%M%S%f}-{hashed[:8]}",
            built_at=now.isoformat(timespec="seconds"),
            knowledge=hashed,
            encoder=encoder.card.name,
            encoder_id=encoder.id,
            dimension=vectors.shape[1],
            descriptions=len(knowledge.descriptions),
            cultures=len({row.culture for row in knowledge.descriptions}),
            files={file.name: sha256(file) for file in (beside.vectors, beside.descriptions, beside.cultures)},
        )
        beside.write_manifest(manifest)
        if faults := verify(beside, encoder):
            raise IndexUnusable(f"the new version does not verify: {'; '.join(faults)}; the serving one is unchanged")
        return _publish(beside, layout, manifest.version)
    finally:
        shutil.rmtree(beside.root, ignore_errors=True)


def _publish(beside: Version, layout: Layout, name: str) -> Version:
    published = layout.version(name)
    beside.root.chmod(0o755)
    beside.root.rename(published.root)
    try:
        point(layout, name)
    except BaseException:
        shutil.rmtree(published.root, ignore_errors=True)  # never served, so no version to go back to
        raise
    return published


def encode(encoder: Encoder, texts: list[str]) -> Vectors:
    """Encode in batches with a progress bar on a terminal."""
    batches = range(0, len(texts), _BATCH)
    bar = tqdm(batches, desc="encoding", unit="batch", disable=None)
    return np.concatenate([encoder.encode(texts[start : start + _BATCH]) for start in bar])


def point(layout: Layout, version: str) -> None:
    """Make a version the serving one, whole or not at all."""
    with tempfile.NamedTemporaryFile("w", dir=layout.root, prefix=".current-", delete=False, encoding="utf-8") as file:
        file.write(version + "\n")
        file.flush()
        os.fsync(file.fileno())
    beside = Path(file.name)
    beside.chmod(0o644)
    beside.replace(layout.pointer)


def verify(version: Version, encoder: Encoder) -> list[str]:
    """Check checksums, counts, encoder identity and that every description finds itself; empty when all is well."""
    manifest = version.read_manifest()
    faults = [
        f"{name} differs from its checksum"
        for name, checksum in manifest.files.items()
        if not (version.root / name).is_file() or sha256(version.root / name) != checksum
    ]
    if faults:
        return faults
    if manifest.encoder_id != encoder.id:
        faults.append(f"made with encoder {manifest.encoder_id}, opened with {encoder.id}")
        return faults
    rows = description.load(version.descriptions)
    vectors = faiss.read_index(str(version.vectors))
    if not vectors.ntotal == len(rows) == manifest.descriptions:
        return [f"{vectors.ntotal} vectors, {len(rows)} descriptions, {manifest.descriptions} in the manifest"]
    _, nearest = vectors.search(encoder.encode([row.statement for row in rows]), 1)
    recall = float(np.mean(nearest[:, 0] == np.arange(len(rows))))
    if recall < 0.99:
        faults.append(f"only {recall:.0%} of the descriptions find themselves")
    return faults
