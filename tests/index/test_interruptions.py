"""A command that is killed, finds the disk full or meets another leaves the old version serving and loses nothing."""

from __future__ import annotations

import json
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from retrieval import search
from retrieval.layout import Layout
from tests.index.conftest import ROOT, Run, add_row


def office(folder: Path, name: str = "office") -> Path:
    """Write a file of one description."""
    path = folder / f"{name}.jsonl"
    row = {"id": f"jp-{name}", "culture": "JP", "statement": f"Many at {name} keep phones off the table at lunch."}
    path.write_text(json.dumps(row) + "\n", encoding="utf-8")
    return path


def serving(layout: Layout) -> search.Index:
    """Open the serving version."""
    return search.open_current(layout.root, "comity-minilm")


@contextmanager
def room(bytes: int) -> Iterator[None]:
    """Let no file become longer than so many bytes, as on a full disk."""
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))


# Bytes beyond which, in the order of writing: vectors, descriptions, registry and manifest do not fit.
@pytest.mark.parametrize("bytes", [0, 100, 8_000, 12_000, 30_000])
@pytest.mark.parametrize("action", ["add", "build"])
def test_disk_is_full(run: Run, layout: Layout, source: Path, tmp_path: Path, action: str, bytes: int) -> None:
    """Where a file cannot be written whole one sentence says so, and nothing has changed."""
    run("build")
    before = sorted(layout.root.rglob("*"))
    add_row(source)
    options = [str(office(tmp_path))] if action == "add" else ["--if-changed"]
    with room(bytes):
        said = run(action, *options)
    expected = f"comity index: the new version cannot be written to {layout.root} ("
    assert (said.code, said.out, said.err.splitlines()[-1][: len(expected)]) == (2, "", expected)
    assert said.err.endswith("; the serving one is unchanged\n")
    assert before == sorted(layout.root.rglob("*"))
    assert serving(layout).manifest.descriptions == 6
    assert run(action, *options).code == 0


KILLED = """
import os, signal, sys
from pathlib import Path
from index import __main__, build, publish, texts
from retrieval import description, vectors, words
from retrieval.layout import Version

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

setattr(*{target}, die)
__main__.main(sys.argv[1:])
"""
TARGETS = [
    '(texts, "encode")',
    '(vectors, "write")',
    '(description, "write")',
    '(words, "build")',
    '(Version, "write_manifest")',
    '(build, "verify")',
    '(publish, "publish")',
    '(publish, "point")',
]


@pytest.mark.parametrize("target", TARGETS)
def test_killed(run: Run, layout: Layout, tmp_path: Path, target: str) -> None:
    """A command that is killed, at whatever step, leaves the old version serving, and can be run again."""
    run("build")
    name = layout.current().root.name
    asked = [sys.executable, "-c", KILLED.format(target=target), "add", "--index", str(layout.root)]
    ran = subprocess.run([*asked, str(office(tmp_path))], cwd=ROOT, capture_output=True, check=False)  # noqa: S603
    assert ran.returncode == -signal.SIGKILL
    assert (serving(layout).manifest.version, serving(layout).manifest.added) == (name, {})
    assert run("verify").code == 0
    assert run("add", str(office(tmp_path))).code == 0
    assert serving(layout).manifest.added["office"]["rows"] == 1


def test_several_at_once(run: Run, layout: Layout, tmp_path: Path) -> None:
    """Of commands that run at once none loses what another added: it waits its turn or says that it cannot."""
    run("build")
    names = ["one", "two", "three", "four"]

    def add(name: str) -> subprocess.CompletedProcess[str]:
        file = str(office(tmp_path, name))
        asked = [sys.executable, "-m", "service", "index", "add", "--index", str(layout.root), file]
        return subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603

    with ThreadPoolExecutor(4) as pool:
        ran = dict(zip(names, pool.map(add, names), strict=True))
    added = {name for name, done in ran.items() if done.returncode == 0}
    assert added
    assert added == set(serving(layout).manifest.added)
    refused = {done.stderr for done in ran.values() if done.returncode != 0}
    expected = f"another `comity index` command is changing {layout.root}; wait for it and try again"
    assert refused <= {f"comity index: {expected}\n"}


def test_opened_meanwhile(run: Run, layout: Layout, tmp_path: Path) -> None:
    """Whoever opens the index while versions are published always gets a whole one."""
    run("build")
    found = set()

    def publish() -> None:
        for name in ("one", "two", "three"):
            assert run("add", str(office(tmp_path, name))).code == 0

    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(publish)
        while not done.done():
            found.add(serving(layout).manifest.descriptions)
    done.result()
    assert found <= {6, 7, 8, 9}


def test_opened_before(run: Run, layout: Layout, tmp_path: Path) -> None:
    """A version that is open can be searched and read after it was deleted."""
    run("build")
    index = serving(layout)
    rows = list(index.descriptions)
    run("add", str(office(tmp_path)), "--keep", "1")
    assert index.manifest.version not in layout.published()
    assert rows == list(index.descriptions)
    (vector,) = index.encoder.encode([rows[2].statement])
    assert index.find(rows[2].statement, vector, (), 1, 0.5)[0].description == rows[2]
