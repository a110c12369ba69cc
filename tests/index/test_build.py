"""A new version is built beside the serving one and published whole or not at all."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer

from index import build, knowledge
from retrieval import encoder, search
from retrieval.encoder import OnnxEncoder, Vectors
from retrieval.layout import IndexUnusable, Layout, Version

ROOT = Path(__file__).parents[2]
FILES = ["cultures.jsonl", "descriptions.jsonl", "manifest.json", "vectors.faiss"]


@pytest.fixture(scope="module")
def exported() -> Path:
    """The folder of the encoder that the built index uses."""
    layout = Layout(ROOT / "var" / "index")
    return layout.encoder(layout.current().read_manifest().encoder_id)


@pytest.fixture(scope="module")
def onnx(exported: Path) -> OnnxEncoder:
    """The real encoder."""
    return encoder.load(exported)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A knowledge base of three descriptions each of two cultures."""
    root = tmp_path / "knowledge"
    (root / "descriptions").mkdir(parents=True)
    shutil.copyfile(ROOT / "knowledge" / "cultures.jsonl", root / "cultures.jsonl")
    for culture in ("JP", "ES-CT"):
        name = f"descriptions/{culture}.jsonl"
        lines = (ROOT / "knowledge" / name).read_text(encoding="utf-8").split("\n")
        (root / name).write_text("\n".join(lines[:3]) + "\n", encoding="utf-8")
    return root


@pytest.fixture
def layout(tmp_path: Path, exported: Path) -> Layout:
    """An empty index beside the real encoder."""
    made = Layout(tmp_path / "index")
    made.encoder(exported.name).parent.mkdir(parents=True)
    made.encoder(exported.name).symlink_to(exported)
    return made


Built = Callable[[OnnxEncoder], Version]


@pytest.fixture
def built(source: Path, layout: Layout) -> Built:
    """Build with an encoder."""

    def made(encoder: OnnxEncoder) -> Version:
        hashed = build.knowledge_hash(source)
        return build.build(knowledge.load(source), source, hashed, layout, encoder)

    return made


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


def rewrite(version: Version, **changed: object) -> None:
    """Change the manifest of a version."""
    values = {**asdict(version.read_manifest()), **changed}
    version.manifest.write_text(json.dumps(values), encoding="utf-8")


def test_first_build(layout: Layout, built: Built, onnx: OnnxEncoder) -> None:
    """A build publishes one folder of four files, names it in the pointer, and the reader opens it."""
    version = built(onnx)
    assert f"{version.root.name}\n" == layout.pointer.read_text(encoding="utf-8")
    assert sorted(path.name for path in version.root.iterdir()) == FILES
    assert sorted(path.name for path in layout.root.iterdir()) == ["CURRENT", "encoders", "versions"]
    opened = search.open_current(layout.root, "all-MiniLM-L6-v2")
    assert (6, 2, version.root.name) == (
        opened.manifest.descriptions,
        opened.manifest.cultures,
        opened.manifest.version,
    )


def test_published_folder_is_readable(built: Built, onnx: OnnxEncoder) -> None:
    """Another user, such as the one that the service runs as, may read the published version."""
    version = built(onnx)
    assert version.root.stat().st_mode & 0o005 == 0o005
    assert {0o004} == {path.stat().st_mode & 0o004 for path in version.root.iterdir()}


def test_second_build(layout: Layout, built: Built, onnx: OnnxEncoder) -> None:
    """A second build becomes the serving version and keeps the first beside it."""
    first, second = built(onnx), built(onnx)
    assert second.root == layout.current().root
    assert [first.root.name, second.root.name] == layout.published()


def test_same_knowledge(built: Built, onnx: OnnxEncoder) -> None:
    """The same knowledge gives the same hash and the same bytes of descriptions and registry."""
    first, second = built(onnx).read_manifest(), built(onnx).read_manifest()
    assert first.knowledge == second.knowledge
    for name in ("cultures.jsonl", "descriptions.jsonl"):
        assert first.files[name] == second.files[name]


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
    old = built(onnx)
    before = sorted(layout.root.rglob("*"))
    with pytest.raises(error or IndexUnusable):
        built(Breaking(exported, call, error))
    assert before == sorted(layout.root.rglob("*"))
    assert old.root == layout.current().root
    assert build.verify(old, onnx) == []


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
    old = built(onnx)
    before = sorted(layout.root.rglob("*"))
    with pytest.raises(IndexUnusable) as caught:
        built(Meddling(exported, source / name))
    assert str(caught.value) == f"{source} changed while the index was built; run `comity index build` again"
    assert before == sorted(layout.root.rglob("*"))
    assert old.root == layout.current().root
    assert build.verify(old, onnx) == []


def test_knowledge_changes_before_it_is_read(source: Path, layout: Layout, onnx: OnnxEncoder) -> None:
    """Knowledge that is changed between its hash and its reading fails the build and publishes nothing."""
    hashed = build.knowledge_hash(source)
    with (source / "descriptions" / "JP.jsonl").open("ab") as file:
        file.write(b"\n")
    with pytest.raises(IndexUnusable, match="changed while the index was built"):
        build.build(knowledge.load(source), source, hashed, layout, onnx)
    assert layout.published() == []


def test_hash_is_of_the_knowledge_read(source: Path, built: Built, onnx: OnnxEncoder) -> None:
    """The manifest and the name of a version carry the hash of the knowledge that it was built from."""
    version, hashed = built(onnx), build.knowledge_hash(source)
    assert (hashed, hashed[:8]) == (version.read_manifest().knowledge, version.root.name.split("-")[1])


def test_many_point_at_once(layout: Layout, built: Built, onnx: OnnxEncoder) -> None:
    """Processes that point at once do not trip over each other: the pointer names one version, whole and readable."""
    names = [built(onnx).root.name, built(onnx).root.name]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: build.point(layout, name), names * 100))
    assert layout.pointer.read_text(encoding="utf-8") in {f"{name}\n" for name in names}
    assert sorted(path.name for path in layout.root.iterdir()) == ["CURRENT", "encoders", "versions"]
    assert layout.pointer.stat().st_mode & 0o777 == 0o644


def test_sound_version(built: Built, onnx: OnnxEncoder) -> None:
    """A version as it was built has no faults."""
    assert build.verify(built(onnx), onnx) == []


@pytest.mark.parametrize("name", ["cultures.jsonl", "descriptions.jsonl", "vectors.faiss"])
def test_file_changed(built: Built, onnx: OnnxEncoder, name: str) -> None:
    """A file with one byte more, and one that is gone, differ from their checksum."""
    version = built(onnx)
    with (version.root / name).open("ab") as file:
        file.write(b"\n")
    assert [f"{name} differs from its checksum"] == build.verify(version, onnx)
    (version.root / name).unlink()
    assert [f"{name} differs from its checksum"] == build.verify(version, onnx)


def test_counts_differ(built: Built, onnx: OnnxEncoder) -> None:
    """A manifest that counts wrongly is a fault that tells the counts."""
    version = built(onnx)
    rewrite(version, descriptions=7)
    assert build.verify(version, onnx) == ["6 vectors, 6 descriptions, 7 in the manifest"]


def test_another_encoder(built: Built, onnx: OnnxEncoder, exported: Path) -> None:
    """A version opened with another encoder than it was made with is a fault that names both."""
    other = Breaking(exported, 0, None)
    other.card = replace(other.card, id="other-1")
    assert [f"made with encoder {onnx.id}, opened with other-1"] == build.verify(built(onnx), other)


def test_vectors_of_other_rows(built: Built, exported: Path, onnx: OnnxEncoder) -> None:
    """Descriptions that do not find themselves are a fault."""
    (fault,) = build.verify(built(onnx), Breaking(exported, 1, None))
    assert fault == "only 0% of the descriptions find themselves"


def test_manifest_is_unreadable(built: Built, onnx: OnnxEncoder) -> None:
    """A broken manifest cannot be verified, and the error says what to do."""
    version = built(onnx)
    version.manifest.write_text("{}", encoding="utf-8")
    with pytest.raises(IndexUnusable, match="run `comity index build`"):
        build.verify(version, onnx)


@pytest.mark.parametrize("count", [1, 31, 32, 33, 65])
def test_batches(onnx: OnnxEncoder, count: int) -> None:
    """Encoding in batches gives each text its own vector, in order."""
    texts = [f"custom number {number}" for number in range(count)]
    np.testing.assert_allclose(build.encode(onnx, texts), onnx.encode(texts), atol=1e-5)
