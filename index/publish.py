"""Publishes index versions: one writer at a time, each version whole or not at all, the oldest deleted."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from retrieval.layout import IndexUnusable, Layout, Manifest, Version

KEEP = 5
_STAMP = "%Y%m%dT%H%M%S%f"
_NAME = re.compile(r"(\d{8}T\d{12})-[0-9a-f]{8}")
_DAY_S = 86_400


@contextmanager
def lock(layout: Layout) -> Iterator[None]:
    """Let nobody else change the index meanwhile; a process that dies gives the lock back.

    Raises:
        IndexUnusable: another process is changing it.
    """
    layout.root.mkdir(parents=True, exist_ok=True)
    with layout.lock.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise IndexUnusable(
                f"another `comity index` command is changing {layout.root}; wait for it and try again"
            ) from error
        yield


@contextmanager
def draft(layout: Layout) -> Iterator[Version]:
    """Give a folder beside the versions for a new one; it is gone afterwards unless it was published."""
    layout.versions.mkdir(parents=True, exist_ok=True)
    _sweep(layout)
    beside = Version(Path(tempfile.mkdtemp(dir=layout.root, prefix=".build-")))
    try:
        yield beside
    finally:
        shutil.rmtree(beside.root, ignore_errors=True)


def stamp(layout: Layout, knowledge: str) -> tuple[str, datetime]:
    """Give the name of a new version and its time, later than every version's there, whatever the clock says."""
    now = datetime.now(UTC)
    for name in layout.published():
        if found := _NAME.fullmatch(name):
            then = datetime.strptime(found.group(1), _STAMP).replace(tzinfo=UTC)
            now = max(now, then + timedelta(microseconds=1))
    return f"{now:{_STAMP}}-{knowledge[:8]}", now


def publish(beside: Version, layout: Layout, name: str, keep: int) -> Version:
    """Rename a verified draft into place and make it the serving version; keep so many versions.

    Raises:
        OSError: it cannot be written or renamed; what served before still does.
    """
    sync(beside)
    published = layout.version(name)
    beside.root.chmod(0o755)
    beside.root.rename(published.root)
    try:
        _sync(layout.versions)
        point(layout, name)
    except BaseException:
        if not _serves(layout, name):
            shutil.rmtree(published.root, ignore_errors=True)  # never served, so no version to go back to
        raise
    _prune(layout, keep)
    return published


def sync(version: Version) -> None:
    """Have every file and folder of a version on the disk itself before anything names it."""
    for path in sorted(version.root.rglob("*"), reverse=True):
        _sync(path)
    _sync(version.root)


def point(layout: Layout, name: str) -> None:
    """Make a version the serving one, whole or not at all."""
    _replace(layout.pointer, name + "\n")


def leave(layout: Layout, manifest: Manifest) -> None:
    """Remember that an operator turned away from a version, so that it is not built again from the same knowledge.

    The first that was left stays the one remembered, until a build forgets it.
    """
    if left(layout) is None:
        told = {"version": manifest.version, "knowledge": manifest.knowledge, "encoder_id": manifest.encoder_id}
        _replace(layout.left, json.dumps(told) + "\n")


def left(layout: Layout) -> dict[str, str] | None:
    """Give the version, the knowledge and the encoder's id that an operator turned away from, or None."""
    try:
        told = json.loads(layout.left.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return told if isinstance(told, dict) else None


def _serves(layout: Layout, name: str) -> bool:
    try:
        return layout.current().root.name == name
    except IndexUnusable:
        return False


def _prune(layout: Layout, keep: int) -> None:
    """Delete what is older than the newest so many, but not the serving version, nor what no build has named.

    An encoder goes with the last version that names it.
    """
    versions = [name for name in layout.published() if _NAME.fullmatch(name)]
    old = [name for name in versions[: max(0, len(versions) - keep)] if not _serves(layout, name)]
    unused = _encoders(layout, old)
    for name in old:
        aside = layout.root / f".build-{name}"  # in one step, so that no half of it can be rolled back to
        with suppress(OSError):
            layout.version(name).root.rename(aside)
        shutil.rmtree(aside, ignore_errors=True)
    for id in unused - _encoders(layout, layout.published()):
        shutil.rmtree(layout.encoder(id), ignore_errors=True)


def _encoders(layout: Layout, names: Iterable[str]) -> set[str]:
    """Give the ids of the encoders that versions name; what a broken one names is not known."""
    found = set()
    for name in names:
        with suppress(IndexUnusable):
            found.add(layout.version(name).read_manifest().encoder_id)
    return found


def _sweep(layout: Layout) -> None:
    """Delete what writers left over that died; an encoder may be exported at this moment, so only what is a day old."""
    exports = [path for path in (layout.root / "encoders").glob(".export-*") if _is_old(path)]
    for path in [*layout.root.glob(".build-*"), *layout.root.glob(".writing-*"), *exports]:
        with suppress(OSError):
            path.unlink() if path.is_file() else shutil.rmtree(path, ignore_errors=True)


def _is_old(path: Path) -> bool:
    try:
        return time.time() - path.stat().st_mtime > _DAY_S
    except OSError:
        return False


def _replace(path: Path, text: str) -> None:
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=".writing-", delete=False, encoding="utf-8") as file:
        beside = Path(file.name)
        try:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
            beside.chmod(0o644)
            beside.replace(path)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise
    _sync(path.parent)


def _sync(path: Path) -> None:
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
