"""Texts are encoded once each, in order, on several threads; vectors that are known are taken over."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from tqdm import tqdm

from index import texts
from retrieval.encoder import Encoder, OnnxEncoder, Vectors
from retrieval.search import Parts, open_parts
from tests import shelf
from tests.index.conftest import Built


class Waiting(shelf.Hashing):
    """An encoder that takes a while, and tells how many threads it had at once."""

    def __init__(self, fails: str | None = None) -> None:
        super().__init__()
        self.fails, self.now, self.most, self.lock = fails, 0, 0, threading.Lock()

    def encode(self, texts: list[str]) -> Vectors:
        """Wait a little, then encode, or fail at the text that it is to fail at."""
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
        time.sleep(0.02)
        with self.lock:
            self.now -= 1
        if self.fails in texts:
            raise KeyboardInterrupt
        return super().encode(texts)


def encode(encoder: Encoder, given: list[str]) -> Vectors:
    """Encode without a progress bar."""
    return texts.encode(encoder, given, tqdm(disable=True))


def some(count: int) -> list[str]:
    """Give so many texts."""
    return [f"custom number {number}" for number in range(count)]


@pytest.mark.parametrize("count", [1, 31, 32, 33, 65])
def test_batches(onnx: OnnxEncoder, count: int) -> None:
    """Encoding in batches on several threads gives each text the vector that it has alone, in order."""
    vectors = encode(onnx, some(count))
    np.testing.assert_array_equal(vectors[[0, -1]], onnx.encode([some(count)[0], some(count)[-1]]))
    assert vectors.shape == (count, onnx.card.dimension)


def test_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several batches are encoded at once."""
    monkeypatch.setattr(texts, "_cores", lambda: 3)
    encoder = Waiting()
    np.testing.assert_array_equal(encode(encoder, some(320)), shelf.Hashing().encode(some(320)))
    assert encoder.most == 3


def test_interrupt(monkeypatch: pytest.MonkeyPatch) -> None:
    """An interrupt ends the encoding without what was not begun."""
    monkeypatch.setattr(texts, "_cores", lambda: 2)
    encoder = Waiting(fails="custom number 40")
    with pytest.raises(KeyboardInterrupt):
        encode(encoder, some(32_000))
    assert len(encoder.asked) < 3200


FULL = shelf.row("a", "JP", "S", offends="O", questions=("Q1", "Q2"))


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (("statement",), (("S",),)),
        (("statement", "offends"), (("S",), ("O",))),
        (("statement", "questions"), (("S",), ("Q1", "Q2"))),
        (("statement", "offends", "questions"), (("S",), ("O",), ("Q1", "Q2"))),
    ],
)
def test_fields(fields: tuple[str, ...], expected: texts.Texts) -> None:
    """Each field's texts are given in the order of the fields, and a field that a description lacks is left out."""
    assert expected == texts.of(FULL, fields)
    assert texts.of(shelf.row("a", "JP", "S"), fields) == (("S",),)


def test_fields_count_alike() -> None:
    """A description's vector is the sum of its fields' mean vectors, of length 1."""
    encoder = shelf.Hashing()
    alone, full = texts.vectors([(("S",),), texts.of(FULL, texts.FIELDS)], encoder, None)
    statement, offends, first, second = encoder.encode(["S", "O", "Q1", "Q2"])
    wanted = statement + offends + (first + second) / 2
    np.testing.assert_allclose(alone, statement, atol=1e-6)
    np.testing.assert_allclose(full, wanted / np.linalg.norm(wanted), atol=1e-6)


def opened(built: Built, **choices: Any) -> tuple[Any, Parts]:
    """Build, and give manifest and parts."""
    version = built(**choices)
    manifest = version.read_manifest()
    return manifest, open_parts(version, manifest)


def test_known(built: Built, onnx: OnnxEncoder) -> None:
    """Only what is new is encoded, and what is known has the vector that it had."""
    manifest, parts = opened(built)
    known = texts.known(manifest, parts, onnx.id, exact=True)
    assert known is not None
    rows = list(parts.descriptions)
    new = replace(rows[0], statement="Something new is done.")
    asked: list[str] = []

    class Noting(shelf.Hashing):
        def encode(self, texts: list[str]) -> Vectors:
            asked.extend(texts)
            return onnx.encode(texts)

    found = texts.vectors([texts.of(row, texts.FIELDS) for row in (rows[3], new, *rows)], Noting(), known)
    assert sorted(asked) == sorted(["Something new is done.", *([new.offends] if new.offends else []), *new.questions])
    np.testing.assert_array_equal(found[2:], parts.vectors.reconstruct(np.arange(len(rows))))
    np.testing.assert_array_equal(found[0], found[5])
    np.testing.assert_allclose(found[1], texts.vectors([texts.of(new, texts.FIELDS)], onnx, None)[0], atol=1e-6)


def test_unknown(built: Built, onnx: OnnxEncoder) -> None:
    """Vectors of another encoder are not taken over, nor those stored with a loss into an index that has none."""
    manifest, parts = opened(built)
    assert texts.known(manifest, parts, "other-1", exact=False) is None
    manifest, parts = opened(built, kind="ivf")
    assert texts.known(manifest, parts, onnx.id, exact=True) is None


def test_compressed(built: Built, onnx: OnnxEncoder) -> None:
    """What a compressed index holds is taken over into the next without encoding, and is of length 1."""
    manifest, parts = opened(built, kind="ivf")
    rows = [texts.of(row, texts.FIELDS) for row in parts.descriptions]
    encoder = Waiting()
    found = texts.vectors(rows, encoder, texts.known(manifest, parts, onnx.id, exact=False))
    assert encoder.asked == []
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    assert float(np.sum(found * texts.vectors(rows, onnx, None), axis=1).min()) > 0.995


def test_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Descriptions are encoded in blocks, and come back in order."""
    said = [((text,), (f"not {text}",)) for text in some(10)]
    whole = texts.vectors(said, shelf.Hashing(), None)
    monkeypatch.setattr(texts, "_BLOCK", 3)
    np.testing.assert_array_equal(whole, texts.vectors(said, shelf.Hashing(), None))


def test_words() -> None:
    """What is searched by words is all that a description says itself."""
    more: dict[str, Any] = {"offends": "O.", "questions": ("Q1?", "Q2?")}
    assert texts.whole(shelf.row("a", "JP", "S.", **more)) == "S. O. Q1? Q2?"
    assert texts.whole(shelf.row("a", "JP", "S.")).strip() == "S."
