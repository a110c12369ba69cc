"""What operators added and removed is carried over to what is built, as far as any version can tell of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from index import change
from index.change import Carried
from index.knowledge import KnowledgeBroken
from retrieval.layout import IndexUnusable, Layout
from tests import shelf
from tests.index.conftest import Built, Run

KNOWN = "jp-greetings-bow-depth"
ROW = {"id": "jp-phones", "culture": "JP", "statement": "Many in the Osaka office keep phones off the table."}


@pytest.fixture
def changed(run: Run, layout: Layout, tmp_path: Path) -> Layout:
    """An index of three versions: built, one description added, one removed."""
    (tmp_path / "office.jsonl").write_text(json.dumps(ROW) + "\n", encoding="utf-8")
    assert [run(*action).code for action in (["build"], ["add", f"{tmp_path}/office.jsonl"], ["remove", KNOWN])] == [
        0
    ] * 3
    return layout


def told(carried: Carried) -> tuple[list[str], tuple[str, ...]]:
    """Give the ids added and removed."""
    return [row.id for row in carried.added], carried.removed


def test_carried(changed: Layout) -> None:
    """The serving version tells what was added and removed, not one that was left by a rollback."""
    _, second, third = changed.published()
    assert told(change.carried(changed)) == (["jp-phones"], (KNOWN,))
    changed.pointer.write_text(second, encoding="utf-8")
    carried = change.carried(changed)
    assert (told(carried), carried.version, carried.damaged) == ((["jp-phones"], ()), second, None)
    changed.pointer.unlink()
    assert change.carried(changed).version == third


@pytest.mark.parametrize("name", ["vectors.faiss", "centres.npy", "words/params.index.json", "cultures.jsonl"])
def test_damaged_where_it_does_not_matter(changed: Layout, run: Run, name: str) -> None:
    """A version whose vectors or words are damaged still tells what was added, and --if-changed mends it."""
    (changed.current().root / name).write_bytes(b"damaged")
    assert run("build", "--if-changed").code == 0
    manifest = changed.current().read_manifest()
    assert (len(changed.published()), manifest.removed, list(manifest.added)) == (4, (KNOWN,), ["office"])
    assert run("verify").code == 0


@pytest.mark.parametrize("name", ["descriptions.jsonl", "offsets.npy", "manifest.json"])
def test_damaged(changed: Layout, run: Run, name: str) -> None:
    """Where the serving version cannot tell, the one before it does, and the command says so."""
    _, second, third = changed.published()
    (changed.current().root / name).write_bytes(b"damaged")
    said = run("build", "--if-changed")
    expected = f"index: version {third} is damaged: what was added and removed is as {second} tells it"
    assert (said.code, expected in said.err.splitlines()) == (0, True)
    manifest = changed.current().read_manifest()
    assert (manifest.removed, list(manifest.added), manifest.descriptions) == ((), ["office"], 7)


def test_all_are_damaged(changed: Layout, run: Run) -> None:
    """Where no version can tell, the command says that too, and builds the knowledge."""
    third = changed.published()[-1]
    for name in changed.published():
        changed.version(name).manifest.unlink()
    said = run("build", "--if-changed")
    expected = f"index: version {third} is damaged: what was added and removed is not known; add and remove it again"
    assert (said.code, expected in said.err.splitlines()) == (0, True)
    assert changed.current().read_manifest().descriptions == 6


def test_index_of_another_release(run: Run, layout: Layout) -> None:
    """An index of the first format is built anew without a word about damage: nothing could be added to it."""
    run("build")
    manifest = layout.current().manifest
    manifest.write_text(manifest.read_text(encoding="utf-8").replace('"format": 2', '"format": 1'), encoding="utf-8")
    said = run("build", "--if-changed")
    assert (said.code, len(layout.published()), "damaged" in said.err) == (0, 2, False)
    said = run("rollback")
    assert (said.code, "is of format 1, and this Comity reads format 2" in said.err) == (2, True)


def test_nothing_there(layout: Layout) -> None:
    """Before the first build there is nothing to carry over."""
    assert change.carried(layout) == Carried()


def test_every_fault_is_named(built: Built, layout: Layout) -> None:
    """All that keeps rows from being added is named at once, each with its row and the origins that meet."""
    built()
    rows = [
        shelf.row(KNOWN, "JP"),
        shelf.row("office-1", "ZZ"),
        shelf.row("office-2", "JP"),
        shelf.row("office-2", "JP"),
    ]
    with pytest.raises(KnowledgeBroken) as caught:
        change.add(change.serving(layout), {"office": rows})
    assert [str(fault) for fault in caught.value.faults] == [
        f"office: id: {KNOWN} occurs in knowledge already; give it another id, or remove that one",
        "office: culture: ZZ of office-1 is not in the index's registry; add it to cultures.jsonl and build",
        "office: id: office-2 occurs in office already; give it another id, or remove that one",
    ]


def test_serving_version_is_damaged(built: Built, layout: Layout) -> None:
    """Nothing is added to a version that is damaged."""
    built().codes.unlink()
    with pytest.raises(IndexUnusable, match=r"codes\.npy is missing; run `comity index build`"):
        change.serving(layout)
