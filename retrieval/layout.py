"""The index on disk: a folder of versions, a pointer to the one that serves, a manifest in each."""

from __future__ import annotations

import hashlib
import json
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

FORMAT = 2
FILES = ("vectors.faiss", "centres.npy", "descriptions.jsonl", "offsets.npy", "codes.npy", "cultures.jsonl")
NAMES = "names.jsonl"  # what versions of before detection knew cue words have not
_WORDS = re.compile(r"words/[A-Za-z0-9_-][A-Za-z0-9._-]*")
_NAME = re.compile(r"[A-Za-z0-9._-]{1,100}")


class IndexUnusable(Exception):
    """The index is missing, broken, or made by another encoder; the message says what to do."""


class OtherFormat(IndexUnusable):
    """The index version was written by another release of Comity, which keeps its files otherwise."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What an index version is made of; checksums are SHA-256 in hexadecimal.

    `culture_ids` are sorted, and code i in codes.npy is the i-th of them. `fields` are the texts of a description that
    make up its vector. `added` tells the rows, and the checksum of their lines, of each name that was added to the
    knowledge; `removed` are ids of the knowledge that were taken out. `seal` is the checksum of all other fields.
    """

    format: int
    version: str
    built_at: str
    knowledge: str
    encoder: str
    encoder_id: str
    dimension: int
    descriptions: int
    cultures: int
    culture_ids: tuple[str, ...]
    fields: tuple[str, ...]
    kind: str
    added: dict[str, dict[str, Any]]
    removed: tuple[str, ...]
    files: dict[str, str]
    seal: str = ""

    def sealed(self) -> Manifest:
        """Give the same manifest with its seal, which an edit by hand breaks."""
        values = asdict(self)
        del values["seal"]
        text = json.dumps(values, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
        return replace(self, seal=hashlib.sha256(text.encode()).hexdigest())

    def is_sound(self) -> bool:
        """Tell whether every field has its type and every file its checksum."""
        texts = (self.version, self.built_at, self.knowledge, self.encoder, self.encoder_id, self.kind, self.seal)
        numbers = (self.format, self.dimension, self.descriptions, self.cultures)
        lists = (self.culture_ids, self.fields, self.removed)
        return (
            all(isinstance(text, str) and text for text in texts)
            and all(type(number) is int for number in numbers)
            and all(isinstance(list, tuple) and all(isinstance(text, str) for text in list) for list in lists)
            and isinstance(self.added, dict)
            and all(isinstance(told, dict) and set(told) == {"rows", "sha256"} for told in self.added.values())
            and isinstance(self.files, dict)
            and set(FILES) <= set(self.files)
            and all(name in (*FILES, NAMES) or _WORDS.fullmatch(name) for name in self.files)
            and all(isinstance(checksum, str) for checksum in self.files.values())
        )


@dataclass(frozen=True, slots=True)
class Version:
    """The files of one published version."""

    root: Path

    @property
    def manifest(self) -> Path:
        """The manifest, JSON."""
        return self.root / "manifest.json"

    @property
    def vectors(self) -> Path:
        """The FAISS index; row i is description i."""
        return self.root / "vectors.faiss"

    @property
    def centres(self) -> Path:
        """The point that each culture's vectors lie around, by code: float32, shape (cultures, dimension)."""
        return self.root / "centres.npy"

    @property
    def descriptions(self) -> Path:
        """The descriptions, JSON lines sorted by id."""
        return self.root / "descriptions.jsonl"

    @property
    def offsets(self) -> Path:
        """Where each line of the descriptions begins, in bytes, and their end: int64, shape (descriptions + 1,)."""
        return self.root / "offsets.npy"

    @property
    def codes(self) -> Path:
        """The culture of each description, its place in `culture_ids`: int32, shape (descriptions,)."""
        return self.root / "codes.npy"

    @property
    def cultures(self) -> Path:
        """The registry of cultures that the version was built with, JSON lines."""
        return self.root / "cultures.jsonl"

    @property
    def names(self) -> Path:
        """Names of places and peoples, and cue words, JSON lines; older versions have none."""
        return self.root / NAMES

    @property
    def words(self) -> Path:
        """The folder of the lexical index."""
        return self.root / "words"

    def read_manifest(self) -> Manifest:
        """Read the manifest.

        Raises:
            IndexUnusable: it is missing, not what `index build` writes, of another format, or changed by hand.
        """
        where = f"index version {self.root.name}"
        try:
            values = json.loads(self.manifest.read_text(encoding="utf-8"))
            found = values.get("format", 1 if "encoder_id" in values else FORMAT)
            if found != FORMAT and type(found) is int:
                raise OtherFormat(
                    f"{where} is of format {found}, and this Comity reads format {FORMAT}; run `comity index build`"
                )
            lists = {key: tuple(value) for key, value in values.items() if isinstance(value, list)}
            manifest = Manifest(**{**values, **lists})
            if not manifest.is_sound():
                raise ValueError("wrong types")
            if manifest.sealed() != manifest:
                raise IndexUnusable(
                    f"{where}: manifest.json was changed after the build (its seal is of other values); "
                    "run `comity index build`"
                )
            return manifest
        except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
            raise IndexUnusable(f"{where}: manifest.json is unreadable; run `comity index build`") from error

    def write_manifest(self, manifest: Manifest) -> None:
        """Write the manifest, indented for people."""
        self.manifest.write_text(json.dumps(asdict(manifest), indent=2, sort_keys=True) + "\n", encoding="utf-8")

    def damage(self, manifest: Manifest) -> list[str]:
        """Compare every file with its checksum; give a sentence for each that differs or is missing."""
        with ThreadPoolExecutor(4) as pool:  # hashing leaves the interpreter to others, and an index may be gigabytes
            found = pool.map(lambda name: _sum(self.root / name), manifest.files)
        return [
            f"{name} {'differs from its checksum' if sum else 'is missing'}"
            for (name, checksum), sum in zip(manifest.files.items(), found, strict=True)
            if sum != checksum
        ]


@dataclass(frozen=True, slots=True)
class Layout:
    """The folder that holds every version, the encoders they were made with, and the pointer."""

    root: Path

    @property
    def pointer(self) -> Path:
        """The file that names the serving version."""
        return self.root / "CURRENT"

    @property
    def versions(self) -> Path:
        """One folder a version."""
        return self.root / "versions"

    @property
    def lock(self) -> Path:
        """The file that whoever changes the index holds locked."""
        return self.root / ".lock"

    @property
    def left(self) -> Path:
        """What an operator rolled back from, JSON; it is there until the next build."""
        return self.root / "ROLLED_BACK"

    def encoder(self, encoder_id: str) -> Path:
        """The folder of one exported encoder."""
        return self.root / "encoders" / encoder_id

    def version(self, name: str) -> Version:
        """One version by name."""
        return Version(self.versions / name)

    def current(self) -> Version:
        """The serving version.

        Raises:
            IndexUnusable: nothing was published here, or the pointer names a version that is gone.
        """
        try:
            name = self.pointer.read_text(encoding="utf-8").strip()
        except UnicodeDecodeError as error:
            raise IndexUnusable(f"{self.pointer} names no version; run `comity index build`") from error
        except OSError as error:
            raise IndexUnusable(f"there is no index in {self.root}; run `comity index build`") from error
        if not self.holds(name):
            raise IndexUnusable(
                f"{self.pointer} names version {name[:60]!r}, which is not there; run `comity index build`"
            )
        return self.version(name)

    def holds(self, name: str) -> bool:
        """Tell whether a text is the name of a version on disk; a path is none."""
        return bool(_NAME.fullmatch(name)) and name not in (".", "..") and self.version(name).root.is_dir()

    def published(self) -> list[str]:
        """Names of the versions on disk, oldest first."""
        return sorted(path.name for path in self.versions.iterdir() if path.is_dir()) if self.versions.is_dir() else []


def sha256(path: Path) -> str:
    """Give a file's SHA-256 in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sum(path: Path) -> str | None:
    try:
        return sha256(path)
    except OSError:
        return None
