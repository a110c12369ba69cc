"""The index on disk: a folder of versions, a pointer to the one that serves, a manifest in each."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path

FILES = ("vectors.faiss", "descriptions.jsonl", "cultures.jsonl")


class IndexUnusable(Exception):
    """The index is missing, broken, or made by another encoder; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What an index version is made of; checksums are SHA-256 in hexadecimal."""

    version: str
    built_at: str
    knowledge: str
    encoder: str
    encoder_id: str
    dimension: int
    descriptions: int
    cultures: int
    files: dict[str, str]

    def is_sound(self) -> bool:
        """Tell whether every field has its type and every file its checksum."""
        texts = (self.version, self.built_at, self.knowledge, self.encoder, self.encoder_id)
        numbers = (self.dimension, self.descriptions, self.cultures)
        return (
            all(isinstance(text, str) and text for text in texts)
            and all(isinstance(number, int) for number in numbers)
            and isinstance(self.files, dict)
            and set(self.files) == set(FILES)
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
    def descriptions(self) -> Path:
        """The descriptions, JSON lines."""
        return self.root / "descriptions.jsonl"

    @property
    def cultures(self) -> Path:
        """The registry of cultures that the version was built with, JSON lines."""
        return self.root / "cultures.jsonl"

    def read_manifest(self) -> Manifest:
        """Read the manifest.

        Raises:
            IndexUnusable: it is missing or not what `index build` writes.
        """
        try:
            found = Manifest(**json.loads(self.manifest.read_text(encoding="utf-8")))
            if not found.is_sound():
                raise ValueError("wrong types")
            return found
        except (OSError, ValueError, TypeError, RecursionError) as error:
            raise IndexUnusable(
                f"index version {self.root.name}: manifest.json is unreadable; run `comity index build`"
            ) from error

    def write_manifest(self, manifest: Manifest) -> None:
        """Write the manifest, indented for people."""
        self.manifest.write_text(json.dumps(asdict(manifest), indent=2, sort_keys=True) + "\n", encoding="utf-8")


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
        version = self.version(name)
        if not re.fullmatch(r"[A-Za-z0-9._-]{1,100}", name) or not version.root.is_dir():
            raise IndexUnusable(
                f"{self.pointer} names version {name[:60]!r}, which is not there; run `comity index build`"
            )
        return version

    def published(self) -> list[str]:
        """Names of the versions on disk, oldest first."""
        return sorted(path.name for path in self.versions.iterdir() if path.is_dir()) if self.versions.is_dir() else []


def sha256(path: Path) -> str:
    """Give a file's SHA-256 in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
