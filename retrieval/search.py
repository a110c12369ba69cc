"""Search by meaning inside the cultures that matter: FAISS with the culture filter inside the search."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import faiss
import numpy as np

from retrieval import cultures, description, encoder
from retrieval.cultures import Cultures
from retrieval.description import Description
from retrieval.encoder import Encoder, Vectors
from retrieval.layout import IndexUnusable, Layout, Manifest, sha256

_WORD = re.compile(r"[^\W\d_]{4,}")


@dataclass(frozen=True, slots=True)
class Passage:
    """A description that a search found; score is the cosine between query and description, -1 to 1."""

    description: Description
    score: float


class Index:
    """An opened index version: immutable, safe to share between threads."""

    def __init__(
        self,
        manifest: Manifest,
        descriptions: tuple[Description, ...],
        registry: Cultures,
        vectors: faiss.Index,
        encoder: Encoder,
    ) -> None:
        self.manifest = manifest
        self.descriptions = descriptions
        self.cultures = registry
        self.encoder = encoder
        self._vectors = vectors
        rows: dict[str, list[int]] = {}
        for row, found in enumerate(descriptions):
            rows.setdefault(found.culture, []).append(row)
        self._rows = {culture: np.asarray(numbers, dtype=np.int64) for culture, numbers in rows.items()}

    def search(self, vector: Vectors, wanted: tuple[str, ...], k: int, min_score: float) -> tuple[Passage, ...]:
        """Give at most k descriptions of the wanted cultures and their parents, best first, none under min_score.

        Args:
            vector: one unit vector of the index's encoder, shape (dimension,).
            wanted: culture ids; empty means the whole index.
        """
        rows = self._members(wanted)
        if rows is not None and not len(rows):
            return ()
        k = min(k, len(self.descriptions) if rows is None else len(rows))
        if k < 1 or not np.isfinite(vector).all():
            return ()
        chosen = None if rows is None else faiss.IDSelectorBatch(rows)
        parameters = None if chosen is None else faiss.SearchParameters(sel=chosen)  # type: ignore[call-arg]
        scores, found = self._vectors.search(vector.reshape(1, -1), k, params=parameters)
        return tuple(
            Passage(self.descriptions[row], float(score))
            for score, row in zip(scores[0], found[0], strict=True)
            if row >= 0 and score >= min_score
        )

    def by_words(self, text: str, wanted: tuple[str, ...], k: int) -> tuple[Passage, ...]:
        """Give at most k descriptions by the words that they share with a text: what is left where encoding fails.

        The score is the share of the text's words, of four letters and more, that a description holds too.
        """
        asked = set(_WORD.findall(text.casefold()))
        rows = self._members(wanted)
        numbers = range(len(self.descriptions)) if rows is None else [int(row) for row in rows]
        scored = [(len(asked & self._words(row)) / max(1, len(asked)), row) for row in numbers]
        best = sorted((pair for pair in scored if pair[0] > 0), key=lambda pair: (-pair[0], pair[1]))[:k]
        return tuple(Passage(self.descriptions[row], score) for score, row in best)

    def _words(self, row: int) -> set[str]:
        found = self.descriptions[row]
        return set(_WORD.findall(" ".join([found.statement, found.offends or "", *found.questions]).casefold()))

    def covers(self, culture: str) -> bool:
        """Tell whether the index describes this culture or one that it inherits from."""
        return any(id in self._rows for id in self.cultures.lineage(culture))

    def _members(self, wanted: tuple[str, ...]) -> np.ndarray | None:
        if not wanted:
            return None
        ids = {id for culture in wanted for id in self.cultures.lineage(culture)}
        groups = [self._rows[id] for id in sorted(ids) if id in self._rows]
        return np.concatenate(groups) if groups else np.empty(0, dtype=np.int64)


def open_current(root: Path, encoder_name: str) -> Index:
    """Open the serving version of the index in a folder, every checksum verified.

    Raises:
        IndexUnusable: missing, broken, or built with another encoder than `encoder_name`.
    """
    layout = Layout(root)
    version = layout.current()
    manifest = version.read_manifest()
    if manifest.encoder != encoder_name:
        raise IndexUnusable(
            f"the index in {root} was built with the encoder {manifest.encoder}, but retrieval.encoder is "
            f"{encoder_name}; build it again with `comity index build` or change the setting"
        )
    try:
        for name, checksum in manifest.files.items():
            if sha256(version.root / name) != checksum:
                raise IndexUnusable(f"{version.root / name} differs from the manifest; run `comity index build`")
        descriptions = description.load(version.descriptions)
        registry = cultures.load(version.cultures)
        vectors = faiss.read_index(str(version.vectors))
    except (ValueError, OSError, RuntimeError) as error:
        raise IndexUnusable(f"index version {manifest.version} cannot be opened; run `comity index build`") from error
    opened = encoder.load(layout.encoder(manifest.encoder_id))
    if opened.id != manifest.encoder_id:
        raise IndexUnusable(
            f"the encoder {opened.id} is not the index's {manifest.encoder_id}; run `comity index build`"
        )
    if not vectors.ntotal == len(descriptions) == manifest.descriptions or vectors.d != opened.card.dimension:
        raise IndexUnusable(f"index version {manifest.version} is inconsistent; run `comity index build`")
    return Index(manifest, descriptions, registry, vectors, opened)
