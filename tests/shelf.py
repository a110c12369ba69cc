"""Little index versions for tests: rows with invented vectors, written as a build does, and manifests resealed."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from retrieval import description, vectors, words
from retrieval.cultures import Cultures
from retrieval.description import Description, Descriptions
from retrieval.encoder import EncoderCard, Vectors
from retrieval.layout import FORMAT, Manifest, Version, sha256
from retrieval.search import Parts


class Hashing:
    """An encoder without a model: the same text gives the same vector, other texts have nothing to do with it."""

    def __init__(self, dimension: int = 32) -> None:
        self.card = EncoderCard("hashing-1", "hashing", dimension, 256, "float32", "1", "", "")
        self.asked: list[str] = []

    @property
    def id(self) -> str:
        """The card's."""
        return self.card.id

    def encode(self, texts: list[str]) -> Vectors:
        """Give each text the vector that its checksum is the seed of."""
        self.asked += texts
        out = np.empty((len(texts), self.card.dimension), dtype=np.float32)
        for row, text in enumerate(texts):
            seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8])
            vector = np.random.default_rng(seed).standard_normal(self.card.dimension)
            out[row] = vector / np.linalg.norm(vector)
        return out

    encode_queries = encode


def row(id: str, culture: str, statement: str = "", origin: str = "knowledge", **more: Any) -> Description:
    """Give a description of which little matters."""
    made = Description(id, culture, "dining", statement or id, None, (), "varies", False, (), "drafted", origin=origin)
    return replace(made, **more)


def reseal(version: Version, **changed: Any) -> Manifest:
    """Change a version's manifest, and have its checksums and its seal fit again, as nobody does by accident."""
    manifest = version.read_manifest()
    files = {name: sha256(version.root / name) for name in manifest.files}
    sealed = replace(manifest, **{"files": files, **changed}).sealed()
    version.write_manifest(sealed)
    return sealed


def parts(folder: Path, rows: Sequence[Description], found: Vectors, registry: Cultures) -> Parts:
    """Give opened parts of rows and their vectors, by way of files in a folder; each culture lies around the origin."""
    ids = sorted({each.culture for each in rows})
    offsets = description.write(rows, folder / "descriptions.jsonl")
    vectors.write(folder / "vectors.faiss", found, vectors.choose(len(found)))
    return Parts(
        descriptions=Descriptions(folder / "descriptions.jsonl", offsets),
        codes=np.asarray([ids.index(each.culture) for each in rows], dtype=np.int32),
        centres=np.zeros((len(ids), found.shape[1]), dtype=np.float32),
        vectors=vectors.load(folder / "vectors.faiss", "flat"),
        words=words.build([each.statement for each in rows]),
        cultures=registry,
    )


def manifest(rows: Sequence[Description], dimension: int) -> Manifest:
    """Give the manifest of such parts."""
    ids = tuple(sorted({each.culture for each in rows}))
    return Manifest(
        format=FORMAT,
        version="v",
        built_at="",
        knowledge="",
        encoder="",
        encoder_id="",
        dimension=dimension,
        descriptions=len(rows),
        cultures=len(ids),
        culture_ids=ids,
        fields=("statement",),
        kind="flat",
        added={},
        removed=(),
        files={},
    )
