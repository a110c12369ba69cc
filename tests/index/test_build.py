"""A new version is built beside the serving one and published whole or not at all."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from tokenizers import Tokenizer

from index import build, knowledge, publish
from index.build import Content, Way
from index.knowledge import KnowledgeBroken
from index.verify import verify
from retrieval import encoder, search, words
from retrieval.description import Description
from retrieval.encoder import OnnxEncoder, Vectors
from retrieval.layout import FILES, NAMES, IndexUnusable, Layout
from tests import shelf
from tests.index.conftest import ROOT, Built


class Breaking(OnnxEncoder):
    """The real encoder until the given call of encode, which raises or gives a wrong answer."""

    def __init__(self, folder: Path, call: int, error: type[BaseException] | None) -> None:
        card = encoder.load(folder).card
        super().__init__(card, str(folder / "model.onnx"), Tokenizer.from_file(str(folder / "tokenizer.json")))
        self.left, self.error = call, error

    def encode(self, texts: list[str]) -> Vectors:
        """Encode, or break."""
        self.left -= 1
        vectors = super().encode(texts)
        if self.left:
            return vectors
        if self.error:
            raise self.error
        return np.roll(vectors, 1, axis=0)


class Meddling(OnnxEncoder):
    """The real encoder, while which somebody adds a line to a file of the knowledge."""

    def __init__(self, folder: Path, file: Path) -> None:
        card = encoder.load(folder).card
        super().__init__(card, str(folder / "model.onnx"), Tokenizer.from_file(str(folder / "tokenizer.json")))
        self.file = file

    def encode(self, texts: list[str]) -> Vectors:
        """Change the file, then encode."""
        with self.file.open("ab") as file:
            file.write(b"\n")
        return super().encode(texts)


def test_first_build(layout: Layout, built: Built) -> None:
    """A build publishes one folder of files, names it in the pointer, and the reader opens it."""
    version = built()
    assert f"{version.root.name}\n" == layout.pointer.read_text(encoding="utf-8")
    files = [path.relative_to(version.root).as_posix() for path in version.root.rglob("*") if path.is_file()]
    assert sorted(["manifest.json", *FILES, NAMES, *words.FILES]) == sorted(files)
    assert sorted(path.name for path in layout.root.iterdir()) == ["CURRENT", "encoders", "versions"]
    opened = search.open_current(layout.root, "comity-minilm")
    told = opened.manifest
    assert told.version == version.root.name
    assert (told.descriptions, told.cultures, told.culture_ids, told.kind) == (6, 2, ("ES-CT", "JP"), "flat")
    assert [row.id for row in opened.descriptions] == sorted(row.id for row in opened.descriptions)


def test_published_folder_is_readable(built: Built) -> None:
    """Another user, such as the one that the service runs as, may read the published version."""
    version = built()
    paths = [version.root, *version.root.rglob("*")]
    assert {(path.is_dir(), path.stat().st_mode & 0o005) for path in paths} == {(True, 0o005), (False, 0o004)}


def test_second_build(layout: Layout, built: Built) -> None:
    """A second build becomes the serving version and keeps the first beside it."""
    first, second = built(), built()
    assert second.root == layout.current().root
    assert [first.root.name, second.root.name] == layout.published()


def test_same_knowledge(built: Built) -> None:
    """The same knowledge gives the same hash and the same bytes of every file."""
    first, second = built().read_manifest(), built().read_manifest()
    assert (first.knowledge, first.files) == (second.knowledge, second.files)


def test_knowledge_moves(source: Path, tmp_path: Path) -> None:
    """The hash does not depend on where the knowledge lies, but on every byte and every file name."""
    moved = Path(shutil.copytree(source, tmp_path / "elsewhere"))
    expected = build.knowledge_hash(source)
    assert expected == build.knowledge_hash(moved)
    file = moved / "descriptions" / "JP.jsonl"
    renamed = file.rename(file.with_name("TH.jsonl"))
    assert expected != build.knowledge_hash(moved)
    renamed.rename(file).write_bytes(file.read_bytes() + b"\n")
    assert expected != build.knowledge_hash(moved)


@pytest.mark.parametrize("call", [1, 2])
@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError, None])
def test_build_breaks_off(
    layout: Layout, built: Built, onnx: OnnxEncoder, exported: Path, call: int, error: type[BaseException] | None
) -> None:
    """A build that is interrupted, fails or does not verify leaves the old version serving and no folder behind."""
    old = built()
    before = sorted(layout.root.rglob("*"))
    with pytest.raises(error or IndexUnusable):
        built(Breaking(exported, call, error))
    assert before == sorted(layout.root.rglob("*"))
    assert old.root == layout.current().root
    assert verify(old, onnx).faults == ()


def test_first_build_breaks_off(layout: Layout, built: Built, exported: Path) -> None:
    """A first build that does not verify publishes nothing."""
    with pytest.raises(IndexUnusable, match="does not verify"):
        built(Breaking(exported, 2, None))
    assert layout.published() == []
    with pytest.raises(IndexUnusable, match="there is no index"):
        layout.current()


@pytest.mark.parametrize("name", ["cultures.jsonl", "descriptions/JP.jsonl", "descriptions/TH.jsonl"])
def test_knowledge_changes_meanwhile(
    source: Path, layout: Layout, built: Built, onnx: OnnxEncoder, exported: Path, name: str
) -> None:
    """Knowledge that is changed or added during a build fails it, and the old version serves as before."""
    old = built()
    before = sorted(layout.root.rglob("*"))
    with pytest.raises(IndexUnusable) as caught:
        built(Meddling(exported, source / name))
    assert str(caught.value) == f"{source} changed while the index was built; run `comity index build` again"
    assert before == sorted(layout.root.rglob("*"))
    assert old.root == layout.current().root
    assert verify(old, onnx).faults == ()


def test_knowledge_changes_before_it_is_read(source: Path, layout: Layout, onnx: OnnxEncoder) -> None:
    """Knowledge that is changed between its hash and its reading fails the build and publishes nothing."""
    hashed = build.knowledge_hash(source)
    with (source / "descriptions" / "JP.jsonl").open("ab") as file:
        file.write(b"\n")
    content = build.compose(knowledge.load(source), source, hashed)
    with pytest.raises(IndexUnusable, match="changed while the index was built"):
        build.build(content, source, layout, Way(onnx))
    assert layout.published() == []


def test_hash_is_of_the_knowledge_read(source: Path, built: Built) -> None:
    """The manifest and the name of a version carry the hash of the knowledge that it was built from."""
    version, hashed = built(), build.knowledge_hash(source)
    assert (hashed, hashed[:8]) == (version.read_manifest().knowledge, version.root.name.split("-")[1])


def test_broken_knowledge_is_not_built(source: Path, layout: Layout, built: Built) -> None:
    """Knowledge with a fault gives no version."""
    (source / "descriptions" / "JP.jsonl").write_text("{}\n", encoding="utf-8")
    with pytest.raises(KnowledgeBroken):
        built()
    assert layout.published() == []


@pytest.mark.parametrize(
    ("added", "told"),
    [
        (shelf.row("office-1", "ZZ", origin="office"), "office-1 of office is of ZZ, which the registry lacks now"),
        (shelf.row("jp-greetings-bow-depth", "JP", origin="office"), "occurs in knowledge and in office"),
    ],
    ids=["culture", "id"],
)
def test_added_row_does_not_fit(source: Path, added: Description, told: str) -> None:
    """What was added and does not go with changed knowledge is an error that names both and says what to do."""
    found = knowledge.load(source)
    with pytest.raises(IndexUnusable) as caught:
        build.compose(found, source, "", [added], [])
    assert told in str(caught.value)
    assert "run `comity index remove --added office`" in str(caught.value)


def fake() -> OnnxEncoder:
    """An encoder that needs no time."""
    return cast(OnnxEncoder, shelf.Hashing())


def many(rows: Sequence[Description]) -> Content:
    """Give the content of a version of invented rows."""
    return Content("0" * 64, tuple(rows), (ROOT / "knowledge" / "cultures.jsonl").read_bytes())


@pytest.mark.parametrize("kind", ["flat", "ivf"])
def test_kinds(layout: Layout, kind: str) -> None:
    """Every kind of index builds, verifies and opens, and finds a description by its text."""
    rows = [shelf.row(f"row-{number:04}", ("JP", "TH")[number % 2], f"custom {number}") for number in range(1500)]
    encoder = fake()
    version = build.change(many(rows), layout, Way(encoder, kind=kind))
    manifest = version.read_manifest()
    opened = search.Index(manifest, search.open_parts(version, manifest), encoder)
    assert (manifest.kind, manifest.descriptions) == (kind, 1500)
    for number in (0, 701, 1499):
        (vector,) = encoder.encode([f"custom {number}"])
        (passage,) = opened.find("", vector, (rows[number].culture,), 1, 0.5)
        assert rows[number] == passage.description


def test_several_fields(layout: Layout) -> None:
    """A description has one vector of all its texts, and every one of them leads to it."""
    full: dict[str, Any] = {"offends": "Pointing with a foot.", "questions": ("May I point?", "Where do feet go?")}
    rows = [shelf.row("a", "TH", "Feet are low.", **full), shelf.row("b", "JP", "Shoes come off.")]
    encoder = fake()
    version = build.change(many(rows), layout, Way(encoder, fields=("statement", "offends", "questions")))
    manifest = version.read_manifest()
    opened = search.Index(manifest, search.open_parts(version, manifest), encoder)
    for text, id in (("Where do feet go?", "a"), ("Pointing with a foot.", "a"), ("Shoes come off.", "b")):
        assert opened.find("", encoder.encode([text])[0], (), 1, -1)[0].description.id == id


class Broken(shelf.Hashing):
    """An encoder that gives no number for one text."""

    def encode(self, texts: list[str]) -> Vectors:
        """Give what the other one gives, but for that text."""
        found = super().encode(texts)
        found[[text == "x-b" for text in texts]] = np.nan
        return found


@pytest.mark.parametrize("kind", ["flat", "ivf"])
def test_encoder_gives_no_number(layout: Layout, kind: str) -> None:
    """A vector that holds no number is told of by the description's id, whatever the kind."""
    content = many([shelf.row("x-a", "JP"), shelf.row("x-b", "JP")])
    with pytest.raises(IndexUnusable, match="the encoder gave what is no vector for x-b"):
        build.change(content, layout, Way(cast(OnnxEncoder, Broken()), kind=kind))
    assert layout.published() == []


def test_nothing_is_left(layout: Layout) -> None:
    """An index of no descriptions is not built."""
    with pytest.raises(IndexUnusable, match="no description would be left in the index"):
        build.change(many([]), layout, Way(fake()))


def test_manifest_is_sealed(built: Built) -> None:
    """A manifest is JSON with the checksum of every file and a seal, and reads back as it was written."""
    version = built()
    told = json.loads(version.manifest.read_text(encoding="utf-8"))
    assert sorted(told["files"]) == sorted([*FILES, NAMES, *words.FILES])
    assert (told["format"], told["added"], told["removed"], told["fields"]) == (
        *(2, {}, []),
        ["statement", "offends", "questions"],
    )
    assert version.read_manifest() == version.read_manifest().sealed()


def test_old_versions(layout: Layout, built: Built) -> None:
    """The newest so many versions are kept."""
    names = [built(keep=3).root.name for _ in range(5)]
    assert names[2:] == layout.published()


def test_serving_version_is_kept(layout: Layout, built: Built, monkeypatch: pytest.MonkeyPatch) -> None:
    """The serving version is not deleted, however old it is."""
    first, second = built(), built()
    monkeypatch.setattr(publish, "point", lambda layout, name: None)  # as where something else moves the pointer
    publish.point(layout, second.root.name)
    names = [first.root.name, second.root.name, built(keep=1).root.name]
    assert names[1:] == layout.published()
