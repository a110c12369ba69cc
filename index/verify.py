"""Verifies an index version: files, counts, descriptions, vectors, and how well its search finds the nearest."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
import numpy.typing as npt

from index import texts
from retrieval import description
from retrieval.description import KNOWLEDGE
from retrieval.encoder import Encoder, Vectors
from retrieval.layout import IndexUnusable, Manifest, Version
from retrieval.search import Parts, open_parts

LEAST = 0.95  # recall of the nearest ten
_NEAREST = 10
_SAMPLES = 500  # searches
_ENCODED = 100  # descriptions; each takes as long as it took to build
_SHOWN = 20  # descriptions with a fault that are named
_BLOCK = 16_384  # vectors compared at once: 25 MB of 384 numbers each
# By whether vectors are stored exactly: the least cosine of a text's vector and the one stored for it (two processors
# may round differently, and other texts are far below either), and how far from 1 a length may be.
_ALIKE = {True: 0.98, False: 0.85}
_UNIT = {True: 1e-3, False: 0.5}
_FOUND = 0.99  # the share of descriptions that must be so
_NOISE = 0.3  # length of what perturbs a vector of length 1: the question then is near it, and not it


@dataclass(frozen=True, slots=True)
class Report:
    """What was checked, a sentence each, and what is wrong; recall is None where it did not come to that."""

    checks: tuple[str, ...]
    faults: tuple[str, ...]
    recall: float | None = None


def verify(version: Version, encoder: Encoder, exact: Vectors | None = None) -> Report:
    """Check a version as `comity index verify` tells it; what depends on a check that failed is left out.

    Args:
        exact: the vectors that it was made from, to hold the search against; default is those that it holds.

    Raises:
        IndexUnusable: its manifest is unreadable or was changed by hand.
    """
    manifest = version.read_manifest()
    if damage := version.damage(manifest):
        return Report((), tuple(damage))
    if manifest.encoder_id != encoder.id:
        return Report((), (f"made with encoder {manifest.encoder_id}, opened with {encoder.id}",))
    try:
        parts = open_parts(version, manifest)
    except IndexUnusable as error:
        return Report((), (str(error),))
    checks = [
        f"manifest: format {manifest.format}, its seal is its own",
        f"files: {len(manifest.files)} have their checksums",
        f"counts: {manifest.descriptions} descriptions of {manifest.cultures} cultures, a vector each",
    ]
    if faults := [*islice(_rows(manifest, parts), _SHOWN), *_vectors(parts)]:
        return Report(tuple(checks), tuple(faults))
    checks += ["descriptions: each is whole, in order, of a known culture and origin", "vectors: each has length 1"]
    samples = _sample(manifest.descriptions, _ENCODED)
    found = _alike(parts, manifest, samples, encoder)
    recall = _recall(parts, exact)
    checks.append(f"encoder: {found:.0%} of {len(samples)} descriptions have the vector that {encoder.id} gives them")
    checks.append(f"search: recall@{_NEAREST} {recall:.3f} of {manifest.kind} against exact search")
    if found < _FOUND:
        faults.append(f"only {found:.0%} of {len(samples)} descriptions have the vector that {encoder.id} gives them")
    if recall < LEAST:
        faults.append(f"recall@{_NEAREST} of {manifest.kind} is {recall:.3f}, under {LEAST}; build with --kind flat")
    return Report(tuple(checks), tuple(faults), round(recall, 4))


def _rows(manifest: Manifest, parts: Parts) -> Iterator[str]:
    """Read every description, and hold it against its code and the manifest."""
    before, removed = "", set(manifest.removed)
    digests = {name: hashlib.sha256() for name in manifest.added}
    counts = dict.fromkeys(manifest.added, 0)
    codes: npt.NDArray[np.int32] = parts.codes
    for row in range(len(parts.descriptions)):
        try:
            found = parts.descriptions[row]
        except ValueError as error:
            yield f"descriptions.jsonl: {error}"
            return
        if found.id <= before:
            yield f"descriptions.jsonl: {found.id} does not come after {before}"
        if manifest.culture_ids[codes[row]] != found.culture or found.culture not in parts.cultures:
            yield f"{found.id}: its culture {found.culture} is not the one of its code, or not in the registry"
        if found.origin in counts:
            counts[found.origin] += 1
            digests[found.origin].update(description.dump([found]).encode())
        elif found.origin != KNOWLEDGE or found.id in removed:
            yield f"{found.id}: the manifest does not tell of {found.origin}, or tells that it was removed"
        before = found.id
    for name, told in manifest.added.items():
        if {"rows": counts[name], "sha256": digests[name].hexdigest()} != told:
            yield f"{name}: what was added is not what the manifest tells of it"


def _vectors(parts: Parts) -> Iterator[str]:
    for start, block in _blocks(parts, None):
        lengths = np.linalg.norm(block, axis=1)
        wrong = np.flatnonzero(~(np.abs(lengths - 1) <= _UNIT[parts.vectors.kind.exact]))  # no number is wrong too
        if len(wrong):
            yield f"vector {start + wrong[0]} has length {lengths[wrong[0]]:.3f}, wanted 1"
            return


def _alike(parts: Parts, manifest: Manifest, samples: npt.NDArray[np.int64], encoder: Encoder) -> float:
    """Give the share of some descriptions whose vector is the one that the encoder gives."""
    said = [texts.of(parts.descriptions[int(row)], manifest.fields) for row in samples]
    cosines = np.sum(texts.vectors(said, encoder, None) * parts.vectors.reconstruct(samples), axis=1)
    return float(np.mean(cosines >= _ALIKE[parts.vectors.kind.exact]))


def _recall(parts: Parts, exact: Vectors | None) -> float:
    """Give the share of the ten nearest that the search finds, of vectors near to some of its own."""
    samples, noise = _sample(len(parts.vectors)), np.random.default_rng(0)
    asked = parts.vectors.reconstruct(samples) if exact is None else exact[samples]
    moved = noise.standard_normal(asked.shape, dtype=np.float32)
    asked = asked + _NOISE * moved / np.linalg.norm(moved, axis=1, keepdims=True)
    asked /= np.linalg.norm(asked, axis=1, keepdims=True)
    k = min(_NEAREST, len(parts.vectors))
    best = np.full((len(asked), k), -np.inf, dtype=np.float32)
    for _, block in _blocks(parts, exact):
        best = np.partition(np.concatenate([best, asked @ block.T], axis=1), -k, axis=1)[:, -k:]
    hits = 0
    for vector, least in zip(asked, best.min(axis=1), strict=True):
        _, rows = parts.vectors.search(vector, None, k)
        near = parts.vectors.reconstruct(rows) if exact is None else exact[rows]
        hits += int(np.sum(near @ vector >= least - 1e-5))  # by score, for equal texts stand in for each other
    return hits / (k * len(asked))


def _blocks(parts: Parts, exact: Vectors | None) -> Iterator[tuple[int, Vectors]]:
    count = len(parts.vectors)
    for start in range(0, count, _BLOCK):
        rows = np.arange(start, min(start + _BLOCK, count))
        yield start, parts.vectors.reconstruct(rows) if exact is None else exact[rows]


def _sample(count: int, most: int = _SAMPLES) -> npt.NDArray[np.int64]:
    return np.unique(np.linspace(0, count - 1, min(count, most)).astype(np.int64))
