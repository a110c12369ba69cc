"""Models of many kinds are exported: what ONNX gives is what sentence-transformers gives, prompts included."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer

from index import export
from retrieval.encoder import Vectors
from retrieval.layout import IndexUnusable, Layout
from tests.index import tiny

TEXTS = [*tiny.SENTENCES, "a", "Wer spät kommt, ruft AN.", "unbekannte Wörter: qzx 靴", "guests " * 200]
PROMPTS = {"prompts": {"query": "Guests ask: ", "passage": "at the door "}}


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """Where encoders are exported to."""
    return Layout(tmp_path / "index")


def by_torch(folder: Path, prompt: str) -> Vectors:
    """Give the vectors of the model itself."""
    found: Vectors = SentenceTransformer(str(folder), device="cpu").encode(
        TEXTS, prompt=prompt, normalize_embeddings=True
    )
    return found


def cosine(found: Vectors, wanted: Vectors) -> float:
    """Give the least cosine of pairs."""
    return float(np.sum(found * wanted, axis=1).min())


@pytest.mark.parametrize(
    ("kind", "more", "dimension"),
    [
        ("bert", {}, 32),
        ("xlm-roberta", {"pooling": "cls_token", "prompts": PROMPTS}, 32),
        ("mpnet", {"pooling": "max_tokens", "normalize": False, "length": 20}, 32),
        ("distilbert", {"dense": 16, "normalize": False}, 16),
    ],
)
def test_kinds(tmp_path: Path, layout: Layout, kind: str, more: dict[str, Any], dimension: int) -> None:
    """Whatever a model takes, how it pools and what follows that, its float32 form gives its own vectors."""
    folder = tiny.make(tmp_path / kind, kind, **more)
    made = export.export(str(folder), layout, "float32")
    prompts = PROMPTS["prompts"] if "prompts" in more else {"query": "", "passage": ""}

    assert cosine(made.encode_queries(TEXTS), by_torch(folder, prompts["query"])) > 0.9999
    assert cosine(made.encode(TEXTS), by_torch(folder, prompts["passage"])) > 0.9999
    assert (made.card.dimension, made.card.max_tokens) == (dimension, more.get("length", 48))
    assert (made.card.query_prompt, made.card.passage_prompt) == (prompts["query"], prompts["passage"])
    assert cosine(made.encode(TEXTS[:1]), made.encode(TEXTS[1:2])) < 0.99


@pytest.fixture
def dense(tmp_path: Path) -> Path:
    """A model with a dense module."""
    return tiny.make(tmp_path / "dense", "distilbert", dense=16)


def test_int8(dense: Path, layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """The int8 form is near the model, also of one whose float32 form is too large for one file."""
    made = export.export(str(dense), layout)
    assert cosine(made.encode(TEXTS), by_torch(dense, "")) > 0.96

    monkeypatch.setattr(export, "_INLINE", 0)
    with pytest.raises(IndexUnusable, match=r"too large for float32 .*; use --precision int8$"):
        export.export(str(dense), layout, "float32")
    large = export.export(str(dense), Layout(layout.root / "large"))
    np.testing.assert_array_equal(made.encode(TEXTS), large.encode(TEXTS))
    folder = Layout(layout.root / "large").encoder(large.id)
    assert sorted(file.name for file in folder.iterdir()) == ["encoder.json", "model.onnx", "tokenizer.json"]


def test_int8_costs_too_much(dense: Path, layout: Layout) -> None:
    """A model that int8 would harm, here by one weight much larger than the rest, is told to stay in float32."""
    weights = load_file(dense / "model.safetensors")
    weights["embeddings.word_embeddings.weight"][399, 0] = 1e5
    save_file(weights, dense / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(IndexUnusable) as caught:
        export.export(str(dense), layout)
    assert str(caught.value).startswith(f"int8 costs the model {dense} too much (cosine ")
    assert str(caught.value).endswith("; use --precision float32")
    assert list(layout.root.glob("encoders/*")) == []


def test_exported_before(dense: Path, layout: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model is exported once, wherever it lies, and bears the name that is asked for; other prompts make another."""
    first = export.export(str(dense), layout, "float32", query_prompt="ask ")
    made: list[Any] = []
    monkeypatch.setattr(export, "_make", lambda *source: made.append(source))
    (tmp_path / "other").mkdir()
    moved = dense.rename(tmp_path / "other" / dense.name)

    again = export.export(str(moved), layout, "float32", query_prompt="ask ")
    assert ([], first.id, str(moved)) == (made, again.id, again.card.name)
    np.testing.assert_array_equal(first.encode_queries(TEXTS), again.encode(["ask " + text for text in TEXTS]))
    for prompts in ({}, {"query_prompt": "ask"}, {"query_prompt": "ask ", "passage_prompt": "ask "}):
        with pytest.raises(IndexUnusable):  # what was not made cannot be opened
            export.export(str(moved), layout, "float32", **prompts)
    assert len(made) == 3


def _change(file: Path, changed: dict[str, Any]) -> None:
    """Change some keys of a JSON file."""
    file.write_text(json.dumps(json.loads(file.read_text(encoding="utf-8")) | changed), encoding="utf-8")


def test_code_of_its_own(dense: Path, layout: Layout) -> None:
    """A model whose transformer is code in its folder is refused with one sentence, and the code is not run."""
    (dense / "own.py").write_text(f"open({str(dense / 'ran')!r}, 'w').close()\nclass Own: pass\n", encoding="utf-8")
    _change(dense / "config.json", {"model_type": "own", "auto_map": {"AutoConfig": "own.Own", "AutoModel": "own.Own"}})
    with pytest.raises(IndexUnusable) as caught:
        export.export(str(dense), layout)
    expected = f"the model {dense} cannot be exported (ValueError: it needs code of its own, which is not run)"
    assert str(caught.value) == expected
    assert not (dense / "ran").exists()


@pytest.mark.parametrize("file", ["model.safetensors", "config.json", "tokenizer.json", "2_Dense/model.safetensors"])
def test_broken_model(dense: Path, layout: Layout, file: str) -> None:
    """A model that cannot be opened is refused with one sentence, and nothing is left of it."""
    (dense / file).write_bytes(b"{")
    with pytest.raises(IndexUnusable, match=f"^the model {dense} cannot be exported \\(.*\\)$"):
        export.export(str(dense), layout)
    assert list(layout.root.glob("encoders/*")) == []


def test_pooling_without_the_prompt(dense: Path, layout: Layout) -> None:
    """A model that leaves the prompt out when it pools is refused where there is a prompt."""
    _change(dense / "1_Pooling/config.json", {"include_prompt": False})
    with pytest.raises(IndexUnusable, match=r"leaves prompts out when it pools, which an export cannot$"):
        export.export(str(dense), layout, query_prompt="ask ")
