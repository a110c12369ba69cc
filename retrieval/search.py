"""Search by meaning inside the cultures that matter: FAISS with the culture filter inside the search."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from retrieval import cultures, rank, words
from retrieval import encoder as encoders
from retrieval import vectors as stores
from retrieval.cultures import Cultures
from retrieval.description import Description, Descriptions
from retrieval.encoder import Encoder, Vectors
from retrieval.layout import NAMES, IndexUnusable, Layout, Manifest, Version
from retrieval.vectors import Rows, Store
from retrieval.words import Words

_ALL = 4_000  # descriptions up to which each is scored: under 3 ms on one core
_NEAR = 200  # candidates by meaning, and as many by words, where there are more
_WORDED = 2.0  # points of BM25 under which words alone say nothing; nine in ten of our own queries reach it
_VOTERS = 10  # descriptions that vote on a text's culture
_NEARNESS = 0.06  # of score, by which a vote counts e times less
Codes = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Passage:
    """A description that a search found; score is cosine seen from its culture's centre, and what words add to it."""

    description: Description
    score: float


@dataclass(frozen=True, slots=True)
class Vote:
    """What the nearest descriptions of one culture say: their share of the vote, the score and id of the nearest."""

    culture: str
    share: float
    score: float
    description_id: str


@dataclass(frozen=True, slots=True)
class Parts:
    """What lies in a version's folder, opened.

    `codes` is the culture of each description (int32, its place in the manifest's `culture_ids`), `centres` the point
    that each culture's vectors lie around (float32, shape (cultures, dimension)). Row i of all is one description.
    """

    descriptions: Descriptions
    codes: Codes
    centres: Vectors
    vectors: Store
    words: Words
    cultures: Cultures
    names: str = ""


class Index:
    """An opened index version: immutable, safe to share between threads.

    What the service asks of it is all that another store would have to give: `find` by vector, words and cultures,
    `by_words`, `covers`, `descriptions.find` by id, `version` and `size`, its registry of cultures and its encoder.
    """

    def __init__(self, manifest: Manifest, parts: Parts, encoder: Encoder) -> None:
        self.manifest = manifest
        self.descriptions = parts.descriptions
        self.cultures = parts.cultures
        self.names = parts.names
        self.encoder = encoder
        self._vectors = parts.vectors
        self._words = parts.words
        self._culture, self._centres = parts.codes, parts.centres
        self._codes = {id: code for code, id in enumerate(manifest.culture_ids)}
        # Description rows by culture, rising in each, and where each culture begins among them.
        self._rows = np.argsort(parts.codes, kind="stable")
        self._begins = np.searchsorted(parts.codes[self._rows], np.arange(len(manifest.culture_ids) + 1))

    @property
    def version(self) -> str:
        """Name of the version."""
        return self.manifest.version

    @property
    def size(self) -> int:
        """How many descriptions there are."""
        return len(self.descriptions)

    def find(
        self, text: str, vector: Vectors, wanted: tuple[str, ...], k: int, min_score: float
    ) -> tuple[Passage, ...]:
        """Give at most k descriptions of the wanted cultures and their parents, best first, none under min_score.

        What meaning says of them and what words say is one score (retrieval/rank.py). Of those that say nearly the same
        only the best is given.

        Args:
            text: the query; what is beyond some thousand words is not read.
            vector: its unit vector by the index's encoder, shape (dimension,); one that holds no number finds nothing.
            wanted: culture ids; empty means the whole index.
        """
        if k < 1 or not np.isfinite(vector).all():
            return ()
        lexical = self._words.scores(text)
        rows = self._candidates(vector, lexical, self.members(wanted), max(k, _NEAR))
        vectors = self._vectors.reconstruct(rows)
        near = rank.meaning(vector, vectors, self._centres, self._culture[rows])
        scores = near + rank.LEXICAL * lexical[rows]
        order = np.lexsort((rows, -scores))
        order = order[scores[order] >= min_score]
        kept = rank.distinct([int(place) for place in order], vectors, k)
        return tuple(Passage(self.descriptions[int(rows[place])], float(scores[place])) for place in kept)

    def vote(self, text: str, vector: Vectors, among: tuple[str, ...] = ()) -> tuple[Vote, ...]:
        """Let the descriptions nearest to a text vote for their cultures, the more the nearer; largest share first.

        Args:
            vector: the text's unit vector by the index's encoder, shape (dimension,).
            among: culture ids, without those they inherit from; empty means all.
        """
        if not np.isfinite(vector).all():
            return ()
        lexical = self._words.scores(text)
        rows = self._candidates(vector, lexical, self._own(among), _NEAR)
        if not len(rows):
            return ()
        vectors = self._vectors.reconstruct(rows)
        scores = rank.meaning(vector, vectors, self._centres, self._culture[rows]) + rank.LEXICAL * lexical[rows]
        best = np.argsort(-scores, kind="stable")[:_VOTERS]
        weights = np.exp((scores[best] - scores[best[0]]) / _NEARNESS)
        found: dict[str, list[int]] = {}
        for place, row in enumerate(best):
            found.setdefault(self.manifest.culture_ids[self._culture[rows[row]]], []).append(place)
        votes = [
            Vote(
                culture,
                float(weights[places].sum() / weights.sum()),
                float(scores[best[places[0]]]),
                self.descriptions[int(rows[best[places[0]]])].id,
            )
            for culture, places in found.items()
        ]
        return tuple(sorted(votes, key=lambda vote: (-vote.share, vote.culture)))

    def by_words(self, text: str, wanted: tuple[str, ...], k: int) -> tuple[Passage, ...]:
        """Give at most k descriptions by their words alone: what is left where encoding fails.

        The score is what words add to the score of `find`; a word or two that many descriptions hold are not enough.
        """
        if k < 1:
            return ()
        scores = self._words.scores(text)
        rows = _best(_among(self.members(wanted), scores >= _WORDED), scores, max(k, _NEAR))
        order = np.lexsort((rows, -scores[rows]))
        kept = rank.distinct([int(place) for place in order], self._vectors.reconstruct(rows), k)
        return tuple(
            Passage(self.descriptions[int(rows[place])], rank.LEXICAL * float(scores[rows[place]])) for place in kept
        )

    def _candidates(self, vector: Vectors, lexical: rank.Scores, rows: Rows | None, most: int) -> Rows:
        """Give the rows worth scoring: all of a few, else those that are near by meaning or share the rarest words."""
        count = self.size if rows is None else len(rows)
        if count <= _ALL:
            return np.arange(count) if rows is None else rows
        _, near = self._vectors.search(vector, rows, most)
        return np.union1d(near, _best(_among(rows, lexical > 0), lexical, most))

    def covers(self, culture: str) -> bool:
        """Tell whether the index describes this culture or one that it inherits from."""
        return any(id in self._codes for id in self.cultures.lineage(culture))

    def _own(self, wanted: tuple[str, ...]) -> Rows | None:
        """Give the description rows of the wanted cultures themselves, rising; None is all."""
        if not wanted:
            return None
        return np.flatnonzero(np.isin(self._culture, [self._codes[id] for id in wanted if id in self._codes]))

    def members(self, wanted: tuple[str, ...]) -> Rows | None:
        """Give the description rows of the wanted cultures and their parents, rising; None is all."""
        if not wanted:
            return None
        ids = {id for culture in wanted for id in self.cultures.lineage(culture)}
        codes = [self._codes[id] for id in ids if id in self._codes]
        groups = [self._rows[self._begins[code] : self._begins[code + 1]] for code in codes]
        return np.sort(np.concatenate(groups)) if groups else np.empty(0, dtype=np.int64)


def _among(rows: Rows | None, wanted: npt.NDArray[np.bool_]) -> Rows:
    """Give those of some rows, None is all, for which something holds."""
    return np.flatnonzero(wanted) if rows is None else rows[wanted[rows]]


def _best(rows: Rows, scores: rank.Scores, most: int) -> Rows:
    """Give those of some rows that score best, in no order."""
    return rows if len(rows) <= most else rows[np.argpartition(-scores[rows], most)[:most]]


def open_current(root: Path, encoder_name: str) -> Index:
    """Open the serving version of the index in a folder, every checksum verified.

    Raises:
        IndexUnusable: missing, broken, or built with another encoder than `encoder_name`.
    """
    layout = Layout(root)
    return open_version(layout, layout.current().root.name, encoder_name)


def open_version(layout: Layout, name: str, encoder_name: str, encoder: Encoder | None = None) -> Index:
    """Open one version, every checksum verified.

    Args:
        encoder: an encoder that is loaded already, used again when it is the version's own.

    Raises:
        IndexUnusable: missing, broken, or built with another encoder than `encoder_name`.
    """
    version = layout.version(name)
    manifest = version.read_manifest()
    if manifest.encoder != encoder_name:
        raise IndexUnusable(
            f"the index in {layout.root} was built with the encoder {manifest.encoder}, but retrieval.encoder is "
            f"{encoder_name}; build it again with `comity index build` or change the setting"
        )
    if manifest.version != name:
        raise _inconsistent(manifest, f"its folder is named {name[:100]}")
    parts = open_parts(version, manifest)
    if encoder is not None and encoder.id == manifest.encoder_id:
        return Index(manifest, parts, encoder)
    loaded = encoders.load(layout.encoder(manifest.encoder_id))
    if loaded.id != manifest.encoder_id:
        raise IndexUnusable(
            f"the encoder {loaded.id} is not the index's {manifest.encoder_id}; run `comity index build`"
        )
    if loaded.card.dimension != manifest.dimension:
        raise _inconsistent(manifest, "the vectors are not of the encoder's length")
    return Index(manifest, parts, loaded)


def open_parts(version: Version, manifest: Manifest) -> Parts:
    """Open the files of a version, every checksum verified, and hold them against each other.

    Raises:
        IndexUnusable: a file is missing, was changed, or does not fit the others.
    """
    if missing := [name for name in words.FILES if name not in manifest.files]:
        raise IndexUnusable(f"{version.manifest}: files: {missing[0]} is missing; run `comity index build`")
    if damage := version.damage(manifest):
        raise IndexUnusable(f"{version.root}: {damage[0]}; run `comity index build`")
    try:
        # A small index is read into memory, where nobody can change it any more; a large one cannot be.
        mapped = not stores.choose(0, manifest.kind).exact
        parts = Parts(
            descriptions=Descriptions(version.descriptions, np.load(version.offsets), mapped=mapped),
            codes=np.load(version.codes),
            centres=np.load(version.centres),
            vectors=stores.load(version.vectors, manifest.kind),
            words=words.load(version.words, mapped=mapped),
            cultures=cultures.load(version.cultures),
            names=version.names.read_text(encoding="utf-8") if NAMES in manifest.files else "",
        )
    except (ValueError, OSError, EOFError, RuntimeError) as error:
        raise IndexUnusable(f"index version {manifest.version} cannot be opened; run `comity index build`") from error
    if fault := _fault(manifest, parts):
        raise _inconsistent(manifest, fault)
    return parts


def _inconsistent(manifest: Manifest, fault: str) -> IndexUnusable:
    return IndexUnusable(
        f"index version {manifest.version} is inconsistent ({fault}); run `comity index build` or "
        "`comity index rollback`"
    )


def _fault(manifest: Manifest, parts: Parts) -> str | None:
    """Say what the parts of a version disagree in."""
    rows, ids, codes, centres = len(parts.descriptions), manifest.culture_ids, parts.codes, parts.centres
    if rows != manifest.descriptions:
        return f"offsets.npy tells of {rows} descriptions, the manifest of {manifest.descriptions}"
    if len(ids) != manifest.cultures or list(ids) != sorted(set(ids)):
        return f"the manifest counts {manifest.cultures} cultures and lists {len(ids)}"
    if codes.dtype != np.int32 or codes.shape != (rows,) or codes.min() < 0 or codes.max() >= len(ids):
        return f"codes.npy is not one code of {len(ids)} cultures for each of {rows} descriptions"
    if len(parts.vectors) != rows or parts.vectors.dimension != manifest.dimension:
        return f"vectors.faiss holds {len(parts.vectors)} vectors of {parts.vectors.dimension} numbers, wanted {rows}"
    if centres.dtype != np.float32 or centres.shape != (len(ids), manifest.dimension):
        return f"centres.npy is not one point of {manifest.dimension} numbers for each of {len(ids)} cultures"
    if not np.isfinite(centres).all():
        return "centres.npy holds what is no number"
    if parts.words.size != rows:
        return f"the lexical index holds {parts.words.size} of {rows} descriptions"
    return None
