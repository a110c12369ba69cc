"""One writer at a time, a version whole or not at all, and old ones deleted."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from index import publish
from retrieval.layout import FILES, IndexUnusable, Layout, Version
from tests import shelf
from tests.index.conftest import ROOT

NAMES = [f"2026010{day}T000000000000-0000000{day}" for day in range(1, 6)]


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """Five versions, each of one file, the last of which serves."""
    made = Layout(tmp_path / "index")
    for name in NAMES:
        made.version(name).root.mkdir(parents=True)
        made.version(name).manifest.write_text(name, encoding="utf-8")
    publish.point(made, NAMES[-1])
    return made


def put(layout: Layout, name: str, keep: int = 10) -> Version:
    """Publish a version of one file."""
    with publish.draft(layout) as beside:
        beside.manifest.write_text(name, encoding="utf-8")
        return publish.publish(beside, layout, name, keep)


def files(layout: Layout) -> list[str]:
    """List what is in the folder of the index, hidden files too, but not the lock."""
    return sorted(path.name for path in layout.root.iterdir() if path != layout.lock)


def test_published(layout: Layout) -> None:
    """A draft becomes a version that serves, and nothing is left beside it."""
    version = put(layout, "20260201T000000000000-00000000")
    assert (version, layout.published()) == (layout.current(), [*NAMES, version.root.name])
    assert files(layout) == ["CURRENT", "versions"]


def test_draft_is_dropped(layout: Layout) -> None:
    """What is not published is gone."""
    with publish.draft(layout) as beside:
        beside.words.mkdir()
    assert not beside.root.exists()
    assert files(layout) == ["CURRENT", "versions"]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_pointer_cannot_be_written(layout: Layout, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]) -> None:
    """Where the pointer cannot be moved the new version is taken away again, and the old one serves."""

    def fails(self: Path, target: Path) -> Path:
        raise error

    monkeypatch.setattr(Path, "replace", fails)
    with pytest.raises(error):
        put(layout, "20260201T000000000000-00000000")
    assert (NAMES[-1], NAMES) == (layout.current().root.name, layout.published())
    assert files(layout) == ["CURRENT", "versions"]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_fails_once_it_serves(layout: Layout, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]) -> None:
    """A version that the pointer names already is not taken away, whatever fails after that."""
    point = publish.point

    def pointed(layout: Layout, name: str) -> None:
        point(layout, name)
        raise error

    monkeypatch.setattr(publish, "point", pointed)
    with pytest.raises(error):
        put(layout, "20260201T000000000000-00000000")
    assert layout.current().manifest.read_text(encoding="utf-8") == "20260201T000000000000-00000000"


KILLED = """
import os, signal, sys
from pathlib import Path
from index import publish
from retrieval.layout import Layout

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

setattr(*{target}, die)
with publish.draft(Layout(Path(sys.argv[1]))) as beside:
    beside.manifest.write_text("new", encoding="utf-8")
    publish.sync(beside)
    publish.publish(beside, Layout(Path(sys.argv[1])), "20260201T000000000000-00000000", 1)
"""


@pytest.mark.parametrize(
    ("target", "serves"),
    [
        ('(publish, "sync")', NAMES[-1]),
        ('(Path, "rename")', NAMES[-1]),
        ('(publish, "point")', NAMES[-1]),
        ('(Path, "replace")', NAMES[-1]),
        ('(publish, "_prune")', "20260201T000000000000-00000000"),
        ('(publish.shutil, "rmtree")', "20260201T000000000000-00000000"),
    ],
)
def test_killed(layout: Layout, target: str, serves: str) -> None:
    """A build that is killed, at whatever step, leaves a whole version serving and only whole ones beside it."""
    code = KILLED.format(target=target)
    ran = subprocess.run([sys.executable, "-c", code, layout.root], cwd=ROOT, check=False)  # noqa: S603
    assert ran.returncode == -signal.SIGKILL
    assert layout.current().root.name == serves
    assert all(layout.version(name).manifest.is_file() for name in layout.published())
    assert put(layout, "20260301T000000000000-00000000") == layout.current()


@pytest.mark.parametrize("name", [".build-abc", ".build-20260101T000000000000-00000000", ".writing-abc"])
def test_leftovers(layout: Layout, name: str) -> None:
    """What a killed build left over is deleted by the next, which has the lock and so knows that it is dead."""
    path = layout.root / name
    if name.startswith(".build"):
        (path / "words").mkdir(parents=True)
    else:
        path.touch()
    put(layout, "20260201T000000000000-00000000")
    assert not path.exists()


@pytest.mark.parametrize(("hours", "left"), [(23, True), (25, False)])
def test_half_an_encoder(layout: Layout, hours: int, *, left: bool) -> None:
    """What a killed export left over is deleted a day later and not sooner, for exports need no lock."""
    path = layout.encoder(".export-abc")
    path.mkdir(parents=True)
    then = time.time() - hours * 3600
    os.utime(path, (then, then))
    put(layout, "20260201T000000000000-00000000")
    assert path.exists() == left


def test_encoders(layout: Layout) -> None:
    """An encoder goes with the last version that names it; what no deleted version named stays."""
    told = replace(shelf.manifest([shelf.row("a", "JP", "S")], 8), built_at="-", knowledge="-", encoder="-")
    told = replace(told, files=dict.fromkeys(FILES, "-"))
    for name, encoder in zip(NAMES, ("first", "second", "first", "third", "third"), strict=True):
        layout.version(name).write_manifest(replace(told, encoder_id=encoder).sealed())
    for encoder in ("first", "second", "third", "other"):
        layout.encoder(encoder).mkdir(parents=True)
    for keep, left in (
        (4, ["first", "other", "second", "third"]),
        (3, ["first", "other", "third"]),
        (2, ["other", "third"]),
    ):
        publish._prune(layout, keep)
        assert sorted(path.name for path in (layout.root / "encoders").iterdir()) == left


@pytest.mark.parametrize(("keep", "expected"), [(1, []), (2, NAMES[4:]), (4, NAMES[2:]), (6, NAMES), (100, NAMES)])
def test_old_versions(layout: Layout, keep: int, expected: list[str]) -> None:
    """The newest so many are kept, the new one among them."""
    version = put(layout, "20260201T000000000000-00000000", keep)
    assert [*expected, version.root.name] == layout.published()
    assert files(layout) == ["CURRENT", "versions"]


def test_serving_version_is_kept(layout: Layout) -> None:
    """The serving version is kept, however old, and so is a folder that no build has named."""
    layout.version("mine").root.mkdir()
    publish.point(layout, NAMES[0])
    publish._prune(layout, 2)
    assert sorted([NAMES[0], *NAMES[-2:], "mine"]) == layout.published()


def test_folder_cannot_be_deleted(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """An old version that cannot be deleted does not fail the build."""

    def fails(self: Path, target: Path) -> Path:
        if self.name in NAMES:
            raise PermissionError
        return Path(shutil.move(self, target))

    monkeypatch.setattr(Path, "rename", fails)
    assert put(layout, "20260201T000000000000-00000000", 1) == layout.current()
    assert len(layout.published()) == 6


def test_many_point_at_once(layout: Layout) -> None:
    """Processes that point at once do not trip over each other: the pointer names one version, whole and readable."""
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: publish.point(layout, name), NAMES * 40))
    assert layout.pointer.read_text(encoding="utf-8") in {f"{name}\n" for name in NAMES}
    assert files(layout) == ["CURRENT", "versions"]
    assert layout.pointer.stat().st_mode & 0o777 == 0o644


def test_names_rise(layout: Layout) -> None:
    """A version is named after its time and its knowledge, and sorts behind all others though the clock went back."""
    name, now = publish.stamp(layout, "abcdef0123456789")
    assert name == f"{now:%Y%m%dT%H%M%S%f}-abcdef01"
    assert abs(now - datetime.now(UTC)) < timedelta(minutes=1)
    ahead = "99991231T235959999998-ffffffff"
    layout.version(ahead).root.mkdir()
    assert publish.stamp(layout, "00000000")[0] == "99991231T235959999999-00000000"


HOLDER = """
import sys, time
from pathlib import Path
from index import publish
from retrieval.layout import Layout
with publish.lock(Layout(Path(sys.argv[1]))):
    print("held", flush=True)
    time.sleep(60)
"""


def test_second_writer(layout: Layout) -> None:
    """Whoever comes second is told so; the lock of a process that was killed holds nobody up."""
    started = subprocess.Popen([sys.executable, "-c", HOLDER, layout.root], cwd=ROOT, stdout=subprocess.PIPE)  # noqa: S603
    try:
        assert started.stdout is not None
        assert started.stdout.readline() == b"held\n"
        with pytest.raises(IndexUnusable) as caught, publish.lock(layout):
            pass
        expected = f"another `comity index` command is changing {layout.root}; wait for it and try again"
        assert expected == str(caught.value)
    finally:
        started.kill()
        started.communicate()
    with publish.lock(layout):
        pass
    with publish.lock(layout):
        pass


def test_lock_makes_the_folder(tmp_path: Path) -> None:
    """The first writer makes the folder of the index."""
    with publish.lock(Layout(tmp_path / "a" / "b")):
        assert (tmp_path / "a" / "b").is_dir()


@pytest.mark.parametrize("text", ["", "{", "[]", "\x00"])
def test_note_of_a_rollback_is_damaged(layout: Layout, text: str) -> None:
    """A note of a rollback that cannot be read is none."""
    assert publish.left(layout) is None
    layout.left.write_text(text, encoding="utf-8")
    assert publish.left(layout) is None
    layout.left.write_text(json.dumps({"version": "v"}), encoding="utf-8")
    assert publish.left(layout) == {"version": "v"}
